package firestored

import (
	"context"
	"errors"
	"io"
	"net"
	"strings"
	"testing"

	pb "cloud.google.com/go/firestore/apiv1/firestorepb"
	"github.com/rs/zerolog"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"
	"google.golang.org/grpc/test/bufconn"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/wrapperspb"
)

// rig is a server with a client, over a connection in memory.
type rig struct {
	testing.TB
	server *Server
	client pb.FirestoreClient
	name   string // the database
	root   string
	db     *database
}

// newRig starts a server that ends with the test. Inside a synctest bubble the
// test calls stop itself.
func newRig(tb testing.TB, o Options) *rig {
	tb.Helper()
	r, stop := startRig(tb, o)
	tb.Cleanup(stop)
	return r
}

func startRig(tb testing.TB, o Options) (r *rig, stop func()) {
	tb.Helper()
	o.Log = zerolog.Nop()
	r = &rig{TB: tb, server: New(o), name: "projects/p/databases/(default)"}
	r.root = r.name + "/documents"
	r.db = r.server.database(r.name)
	listener := bufconn.Listen(1 << 20)
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- r.server.Serve(ctx, listener) }()
	conn, err := grpc.NewClient("passthrough:bufconn",
		grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) { return listener.DialContext(ctx) }),
		grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(64<<20)))
	if err != nil {
		tb.Fatal(err)
	}
	r.client = pb.NewFirestoreClient(conn)
	return r, func() {
		_ = conn.Close()
		cancel()
		if err := <-ended; err != nil {
			tb.Errorf("the server ended: %v", err)
		}
	}
}

func text(s string) *pb.Value {
	return &pb.Value{ValueType: &pb.Value_StringValue{StringValue: s}}
}

func boolean(b bool) *pb.Value {
	return &pb.Value{ValueType: &pb.Value_BooleanValue{BooleanValue: b}}
}

type fields map[string]*pb.Value

func object(f fields) *pb.Value {
	return &pb.Value{ValueType: &pb.Value_MapValue{MapValue: &pb.MapValue{Fields: f}}}
}

func values(v ...*pb.Value) *pb.Value { return array(v) }

// set is a write of a whole document; a path is relative to the root.
func (r *rig) set(path string, f fields) *pb.Write {
	return &pb.Write{Operation: &pb.Write_Update{Update: &pb.Document{Name: r.root + "/" + path, Fields: f}}}
}

func (r *rig) update(path string, f fields, mask ...string) *pb.Write {
	w := r.set(path, f)
	w.UpdateMask = &pb.DocumentMask{FieldPaths: mask}
	return w
}

func (r *rig) remove(path string) *pb.Write {
	return &pb.Write{Operation: &pb.Write_Delete{Delete: r.root + "/" + path}}
}

func (r *rig) transform(path string, t ...*pb.DocumentTransform_FieldTransform) *pb.Write {
	return &pb.Write{Operation: &pb.Write_Transform{Transform: &pb.DocumentTransform{Document: r.root + "/" + path, FieldTransforms: t}}}
}

func ifExists(w *pb.Write, there bool) *pb.Write {
	w.CurrentDocument = &pb.Precondition{ConditionType: &pb.Precondition_Exists{Exists: there}}
	return w
}

func ifUpdated(w *pb.Write, micros int64) *pb.Write {
	w.CurrentDocument = &pb.Precondition{ConditionType: &pb.Precondition_UpdateTime{UpdateTime: timestamp(micros)}}
	return w
}

func (r *rig) commit(writes ...*pb.Write) (*pb.CommitResponse, error) {
	return r.client.Commit(context.Background(), &pb.CommitRequest{Database: r.name, Writes: writes})
}

func (r *rig) mustCommit(writes ...*pb.Write) *pb.CommitResponse {
	r.Helper()
	response, err := r.commit(writes...)
	if err != nil {
		r.Fatal(err)
	}
	return response
}

