package worker

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/rs/zerolog"

	"postrider/delivery"
	"postrider/smtp"
)

// Queue is the mail collection as the worker sees it. Its methods are safe for
// concurrent use.
type Queue interface {
	Finder
	Record
	Keeper
}

// Finder finds documents. Found is called on one goroutine per call of a method,
// and an error of it ends the method.
type Finder interface {
	// Watch tells w of every document that changes, repeatedly or not, until ctx
	// ends.
	Watch(ctx context.Context, w delivery.Watcher) error
	// Sweep passes on every document that is due or claimed, and may pass on others
	// that wait.
	Sweep(ctx context.Context, found func(context.Context, delivery.Snapshot) error) error
	// Claimed passes on every document that is claimed.
	Claimed(ctx context.Context, found func(context.Context, delivery.Snapshot) error) error
	// Audit passes on every document that has no state, or was incomplete.
	Audit(ctx context.Context, found func(context.Context, delivery.Snapshot) error) (delivery.Audit, error)
}

// Record reads and changes documents.
type Record interface {
	// Read returns the document as it is, or delivery.ErrGone.
	Read(ctx context.Context, id string) (delivery.Snapshot, error)
	// Apply puts down a change if the document is still as it was, and returns
	// it as it is then; else as it is, and delivery.ErrConflict, or ErrGone.
	Apply(ctx context.Context, s delivery.Snapshot, c delivery.Change) (delivery.Snapshot, error)
	// Finish puts down what change makes of the record, the attempt's end or
	// something on the way to it, if it still belongs to the claim in s; else
	// delivery.ErrLeaseLost or ErrGone. It tries until ctx ends.
	Finish(ctx context.Context, s delivery.Snapshot, change func(delivery.Record) delivery.Change) (delivery.Snapshot, error)
	// Accepted counts the documents since a time whose mail was accepted for an
	// address, which is in lower case.
	Accepted(ctx context.Context, address string, since time.Time) (int, error)
}

// Keeper keeps what the instances on one collection share.
type Keeper interface {
	// Now is the time by the clock that all of them reckon by, UTC.
	Now() time.Time
	// Attend makes an instance known until ctx ends, and tells view which there
	// are and when each was last heard of.
	Attend(ctx context.Context, self string, view func(map[string]time.Time)) error
	// Checkpoint saves how far the watch has come, if that is worth it; the last
	// time, if there is anything to save.
	Checkpoint(ctx context.Context, last bool) error
	// LastAudit returns when the last complete audit began, zero if none has.
	LastAudit(ctx context.Context) (time.Time, error)
	// NoteAudit saves when a complete audit began.
	NoteAudit(ctx context.Context, began time.Time) error
}

// Composer makes the mail that a document asks for. The same id gives the same
// Message-ID. Its errors are [*delivery.Failure], or one of hold, and it
// returns soon after ctx ends.
type Composer interface {
	// Compose calls hold before the mail takes much memory beside its document, with
	// the bytes it takes then, the document left out.
	Compose(ctx context.Context, doc delivery.Document, id string, now time.Time, hold func(ctx context.Context, bytes int) error) (Mail, error)
}

// Sender hands mails to the mail server; [smtp.Pool] is one. Its errors are
// [*smtp.Error].
type Sender interface {
	// Send sends a mail. Ctx cuts it short before the final dot only, the end of
	// limit always.
	Send(ctx, limit context.Context, m smtp.Mail) (smtp.Result, error)
	// Probe has a session opened, and kept for the next mail.
	Probe(ctx context.Context) error
}

// Mail is a composed mail.
type Mail struct {
	Envelope  smtp.Envelope
	MessageID string // for delivery.info
	Message   []byte // header and body in CRLF lines, not dot-stuffed
}

// Options say how the worker works. All durations are positive.
type Options struct {
	Concurrency int           // documents in hand at once
	Lease       time.Duration // how long a claim lasts
	Margin      time.Duration // of it, kept for the write-back; less than Lease
	Attempt     time.Duration // for one attempt in all; its lease is renewed meanwhile
	Drain       time.Duration // for attempts under way when told to stop
	Sweep       time.Duration // between two sweeps, give or take a quarter
	Audit       time.Duration // between two audits, give or take a quarter
	Push        bool          // documents come by Deliver; nothing is watched
	Alone       bool          // no other instance is to be expected
	Instance    string        // its ID; unique among those on the collection
	MaxBytes    int           // that mails may take that are being made and sent; positive, and one mail may exceed it
	Rate        delivery.Rate // of mails to the server, by this instance; the zero Rate for no limit
	Policy      delivery.Policy
}

// Worker works one mail collection.
type Worker struct {
	options  Options
	queue    Queue
	composer Composer
	sender   Sender
	log      zerolog.Logger
	metrics  *Metrics
	hands    *hands // for attempts
	menders  *hands // for what only a write is to be done about
	outage   *outage
	pacer    *pacer
	room     *room
	rates    *rates
	share    *share
	missed   *missed
	desk     desk
	state    state
	giveUp   func(error) // ends a drain that Firestore does not let claim; nil in Run
}

// New returns a worker. Run or Drain it once.
func New(o Options, q Queue, c Composer, s Sender, log zerolog.Logger, m *Metrics) *Worker {
	w := &Worker{
		options: o, queue: q, composer: c, sender: s, log: log, metrics: m,
		hands: newHands(o.Concurrency), menders: newHands(max(minMenders, o.Concurrency/4)),
		outage: newOutage(), pacer: newPacer(o.Rate), room: newRoom(o.MaxBytes), rates: newRates(), share: newShare(o.Instance), missed: newMissed(), desk: newDesk(),
	}
	m.slowed.from(func() float64 { return w.pacer.speed() })
	m.held.from(func() float64 { return float64(w.room.bytes()) })
	return w
}

