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
// not needed grow old and close.
type Pool struct {
	o       settled
	tokens  *tokens       // nil without OAuth2
	slots   chan struct{} // one value for each connection at work
	done    chan struct{} // closed by Close
	buffers sync.Pool     // *[]byte, for encoded messages

	mu      sync.Mutex
	closed  bool
	idle    []*session     // the last one used comes last
	running sync.WaitGroup // sends, probes, and farewells; not added to after closed is set, but by those it counts
}

// NewPool returns a pool for one server, having checked o: the error holds
// everything that is wrong with it. Nothing is connected yet.
func NewPool(o Options) (*Pool, error) {
	if err := o.check(); err != nil {
		return nil, err
	}
	p := &Pool{o: o.settle(), tokens: newTokens(o.OAuth2), done: make(chan struct{})}
	p.slots = make(chan struct{}, p.o.MaxConnections)
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
// before the message was sent, the mail is tried once more on a new one.
func (p *Pool) Send(ctx, limit context.Context, m Mail) (Result, error) {
	out, e := prepare(m)
	if e != nil {
		return Result{}, e
	}
	if err := p.enter(ctx, limit, m.StartBy); err != nil {
		return Result{}, &Error{Stage: StageConnect, Err: err}
	}
	defer p.running.Done()
	defer p.encode(out, m.Message)() // with the slot in hand: a mail that waits has no second copy
	r, e := p.attempt(ctx, limit, out)
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
	if err := p.enter(ctx, ctx, time.Time{}); err != nil {
		return &Error{Stage: StageConnect, Err: err}
	}
	defer p.running.Done()
	if old := p.take(); old != nil {
		old.leave()
	}
	s, e := p.open(ctx, ctx)
	if e != nil {
		<-p.slots
		return e
	}
	p.leave(s)
	return nil
}

// encode makes m's body from message, in memory that may be used again once
// the function it returns was called.
func (p *Pool) encode(m *outgoing, message []byte) (release func()) {
	buf, _ := p.buffers.Get().(*[]byte)
	m.encode(message, *buf)
	return func() {
		if cap(m.body) <= keepBuffer {
			*buf = m.body
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

// enter waits for a slot, until startBy unless that is zero. The caller holds
// it, and is counted as running, if there is no error.
func (p *Pool) enter(ctx, limit context.Context, startBy time.Time) error {
	if err := cmp.Or(over(ctx), over(limit)); err != nil {
		return fmt.Errorf("%w: %w", errWaiting, err)
	}
	select {
	case <-p.done:
		return ErrPoolClosed
	case p.slots <- struct{}{}:
	default:
		if err := p.wait(ctx, limit, startBy); err != nil {
			return err
		}
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		<-p.slots
		return ErrPoolClosed
	}
	p.running.Add(1)
	return nil
}

// wait takes the next slot that becomes free.
func (p *Pool) wait(ctx, limit context.Context, startBy time.Time) error {
	var late <-chan time.Time
	if !startBy.IsZero() {
		t := time.NewTimer(time.Until(startBy))
		defer t.Stop()
		late = t.C
	}
	select {
	case p.slots <- struct{}{}:
		return nil
	case <-p.done:
		return ErrPoolClosed
	case <-late:
		return ErrBusy
	case <-ctx.Done():
		return fmt.Errorf("%w: %w", errWaiting, over(ctx))
	case <-limit.Done():
		return fmt.Errorf("%w: %w", errWaiting, over(limit))
	}
}

// attempt sends m over a kept connection if there is one, and over a new one if
// there is none or the kept one turns out to be stale. It gives up the slot.
func (p *Pool) attempt(ctx, limit context.Context, m *outgoing) (Result, *Error) {
	if s := p.take(); s != nil {
		r, e := s.send(ctx, limit, m)
		if e == nil || !e.stale || cmp.Or(over(ctx), over(limit)) != nil {
			p.leave(s)
			return r, e
		}
		s.close()
	}
	s, e := p.openFor(ctx, limit, m)
	if e != nil {
		<-p.slots
		return Result{}, e
	}
	r, e := s.send(ctx, limit, m)
	p.leave(s)
	return r, e
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
	s, e := open(ctx, limit, &p.o, p.tokens)
	if e == nil || p.tokens == nil || e.Stage != StageAuth || !e.Reply.Permanent() || e.drop == nil {
		return s, e
	}
	e.drop()
	return open(ctx, limit, &p.o, p.tokens)
}

// take returns the connection that was used last, or nil. One on which the
// server has said something unasked meanwhile is out of step and dropped.
func (p *Pool) take() *session {
	p.mu.Lock()
	defer p.mu.Unlock()
	for len(p.idle) > 0 {
		s := p.idle[len(p.idle)-1]
		p.idle = p.idle[:len(p.idle)-1]
		s.expire.Stop()
		if !s.unasked() {
			return s
		}
		s.close()
	}
	return nil
}

// leave keeps s for the next mail, or ends it, and gives up the slot.
func (p *Pool) leave(s *session) {
	switch {
	case s.broken:
		s.close()
	case p.o.MaxMessages > 0 && s.used >= p.o.MaxMessages, !p.keep(s):
		p.running.Go(func() {
			s.quit()
			<-p.slots
		})
		return
	}
	<-p.slots
}

// keep puts s among the idle connections, unless the pool is closed.
func (p *Pool) keep(s *session) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return false
	}
	s.kept = true
	p.idle = append(p.idle, s)
	s.expire = time.AfterFunc(p.o.IdleTimeout, func() { p.expire(s) })
	return true
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
