package worker

import (
	"context"
	"math/rand/v2"
	"sync"
	"time"

	"postrider/delivery"
)

// sweep looks at every document that waits or is claimed, at once and then
// again and again until ctx ends. Jitter keeps several workers apart. While an
// earlier sweep still waits for hands to take what it has found, only what is
// claimed is looked at: a lapsed lease is found in time however many documents
// wait.
func (w *Worker) sweep(ctx context.Context, found finder) {
	var running sync.WaitGroup
	defer running.Wait()
	idle := make(chan struct{}, 1)
	idle <- struct{}{}
	for ctx.Err() == nil {
		select {
		case <-idle:
			running.Go(func() {
				w.sweepOnce(ctx, w.queue.Sweep, found)
				idle <- struct{}{}
			})
		default:
			w.sweepOnce(ctx, w.queue.Claimed, found)
		}
		await(ctx, nil, jittered(w.options.Sweep, rand.Float64()))
	}
}

// sweepOnce makes one sweep by a method of the queue.
func (w *Worker) sweepOnce(ctx context.Context, by func(context.Context, func(context.Context, delivery.Snapshot) error) error, found finder) {
	err := by(ctx, found.unsettling())
	if ctx.Err() != nil {
		return
	}
	w.state.swept(time.Now(), err)
	if err != nil {
		w.metrics.sweeps.WithLabelValues("failed").Inc()
		w.log.Warn().Err(err).Msg("sweep failed, another follows")
		return
	}
	w.metrics.sweeps.WithLabelValues("done").Inc()
}

// jittered returns d give or take a quarter, by a fraction in [0,1).
func jittered(d time.Duration, fraction float64) time.Duration {
	return time.Duration(float64(d) * (0.75 + fraction/2))
}