// get returns a document, nil if there is none.
func (r *rig) get(path string) *pb.Document {
	r.Helper()
	d, err := r.client.GetDocument(context.Background(), &pb.GetDocumentRequest{Name: r.root + "/" + path})
	if status.Code(err) == codes.NotFound {
		return nil
	}
	if err != nil {
		r.Fatal(err)
	}
	return d
}

// find runs a query and returns the paths of what it finds, and all answers.
func (r *rig) find(request *pb.RunQueryRequest) (paths []string, answers []*pb.RunQueryResponse, err error) {
	if request.GetParent() == "" {
		request.Parent = r.root
	}
	stream, err := r.client.RunQuery(context.Background(), request)
	if err != nil {
		return nil, nil, err
	}
	for {
		answer, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			return paths, answers, nil
		}
		if err != nil {
			return paths, answers, err
		}
		answers = append(answers, answer)
		if d := answer.GetDocument(); d != nil {
			paths = append(paths, strings.TrimPrefix(d.GetName(), r.root+"/"))
		}
	}
}

func structured(q *pb.StructuredQuery) *pb.RunQueryRequest_StructuredQuery {
	return &pb.RunQueryRequest_StructuredQuery{StructuredQuery: q}
}

func selectFrom(collection string) *pb.StructuredQuery {
	return &pb.StructuredQuery{From: []*pb.StructuredQuery_CollectionSelector{{CollectionId: collection}}}
}

func where(field string, op pb.StructuredQuery_FieldFilter_Operator, v *pb.Value) *pb.StructuredQuery_Filter {
	return &pb.StructuredQuery_Filter{FilterType: &pb.StructuredQuery_Filter_FieldFilter{FieldFilter: &pb.StructuredQuery_FieldFilter{
		Field: &pb.StructuredQuery_FieldReference{FieldPath: field}, Op: op, Value: v,
	}}}
}

func and(filters ...*pb.StructuredQuery_Filter) *pb.StructuredQuery_Filter {
	return &pb.StructuredQuery_Filter{FilterType: &pb.StructuredQuery_Filter_CompositeFilter{CompositeFilter: &pb.StructuredQuery_CompositeFilter{
		Op: pb.StructuredQuery_CompositeFilter_AND, Filters: filters,
	}}}
}

func (r *rig) reference(path string) *pb.Value {
	return &pb.Value{ValueType: &pb.Value_ReferenceValue{ReferenceValue: r.root + "/" + path}}
}

// sameFields reports whether a document has these fields, and no others.
func sameFields(d *pb.Document, want fields) bool {
	return d != nil && proto.Equal(&pb.Document{Fields: d.GetFields()}, &pb.Document{Fields: want})
}

// refused reports whether err has that code and those words.
func refused(err error, code codes.Code, words string) bool {
	return status.Code(err) == code && strings.Contains(status.Convert(err).Message(), words)
}

func countUpTo(n int64) *pb.StructuredAggregationQuery_Aggregation_Count_ {
	c := &pb.StructuredAggregationQuery_Aggregation_Count{}
	if n != 0 {
		c.UpTo = wrapperspb.Int64(n)
	}
	return &pb.StructuredAggregationQuery_Aggregation_Count_{Count: c}
}

// aggregate runs an aggregation query, which has one answer.
func (r *rig) aggregate(q *pb.StructuredQuery, of ...*pb.StructuredAggregationQuery_Aggregation) (*pb.RunAggregationQueryResponse, error) {
	stream, err := r.client.RunAggregationQuery(context.Background(), &pb.RunAggregationQueryRequest{
		Parent: r.root,
		QueryType: &pb.RunAggregationQueryRequest_StructuredAggregationQuery{StructuredAggregationQuery: &pb.StructuredAggregationQuery{
			QueryType:    &pb.StructuredAggregationQuery_StructuredQuery{StructuredQuery: q},
			Aggregations: of,
		}},
	})
	if err != nil {
		return nil, err
	}
	return stream.Recv()
}
