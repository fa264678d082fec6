// Package emulator finds Google's Firestore emulator on this machine and runs
// it for as long as its starter lives. It serves `postrider dev` and the tests;
// it reads no settings of its own: whoever calls [Start] has already looked at
// FIRESTORE_EMULATOR_HOST.
//
// The emulator is Google's own (a Java program of the Google Cloud SDK); this
// package neither ships nor downloads it. Where a piece is missing the error is
// a [MissingError] that says which one and how to get it.
package emulator

import (
	"archive/zip"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"time"
)

const (
	defaultHeap   = "1g"
	defaultReady  = time.Minute     // a cold JVM on a busy machine takes some seconds
	stopGrace     = 5 * time.Second // between asking it to end and ending it
	pollInterval  = 50 * time.Millisecond
	startAttempts = 3 // another program may take the free port first
)

// Options says how to run the emulator. The zero value is fit for use.
type Options struct {
	// Installation is what to run; the zero value means what [Find] finds.
	Installation Installation

	// Heap is the JVM's -Xmx, as in "512m"; empty means 1g. Without a limit the
	// emulator takes a quarter of the machine's memory and keeps it.
	Heap string

	// Rules is the path of a firestore.rules file that requests without
	// administrator rights must pass; empty means everything is allowed.
	Rules string

	// ReadyTimeout bounds the wait for the first answer; 0 means a minute.
	ReadyTimeout time.Duration
}

// Emulator is a running emulator. It ends with Close, and on Linux also when
// this program ends without having closed it.
type Emulator struct {
	Host string // "127.0.0.1:PORT", as FIRESTORE_EMULATOR_HOST takes it

	process *process
	close   sync.Once
}

// ExitError says that the emulator ended although nobody asked it to.
type ExitError struct {
	Err    error  // how the process ended
	Output string // the last of what it printed
}

// Error gives the end of the output: the reason is in there.
func (e *ExitError) Error() string {
	return fmt.Sprintf("the emulator ended by itself (%v): %s", e.Err, strings.TrimSpace(e.Output))
}

// Unwrap returns how the process ended.
func (e *ExitError) Unwrap() error { return e.Err }

// Start runs the emulator on a free port of 127.0.0.1 and returns once it
// answers. ctx bounds the start alone; the emulator runs on until Close. Errors
// that a caller may want to tell apart are [*MissingError] and [*ExitError].
func Start(ctx context.Context, o Options) (*Emulator, error) {
	if o.Installation == (Installation{}) {
		found, err := Find(ctx)
		if err != nil {
			return nil, fmt.Errorf("find the Firestore emulator: %w", err)
		}
		o.Installation = found
	}
	if o.ReadyTimeout == 0 {
		o.ReadyTimeout = defaultReady
	}
	ctx, cancel := context.WithTimeout(ctx, o.ReadyTimeout)
	defer cancel()
	var err error
	for range startAttempts {
		var e *Emulator
		if e, err = start(ctx, o); err == nil {
			return e, nil
		}
		if exit := (*ExitError)(nil); !errors.As(err, &exit) {
			break
		}
	}
	return nil, fmt.Errorf("start the Firestore emulator: %w", err)
}

func start(ctx context.Context, o Options) (*Emulator, error) {
	host, err := freeAddress(ctx)
	if err != nil {
		return nil, err
	}
	args, err := arguments(o, host)
	if err != nil {
		return nil, err
	}
	p, err := launch(exec.Command(o.Installation.Java, args...)) //nolint:gosec,noctx // found by Find or named by the caller; ended by Close, not by the start's context
	if err != nil {
		return nil, err
	}
	e := &Emulator{Host: host, process: p}
	if err := e.awaitReady(ctx); err != nil {
		return nil, errors.Join(err, e.Close())
	}
	return e, nil
}

// arguments are java's. The SDK's jar must be told its main class, the Firebase
// tools' jar knows it.
func arguments(o Options, host string) ([]string, error) {
	z, err := zip.OpenReader(o.Installation.Jar)
	if err != nil {
		return nil, fmt.Errorf("open %s: %w", o.Installation.Jar, err)
	}
	defer func() { _ = z.Close() }()
	heap := o.Heap
	if heap == "" {
		heap = defaultHeap
	}
	args := []string{"-Xmx" + heap, "-Duser.language=en"} // other languages are not supported by it
	if class, err := manifestClass(&z.Reader); err == nil && class != "" {
		args = append(args, "-jar", o.Installation.Jar)
	} else {
		args = append(args, "-cp", o.Installation.Jar, mainClass)
	}
	name, port, err := net.SplitHostPort(host)
	if err != nil {
		return nil, fmt.Errorf("split %s: %w", host, err)
	}
	args = append(args, "--host="+name, "--port="+port)
	if o.Rules != "" {
		args = append(args, "--rules="+o.Rules)
	}
	return args, nil
}

// awaitReady asks until the emulator answers, ends or ctx does.
func (e *Emulator) awaitReady(ctx context.Context) error {
	tick := time.NewTicker(pollInterval)
	defer tick.Stop()
	for {
		up := answers(ctx, e.Host)
		select {
		case <-e.process.done:
			return &ExitError{Err: e.process.err, Output: e.process.tail.String()}
		case <-ctx.Done():
			return fmt.Errorf("wait for an answer from %s: %w; it printed: %s", e.Host, ctx.Err(), e.process.tail.String())
		case <-tick.C:
			if up { // and still running: it was no other program that answered
				return nil
			}
		}
	}
}

// answers reports whether the emulator is up: it answers GET / with "Ok".
func answers(ctx context.Context, host string) bool {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+host+"/", nil)
	if err != nil {
		return false
	}
	res, err := (&http.Transport{DisableKeepAlives: true}).RoundTrip(req) // no proxy, no connection left over
	if err != nil {
		return false
	}
	defer func() { _ = res.Body.Close() }()
	body, err := io.ReadAll(io.LimitReader(res.Body, 16))
	return err == nil && res.StatusCode == http.StatusOK && bytes.HasPrefix(body, []byte("Ok"))
}

// Done is closed when the emulator has ended, by Close or by itself.
func (e *Emulator) Done() <-chan struct{} { return e.process.done }

// Output returns the last of what the emulator printed.
func (e *Emulator) Output() string { return e.process.tail.String() }

// Close ends the emulator and waits until it is gone; everything in it is lost.
// Further calls do nothing. It returns an [*ExitError] if the emulator had
// ended before.
func (e *Emulator) Close() error {
	var err error
	e.close.Do(func() {
		select {
		case <-e.process.done:
			err = &ExitError{Err: e.process.err, Output: e.process.tail.String()}
			return
		default:
		}
		e.process.signal(syscall.SIGTERM)
		grace := time.NewTimer(stopGrace)
		defer grace.Stop()
		select {
		case <-e.process.done:
		case <-grace.C:
			e.process.signal(syscall.SIGKILL)
			<-e.process.done
		}
	})
	return err
}

// freeAddress asks the system for a port nobody listens on. Another program may
// take it before the emulator does; Start tries again then.
func freeAddress(ctx context.Context) (string, error) {
	l, err := (&net.ListenConfig{}).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return "", fmt.Errorf("find a free port: %w", err)
	}
	host := l.Addr().String()
	if err := l.Close(); err != nil {
		return "", fmt.Errorf("free the port again: %w", err)
	}
	return host, nil
}
