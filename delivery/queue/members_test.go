package queue

import (
	"context"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	pb "cloud.google.com/go/firestore/apiv1/firestorepb"
	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/types/known/timestamppb"

	"postrider/delivery/firestored"
)

// attendant is an instance that attends, and what it knows.
type attendant struct {
	mu    sync.Mutex
	heard map[string]time.Time
	leave context.CancelFunc
	gone  chan struct{}
}

func (s *stack) attend(id string) *attendant {
	a := &attendant{gone: make(chan struct{})}
	var ctx context.Context
	ctx, a.leave = context.WithCancel(context.Background())
	go func() {
		defer close(a.gone)
		_ = s.Attend(ctx, id, func(heard map[string]time.Time) {
			a.mu.Lock()
			defer a.mu.Unlock()
			a.heard = heard
		})
	}()
	synctest.Wait()
	return a
}

func (a *attendant) end() {
	a.leave()
	<-a.gone
	synctest.Wait()
}

// age returns how long ago an instance was heard of.
func (a *attendant) age(t *testing.T, id string) (age time.Duration, known bool) {
	t.Helper()
	a.mu.Lock()
	defer a.mu.Unlock()
	at, known := a.heard[id]
	return time.Since(at), known
}

// Instances know of each other while they live, and at once when one says
// goodbye.
func TestInstancesKnowWhoLives(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, stop := stacked(t, firestored.Options{})
		defer stop()
		a := s.attend("a")
		b := s.attend("b")
		time.Sleep(time.Hour)
		synctest.Wait()
		for _, id := range []string{"a", "b"} {
			if age, known := a.age(t, id); !known || age > heartbeat {
				t.Errorf("%s was heard of %v ago, %v", id, age, known)
			}
		}
		b.end()
		if _, known := a.age(t, "b"); known {
			t.Error("b has said goodbye and is known")
		}
		a.end()
	})
}

// One that ended without goodbye is as old as its last heartbeat, for those that
// come later too, and is forgotten after an hour.
func TestDeadInstanceGrowsOldAndIsForgotten(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, stop := stacked(t, firestored.Options{})
		defer stop()
		if err := s.writeMember(t.Context(), "dead"); err != nil {
			t.Fatal(err)
		}
		time.Sleep(30 * time.Minute)
		a := s.attend("a")
		if age, known := a.age(t, "dead"); !known || age < 30*time.Minute {
			t.Errorf("it was heard of %v ago, %v", age, known)
		}
		a.end()
		time.Sleep(forgotten)
		a = s.attend("a")
		if _, known := a.age(t, "dead"); known {
			t.Error("it is known")
		}
		_, err := s.client.GetDocument(t.Context(), &pb.GetDocumentRequest{Name: s.members.name("dead")})
		if err == nil {
			t.Error("it is not forgotten")
		}
		a.end()
	})
}

// Who left while nobody listened is gone.
func TestInstanceThatLeftUnheardIsGone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, stop := stacked(t, firestored.Options{})
		defer stop()
		a := s.attend("a")
		b := s.attend("b")
		s.server.SetFaults(firestored.Faults{Stream: func(string, int) firestored.StreamFault {
			return firestored.StreamFault{Cut: codes.Unavailable}
		}})
		b.end() // the write that says so cuts a's stream
		s.server.ExpireTokens()
		time.Sleep(time.Minute)
		s.server.SetFaults(firestored.Faults{})
		time.Sleep(time.Minute)
		if _, known := a.age(t, "b"); known {
			t.Error("b is known")
		}
		a.end()
	})
}

// Whether an instance is long dead is reckoned by Firestore's clock, however
// wrong this machine's is.
func TestDeathIsReckonedByFirestoresClock(t *testing.T) {
	for name, wrong := range map[string]time.Duration{"behind": -2 * forgotten, "ahead": 2 * forgotten, "right": 0} {
		s, stop := stacked(t, firestored.Options{})
		now := time.Now().Add(-wrong)
		s.clock.observe(sample{server: now, local: time.Since(s.clock.start)})
		l := &memberListener{queue: s.Queue, heard: map[string]time.Time{}}
		for id, age := range map[string]time.Duration{"dead": forgotten + time.Second, "alive": forgotten - time.Minute} {
			d := &pb.Document{Name: s.members.name(id), UpdateTime: timestamppb.New(now.Add(-age))}
			if err := l.changed(t.Context(), d); err != nil {
				t.Fatal(err)
			}
			if _, known := l.heard[id]; known != (id == "alive") {
				t.Errorf("%s: %s is known: %v", name, id, known)
			}
			s.clock.observe(sample{server: now, local: time.Since(s.clock.start)})
		}
		stop()
	}
}
