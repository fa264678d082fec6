package worker

import (
	"context"
	"errors"
	"sync"
	"time"

	"postrider/delivery"
	"postrider/smtp"
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

// enter returns when a mail may go, and when that was. The error is ctx's.
func (p *pacer) enter(ctx context.Context) (letGo time.Time, err error) {
	select {
	case p.turn <- struct{}{}:
	case <-ctx.Done():
		return time.Time{}, context.Cause(ctx)
	}
	defer func() { <-p.turn }()
	for {
		now := time.Now()
		p.mu.Lock()
		wait := p.pace.take(now)
		p.mu.Unlock()
		if wait == 0 {
			return now, nil
		}
		if await(ctx, p.freed, wait); ctx.Err() != nil {
			return time.Time{}, context.Cause(ctx)
		}
	}
}

func (p *pacer) giveBack() {
	p.mu.Lock()
	p.pace.giveBack()
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

// entry is what a mail has been let in with. Leave it.
type entry struct {
	worker *Worker
	*pass
	stay     *stay
	document int // bytes, of the stay
	letGo    time.Time
	begun    bool // the mail came to the server
}

// enter returns once a mail may be claimed: the mail server can be used,
// SMTP_RATE lets it go, and there is room for it. What can't be patient is turned
// away with delivery.ErrUnavailable rather than kept for long.
func (w *Worker) enter(ctx context.Context, s delivery.Snapshot, patient bool) (*entry, error) {
	for {
		p, err := w.outage.enter(ctx, patient)
		if err != nil {
			return nil, err
		}
		in, err := w.letIn(ctx, s, patient)
		if err != nil {
			p.end()
			return nil, err
		}
		in.pass = p
		if isOpen, _ := w.outage.isOpen(); !isOpen {
			return in, nil
		}
		in.leave() // it has waited for too long
	}
}

func (w *Worker) letIn(ctx context.Context, s delivery.Snapshot, patient bool) (*entry, error) {
	if !patient {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeoutCause(ctx, maxQueue, delivery.ErrUnavailable)
		defer cancel()
	}
	in := &entry{worker: w, document: takes * s.Size}
	var err error
	if in.letGo, err = w.pacer.enter(ctx); err == nil {
		if in.stay, err = w.room.enter(ctx, in.document); err == nil {
			return in, nil
		}
		w.pacer.giveBack()
	}
	if errors.Is(err, delivery.ErrUnavailable) {
		return nil, err
	}
	return nil, delivery.ErrStopping
}

// takes is how many times its document's size a mail takes: what was read of it,
// and the message made of it.
const takes = 2

// leave lets the next ones in.
func (in *entry) leave() {
	in.end()
	in.stay.leave()
	if !in.begun {
		in.begun = true
		in.worker.pacer.giveBack()
	}
}

// end gives the pass back, if there is one.
func (in *entry) end() {
	if in.pass != nil {
		in.pass.end()
	}
}

// recentlyTaken is how long ago a server that asks to slow down has taken a
// mail, if it is the pace that it dislikes and not the mail.
const recentlyTaken = time.Minute

// heed slows down if the server asks for it in what it said about a mail. It
// reports whether the mail is not to be blamed for being refused.
func (w *Worker) heed(in *entry, result smtp.Result, failed *smtp.Error) (blameless bool) {
	said := result.Recipients
	if failed != nil {
		said = append([]smtp.Recipient{{Reply: failed.Reply}}, failed.Recipients...)
	}
	wait, slow := time.Duration(0), false
	for _, r := range said {
		if d, asked := r.Reply.SlowDown(); asked {
			wait, slow = max(wait, d), true
		}
	}
	now := time.Now()
	halved, blameless := w.pacer.heed(in.letGo, now, slow, wait, failed == nil)
	if halved {
		w.log.Warn().Float64("per_second", w.pacer.speed()).Dur("wait", wait).Msg("mail server asks to slow down")
	}
	w.metrics.slowed.Set(w.pacer.speed())
	return blameless
}

// heed notes what the server made of a mail that was let go at a time.
func (p *pacer) heed(letGo, now time.Time, slow bool, wait time.Duration, accepted bool) (halved, blameless bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if slow {
		halved = p.pace.slowDown(letGo, now, wait)
		blameless = now.Sub(p.pace.taken) < recentlyTaken
	}
	if accepted {
		p.pace.took(now)
	}
	return halved, blameless
}
