package queue

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"sync"

	pb "cloud.google.com/go/firestore/apiv1/firestorepb"
	"github.com/cenkalti/backoff/v5"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/timestamppb"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"postrider/delivery"
)

// ledger is what counts have in common that can be compared: the moment they are
// made at, and the states they know. It is not changed.
type ledger struct {
	at     *timestamppb.Timestamp
	states []string
}

// refusesMoment reports whether a call may have been refused because Firestore no
// longer answers for its moment.
func refusesMoment(err error) bool {
	switch status.Code(err) {
	case codes.FailedPrecondition, codes.InvalidArgument, codes.OutOfRange:
		return true
	}
	return false
}

// counted is a collection as an audit sees it. Its methods are safe for
// concurrent use, and repeat by themselves what Firestore may yet answer.
type counted interface {
	// begin counts all documents, but not beyond limit. It returns the moment at
	// which there were so many.
	begin(ctx context.Context, limit int) (n int, at *timestamppb.Timestamp, err error)
	// count counts the documents of a range, or those of them in a known state.
	count(ctx context.Context, s span, l *ledger, known bool) (int, error)
	// edges returns the IDs of the first and the last document of a range that are
	// in a known state; empty ones if there is none. The last is empty, too, where
	// Firestore can't tell.
	edges(ctx context.Context, s span, l *ledger) (first, last string, err error)
	// read passes on the documents of a range as they are now, in order, one read
	// each, until each returns an error.
	read(ctx context.Context, s span, each func(context.Context, *pb.Document) error) error
	// incomplete passes on those that were incomplete.
	incomplete(ctx context.Context, each func(context.Context, *pb.Document) error) error
}

// counter counts a queue's mail collection.
type counter struct{ *Queue }

// maxCounts is how often a count is tried, with growing pauses.
const maxCounts = 8

func (c counter) begin(ctx context.Context, limit int) (int, *timestamppb.Timestamp, error) {
	return c.aggregate(ctx, c.mail.query(), nil, limit)
}

func (c counter) count(ctx context.Context, s span, l *ledger, known bool) (int, error) {
	query := c.mail.query()
	query.Where = c.mail.within(s, nil)
	if known {
		query.Where = c.mail.within(s, l.states)
	}
	n, _, err := c.aggregate(ctx, query, l.at, 0)
	return n, err
}

// aggregate counts what a query finds at a moment, the present one for nil, up
// to a limit, none for 0. It returns the moment.
func (c counter) aggregate(ctx context.Context, query *pb.StructuredQuery, at *timestamppb.Timestamp, limit int) (int, *timestamppb.Timestamp, error) {
	count := &pb.StructuredAggregationQuery_Aggregation_Count{}
	if limit > 0 {
		count.UpTo = wrapperspb.Int64(int64(limit))
	}
	request := &pb.RunAggregationQueryRequest{
		Parent: c.mail.parent,
		QueryType: &pb.RunAggregationQueryRequest_StructuredAggregationQuery{StructuredAggregationQuery: &pb.StructuredAggregationQuery{
			QueryType: &pb.StructuredAggregationQuery_StructuredQuery{StructuredQuery: query},
			Aggregations: []*pb.StructuredAggregationQuery_Aggregation{{
				Alias:    "n",
				Operator: &pb.StructuredAggregationQuery_Aggregation_Count_{Count: count},
			}},
		}},
	}
	if at != nil {
		request.ConsistencySelector = &pb.RunAggregationQueryRequest_ReadTime{ReadTime: at}
	}
	response, err := again(ctx, func(ctx context.Context) (*pb.RunAggregationQueryResponse, error) {
		stream, err := c.client.RunAggregationQuery(c.routed(ctx), request)
		if err != nil {
			return nil, err
		}
		return last(stream.Recv, func(r *pb.RunAggregationQueryResponse) bool { return r.GetResult() != nil })
	})
	if err != nil {
		return 0, nil, fmt.Errorf("count documents: %w", err)
	}
	if at == nil {
		c.clock.heard(response.GetReadTime())
	}
	return int(response.GetResult().GetAggregateFields()["n"].GetIntegerValue()), response.GetReadTime(), nil
}

// again repeats a call until it is answered, refused, or has been tried often
// enough.
func again[T any](ctx context.Context, call func(context.Context) (T, error)) (T, error) {
	return backoff.Retry(ctx, func() (T, error) {
		ctx, cancel := context.WithTimeout(ctx, maxAnswer)
		defer cancel()
		v, err := call(ctx)
		switch status.Code(err) {
		case codes.InvalidArgument, codes.FailedPrecondition, codes.OutOfRange, codes.NotFound,
			codes.PermissionDenied, codes.Unauthenticated, codes.Unimplemented:
			err = backoff.Permanent(err)
		}
		return v, err
	}, backoff.WithMaxTries(maxCounts), backoff.WithMaxElapsedTime(0))
}

