package worker

import (
	"context"
	"errors"
	"time"

	"postrider/delivery"
)

// errand is what is known of a document in hand.
type errand struct {
	found   time.Time
	patient bool // it may wait for the mail server
	spared  int  // attempts in a row that were not held against it, as the server asked to slow down
	bytes   int  // that its mail took, beside the document, when there was no room for it
}

// entry is what a mail has been let in with. Leave it.
type entry struct {
	worker *Worker
	errand *errand
	pass   *pass
	stay   *stay
	size   int // bytes of the document
	letGo  time.Time
	charge time.Duration // by the pace
	spent  bool          // the mail came to the server: it counts
	left   bool
}

// enter returns once a mail may be claimed: the mail server can be used,
// SMTP_RATE lets it go, and there is room for it. What can't be patient is turned
// away with delivery.ErrUnavailable rather than kept for long.
func (w *Worker) enter(ctx context.Context, s delivery.Snapshot, e *errand) (*entry, error) {
	for {
		p, err := w.outage.enter(ctx, e.patient)
		if err != nil {
			return nil, err
		}
		in, err := w.letIn(ctx, s, e)
		if err != nil {
			p.end()
			return nil, err
		}
		in.pass = p
		if isOpen, _ := w.outage.isOpen(); !isOpen {
			return in, nil
		}
		in.leave() // it has waited for too long
	}
}

func (w *Worker) letIn(ctx context.Context, s delivery.Snapshot, e *errand) (*entry, error) {
	if !e.patient {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeoutCause(ctx, maxQueue, delivery.ErrUnavailable)
		defer cancel()
	}
	in := &entry{worker: w, errand: e, size: s.Size}
	var err error
	if in.letGo, in.charge, err = w.pacer.enter(ctx); err == nil {
		if in.stay, err = w.room.enter(ctx, in.takes(e.bytes)); err == nil {
			return in, nil
		}
		w.pacer.giveBack(in.charge)
	}
	if errors.Is(err, delivery.ErrUnavailable) {
		return nil, err
	}
	return nil, delivery.ErrStopping
}

// takes returns how many bytes a mail takes with so many beside its document: at
// least as many again as that, for the message.
func (in *entry) takes(bytes int) int { return in.size + max(in.size, bytes) }

// resize says how many bytes the mail takes from now on, its document left out.
// Where there is no room for them it enters only with room for all the next time.
func (in *entry) resize(ctx context.Context, bytes int) error {
	err := in.stay.resize(ctx, in.takes(bytes))
	if err != nil {
		in.errand.bytes = max(in.errand.bytes, bytes)
	}
	return err
}

// leave lets the next ones in. It may be called again.
func (in *entry) leave() {
	if in.left {
		return
	}
	in.left = true
	in.pass.end()
	in.stay.leave()
	if !in.spent {
		in.worker.pacer.giveBack(in.charge)
	}
}
