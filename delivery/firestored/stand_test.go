package firestored

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"

	pb "cloud.google.com/go/firestore/apiv1/firestorepb"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"
	"google.golang.org/grpc/test/bufconn"
)

const (
	standDatabase = "projects/demo/databases/(default)"
	standRoot     = standDatabase + "/documents"
)

// stand is a server in memory and a client of it. Both end with the test, in a
// synctest bubble too: there all of it has to be made inside the bubble.
type stand struct {
	t      testing.TB
	server *Server
	conn   *grpc.ClientConn
	client pb.FirestoreClient
}

func newStand(t testing.TB, o Options) *stand {
	t.Helper()
	s := &stand{t: t, server: New(o)}
	l := bufconn.Listen(1 << 20)
	ctx, stop := context.WithCancel(context.Background())
	served := make(chan error, 1)
	go func() { served <- s.server.Serve(ctx, l) }()
	dial := func(ctx context.Context, _ string) (net.Conn, error) { return l.DialContext(ctx) }
	conn, err := grpc.NewClient("passthrough:///firestored",
		grpc.WithContextDialer(dial), grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	s.conn, s.client = conn, pb.NewFirestoreClient(conn)
	t.Cleanup(func() {
		conn.Close()
		stop()
		if err := <-served; err != nil {
			t.Errorf("serve: %v", err)
		}
	})
	return s
}

func (s *stand) commit(writes ...*pb.Write) {
	s.t.Helper()
	_, err := s.client.Commit(context.Background(), &pb.CommitRequest{Database: standDatabase, Writes: writes})
	if err != nil {
		s.t.Fatalf("commit: %v", err)
	}
}

// standSet writes a document of integer fields, as in "n=1".
func standSet(path string, fields ...string) *pb.Write {
	d := &pb.Document{Name: standRoot + "/" + path, Fields: map[string]*pb.Value{}}
	for _, f := range fields {
		name, value, _ := strings.Cut(f, "=")
		d.Fields[name] = standInt(value)
	}
	return &pb.Write{Operation: &pb.Write_Update{Update: d}}
}

func standDelete(path string) *pb.Write {
	return &pb.Write{Operation: &pb.Write_Delete{Delete: standRoot + "/" + path}}
}

func standInt(s string) *pb.Value {
	n, err := strconv.ParseInt(s, 10, 64)
	if err != nil {
		return &pb.Value{ValueType: &pb.Value_StringValue{StringValue: s}}
	}
	return &pb.Value{ValueType: &pb.Value_IntegerValue{IntegerValue: n}}
}

// session is one Listen stream, with a goroutine that receives.
type session struct {
	t      testing.TB
	stream pb.Firestore_ListenClient
	cancel context.CancelFunc
	done   chan struct{}

	mu       sync.Mutex
	lines    []string
	snapshot *pb.TargetChange // the last one without target IDs
	current  *pb.TargetChange // the last CURRENT
}

func (s *stand) listen() *session {
	s.t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	stream, err := s.client.Listen(ctx)
	if err != nil {
		s.t.Fatalf("listen: %v", err)
	}
	c := &session{t: s.t, stream: stream, cancel: cancel, done: make(chan struct{})}
	go c.receive()
	s.t.Cleanup(c.close)
	return c
}

// close ends the stream.
func (c *session) close() {
	c.cancel()
	<-c.done
}

func (c *session) receive() {
	defer close(c.done)
	for {
		r, err := c.stream.Recv()
		c.mu.Lock()
		if err != nil {
			c.lines = append(c.lines, "END "+endCode(err).String())
			c.mu.Unlock()
			return
		}
		c.lines = append(c.lines, transcript(r))
		if change := r.GetTargetChange(); change != nil {
			switch {
			case change.GetTargetChangeType() == pb.TargetChange_CURRENT:
				c.current = change
			case change.GetTargetChangeType() == pb.TargetChange_NO_CHANGE && len(change.GetTargetIds()) == 0:
				c.snapshot = change
			}
		}
		c.mu.Unlock()
	}
}

// endCode returns the code of the error that ends a stream: OK where the server
// ended it without one.
func endCode(err error) codes.Code {
	if errors.Is(err, io.EOF) {
		return codes.OK
	}
	return status.Code(err)
}

func (c *session) send(r *pb.ListenRequest) {
	c.t.Helper()
	if err := c.stream.Send(r); err != nil {
		c.t.Fatalf("send: %v", err)
	}
}

// take returns what came since it was last called.
func (c *session) take() []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	lines := c.lines
	c.lines = nil
	return lines
}

func (c *session) place() *pb.TargetChange {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.snapshot
}

// transcript returns a response as one line of text.
func transcript(r *pb.ListenResponse) string {
	base := func(name string) string { return strings.TrimPrefix(name, standRoot+"/") }
	switch x := r.GetResponseType().(type) {
	case *pb.ListenResponse_DocumentChange:
		c := x.DocumentChange
		line := "DOC " + base(c.GetDocument().GetName()) + fieldText(c.GetDocument()) + " for" + idText(c.GetTargetIds())
		if len(c.GetRemovedTargetIds()) > 0 {
			line += " not" + idText(c.GetRemovedTargetIds())
		}
		return line
	case *pb.ListenResponse_DocumentDelete:
		return "DELETE " + base(x.DocumentDelete.GetDocument()) + " for" + idText(x.DocumentDelete.GetRemovedTargetIds())
	case *pb.ListenResponse_DocumentRemove:
		return "REMOVE " + base(x.DocumentRemove.GetDocument()) + " for" + idText(x.DocumentRemove.GetRemovedTargetIds())
	case *pb.ListenResponse_Filter:
		return fmt.Sprintf("FILTER %d count %d", x.Filter.GetTargetId(), x.Filter.GetCount())
	}
	return targetText(r.GetTargetChange())
}

func targetText(c *pb.TargetChange) string {
	line := map[pb.TargetChange_TargetChangeType]string{
		pb.TargetChange_NO_CHANGE: "SNAPSHOT", pb.TargetChange_ADD: "ADD", pb.TargetChange_REMOVE: "END-TARGET",
		pb.TargetChange_CURRENT: "CURRENT", pb.TargetChange_RESET: "RESET",
	}[c.GetTargetChangeType()] + idText(c.GetTargetIds())
	consistent := c.GetTargetChangeType() == pb.TargetChange_NO_CHANGE || c.GetTargetChangeType() == pb.TargetChange_CURRENT
	if consistent != (len(c.GetResumeToken()) > 0) || consistent != (c.GetReadTime() != nil) {
		line += " with the wrong token or read time"
	}
	if c.GetCause() != nil {
		line += " " + status.FromProto(c.GetCause()).Code().String()
	}
	return line
}

func idText(ids []int32) string {
	var b strings.Builder
	for _, id := range slices.Sorted(slices.Values(ids)) {
		fmt.Fprintf(&b, " %d", id)
	}
	return b.String()
}

func fieldText(d *pb.Document) string {
	var fields []string
	for name, v := range d.GetFields() {
		fields = append(fields, fmt.Sprintf(" %s=%d", name, v.GetIntegerValue()))
	}
	slices.Sort(fields)
	return strings.Join(fields, "")
}
