package queue

import (
	"context"
	"errors"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	pb "cloud.google.com/go/firestore/apiv1/firestorepb"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/timestamppb"

	"postrider/delivery"
	"postrider/delivery/firestored"
)

// holder keeps what a watch tells, and settles nothing by itself.
type holder struct {
	mu      sync.Mutex
	found   []string
	settled []func()
	missed  []func()
	refuse  error // of the next Found
}

func (h *holder) Found(_ context.Context, s delivery.Snapshot, settled func()) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	if err := h.refuse; err != nil {
		h.refuse = nil
		return err
	}
	h.found, h.settled = append(h.found, s.ID), append(h.settled, settled)
	return nil
}

func (h *holder) Watching(error) {}

func (h *holder) Missed(settled func()) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.missed = append(h.missed, settled)
}

// settle settles all that is found, or was missed.
func (h *holder) settle(what *[]func()) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, f := range *what {
		f()
	}
	*what = nil
}

// saves reports whether there is a checkpoint to be saved after a while.
func (s *stack) saves(t *testing.T) bool {
	t.Helper()
	time.Sleep(2*idleCheckpoint + 7*time.Second) // not when a stream that is idle says so
	before, _, err := s.saved(t.Context())
	if err := errors.Join(err, s.Checkpoint(t.Context(), true)); err != nil {
		t.Error(err)
	}
	after, _, _ := s.saved(t.Context())
	return string(before.token) != string(after.token)
}

// No checkpoint passes what was missed or found and is not settled.
func TestCheckpointPassesNothingUnsettled(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, stop := stacked(t, firestored.Options{})
		defer stop()
		ctx, cancel := context.WithCancel(context.Background())
		h, ended := &holder{}, make(chan error, 1)
		go func() { ended <- s.Watch(ctx, h) }()
		if s.saves(t) {
			t.Error("a checkpoint is saved before what was missed is audited")
		}
		h.settle(&h.missed)
		if !s.saves(t) {
			t.Error("none is saved after it")
		}
		fill(t, s.Queue, []string{"a"}, func(int, string) string { return "" })
		if s.saves(t) {
			t.Error("a checkpoint is saved beyond a document that is not settled")
		}
		h.settle(&h.settled)
		if !s.saves(t) {
			t.Error("none is saved after it is")
		}
		h.refuse = errors.New("its source has ended")
		fill(t, s.Queue, []string{"b"}, func(int, string) string { return "" })
		time.Sleep(time.Minute)
		h.settle(&h.settled)
		if !slices.Equal(h.found, []string{"a", "b"}) || !s.saves(t) {
			t.Errorf("found %v, and no checkpoint afterwards", h.found)
		}
		s.server.ExpireTokens()
		s.server.SetFaults(firestored.Faults{Stream: func(string, int) firestored.StreamFault {
			return firestored.StreamFault{Cut: codes.Unavailable}
		}})
		fill(t, s.Queue, []string{"c"}, func(int, string) string { return "" })
		synctest.Wait()
		s.server.SetFaults(firestored.Faults{})
		if s.saves(t) || len(h.missed) != 1 {
			t.Errorf("missed something %d times, and a checkpoint is saved", len(h.missed))
		}
		cancel()
		<-ended
	})
}

// A checkpoint that Firestore refuses is tried once.
func TestRefusedCheckpointIsTriedOnce(t *testing.T) {
	server := &troubled{
		state: map[string]*pb.Value{
			fieldToken: {ValueType: &pb.Value_BytesValue{BytesValue: []byte("t0")}},
			fieldRead:  {ValueType: &pb.Value_TimestampValue{TimestampValue: timestamppb.New(present)}},
		},
		listen: func(_ int, token []byte, s pb.Firestore_ListenServer) error {
			if string(token) == "t0" {
				return errors.Join(s.Send(reset()), status.Error(codes.Unavailable, "bye"))
			}
			if err := s.Send(point("t1")); err != nil {
				return err
			}
			<-s.Context().Done()
			return nil
		},
	}
	q := serve(t, server)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	w, ended := newWatched(), make(chan error, 1)
	go func() { ended <- q.Watch(ctx, w) }()
	<-w.missed
	for err := range w.told {
		if err == nil {
			break
		}
	}
	cancel()
	<-ended
	server.mu.Lock()
	defer server.mu.Unlock()
	if len(server.asked) != 2 || !server.asked[1].GetReadTime().AsTime().Equal(present) {
		t.Errorf("asked for %v", server.asked)
	}
}
