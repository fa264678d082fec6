//go:build !linux

package emulator

import (
	"os/exec"
	"syscall"
)

// ownGroup does nothing where the system has no death signal: there only Close
// ends the emulator.
func ownGroup(*exec.Cmd) {}

// signal ends the process. Not every system knows SIGTERM, and the emulator has
// nothing to put away.
func (p *process) signal(syscall.Signal) {
	_ = p.cmd.Process.Kill() // it may have ended by itself meanwhile
}
