package queue

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"reflect"
	"slices"
	"time"

	pb "cloud.google.com/go/firestore/apiv1/firestorepb"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/timestamppb"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"postrider/delivery"
)

// fieldOpen says of an operation that it has not ended.
const fieldOpen = "open"

// operations returns the collection of the operations on the mail collection, in
// which each is a document below the state document.
func (q *Queue) operations() collection { return collection{parent: q.stateName(), id: "operations"} }

// CreateOperation puts down the document of an operation, which has a field open
// that is true until it has ended. It returns [delivery.ErrConflict] if there is
// one with this ID, perhaps by a call before that was not answered.
func (q *Queue) CreateOperation(ctx context.Context, id string, f delivery.Fields) (delivery.Snapshot, error) {
	s := delivery.Snapshot{ID: id, Fields: f}
	absent := &pb.Precondition{ConditionType: &pb.Precondition_Exists{Exists: false}}
	s, err := q.putOperation(ctx, s, &pb.Write{CurrentDocument: absent}, f)
	if err != nil {
		return delivery.Snapshot{}, fmt.Errorf("create operation: %w", err)
	}
	return s, nil
}

// Operation returns the document of an operation, or [delivery.ErrGone] if there
// is none. It costs one read.
func (q *Queue) Operation(ctx context.Context, id string) (delivery.Snapshot, error) {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	d, err := q.client.GetDocument(ctx, &pb.GetDocumentRequest{Name: q.operations().name(id)})
	switch status.Code(err) {
	case codes.OK:
		return snapshot(d), nil
	case codes.NotFound, codes.InvalidArgument:
		return delivery.Snapshot{}, delivery.ErrGone
	}
	return delivery.Snapshot{}, fmt.Errorf("read operation: %w", advised(err))
}

// ChangeOperation sets fields of an operation's document, if it is still as in s,
// and returns it as it is then. Only what differs is written. It returns
// [delivery.ErrConflict] if somebody has changed or deleted it, perhaps this
// instance by a call before that was not answered, and [delivery.ErrRefused] if
// Firestore can't keep it.
func (q *Queue) ChangeOperation(ctx context.Context, s delivery.Snapshot, f delivery.Fields) (delivery.Snapshot, error) {
	w := &pb.Write{UpdateMask: &pb.DocumentMask{}, CurrentDocument: unchanged(s)}
	differing := delivery.Fields{}
	for name, v := range f {
		if old, there := s.Fields[name]; !there || !reflect.DeepEqual(old, v) {
			differing[name] = v
			w.UpdateMask.FieldPaths = append(w.UpdateMask.FieldPaths, name)
		}
	}
	if len(differing) == 0 {
		return s, nil
	}
	slices.Sort(w.UpdateMask.FieldPaths)
	after, err := q.putOperation(ctx, s, w, differing)
	if err != nil {
		return s, fmt.Errorf("change operation: %w", err)
	}
	return after, nil
}

// putOperation makes a write of some fields of an operation's document, and
// returns the document as it is then.
func (q *Queue) putOperation(ctx context.Context, s delivery.Snapshot, w *pb.Write, f delivery.Fields) (delivery.Snapshot, error) {
	name := q.operations().name(s.ID)
	fields, err := encodeFields(f, q.database)
	if err != nil {
		return s, errors.Join(delivery.ErrRefused, err)
	}
	w.Operation = &pb.Write_Update{Update: &pb.Document{Name: name, Fields: fields}}
	at, err := q.batch.apply(ctx, w)
	if err != nil {
		return s, advised(condition(err))
	}
	after := delivery.Snapshot{ID: s.ID, Fields: make(delivery.Fields, len(s.Fields)), UpdateTime: at}
	maps.Copy(after.Fields, s.Fields)
	maps.Copy(after.Fields, f)
	return after, nil
}

// unchanged returns the condition that a document is still as in s.
func unchanged(s delivery.Snapshot) *pb.Precondition {
	return &pb.Precondition{ConditionType: &pb.Precondition_UpdateTime{UpdateTime: timestamppb.New(s.UpdateTime)}}
}

// OpenOperations passes on the operations that have not ended, of their fields
// the end of the lease alone. It is billed one read for each, one at least.
func (q *Queue) OpenOperations(ctx context.Context, found func(context.Context, delivery.Snapshot) error) error {
	query := q.operations().query()
	query.Where = where(fieldOpen, pb.StructuredQuery_FieldFilter_EQUAL, &pb.Value{ValueType: &pb.Value_BooleanValue{BooleanValue: true}})
	query.Select = projection("leaseExpireTime")
	open, err := q.findBelow(ctx, q.stateName(), query)
	if err != nil {
		return fmt.Errorf("find open operations: %w", advised(err))
	}
	for _, d := range open {
		if err := found(ctx, snapshot(d)); err != nil {
			return err
		}
	}
	return nil
}

