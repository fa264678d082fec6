package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/wneessen/go-mail"
	"golang.org/x/sync/errgroup"

	"postrider/smtp"
)

// sendersEach is how many mails there are for each connection, so that some
// always wait, as in a worker.
const sendersEach = 4

const (
	mailFrom = "shop@example.com"
	mailTo   = "ada@example.org"
	mailLine = "A line of the body.\r\n"
)

// sender sends the same mail again and again.
type sender interface {
	// sendFor sends for some time, and returns mails a second.
	sendFor(ctx context.Context, spell time.Duration) (float64, error)
	close() error
}

// contender is a library, and what smtp should be to it.
type contender struct {
	name    string
	open    func(ctx context.Context, server string, connections int) (sender, error)
	targets map[time.Duration]float64 // by the network's delay; nil for none
}

// measureSMTP measures how many mails a second go over so many connections, of us
// and of our rivals.
func measureSMTP(ctx context.Context, r *rig) error {
	r.table.part("2. SMTP alone", "rival")
	all := r.contenders(ctx)
	for _, delay := range []time.Duration{0, delayed} {
		h, err := startHelper(ctx, roleSink, delay.String())
		if err != nil {
			return err
		}
		for _, n := range r.sizes.connections {
			if err = r.contest(ctx, all, h.address, n, delay); err != nil {
				break
			}
		}
		if err = errors.Join(err, h.close()); err != nil {
			return err
		}
	}
	return nil
}

// contenders returns ourselves and our rivals, as far as they are here.
func (r *rig) contenders(ctx context.Context) []contender {
	all := []contender{
		{"smtp.Pool", openPool, nil},
		{"go-mail's Client.Send", openGoMail, map[time.Duration]float64{0: 2, delayed: 6}},
	}
	if !r.npm {
		return all
	}
	script, err := nodemailer(ctx)
	if err != nil {
		r.table.skip("SMTP against nodemailer", err)
		return all
	}
	return append(
		all,
		contender{"nodemailer, pooled", withNodemailer(script, composing), map[time.Duration]float64{0: 8, delayed: 1.9}},
		contender{"nodemailer, pooled, of bytes made beforehand", withNodemailer(script, beforehand), nil},
	)
}

// delayed is the one-way delay of the slow network.
const delayed = 20 * time.Millisecond

// slower is how many times as long each sends over the slow network, where a few
// round trips at the beginning and the end would else count for too much.
const slower = 3

// contest has all send in turns over so many connections, and compares the first
// with each other one. A first round, in which connections are made, does not
// count.
func (r *rig) contest(ctx context.Context, all []contender, server string, connections int, delay time.Duration) error {
	var senders []sender
	defer func() {
		for _, s := range senders {
			if err := s.close(); err != nil {
				r.say("%v", err)
			}
		}
	}()
	for _, c := range all {
		s, err := c.open(ctx, server, connections)
		if err != nil {
			return fmt.Errorf("%s: %w", c.name, err)
		}
		senders = append(senders, s)
	}
	spell := r.sizes.spell
	if delay > 0 {
		spell *= slower
	}
	rates := make([][]float64, len(all))
	for round := range 1 + r.sizes.spells {
		for i, s := range senders {
			rate, err := s.sendFor(ctx, spell)
			if err != nil {
				return fmt.Errorf("%s: %w", all[i].name, err)
			}
			if round > 0 {
				rates[i] = append(rates[i], rate)
			}
		}
	}
	for i, c := range all[1:] {
		r.table.add(line{
			name: fmt.Sprintf("%v one way, %2d connections: %s", delay, connections, c.name), unit: "mails/s",
			ours: median(rates[0]), theirs: median(rates[i+1]), target: target{leastRatio: c.targets[delay]},
		})
	}
	return nil
}

// poolSender is what this is about.
type poolSender struct {
	pool    *smtp.Pool
	senders int
}

func openPool(_ context.Context, server string, connections int) (sender, error) {
	host, port, err := hostPort(server)
	if err != nil {
		return nil, err
	}
	p, err := smtp.NewPool(smtp.Options{Host: host, Port: port, MaxConnections: connections, IdleTimeout: longest})
	if err != nil {
		return nil, fmt.Errorf("make a pool: %w", err)
	}
	return &poolSender{p, sendersEach * connections}, nil
}

func (s *poolSender) sendFor(ctx context.Context, spell time.Duration) (float64, error) {
	m := smtp.Mail{
		Envelope: smtp.Envelope{From: mailFrom, To: []string{mailTo}},
		Message:  []byte("From: " + mailFrom + "\r\nTo: " + mailTo + "\r\nSubject: Your order\r\n\r\n" + strings.Repeat(mailLine, 40)),
	}
	return rateOf(s.senders, spell, func(int) error {
		_, err := s.pool.Send(ctx, ctx, m)
		return err
	})
}

func (s *poolSender) close() error { return s.pool.Close() }

// goMailSender is go-mail's client, one for each connection: it sends one mail at
// a time.
type goMailSender struct{ clients []*mail.Client }

func openGoMail(ctx context.Context, server string, connections int) (sender, error) {
	host, port, err := hostPort(server)
	if err != nil {
		return nil, err
	}
	s := &goMailSender{}
	for range connections {
		c, err := mail.NewClient(host, mail.WithPort(port), mail.WithTLSPolicy(mail.NoTLS))
		if err == nil {
			err = c.DialWithContext(ctx)
		}
		if err != nil {
			return nil, errors.Join(err, s.close())
		}
		s.clients = append(s.clients, c)
	}
	return s, nil
}

func (s *goMailSender) sendFor(_ context.Context, spell time.Duration) (float64, error) {
	messages := make([]*mail.Msg, len(s.clients))
	for i := range messages {
		m := mail.NewMsg()
		m.Subject("Your order")
		m.SetBodyString(mail.TypeTextPlain, strings.Repeat(mailLine, 40))
		if err := errors.Join(m.From(mailFrom), m.To(mailTo)); err != nil {
			return 0, err
		}
		messages[i] = m
	}
	return rateOf(len(s.clients), spell, func(i int) error { return s.clients[i].Send(messages[i]) })
}

func (s *goMailSender) close() error {
	var all []error
	for _, c := range s.clients {
		all = append(all, c.Close())
	}
	return errors.Join(all...)
}

func withNodemailer(script, mode string) func(context.Context, string, int) (sender, error) {
	return func(ctx context.Context, server string, connections int) (sender, error) {
		return startNodemailer(ctx, script, server, connections, mode)
	}
}

// rateOf has so many goroutines send without pause for some time, and returns
// mails a second.
func rateOf(senders int, spell time.Duration, send func(sender int) error) (float64, error) {
	var group errgroup.Group
	var sent atomic.Int64
	began := time.Now()
	for i := range senders {
		group.Go(func() error {
			for time.Since(began) < spell {
				if err := send(i); err != nil {
					return err
				}
				sent.Add(1)
			}
			return nil
		})
	}
	err := group.Wait()
	return float64(sent.Load()) / time.Since(began).Seconds(), err
}

func hostPort(address string) (string, int, error) {
	host, digits, err := net.SplitHostPort(address)
	if err != nil {
		return "", 0, fmt.Errorf("split %s: %w", address, err)
	}
	port, err := strconv.Atoi(digits)
	return host, port, err
}
