package queue

import (
	"context"
	"fmt"

	pb "cloud.google.com/go/firestore/apiv1/firestorepb"
	"golang.org/x/sync/errgroup"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"postrider/delivery"
)

// maxBulk is how many writes of a bulk wait at a time: enough to fill the batches
// that are under way and the next ones.
const maxBulk = 2 * usualFlights * maxBatch

// AddAll adds a mail document with these fields under each of the IDs, in batches
// and in no order, and tells added of each on one of several goroutines. An ID that
// is taken is passed over. The error is the first; documents may have been added
// before it, but none is any more when AddAll has returned, unless Firestore has
// not answered.
func (q *Queue) AddAll(ctx context.Context, ids []string, f delivery.Fields, added func()) error {
	fields, err := encodeFields(f, q.database)
	if err != nil {
		return fmt.Errorf("add documents: %w", err)
	}
	err = q.bulk(ctx, ids, added, func(id string) *pb.Write {
		return &pb.Write{
			Operation:       &pb.Write_Update{Update: &pb.Document{Name: q.mail.name(id), Fields: fields}},
			CurrentDocument: &pb.Precondition{ConditionType: &pb.Precondition_Exists{Exists: false}},
		}
	})
	if err != nil {
		return fmt.Errorf("add documents: %w", advised(err))
	}
	return nil
}

// DeleteAll deletes the mail documents with these IDs, as far as there are any, and
// tells deleted as AddAll does; and what the state collection has of the mail
// collection itself.
func (q *Queue) DeleteAll(ctx context.Context, ids []string, deleted func()) error {
	err := q.bulk(ctx, ids, deleted, func(id string) *pb.Write {
		return &pb.Write{Operation: &pb.Write_Delete{Delete: q.mail.name(id)}}
	})
	if err == nil {
		err = q.put(ctx, &pb.Write{Operation: &pb.Write_Delete{Delete: q.stateName()}})
	}
	if err != nil {
		return fmt.Errorf("delete documents: %w", advised(err))
	}
	return nil
}

// bulk makes a write for each of the IDs.
func (q *Queue) bulk(ctx context.Context, ids []string, done func(), write func(id string) *pb.Write) error {
	group, working := errgroup.WithContext(ctx)
	group.SetLimit(maxBulk)
	for _, id := range ids {
		if working.Err() != nil {
			break
		}
		group.Go(func() error {
			if err := q.put(working, write(id)); err != nil {
				return err
			}
			done()
			return nil
		})
	}
	if err := group.Wait(); err != nil {
		return err
	}
	return ctx.Err()
}

// put makes a write that may be repeated. If its document is there already, that is
// no error. A write that is under way is waited for even if ctx ends: it must not
// come after others that take it back.
func (q *Queue) put(ctx context.Context, w *pb.Write) error {
	_, err := again(ctx, func(ctx context.Context) (struct{}, error) {
		_, err := q.batch.apply(context.WithoutCancel(ctx), w)
		switch status.Code(err) {
		case codes.AlreadyExists, codes.FailedPrecondition:
			err = nil
		}
		return struct{}{}, err
	})
	return err
}
