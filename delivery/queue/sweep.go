package queue

import (
	"context"
	"fmt"
	"sync"
	"time"

	pb "cloud.google.com/go/firestore/apiv1/firestorepb"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/timestamppb"

	"postrider/delivery"
)

// Paths of the fields that sweeps ask for.
const (
	pathState       = "delivery.state"
	pathNextAttempt = "delivery.nextAttemptTime"
)

const (
	// fewWaiting is how many documents that are not due yet a sweep reads for
	// nothing.
	fewWaiting = 200

	// fullSweep is the time after which a sweep is full, whatever the counts say: a
	// document that was taken from the program by hand may keep its
	// nextAttemptTime, and so hide one that has none.
	fullSweep = time.Hour

	// perWaiting is the time between two full sweeps where many wait, for each
	// document that the first has read: what was found and is not taken up for long
	// is not read again with all the others all the time.
	perWaiting = 10 * time.Millisecond
)

// Sweep passes to found every document that is claimed, that an operator wants
// again (RETRY), or that waits and is due; others that wait it may pass on, too.
//
// As long as few wait that are not due yet, it asks for all in the states PENDING,
// RETRY and PROCESSING, and is billed one read for each, one at least. Where more
// than 200 wait, retries by the program nearly all, it is billed one read for each
// document that is claimed or in RETRY, one at least; one for each that is due,
// one at least; and two for each thousand in PENDING, which are counted: one
// without nextAttemptTime is an operator's, and no query finds it. If there is
// one, and once an hour, all are read, but of n documents no sooner than n/100
// seconds after they were last read for that.
func (q *Queue) Sweep(ctx context.Context, found func(context.Context, delivery.Snapshot) error) error {
	sweep := q.sweepAll
	if q.waiting.many() {
		sweep = q.sweepDue
	}
	if err := sweep(ctx, found); err != nil {
		return fmt.Errorf("sweep: %w", advised(err))
	}
	return nil
}

// Claimed passes to found every document that is claimed (PROCESSING), whether
// its lease has lapsed or not: a sweep that has many to hand out comes to them
// late. It is billed one read for each, one at least.
func (q *Queue) Claimed(ctx context.Context, found func(context.Context, delivery.Snapshot) error) error {
	if err := q.find(ctx, found, delivery.Processing); err != nil {
		return fmt.Errorf("find what is claimed: %w", advised(err))
	}
	return nil
}

// find passes on what is in one of some states. "in" on one field uses the
// automatic index; with a comparison of the lease it would need a composite one,
// so leases are compared by who is passed the documents.
func (q *Queue) find(ctx context.Context, found func(context.Context, delivery.Snapshot) error, states ...delivery.State) error {
	query := q.mail.query()
	query.Where = inState(states...)
	return q.run(ctx, query, unsettled(found))
}

// sweepAll passes on everything that waits or is claimed.
func (q *Queue) sweepAll(ctx context.Context, found func(context.Context, delivery.Snapshot) error) error {
	query := q.mail.query()
	query.Where = inState(delivery.Pending, delivery.Retry, delivery.Processing)
	pass, read, later, now := unsettled(found), 0, 0, q.Now()
	err := q.run(ctx, query, func(ctx context.Context, d *pb.Document) error {
		read++
		if waitsUntil(d).After(now) {
			later++
		}
		return pass(ctx, d)
	})
	q.waiting.swept(read, later, err == nil, time.Now())
	return err
}

// sweepDue passes on what is claimed or due, and all if something else may be
// waiting. What is claimed comes first: it takes little, and what is due may take
// its time.
func (q *Queue) sweepDue(ctx context.Context, found func(context.Context, delivery.Snapshot) error) error {
	if err := q.find(ctx, found, delivery.Retry, delivery.Processing); err != nil {
		return err
	}
	err := q.due(ctx, found)
	lost := 0
	if err == nil {
		lost, err = q.unscheduled(ctx)
	}
	switch {
	case status.Code(err) == codes.FailedPrecondition: // the index of nextAttemptTime is not there
		q.log.Warn().Err(err).Msg("too many documents wait for each sweep to read them all; deploy the indexes of firestore.indexes.json")
		return q.sweepAll(ctx, found)
	case err != nil:
		return err
	case q.waiting.full(lost, time.Now()):
		return q.sweepAll(ctx, found)
	}
	return nil
}

