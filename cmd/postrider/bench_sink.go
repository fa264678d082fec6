package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"net"
	"strings"
	"sync"
	"sync/atomic"
)

// blackhole is a mail server for a dry run: it accepts every mail at once and
// forgets it. It speaks as much of RFC 5321 as a client needs that sends, with
// PIPELINING (RFC 2920), and keeps no time: its clients are in the same process.
type blackhole struct {
	listener    net.Listener
	connections atomic.Int64 // that were opened

	mu     sync.Mutex
	open   map[net.Conn]bool
	closed bool
}

// newBlackhole opens a port of this machine.
func newBlackhole(ctx context.Context) (*blackhole, error) {
	listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	return &blackhole{listener: listener, open: map[net.Conn]bool{}}, nil
}

// port returns the port it listens on.
func (s *blackhole) port() int { return s.listener.Addr().(*net.TCPAddr).Port }

// serve answers until close is called, and returns when the last connection has
// ended.
func (s *blackhole) serve() {
	var sessions sync.WaitGroup
	defer sessions.Wait()
	for {
		conn, err := s.listener.Accept()
		if err != nil || !s.enter(conn) {
			return
		}
		sessions.Go(func() {
			defer s.leave(conn)
			_ = (&swallower{in: bufio.NewReaderSize(conn, 64<<10), out: bufio.NewWriter(conn)}).session()
		})
	}
}

func (s *blackhole) enter(conn net.Conn) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		_ = conn.Close()
		return false
	}
	s.connections.Add(1)
	s.open[conn] = true
	return true
}

func (s *blackhole) leave(conn net.Conn) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.open, conn)
	_ = conn.Close()
}

// close ends the server and its connections.
func (s *blackhole) close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closed = true
	_ = s.listener.Close()
	for conn := range s.open {
		_ = conn.Close()
	}
}

// swallower is one session of a blackhole.
type swallower struct {
	in  *bufio.Reader
	out *bufio.Writer
}

// errQuit ends a session that the client has left.
var errQuit = errors.New("quit")

// session answers until the client leaves.
func (s *swallower) session() error {
	s.say("220 dry-run.localhost ESMTP")
	for {
		line, err := s.line()
		if err != nil {
			return err
		}
		if err := s.command(line); err != nil {
			_ = s.out.Flush()
			return err
		}
	}
}

// line returns the next line. What was said is flushed before the client has to
// be waited for.
func (s *swallower) line() (string, error) {
	if s.in.Buffered() == 0 {
		if err := s.out.Flush(); err != nil {
			return "", err
		}
	}
	line, err := s.in.ReadSlice('\n')
	return string(line), err
}

func (s *swallower) say(line string) {
	_, _ = s.out.WriteString(line + "\r\n") // Flush tells
}

// command answers one command.
func (s *swallower) command(line string) error {
	verb, _, _ := strings.Cut(strings.ToUpper(strings.TrimSpace(line)), " ")
	switch verb {
	case "EHLO":
		s.say("250-dry-run.localhost\r\n250-PIPELINING\r\n250-8BITMIME\r\n250-SMTPUTF8\r\n250 ENHANCEDSTATUSCODES")
	case "HELO":
		s.say("250 dry-run.localhost")
	case "MAIL", "RCPT":
		s.say("250 2.1.0 Ok")
	case "DATA":
		s.say("354 End data with <CR><LF>.<CR><LF>")
		if err := s.out.Flush(); err != nil {
			return err
		}
		if err := s.swallow(); err != nil {
			return err
		}
		s.say("250 2.0.0 Ok: forgotten")
	case "RSET", "NOOP":
		s.say("250 2.0.0 Ok")
	case "QUIT":
		s.say("221 2.0.0 Bye")
		return errQuit
	default:
		s.say("502 5.5.1 Command not implemented")
	}
	return nil
}

// swallow reads a message up to the dot that ends it.
func (s *swallower) swallow() error {
	begins := true // the next slice begins a line
	for {
		line, err := s.in.ReadSlice('\n')
		switch {
		case errors.Is(err, bufio.ErrBufferFull):
			begins = false
			continue
		case err != nil:
			return err
		case begins && bytes.Equal(line, []byte(".\r\n")):
			return nil
		}
		begins = true
	}
}
