package main

import "syscall"

// attributes keeps a worker from signals to the harness's group, and ends it when
// the harness has ended, however that was.
func attributes() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
}