// timed is a message of a stream that says when it is of.
type timed interface{ GetReadTime() *timestamppb.Timestamp }

// documents reads a stream to its end, and returns the documents in it.
func documents[A timed](c *clock, recv func() (A, error), in func(A) *pb.Document) ([]*pb.Document, error) {
	var all []*pb.Document
	for {
		message, err := recv()
		if errors.Is(err, io.EOF) {
			return all, nil
		}
		if err != nil {
			return nil, err
		}
		c.heard(message.GetReadTime())
		if d := in(message); d != nil {
			all = append(all, d)
		}
	}
}

// retried lists the fields that decide whether a mail is one that is meant to be
// sent again.
func retried() []string { return []string{"delivery", "template.name", "from"} }

// projection returns the part of a query that says which fields it asks for.
func projection(paths ...string) *pb.StructuredQuery_Projection {
	p := &pb.StructuredQuery_Projection{}
	for _, path := range paths {
		p.Fields = append(p.Fields, &pb.StructuredQuery_FieldReference{FieldPath: path})
	}
	return p
}

// Retryable passes on the mail documents in a state in the order of their IDs,
// beginning after an ID ("" for the first), up to limit of them: the fields that
// decide whether the mail is to be sent again (delivery, template.name and from),
// and when the document was added. It is billed one read for each, one at least.
func (q *Queue) Retryable(ctx context.Context, state delivery.State, after string, limit int,
	found func(ctx context.Context, s delivery.Snapshot, added time.Time) error,
) error {
	query := q.mail.query()
	query.Select = projection(retried()...)
	query.Where = where(pathState, pb.StructuredQuery_FieldFilter_EQUAL, textValue(string(state)))
	query.Limit = wrapperspb.Int32(int32(limit))
	if after != "" {
		query.StartAt = &pb.Cursor{Values: []*pb.Value{{ValueType: &pb.Value_ReferenceValue{ReferenceValue: q.mail.name(after)}}}}
	}
	passed := 0
	err := q.run(ctx, query, func(ctx context.Context, d *pb.Document) error {
		if passed == limit { // the query was begun again
			return errEnough
		}
		passed++
		return found(ctx, snapshot(d), d.GetCreateTime().AsTime())
	})
	if err != nil && !errors.Is(err, errEnough) {
		return fmt.Errorf("find documents to send again: %w", advised(err))
	}
	return nil
}

// Documents passes on, in no order, the mail documents with some IDs, with the
// fields that [Queue.Retryable] tells of; what is not there, or can't be an ID, is
// left out. It costs one read for each, in one request.
func (q *Queue) Documents(ctx context.Context, ids []string, found func(ctx context.Context, s delivery.Snapshot, added time.Time) error) error {
	request := &pb.BatchGetDocumentsRequest{Database: q.database, Mask: &pb.DocumentMask{FieldPaths: retried()}}
	for _, id := range ids {
		if isID(id) {
			request.Documents = append(request.Documents, q.mail.name(id))
		}
	}
	if len(request.GetDocuments()) == 0 {
		return nil
	}
	there, err := again(ctx, func(ctx context.Context) ([]*pb.Document, error) { return q.readAll(ctx, request) })
	if err != nil {
		return fmt.Errorf("read documents to send again: %w", advised(err))
	}
	for _, d := range there {
		if err := found(ctx, snapshot(d), d.GetCreateTime().AsTime()); err != nil {
			return err
		}
	}
	return nil
}

func (q *Queue) readAll(ctx context.Context, request *pb.BatchGetDocumentsRequest) ([]*pb.Document, error) {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	stream, err := q.client.BatchGetDocuments(q.routed(ctx), request)
	if err != nil {
		return nil, err
	}
	return documents(q.clock, stream.Recv, (*pb.BatchGetDocumentsResponse).GetFound)
}

// CountState counts the mail documents in a state. It is billed one read for each
// thousand, one at least.
func (q *Queue) CountState(ctx context.Context, state delivery.State) (int, error) {
	query := q.mail.query()
	query.Where = where(pathState, pb.StructuredQuery_FieldFilter_EQUAL, textValue(string(state)))
	n, _, err := counter{q}.aggregate(ctx, query, nil, 0)
	return n, advised(err)
}
