package worker

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"time"

	"postrider/delivery"
	"postrider/smtp"
)

// errTakenOver ends an attempt whose claim belongs to somebody else.
var errTakenOver = errors.New("another claim has the document")

// overtime ends an attempt whose time is over.
type overtime struct{}

func (overtime) Error() string { return "ATTEMPT_TIMEOUT is over, or the lease was not renewed" }
func (overtime) Unwrap() error { return context.DeadlineExceeded }

// tenure is the time that an attempt has for a document: its lease less the
// margin, which is renewed while the attempt goes on, up to Options.Attempt in
// all.
type tenure struct {
	worker *Worker
	last   time.Time       // when the attempt must be over at the latest
	limit  limit           // over when the time is
	ctx    context.Context // over with limit, when the attempts of the worker are, and when the claim is lost
	end    context.CancelCauseFunc
	cut    context.CancelCauseFunc
	expiry *time.Timer // ends limit
	due    *time.Timer // renews the lease
	busy   sync.WaitGroup

	desk    chan struct{}     // holds one while the record is written, and what follows is read or set
	claimed delivery.Snapshot // as it is, as far as is known
	lease   delivery.Lease
	over    bool

	// Of the goroutine that sends:
	entry     *entry
	handed    time.Time // when the mail was handed to the mail server
	begunAt   time.Time // when it was let begin, if it was
	unbegun   error     // why the mail was kept from being sent
	blameless bool      // there was no session, and that is not the mail's fault
	crowded   bool      // for the server works on as many as it wants
}

// limit is the context of an attempt whose deadline moves. It tells it as it is:
// a process that was stopped for a while may go on before its timers do.
type limit struct {
	context.Context
	at *atomic.Pointer[moment]
}

// moment is a deadline by this machine's clock, and by the one that leases are
// reckoned by.
type moment struct{ local, common time.Time }

// Deadline is context.Context's.
func (l limit) Deadline() (time.Time, bool) { return l.at.Load().local, true }

// set sets the deadline, by the common clock, and returns how long it is until
// then.
func (l limit) set(deadline, now time.Time) time.Duration {
	left := deadline.Sub(now)
	l.at.Store(&moment{local: time.Now().Add(left), common: deadline})
	return left
}

// tenure begins the attempt under a claim, of a mail that was let in. Work ends
// it before the mail is sent. Close it.
func (w *Worker) tenure(work context.Context, claimed delivery.Snapshot, lease delivery.Lease, in *entry) *tenure {
	now := w.queue.Now()
	t := &tenure{worker: w, last: now.Add(w.options.Attempt), desk: make(chan struct{}, 1), claimed: claimed, lease: lease, entry: in}
	t.limit.at = &atomic.Pointer[moment]{}
	t.limit.Context, t.end = context.WithCancelCause(context.WithoutCancel(work))
	left := t.limit.set(t.deadline(), now)
	t.ctx, t.cut = context.WithCancelCause(work)
	context.AfterFunc(t.limit, func() { t.cut(context.Cause(t.limit)) })
	t.expiry = time.AfterFunc(left, func() { t.end(overtime{}) })
	if t.deadline().Before(t.last) {
		t.busy.Add(1)
		t.due = time.AfterFunc(w.renewal(), t.renew)
	}
	return t
}

// renewal is how long after a lease's beginning it is renewed: late enough that
// few mails ever need it, and early enough to try again.
func (w *Worker) renewal() time.Duration { return (w.options.Lease - w.options.Margin) * 2 / 3 }

// deadline returns when the attempt must be over as things stand.
func (t *tenure) deadline() time.Time {
	deadline := t.lease.Expires.Add(-t.worker.options.Margin)
	if t.last.Before(deadline) {
		return t.last
	}
	return deadline
}

// sit takes the desk, and returns how to leave it.
func (t *tenure) sit() (rise func()) {
	t.desk <- struct{}{}
	return func() { <-t.desk }
}

// renew makes the lease last longer.
func (t *tenure) renew() {
	defer t.busy.Done()
	defer t.sit()()
	if t.over {
		return
	}
	now := t.worker.queue.Now()
	lease := delivery.Lease{ID: t.lease.ID, Expires: now.Add(t.worker.options.Lease)}
	if err := t.amend(func(r delivery.Record) delivery.Change { return r.Renewed(lease.Expires) }); err != nil {
		return
	}
	t.lease = lease
	left := t.limit.set(t.deadline(), t.worker.queue.Now())
	if !t.expiry.Reset(left) {
		t.end(overtime{}) // the renewal came too late
		return
	}
	if t.deadline().Before(t.last) {
		t.busy.Add(1)
		t.due.Reset(t.worker.renewal())
	}
}

// amend changes the record under the claim. One that belongs to somebody else
// ends the attempt. The desk is taken.
func (t *tenure) amend(change func(delivery.Record) delivery.Change) error {
	after, err := t.worker.queue.Finish(t.ctx, t.claimed, change)
	switch {
	case err == nil:
		t.claimed = after
	case errors.Is(err, delivery.ErrLeaseLost):
		t.cut(errTakenOver)
	}
	return err
}

// open is called before a session is opened: not while the server can't be used.
func (t *tenure) open() error {
	if isOpen, _ := t.worker.outage.isOpen(); isOpen {
		t.unbegun = errOutage
	}
	return t.unbegun
}

// noSession is called when there is no session to be had.
func (t *tenure) noSession(e *smtp.Error) {
	t.blameless, t.crowded = t.worker.outage.fail(e, t.worker.queue.Now())
}

// resize says how many bytes the mail takes beside its document from now on.
func (t *tenure) resize(ctx context.Context, bytes int) error {
	ctx, cancel := context.WithTimeout(ctx, maxQueue)
	defer cancel()
	return t.entry.resize(ctx, bytes)
}

// begin is called with a session in hand, or when the mail's envelope may soon
// travel along with the message before it: before the first command of its
// transaction. Fresh says that the session was opened for it. An attempt that has
// lost its time, as one whose process was stopped for a while, ends here.
func (t *tenure) begin(fresh bool) error {
	if fresh {
		t.worker.outage.succeed(true, t.worker.queue.Now())
	}
	switch {
	case !t.worker.queue.Now().Before(t.limit.at.Load().common):
		t.end(overtime{})
		t.unbegun = overtime{}
	case t.worker.options.Policy.RetryLapsed:
		rise := t.sit()
		t.unbegun = t.amend(delivery.Record.Sending)
		rise()
	}
	if t.unbegun == nil {
		t.begunAt, t.entry.spent = t.worker.metrics.timing.passed(phaseConnect, t.handed), true
	}
	return t.unbegun
}

// close ends the attempt's time and returns the claim as it is.
func (t *tenure) close() (delivery.Snapshot, delivery.Lease) {
	t.expiry.Stop()
	t.end(nil) // cuts a renewal that is under way
	rise := t.sit()
	t.over = true
	if t.due != nil && t.due.Stop() {
		t.busy.Done()
	}
	rise()
	t.busy.Wait()
	return t.claimed, t.lease
}
