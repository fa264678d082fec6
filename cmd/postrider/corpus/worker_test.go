package corpus

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"regexp"
	"sync"
	"syscall"
	"time"

	"cloud.google.com/go/firestore"
)

const (
	readyLimit = time.Minute
	stopLimit  = 3 * time.Second
)

var readyLine = regexp.MustCompile(`"message":"ready|READY`)

// worker is a running `postrider run`.
type worker struct {
	cmd  *exec.Cmd
	log  logBuffer
	done chan struct{}
}

func startWorker(command, env []string, dir string) (*worker, error) {
	w := &worker{cmd: exec.Command(command[0], command[1:]...), done: make(chan struct{})}
	w.cmd.Env, w.cmd.Dir = env, dir
	w.cmd.Stdout, w.cmd.Stderr = &w.log, &w.log
	w.cmd.WaitDelay = time.Second
	if err := w.cmd.Start(); err != nil {
		return nil, fmt.Errorf("start the worker: %w", err)
	}
	go func() {
		_ = w.cmd.Wait() // its state is read where it matters
		close(w.done)
	}()
	return w, nil
}

func (w *worker) ended() bool {
	select {
	case <-w.done:
		return true
	default:
		return false
	}
}

// awaitReady returns true once the log says so, false if the worker ends
// before.
func (w *worker) awaitReady(ctx context.Context) (bool, error) {
	tick := time.NewTicker(pollEvery)
	defer tick.Stop()
	limit := time.NewTimer(readyLimit)
	defer limit.Stop()
	for {
		if readyLine.MatchString(w.log.String()) {
			return true, nil
		}
		select {
		case <-w.done:
			return false, nil
		case <-ctx.Done():
			return false, ctx.Err()
		case <-limit.C:
			return false, fmt.Errorf("the worker is not ready after %v: %s", readyLimit, shorten(w.log.String()))
		case <-tick.C:
		}
	}
}

// stop ends the worker, politely first.
func (w *worker) stop() {
	if err := w.cmd.Process.Signal(syscall.SIGTERM); errors.Is(err, os.ErrProcessDone) {
		<-w.done
		return
	}
	limit := time.NewTimer(stopLimit)
	defer limit.Stop()
	select {
	case <-w.done:
	case <-limit.C:
		_ = w.cmd.Process.Kill() // it may have ended just now
		<-w.done
	}
}

// logBuffer gathers what the worker prints.
type logBuffer struct {
	mu  sync.Mutex
	buf bytes.Buffer // under mu
}

func (b *logBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.Write(p)
}

func (b *logBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.String()
}

// watch follows the states of the documents in the mail collection.
type watch struct {
	done  chan struct{}
	first chan struct{} // closed by the first snapshot
	once  sync.Once     // closes it

	mu     sync.Mutex
	count  int               // changes seen; under mu
	states map[string]string // by document ID; under mu
}

// watchCollection listens until ctx ends. It returns once it hears of every
// write: the emulator may lose one that comes while a listener is being set up.
func watchCollection(ctx context.Context, mail *firestore.CollectionRef) *watch {
	w := &watch{done: make(chan struct{}), first: make(chan struct{}), states: map[string]string{}}
	go func() {
		defer close(w.done)
		for ctx.Err() == nil {
			w.listen(ctx, mail)
		}
	}()
	select {
	case <-w.first:
	case <-ctx.Done():
	}
	return w
}

// listen reads snapshots until one cannot be had.
func (w *watch) listen(ctx context.Context, mail *firestore.CollectionRef) {
	snapshots := mail.Snapshots(ctx)
	defer snapshots.Stop()
	for {
		s, err := snapshots.Next()
		if err != nil {
			return
		}
		w.once.Do(func() { close(w.first) })
		w.mu.Lock()
		for _, c := range s.Changes {
			w.count++
			w.states[c.Doc.Ref.ID] = stateOf(c)
		}
		w.mu.Unlock()
	}
}

// stateOf is a document's state, or "absent", "none" or "other".
func stateOf(c firestore.DocumentChange) string {
	if c.Kind == firestore.DocumentRemoved {
		return "absent"
	}
	delivery := c.Doc.Data()["delivery"]
	if delivery == nil {
		return "none"
	}
	if s := asString(asObject(delivery)["state"]); s != "" {
		return s
	}
	return "other"
}

func (w *watch) changes() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.count
}

func (w *watch) state(id string) string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.states[id]
}

// allTerminal reports whether every document has ended or is gone.
func (w *watch) allTerminal(ids []string) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, id := range ids {
		switch w.states[id] {
		case "SUCCESS", "ERROR", "absent":
		default:
			return false
		}
	}
	return true
}
