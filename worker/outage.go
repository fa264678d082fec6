package worker

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"time"

	"postrider/delivery"
	"postrider/smtp"
)

const (
	// mostFailures is how many sessions in a row must fail until it is an outage
	// that somebody is told of. A login that is refused is one at once.
	mostFailures = 5

	// recently is how long ago a server that works has worked.
	recently = 5 * time.Second

	// turnTime is how long a mail in trial may take to a session before another
	// one is let through: it may be the mail's own matter.
	turnTime = 15 * time.Second
)

// circuit is whether mails are claimed.
type circuit int

const (
	trial  circuit = iota // one at a time, until there is a session; so it begins
	closed                // as many as there are hands
	open                  // none: the last session failed
)

// outage is a circuit breaker: while the mail server can't be used documents
// wait unclaimed. The first session that fails opens it, so that no other mail
// is lost to the same cause, and probes, which are sessions without a mail, find
// out whether it was chance: one that succeeds closes it.
type outage struct {
	mu       sync.Mutex
	circuit  circuit
	trying   *pass         // in trial: of the last mail on its way to a session; nil if none is
	tried    time.Time     // since when it is
	failures int           // in a row
	login    bool          // one of them was a login that the server refused
	cause    error         // of the last one, or of that login
	since    time.Time     // when the circuit opened
	worked   time.Time     // when there was last a session, or a mail on one
	probed   time.Time     // when the next probe is due; while the circuit is open
	turned   chan struct{} // closed and replaced when the circuit is another, or it is another one's turn
}

func newOutage() *outage { return &outage{turned: make(chan struct{})} }

// enter returns once a mail may be claimed. A door that is shut, as opposed to
// one at which a queue is, is delivery.ErrUnavailable where patient is false.
func (o *outage) enter(ctx context.Context, patient bool) (*pass, error) {
	for {
		p, turned, err := o.tryEnter(patient, time.Now())
		if p != nil || err != nil {
			return p, err
		}
		await(ctx, turned, turnTime)
		if ctx.Err() != nil {
			return nil, delivery.ErrStopping
		}
	}
}

func (o *outage) tryEnter(patient bool, now time.Time) (*pass, <-chan struct{}, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	switch {
	case o.circuit == closed:
		return &pass{outage: o}, nil, nil
	case o.circuit == trial && (o.trying == nil || now.Sub(o.tried) >= turnTime):
		o.trying, o.tried = &pass{outage: o}, now
		return o.trying, nil, nil
	case o.circuit == open && !patient:
		return nil, nil, delivery.ErrUnavailable
	}
	return nil, o.turned, nil
}

// become changes the circuit, and lets those who wait look again. o.mu is held.
func (o *outage) become(c circuit) {
	if o.circuit == c {
		return
	}
	o.circuit, o.trying = c, nil
	o.turn()
}

func (o *outage) turn() {
	close(o.turned)
	o.turned = make(chan struct{})
}

// isOpen reports whether the circuit is open, and returns what tells of a change.
func (o *outage) isOpen() (bool, <-chan struct{}) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.circuit == open, o.turned
}

// rest returns the pause before the n-th probe, and notes when that is due.
func (o *outage) rest(n int, fraction float64, now time.Time) time.Duration {
	d := o.pause(n, fraction)
	o.mu.Lock()
	defer o.mu.Unlock()
	o.probed = now.Add(d)
	return d
}

// prospect returns how long it takes until it may be known whether the mail server
// can be used; 0 while it can.
func (o *outage) prospect(now time.Time) time.Duration {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.circuit != open {
		return 0
	}
	return max(0, o.probed.Sub(now))
}

// problem says what an operator should know; nil if nothing.
func (o *outage) problem() error {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.circuit != open || o.failures < mostFailures && !o.login {
		return nil
	}
	return fmt.Errorf("documents wait unclaimed since %s: %w", o.since.UTC().Format(time.RFC3339), o.cause)
}

// succeed closes the circuit: there is a session. One that was opened earlier does
// not show that a login that was refused since would do now.
func (o *outage) succeed(fresh bool, now time.Time) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.worked = now
	if o.login && !fresh {
		return
	}
	o.failures, o.login, o.cause = 0, false, nil
	o.become(closed)
}

