package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"

	pb "cloud.google.com/go/firestore/apiv1/firestorepb"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/mem"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
)

// meter is a proxy before a Firestore server that counts what would be billed
// (https://firebase.google.com/docs/firestore/pricing).
type meter struct {
	address  string
	upstream *grpc.ClientConn
	stop     func() error

	mu  sync.Mutex
	sum operations
}

// operations are what was asked of Firestore.
type operations struct {
	mails    int // writes of mail documents
	states   int // other writes: how far the program has come, and which instances there are
	requests int // that write
	scanned  int // documents that a query over all mails has returned
	reads    int // other documents that were read; a query without a result counts as one
	watched  int // mail documents that a listen has sent
}

// meter starts a meter before a server.
func (r *rig) meter(ctx context.Context, at *site) (*meter, error) {
	m := &meter{}
	var err error
	if m.upstream, err = grpc.NewClient("passthrough:///"+at.address, grpc.WithTransportCredentials(insecure.NewCredentials())); err != nil {
		return nil, fmt.Errorf("connect to %s: %w", at.name, err)
	}
	listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("listen for Firestore's clients: %w", err)
	}
	m.address = listener.Addr().String()
	server := grpc.NewServer(grpc.ForceServerCodecV2(raw{}), grpc.UnknownServiceHandler(m.pass))
	done := make(chan error, 1)
	var serving sync.WaitGroup
	serving.Go(func() { done <- server.Serve(listener) })
	m.stop = func() error {
		server.Stop()
		serving.Wait()
		return errors.Join(<-done, m.upstream.Close())
	}
	return m, nil
}

// reset forgets what was counted, and returns it.
func (m *meter) reset() operations {
	m.mu.Lock()
	defer m.mu.Unlock()
	sum := m.sum
	m.sum = operations{}
	return sum
}

// pass hands a call on in both directions, whatever it is.
func (m *meter) pass(_ any, down grpc.ServerStream) error {
	name, _ := grpc.MethodFromServerStream(down)
	in, _ := metadata.FromIncomingContext(down.Context())
	ctx, cancel := context.WithCancel(metadata.NewOutgoingContext(down.Context(), in))
	defer cancel()
	up, err := m.upstream.NewStream(ctx, &grpc.StreamDesc{ServerStreams: true, ClientStreams: true}, name, grpc.ForceCodecV2(raw{}))
	if err != nil {
		return err
	}
	c := &call{meter: m, method: name[strings.LastIndexByte(name, '/')+1:]}
	var sending sync.WaitGroup
	sending.Go(func() { c.requests(down, up) })
	header, err := up.Header()
	if err == nil {
		err = down.SendHeader(header) // it tells what server this is
	}
	if err == nil {
		err = c.responses(down, up)
	}
	if errors.Is(err, io.EOF) {
		return nil // and sending ends with the call
	}
	return err
}

// call is one call that passes.
type call struct {
	meter  *meter
	method string

	mu   sync.Mutex
	scan bool // it is a query over all mails
}

func (c *call) requests(down grpc.ServerStream, up grpc.ClientStream) {
	for {
		var message []byte
		if down.RecvMsg(&message) != nil {
			_ = up.CloseSend()
			return
		}
		c.asked(message)
		if up.SendMsg(&message) != nil {
			return
		}
	}
}

func (c *call) responses(down grpc.ServerStream, up grpc.ClientStream) error {
	returned := 0
	defer func() {
		if returned == 0 && strings.HasPrefix(c.method, "Run") {
			c.meter.add(func(o *operations) { o.reads++ })
		}
	}()
	for {
		var message []byte
		if err := up.RecvMsg(&message); err != nil {
			return err
		}
		returned += c.answered(message)
		if err := down.SendMsg(&message); err != nil {
			return err
		}
	}
}

func (m *meter) add(f func(*operations)) {
	m.mu.Lock()
	defer m.mu.Unlock()
	f(&m.sum)
}

// isMail reports whether a document is a mail.
func isMail(name string) bool { return strings.Contains(name, "/documents/"+collection+"/") }

// asked counts what a request writes.
func (c *call) asked(message []byte) {
	var writes []*pb.Write
	switch c.method {
	case "BatchWrite":
		var r pb.BatchWriteRequest
		_ = proto.Unmarshal(message, &r) // what it can't read the server can't either
		writes = r.GetWrites()
	case "Commit":
		var r pb.CommitRequest
		_ = proto.Unmarshal(message, &r)
		writes = r.GetWrites()
	case "RunQuery":
		var r pb.RunQueryRequest
		_ = proto.Unmarshal(message, &r)
		q := r.GetStructuredQuery()
		c.mu.Lock()
		c.scan = q.GetWhere() == nil && len(q.GetFrom()) == 1 && q.GetFrom()[0].GetCollectionId() == collection
		c.mu.Unlock()
	}
	c.meter.add(func(o *operations) {
		o.requests += min(1, len(writes))
		for _, w := range writes {
			if isMail(w.GetUpdate().GetName() + w.GetDelete()) {
				o.mails++
			} else {
				o.states++
			}
		}
	})
}

// answered counts what a response has read, and returns how much it has.
func (c *call) answered(message []byte) int {
	const entries = 1000 // of an index, for the price of a read
	n, add := 0, func(o *operations, n int) { o.reads += n }
	switch c.method {
	case "RunQuery":
		var r pb.RunQueryResponse
		if proto.Unmarshal(message, &r) == nil && r.GetDocument() != nil {
			n = 1
		}
		c.mu.Lock()
		if c.scan {
			add = func(o *operations, n int) { o.scanned += n }
		}
		c.mu.Unlock()
	case "RunAggregationQuery":
		var r pb.RunAggregationQueryResponse
		if proto.Unmarshal(message, &r) == nil && r.GetResult() != nil {
			n = 1
			for _, v := range r.GetResult().GetAggregateFields() {
				n += int(v.GetIntegerValue() / entries)
			}
		}
	case "Listen":
		var r pb.ListenResponse
		if d := r.GetDocumentChange; proto.Unmarshal(message, &r) == nil && d().GetDocument() != nil {
			n = 1
			if isMail(d().GetDocument().GetName()) {
				add = func(o *operations, n int) { o.watched += n }
			}
		}
	case "GetDocument", "BatchGetDocuments", "ListDocuments":
		n = 1
	}
	c.meter.add(func(o *operations) { add(o, n) })
	return n
}

// raw is a codec that leaves messages as they are.
type raw struct{}

// Name implements encoding.CodecV2.
func (raw) Name() string { return "proto" }

// Marshal implements encoding.CodecV2.
func (raw) Marshal(v any) (mem.BufferSlice, error) {
	b, ok := v.(*[]byte)
	if !ok {
		return nil, status.Error(codes.Internal, "not bytes")
	}
	return mem.BufferSlice{mem.SliceBuffer(*b)}, nil
}

// Unmarshal implements encoding.CodecV2.
func (raw) Unmarshal(data mem.BufferSlice, v any) error {
	b, ok := v.(*[]byte)
	if !ok {
		return status.Error(codes.Internal, "not bytes")
	}
	*b = data.Materialize()
	return nil
}
