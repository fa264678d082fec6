package inbox

import (
	"context"
	"io"
	"log"
	"net"
	"sync/atomic"

	"github.com/emersion/go-smtp"
)

// Sink is an SMTP server that accepts every mail and keeps none: for measuring.
// The zero value is ready to serve.
type Sink struct{ sessions atomic.Int64 }

// ServeSMTP accepts mail on l until ctx ends, then closes the listener and every
// connection, waits for all of them and returns nil. It fails if l is reachable
// from other machines, or breaks.
func (s *Sink) ServeSMTP(ctx context.Context, l net.Listener) error {
	if err := requireLoopback(l); err != nil {
		return err
	}
	server := newServer(func() smtp.Session {
		s.sessions.Add(1)
		return forgetful{}
	})
	server.ErrorLog = log.New(io.Discard, "", 0) // its client says what went wrong
	return serve(ctx, l, server)
}

// Sessions returns how many were begun.
func (s *Sink) Sessions() int64 { return s.sessions.Load() }

// forgetful is a session of a Sink.
type forgetful struct{}

func (forgetful) Reset()                               {}
func (forgetful) Logout() error                        { return nil }
func (forgetful) Mail(string, *smtp.MailOptions) error { return nil }
func (forgetful) Rcpt(string, *smtp.RcptOptions) error { return nil }

func (forgetful) Data(r io.Reader) error {
	_, err := io.Copy(io.Discard, r)
	return err
}
