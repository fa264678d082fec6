package emulator

import (
	"fmt"
	"os/exec"
	"runtime"
	"sync"
)

const maxTail = 16 << 10 // bytes of output kept

// process is a child in a process group of its own, so that a signal from the
// terminal reaches only us and we decide when it ends.
type process struct {
	cmd  *exec.Cmd
	tail tail
	done chan struct{}
	err  error // how it ended; valid once done is closed
}

// launch starts cmd. The goroutine that starts it keeps its thread until the
// child has ended: Linux sends the parent's death signal when the starting
// thread ends, not the process.
func launch(cmd *exec.Cmd) (*process, error) {
	p := &process{cmd: cmd, done: make(chan struct{})}
	cmd.Stdout, cmd.Stderr = &p.tail, &p.tail
	cmd.WaitDelay = stopGrace
	ownGroup(cmd)
	started := make(chan error, 1)
	go func() {
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		if err := cmd.Start(); err != nil {
			started <- fmt.Errorf("run %s: %w", cmd.Path, err)
			return
		}
		started <- nil
		p.err = cmd.Wait()
		close(p.done)
	}()
	if err := <-started; err != nil {
		return nil, err
	}
	return p, nil
}

// tail keeps the end of what is written to it.
type tail struct {
	mu  sync.Mutex
	buf []byte // under mu
}

// Write never fails.
func (t *tail) Write(p []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.buf = append(t.buf, p...)
	if over := len(t.buf) - maxTail; over > 0 {
		t.buf = append(t.buf[:0], t.buf[over:]...)
	}
	return len(p), nil
}

func (t *tail) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return string(t.buf)
}
