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
	// mostFailures is how many mails in a row may find no session before none is
	// claimed any more.
	mostFailures = 5

	// mostLogins is the same for logins that were refused: servers lock accounts.
	mostLogins = 3

	// turnTime is how long a mail in trial may take to a session before another
	// one is let through: it may be the mail's own matter.
	turnTime = 15 * time.Second
)

// circuit is whether mails are claimed.
type circuit int

const (
	trial  circuit = iota // one at a time, until there is a session; so it begins
	closed                // as many as there are hands
	open                  // none: the mail server can't be used
)

// outage is a circuit breaker: while the mail server can't be used documents
// wait unclaimed. It opens when sessions fail in a row, and closes when a probe,
// which is a session without a mail, gets one.
type outage struct {
	mu       sync.Mutex
	circuit  circuit
	trying   *pass         // in trial: of the last mail on its way to a session; nil if none is
	tried    time.Time     // since when it is
	failures int           // in a row
	logins   int           // of them, refused logins
	cause    error         // of the last one
	since    time.Time     // when the circuit opened
	turned   chan struct{} // closed and replaced when waiting is worth another look
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

// turn lets those who wait look again. o.mu is held.
func (o *outage) turn() {
	close(o.turned)
	o.turned = make(chan struct{})
}

// problem says why the circuit is open; nil if it is not.
func (o *outage) problem() error {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.circuit != open {
		return nil
	}
	return fmt.Errorf("documents wait unclaimed since %s: %w", o.since.UTC().Format(time.RFC3339), o.cause)
}

// isOpen reports whether the circuit is open, and returns what tells of a change.
func (o *outage) isOpen() (bool, <-chan struct{}) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.circuit == open, o.turned
}

// succeed closes the circuit: there is a session.
func (o *outage) succeed() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.failures, o.logins, o.cause, o.trying = 0, 0, nil, nil
	if o.circuit != closed {
		o.circuit = closed
		o.turn()
	}
}

// fail notes that there was no session, and reports whether that was known
// already.
func (o *outage) fail(e *smtp.Error, now time.Time) (known bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	known = o.circuit == open
	o.failures++
	o.cause = describe(e)
	o.logins++
	if !e.Login() {
		o.logins = 0
	}
	switch {
	case known:
	case o.failures >= mostFailures, o.logins >= mostLogins:
		o.circuit, o.since = open, now
		o.turn()
	default:
		o.circuit = trial
	}
	return known
}

// describe says what is wrong with a server without what it said, which may hold
// an address.
func describe(e *smtp.Error) error {
	if e.Reply.Code != 0 {
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

// probe opens a session now and then while the circuit is open, until ctx ends.
func (w *Worker) probe(ctx context.Context) {
	for {
		open, turned := w.outage.isOpen()
		if !open {
			select {
			case <-turned:
				continue
			case <-ctx.Done():
				return
			}
		}
		if !w.outageBegan() {
			continue
		}
		if !w.recovered(ctx) {
			return
		}
		w.outageEnded()
	}
}

// recovered returns when the circuit is closed; false if ctx ends first.
func (w *Worker) recovered(ctx context.Context) bool {
	for n := 0; ; n++ {
		_, turned := w.outage.isOpen()
		select {
		case <-time.After(w.outage.pause(n, rand.Float64())):
		case <-turned:
		case <-ctx.Done():
			return false
		}
		if open, _ := w.outage.isOpen(); !open {
			return true // a mail found a session meanwhile
		}
		err := w.sender.Probe(ctx)
		if ctx.Err() != nil {
			return false
		}
		if err == nil {
			w.outage.succeed()
			return true
		}
		if e, ok := errors.AsType[*smtp.Error](err); ok && e.Unreachable() {
			w.outage.fail(e, w.queue.Now())
		}
	}
}

// pause returns how long to wait for the n-th probe: from five seconds to a
// minute, and where logins are refused from one minute to a quarter of an hour.
func (o *outage) pause(n int, fraction float64) time.Duration {
	o.mu.Lock()
	defer o.mu.Unlock()
	first, most := 5*time.Second, time.Minute
	if o.logins > 0 {
		first, most = time.Minute, 15*time.Minute
	}
	return jittered(min(most, first<<min(n, 8)), fraction)
}

// outageBegan tells of an outage; false if a mail has found a session meanwhile.
func (w *Worker) outageBegan() bool {
	problem := w.outage.problem()
	if problem == nil {
		return false
	}
	w.metrics.down.Set(1)
	w.log.Error().Err(problem).Msg("mail server can't be used")
	if w.giveUp != nil {
		w.giveUp(problem)
	}
	return true
}

func (w *Worker) outageEnded() {
	w.metrics.down.Set(0)
	w.log.Info().Msg("mail server can be used again")
}
