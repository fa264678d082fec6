package inbox_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/smtp"
	"net/textproto"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"postrider/cmd/postrider/inbox"
)

// running is an inbox served on loopback until the test ends.
type running struct {
	*inbox.Inbox
	smtp string // host:port
	page string // http://host:port
}

// run serves an inbox and, at the end of the test, checks that it stops.
func run(t *testing.T, o inbox.Options) running {
	t.Helper()
	box, err := inbox.New(o)
	if err != nil {
		t.Fatal(err)
	}
	mail, page := listen(t), listen(t)
	ctx, stop := context.WithCancel(context.Background())
	done := make(chan error, 2)
	go func() { done <- box.ServeSMTP(ctx, mail) }()
	go func() { done <- box.ServePage(ctx, page) }()
	t.Cleanup(func() {
		http.DefaultClient.CloseIdleConnections()
		stop()
		if err := errors.Join(<-done, <-done); err != nil {
			t.Errorf("stopping the inbox: %v", err)
		}
	})
	return running{box, mail.Addr().String(), "http://" + page.Addr().String()}
}

func listen(t *testing.T) net.Listener {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// send delivers a mail written with LF line ends and returns the final reply.
func (r running) send(t *testing.T, from string, to []string, message string) string {
	t.Helper()
	reply, err := r.transact(from, to, message)
	if err != nil {
		t.Fatalf("send: %v", err)
	}
	return reply
}

func (r running) transact(from string, to []string, message string) (string, error) {
	c, err := textproto.Dial("tcp", r.smtp)
	if err != nil {
		return "", err
	}
	defer func() { _ = c.Close() }()
	commands := []string{"", "EHLO test", fmt.Sprintf("MAIL FROM:<%s>", from)}
	for _, a := range to {
		commands = append(commands, fmt.Sprintf("RCPT TO:<%s>", a))
	}
	for _, command := range append(commands, "DATA") {
		if command != "" {
			if err := c.PrintfLine("%s", command); err != nil {
				return "", err
			}
		}
		if code, line, err := c.ReadResponse(0); err != nil || code >= 400 {
			return "", fmt.Errorf("%s: %d %s %w", command, code, line, err)
		}
	}
	w := c.DotWriter()
	if _, err := w.Write([]byte(message)); err != nil {
		return "", err
	}
	if err := w.Close(); err != nil {
		return "", err
	}
	code, line, err := c.ReadResponse(250)
	return fmt.Sprintf("%d %s", code, line), err
}

const plain = "From: Ann <ann@sender.test>\nTo: bob@rcpt.test\nSubject: =?utf-8?q?Gr=C3=BC=C3=9Fe?=\n\nHello Bob.\n"

func TestMailIsKeptWithItsEnvelope(t *testing.T) {
	box := run(t, inbox.Options{})
	to := []string{"bob@rcpt.test", "secret@rcpt.test"}
	if got := box.send(t, "bounce@sender.test", to, plain); got != "250 2.0.0 Ok: queued as 1" {
		t.Errorf("reply %q", got)
	}
	box.send(t, "", to[:1], "Subject: second\n\n.dotted\n")

	mails := box.Mails()
	if len(mails) != 2 {
		t.Fatalf("%d mails, want 2", len(mails))
	}
	newest, oldest := mails[0], mails[1]
	if newest.Subject != "second" || newest.Envelope.From != "" {
		t.Errorf("newest first: got %q from %q", newest.Subject, newest.Envelope.From)
	}
	if got := string(newest.Raw); got != "Subject: second\r\n\r\n.dotted\r\n" {
		t.Errorf("raw %q", got)
	}
	if oldest.ID != "1" || oldest.Subject != "Grüße" || oldest.From != "Ann <ann@sender.test>" || oldest.Preview != "Hello Bob." {
		t.Errorf("oldest: %+v", oldest)
	}
	if got := strings.Join(oldest.Envelope.To, " "); got != strings.Join(to, " ") {
		t.Errorf("envelope %q, want %q", got, to)
	}
	if _, ok := box.Mail("3"); ok {
		t.Error("an ID never given has a mail")
	}
	box.Clear()
	box.send(t, "", to, plain)
	if got := box.Mails(); len(got) != 1 || got[0].ID != "3" {
		t.Errorf("numbering after Clear: %+v", got)
	}
}

func TestOldestMailsMakeRoom(t *testing.T) {
	subjects := func(box running) (all string) {
		for _, m := range box.Mails() {
			all += m.Subject
		}
		return all
	}
	t.Run("by number", func(t *testing.T) {
		box := run(t, inbox.Options{MaxMails: 2})
		for _, s := range []string{"a", "b", "c"} {
			box.send(t, "", []string{"x@y.test"}, "Subject: "+s+"\n\n")
		}
		if got := subjects(box); got != "cb" {
			t.Errorf("kept %q, want cb", got)
		}
	})
	t.Run("by size", func(t *testing.T) {
		box := run(t, inbox.Options{MaxBytes: 1000})
		for _, s := range []string{"a", "b", "c"} {
			box.send(t, "", []string{"x@y.test"}, "Subject: "+s+"\n\n"+strings.Repeat("x", 400)+"\n")
		}
		if got := subjects(box); got != "cb" {
			t.Errorf("kept %q, want cb", got)
		}
	})
}

func TestMailBeyondTheSizeIsRefused(t *testing.T) {
	box := run(t, inbox.Options{MaxMessageBytes: 1000})
	_, err := box.transact("a@b.test", []string{"x@y.test"}, "Subject: big\n\n"+strings.Repeat("x\n", 1000))
	var reply *textproto.Error
	if !errors.As(err, &reply) || reply.Code != 552 {
		t.Errorf("got %v, want 552", err)
	}
	if got := len(box.Mails()); got != 0 {
		t.Errorf("%d mails kept", got)
	}
}

func TestLongLinesAndManyRecipientsAreAccepted(t *testing.T) {
	box := run(t, inbox.Options{})
	var to []string
	for i := range 500 {
		to = append(to, fmt.Sprintf("r%d@y.test", i))
	}
	box.send(t, "a@b.test", to, "Subject: long\n\n"+strings.Repeat("x", 1<<20)+"\n")
	m := box.Mails()[0]
	if len(m.Envelope.To) != 500 || len(m.Raw) < 1<<20 {
		t.Errorf("%d recipients, %d bytes", len(m.Envelope.To), len(m.Raw))
	}
}

func TestOptionsThatContradictEachOtherAreRefused(t *testing.T) {
	for name, o := range map[string]inbox.Options{
		"a mail larger than the inbox": {MaxBytes: 10, MaxMessageBytes: 11},
		"negative":                     {MaxMails: -1},
	} {
		if _, err := inbox.New(o); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}

func TestOnlyLoopbackIsServed(t *testing.T) {
	l, err := net.Listen("tcp", "0.0.0.0:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	box, err := inbox.New(inbox.Options{})
	if err != nil {
		t.Fatal(err)
	}
	for name, serve := range map[string]func(context.Context, net.Listener) error{"SMTP": box.ServeSMTP, "page": box.ServePage} {
		if err := serve(t.Context(), l); err == nil || !strings.Contains(err.Error(), "127.0.0.1") {
			t.Errorf("%s on every interface: %v", name, err)
		}
	}
}

func TestABrokenListenerEndsServing(t *testing.T) {
	box, err := inbox.New(inbox.Options{})
	if err != nil {
		t.Fatal(err)
	}
	for name, serve := range map[string]func(context.Context, net.Listener) error{"SMTP": box.ServeSMTP, "page": box.ServePage} {
		l := listen(t)
		_ = l.Close()
		if err := serve(t.Context(), l); err == nil {
			t.Errorf("%s on a closed listener: no error", name)
		}
	}
}

// Stopping must not wait for idle clients, open event streams or half a mail,
// and must leave no goroutine behind.
func TestServingEndsWithTheContext(t *testing.T) {
	ignore := goleak.IgnoreCurrent()
	t.Run("serve", func(t *testing.T) {
		box := run(t, inbox.Options{})
		idle, err := smtp.Dial(box.smtp)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = idle.Close() })
		half, err := smtp.Dial(box.smtp)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = half.Close() })
		if err := errors.Join(half.Mail("a@b.test"), half.Rcpt("c@d.test")); err != nil {
			t.Fatal(err)
		}
		if _, err := half.Data(); err != nil {
			t.Fatal(err)
		}
		events, err := http.Get(box.page + "/events")
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = events.Body.Close() })
	})
	http.DefaultClient.CloseIdleConnections()
	goleak.VerifyNone(t, ignore)
}

// until polls what a server does on its own until it holds.
func until(t *testing.T, what string, holds func() bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for !holds() {
		select {
		case <-tick.C:
		case <-ctx.Done():
			t.Fatalf("never happened: %s", what)
		}
	}
}
