package retry

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/rs/zerolog"
	"golang.org/x/sync/errgroup"

	"postrider/delivery"
	"postrider/delivery/bulk"
)

const (
	maxPage = 100              // documents of a page
	rooms   = 8                // pages are for so many times as many documents as there is room for: each costs two writes
	atOnce  = 16               // of them changed at a time: they share the batches of writes
	margin  = 10 * time.Second // of a lease, before whose end nothing is done any more
)

// How long to wait until Room is asked again: after some were moved, until they
// have come to hand, and where there was none.
const (
	rest    = 50 * time.Millisecond
	minWait = 200 * time.Millisecond
	maxWait = time.Second
)

var (
	// errLost says that somebody else has the operation.
	errLost = errors.New("the operation was lost to another instance")
	// errEnough ends a page that has as many documents as there is room for.
	errEnough = errors.New("found enough")
)

// task is one operation in hand. It belongs to one goroutine.
type task struct {
	*Runner
	log      zerolog.Logger
	snapshot delivery.Snapshot // the operation's document as it was last known
	o        bulk.Operation    // what is in it
	owner    string
	sparse   int // documents to read at least: of the last page few were meant
}

// run takes the operation and works it to its end, or until ctx ends. Then, and
// after any other error but errLost, it leaves it to others.
func (t *task) run(ctx context.Context) error {
	if err := t.put(ctx, t.o.Claimed(t.owner, t.mails.Now())); err != nil {
		return err
	}
	t.log.Info().Int("seen", t.o.Counts.Seen).Msg("bulk retry is worked")
	err := t.pages(ctx)
	end := t.o.Released
	if err == nil {
		end = t.o.Succeed
		err = t.put(ctx, end(t.mails.Now()))
	}
	switch {
	case err == nil, errors.Is(err, errLost):
		return err
	case errors.Is(err, delivery.ErrRefused):
		return t.fail(ctx, err)
	}
	short, cancel := context.WithTimeout(context.WithoutCancel(ctx), goodbye)
	defer cancel()
	_ = t.put(short, end(t.mails.Now())) // or its lease will end by itself
	return err
}

// fail ends an operation that can't be worked.
func (t *task) fail(ctx context.Context, why error) error {
	p := bulk.Problem{Code: "TooLarge", Message: "Firestore does not keep how far the operation has come; ask for the rest with narrower filters, or fewer IDs"}
	if t.o.Problem != nil {
		p = *t.o.Problem
	}
	return errors.Join(why, t.put(ctx, t.o.Fail(p, t.mails.Now())))
}

// errUnreadable ends an operation that can't be read.
var errUnreadable = fmt.Errorf("the operation can't be read: %w", delivery.ErrRefused)

// pages works what is left of the operation.
func (t *task) pages(ctx context.Context) error {
	if t.o.Problem != nil {
		return errUnreadable
	}
	if t.o.Total == 0 {
		if n, err := t.mails.CountState(ctx, t.o.Request.Filter.State); err == nil {
			t.o = t.o.Estimated(n) // put down with what comes next
		}
	}
	if p := t.o.Page; p.End != "" {
		if err := t.done(ctx, p, nil); err != nil {
			return err
		}
	}
	for {
		if last, err := t.next(ctx); last || err != nil {
			return err
		}
	}
}

// next works a page once there is room for some of its documents.
func (t *task) next(ctx context.Context) (last bool, err error) {
	n, over, err := t.room(ctx)
	if err != nil {
		return false, err
	}
	over() // it is asked for again when they are moved
	n = min(rooms*n, maxPage)
	if len(t.o.Request.MessageIDs) > 0 {
		return t.named(ctx, n)
	}
	return t.filtered(ctx, n)
}

// room returns how many documents may be moved, once it is any and this operation's
// turn, and what to call when they are. A dry run, which moves none, needs neither.
func (t *task) room(ctx context.Context) (n int, over func(), err error) {
	for wait := minWait; ; wait = min(2*wait, maxWait) {
		if err := t.renewed(ctx); err != nil {
			return 0, nil, err
		}
		if t.o.Request.DryRun {
			return maxPage, func() {}, nil
		}
		if t.takeTurn(ctx, maxWait) {
			if n := t.options.Room(); n > 0 {
				return min(n, maxPage), t.endTurn, nil
			}
			t.endTurn()
			await(ctx, nil, wait)
		}
		if ctx.Err() != nil {
			return 0, nil, ctx.Err()
		}
	}
}

// takeTurn waits until no other operation moves documents, and reports whether
// that is so within some time. Those who wait have their turns in order.
func (t *task) takeTurn(ctx context.Context, longest time.Duration) bool {
	timer := time.NewTimer(longest)
	defer timer.Stop()
	select {
	case t.turn <- struct{}{}:
		return true
	case <-timer.C:
	case <-ctx.Done():
	}
	return false
}

