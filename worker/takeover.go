package worker

import (
	"context"
	"errors"
	"sync"
	"time"

	"postrider/delivery"
)

// maxIntroduction is how long to wait at the start until the other instances
// are known. Without them nothing is lost, but claims may be in vain.
const maxIntroduction = 3 * time.Second

// await returns when done is closed, the time is over, or ctx has ended.
func await(ctx context.Context, done <-chan struct{}, longest time.Duration) {
	timer := time.NewTimer(longest)
	defer timer.Stop()
	select {
	case <-done:
	case <-timer.C:
	case <-ctx.Done():
	}
}

// attend lets this instance be known, and notes which others there are. Met is
// closed when they are known first.
func (w *Worker) attend(ctx context.Context, met chan<- struct{}) {
	first := true
	_ = w.queue.Attend(ctx, w.options.Instance, func(heard map[string]time.Time) {
		w.share.meet(heard)
		w.metrics.instances.Set(float64(w.share.size(w.queue.Now())))
		if first {
			first = false
			close(met)
		}
	}) // it ends with ctx
}

// takeOver takes documents that were left to others when their turn comes,
// until ctx ends. Those that need a hand are left as long as all are full: the
// others are no busier. Those that need none don't wait for them.
func (w *Worker) takeOver(ctx context.Context, take finder) {
	var loops sync.WaitGroup
	defer loops.Wait()
	loops.Go(func() {
		w.takeDue(ctx, w.share.some, take, func() []string { return w.share.due(w.hands.free(), 0, w.queue.Now()) })
	})
	w.takeDue(ctx, w.share.lapsed, take, func() []string { return w.share.due(0, w.menders.free(), w.queue.Now()) })
}

// takeDue takes what is due, from when some tells that there is something.
func (w *Worker) takeDue(ctx context.Context, some <-chan struct{}, take finder, due func() []string) {
	for {
		select {
		case <-some:
		case <-ctx.Done():
			return
		}
		for n := 1; n > 0 && ctx.Err() == nil; n = w.share.count() {
			await(ctx, nil, stagger/4)
			var reads sync.WaitGroup
			for _, id := range due() {
				reads.Go(func() { w.takeOne(ctx, id, take) })
			}
			reads.Wait()
			w.metrics.left.Set(float64(w.share.count()))
		}
	}
}

// takeOne reads a document whose turn has come, and takes it if nobody else
// has.
func (w *Worker) takeOne(ctx context.Context, id string, take finder) {
	s, err := w.queue.Read(ctx, id)
	if err != nil && !errors.Is(err, delivery.ErrGone) {
		return // ctx has ended: it stays unsettled
	}
	now := w.queue.Now()
	claimed := err != nil || !actionable(s, now)
	settled := w.share.end(id, claimed, now)
	if settled == nil {
		return // it was seen meanwhile
	}
	if claimed {
		settled()
		return
	}
	w.metrics.takeovers.Inc()
	_ = take(ctx, s, settled) // an error is ctx's end
}
