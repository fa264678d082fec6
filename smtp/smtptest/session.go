package smtptest

import (
	"bytes"
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"strings"
	"time"
)

// conn is the server's side of one connection, used by one goroutine.
type conn struct {
	s   *Server
	ctx context.Context
	nc  net.Conn
	buf []byte // the memory of in while that is small
	in  []byte // received and not yet used
	out []byte // replies not yet sent

	rec     *Session // guarded by s.mu
	tx      int      // index of the open transaction in rec, or -1
	auth    bool     // somebody has logged in, rightly or wrongly
	silent  bool     // hung: nothing is answered any more
	receive bool     // between 354 and the final dot
	begun   bool     // a part of the message has been searched for its end
	from    int      // where in in to go on searching
}

// Record limits.
const (
	maxRecordedCommand = 300
	readSize           = 64 << 10
)

func (s *Server) serve(ctx context.Context, nc net.Conn) {
	s.connections.Add(1)
	c := &conn{s: s, ctx: ctx, nc: nc, rec: &Session{}, tx: -1, buf: make([]byte, readSize)}
	s.mu.Lock()
	b := s.b
	if b.recording() {
		s.sessions = append(s.sessions, c.rec)
		s.notify()
	}
	s.mu.Unlock()
	if b.ImplicitTLS && !c.startTLS() {
		return
	}
	greeting := b.Greeting
	if greeting == "" {
		greeting = "220 sink.test ESMTP"
	}
	if !c.reply("greeting", greeting) {
		return
	}
	for c.step() {
	}
	_ = c.flush()
}

// step does one thing: takes a command, or a part of a message.
func (c *conn) step() bool {
	if c.receive {
		return c.message()
	}
	i := bytes.IndexByte(c.in, '\n')
	if i < 0 {
		return c.fill()
	}
	line := strings.TrimSuffix(string(c.in[:i]), "\r")
	c.in = c.in[i+1:]
	return c.command(line)
}

// fill sends what is waiting and reads more.
func (c *conn) fill() bool {
	if c.flush() != nil {
		return false
	}
	switch {
	case len(c.in) == 0:
		c.in = c.buf[:0]
	case cap(c.in)-len(c.in) < readSize/4:
		c.in = append(make([]byte, 0, max(readSize, 2*len(c.in))), c.in...)
	}
	n, err := c.nc.Read(c.in[len(c.in):cap(c.in)])
	c.in = c.in[:len(c.in)+n]
	return err == nil || n > 0
}

func (c *conn) flush() error {
	if len(c.out) == 0 {
		return nil
	}
	_, err := c.nc.Write(c.out)
	c.out = c.out[:0]
	return err
}

// reply answers at a stage, as the behaviour has it. It returns false when the
// connection is over.
func (c *conn) reply(stage, text string) bool {
	c.s.mu.Lock()
	b := c.s.b
	c.s.mu.Unlock()
	switch {
	case b.DropAt == stage:
		_ = c.flush()
		return false
	case b.HangAt == stage:
		_ = c.flush()
		c.silent = true
	}
	if d := time.Duration(b.Delays[stage]); d > 0 {
		if c.flush() != nil || !c.wait(d) {
			return false
		}
	}
	if b.Hold != nil && stage == "dataEnd" && (c.flush() != nil || !c.held(b.Hold)) {
		return false
	}
	if c.silent {
		return true
	}
	for line := range strings.SplitSeq(text, "\n") {
		c.out = append(append(c.out, line...), '\r', '\n')
	}
	return true
}

// held waits until hold is closed, or less if the server closes.
func (c *conn) held(hold <-chan struct{}) bool {
	select {
	case <-hold:
		return true
	case <-c.ctx.Done():
		return false
	}
}

// wait lets d pass, or less if the server closes.
func (c *conn) wait(d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-c.ctx.Done():
		return false
	}
}

// startTLS makes the handshake; what came before it is discarded.
func (c *conn) startTLS() bool {
	if c.flush() != nil {
		return false
	}
	t := tls.Server(c.nc, &tls.Config{Certificates: []tls.Certificate{c.s.cert}, MinVersion: tls.VersionTLS12})
	if t.HandshakeContext(c.ctx) != nil {
		return false
	}
	c.nc, c.in = t, c.in[:0]
	c.record(func(r *Session) { r.TLS = true })
	return true
}

// record changes what is recorded of the session.
func (c *conn) record(change func(*Session)) {
	c.s.mu.Lock()
	defer c.s.mu.Unlock()
	change(c.rec)
	c.s.notify()
}

// behaviour runs f with the behaviour, which f may use up, and may record.
func (c *conn) behaviour(f func(*Behaviour)) {
	c.s.mu.Lock()
	defer c.s.mu.Unlock()
	f(c.s.b)
	c.s.notify()
}

func (c *conn) command(line string) bool {
	c.behaviour(func(b *Behaviour) {
		if b.recording() {
			c.rec.Commands = append(c.rec.Commands, line[:min(len(line), maxRecordedCommand)])
		}
	})
	verb, _, _ := strings.Cut(line, " ")
	switch strings.ToUpper(verb) {
	case "EHLO", "HELO":
		return c.hello(line)
	case "STARTTLS":
		return c.startTLSCommand()
	case "AUTH":
		return c.authenticate(line)
	case "MAIL":
		return c.mail(line)
	case "RCPT":
		return c.rcpt(line)
	case "DATA":
		return c.data()
	case "RSET":
		c.tx = -1
		return c.reply("rset", "250 2.0.0 Ok")
	case "NOOP":
		return c.reply("noop", "250 2.0.0 Ok")
	case "QUIT":
		c.reply("quit", "221 2.0.0 Bye")
		return c.silent
	default:
		return c.reply("unknown", "502 5.5.2 Error: command not recognized")
	}
}

func (c *conn) hello(line string) bool {
	var text string
	c.behaviour(func(b *Behaviour) {
		esmtp := strings.EqualFold(line[:4], "EHLO")
		if esmtp && b.Ehlo != "" {
			text = b.Ehlo
			return
		}
		c.rec.Helo = strings.TrimSpace(line[4:])
		text = "250 sink.test"
		if esmtp {
			text = b.greet(c.rec.TLS)
		}
	})
	return c.reply("ehlo", text)
}

// greet is the usual reply to EHLO.
func (b *Behaviour) greet(secure bool) string {
	lines := []string{"sink.test greets you", "PIPELINING", "SIZE 35882577", "8BITMIME", "SMTPUTF8", "ENHANCEDSTATUSCODES"}
	if b.Caps != nil {
		lines = append(lines[:1], b.Caps...)
	}
	if b.AuthUsers != nil {
		mechs := b.AuthMechs
		if mechs == nil {
			mechs = []string{"PLAIN", "LOGIN"}
		}
		lines = append(lines, "AUTH "+strings.Join(mechs, " "))
	}
	if b.StartTLS && !secure {
		lines = append(lines, "STARTTLS")
	}
	var all strings.Builder
	for i, l := range lines {
		if i == len(lines)-1 {
			fmt.Fprintf(&all, "250 %s", l)
		} else {
			fmt.Fprintf(&all, "250-%s\n", l)
		}
	}
	return all.String()
}

func (c *conn) startTLSCommand() bool {
	offered := false
	c.behaviour(func(b *Behaviour) { offered = b.StartTLS })
	if !offered {
		return c.reply("starttls", "502 5.5.1 not supported")
	}
	return c.reply("starttls", "220 2.0.0 Ready to start TLS") && (c.silent || c.startTLS())
}
