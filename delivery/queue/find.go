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
	// "in" on one field uses the automatic index; with a comparison of the lease
	// it would need a composite one, so leases are compared here.
	query.Where = in("delivery.state", string(delivery.Pending), string(delivery.Retry), string(delivery.Processing))
	if err := q.run(ctx, query, unsettled(found)); err != nil {
		return fmt.Errorf("sweep: %w", advised(err))
	}
	return nil
}

// Scan passes to found every document of the collection that is not final, by
// one streamed query over all of them, of which it asks only for the fields
// that a mail is made of. It is billed one read for each document there is.
func (q *Queue) Scan(ctx context.Context, found func(context.Context, delivery.Snapshot) error) error {
	if err := q.run(ctx, q.mails(), unsettled(found)); err != nil {
		return fmt.Errorf("scan: %w", advised(err))
	}
	return nil
}

// mails returns the query for all documents of the collection, without what mails
// are not made of.
func (q *Queue) mails() *pb.StructuredQuery {
	query := q.mail.query()
	query.Select = &pb.StructuredQuery_Projection{}
	for _, path := range scanned() {
		query.Select.Fields = append(query.Select.Fields, &pb.StructuredQuery_FieldReference{FieldPath: path})
	}
	return query
}

// scanned lists the fields that decisions and mails are made of. The delivery
// field comes whole: one that isn't a map has no paths below it.
func scanned() []string {
	return []string{
		"to", "cc", "bcc", "toUids", "ccUids", "bccUids", "from", "replyTo", "headers",
		"message", "template", "sendGrid", "categories", "delivery",
	}
}

const (
	// patience is how often a query is begun again without having found anything.
	patience = 3
	// maxAnswer is how long Firestore may take to answer a query, or to go on with
	// it. It gives up by itself after a minute.
	maxAnswer = 70 * time.Second
)

// unsettled returns a function that passes on what is not final.
func unsettled(found func(context.Context, delivery.Snapshot) error) func(context.Context, *pb.Document) error {
	return func(ctx context.Context, d *pb.Document) error {
		if settled(d) {
			return nil
		}
		return found(ctx, snapshot(d))
	}
}

// in returns the filter for documents whose field has one of some values.
func in(path string, values ...string) *pb.StructuredQuery_Filter {
	list := &pb.ArrayValue{}
	for _, v := range values {
		list.Values = append(list.Values, &pb.Value{ValueType: &pb.Value_StringValue{StringValue: v}})
	}
	return where(path, pb.StructuredQuery_FieldFilter_IN, &pb.Value{ValueType: &pb.Value_ArrayValue{ArrayValue: list}})
}

// where returns the filter for documents whose field compares with v like this.
func where(path string, op pb.StructuredQuery_FieldFilter_Operator, v *pb.Value) *pb.StructuredQuery_Filter {
	return &pb.StructuredQuery_Filter{FilterType: &pb.StructuredQuery_Filter_FieldFilter{FieldFilter: &pb.StructuredQuery_FieldFilter{
		Field: &pb.StructuredQuery_FieldReference{FieldPath: path}, Op: op, Value: v,
	}}}
}

// run passes what a query finds to found. A stream that breaks off, as one that
// found holds back for long may, is begun again after the last document it has
// passed on.
func (q *Queue) run(ctx context.Context, query *pb.StructuredQuery, found func(context.Context, *pb.Document) error) error {
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
// passed on. The error of a query that is not answered is a gRPC status.
func (q *Queue) stream(ctx context.Context, query *pb.StructuredQuery, found func(context.Context, *pb.Document) error) (last string, err error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	watchdog := time.AfterFunc(maxAnswer, func() { cancel(errSilent) })
	defer watchdog.Stop()
	stream, err := q.client.RunQuery(q.routed(ctx), &pb.RunQueryRequest{
		Parent:    q.mail.parent,
		QueryType: &pb.RunQueryRequest_StructuredQuery{StructuredQuery: query},
	})
	if err != nil {
		return "", err
	}
	for {
		response, err := stream.Recv()
		silent := !watchdog.Stop() // nor runs it while found holds the stream back
		switch {
		case errors.Is(err, io.EOF):
			return last, nil
		case silent:
			return last, status.Error(codes.DeadlineExceeded, errSilent.Error())
		case err != nil:
			return last, err
		}
		if d := response.GetDocument(); d != nil {
			if err := found(ctx, d); err != nil {
				return last, err
			}
			last = d.GetName()
		}
		watchdog.Reset(maxAnswer)
	}
}
