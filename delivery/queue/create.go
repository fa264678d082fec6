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

	"postrider/delivery"
)

// How often a document is tried to be added, each time for as long as a write may
// take, and how long in all, with the time it waits for other writes: somebody waits
// for the answer.
const (
	maxCreates    = 3
	createTimeout = 20 * time.Second
)

// Create adds a mail document called id. What Firestore does not take at once is
// repeated a few times. It returns
//
//   - [delivery.ErrConflict] if there is a document called so: that of somebody
//     else, or this one, by a write that was never answered;
//   - [delivery.ErrRefused] if Firestore does not take such a document: nothing
//     was added;
//   - [context.DeadlineExceeded] if a write was never answered: it may have been
//     added;
//   - any other error if Firestore has answered that it can't, or is not there.
//
// A connection that breaks in mid-write, to a server that is not there afterwards,
// counts as the last.
func (q *Queue) Create(ctx context.Context, id string, f delivery.Fields) error {
	if !validID(id) {
		return fmt.Errorf("add document: %w: no document can be called so", delivery.ErrRefused)
	}
	write, err := q.creation(id, f)
	if err != nil {
		return fmt.Errorf("add document: %w: %w", delivery.ErrRefused, err)
	}
	ctx, cancel := context.WithTimeout(ctx, createTimeout)
	defer cancel()
	unanswered := false
	_, err = backoff.Retry(ctx, func() (struct{}, error) {
		_, err := q.batch.put(ctx, q.mail.name(id), write)
		unanswered = unanswered || silent(err)
		return struct{}{}, created(err)
	}, backoff.WithMaxTries(maxCreates), backoff.WithMaxElapsedTime(0))
	switch {
	case err == nil:
		return nil
	case unanswered && !settledError(err):
		return fmt.Errorf("add document: %w: %w", context.DeadlineExceeded, err)
	}
	return fmt.Errorf("add document: %w", advised(err))
}

// creation returns the encoded write that adds a document.
func (q *Queue) creation(id string, f delivery.Fields) ([]byte, error) {
	fields, err := encodeFields(f, q.database)
	if err != nil {
		return nil, err
	}
	return proto.Marshal(&pb.Write{
		Operation:       &pb.Write_Update{Update: &pb.Document{Name: q.mail.name(id), Fields: fields}},
		CurrentDocument: &pb.Precondition{ConditionType: &pb.Precondition_Exists{Exists: false}},
	})
}

// created returns what the verdict on a creation means. A database that is not
// there answers NOT_FOUND, which is no conflict.
func created(err error) error {
	switch status.Code(err) {
	case codes.OK:
		return nil
	case codes.AlreadyExists, codes.FailedPrecondition:
		return backoff.Permanent(delivery.ErrConflict)
	case codes.InvalidArgument:
		return backoff.Permanent(errors.Join(delivery.ErrRefused, err))
	case codes.NotFound, codes.PermissionDenied, codes.Unauthenticated, codes.Unimplemented:
		return backoff.Permanent(err)
	}
	return err
}

// silent reports whether err says nothing about whether a write was applied.
func silent(err error) bool {
	switch status.Code(err) {
	case codes.DeadlineExceeded, codes.Canceled, codes.Unknown, codes.Internal:
		return true
	}
	return false
}
