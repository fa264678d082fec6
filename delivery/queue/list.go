package queue

import (
	"context"
	"errors"
	"fmt"

	pb "cloud.google.com/go/firestore/apiv1/firestorepb"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"postrider/delivery"
)

// Filter says which documents [Queue.List] passes on. The zero Filter is all of
// the collection.
type Filter struct {
	State delivery.State // of the record; None for any
	Class delivery.Class // of the last outcome; "" for any
	Limit int            // how many at most; 0 for no limit
}

// pathClass is the path of the last outcome's class.
const pathClass = "delivery.outcome.class"

// errEnough ends a query that has found as much as was wanted.
var errEnough = errors.New("found enough")

// List passes to found the documents that a filter lets through, of their fields
// delivery alone, in the order of their IDs, as they come, until found returns an
// error. It is billed one read for each document of the state or class, up to the
// limit; with both, for each of the class. It needs no index but the automatic
// ones of single fields.
func (q *Queue) List(ctx context.Context, f Filter, found func(context.Context, delivery.Snapshot) error) error {
	passed := 0
	err := q.run(ctx, q.listed(f), func(ctx context.Context, d *pb.Document) error {
		s := snapshot(d)
		if !f.lets(delivery.ReadRecord(s.Fields)) {
			return nil
		}
		if err := found(ctx, s); err != nil {
			return err
		}
		if passed++; passed == f.Limit {
			return errEnough
		}
		return nil
	})
	if err != nil && !errors.Is(err, errEnough) {
		return fmt.Errorf("list documents: %w", advised(err))
	}
	return nil
}

// listed returns the query for a filter. It compares one field only: with two it
// might need a composite index.
func (q *Queue) listed(f Filter) *pb.StructuredQuery {
	query := q.mail.query()
	query.Select = &pb.StructuredQuery_Projection{Fields: []*pb.StructuredQuery_FieldReference{{FieldPath: "delivery"}}}
	switch {
	case f.Class != "":
		query.Where = where(pathClass, pb.StructuredQuery_FieldFilter_EQUAL, textValue(string(f.Class)))
	case f.State != delivery.None:
		query.Where = where(pathState, pb.StructuredQuery_FieldFilter_EQUAL, textValue(string(f.State)))
	}
	if f.Limit > 0 && (f.Class == "" || f.State == delivery.None) {
		query.Limit = wrapperspb.Int32(int32(f.Limit)) // else more must be read than is passed on
	}
	return query
}

// lets reports whether a document with this record is passed on.
func (f Filter) lets(r delivery.Record) bool {
	return (f.State == delivery.None || f.State == r.State) && (f.Class == "" || f.Class == r.Class)
}

func textValue(s string) *pb.Value {
	return &pb.Value{ValueType: &pb.Value_StringValue{StringValue: s}}
}

// Lookup returns the document called id as it is now, for somebody who asks once
// and wants to know what is wrong: [delivery.ErrGone] if there is none, as there
// is none by a name that can't be one. It costs one read.
func (q *Queue) Lookup(ctx context.Context, id string) (delivery.Snapshot, error) {
	d, err := again(ctx, func(ctx context.Context) (*pb.Document, error) {
		return q.client.GetDocument(ctx, &pb.GetDocumentRequest{Name: q.mail.name(id)})
	})
	switch status.Code(err) {
	case codes.OK:
		return snapshot(d), nil
	case codes.NotFound, codes.InvalidArgument:
		return delivery.Snapshot{}, delivery.ErrGone
	}
	return delivery.Snapshot{}, fmt.Errorf("read document: %w", advised(err))
}
