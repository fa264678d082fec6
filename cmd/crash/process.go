package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"sync/atomic"
	"syscall"
	"time"
)

// process is one worker process, from its start to its end.
type process struct {
	name    string
	skew    time.Duration // of its clock
	log     string        // the file that has its output
	command *exec.Cmd
	mail    net.Listener
	doomed  atomic.Bool   // it is meant to end
	done    chan struct{} // closed when it has ended; code is set before
	code    int           // its exit code; -1 if a signal ended it
}

// start starts a worker. The end of ctx kills it.
func (c *crew) start(ctx context.Context, slot int) (*process, error) {
	c.mu.Lock()
	c.started++
	name := fmt.Sprintf("w%d.%03d", slot, c.started)
	skew := time.Duration(0)
	if most := int64(c.plan.skew / time.Second); most > 0 {
		skew = time.Duration(c.random.Int64N(2*most+1)-most) * time.Second
	}
	c.mu.Unlock()
	mail, err := c.mail.listen(ctx, name)
	if err != nil {
		return nil, err
	}
	p := &process{name: name, skew: skew, log: filepath.Join(c.dir, name+".log"), mail: mail, done: make(chan struct{})}
	if err := p.run(ctx, c.binary, c.environment(slot, p)); err != nil {
		_ = mail.Close()
		return nil, err
	}
	c.mu.Lock()
	c.processes = append(c.processes, p)
	c.mu.Unlock()
	c.running.Go(func() {
		if err := p.await(); err != nil {
			c.journal.find(died, "", "%s ended by itself: %v; its log is %s", name, err, p.log)
		}
	})
	return p, nil
}

// run starts the program, whose output goes to the log.
func (p *process) run(ctx context.Context, binary string, env []string) error {
	out, err := os.Create(p.log)
	if err != nil {
		return fmt.Errorf("make a log: %w", err)
	}
	defer func() { _ = out.Close() }() // the process has its own
	p.command = exec.CommandContext(ctx, binary, "run")
	p.command.Env, p.command.Stdout, p.command.Stderr = env, out, out
	p.command.SysProcAttr = attributes()
	p.command.Cancel = func() error {
		p.doomed.Store(true)
		return p.command.Process.Kill()
	}
	if err := p.command.Start(); err != nil {
		return fmt.Errorf("start a worker: %w", err)
	}
	return nil
}

// await returns when the process has ended; with an error if it was not meant to.
func (p *process) await() error {
	err := p.command.Wait()
	_ = p.mail.Close()
	p.code = p.command.ProcessState.ExitCode()
	close(p.done)
	if p.doomed.Load() {
		return nil
	}
	if err == nil {
		err = errors.New("exit code 0")
	}
	return err
}

// signal sends a signal; to a process that has ended, none.
func (p *process) signal(s syscall.Signal) {
	if s == syscall.SIGKILL || s == syscall.SIGTERM {
		p.doomed.Store(true)
	}
	_ = p.command.Process.Signal(s)
}

// environment is what a worker is told, and nothing else of this process's.
func (c *crew) environment(slot int, p *process) []string {
	seconds := func(d time.Duration) string { return strconv.Itoa(int(d/time.Second)) + "s" }
	return []string{
		"PATH=" + os.Getenv("PATH"), "HOME=" + os.Getenv("HOME"), "TMPDIR=" + os.TempDir(),
		skewVariable + "=" + strconv.Itoa(int(p.skew/time.Second)),
		"FIRESTORE_EMULATOR_HOST=" + c.store.addr, "GOOGLE_CLOUD_PROJECT=" + project, "MAIL_COLLECTION=" + collection,
		"SMTP_CONNECTION_URI=smtp://" + p.mail.Addr().String(), "DEFAULT_FROM=crash@sender.test",
		"PORT=" + strconv.Itoa(c.ports[slot]), "LOG_LEVEL=debug",
		"LEASE_DURATION=" + seconds(lease), "LEASE_MARGIN=" + seconds(margin), "SWEEP_INTERVAL=1s", "AUDIT_INTERVAL=24h",
		"ATTEMPT_TIMEOUT=" + seconds(attemptTimeout), "DRAIN_TIMEOUT=" + seconds(drainTimeout),
		"MAX_ATTEMPTS=50", "RETRY_MIN_DELAY=1s", "RETRY_MAX_DELAY=3s", "RETRY_LAPSED=before-data",
		"SMTP_MAX_CONNECTIONS=" + strconv.Itoa(slots), "CONCURRENCY=" + strconv.Itoa(slots),
	}
}
