package worker

import (
	"context"
	"fmt"
	"sync"
)

// Drain sends what is waiting and returns what became of it. It audits the
// collection, and then sweeps it for what waits in a state. When ctx ends it
// stops as Run does. The error says why not everything was seen, or could be
// claimed.
func (w *Worker) Drain(ctx context.Context) (Tally, error) {
	work, stop := w.attempts(ctx)
	defer stop()
	claiming, giveUp := context.WithCancelCause(ctx)
	w.giveUp = giveUp
	found := w.finder(w.taker(claiming, work))
	var probing sync.WaitGroup
	defer probing.Wait()
	defer giveUp(nil)
	probing.Go(func() { w.probe(claiming) })
	began := w.queue.Now()
	err := w.auditOnce(claiming, found)
	w.finishHands()
	if err == nil {
		err = w.queue.Sweep(claiming, found.unsettling())
		w.finishHands()
	}
	if claiming.Err() != nil { // stopped, or nothing could be claimed
		err = context.Cause(claiming)
	}
	if err != nil {
		return w.state.counted(), fmt.Errorf("drain: %w", err)
	}
	w.noteAudit(ctx, began)
	return w.state.counted(), nil
}

// finishHands returns once nothing is in hand.
func (w *Worker) finishHands() {
	w.hands.wait()
	w.menders.wait()
}