// fail opens the circuit: there is no session. It reports whether the mail is not
// to be blamed: that was known already, or the server is crowded, has as many
// sessions as it wants and works on those.
func (o *outage) fail(e *smtp.Error, now time.Time) (blameless, crowded bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	known := o.circuit == open
	if !known {
		o.since = now
	}
	crowded = e.Reply.Temporary() && now.Sub(o.worked) < recently
	o.failures++
	if o.login = o.login || e.Login(); !o.login || e.Login() {
		o.cause = describe(e)
	}
	o.become(open)
	return known || crowded, crowded
}

// describe says what is wrong with a server without what it said, which may hold
// an address.
func describe(e *smtp.Error) error {
	switch {
	case e.Login() && e.Reply.Code == 0:
		return errors.New("no OAuth2 access token is to be had: check the OAuth2 settings")
	case e.Login():
		return fmt.Errorf("the mail server refuses the login (reply %d %s): check SMTP_PASSWORD, or the OAuth2 settings", e.Reply.Code, e.Reply.Enhanced)
	case e.Reply.Code != 0:
		return fmt.Errorf("the mail server can't be used: %s: reply %d %s", e.Stage, e.Reply.Code, e.Reply.Enhanced)
	}
	return fmt.Errorf("the mail server can't be used: %s: %s", e.Stage, e.Cause())
}

// pass lets one mail through to the mail server.
type pass struct{ *outage }

// end gives the pass back: in trial it is another one's turn.
func (p *pass) end() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.trying == p {
		p.trying = nil
		p.turn()
	}
}

// errOutage keeps a mail from opening a session while the circuit is open.
var errOutage = errors.New("the mail server can't be used")

// errCrowded has a mail handed back for which there was no session, as the server
// works on others.
var errCrowded = errors.New("the mail server has as many sessions as it wants")

// probe opens a session now and then while the circuit is open, until ctx ends.
func (w *Worker) probe(ctx context.Context) {
	for ctx.Err() == nil {
		isOpen, turned := w.outage.isOpen()
		if !isOpen {
			select {
			case <-turned:
			case <-ctx.Done():
			}
			continue
		}
		told := false
		for n := 0; isOpen && ctx.Err() == nil; n++ {
			told = w.tell(told)
			await(ctx, turned, w.outage.rest(n, rand.Float64(), time.Now()))
			if isOpen, turned = w.outage.isOpen(); isOpen && ctx.Err() == nil {
				isOpen = !w.reached(ctx)
			}
		}
		if told && !isOpen {
			w.metrics.down.Set(0)
			w.log.Info().Msg("mail server can be used again")
		}
	}
}

// reached reports whether a probe has found a session.
func (w *Worker) reached(ctx context.Context) bool {
	err := w.sender.Probe(ctx)
	if err == nil {
		w.outage.succeed(true, w.queue.Now())
		return true
	}
	if e, ok := errors.AsType[*smtp.Error](err); ok && e.Unreachable() && ctx.Err() == nil {
		w.outage.fail(e, w.queue.Now())
	}
	return false
}

// pause returns how long to wait for the n-th probe: from a second to a minute,
// and where the login is refused, for servers lock accounts, from one minute to a
// quarter of an hour.
func (o *outage) pause(n int, fraction float64) time.Duration {
	o.mu.Lock()
	defer o.mu.Unlock()
	first, most := time.Second, time.Minute
	if o.login {
		first, most = time.Minute, 15*time.Minute
	}
	return min(most, first<<min(n, 10)) + time.Duration(fraction*float64(first)/4)
}

// tell tells of an outage, once, when it is one, and reports whether it is told.
func (w *Worker) tell(told bool) bool {
	problem := w.outage.problem()
	if told || problem == nil {
		return told
	}
	w.metrics.down.Set(1)
	w.log.Error().Err(problem).Msg("mail server can't be used")
	if w.giveUp != nil {
		w.giveUp(problem)
	}
	return true
}