// last reads a stream to its end, and returns the last message that is wanted;
// the zero one if none is.
func last[T any](recv func() (T, error), wanted func(T) bool) (found T, err error) {
	for {
		message, err := recv()
		if errors.Is(err, io.EOF) {
			return found, nil
		}
		if err != nil {
			return found, err
		}
		if wanted(message) {
			found = message
		}
	}
}

// edges asks for documents in a known state because of the last one: a query of
// one field finds it with the field's automatic index, whereas one of all
// documents by descending name would need an index of its own.
func (c counter) edges(ctx context.Context, s span, l *ledger) (first, last string, err error) {
	if first, err = c.edge(ctx, s, l, pb.StructuredQuery_ASCENDING); err != nil {
		return "", "", err
	}
	last, err = c.edge(ctx, s, l, pb.StructuredQuery_DESCENDING)
	if status.Code(err) == codes.FailedPrecondition {
		return first, "", nil
	}
	return first, last, err
}

func (c counter) edge(ctx context.Context, s span, l *ledger, order pb.StructuredQuery_Direction) (string, error) {
	name := &pb.StructuredQuery_FieldReference{FieldPath: "__name__"}
	query := c.mail.query()
	query.Where = c.mail.within(s, l.states)
	query.Select = &pb.StructuredQuery_Projection{Fields: []*pb.StructuredQuery_FieldReference{name}}
	query.OrderBy = []*pb.StructuredQuery_Order{{Field: name, Direction: order}}
	query.Limit = wrapperspb.Int32(1)
	request := &pb.RunQueryRequest{
		Parent:              c.mail.parent,
		QueryType:           &pb.RunQueryRequest_StructuredQuery{StructuredQuery: query},
		ConsistencySelector: &pb.RunQueryRequest_ReadTime{ReadTime: l.at},
	}
	response, err := again(ctx, func(ctx context.Context) (*pb.RunQueryResponse, error) {
		stream, err := c.client.RunQuery(c.routed(ctx), request)
		if err != nil {
			return nil, err
		}
		return last(stream.Recv, func(r *pb.RunQueryResponse) bool { return r.GetDocument() != nil })
	})
	if err != nil {
		return "", fmt.Errorf("find the range of documents: %w", err)
	}
	return idOf(response.GetDocument().GetName()), nil
}

func (c counter) read(ctx context.Context, s span, each func(context.Context, *pb.Document) error) error {
	query := c.mails()
	query.Where = c.mail.within(s, nil)
	return c.run(ctx, query, each)
}

func (c counter) incomplete(ctx context.Context, each func(context.Context, *pb.Document) error) error {
	query := c.mails()
	query.Where = in("delivery.outcome.class", string(delivery.Incomplete))
	return c.run(ctx, query, each)
}

// within returns the filter for the documents of a range, those in one of some
// states if any are given; nil if that is all.
func (c collection) within(s span, states []string) *pb.StructuredQuery_Filter {
	var filters []*pb.StructuredQuery_Filter
	bound := func(op pb.StructuredQuery_FieldFilter_Operator, id string) {
		if id != "" {
			filters = append(filters, where("__name__", op, &pb.Value{ValueType: &pb.Value_ReferenceValue{ReferenceValue: c.name(id)}}))
		}
	}
	bound(pb.StructuredQuery_FieldFilter_GREATER_THAN_OR_EQUAL, s.from)
	bound(pb.StructuredQuery_FieldFilter_LESS_THAN, s.to)
	if len(states) > 0 {
		filters = append(filters, in("delivery.state", states...))
	}
	switch len(filters) {
	case 0:
		return nil
	case 1:
		return filters[0]
	}
	return allOf(filters...)
}

// allOf returns the filter for documents that pass all of some filters.
func allOf(filters ...*pb.StructuredQuery_Filter) *pb.StructuredQuery_Filter {
	return &pb.StructuredQuery_Filter{FilterType: &pb.StructuredQuery_Filter_CompositeFilter{CompositeFilter: &pb.StructuredQuery_CompositeFilter{
		Op: pb.StructuredQuery_CompositeFilter_AND, Filters: filters,
	}}}
}

// known is the states that documents are known to have: the program's own, and
// others, a newer version's, that have been come across. It is safe for
// concurrent use.
type known struct {
	mu    sync.Mutex
	other []string
}

const (
	maxStates = 30  // in one query (Firestore's limit)
	maxState  = 100 // bytes of a state that is worth knowing
)

// own returns the states of the program.
func own() []string {
	return []string{
		string(delivery.Pending), string(delivery.Retry), string(delivery.Processing),
		string(delivery.Success), string(delivery.Error),
	}
}

// all returns the known states.
func (k *known) all() []string {
	k.mu.Lock()
	defer k.mu.Unlock()
	return append(own(), k.other...)
}

// learn reports whether a state was not known before and is now.
func (k *known) learn(state string) bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	if len(state) > maxState || slices.Contains(own(), state) || slices.Contains(k.other, state) || len(own())+len(k.other) == maxStates {
		return false
	}
	k.other = append(k.other, state)
	return true
}