// due passes on what has a nextAttemptTime that has come, the longest due first.
func (q *Queue) due(ctx context.Context, found func(context.Context, delivery.Snapshot) error) error {
	query := q.mail.query()
	query.Where = where(pathNextAttempt, pb.StructuredQuery_FieldFilter_LESS_THAN_OR_EQUAL, timeValue(q.Now()))
	query.OrderBy = []*pb.StructuredQuery_Order{{Field: &pb.StructuredQuery_FieldReference{FieldPath: pathNextAttempt}}}
	return q.run(ctx, query, unsettled(found))
}

// unscheduled returns how many documents in PENDING have no nextAttemptTime, both
// counted at one moment. Those that have one and are in another state make it less.
func (q *Queue) unscheduled(ctx context.Context) (int, error) {
	c := counter{q}
	pending, scheduled := c.mail.query(), c.mail.query()
	pending.Where = inState(delivery.Pending)
	scheduled.Where = where(pathNextAttempt, pb.StructuredQuery_FieldFilter_GREATER_THAN, timeValue(time.Unix(0, 0)))
	n, at, err := c.aggregate(ctx, pending, nil, 0)
	if err != nil {
		return 0, err
	}
	q.waiting.counted(n)
	m, _, err := c.aggregate(ctx, scheduled, at, 0)
	return n - m, err
}

// inState returns the filter for documents in one of some states.
func inState(states ...delivery.State) *pb.StructuredQuery_Filter {
	names := make([]string, len(states))
	for i, s := range states {
		names[i] = string(s)
	}
	return in(pathState, names...)
}

func timeValue(t time.Time) *pb.Value {
	return &pb.Value{ValueType: &pb.Value_TimestampValue{TimestampValue: timestamppb.New(t)}}
}

// waitsUntil returns when a document in PENDING is due; the zero time if it is in
// another state, or at once.
func waitsUntil(d *pb.Document) time.Time {
	if next := valueAt(d, pathNextAttempt).GetTimestampValue(); next != nil && stateOf(d) == string(delivery.Pending) {
		return next.AsTime()
	}
	return time.Time{}
}

// waiting is what sweeps know of the documents that are not due yet. It is safe
// for concurrent use, and goes by the clock of this machine. The zero waiting
// knows of none.
type waiting struct {
	mu    sync.Mutex
	later int       // there were, when it was last known
	read  int       // by the last full sweep
	at    time.Time // of the last full sweep that came to its end
	asked time.Time // when the last one ended that was full though many wait; zero if there was none
	asks  bool      // the sweep that follows is one
}

// many reports whether more documents wait than a sweep may read for nothing.
func (w *waiting) many() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.later > fewWaiting
}

// swept notes a full sweep, and how many of those it read were not due. One that
// was broken off may have come by a part only.
func (w *waiting) swept(read, later int, whole bool, now time.Time) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if whole || later > w.later {
		w.later = later
	}
	w.read = read
	if whole {
		w.at = now
	}
	if w.asks {
		w.asks, w.asked = false, now
	}
}

// counted notes how many documents are in PENDING.
func (w *waiting) counted(n int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.later = min(w.later, n)
}

// full reports whether a full sweep is to follow: so many documents were counted
// that can be found by nothing else, or it is time.
func (w *waiting) full(lost int, now time.Time) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	pause := time.Duration(w.read) * perWaiting
	w.asks = (lost > 0 || now.Sub(w.at) >= fullSweep) && (w.asked.IsZero() || now.Sub(w.asked) >= pause)
	return w.asks
}
