package queue

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	pb "cloud.google.com/go/firestore/apiv1/firestorepb"
	"github.com/cenkalti/backoff/v5"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/timestamppb"

	"postrider/delivery"
)

// Apply puts down c if the document is still as in s, and returns the document
// as it is then. It repeats what Firestore could not answer until ctx ends, and
// knows its own success by the lease that c may set. [delivery.ErrConflict] and
// [delivery.ErrGone] mean that nothing was written.
func (q *Queue) Apply(ctx context.Context, s delivery.Snapshot, c delivery.Change) (delivery.Snapshot, error) {
	unanswered := false
	return retry(ctx, func() (delivery.Snapshot, error) {
		after, err := q.write(ctx, s, c)
		switch {
		case err == nil:
			return after, nil
		case errors.Is(err, delivery.ErrConflict) && unanswered:
			return q.own(ctx, s, c)
		case temporary(err):
			unanswered = true
			return after, err
		}
		return after, backoff.Permanent(err)
	})
}

// own returns the document if c was applied to it by a write that was never
// answered, and ErrConflict if somebody else changed it.
func (q *Queue) own(ctx context.Context, s delivery.Snapshot, c delivery.Change) (delivery.Snapshot, error) {
	now, err := q.read(ctx, s.ID)
	if err != nil {
		return now, err
	}
	wanted, record := delivery.ReadRecord(c.AppliedTo(s.Fields)), delivery.ReadRecord(now.Fields)
	if record.State == wanted.State && record.Lease.ID == wanted.Lease.ID && record.Error == wanted.Error {
		return now, nil
	}
	return now, backoff.Permanent(delivery.ErrConflict)
}

// Finish ends the attempt that claimed the document: it puts down what end
// makes of the record. If the document has been touched since, it is read again
// and the lease's ID decides: [delivery.ErrLeaseLost] says that another claim
// has it, [delivery.ErrGone] that it was deleted; then nothing is written. It
// tries until ctx, the lease's end, is over. A record too large for the document
// is put down in its terse form. It returns the document as it is then. End may
// be called more than once.
func (q *Queue) Finish(ctx context.Context, claimed delivery.Snapshot, end func(delivery.Record) delivery.Change) (delivery.Snapshot, error) {
	mine, current, terse := delivery.ReadRecord(claimed.Fields), claimed, false
	return retry(ctx, func() (delivery.Snapshot, error) {
		change := end(delivery.ReadRecord(current.Fields))
		if terse {
			change = change.Terse()
		}
		after, err := q.write(ctx, current, change)
		if err == nil {
			return after, nil
		}
		if status.Code(err) == codes.InvalidArgument && !terse {
			terse = true // the record does not fit into the document: its essence may
			return after, err
		}
		if !errors.Is(err, delivery.ErrConflict) && !temporary(err) {
			return after, backoff.Permanent(err)
		}
		now, rereadErr := q.read(ctx, claimed.ID)
		if rereadErr != nil {
			return now, rereadErr
		}
		record := delivery.ReadRecord(now.Fields)
		if delivery.Applied(mine, record) {
			return now, nil
		}
		if record.Lease.ID != mine.Lease.ID {
			return now, backoff.Permanent(delivery.ErrLeaseLost)
		}
		current = now
		return now, err
	})
}

// write makes one conditional write and returns the document after it.
func (q *Queue) write(ctx context.Context, s delivery.Snapshot, c delivery.Change) (delivery.Snapshot, error) {
	fields, err := encodeFields(c.Set, q.database)
	if err != nil {
		return s, err
	}
	mask := c.Paths()
	for i, name := range mask {
		mask[i] = "delivery." + name
	}
	record := &pb.Value{ValueType: &pb.Value_MapValue{MapValue: &pb.MapValue{Fields: fields}}}
	at, err := q.batch.apply(ctx, &pb.Write{
		Operation: &pb.Write_Update{Update: &pb.Document{
			Name:   q.mail.name(s.ID),
			Fields: map[string]*pb.Value{"delivery": record},
		}},
		UpdateMask:      &pb.DocumentMask{FieldPaths: mask},
		CurrentDocument: &pb.Precondition{ConditionType: &pb.Precondition_UpdateTime{UpdateTime: timestamppb.New(s.UpdateTime)}},
	})
	if err != nil {
		return s, fmt.Errorf("write document: %w", condition(err))
	}
	return delivery.Snapshot{ID: s.ID, Fields: c.AppliedTo(s.Fields), UpdateTime: at, Size: s.Size}, nil
}

// read returns the document called id as it is now.
func (q *Queue) read(ctx context.Context, id string) (delivery.Snapshot, error) {
	d, err := q.client.GetDocument(ctx, &pb.GetDocumentRequest{Name: q.mail.name(id)})
	if status.Code(err) == codes.NotFound {
		return delivery.Snapshot{}, backoff.Permanent(delivery.ErrGone)
	}
	if err != nil {
		return delivery.Snapshot{}, fmt.Errorf("read document: %w", err)
	}
	return snapshot(d), nil
}

// condition returns what a write's status says about its precondition. A
// document that was deleted answers NOT_FOUND or FAILED_PRECONDITION; either
// way the next read tells.
func condition(err error) error {
	switch status.Code(err) {
	case codes.FailedPrecondition, codes.NotFound, codes.AlreadyExists:
		return delivery.ErrConflict
	case codes.Aborted: // the emulator's word where it holds a lock on the document
		if strings.Contains(status.Convert(err).Message(), "precondition") {
			return delivery.ErrConflict
		}
	}
	return err
}

// temporary reports whether an RPC that failed may work if tried again, and
// whether it may have been applied all the same.
func temporary(err error) bool {
	s, ok := status.FromError(err)
	if !ok {
		return false
	}
	switch s.Code() {
	case codes.Unavailable, codes.DeadlineExceeded, codes.Aborted, codes.ResourceExhausted, codes.Internal, codes.Unknown, codes.Canceled:
		return true
	}
	return false
}

// retry repeats try with growing pauses until it succeeds, gives up by itself,
// or ctx ends.
func retry(ctx context.Context, try func() (delivery.Snapshot, error)) (delivery.Snapshot, error) {
	pause := backoff.NewExponentialBackOff()
	pause.InitialInterval = 50 * time.Millisecond
	pause.MaxInterval = 5 * time.Second
	return backoff.Retry(ctx, try, backoff.WithBackOff(pause), backoff.WithMaxElapsedTime(0))
}
