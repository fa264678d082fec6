package worker

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync"
	"time"

	"postrider/delivery"
)

// missed is what asks for an audit: sources that may have missed something.
type missed struct {
	wake      chan struct{} // holds one when something is asked for
	unclaimed chan struct{} // holds one when a document was given up that could not be claimed

	mu      sync.Mutex
	settled []func() // to be called when an audit that begins from here on has ended
}

func newMissed() *missed {
	return &missed{wake: make(chan struct{}, 1), unclaimed: make(chan struct{}, 1)}
}

// begin forgets what was given up before an audit that begins: it is found again.
func (m *missed) begin() {
	select {
	case <-m.unclaimed:
	default:
	}
}

// giveUp asks for an audit because of a document that could not be claimed; one
// that is under way must not count.
func (m *missed) giveUp(settled ...func()) {
	select {
	case m.unclaimed <- struct{}{}:
	default:
	}
	m.add(settled...)
}

// add asks for an audit, after which settled is called.
func (m *missed) add(settled ...func()) {
	m.mu.Lock()
	m.settled = append(m.settled, settled...)
	m.mu.Unlock()
	select {
	case m.wake <- struct{}{}:
	default:
	}
}

// take returns what an audit that begins now will settle.
func (m *missed) take() []func() {
	m.mu.Lock()
	defer m.mu.Unlock()
	settled := m.settled
	m.settled = nil
	return settled
}

// audit looks for documents that no source has passed on, until ctx ends: when
// one says that it may have missed some, and from time to time, by one of the
// instances. When the last one was is remembered over restarts.
func (w *Worker) audit(ctx context.Context, found finder) {
	next := w.firstAudit(ctx)
	for {
		timer := time.NewTimer(next.Sub(w.queue.Now()))
		select {
		case <-w.missed.wake:
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return
		}
		timer.Stop()
		settled, began := w.missed.take(), w.queue.Now()
		next = began.Add(jittered(w.options.Audit, rand.Float64()))
		if len(settled) == 0 && !w.share.first("audit", began) {
			continue
		}
		if err := w.auditOnce(ctx, found); err != nil {
			w.retryAudit(ctx, settled, err)
			continue
		}
		for _, settle := range settled {
			settle()
		}
		w.noteAudit(ctx, began)
	}
}

// retryAudit has a failed audit repeated after the time of a sweep.
func (w *Worker) retryAudit(ctx context.Context, settled []func(), err error) {
	if ctx.Err() != nil {
		return
	}
	w.log.Warn().Err(err).Msg("audit failed, another follows")
	await(ctx, nil, jittered(w.options.Sweep, rand.Float64()))
	w.missed.add(settled...)
}

// firstAudit returns when the next audit is due; not at once, for a watch that
// begins without a checkpoint asks for one itself.
func (w *Worker) firstAudit(ctx context.Context) time.Time {
	last, err := w.queue.LastAudit(ctx)
	if err != nil && ctx.Err() == nil {
		w.log.Warn().Err(err).Msg("last audit is not known, another follows")
	}
	now := w.queue.Now()
	if now.Before(last) { // by a clock that was ahead
		last = now
	}
	return later(last.Add(jittered(w.options.Audit, rand.Float64())), now.Add(maxIntroduction))
}

// auditOnce makes one audit, and returns when all that it found is taken care
// of: before, nobody may rely on it.
func (w *Worker) auditOnce(ctx context.Context, found finder) error {
	began, open := time.Now(), newLatch()
	w.missed.begin()
	a, err := w.queue.Audit(ctx, func(ctx context.Context, s delivery.Snapshot) error {
		open.add()
		return found(ctx, s, open.done)
	})
	if ctx.Err() != nil {
		return ctx.Err()
	}
	w.state.audited(err)
	if err != nil {
		w.metrics.audits.WithLabelValues("failed").Inc()
		return fmt.Errorf("audit: %w", err)
	}
	w.metrics.audits.WithLabelValues("done").Inc()
	w.metrics.found.Add(float64(a.Missing))
	w.log.Info().Int("documents", a.Documents).Int("missing", a.Missing).Int("reads", a.Reads).
		Dur("took", time.Since(began)).Msg("audited")
	open.done() // what newLatch has counted
	select {
	case <-open.none:
		return nil
	case <-w.missed.unclaimed:
		return fmt.Errorf("audit: %w", errUnclaimed)
	case <-ctx.Done():
		return ctx.Err()
	}
}

// latch counts what is not taken care of yet. It begins with one, so that it is
// not over before all is known.
type latch struct {
	none chan struct{} // closed when nothing is left

	mu sync.Mutex
	n  int
}

func newLatch() *latch { return &latch{none: make(chan struct{}), n: 1} }

func (l *latch) add() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.n++
}

func (l *latch) done() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.n--; l.n == 0 {
		close(l.none)
	}
}

// noteAudit remembers a complete audit.
func (w *Worker) noteAudit(ctx context.Context, began time.Time) {
	if err := w.queue.NoteAudit(ctx, began); err != nil && ctx.Err() == nil {
		w.log.Warn().Err(err).Msg("audit could not be noted, another follows sooner")
	}
}
