package worker

import (
	"context"
	"fmt"
	"math/rand/v2"
	"time"

	"postrider/delivery"
)

// sweep looks at every document that waits or is claimed, at once and then
// again and again until ctx ends. Jitter keeps several workers apart.
func (w *Worker) sweep(ctx context.Context, found func(context.Context, delivery.Snapshot) error) {
	for {
		err := w.queue.Sweep(ctx, found)
		if ctx.Err() != nil {
			return
		}
		w.state.swept(time.Now(), err)
		if err != nil {
			w.metrics.sweeps.WithLabelValues("failed").Inc()
			w.log.Warn().Err(err).Msg("sweep failed, another follows")
		} else {
			w.metrics.sweeps.WithLabelValues("done").Inc()
		}
		select {
		case <-time.After(jittered(w.options.Sweep, rand.Float64())):
		case <-ctx.Done():
			return
		}
	}
}

// jittered returns d give or take a quarter, by a fraction in [0,1).
func jittered(d time.Duration, fraction float64) time.Duration {
	return time.Duration(float64(d) * (0.75 + fraction/2))
}

// Drain sends what is waiting and returns what became of it. It scans the
// collection once, and sweeps it then if documents changed meanwhile. When ctx
// ends it stops as Run does. The error says why not everything was seen, or
// could be claimed.
func (w *Worker) Drain(ctx context.Context) (Tally, error) {
	work, stop := w.attempts(ctx)
	defer stop()
	claiming, giveUp := context.WithCancelCause(ctx)
	defer giveUp(nil)
	w.giveUp = giveUp
	found := w.finder(claiming, work)
	err := w.queue.Scan(claiming, found)
	w.hands.wait()
	if err == nil && w.state.counted().conflicts > 0 {
		err = w.queue.Sweep(claiming, found)
		w.hands.wait()
	}
	if claiming.Err() != nil { // stopped, or nothing could be claimed
		err = context.Cause(claiming)
	}
	if err != nil {
		return w.state.counted(), fmt.Errorf("drain: %w", err)
	}
	return w.state.counted(), nil
}
