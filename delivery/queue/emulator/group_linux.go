package emulator

import (
	"os/exec"
	"syscall"
)

// ownGroup puts cmd in its own process group and asks the kernel to kill it
// when the thread that starts it ends.
func ownGroup(cmd *exec.Cmd) {
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
}

// signal sends s to the whole group: java may be a script that started another
// process.
func (p *process) signal(s syscall.Signal) {
	_ = syscall.Kill(-p.cmd.Process.Pid, s) // it may have ended by itself meanwhile
}
