package queue

import (
	"context"
	"errors"
	"fmt"
	"time"

	pb "cloud.google.com/go/firestore/apiv1/firestorepb"
	"github.com/cenkalti/backoff/v5"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	"postrider/delivery"
)

// Apply puts down c if the document is still as in s, and returns the document
// as it is then. What Firestore does not take, it repeats until ctx ends.
// [delivery.ErrConflict], with which it returns the document as it is instead,
// [delivery.ErrGone] and [delivery.ErrRefused] mean that nothing was written;
// after any other error it may have been.
//
// A conflict costs one read: what has changed the document may be c itself, by a
// write that was never answered or was carried out twice on its way. Its lease
// tells.
func (q *Queue) Apply(ctx context.Context, s delivery.Snapshot, c delivery.Change) (delivery.Snapshot, error) {
	return q.retry(ctx, func() (delivery.Snapshot, error) {
		after, err := q.write(ctx, s, c)
		switch {
		case errors.Is(err, delivery.ErrConflict):
			return q.own(ctx, s, c)
		case settledError(err):
			return after, backoff.Permanent(err)
		}
		return after, err
	})
}

// own returns the document as it is, and ErrConflict if c has not been applied
// to it.
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
// has it, [delivery.ErrGone] that it was deleted; then nothing is written. A
// claim whose update time is not known (zero), because it was never answered, is
// read first. Finish tries until ctx, the lease's end, is over. A record too
// large for the document is put down in its terse form. It returns the document
// as it is then. End may be called more than once.
func (q *Queue) Finish(ctx context.Context, claimed delivery.Snapshot, end func(delivery.Record) delivery.Change) (delivery.Snapshot, error) {
	mine, current, terse := delivery.ReadRecord(claimed.Fields), claimed, false
	return q.retry(ctx, func() (delivery.Snapshot, error) {
		if current.UpdateTime.IsZero() {
			now, done, err := q.stillMine(ctx, claimed.ID, mine)
			if done || err != nil {
				return now, err
			}
			current = now
		}
		change := end(delivery.ReadRecord(current.Fields))
		if terse {
			change = change.Terse()
		}
		after, err := q.write(ctx, current, change)
		switch {
		case err == nil:
			return after, nil
		case !errors.Is(err, delivery.ErrRefused):
			current.UpdateTime = time.Time{} // somebody has touched it, or nobody knows
		case terse:
			return after, backoff.Permanent(err)
		default:
			terse = true // the record does not fit into the document: its essence may
		}
		return after, err
	})
}

// stillMine reads the document whose claim is mine. It reports whether the
// attempt's end is in it already, by a write that was never answered.
func (q *Queue) stillMine(ctx context.Context, id string, mine delivery.Record) (now delivery.Snapshot, done bool, err error) {
	if now, err = q.read(ctx, id); err != nil {
		return now, false, err
	}
	record := delivery.ReadRecord(now.Fields)
	if delivery.Applied(mine, record) {
		return now, true, nil
	}
	if record.Lease.ID != mine.Lease.ID {
		return now, false, backoff.Permanent(delivery.ErrLeaseLost)
	}
	return now, false, nil
}

// maxRecord is how long a record may be, in bytes, before it is put down in its
// terse form: a mail to very many recipients must not hinder other writes.
const maxRecord = 256 << 10

// write makes one conditional write and returns the document after it.
func (q *Queue) write(ctx context.Context, s delivery.Snapshot, c delivery.Change) (delivery.Snapshot, error) {
	fields, err := encodeFields(c.Set, q.database)
	if err != nil {
		return s, errors.Join(delivery.ErrRefused, err)
	}
	if proto.Size(&pb.MapValue{Fields: fields}) > maxRecord {
		return q.write(ctx, s, c.Terse())
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

// Read returns the document called id as it is now, or [delivery.ErrGone]. It
// costs one read.
func (q *Queue) Read(ctx context.Context, id string) (delivery.Snapshot, error) {
	s, err := q.retry(ctx, func() (delivery.Snapshot, error) { return q.read(ctx, id) })
	return s, err
}

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

// condition returns what a write's status says. A document that was deleted
// answers NOT_FOUND or FAILED_PRECONDITION; either way the next read tells.
func condition(err error) error {
	switch status.Code(err) {
	case codes.FailedPrecondition, codes.NotFound, codes.AlreadyExists:
		return delivery.ErrConflict
	case codes.InvalidArgument:
		return errors.Join(delivery.ErrRefused, err)
	}
	return err
}

// settledError reports whether trying again would change nothing: somebody else
// was faster, the document is gone, or it can't hold what is to be written.
// Everything else Firestore may overcome, a missing permission too.
func settledError(err error) bool {
	for _, settled := range []error{delivery.ErrConflict, delivery.ErrGone, delivery.ErrLeaseLost, delivery.ErrRefused} {
		if errors.Is(err, settled) {
			return true
		}
	}
	return false
}

// retry repeats try with growing pauses until it succeeds, gives up by itself,
// or ctx ends. What Firestore says meanwhile is logged.
func (q *Queue) retry(ctx context.Context, try func() (delivery.Snapshot, error)) (delivery.Snapshot, error) {
	pause := backoff.NewExponentialBackOff()
	pause.InitialInterval = 50 * time.Millisecond
	pause.MaxInterval = 5 * time.Second
	return backoff.Retry(ctx, try, backoff.WithBackOff(pause), backoff.WithMaxElapsedTime(0), backoff.WithNotify(func(err error, _ time.Duration) {
		if !settledError(err) {
			q.log.Warn().Err(advised(err)).Msg("Firestore did not answer as it should, trying again")
		}
	}))
}

// advised adds what to do to an error that has an owner.
func advised(err error) error {
	switch status.Code(err) {
	case codes.PermissionDenied, codes.Unauthenticated:
		return fmt.Errorf("%w; grant the worker's service account roles/datastore.user", err)
	case codes.NotFound:
		return fmt.Errorf("%w; check GOOGLE_CLOUD_PROJECT and DATABASE", err)
	}
	return err
}
