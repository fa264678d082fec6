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
// concurrent use. Found is called on one goroutine per call of the method, and
// an error of it ends the method.
type Queue interface {
	// Watch passes on every document now and whenever it changes, repeatedly or
	// not, until ctx ends. Watching is told nil when all there is has been
	// passed on, and an error when the watch is interrupted.
	Watch(ctx context.Context, found func(context.Context, delivery.Snapshot) error, watching func(error)) error
	// Sweep passes on every document that waits or is claimed.
	Sweep(ctx context.Context, found func(context.Context, delivery.Snapshot) error) error
	// Scan passes on every document that isn't final.
	Scan(ctx context.Context, found func(context.Context, delivery.Snapshot) error) error
	// Apply puts down a change if the document is still as it was, and returns
	// it as it is then; else delivery.ErrConflict or ErrGone.
	Apply(ctx context.Context, s delivery.Snapshot, c delivery.Change) (delivery.Snapshot, error)
	// Finish puts down what end makes of the record, if it still belongs to the
	// claim in s; else delivery.ErrLeaseLost or ErrGone. It tries until ctx ends.
	Finish(ctx context.Context, s delivery.Snapshot, end func(delivery.Record) delivery.Change) (delivery.Snapshot, error)
}

// Composer makes the mail that a document asks for. Id is the claim's: the same
// one gives the same Message-ID. Its errors are [*delivery.Failure], and it
// returns soon after ctx ends.
type Composer interface {
	Compose(ctx context.Context, doc delivery.Document, id string, now time.Time) (Mail, error)
}

// Sender hands a mail to the mail server; [smtp.Pool] is one. Ctx cuts it short
// before the final dot only. Its errors are [*smtp.Error].
type Sender interface {
	Send(ctx context.Context, m smtp.Mail) (smtp.Result, error)
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
	Drain       time.Duration // for attempts under way when told to stop
	Sweep       time.Duration // between two sweeps, give or take a quarter
	TTL         delivery.TTL
}

// Worker works one mail collection.
type Worker struct {
	options  Options
	queue    Queue
	composer Composer
	sender   Sender
	log      zerolog.Logger
	metrics  *Metrics
	hands    *hands
	state    state
	giveUp   func(error) // ends a drain that Firestore does not let claim; nil in Run
}

// New returns a worker. Run or Drain it once.
func New(o Options, q Queue, c Composer, s Sender, log zerolog.Logger, m *Metrics) *Worker {
	return &Worker{options: o, queue: q, composer: c, sender: s, log: log, metrics: m, hands: newHands(o.Concurrency)}
}

// errDrained ends the attempts that are under way when the drain time is over.
var errDrained = errors.New("stopped before the mail was sent")

// Run works until ctx ends. Then it claims nothing more, gives the attempts
// under way the drain time, hands back those it had to cut, and returns nil.
func (w *Worker) Run(ctx context.Context) error {
	work, stop := w.attempts(ctx)
	defer stop()
	found := w.finder(ctx, work)
	var loops sync.WaitGroup
	loops.Go(func() { w.sweep(ctx, found) })
	loops.Go(func() { w.watch(ctx, found) })
	loops.Wait()
	w.log.Info().Int("in_hand", w.hands.count()).Msg("draining")
	w.hands.wait()
	w.log.Info().Msg("ended")
	return nil
}

// watch takes what the watch passes on. The first document shows that it is
// open: with many of them waiting it takes long until all have been passed on.
func (w *Worker) watch(ctx context.Context, found func(context.Context, delivery.Snapshot) error) {
	first := true
	_ = w.queue.Watch(ctx, func(source context.Context, s delivery.Snapshot) error {
		if first {
			first = false
			w.watching(nil)
		}
		return found(source, s)
	}, func(err error) {
		first = false
		w.watching(err)
	}) // it ends with ctx
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

// watching notes the state of the watch, and says so.
func (w *Worker) watching(err error) {
	before := w.state.watch(err)
	if err != nil {
		w.metrics.watching.Set(0)
		w.log.Warn().Err(err).Msg("watch lost, opening another")
		return
	}
	w.metrics.watching.Set(1)
	if !before {
		w.log.Info().Msg("ready")
	}
}

// finder returns the function that takes in hand what is to be done something
// with. It blocks while all hands are full, and returns the error of the
// context it is called with if that ends first: a source's, which may end
// before ctx, the one that ends claiming.
func (w *Worker) finder(ctx, work context.Context) func(context.Context, delivery.Snapshot) error {
	return func(source context.Context, s delivery.Snapshot) error {
		w.state.hear(time.Now())
		if !actionable(s, time.Now()) {
			return nil
		}
		mine, err := w.hands.take(source, s)
		w.state.hear(time.Now())
		if !mine {
			return err
		}
		w.metrics.inHand.Inc()
		w.hands.running.Go(func() {
			defer w.metrics.inHand.Dec()
			w.work(ctx, work, s)
		})
		return nil
	}
}

// work handles a document until nothing is left to do about it: it may have
// changed while it was in hand.
func (w *Worker) work(ctx, work context.Context, s delivery.Snapshot) {
	for more := true; more; {
		after, known := w.handle(ctx, work, s)
		s, more = w.hands.release(after, known, func(s delivery.Snapshot) bool {
			return ctx.Err() == nil && actionable(s, time.Now())
		})
	}
}

// actionable reports whether there is something to be done about a document.
func actionable(s delivery.Snapshot, now time.Time) bool {
	switch delivery.Decide(delivery.ReadRecord(s.Fields), delivery.Complete(s.Fields), now) {
	case delivery.Ignore, delivery.Wait:
		return false
	}
	return true
}
