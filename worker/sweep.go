package worker

import (
	"context"
	"fmt"
	"math/rand/v2"
	"time"

	"postrider/delivery"
)

// sweep looks at every document that waits or is claimed, at once and then
// again and again until ctx ends. Jitter keeps several workers apart, and a
// sweep that takes long is followed by a pause four times as long.
func (w *Worker) sweep(ctx context.Context, found func(context.Context, delivery.Snapshot) error) {
	for {
		began := time.Now()
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
		case <-time.After(max(jittered(w.options.Sweep, rand.Float64()), 4*time.Since(began))):
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
// ends it stops as Run does. The error says why not everything was seen.
func (w *Worker) Drain(ctx context.Context) (Tally, error) {
	work, stop := w.attempts(ctx)
	defer stop()
	found := w.finder(ctx, work)
	err := w.queue.Scan(ctx, found)
	w.hands.wait()
	if err == nil && w.state.counted().conflicts > 0 {
		err = w.queue.Sweep(ctx, found)
		w.hands.wait()
	}
	if err != nil {
		return w.state.counted(), fmt.Errorf("drain: %w", err)
	}
	return w.state.counted(), nil
}
