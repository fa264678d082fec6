package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus/promhttp"
	"golang.org/x/sync/errgroup"

	"postrider/config"
	"postrider/worker"
	"postrider/worker/web"
)

// run is the command that works: it watches until it is told to stop, or sends
// what is waiting and exits.
func (p program) run(ctx context.Context, args []string) error {
	set := p.flags("run", "postrider run watches the mail collection and sends. SIGTERM ends it: it finishes what is in hand.", p.settings)
	drain := set.Bool("drain", false, "send what is waiting, then exit: 0 when nothing is left, 1 if some failed")
	if err := parse(set, args); err != nil {
		return err
	}
	c, err := config.Load(p.lookup)
	if err != nil {
		return err
	}
	log := newLogger(p.out, c.LogLevel)
	log.Info().EmbedObject(c).Msg("starting")
	for _, warning := range c.Warnings {
		log.Warn().Msg(warning)
	}
	s, err := newService(ctx, c, log, *drain)
	if err != nil {
		return err
	}
	if *drain {
		err = s.drain(ctx)
	} else if listener, fault := s.listen(ctx); fault != nil {
		err = fault
	} else {
		err = s.serve(ctx, listener)
	}
	return errors.Join(err, s.close())
}

// settings prints the table of environment variables.
func (p program) settings(w io.Writer) {
	fmt.Fprintln(w, "\nSettings, from the environment:")
	_ = config.Usage(w)
}

// listen opens PORT.
func (s *service) listen(ctx context.Context) (net.Listener, error) {
	listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", ":"+strconv.Itoa(s.config.Port))
	if err != nil {
		return nil, fmt.Errorf("listen on PORT: %w; set PORT to another one", err)
	}
	return listener, nil
}

// serve works until ctx ends, and answers HTTP on listener meanwhile.
func (s *service) serve(ctx context.Context, listener net.Listener) error {
	group, working := errgroup.WithContext(ctx)
	ended, end := context.WithCancel(context.WithoutCancel(ctx))
	group.Go(func() error { return s.watchTemplates(working) })
	group.Go(func() error {
		defer end() // health is answered until the last attempt has ended
		return s.worker.Run(working)
	})
	if s.config.API.On() {
		group.Go(func() error { return s.runner.Run(working) })
	}
	group.Go(func() error { return s.answer(ended, listener) })
	return group.Wait()
}

// lastAnswers is how long those who asked before the end are waited for.
const lastAnswers = 2 * time.Second

// maxHeader bounds the header of a request, in bytes: a token and a target have
// less.
const maxHeader = 32 << 10

// answer serves HTTP until ctx ends, and then answers who is still waiting.
func (s *service) answer(ctx context.Context, listener net.Listener) error {
	handler, err := s.handler(ctx)
	if err != nil {
		return err
	}
	server := &http.Server{Handler: handler, ReadHeaderTimeout: 10 * time.Second, IdleTimeout: time.Minute, MaxHeaderBytes: maxHeader}
	closed := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		defer close(closed)
		last, cancel := context.WithTimeout(context.WithoutCancel(ctx), lastAnswers)
		defer cancel()
		_ = server.Shutdown(last)
		_ = server.Close()
	})
	err = server.Serve(listener)
	if stop() {
		return fmt.Errorf("serve HTTP: %w", err)
	}
	<-closed
	return nil
}

// handler answers whatever is asked over HTTP.
func (s *service) handler(ctx context.Context) (http.Handler, error) {
	o := web.Options{
		Status:  s.status,
		Fresh:   3 * s.config.SweepInterval,
		Metrics: promhttp.HandlerFor(s.registry, promhttp.HandlerOpts{}),
	}
	if s.config.API.On() {
		o.API = s.statusAPI()
	}
	if !s.config.Push {
		return web.Handler(o), nil
	}
	events, err := s.events(ctx)
	if err != nil {
		return nil, err
	}
	o.Events = events
	return web.Handler(o), nil
}

// events takes what Eventarc tells.
func (s *service) events(ctx context.Context) (http.Handler, error) {
	e := web.Events{Decode: s.queue.Event, Deliver: s.worker.Deliver, Count: web.NewCount(s.registry), Log: s.log}
	if caller := s.config.Caller; caller.Audience != "" {
		var err error
		if e.Caller, err = web.NewCaller(ctx, caller.Audience, caller.ServiceAccount, nil); err != nil {
			return nil, err
		}
	}
	return e, nil
}

func (s *service) status() web.Status {
	now := s.worker.Status()
	status := web.Status{Watching: now.Watching, Heard: now.Heard}
	if now.Problem != nil {
		status.Problem = now.Problem.Error()
	}
	return status
}

// drain sends what is waiting.
func (s *service) drain(ctx context.Context) error {
	watching, stop := context.WithCancel(ctx)
	var group errgroup.Group
	group.Go(func() error { return s.watchTemplates(watching) })
	tally, err := s.worker.Drain(ctx)
	stop()
	err = errors.Join(err, group.Wait())
	return s.drained(ctx, tally, err)
}

// drained says what a drain came to. Err is why it ended before its time; ctx is
// over if somebody has stopped it.
func (s *service) drained(ctx context.Context, tally worker.Tally, err error) error {
	line, said := s.log.Info(), "drained"
	if err != nil && ctx.Err() == nil {
		line, said = s.log.Error().Err(err), "drain ended early, documents may wait"
	}
	line.Int("delivered", tally.Delivered).Int("failed", tally.Failed).Int("waiting", tally.Waiting).
		Int("unwritten", tally.Unwritten).Bool("stopped", ctx.Err() != nil).Msg(said)
	if ctx.Err() != nil || err == nil && tally.Failed+tally.Waiting+tally.Unwritten > 0 {
		return errFailed
	}
	return err
}
