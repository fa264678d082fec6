package worker

import (
	"context"
	"time"

	"postrider/delivery"
)

const (
	// checkpointInterval is how often it is asked whether a checkpoint is worth
	// its write.
	checkpointInterval = 5 * time.Second

	// lastCheckpoint is for the one written before the end.
	lastCheckpoint = 2 * time.Second
)

// watch takes what the watch passes on until ctx ends.
func (w *Worker) watch(ctx context.Context, found finder) {
	_ = w.queue.Watch(ctx, &lookout{Worker: w, found: found}) // it ends with ctx
}

// lookout is the worker's side of a watch.
type lookout struct {
	*Worker
	found finder
	heard bool
}

// Found is delivery.Watcher's. The first document shows that the watch is open:
// with many of them waiting it takes long until all have been passed on.
func (l *lookout) Found(ctx context.Context, s delivery.Snapshot, settled func()) error {
	if !l.heard {
		l.heard = true
		l.watching(nil)
	}
	return l.found(ctx, s, settled)
}

// Watching is delivery.Watcher's.
func (l *lookout) Watching(err error) {
	l.heard = true
	l.watching(err)
}

// Missed is delivery.Watcher's.
func (l *lookout) Missed(settled func()) { l.missed.add(settled) }

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

// keepPlace has the watch's place saved now and then until ctx ends, by one of
// the instances: each sees all documents, and what it leaves to others it has
// seen claimed before it counts as settled.
func (w *Worker) keepPlace(ctx context.Context) {
	tick := time.NewTicker(checkpointInterval)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			w.savePlace(ctx, false)
		case <-ctx.Done():
			return
		}
	}
}

// lastPlace has the place saved before the end.
func (w *Worker) lastPlace(ctx context.Context) {
	if w.options.Push {
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), lastCheckpoint)
	defer cancel()
	w.savePlace(ctx, true)
}

func (w *Worker) savePlace(ctx context.Context, last bool) {
	if !w.share.first("checkpoint", w.queue.Now()) {
		return
	}
	if err := w.queue.Checkpoint(ctx, last); err != nil && ctx.Err() == nil {
		w.log.Warn().Err(err).Msg("checkpoint could not be saved, a restart reads more")
	}
}
