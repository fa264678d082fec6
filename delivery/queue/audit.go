package queue

import (
	"context"
	"errors"
	"fmt"
	"sync"

	pb "cloud.google.com/go/firestore/apiv1/firestorepb"
	"golang.org/x/sync/errgroup"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"postrider/delivery"
)

// Audit passes to found every document that has no known state, and every one
// that was incomplete, in rare cases twice. Each is passed on as it is now, on the
// caller's goroutine. While found blocks no more is read than the workers have in
// hand. The result tells what it came to, as far as it came.
//
// No query finds a document that lacks a field. But the number of documents in a
// range of IDs, less the number of those in a known state, is the number of
// those without one, and a count is billed one read for a thousand documents: so
// the audit counts, and divides the ranges in which documents are missed until
// they are small enough to be read. With nothing missed it is billed two reads
// for a thousand documents, and one for each that is incomplete; where much is
// missed, or the IDs can't be divided well, not much more than [Queue.Scan].
//
// All counts are made at one moment, so that what is created or deleted
// meanwhile hides nothing. Where Firestore no longer answers for it, after an
// hour, what is left is counted again at a later one.
func (q *Queue) Audit(ctx context.Context, found func(context.Context, delivery.Snapshot) error) (delivery.Audit, error) {
	a := newAudit(counter{q}, &q.known)
	err := a.run(ctx, found)
	if status.Code(err) == codes.FailedPrecondition {
		err = fmt.Errorf("%w; deploy the indexes of firestore.indexes.json", err)
	}
	return a.result, advised(err)
}

const (
	maxRanges   = 16     // that are counted or read at a time
	fewEnough   = 10_000 // documents that are counted as a whole at first
	firstParts  = 32     // into which more are divided before they are
	samples     = 8      // one of so many of them is counted first
	worthAnew   = 100    // documents whose range is counted again rather than read, where more states are known by now
	maxRenewals = 10     // of the moment, in one audit
)

// errLearned ends the reading of a range, most of which may be in a state that
// was not known.
var errLearned = errors.New("another state is known")

// audit is one audit under way.
type audit struct {
	counted
	known *known
	ends  chan struct{} // one for each call that may be under way
	found chan delivery.Snapshot
	work  *errgroup.Group

	mu       sync.Mutex
	current  *ledger
	renewals int
	result   delivery.Audit
}

func newAudit(c counted, k *known) *audit {
	return &audit{counted: c, known: k, ends: make(chan struct{}, maxRanges), found: make(chan delivery.Snapshot)}
}

// run makes the audit: workers count and read, and what they find is passed on
// here.
func (a *audit) run(ctx context.Context, found func(context.Context, delivery.Snapshot) error) error {
	passing, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	// The workers' context ends with the last of them, and what that has found is
	// still being passed on.
	var counting context.Context
	a.work, counting = errgroup.WithContext(passing)
	a.work.SetLimit(maxRanges)
	var end sync.WaitGroup
	var err error
	end.Go(func() {
		defer close(a.found)
		a.work.Go(func() error { return a.all(counting) })
		a.work.Go(func() error { return a.unfinished(counting) })
		err = a.work.Wait()
	})
	var refused error
	for s := range a.found {
		if refused == nil {
			if refused = found(passing, s); refused != nil {
				stop(refused)
			}
		}
	}
	end.Wait()
	switch {
	case refused != nil:
		return context.Cause(passing) // what it was refused for
	case err != nil:
		return context.Cause(counting) // the first that failed
	}
	return nil
}

// unfinished passes on what was incomplete.
func (a *audit) unfinished(ctx context.Context) error {
	n := 0
	err := a.incomplete(ctx, func(ctx context.Context, d *pb.Document) error {
		n++
		return a.pass(ctx, d)
	})
	a.spend(max(1, n))
	return err
}

// pass hands a document to who called the audit.
func (a *audit) pass(ctx context.Context, d *pb.Document) error {
	select {
	case a.found <- snapshot(d):
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// all examines the whole collection. How large it is need not be known before it
// is divided: if nothing is missed, counting the parts costs as much as counting
// the whole, and else only some are counted again.
func (a *audit) all(ctx context.Context) error {
	n, at, err := a.begin(ctx, fewEnough)
	if err != nil {
		return err
	}
	a.spend(billed(n))
	a.current = &ledger{at: at, states: a.known.all()}
	whole := part{}
	if n < fewEnough {
		return a.few(ctx, n)
	}
	keys, err := a.keys(ctx, &whole, firstParts)
	if err != nil {
		return err
	}
	parts := whole.cut(keys)
	if err := a.sample(ctx, parts); err != nil {
		return err
	}
	return a.each(ctx, parts)
}

// sample counts some of the parts, to tell how large the others may be.
func (a *audit) sample(ctx context.Context, parts []part) error {
	counts, ctx := errgroup.WithContext(ctx)
	sampled := 0
	for i := samples / 2; i < len(parts); i += samples {
		sampled++
		counts.Go(func() error { return a.measure(ctx, &parts[i], a.now()) })
	}
	if err := counts.Wait(); err != nil || sampled == 0 {
		return err
	}
	mean := a.sofar().Documents / sampled
	for i := range parts {
		if parts[i].ledger == nil {
			parts[i].expected = mean
		}
	}
	return nil
}

// few examines a collection of n documents.
func (a *audit) few(ctx context.Context, n int) error {
	whole := part{ledger: a.current}
	if n == 0 {
		return nil
	}
	known, err := a.tally(ctx, whole.span, whole.ledger, true)
	if err != nil {
		return err
	}
	a.put(&whole, n, n-known)
	return a.examine(ctx, whole)
}

// each examines parts, at the same time as far as there may be more workers.
func (a *audit) each(ctx context.Context, parts []part) error {
	for _, p := range parts {
		examine := func() error { return a.examine(ctx, p) }
		if a.work.TryGo(examine) {
			continue
		}
		if err := examine(); err != nil {
			return err
		}
	}
	return nil
}

// now returns the ledger that counts are made under at present.
func (a *audit) now() *ledger {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.current
}

// renew sees to it that counts are made at a later moment than old's, which
// Firestore refuses.
func (a *audit) renew(ctx context.Context, old *ledger, refused error) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.current.at != old.at {
		return nil
	}
	if a.renewals == maxRenewals {
		return refused
	}
	a.renewals++
	_, at, err := a.begin(ctx, 1)
	if err != nil {
		return err
	}
	a.result.Reads++
	a.current = &ledger{at: at, states: a.known.all()}
	return nil
}

// knowsMore reports whether more states are known than to l.
func (a *audit) knowsMore(l *ledger) bool { return len(l.states) < len(a.now().states) }

// learn sees to it that counts know a state from here on.
func (a *audit) learn(state string) {
	if !a.known.learn(state) {
		return
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	a.current = &ledger{at: a.current.at, states: a.known.all()}
}

// spend notes so many reads.
func (a *audit) spend(reads int) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.result.Reads += reads
}

// sofar returns what the audit has come to.
func (a *audit) sofar() delivery.Audit {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.result
}

// put notes what counting p has come to, in place of what was noted before.
func (a *audit) put(p *part, documents, missing int) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.result.Documents += documents - p.documents
	a.result.Missing += missing - p.missing
	p.documents, p.missing = documents, missing
}
