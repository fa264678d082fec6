package retry

import (
	"context"
	"errors"

	"postrider/delivery"
	"postrider/delivery/bulk"
)

// put puts down what the operation has come to. What Firestore does not take it
// repeats until the lease ends. The error may be errLost, or delivery.ErrRefused.
func (t *task) put(ctx context.Context, next bulk.Operation) error {
	return t.tried(ctx, func(ctx context.Context) error {
		after, err := t.operations.ChangeOperation(ctx, t.snapshot, next.Fields())
		if errors.Is(err, delivery.ErrConflict) {
			return t.own(ctx, next, err)
		}
		if err == nil {
			t.snapshot, t.o = after, next
		}
		return err
	})
}

// own finds out whether what conflicts with next is next itself, by a write that
// was never answered.
func (t *task) own(ctx context.Context, next bulk.Operation, conflict error) error {
	s, err := t.operations.Operation(ctx, t.o.ID)
	if errors.Is(err, delivery.ErrGone) {
		return errLost
	}
	if err != nil {
		return err
	}
	switch now := bulk.ReadOperation(s); {
	case now.Same(next):
		t.snapshot, t.o = s, next
		return nil
	case now.Same(bulk.ReadOperation(t.snapshot)):
		t.snapshot = s
		return conflict // it was touched, but not changed
	}
	return errLost
}

// tried repeats a call until it succeeds or the lease ends.
func (t *task) tried(ctx context.Context, call func(context.Context) error) error {
	ctx, cancel := t.leased(ctx)
	defer cancel()
	return t.patiently(ctx, t.o.ID, func() error { return call(ctx) })
}

// renewed makes the lease last, if it is worth it.
func (t *task) renewed(ctx context.Context) error {
	now := t.mails.Now()
	if !t.o.Stale(now) {
		return nil
	}
	return t.put(ctx, t.o.Renewed(now))
}

// leased returns a context that ends before the lease does; for an operation that
// is to be taken, before the lease would.
func (t *task) leased(ctx context.Context) (context.Context, context.CancelFunc) {
	rest := bulk.LeaseTime
	if t.o.Lease.Owner == t.owner {
		rest = t.o.Lease.Expires.Sub(t.mails.Now())
	}
	return context.WithTimeout(ctx, rest-margin)
}
