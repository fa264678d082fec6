package queue

import (
	"context"
	"errors"
	"fmt"
	"io"

	pb "cloud.google.com/go/firestore/apiv1/firestorepb"

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
		return fmt.Errorf("sweep: %w", err)
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
		return fmt.Errorf("scan: %w", err)
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

// run passes what a query finds to found, but for what is final.
func (q *Queue) run(ctx context.Context, query *pb.StructuredQuery, found func(context.Context, delivery.Snapshot) error) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	stream, err := q.client.RunQuery(q.routed(ctx), &pb.RunQueryRequest{
		Parent:    q.mail.parent,
		QueryType: &pb.RunQueryRequest_StructuredQuery{StructuredQuery: query},
	})
	if err != nil {
		return err
	}
	for {
		response, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		d := response.GetDocument()
		if d == nil || settled(d) {
			continue
		}
		if err := found(ctx, snapshot(d)); err != nil {
			return err
		}
	}
}
