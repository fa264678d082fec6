package queue

import (
	"sync/atomic"

	firestore "cloud.google.com/go/firestore/apiv1"
	pb "cloud.google.com/go/firestore/apiv1/firestorepb"
	gax "github.com/googleapis/gax-go/v2"
	"google.golang.org/grpc"
	"google.golang.org/grpc/encoding"
	"google.golang.org/grpc/encoding/proto"
	"google.golang.org/grpc/mem"
)

// Usage is what Firestore bills for a queue's calls
// (https://firebase.google.com/docs/firestore/pricing), and how many messages
// asked for it. Writes and deletes are those that were asked for, whether or not
// they came about.
type Usage struct {
	Reads, Writes, Deletes int64 // of documents
	Requests               int64
}

// Less returns what came to u since before.
func (u Usage) Less(before Usage) Usage {
	return Usage{
		Reads: u.Reads - before.Reads, Writes: u.Writes - before.Writes,
		Deletes: u.Deletes - before.Deletes, Requests: u.Requests - before.Requests,
	}
}

// Meter counts what a queue uses. Make one with [Queue.Meter].
type Meter struct {
	encoding.CodecV2
	reads, writes, deletes, requests atomic.Int64
}

// Meter has a queue's calls counted, but those of Add. It is to be called before
// the first of them.
func (q *Queue) Meter() *Meter {
	m := &Meter{CodecV2: encoding.GetCodecV2(proto.Name)}
	counted := []gax.CallOption{gax.WithGRPCOptions(grpc.ForceCodecV2(m))}
	q.client.CallOptions = &firestore.CallOptions{
		BatchWrite: counted, GetDocument: counted, BatchGetDocuments: counted,
		RunQuery: counted, RunAggregationQuery: counted, Listen: counted,
	}
	return m
}

// Usage returns what was used so far.
func (m *Meter) Usage() Usage {
	return Usage{Reads: m.reads.Load(), Writes: m.writes.Load(), Deletes: m.deletes.Load(), Requests: m.requests.Load()}
}

// Name is empty, so that calls are announced as those without a codec of their own.
func (*Meter) Name() string { return "" }

// Marshal encodes what is asked of Firestore, and counts it.
func (m *Meter) Marshal(v any) (mem.BufferSlice, error) {
	m.requests.Add(1)
	if batch, ok := v.(*pb.BatchWriteRequest); ok {
		writes, deletes := writesIn(batch.ProtoReflect().GetUnknown()) // see batcher.request
		m.writes.Add(writes)
		m.deletes.Add(deletes)
	}
	return m.CodecV2.Marshal(v)
}

// Unmarshal decodes what Firestore answers, and counts what was read for it.
func (m *Meter) Unmarshal(data mem.BufferSlice, v any) error {
	if err := m.CodecV2.Unmarshal(data, v); err != nil {
		return err
	}
	switch v := v.(type) {
	case *pb.Document, *pb.BatchGetDocumentsResponse:
		m.reads.Add(1)
	case *pb.RunQueryResponse: // one without a document is a query without a result, or the last word of another
		m.reads.Add(1)
	case *pb.RunAggregationQueryResponse:
		m.reads.Add(countBilled(v))
	case *pb.ListenResponse:
		if v.GetDocumentChange() != nil {
			m.reads.Add(1)
		}
	}
	return nil
}

// countBilled returns what a count is billed, by the largest that it gave.
func countBilled(r *pb.RunAggregationQueryResponse) int64 {
	var n int64
	for _, v := range r.GetResult().GetAggregateFields() {
		n = max(n, v.GetIntegerValue())
	}
	return int64(billed(int(n)))
}
