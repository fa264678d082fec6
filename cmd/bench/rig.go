package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"time"

	firestore "cloud.google.com/go/firestore/apiv1"

	"postrider/delivery/queue/emulator"
)

// rig is what is measured with. Its parts are started when they are first asked
// for, and end with it.
type rig struct {
	sizes  sizes
	table  *table
	log    io.Writer
	dir    string
	binary string // Postrider, as it is released
	random *rand.Rand
	npm    bool // nodemailer may be fetched

	drained []costs // of the drains, once they are measured
	started int     // workers that ever were
	boxes   int
	closers []func() error
	java    *site
	memory  *site
	mail    *sink
}

// site is a Firestore server.
type site struct {
	name    string
	address string
	client  *firestore.Client
	helper  *helper // nil for Google's emulator
}

// newRig builds Postrider.
func newRig(ctx context.Context, s sizes, random *rand.Rand, out program) (*rig, error) {
	dir, err := os.MkdirTemp("", "postrider-bench-")
	if err != nil {
		return nil, fmt.Errorf("make a folder: %w", err)
	}
	r := &rig{
		sizes: s, table: &table{out: out.out}, log: out.err, dir: dir, binary: filepath.Join(dir, "postrider"), random: random, npm: out.npm,
	}
	build := exec.CommandContext(ctx, "go", "build", "-trimpath", "-ldflags", "-s -w", "-o", r.binary, "postrider/cmd/postrider") //nolint:gosec // into a folder of our own
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if said, err := build.CombinedOutput(); err != nil {
		return nil, errors.Join(fmt.Errorf("build postrider: %w\n%s", err, said), r.close())
	}
	return r, nil
}

// close ends everything.
func (r *rig) close() error {
	var all []error
	for i := len(r.closers) - 1; i >= 0; i-- {
		all = append(all, r.closers[i]())
	}
	return errors.Join(append(all, os.RemoveAll(r.dir))...)
}

// say tells who waits what is done.
func (r *rig) say(format string, args ...any) { fmt.Fprintf(r.log, "bench: "+format+"\n", args...) }

// sink returns the mail server.
func (r *rig) sink(ctx context.Context) (sink, error) {
	if r.mail == nil {
		h, err := r.helper(ctx, roleSink)
		if err != nil {
			return sink{}, err
		}
		r.mail = &sink{h}
	}
	return *r.mail, nil
}

// helper starts a helper that lives as long as the rig.
func (r *rig) helper(ctx context.Context, role string, args ...string) (*helper, error) {
	h, err := startHelper(ctx, role, args...)
	if err == nil {
		r.closers = append(r.closers, h.close)
	}
	return h, err
}

// google returns Google's emulator: the one that the environment names, or one of
// our own.
func (r *rig) google(ctx context.Context) (*site, error) {
	if r.java != nil {
		return r.java, nil
	}
	address := os.Getenv("FIRESTORE_EMULATOR_HOST")
	if address == "" {
		e, err := emulator.Start(ctx, emulator.Options{Heap: "3g"})
		if err != nil {
			return nil, err
		}
		r.closers = append(r.closers, e.Close)
		address = e.Host
	}
	var err error
	r.java, err = r.site(ctx, "Google's emulator", address)
	return r.java, err
}

// inMemory returns the server of delivery/firestored.
func (r *rig) inMemory(ctx context.Context) (*site, error) {
	if r.memory != nil {
		return r.memory, nil
	}
	h, err := r.helper(ctx, roleStore)
	if err != nil {
		return nil, err
	}
	r.memory, err = r.site(ctx, "the in-process server", h.address)
	if err == nil {
		r.memory.helper = h
	}
	return r.memory, err
}

func (r *rig) site(ctx context.Context, name, address string) (*site, error) {
	client, err := connect(ctx, address)
	if err != nil {
		return nil, err
	}
	r.closers = append(r.closers, client.Close)
	return &site{name: name, address: address, client: client}, nil
}

// outbox returns a collection that nobody has used.
func (r *rig) outbox(at *site) *outbox {
	r.boxes++
	return &outbox{client: at.client, project: fmt.Sprintf("bench-%d-%d", os.Getpid(), r.boxes), random: r.random}
}

// discard has Google's emulator forget a collection that is not needed any more:
// its memory is limited.
func (s *site) discard(ctx context.Context, o *outbox) error {
	if s.helper != nil {
		return nil
	}
	url := "http://" + s.address + "/emulator/v1/projects/" + o.project + "/databases/(default)/documents"
	request, err := http.NewRequestWithContext(ctx, http.MethodDelete, url, nil)
	if err != nil {
		return fmt.Errorf("ask the emulator to forget: %w", err)
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return fmt.Errorf("ask the emulator to forget: %w", err)
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		return fmt.Errorf("ask the emulator to forget: it answered %s", response.Status)
	}
	return nil
}

// longest is how long anything may take.
const longest = 3 * time.Minute

// until returns when done says yes, which it is asked every few milliseconds.
func until(ctx context.Context, what string, every time.Duration, done func() (bool, error)) error {
	ctx, cancel := context.WithTimeoutCause(ctx, longest, fmt.Errorf("%v have passed", longest))
	defer cancel()
	tick := time.NewTicker(every)
	defer tick.Stop()
	for {
		if yes, err := done(); yes || err != nil {
			return err
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return fmt.Errorf("wait until %s: %w", what, context.Cause(ctx))
		}
	}
}
