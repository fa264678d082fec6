package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"sync"
	"time"

	"github.com/rs/zerolog"

	"postrider/delivery/firestored"
	"postrider/smtp/smtptest"
)

// playSink is a mail server that takes everything and keeps nothing, at the end
// of a network with the one-way delay that is its argument. It answers every
// question with how many mails it has taken.
func playSink(args []string, in io.Reader, out io.Writer) error {
	record := false
	server, err := smtptest.Start(smtptest.Behaviour{Record: &record})
	if err != nil {
		return err
	}
	taken := func([]string) (string, error) { return strconv.FormatInt(server.Stats().Messages, 10), nil }
	if len(args) == 0 { // no network between
		return errors.Join(answer(server.Addr(), in, out, taken), server.Close())
	}
	delay, err := time.ParseDuration(args[0])
	if err != nil {
		return errors.Join(err, server.Close())
	}
	proxy, err := smtptest.NewProxy(server.Addr())
	if err != nil {
		return errors.Join(err, server.Close())
	}
	proxy.SetDelay(delay)
	return errors.Join(answer(proxy.Addr(), in, out, taken), proxy.Close(), server.Close())
}

// sink is a mail server in a process of its own.
type sink struct{ *helper }

// taken returns how many mails the server has taken.
func (s sink) taken() (int, error) {
	answer, err := s.ask("taken")
	if err != nil {
		return 0, err
	}
	return strconv.Atoi(answer)
}

// What a Firestore server is asked.
const (
	askPush = "push" // DATABASE URL: send the changes of the mail collection there, too
	askHush = "hush" // send no more changes anywhere
)

// playStore is a Firestore server.
func playStore(ctx context.Context, in io.Reader, out io.Writer) error {
	ctx, end := context.WithCancel(ctx)
	defer end()
	listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return fmt.Errorf("listen for Firestore's clients: %w", err)
	}
	server := firestored.New(firestored.Options{Log: zerolog.Nop()})
	served := make(chan error, 1)
	var serving sync.WaitGroup
	serving.Go(func() { served <- server.Serve(ctx, listener) })
	events := pusher{server: server}
	err = answer(listener.Addr().String(), in, out, func(question []string) (string, error) {
		if len(question) == 3 && question[0] == askPush {
			events.start(ctx, question[1], question[2])
			return "done", nil
		}
		return "done", events.stop()
	})
	err = errors.Join(err, events.stop())
	end()
	serving.Wait()
	return errors.Join(err, <-served)
}

// pusher sends events as Eventarc does.
type pusher struct {
	server *firestored.Server
	ends   []func() error
}

// start returns once every change from here on is sent.
func (p *pusher) start(ctx context.Context, database, url string) {
	ctx, cancel := context.WithCancel(ctx)
	ready, done := make(chan struct{}), make(chan error, 1)
	transport := &http.Transport{MaxIdleConnsPerHost: 100} // Eventarc keeps its connections; the default client keeps two
	var sending sync.WaitGroup
	sending.Go(func() {
		done <- p.server.Subscribe(ctx, firestored.Subscription{
			Database: database, Document: collection + "/{id}", URL: url,
			Client: &http.Client{Transport: transport}, Ready: func() { close(ready) },
		})
	})
	p.ends = append(p.ends, func() error {
		cancel()
		sending.Wait()
		transport.CloseIdleConnections()
		return <-done
	})
	<-ready
}

func (p *pusher) stop() error {
	var all []error
	for _, end := range p.ends {
		all = append(all, end())
	}
	p.ends = nil
	return errors.Join(all...)
}

// push has the server send the changes of a mail collection to a URL.
func (s *site) push(database, url string) error {
	_, err := s.helper.ask(askPush, database, url)
	return err
}

// hush ends all that.
func (s *site) hush() error {
	_, err := s.helper.ask(askHush)
	return err
}
