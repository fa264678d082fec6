package smtp

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"sync"
	"time"
)

// keepBuffer is the largest message buffer worth keeping, in bytes.
const keepBuffer = 256 << 10

// Pool sends mail over connections that it opens on demand, at most
// Options.MaxConnections at once, and keeps for the next mail. It is safe for
// concurrent use. The last one used is the first one used again, so that those
// not needed grow old and close. Mails for which there is none wait in line: who
// comes first has the next one.
type Pool struct {
	o       settled
	tokens  *tokens // nil without OAuth2
	spread  addresses
	done    chan struct{} // closed by Close
	buffers sync.Pool     // *[]byte, for encoded messages

	mu       sync.Mutex
	closed   bool
	busy     int            // connections at work, or being opened or closed
	line     []*turn        // who waits for one of them; empty while busy is below the limit
	idle     []*session     // the last one used comes last
	lookouts int            // sessions that are looking
	wary     time.Time      // no envelope flies ahead before it
	running  sync.WaitGroup // sends, probes, and farewells; not added to after closed is set, but by those it counts
}

// NewPool returns a pool for one server, having checked o: the error holds
// everything that is wrong with it. Nothing is connected yet.
func NewPool(o Options) (*Pool, error) {
	if err := o.check(); err != nil {
		return nil, err
	}
	p := &Pool{o: o.settle(), tokens: newTokens(o.OAuth2), done: make(chan struct{})}
	p.buffers.New = func() any { return new([]byte) }
	return p, nil
}

// Send runs one transaction and returns when its fate is known, or cannot be
// known any more. A nil error means that at least one recipient and then the
// message was accepted; which ones is in the result. Every other error is an
// [*Error].
//
// The end of ctx ends the attempt as long as the final dot is not flushed, and
// the wait for a connection. The end of limit ends it however far it has come:
// after the dot with [Error.PossiblyAccepted]. If its cause is a deadline that
// passed, so is the error's. Neither need be derived from the other, and when
// they end may change while Send runs: what counts is that they do. A deadline
// that limit tells is also looked at before every read and write, so that a
// process that was stopped for a while sends nothing after it.
//
// If a kept connection turns out to be dead, or the server leaves it with 421,
// before the message was sent, the mail is tried once more on a new one. So it is
// if its envelope was sent along with the message before it, and the server did
// not make sense of that.
func (p *Pool) Send(ctx, limit context.Context, m Mail) (Result, error) {
	out, e := prepare(m)
	if e != nil {
		return Result{}, e
	}
	h, e := p.enter(ctx, limit, out, m.StartBy)
	if e != nil {
		return Result{}, e
	}
	defer p.running.Done()
	defer p.encode(out)() // with the connection in hand: a mail that waits has no second copy
	r, e := p.attempt(ctx, limit, out, h)
	if e != nil {
		return Result{}, e
	}
	return r, nil
}

// Probe opens a session without a mail, as far as where MAIL may be sent, and
// keeps it for the next mail. It waits for a free connection as Send does, and
// until ctx ends; its errors are those of Send. If there is an idle connection
// it takes that one's place: an old session proves nothing.
func (p *Pool) Probe(ctx context.Context) error {
	h, e := p.enter(ctx, ctx, nil, time.Time{})
	if e != nil {
		return e
	}
	defer p.running.Done()
	old := h.session
	if old == nil {
		old = p.take()
	}
	if old != nil {
		old.leave()
	}
	s, e := p.open(ctx, ctx)
	if e != nil {
		p.release()
		return e
	}
	p.leave(s)
	return nil
}

// encode makes m's message ready to travel, if it is not: in memory that may be
// used again once the function it returns was called.
func (p *Pool) encode(m *outgoing) (release func()) {
	if m.asIs {
		m.encode(nil)
		return func() {}
	}
	buf, _ := p.buffers.Get().(*[]byte)
	m.encode(*buf)
	return func() {
		if cap(m.lines) <= keepBuffer {
			*buf = m.lines
		}
		p.buffers.Put(buf)
	}
}