func (t *task) endTurn() { <-t.turn }

// named works a page of up to n documents that the request names.
func (t *task) named(ctx context.Context, n int) (last bool, err error) {
	ids := t.o.Named(n)
	if len(ids) == 0 {
		return true, nil
	}
	return false, t.done(ctx, bulk.Page{IDs: ids, Seen: len(ids)}, nil)
}

// filtered works a page of up to n documents that the filter matches.
func (t *task) filtered(ctx context.Context, n int) (last bool, err error) {
	var p bulk.Page
	var documents map[string]bulk.Document
	limit := min(max(n, t.sparse), maxPage)
	err = t.tried(ctx, func(ctx context.Context) error {
		p, documents = bulk.Page{}, map[string]bulk.Document{}
		return t.mails.Retryable(ctx, t.o.Request.Filter.State, t.o.Cursor, limit, func(_ context.Context, s delivery.Snapshot, added time.Time) error {
			p.Seen, p.End = p.Seen+1, s.ID
			if d := (bulk.Document{Snapshot: s, Added: added}); t.o.Wants(d, t.mails.Now()) {
				p.IDs, documents[s.ID] = append(p.IDs, s.ID), d
			}
			if len(p.IDs) == n {
				return errEnough
			}
			return nil
		})
	})
	if err != nil && !errors.Is(err, errEnough) || p.Seen == 0 {
		return err == nil, err
	}
	if t.sparse = 0; len(p.IDs) == 0 {
		t.sparse = 2 * limit
	}
	if len(p.IDs) > 0 && !t.o.Request.DryRun {
		if err := t.put(ctx, t.o.Ahead(p, t.mails.Now())); err != nil {
			return false, err
		}
	}
	return false, t.done(ctx, p, documents)
}

// done moves the documents of a page and puts down what has come of them. Without
// documents it reads those of the page.
func (t *task) done(ctx context.Context, p bulk.Page, documents map[string]bulk.Document) error {
	if documents == nil {
		err := t.tried(ctx, func(ctx context.Context) error {
			documents = map[string]bulk.Document{}
			return t.mails.Documents(ctx, p.IDs, func(_ context.Context, s delivery.Snapshot, added time.Time) error {
				documents[s.ID] = bulk.Document{Snapshot: s, Added: added}
				return nil
			})
		})
		if err != nil {
			return err
		}
	}
	results, err := t.settle(ctx, p.IDs, documents)
	if err != nil {
		return err
	}
	return t.put(ctx, t.o.After(p, results, t.mails.Now()))
}

// settle returns what comes of the documents with some IDs, in their order, as
// there is room for them. After an error some of them may have been moved.
func (t *task) settle(ctx context.Context, ids []string, documents map[string]bulk.Document) ([]bulk.Result, error) {
	results := make([]bulk.Result, 0, len(ids))
	for len(ids) > 0 {
		n, over, err := t.room(ctx)
		if err != nil {
			return nil, err
		}
		n = min(n, len(ids))
		some, err := t.settleSome(ctx, ids[:n], documents)
		over()
		if err != nil {
			return nil, fmt.Errorf("move documents: %w", err)
		}
		if ids, results = ids[n:], append(results, some...); !t.o.Request.DryRun {
			await(ctx, nil, rest)
		}
	}
	return results, nil
}

// settleSome returns what comes of documents that there is room for.
func (t *task) settleSome(ctx context.Context, ids []string, documents map[string]bulk.Document) ([]bulk.Result, error) {
	ctx, cancel := t.leased(ctx)
	defer cancel()
	group, working := errgroup.WithContext(ctx)
	group.SetLimit(atOnce)
	results := make([]bulk.Result, len(ids))
	for i, id := range ids {
		d, there := documents[id]
		if !there {
			results[i] = bulk.Left(id, bulk.NotFound)
			continue
		}
		group.Go(func() (err error) {
			results[i], err = t.move(working, d)
			return err
		})
	}
	return results, group.Wait()
}

// move moves one document, if it is to be moved as it is.
func (t *task) move(ctx context.Context, d bulk.Document) (bulk.Result, error) {
	for {
		c, result, change := t.o.Judge(d, t.mails.Now())
		if !change {
			return result, nil
		}
		after, err := t.mails.Apply(ctx, d.Snapshot, c)
		switch {
		case errors.Is(err, delivery.ErrGone):
			return bulk.Left(d.ID, bulk.NotFound), nil
		case errors.Is(err, delivery.ErrRefused):
			return bulk.Left(d.ID, bulk.NoRoom), nil
		case err != nil && !errors.Is(err, delivery.ErrConflict):
			return result, err
		}
		d.Snapshot = after // as it is, or, if it was moved, with the operation's ID in it
	}
}
