package worker

import (
	"context"
	"sync"
	"time"

	"postrider/delivery"
)

// pacer lets mails go at their pace, one after the other.
type pacer struct {
	turn  chan struct{} // holds one while somebody is next
	freed chan struct{} // holds one when a mail was given back

	mu   sync.Mutex
	pace pace
}

func newPacer(limit delivery.Rate) *pacer {
	return &pacer{turn: make(chan struct{}, 1), freed: make(chan struct{}, 1), pace: pace{limit: limit}}
}

// enter returns when a mail may go, when that was, and what it was charged. The
// error is ctx's.
func (p *pacer) enter(ctx context.Context) (letGo time.Time, charge time.Duration, err error) {
	select {
	case p.turn <- struct{}{}:
	case <-ctx.Done():
		return time.Time{}, 0, context.Cause(ctx)
	}
	defer func() { <-p.turn }()
	for {
		now := time.Now()
		p.mu.Lock()
		wait, charge := p.pace.take(now)
		p.mu.Unlock()
		if wait == 0 {
			return now, charge, nil
		}
		if await(ctx, p.freed, wait); ctx.Err() != nil {
			return time.Time{}, 0, context.Cause(ctx)
		}
	}
}

func (p *pacer) giveBack(charge time.Duration) {
	p.mu.Lock()
	p.pace.giveBack(charge)
	p.mu.Unlock()
	select {
	case p.freed <- struct{}{}:
	default:
	}
}

// speed returns how many mails a second the server seems to take; 0 while it has
// not asked to slow down.
func (p *pacer) speed() float64 {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.pace.creep(time.Now())
	return p.pace.learned
}

// prospect returns how long it takes until the next mail may go, 0 if it may now,
// and how far from each other they go then.
func (p *pacer) prospect(now time.Time) (wait, apart time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return max(0, p.pace.wait(now)), p.pace.apart()
}

// took notes that the server has taken a mail.
func (p *pacer) took(now time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.pace.took(now)
}

// slowDown slows down for what was said to a mail that was let go at a time, and
// returns for how long nothing goes now, or 0 if that is nothing new.
func (p *pacer) slowDown(letGo time.Time, wait time.Duration) (pause time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.pace.slowDown(letGo, time.Now(), wait)
}

// worked reports whether the server has taken a mail lately.
func (p *pacer) worked() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return time.Since(p.pace.taken) < recentlyTaken
}
