//go:build !linux

package main

import "syscall"

// attributes keeps a worker from signals to the harness's group.
func attributes() *syscall.SysProcAttr { return &syscall.SysProcAttr{Setpgid: true} }
