package firestored

import (
	"bytes"
	"context"
	"errors"
	"net"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	pb "cloud.google.com/go/firestore/apiv1/firestorepb"
	"github.com/rs/zerolog"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/test/bufconn"
)

func TestAnswersTellTheServer(t *testing.T) {
	r := newRig(t, Options{})
	var head metadata.MD
	_, err := r.client.GetDocument(context.Background(), &pb.GetDocumentRequest{Name: r.root + "/c/none"}, grpc.Header(&head))
	if !refused(err, codes.NotFound, "") || !slices.Equal(head.Get("x-firestore-server"), []string{"postrider"}) {
		t.Errorf("a call: %v, %v", head, err)
	}
	stream, err := r.client.RunQuery(context.Background(), &pb.RunQueryRequest{Parent: r.root, QueryType: structured(selectFrom("c"))})
	if err != nil {
		t.Fatal(err)
	}
	if head, err = stream.Header(); err != nil || !slices.Equal(head.Get("x-firestore-server"), []string{"postrider"}) {
		t.Errorf("a stream: %v, %v", head, err)
	}
}

func TestWhatIsNotThereIsUnimplemented(t *testing.T) {
	r := newRig(t, Options{})
	ctx := context.Background()
	_, err := r.client.PartitionQuery(ctx, &pb.PartitionQueryRequest{Parent: r.root})
	if !refused(err, codes.Unimplemented, "") {
		t.Errorf("PartitionQuery: %v", err)
	}
	writes, err := r.client.Write(ctx)
	if err == nil {
		_, err = writes.Recv()
	}
	if !refused(err, codes.Unimplemented, "") {
		t.Errorf("Write: %v", err)
	}
	pipeline, err := r.client.ExecutePipeline(ctx, &pb.ExecutePipelineRequest{Database: r.name})
	if err == nil {
		_, err = pipeline.Recv()
	}
	if !refused(err, codes.Unimplemented, "") {
		t.Errorf("ExecutePipeline: %v", err)
	}
}

func TestServeWarnsAndServesAgain(t *testing.T) {
	var log bytes.Buffer
	s := New(Options{Log: zerolog.New(&log)})
	s.database("projects/p/databases/d").names.encode(nil)
	for range 2 {
		ctx, cancel := context.WithCancel(context.Background())
		cancel()
		if err := s.Serve(ctx, bufconn.Listen(1)); err != nil {
			t.Errorf("served: %v", err)
		}
	}
	if !strings.Contains(log.String(), `"level":"warn"`) || strings.Count(log.String(), "never for production") != 2 {
		t.Errorf("logged %s", log.String())
	}
}

// deaf is a listener that fails.
type deaf struct{ net.Listener }

var errDeaf = errors.New("deaf")

func (deaf) Accept() (net.Conn, error) { return nil, errDeaf }

func TestServeReturnsWhyItsListenerFailed(t *testing.T) {
	s := New(Options{})
	if err := s.Serve(context.Background(), deaf{bufconn.Listen(1)}); !errors.Is(err, errDeaf) {
		t.Errorf("got %v", err)
	}
}

// TestServerInABubble serves where time is faked, and its goroutines all end.
func TestServerInABubble(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, stop := startRig(t, Options{})
		first := r.mustCommit(r.set("c/a", nil)).GetCommitTime().AsTime()
		time.Sleep(time.Hour)
		second := r.mustCommit(r.set("c/b", nil)).GetCommitTime().AsTime()
		if got := second.Sub(first); got < time.Hour || got > time.Hour+time.Second {
			t.Errorf("an hour took %v", got)
		}
		stop()
	})
}
