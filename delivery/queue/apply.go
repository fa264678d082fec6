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

// Finish puts down what change makes of the record of a document that the caller
// has claimed: how the attempt has ended, or, while it goes on, a renewed lease or
// how far it has come. It returns the document as it is then, on which the next
// change of the same attempt is made: as long as nobody else touches the document
// none of them costs a read.
//
// If it has been touched since claimed was the case, it is read again, and the
// lease's ID decides: [delivery.ErrLeaseLost] says that another claim has it, or
// that the attempt has ended already and the change does not end it;
// [delivery.ErrGone], that it was deleted; [delivery.ErrRefused], that it can't
// hold the change. Then nothing is written. An end that is there already is not
// put down twice. A document whose update time is not known (zero), because its
// claim was never answered, is read first.
//
// Finish tries until ctx, the lease's end, is over; the change may have been
// applied even so, and the next one, made on the same snapshot, copes with
// either. A record too large for the document is put down in a shorter form.
// Change may be called more than once.
func (q *Queue) Finish(ctx context.Context, claimed delivery.Snapshot, change func(delivery.Record) delivery.Change) (delivery.Snapshot, error) {
	mine, current, form := delivery.ReadRecord(claimed.Fields), claimed, 0
	return q.retry(ctx, func() (delivery.Snapshot, error) {
		if current.UpdateTime.IsZero() {
			now, err := q.stillMine(ctx, claimed.ID, mine.Lease.ID)
			if err != nil {
				return now, err
			}
			current = now
		}
		record := delivery.ReadRecord(current.Fields)
		c := change(record)
		switch end := ends(c); {
		case end && delivery.Applied(mine, record):
			return current, nil // by a write that was never answered
		case !end && record.Lease.Expires.IsZero():
			return current, backoff.Permanent(delivery.ErrLeaseLost)
		}
		after, err := q.write(ctx, current, shortened(c, form))
		switch {
		case err == nil:
			return after, nil
		case !errors.Is(err, delivery.ErrRefused):
			current.UpdateTime = time.Time{} // somebody has touched it, or nobody knows
		case form == shortest:
			return after, backoff.Permanent(err)
		default:
			form++ // the record does not fit into the document: its essence may
		}
		return after, err
	})
}

// ends reports whether a change ends the attempt: nothing else takes the lease's
// end away.
func ends(c delivery.Change) bool {
	v, there := c.Set["leaseExpireTime"]
	return there && v == nil
}

// stillMine reads the document that was claimed under a lease.
func (q *Queue) stillMine(ctx context.Context, id, lease string) (delivery.Snapshot, error) {
	now, err := q.read(ctx, id)
	if err == nil && delivery.ReadRecord(now.Fields).Lease.ID != lease {
		err = backoff.Permanent(delivery.ErrLeaseLost)
	}
	return now, err
}

// maxRecord is how long a record may be, in bytes, before it is put down in a
// shorter form: a mail to very many recipients must not hinder other writes.
const maxRecord = 256 << 10

// shortest is the number of the last form of [shortened].
const shortest = 2

// shortened returns a change in one of its forms, the first being the whole.
func shortened(c delivery.Change, form int) delivery.Change {
	switch form {
	case 0:
		return c
	case 1:
		return c.Brief()
	}
	return c.Terse()
}

// write makes one conditional write and returns the document after it.
func (q *Queue) write(ctx context.Context, s delivery.Snapshot, c delivery.Change) (delivery.Snapshot, error) {
	name := q.mail.name(s.ID)
	c, w, err := q.fitting(name, c)
	if err != nil {
		return s, errors.Join(delivery.ErrRefused, err)
	}
	at, err := q.batch.put(ctx, name, appendCondition(appendMask(w, c.Paths()), s.UpdateTime))
	if err != nil {
		return s, fmt.Errorf("write document: %w", condition(err))
	}
	return delivery.Snapshot{ID: s.ID, Fields: c.AppliedTo(s.Fields), UpdateTime: at, Size: s.Size}, nil
}

// usualWrite is how many bytes an encoded write takes at most, but for mails to
// many recipients.
const usualWrite = 1 << 10

// fitting returns a change in the first form that is no longer than a record may
// be, and the encoded update of the document with a name.
func (q *Queue) fitting(name string, whole delivery.Change) (c delivery.Change, update []byte, err error) {
	for form := range shortest + 1 {
		var length int
		c = shortened(whole, form)
		update, length, err = appendRecord(make([]byte, 0, usualWrite), name, c.Set, q.database)
		if err != nil || length <= maxRecord {
			break
		}
	}
	return c, update, err
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