// minMenders is how many documents at least may be written at a time that no
// attempt is to be made of.
const minMenders = 8

// errDrained ends the attempts that are under way when the drain time is over.
var errDrained = errors.New("stopped before the mail was sent")

// Run works until ctx ends. Then it claims nothing more, gives the attempts
// under way the drain time, hands back those it had to cut, and returns nil.
func (w *Worker) Run(ctx context.Context) error {
	work, stop := w.attempts(ctx)
	defer stop()
	take := w.taker(ctx, work)
	found := w.finder(take)
	var loops sync.WaitGroup
	if !w.options.Push && !w.options.Alone {
		met := make(chan struct{})
		loops.Go(func() { w.attend(ctx, met) })
		loops.Go(func() { w.takeOver(ctx, take) })
		await(ctx, met, maxIntroduction)
	}
	loops.Go(func() { w.sweep(ctx, found) })
	loops.Go(func() { w.audit(ctx, found) })
	loops.Go(func() { w.probe(ctx) })
	if w.options.Push {
		loops.Go(func() { w.serve(ctx, work) })
	} else {
		loops.Go(func() { w.watch(ctx, found) })
		loops.Go(func() { w.keepPlace(ctx) })
	}
	loops.Wait()
	w.log.Info().Int("in_hand", w.hands.count()).Msg("draining")
	w.finishHands()
	w.lastPlace(ctx)
	w.log.Info().Msg("ended")
	return nil
}

// attempts returns the context of the attempts: ctx, and after it the drain
// time.
func (w *Worker) attempts(ctx context.Context) (work context.Context, stop func()) {
	work, end := context.WithCancelCause(context.WithoutCancel(ctx))
	release := context.AfterFunc(ctx, func() {
		time.AfterFunc(w.options.Drain, func() { end(errDrained) })
	})
	return work, func() {
		release()
		end(nil)
	}
}

// finder is what a source passes a document on to. It takes the document in
// hand if something is to be done about it here, and blocks while all hands are
// full. Settled is called when the document is taken care of, here or by
// others. The error is that of the context it is called with: a source's, which
// may end before the one that ends claiming.
type finder func(source context.Context, s delivery.Snapshot, settled func()) error

// finder returns the finder of a run that takes what is for this instance.
func (w *Worker) finder(take finder) finder {
	return func(source context.Context, s delivery.Snapshot, settled func()) error {
		now := w.queue.Now()
		w.state.hear(time.Now())
		if !actionable(s, now) {
			w.share.claimed(s, now)
			settled()
			return nil
		}
		if others, err := w.share.leave(source, w.queue.Now, w.mendable(s, now), s, settled); others || err != nil {
			return err
		}
		return take(source, s, settled)
	}
}

// taker returns what works on a document once a hand is free: ctx ends claiming,
// work attempts. What is not to be sent doesn't wait for what is: a lapsed lease
// is recorded however busy the hands are.
func (w *Worker) taker(ctx, work context.Context) finder {
	return func(source context.Context, s delivery.Snapshot, settled func()) error {
		h := w.hands
		if w.mendable(s, w.queue.Now()) {
			h = w.menders
		}
		full := h.full()
		mine, err := h.take(source, s, settled)
		now := w.queue.Now()
		w.state.hear(time.Now())
		if full && h == w.hands {
			w.share.keptWaiting(now)
		}
		if mine {
			h.run(func() { w.work(ctx, work, h, s, true) })
		}
		return err
	}
}

// unsettling makes a finder of a source that has nothing to settle: it finds
// again what was not taken care of.
func (f finder) unsettling() func(context.Context, delivery.Snapshot) error {
	return func(ctx context.Context, s delivery.Snapshot) error { return f(ctx, s, func() {}) }
}

// work handles a document until nothing is left to do about it: it may have
// changed while it was in hand. One that could not be written has a state by
// which a sweep finds it, or can't hold one. When the worker stops, what it has
// not come to is left for the next one to be told of.
//
// Patient says that it may wait for the mail server.
func (w *Worker) work(ctx, work context.Context, h *hands, s delivery.Snapshot, patient bool) {
	w.metrics.inHand.Inc()
	defer w.metrics.inHand.Dec()
	var end *hold
	how := &errand{patient: patient}
	for end == nil {
		how.found = h.found(s.ID)
		after, err := w.handle(ctx, work, s, how)
		s, end = h.release(after, err, func(s delivery.Snapshot) (bool, error) {
			if !actionable(s, w.queue.Now()) {
				return false, nil
			}
			if ctx.Err() != nil {
				return false, delivery.ErrStopping
			}
			return true, nil
		})
	}
	switch {
	case end.err != nil && ctx.Err() != nil:
	case errors.Is(end.err, errUnclaimed):
		w.missed.giveUp(end.settled...)
	default:
		for _, settled := range end.settled {
			settled()
		}
	}
}

// mendable reports whether a document needs a write and no attempt. One that is
// in an attempt here is left to it, even if its lease has lapsed: it knows more.
func (w *Worker) mendable(s delivery.Snapshot, now time.Time) bool {
	switch decide(s, now) {
	case delivery.Expire:
		return !w.hands.leased(delivery.ReadRecord(s.Fields).Lease.ID)
	case delivery.Refuse:
		return true
	}
	return false
}

// decide returns what may be done about a document.
func decide(s delivery.Snapshot, now time.Time) delivery.Action {
	return delivery.Decide(delivery.ReadRecord(s.Fields), delivery.Complete(s.Fields), now)
}

// actionable reports whether there is something to be done about a document.
func actionable(s delivery.Snapshot, now time.Time) bool {
	switch decide(s, now) {
	case delivery.Ignore, delivery.Wait:
		return false
	}
	return true
}