// Close ends the pool: it waits for the mails being sent, refuses those that
// wait for a connection, and says QUIT on idle connections. It returns when
// nothing is left. Later calls wait too.
func (p *Pool) Close() error {
	p.mu.Lock()
	if !p.closed {
		p.closed = true
		close(p.done)
	}
	idle := p.idle
	p.idle = nil
	p.mu.Unlock()
	var farewells sync.WaitGroup
	for _, s := range idle {
		s.expire.Stop()
		farewells.Go(s.quit)
	}
	farewells.Wait()
	p.running.Wait()
	return nil
}

// attempt sends m over the connection it was given or one that is kept, and over
// a new one if there is none or that turns out to be stale. It gives up the
// connection, even if a function of the caller's panics: others wait for its
// place.
func (p *Pool) attempt(ctx, limit context.Context, m *outgoing, h hold) (r Result, e *Error) {
	s, ended := h.session, false
	if s == nil && !h.stale {
		s = p.take()
	}
	defer func() { p.giveBack(s, ended) }()
	if s != nil {
		r, e = s.send(ctx, limit, m, h.flown)
		if e == nil || !e.stale || cmp.Or(over(ctx), over(limit)) != nil {
			ended = true
			return r, e
		}
		if h.flown && outOfStep(e) {
			p.beWary(e)
		}
		p.drop(s)
		s = nil
	}
	if s, e = p.openFor(ctx, limit, m); e != nil {
		if m.noSession != nil && e.Unreachable() {
			m.noSession(e)
		}
		return Result{}, e
	}
	r, e = s.send(ctx, limit, m, false)
	ended = true
	return r, e
}

// giveBack gives up a mail's place, and the session in it unless that is nil. One
// whose transaction has not ended is of no more use.
func (p *Pool) giveBack(s *session, ended bool) {
	if s == nil {
		p.release()
		return
	}
	s.broken = s.broken || !ended
	p.leave(s)
}

// openFor opens a session for m, if the caller lets it.
func (p *Pool) openFor(ctx, limit context.Context, m *outgoing) (*session, *Error) {
	if m.open != nil {
		if err := m.open(); err != nil {
			return nil, &Error{Stage: StageConnect, Err: fmt.Errorf("%w: %w", errCaller, err)}
		}
	}
	return p.open(ctx, limit)
}

// open opens a session. If the server refuses the access token, that is
// forgotten and a new one tried, once, on a new connection.
func (p *Pool) open(ctx, limit context.Context) (*session, *Error) {
	s, e := open(ctx, limit, p)
	if e != nil && p.tokens != nil && e.Stage == StageAuth && e.Reply.Permanent() && e.drop != nil {
		e.drop()
		s, e = open(ctx, limit, p)
	}
	return s, e
}

// take returns the connection that was used last, or nil. Those that are too old
// are left.
func (p *Pool) take() *session {
	for {
		s := p.lastUsed()
		if s == nil || !s.spent(s.used) {
			return s
		}
		s.leave()
	}
}

func (p *Pool) lastUsed() *session {
	p.mu.Lock()
	defer p.mu.Unlock()
	last := len(p.idle) - 1
	if last < 0 {
		return nil
	}
	s := p.idle[last]
	p.idle = p.idle[:last]
	s.expire.Stop()
	return s
}

// leave gives s to the mail that follows on it, or the one that is first in
// line, or keeps it; or ends it.
func (p *Pool) leave(s *session) {
	if s.broken {
		s.close()
	}
	switch p.pass(s) {
	case passed:
	case useless:
		s.close()
		p.release()
	case wornOut:
		p.running.Go(func() {
			s.quit()
			p.release()
		})
	}
}

// drop closes s, and does not give up its place.
func (p *Pool) drop(s *session) {
	p.mu.Lock()
	p.lookAway(s)
	p.mu.Unlock()
	s.close()
}

// keep puts s among the idle connections. The caller holds p.mu.
func (p *Pool) keep(s *session) {
	p.idle = append(p.idle, s)
	if s.expire == nil {
		s.expire = time.AfterFunc(p.o.IdleTimeout, func() { p.expire(s) })
		return
	}
	s.expire.Reset(p.o.IdleTimeout)
}

// expire ends s if it is still idle.
func (p *Pool) expire(s *session) {
	p.mu.Lock()
	i := slices.Index(p.idle, s)
	if p.closed || i < 0 {
		p.mu.Unlock()
		return
	}
	p.idle = slices.Delete(p.idle, i, i+1)
	p.running.Add(1)
	p.mu.Unlock()
	defer p.running.Done()
	s.quit()
}
