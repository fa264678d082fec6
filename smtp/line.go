package smtp

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"time"
)

// forever is longer than any mail waits.
const forever = time.Duration(1<<63 - 1)

// turn is the place of a mail, or a probe, in the line of those that wait for a
// connection. Pool.mu guards what its wait may find changed.
type turn struct {
	mail    *outgoing     // nil for a probe
	over    func() error  // why it waits in vain; nil while it does not
	startBy time.Time     // zero for none
	wake    chan struct{} // has a value when something has changed

	asked bool // it is to get ready, so that its envelope can fly
	ready bool // it is
	plain bool // its envelope is not to fly (again)

	on      *session  // with whose message its envelope has flown; nil for none
	flownAt time.Time // zero for never
	given   bool      // the wait is over, with what it holds
	hold    hold
}

// hold is what a mail has when its wait is over: the right to have a connection
// at work, and perhaps one.
type hold struct {
	session *session // nil for none
	flown   bool     // the envelope has been sent on it
	stale   bool     // the envelope was sent on one that has broken
}

// enter waits for a connection, or the right to open one: until startBy unless
// that is zero. The caller has it, and is counted as running, if there is no
// error. A nil mail is a probe.
func (p *Pool) enter(ctx, limit context.Context, m *outgoing, startBy time.Time) (hold, *Error) {
	if err := cmp.Or(over(ctx), over(limit)); err != nil {
		return hold{}, &Error{Stage: StageConnect, Err: fmt.Errorf("%w: %w", errWaiting, err)}
	}
	p.mu.Lock()
	if p.closed {
		p.mu.Unlock()
		return hold{}, &Error{Stage: StageConnect, Err: ErrPoolClosed}
	}
	p.running.Add(1)
	if p.busy < p.o.MaxConnections {
		p.busy++
		p.mu.Unlock()
		return hold{}, nil
	}
	t := &turn{mail: m, startBy: startBy, wake: make(chan struct{}, 1)}
	t.over = func() error { return cmp.Or(over(ctx), over(limit)) }
	p.line = append(p.line, t)
	p.ask()
	p.mu.Unlock()
	in := false
	defer func() {
		if !in { // it may have panicked
			p.running.Done()
		}
	}()
	h, e := p.wait(ctx, limit, t)
	in = e == nil
	return h, e
}

// wait returns when t is given a connection, or must go without.
func (p *Pool) wait(ctx, limit context.Context, t *turn) (hold, *Error) {
	alarm := time.NewTimer(forever)
	defer alarm.Stop()
	done := p.done
	for {
		p.set(alarm, t)
		select {
		case <-t.wake:
		case <-alarm.C:
		case <-ctx.Done():
		case <-limit.Done():
		case <-done:
			done = nil // a mail whose envelope has flown goes on
		}
		now := time.Now()
		switch what, err := p.look(t, now); what {
		case stay:
		case goOn:
			return t.hold, nil
		case getReady:
			if e := p.begin(t); e != nil {
				return hold{}, e
			}
		case giveUp:
			p.goAway(t)
			return hold{}, &Error{Stage: StageConnect, Err: err}
		case cutOff:
			return hold{}, t.cutOff(p.goAway(t), err)
		}
	}
}

// news is what a mail that waits finds when it looks.
type news int

const (
	stay     news = iota
	goOn          // it has been given a connection
	getReady      // its envelope may fly once it has begun
	giveUp        // the wait is over
	cutOff        // all is over
)

// look says what t is to do now. One whose patience is over steps aside.
func (p *Pool) look(t *turn, now time.Time) (news, error) {
	over := t.over()
	p.mu.Lock()
	defer p.mu.Unlock()
	switch {
	case over != nil:
		return cutOff, over
	case t.given:
		return goOn, nil
	case p.closed && t.on == nil:
		return giveUp, ErrPoolClosed
	case !t.startBy.IsZero() && !now.Before(t.startBy):
		return giveUp, ErrBusy
	case t.asked && !t.ready:
		return getReady, nil
	case t.on == nil || now.Sub(t.flownAt) < patience:
		return stay, nil
	}
	t.forsake()
	t.plain = true
	if p.closed {
		return giveUp, ErrPoolClosed
	}
	if p.busy < p.o.MaxConnections {
		p.busy++
		t.given = true
		return goOn, nil
	}
	p.line = slices.Insert(p.line, 0, t)
	return stay, nil
}

