package worker

import (
	"context"
	"math/rand/v2"
	"time"
)

// sweep looks at every document that waits or is claimed, at once and then
// again and again until ctx ends. Jitter keeps several workers apart.
func (w *Worker) sweep(ctx context.Context, found finder) {
	for {
		err := w.queue.Sweep(ctx, found.unsettling())
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
