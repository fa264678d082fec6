package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"sync"
	"time"
)

// idleSystem is a worker that has nothing to do, and what the parts of a mail's
// way are measured with: a collection of their own, where no worker is.
type idleSystem struct {
	source     string
	box, bare  *outbox
	seen, told *watcher // of both collections
	mail       *postOffice
	wire       *wire
	called     *callee // is sent the events of the bare collection; nil where none are
	worker     *worker
	closers    []func() error
}

// newIdleSystem starts a worker and waits until it is ready. What it returns is to
// be closed even if there is an error.
func (r *rig) newIdleSystem(ctx context.Context, at *site, source string) (s *idleSystem, err error) {
	s = &idleSystem{source: source, box: r.outbox(at), bare: r.outbox(at)}
	if s.mail, err = openPostOffice(ctx); err != nil {
		return s, err
	}
	s.closers = append(s.closers, s.mail.close)
	if s.wire, err = dial(ctx, s.mail.address()); err != nil {
		return s, err
	}
	s.closers = append(s.closers, s.wire.conn.Close)
	if s.worker, err = r.start(ctx, at.address, s.box, s.mail.address(), nil, "SOURCE="+source); err != nil {
		return s, err
	}
	if err := s.worker.awaitReady(ctx); err != nil {
		return s, err
	}
	if source == "push" {
		if err := s.push(ctx, at); err != nil {
			return s, err
		}
	}
	if s.seen, err = s.box.watch(ctx); err != nil {
		return s, err
	}
	s.closers = append(s.closers, s.seen.close)
	if s.told, err = s.bare.watch(ctx); err != nil {
		return s, err
	}
	s.closers = append(s.closers, s.told.close)
	return s, nil
}

// push has both collections' changes sent as events.
func (s *idleSystem) push(ctx context.Context, at *site) (err error) {
	if s.called, err = openCallee(ctx); err != nil {
		return err
	}
	s.closers = append(s.closers, s.called.close, at.hush)
	return errors.Join(at.push(s.box.database(), s.worker.events()), at.push(s.bare.database(), s.called.url()))
}

func (s *idleSystem) close() error {
	var all []error
	for i := len(s.closers) - 1; i >= 0; i-- {
		all = append(all, s.closers[i]())
	}
	return errors.Join(all...)
}

// callee is an HTTP server that events are sent to.
type callee struct {
	listener net.Listener
	server   *http.Server
	serving  sync.WaitGroup
	came     chan time.Time // when each event came
}

func openCallee(ctx context.Context) (*callee, error) {
	const most = 16 // events that nobody has asked for yet
	listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("listen for events: %w", err)
	}
	c := &callee{listener: listener, came: make(chan time.Time, most)}
	c.server = &http.Server{ReadHeaderTimeout: longest, Handler: http.HandlerFunc(func(http.ResponseWriter, *http.Request) {
		c.came <- time.Now()
	})}
	c.serving.Go(func() { _ = c.server.Serve(listener) })
	return c, nil
}

func (c *callee) url() string { return "http://" + c.listener.Addr().String() + "/events" }

// next returns when the next event came.
func (c *callee) next(ctx context.Context) (time.Time, error) {
	select {
	case at := <-c.came:
		return at, nil
	case <-ctx.Done():
		return time.Time{}, ctx.Err()
	}
}

// skip waits for events that do not matter; a nil callee has none.
func (c *callee) skip(ctx context.Context, n int) error {
	if c == nil {
		return nil
	}
	for range n {
		if _, err := c.next(ctx); err != nil {
			return err
		}
	}
	return nil
}

func (c *callee) close() error {
	err := c.server.Close()
	c.serving.Wait()
	return err
}
