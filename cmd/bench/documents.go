package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"time"

	firestore "cloud.google.com/go/firestore/apiv1"
	pb "cloud.google.com/go/firestore/apiv1/firestorepb"
	"golang.org/x/sync/errgroup"
	"google.golang.org/api/option"
	"google.golang.org/genproto/googleapis/rpc/code"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"
	"google.golang.org/protobuf/proto"
)

const (
	collection = "mail"
	pathName   = "__name__"
	maxBatch   = 500 // writes in one request
)

// connect returns a client as the worker has one, for a server on this machine.
func connect(ctx context.Context, address string) (*firestore.Client, error) {
	client, err := firestore.NewClient(
		ctx, option.WithEndpoint(address), option.WithoutAuthentication(), option.WithTelemetryDisabled(),
		option.WithGRPCDialOption(grpc.WithTransportCredentials(insecure.NewCredentials())),
		option.WithGRPCDialOption(grpc.WithPerRPCCredentials(owner{})),
	)
	if err != nil {
		return nil, fmt.Errorf("connect to Firestore: %w", err)
	}
	client.CallOptions = &firestore.CallOptions{} // nothing is repeated
	return client, nil
}

// owner is the credential by which Google's emulator passes over its rules.
type owner struct{}

// GetRequestMetadata implements credentials.PerRPCCredentials.
func (owner) GetRequestMetadata(context.Context, ...string) (map[string]string, error) {
	return map[string]string{"authorization": "Bearer owner"}, nil
}

// RequireTransportSecurity implements credentials.PerRPCCredentials.
func (owner) RequireTransportSecurity() bool { return false }

// outbox is a mail collection, in a project of its own: an emulator slows down
// with what others were used for.
type outbox struct {
	client  *firestore.Client
	project string
	random  *rand.Rand // of one goroutine
}

func (o *outbox) database() string { return "projects/" + o.project + "/databases/(default)" }
func (o *outbox) parent() string   { return o.database() + "/documents" }

// newID returns an ID as Firestore's clients make them.
func (o *outbox) newID() string {
	const letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"
	id := make([]byte, 20)
	for i := range id {
		id[i] = letters[o.random.IntN(len(letters))]
	}
	return string(id)
}

// creation returns the write that adds a mail document.
func (o *outbox) creation(more ...field) *pb.Write {
	message := append([]field{
		{"subject", text("Your order")}, {"text", text("It is on its way.")}, {"html", text("<p>It is on its way.</p>")},
	}, more...)
	return &pb.Write{
		Operation: &pb.Write_Update{Update: &pb.Document{
			Name:   o.parent() + "/" + collection + "/" + o.newID(),
			Fields: map[string]*pb.Value{"to": text("ada@rcpt.test"), "message": fields(message...)},
		}},
		CurrentDocument: &pb.Precondition{ConditionType: &pb.Precondition_Exists{Exists: false}},
	}
}

// fill adds n mail documents.
func (o *outbox) fill(ctx context.Context, n int) error {
	const clients = 2
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(clients)
	for n > 0 {
		var some []*pb.Write
		for range min(n, maxBatch) {
			some = append(some, o.creation())
		}
		n -= len(some)
		group.Go(func() error { _, err := o.apply(ctx, some); return err })
	}
	return group.Wait()
}

// apply makes writes, each of which must succeed.
func (o *outbox) apply(ctx context.Context, writes []*pb.Write) ([]*pb.WriteResult, error) {
	response, err := o.client.BatchWrite(ctx, &pb.BatchWriteRequest{Database: o.database(), Writes: writes})
	if err != nil {
		return nil, fmt.Errorf("write: %w", err)
	}
	for _, s := range response.GetStatus() {
		if s.GetCode() != int32(code.Code_OK) {
			return nil, fmt.Errorf("write: %v", s)
		}
	}
	return response.GetWriteResults(), nil
}

// find passes on what a query for mail documents finds, of which it gets these
// fields only.
func (o *outbox) find(ctx context.Context, paths []string, where *pb.StructuredQuery_Filter, found func(*pb.Document)) error {
	query := &pb.StructuredQuery{
		From:   []*pb.StructuredQuery_CollectionSelector{{CollectionId: collection}},
		Select: &pb.StructuredQuery_Projection{}, Where: where,
	}
	for _, p := range paths {
		query.Select.Fields = append(query.Select.Fields, &pb.StructuredQuery_FieldReference{FieldPath: p})
	}
	routed := metadata.AppendToOutgoingContext(ctx, "google-cloud-resource-prefix", o.database())
	stream, err := o.client.RunQuery(routed, &pb.RunQueryRequest{
		Parent: o.parent(), QueryType: &pb.RunQueryRequest_StructuredQuery{StructuredQuery: query},
	})
	if err != nil {
		return fmt.Errorf("query: %w", err)
	}
	for {
		r, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("query: %w", err)
		}
		if r.GetDocument() != nil {
			found(r.GetDocument())
		}
	}
}

// state returns the filter for documents in a state.
func state(s string) *pb.StructuredQuery_Filter {
	return &pb.StructuredQuery_Filter{FilterType: &pb.StructuredQuery_Filter_FieldFilter{FieldFilter: &pb.StructuredQuery_FieldFilter{
		Field: &pb.StructuredQuery_FieldReference{FieldPath: "delivery.state"}, Op: pb.StructuredQuery_FieldFilter_EQUAL, Value: text(s),
	}}}
}

// count returns how many documents are in a state.
func (o *outbox) count(ctx context.Context, in string) (n int, err error) {
	err = o.find(ctx, []string{pathName}, state(in), func(*pb.Document) { n++ })
	return n, err
}

// records is what has become of a collection's documents.
type records struct {
	sent        int       // documents in SUCCESS
	others      int       // documents that are not
	first, last time.Time // the first claim and the last finish
	bytes       int       // of all records
}

// records reads all documents' records.
func (o *outbox) records(ctx context.Context) (records, error) {
	var r records
	err := o.find(ctx, []string{"delivery"}, nil, func(d *pb.Document) {
		record := d.GetFields()["delivery"]
		f := record.GetMapValue().GetFields()
		if f["state"].GetStringValue() != "SUCCESS" {
			r.others++
			return
		}
		r.sent++
		r.bytes += proto.Size(record)
		if at := f["startTime"].GetTimestampValue().AsTime(); r.first.IsZero() || at.Before(r.first) {
			r.first = at
		}
		if at := d.GetUpdateTime().AsTime(); at.After(r.last) {
			r.last = at
		}
	})
	return r, err
}
