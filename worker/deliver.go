package worker

import (
	"context"
	"errors"
	"time"

	"postrider/delivery"
)

// desk is where documents are handed in that nobody watches for.
type desk struct {
	in     chan handedIn
	closed chan struct{} // when no more are taken
}

// handedIn is a document that was handed in.
type handedIn struct {
	document delivery.Snapshot
	answer   chan *hold // takes one; nil if there is no hand free
}

func newDesk() desk { return desk{in: make(chan handedIn), closed: make(chan struct{})} }

// serve takes what is handed in until ctx ends.
func (w *Worker) serve(ctx, work context.Context) {
	defer close(w.desk.closed)
	w.watching(nil)
	for {
		select {
		case d := <-w.desk.in:
			held, mine := w.hands.try(d.document)
			if mine {
				w.hands.running.Go(func() { w.work(ctx, work, d.document) })
			}
			d.answer <- held
		case <-ctx.Done():
			return
		}
	}
}

// Deliver hands in a document as it was when an event told of it, and returns
// when it is taken care of: when its attempt has ended, or when nothing is to be
// done about it. An event may be old or told twice: a document that has changed
// since is worked on as it is. The attempt goes on if ctx ends first.
//
// [delivery.ErrFull], [delivery.ErrStopping] and [delivery.ErrElsewhere] ask for
// the event to be told again, as does any other error: the document could not be
// written, or ctx has ended.
func (w *Worker) Deliver(ctx context.Context, s delivery.Snapshot) error {
	now := time.Now()
	w.state.hear(now)
	if !actionable(s, now) { // as one that tells of a claim, for which nobody waits
		return nil
	}
	held, err := w.handIn(ctx, s)
	if err != nil {
		return err
	}
	select {
	case <-held.done:
		return held.verdict(time.Now())
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
	d := handedIn{document: s, answer: make(chan *hold, 1)}
	select {
	case w.desk.in <- d:
	case <-w.desk.closed:
		return nil, delivery.ErrStopping
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	held := <-d.answer
	if held == nil {
		return nil, delivery.ErrFull
	}
	return held, nil
}
