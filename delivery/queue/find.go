package queue

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	pb "cloud.google.com/go/firestore/apiv1/firestorepb"
	"github.com/cenkalti/backoff/v5"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"postrider/delivery"
)

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
		"message", "template", "sendGrid", "categories", "receipts", "delivery",
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

// run passes what a query finds to found, in the order of the fields that it
// names, or of the IDs. A stream that breaks off, as one that found holds back for
// long may, is begun again after the last document it has passed on.
func (q *Queue) run(ctx context.Context, query *pb.StructuredQuery, found func(context.Context, *pb.Document) error) error {
	query.OrderBy = append(query.OrderBy, &pb.StructuredQuery_Order{Field: &pb.StructuredQuery_FieldReference{FieldPath: pathName}})
	pause := backoff.NewExponentialBackOff()
	for tries := 1; ; tries++ {
		last, err := q.stream(ctx, query, found)
		if err == nil || !passes(err) {
			return err
		}
		if last != nil {
			query.StartAt = cursorAfter(query, last)
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

// pathName is the path of a document's name.
const pathName = "__name__"

// passes reports whether a query that ended in err may be answered when it is
// asked again: what found returned is no status of Firestore's.
func passes(err error) bool {
	s, ok := status.FromError(err)
	if !ok {
		return false
	}
	switch s.Code() {
	case codes.PermissionDenied, codes.InvalidArgument, codes.FailedPrecondition:
		return false
	}
	return true
}

// cursorAfter returns the cursor by which a query goes on after a document.
func cursorAfter(query *pb.StructuredQuery, d *pb.Document) *pb.Cursor {
	c := &pb.Cursor{}
	for _, order := range query.GetOrderBy() {
		v := &pb.Value{ValueType: &pb.Value_ReferenceValue{ReferenceValue: d.GetName()}}
		if path := order.GetField().GetFieldPath(); path != pathName {
			v = valueAt(d, path)
		}
		c.Values = append(c.Values, v)
	}
	return c
}

// valueAt returns the value at a path of plain names; nil if there is none.
func valueAt(d *pb.Document, path string) *pb.Value {
	var v *pb.Value
	fields := d.GetFields()
	for name := range strings.SplitSeq(path, ".") {
		v = fields[name]
		fields = v.GetMapValue().GetFields()
	}
	return v
}

// stream runs a query once, and returns the last document that it passed on, nil
// if there was none. The error of a query that is not answered is a gRPC status.
func (q *Queue) stream(ctx context.Context, query *pb.StructuredQuery, found func(context.Context, *pb.Document) error) (last *pb.Document, err error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	watchdog := time.AfterFunc(maxAnswer, func() { cancel(errSilent) })
	defer watchdog.Stop()
	stream, err := q.client.RunQuery(q.routed(ctx), &pb.RunQueryRequest{
		Parent:    q.mail.parent,
		QueryType: &pb.RunQueryRequest_StructuredQuery{StructuredQuery: query},
	})
	if err != nil {
		return nil, err
	}
	for first := true; ; first = false {
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
		if first { // the others are of the same moment
			q.clock.heard(response.GetReadTime())
		}
		if d := response.GetDocument(); d != nil {
			if err := found(ctx, d); err != nil {
				return last, err
			}
			last = d
		}
		watchdog.Reset(maxAnswer)
	}
}
