package smtp

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// How long a farewell may take: nothing depends on it.
const quitTimeout = 2 * time.Second

// maxAge is how old a session may become: what a name stands for changes, servers
// are taken out of service, and connections that live for ever stay where the
// load was.
const maxAge = 10 * time.Minute

// session is a connection past greeting, EHLO, TLS and AUTH.
type session struct {
	*conn
	o      *settled
	pool   *Pool // whose mails it may take along
	opened time.Time
	ext    extensions
	hello  bool // EHLO was understood; without it there are no extensions
	used   int  // transactions begun
	kept   bool // it was opened for an earlier mail, or none
	reset  bool // RSET must come before the next MAIL
	broken bool // no further command makes sense
	prompt bool // the last final reply came soon
	expire *time.Timer
	flight []byte // the last one, its memory used again

	// Guarded by the pool's mutex.
	looking  bool  // it is about to take a mail's envelope along
	follower *turn // whose envelope has flown with the message before; nil for none
	forsaken bool  // an envelope has flown whose mail has left
}

// open connects and makes a session ready for its first transaction, while ctx
// and limit last.
func open(ctx, limit context.Context, p *Pool) (*session, *Error) {
	ctx, stop := either(ctx, limit)
	defer stop()
	raw, left, err := p.spread.dial(ctx, &p.o)
	if err != nil {
		if why := over(ctx); why != nil {
			err = why
		}
		return nil, &Error{Stage: StageConnect, Err: err}
	}
	s := &session{conn: newConn(raw), o: &p.o, pool: p, opened: time.Now()}
	s.left = left
	s.watch(ctx, &s.caller)
	defer s.release(&s.caller)
	if e := s.begin(ctx, p.tokens); e != nil {
		s.leave()
		return nil, e
	}
	return s, nil
}

// spent says that so many transactions are all that the session is good for.
func (s *session) spent(transactions int) bool {
	return s.o.MaxMessages > 0 && transactions >= s.o.MaxMessages || time.Since(s.opened) >= maxAge
}

// begin takes the session from the bare connection to where MAIL may be sent. A
// nil token source means no OAuth2.
func (s *session) begin(ctx context.Context, t *tokens) *Error {
	if s.o.Secure {
		if err := s.startTLS(ctx, s.o.TLS, s.o.ConnectTimeout); err != nil {
			s.broken = true
			return &Error{Stage: StageTLS, Err: err}
		}
	}
	r, err := s.read(s.o.GreetingTimeout)
	if err != nil || r.Code != 220 {
		return s.failed(StageGreeting, "", r, err)
	}
	if e := s.greet(); e != nil {
		return e
	}
	if !s.o.Secure && (s.o.StartTLS == Required || s.o.StartTLS == Opportunistic && s.ext.startTLS) {
		if e := s.secure(ctx); e != nil {
			return e
		}
	}
	return s.authenticate(ctx, t)
}

// greet says EHLO, and HELO to a server that does not know it (RFC 5321
// §3.2).
func (s *session) greet() *Error {
	r, err := s.command("EHLO "+s.o.Name, s.o.SocketTimeout)
	if err == nil && r.Positive() {
		s.ext, s.hello = readExtensions(r), true
		s.ext.pipelining = s.ext.pipelining && s.o.Pipelining != NoPipelining
		return nil
	}
	if err != nil || r.closing() {
		return s.failed(StageHello, "EHLO", r, err)
	}
	if s.o.StartTLS == Required && s.tlsState() == nil {
		return s.failed(StageHello, "EHLO", r, ErrNoStartTLS)
	}
	s.ext, s.hello = extensions{}, false
	r, err = s.command("HELO "+s.o.Name, s.o.SocketTimeout)
	if err != nil || !r.Positive() {
		return s.failed(StageHello, "HELO", r, err)
	}
	return nil
}

// secure starts TLS and says EHLO again: what was offered in clear is not to
// be trusted (RFC 3207 §4.2).
func (s *session) secure(ctx context.Context) *Error {
	r, err := s.command("STARTTLS", s.o.SocketTimeout)
	if err != nil || !r.Positive() {
		return s.failed(StageTLS, "STARTTLS", r, err)
	}
	if err := s.startTLS(ctx, s.o.TLS, s.o.ConnectTimeout); err != nil {
		s.broken = true
		return &Error{Stage: StageTLS, Command: "STARTTLS", Err: err}
	}
	return s.greet()
}

// command sends one line and reads its reply.
func (s *session) command(line string, d time.Duration) (Reply, error) {
	if _, err := s.write([]byte(line+"\r\n"), d); err != nil {
		if r := s.lastWords(err); !r.IsZero() {
			s.broken = true
			return r, nil
		}
		return Reply{}, err
	}
	return s.read(d)
}

// lastWords looks for a refusal that explains err, the failure to write:
// servers that give up say so and close. The zero Reply is none.
func (s *session) lastWords(err error) Reply {
	if isTimeout(err) || errors.Is(err, errCancelled) {
		return Reply{}
	}
	if r, e := s.read(time.Second); e == nil && isRefusal(r) {
		return r
	}
	return Reply{}
}

// failed is the error for a reply that was not the one hoped for, or for none.
func (s *session) failed(stage Stage, command string, r Reply, err error) *Error {
	if err != nil && r.IsZero() || r.closing() {
		s.broken = true
	}
	if err == nil && !isRefusal(r) {
		s.broken = true
		err = fmt.Errorf("%w: unexpected %d", errMalformed, r.Code)
	}
	return &Error{Stage: stage, Command: command, Reply: r, Err: err}
}

// leave ends a session without ado: its server is told, not waited for.
func (s *session) leave() {
	if !s.broken {
		_, _ = s.write([]byte("QUIT\r\n"), time.Second)
	}
	s.close()
}

// quit ends a session politely.
func (s *session) quit() {
	end := time.Now().Add(quitTimeout)
	if _, err := s.write([]byte("QUIT\r\n"), quitTimeout); err == nil {
		_, _ = s.read(time.Until(end))
	}
	s.close()
}
