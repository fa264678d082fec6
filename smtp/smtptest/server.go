package smtptest

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"sync"
	"sync/atomic"
)

// Server is an SMTP server with a programmable behaviour. It is safe for
// concurrent use.
type Server struct {
	addr string
	cert tls.Certificate
	pool *x509.CertPool

	// Stats count over the server's life.
	connections, messages, bytes atomic.Int64

	mu       sync.Mutex // guards what follows, and every recorded Session
	b        *Behaviour
	listener net.Listener // nil while down
	conns    map[net.Conn]context.CancelFunc
	sessions []*Session
	changed  chan struct{} // closed at the next change, for whoever awaits one; else nil
	running  sync.WaitGroup
}

// Stats are a server's counts.
type Stats struct {
	Connections int64 // accepted
	Messages    int64 // whose final dot arrived, whatever was replied
	Bytes       int64 // of those messages
}

// Start returns a server on a free port of 127.0.0.1 that behaves like b.
func Start(b Behaviour) (*Server, error) {
	var err error
	for range 100 { // another server may have chosen the same port
		port, none := FreePort()
		if none != nil {
			return nil, none
		}
		var s *Server
		if s, err = Listen(fmt.Sprintf("127.0.0.1:%d", port), b); err == nil {
			return s, nil
		}
	}
	return nil, err
}

// Listen returns a server on addr that behaves like b. One that is down knows
// its port, but does not listen on it.
func Listen(addr string, b Behaviour) (*Server, error) {
	s := &Server{addr: addr, conns: map[net.Conn]context.CancelFunc{}, b: &Behaviour{}}
	var err error
	if s.cert, s.pool, err = certificate(); err != nil {
		return nil, err
	}
	if err := s.up(); err != nil {
		return nil, err
	}
	return s, s.SetBehaviour(b)
}

// Addr returns host and port; they stay the same while the server is down.
func (s *Server) Addr() string { return s.addr }

// Port returns the port alone.
func (s *Server) Port() int {
	a, err := net.ResolveTCPAddr("tcp", s.addr)
	if err != nil {
		return 0
	}
	return a.Port
}

// TLSConfig returns a client's configuration that trusts this server.
func (s *Server) TLSConfig() *tls.Config {
	return &tls.Config{RootCAs: s.pool, MinVersion: tls.VersionTLS12}
}

// SetBehaviour changes what the server does from the next command on, on open
// connections too. With b.Down it stops listening and drops all connections;
// without, it listens again if it did not. It returns an error only if it
// cannot listen.
func (s *Server) SetBehaviour(b Behaviour) error {
	s.mu.Lock()
	s.b = b.clone()
	s.mu.Unlock()
	if b.Down {
		s.down()
		return nil
	}
	return s.up()
}

// Sessions returns what was recorded so far, by connection in the order they
// were accepted.
func (s *Server) Sessions() []Session {
	s.mu.Lock()
	defer s.mu.Unlock()
	all := make([]Session, len(s.sessions))
	for i, r := range s.sessions {
		all[i] = r.clone()
	}
	return all
}

// Await returns when done says yes to what is recorded, which it is asked
// again after every change, or with ctx's error.
func (s *Server) Await(ctx context.Context, done func([]Session) bool) error {
	for {
		s.mu.Lock()
		if s.changed == nil {
			s.changed = make(chan struct{})
		}
		changed := s.changed
		s.mu.Unlock()
		if done(s.Sessions()) {
			return nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// notify wakes those who await a change. The caller holds s.mu.
func (s *Server) notify() {
	if s.changed != nil {
		close(s.changed)
		s.changed = nil
	}
}

// Forget drops what was recorded so far.
func (s *Server) Forget() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.sessions = nil
}

// Transactions returns those of all sessions, by connection.
func (s *Server) Transactions() []Transaction {
	var all []Transaction
	for _, r := range s.Sessions() {
		all = append(all, r.Transactions...)
	}
	return all
}

// Stats returns the counts.
func (s *Server) Stats() Stats {
	return Stats{s.connections.Load(), s.messages.Load(), s.bytes.Load()}
}

// Close stops the server, drops its connections and waits until they are done.
func (s *Server) Close() error {
	s.down()
	s.running.Wait()
	return nil
}

func (s *Server) up() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.listener != nil {
		return nil
	}
	l, err := net.Listen("tcp", s.addr)
	if err != nil {
		return err
	}
	s.listener, s.addr = l, l.Addr().String()
	s.running.Go(func() { s.accept(l) })
	return nil
}

func (s *Server) down() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.listener != nil {
		_ = s.listener.Close()
		s.listener = nil
	}
	for c, stop := range s.conns {
		stop()
		_ = c.Close()
	}
}

func (s *Server) accept(l net.Listener) {
	for {
		c, err := l.Accept()
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil {
			continue
		}
		ctx, stop := context.WithCancel(context.Background())
		s.mu.Lock()
		if s.listener != l {
			s.mu.Unlock()
			stop()
			_ = c.Close()
			return
		}
		s.conns[c] = stop
		s.running.Go(func() {
			s.serve(ctx, c)
			stop()
			_ = c.Close()
			s.mu.Lock()
			delete(s.conns, c)
			s.mu.Unlock()
		})
		s.mu.Unlock()
	}
}
