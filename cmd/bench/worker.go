package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"postrider/smtp/smtptest"
)

// worker is a process of Postrider.
type worker struct {
	command *exec.Cmd
	port    string // that it answers HTTP on
	log     string // the file that has its output
	began   time.Time

	gone   chan struct{} // closed when it has ended
	memory sync.WaitGroup
	peak   float64 // MB of resident memory; set once it is gone
}

// used is what a worker that has ended took.
type used struct {
	began time.Time
	took  time.Duration // from its start to its end
	cpu   time.Duration
	peak  float64 // MB of resident memory
}

// start starts Postrider on a collection, with more arguments and settings, as in
// NAME=value. The end of ctx kills it.
func (r *rig) start(ctx context.Context, server string, o *outbox, smtp string, args []string, settings ...string) (*worker, error) {
	port, err := smtptest.FreePort()
	if err != nil {
		return nil, fmt.Errorf("find a port for a worker: %w", err)
	}
	r.started++
	w := &worker{port: strconv.Itoa(port), log: filepath.Join(r.dir, fmt.Sprintf("worker-%d.log", r.started)), gone: make(chan struct{})}
	out, err := os.Create(w.log)
	if err != nil {
		return nil, fmt.Errorf("make a log: %w", err)
	}
	defer func() { _ = out.Close() }()                                                  // the process has its own
	w.command = exec.CommandContext(ctx, r.binary, append([]string{"run"}, args...)...) //nolint:gosec // what was built before
	w.command.Stdout, w.command.Stderr = out, out
	w.command.Env = append([]string{
		"PATH=" + os.Getenv("PATH"), "HOME=" + os.Getenv("HOME"), "TMPDIR=" + os.TempDir(),
		"FIRESTORE_EMULATOR_HOST=" + server, "GOOGLE_CLOUD_PROJECT=" + o.project, "MAIL_COLLECTION=" + collection,
		"TEMPLATES_COLLECTION=templates", "USERS_COLLECTION=users",
		"SMTP_CONNECTION_URI=smtp://" + smtp, "DEFAULT_FROM=Shop <shop@sender.test>", "PORT=" + w.port,
	}, settings...)
	w.began = time.Now()
	if err := w.command.Start(); err != nil {
		return nil, fmt.Errorf("start a worker: %w", err)
	}
	w.memory.Go(w.watchMemory)
	r.closers = append(r.closers, w.kill)
	return w, nil
}

// kill ends a worker that somebody has forgotten over an error.
func (w *worker) kill() error {
	select {
	case <-w.gone:
		return nil
	default:
	}
	_ = w.command.Process.Kill()
	_, _ = w.wait() // which says that it was killed
	return nil
}

// wait waits for a worker that ends by itself.
func (w *worker) wait() (used, error) {
	err := w.command.Wait()
	took := time.Since(w.began)
	close(w.gone)
	w.memory.Wait()
	if err != nil {
		return used{}, fmt.Errorf("a worker ended: %w\n%s", err, w.said())
	}
	s := w.command.ProcessState
	return used{began: w.began, took: took, cpu: s.UserTime() + s.SystemTime(), peak: w.peak}, nil
}

// stop ends a worker as the platform does.
func (w *worker) stop() (used, error) {
	if err := w.command.Process.Signal(syscall.SIGTERM); err != nil {
		return used{}, fmt.Errorf("stop a worker: %w", err)
	}
	return w.wait()
}

// said returns the last of a worker's output.
func (w *worker) said() string {
	const most = 2000
	out, err := os.ReadFile(w.log)
	if err != nil {
		return err.Error()
	}
	return string(out[max(0, len(out)-most):])
}

// watchMemory reads the peak again and again, as nobody tells it when the process
// has ended: the kernel's figure for a child that has ended may be its parent's.
func (w *worker) watchMemory() {
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		if peak, err := w.resident("VmHWM"); err == nil {
			w.peak = max(w.peak, peak)
		}
		select {
		case <-tick.C:
		case <-w.gone:
			return
		}
	}
}

// resident returns a figure of the process's memory, in MB, as Linux tells it:
// VmRSS, or VmHWM for the highest.
func (w *worker) resident(name string) (float64, error) {
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", w.command.Process.Pid))
	if err != nil {
		return 0, fmt.Errorf("read the memory of a process: %w", err)
	}
	_, rest, found := strings.Cut(string(status), "\n"+name+":")
	words := strings.Fields(rest)
	if !found || len(words) == 0 {
		return 0, errors.New("the process has no memory any more")
	}
	kib, err := strconv.ParseFloat(words[0], 64)
	return kib * 1024 / 1e6, err
}
