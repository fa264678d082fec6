package worker

import (
	"context"
	"errors"
	"time"

	"postrider/delivery"
)

const (
	// maxQueue is how long an event waits for a hand before it is turned away.
	// Who sends it gives up after ten seconds (Eventarc's acknowledgement
	// deadline), and comes back only ten seconds later, with all the others.
	maxQueue = 5 * time.Second

	// queuePerHand bounds how many wait.
	queuePerHand = 4
)

// desk is where documents are handed in that nobody watches for.
type desk struct {
	in     chan *handedIn
	closed chan struct{} // when no more are taken
}

// handedIn is a document that was handed in.
type handedIn struct {
	document delivery.Snapshot
	gone     <-chan struct{} // closed when who handed it in waits no more
	answer   chan *hold      // takes one; nil if there is no room to wait
}

func newDesk() desk { return desk{in: make(chan *handedIn), closed: make(chan struct{})} }

// serve takes what is handed in until ctx ends, in the order in which it came.
func (w *Worker) serve(ctx, work context.Context) {
	defer close(w.desk.closed)
	w.watching(nil)
	var queue []*handedIn
	for {
		select {
		case d := <-w.desk.in:
			if len(queue) >= queuePerHand*cap(w.hands.slots) {
				d.answer <- nil
				continue
			}
			queue = append(queue, d)
		case <-w.hands.freed:
		case <-ctx.Done():
			return
		}
		for len(queue) > 0 && w.accept(ctx, work, queue[0]) {
			queue = queue[1:]
		}
	}
}

// accept takes a document in hand, and reports false if no hand is free. One
// that nobody waits for any more will be handed in again.
func (w *Worker) accept(ctx, work context.Context, d *handedIn) bool {
	select {
	case <-d.gone:
		return true
	default:
	}
	held, mine := w.hands.try(d.document)
	if held == nil {
		return false
	}
	if mine {
		w.hands.run(func() { w.work(ctx, work, w.hands, d.document, false) })
	}
	d.answer <- held
	return true
}

// Deliver hands in a document as it was when an event told of it, and returns
// when it is taken care of: when its attempt has ended, or when nothing is to be
// done about it. An event may be old or told twice: a document that has changed
// since is worked on as it is. The attempt goes on if ctx ends first.
//
// [delivery.ErrFull], [delivery.ErrStopping], [delivery.ErrUnavailable] and
// [delivery.ErrElsewhere] ask for the event to be told again, as does any other
// error: the document could not be written, or ctx has ended.
func (w *Worker) Deliver(ctx context.Context, s delivery.Snapshot) error {
	now := w.queue.Now()
	w.state.hear(time.Now())
	if !actionable(s, now) { // as one that tells of a claim, for which nobody waits
		return nil
	}
	held, err := w.handIn(ctx, s)
	if err != nil {
		return err
	}
	select {
	case <-held.done:
		return held.verdict(w.queue.Now())
	case <-ctx.Done():
		return ctx.Err()
	}
}

// verdict returns what came of a hold that has ended. A document that belongs to
// another instance may need its event again: if that one dies, its next telling
// finds the lease lapsed.
func (h *hold) verdict(now time.Time) error {
	if errors.Is(h.err, delivery.ErrGone) || errors.Is(h.err, delivery.ErrRefused) {
		return nil // there is nothing to write, or no room: the log has said so
	}
	if h.err != nil {
		return h.err
	}
	if r := delivery.ReadRecord(h.last.Fields); r.State == delivery.Processing && now.Before(r.Lease.Expires) {
		return delivery.ErrElsewhere
	}
	return nil
}

// handIn hands in a document and returns its hold.
func (w *Worker) handIn(ctx context.Context, s delivery.Snapshot) (*hold, error) {
	waiting, gone := context.WithTimeoutCause(ctx, maxQueue, delivery.ErrFull)
	defer gone()
	d := &handedIn{document: s, gone: waiting.Done(), answer: make(chan *hold, 1)}
	select {
	case w.desk.in <- d:
	case <-w.desk.closed:
		return nil, delivery.ErrStopping
	case <-waiting.Done():
		return nil, context.Cause(waiting)
	}
	select {
	case held := <-d.answer:
		if held == nil {
			return nil, delivery.ErrFull
		}
		return held, nil
	case <-w.desk.closed:
		return nil, delivery.ErrStopping
	case <-waiting.Done():
		return nil, context.Cause(waiting)
	}
}