// goAway takes t out of the line, gives back what it was given, and says whether
// its envelope has flown.
func (p *Pool) goAway(t *turn) (flown bool) {
	p.mu.Lock()
	h, given := t.hold, t.given
	switch {
	case given:
	case t.on != nil:
		flown = true
		t.forsake()
	default:
		p.line = slices.DeleteFunc(p.line, func(other *turn) bool { return other == t })
	}
	p.mu.Unlock()
	switch {
	case !given:
		return flown
	case h.session == nil:
		p.release()
		return h.stale
	}
	h.session.broken = h.session.broken || h.flown
	p.leave(h.session)
	return h.flown
}

// cutOff is the error of a mail that has waited in vain, for why; of one whose
// envelope has flown, that of a mail cut off while MAIL is answered.
func (t *turn) cutOff(flown bool, why error) *Error {
	if !flown {
		return &Error{Stage: StageConnect, Err: fmt.Errorf("%w: %w", errWaiting, why)}
	}
	d := dialogue{rcpts: make([]Reply, len(t.mail.to))}
	return &Error{Stage: StageMail, Command: verb(StageMail), Recipients: d.recipients(t.mail), Err: why}
}

// set sets the alarm at which t looks by itself, if there is need to.
func (p *Pool) set(alarm *time.Timer, t *turn) {
	p.mu.Lock()
	d := t.patience(time.Now())
	p.mu.Unlock()
	if d == forever {
		alarm.Stop()
		return
	}
	alarm.Reset(d)
}

// patience is how long t waits before it looks by itself.
func (t *turn) patience(now time.Time) time.Duration {
	d := forever
	if !t.startBy.IsZero() {
		d = t.startBy.Sub(now)
	}
	switch {
	case t.on != nil:
		d = min(d, t.flownAt.Add(patience).Sub(now))
	case t.ready && !t.plain: // it may have flown by then
		d = min(d, patience)
	}
	return d
}

// next takes the first turn out of the line; nil if there is none, or nobody is
// served any more. The caller holds p.mu.
func (p *Pool) next() *turn {
	if p.closed || len(p.line) == 0 {
		return nil
	}
	t := p.line[0]
	p.line[0] = nil
	p.line = p.line[1:]
	return t
}

// give ends t's wait. The caller holds p.mu.
func (t *turn) give(h hold) {
	t.given, t.hold = true, h
	t.notify()
}

func (t *turn) notify() {
	select {
	case t.wake <- struct{}{}:
	default:
	}
}

// release gives up the right to have a connection at work, to who is first in
// line.
func (p *Pool) release() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if t := p.next(); t != nil {
		t.give(hold{})
		return
	}
	p.busy--
}

// passage is what becomes of a session when a mail is done with it.
type passage int

const (
	passed  passage = iota // somebody has it, or will; or somebody has its place
	useless                // it must be closed
	wornOut                // it has done what it may
)

// pass gives s to the mail that follows on it, or the one that is first in line,
// or keeps it.
func (p *Pool) pass(s *session) passage {
	p.mu.Lock()
	defer p.mu.Unlock()
	t := s.follower
	s.kept = true
	switch {
	case t == nil:
		p.lookAway(s)
	case s.broken:
		p.lookAway(s)
		t.on, s.follower = nil, nil
		t.give(hold{stale: true})
		return passed
	default: // it is still looking, for who comes after
		t.on, s.follower = nil, nil
		t.give(hold{session: s, flown: true})
		return passed
	}
	switch {
	case s.broken, s.forsaken, s.unasked(): // what nobody asked for would pass for the next reply
		return useless
	case s.spent(s.used), p.closed:
		return wornOut
	}
	if t := p.next(); t != nil {
		t.give(hold{session: s})
		return passed
	}
	p.keep(s)
	p.busy--
	return passed
}
