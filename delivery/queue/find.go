package queue

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	pb "cloud.google.com/go/firestore/apiv1/firestorepb"
	"github.com/cenkalti/backoff/v5"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"postrider/delivery"
)

// Sweep passes to found every document that is waiting or claimed (PENDING,
// RETRY, PROCESSING), due or not. It is billed one read for each.
func (q *Queue) Sweep(ctx context.Context, found func(context.Context, delivery.Snapshot) error) error {
	query := q.mail.query()
	states := &pb.ArrayValue{}
	for _, s := range []delivery.State{delivery.Pending, delivery.Retry, delivery.Processing} {
		states.Values = append(states.Values, &pb.Value{ValueType: &pb.Value_StringValue{StringValue: string(s)}})
	}
	// "in" on one field uses the automatic index; with a comparison of the lease
	// it would need a composite one, so leases are compared here.
	query.Where = &pb.StructuredQuery_Filter{FilterType: &pb.StructuredQuery_Filter_FieldFilter{FieldFilter: &pb.StructuredQuery_FieldFilter{
		Field: &pb.StructuredQuery_FieldReference{FieldPath: "delivery.state"},
		Op:    pb.StructuredQuery_FieldFilter_IN,
		Value: &pb.Value{ValueType: &pb.Value_ArrayValue{ArrayValue: states}},
	}}}
	if err := q.run(ctx, query, found); err != nil {
		return fmt.Errorf("sweep: %w", advised(err))
	}
	return nil
}

// Scan passes to found every document of the collection that is not final, by
// one streamed query over all of them, of which it asks only for the fields
// that a mail is made of. It is billed one read for each document there is.
func (q *Queue) Scan(ctx context.Context, found func(context.Context, delivery.Snapshot) error) error {
	query := q.mail.query()
	query.Select = &pb.StructuredQuery_Projection{}
	for _, path := range scanned() {
		query.Select.Fields = append(query.Select.Fields, &pb.StructuredQuery_FieldReference{FieldPath: path})
	}
	if err := q.run(ctx, query, found); err != nil {
		return fmt.Errorf("scan: %w", advised(err))
	}
	return nil
}

// scanned lists the fields that decisions and mails are made of. The delivery
// field comes whole: one that isn't a map has no paths below it.
func scanned() []string {
	return []string{
		"to", "cc", "bcc", "toUids", "ccUids", "bccUids", "from", "replyTo", "headers",
		"message", "template", "sendGrid", "categories", "delivery",
	}
}

// patience is how often a query is begun again without having found anything.
const patience = 3

// run passes what a query finds to found, but for what is final. A stream that
// breaks off, as one that found holds back for long may, is begun again after
// the last document it has passed on.
func (q *Queue) run(ctx context.Context, query *pb.StructuredQuery, found func(context.Context, delivery.Snapshot) error) error {
	query.OrderBy = []*pb.StructuredQuery_Order{{Field: &pb.StructuredQuery_FieldReference{FieldPath: "__name__"}}}
	pause := backoff.NewExponentialBackOff()
	for tries := 1; ; tries++ {
		last, err := q.stream(ctx, query, found)
		if s, ok := status.FromError(err); err == nil || !ok || s.Code() == codes.PermissionDenied || s.Code() == codes.InvalidArgument {
			return err
		}
		if last != "" {
			query.StartAt = &pb.Cursor{Values: []*pb.Value{{ValueType: &pb.Value_ReferenceValue{ReferenceValue: last}}}}
			tries = 0
			pause.Reset()
		}
		if tries == patience {
			return err
		}
		select {
		case <-time.After(pause.NextBackOff()):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// stream runs a query once, and returns the name of the last document that it
// passed on.
func (q *Queue) stream(ctx context.Context, query *pb.StructuredQuery, found func(context.Context, delivery.Snapshot) error) (last string, err error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	stream, err := q.client.RunQuery(q.routed(ctx), &pb.RunQueryRequest{
		Parent:    q.mail.parent,
		QueryType: &pb.RunQueryRequest_StructuredQuery{StructuredQuery: query},
	})
	if err != nil {
		return "", err
	}
	for {
		response, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			return last, nil
		}
		if err != nil {
			return last, err
		}
		d := response.GetDocument()
		if d == nil {
			continue
		}
		if !settled(d) {
			if err := found(ctx, snapshot(d)); err != nil {
				return last, err
			}
		}
		last = d.GetName()
	}
}
