package inbox

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"time"

	"github.com/emersion/go-smtp"
)

const (
	// A client that pools its connections leaves them idle between mails.
	smtpTimeout = 5 * time.Minute

	// Bodies with longer lines than RFC 5321 §4.5.3.1.6 allows are worth showing:
	// this is where a sender's mistake should be seen.
	maxLineBytes = 8 << 20

	maxRecipients = 10_000
)

// ServeSMTP accepts mail on l until ctx ends, then closes the listener and every
// connection, waits for all of them and returns nil. A transaction under way at
// that moment is lost. It fails if l is reachable from other machines, or breaks.
func (b *Inbox) ServeSMTP(ctx context.Context, l net.Listener) error {
	if err := requireLoopback(l); err != nil {
		return err
	}
	b.mu.Lock()
	b.address = l.Addr().String()
	b.mu.Unlock()

	server := newServer(func() smtp.Session { return &session{inbox: b} })
	server.MaxMessageBytes = b.options.MaxMessageBytes
	server.MaxRecipients = maxRecipients
	server.ErrorLog = &b.options.Log
	return serve(ctx, l, server)
}

// newServer returns a server whose sessions begin as open returns them.
func newServer(open func() smtp.Session) *smtp.Server {
	server := smtp.NewServer(smtp.BackendFunc(func(*smtp.Conn) (smtp.Session, error) { return open(), nil }))
	server.Domain = "inbox.localhost"
	server.MaxLineLength = maxLineBytes
	server.EnableSMTPUTF8 = true
	server.ReadTimeout, server.WriteTimeout = smtpTimeout, smtpTimeout
	return server
}

// serve accepts connections until ctx ends, and returns nil when the last of them
// has ended.
func serve(ctx context.Context, l net.Listener, server *smtp.Server) error {
	tracked := &trackedListener{Listener: l, conns: map[net.Conn]struct{}{}}
	stop := context.AfterFunc(ctx, tracked.closeAll)
	err := server.Serve(tracked)
	stop()
	tracked.closeAll()
	// Serve has returned, so no connection is added while Shutdown waits for them.
	_ = server.Shutdown(context.WithoutCancel(ctx))
	if ctx.Err() != nil && errors.Is(err, net.ErrClosed) {
		return nil
	}
	return fmt.Errorf("accept mail on %s: %w", l.Addr(), err)
}

// requireLoopback refuses a listener that other machines could reach: an inbox
// has no passwords.
func requireLoopback(l net.Listener) error {
	address, tcp := l.Addr().(*net.TCPAddr)
	if !tcp || address.IP.IsLoopback() {
		return nil
	}
	return fmt.Errorf("serve the inbox on %s: other machines could reach it; listen on 127.0.0.1", l.Addr())
}

// session is one SMTP connection. go-smtp calls it from one goroutine.
type session struct {
	inbox    *Inbox
	envelope Envelope
}

func (s *session) Reset()        { s.envelope = Envelope{} }
func (s *session) Logout() error { return nil }

func (s *session) Mail(from string, _ *smtp.MailOptions) error {
	s.envelope = Envelope{From: from}
	return nil
}

func (s *session) Rcpt(to string, _ *smtp.RcptOptions) error {
	s.envelope.To = append(s.envelope.To, to)
	return nil
}

// Data keeps the message. Its reply names the mail's ID, so that the document's
// delivery.info.response leads to the mail.
func (s *session) Data(r io.Reader) error {
	var raw bytes.Buffer
	if _, err := raw.ReadFrom(r); err != nil {
		return err // go-smtp's own: the mail is too large, or the connection is gone
	}
	id := s.inbox.add(s.envelope, bytes.Clone(raw.Bytes()), time.Now())
	return &smtp.SMTPError{
		Code:         250,
		EnhancedCode: smtp.EnhancedCode{2, 0, 0},
		Message:      "Ok: queued as " + id,
	}
}

// trackedListener remembers its connections so that they can be ended with it:
// go-smtp can either end them or wait for them, and the caller needs both.
type trackedListener struct {
	net.Listener

	mu     sync.Mutex
	conns  map[net.Conn]struct{}
	closed bool
}

func (l *trackedListener) Accept() (net.Conn, error) {
	conn, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		_ = conn.Close()
		return nil, net.ErrClosed
	}
	l.conns[conn] = struct{}{}
	return &trackedConn{Conn: conn, listener: l}, nil
}

func (l *trackedListener) closeAll() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.closed = true
	_ = l.Close()
	for conn := range l.conns {
		_ = conn.Close()
	}
}

type trackedConn struct {
	net.Conn
	listener *trackedListener
}

func (c *trackedConn) Close() error {
	c.listener.mu.Lock()
	delete(c.listener.conns, c.Conn)
	c.listener.mu.Unlock()
	return c.Conn.Close()
}
