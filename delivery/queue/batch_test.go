package queue

import (
	"context"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	pb "cloud.google.com/go/firestore/apiv1/firestorepb"

	"postrider/delivery"
	"postrider/delivery/firestored"
)

// writing has writes made, so many at a time, every pause, of a server whose
// answers take so long. It returns how many requests there were, and how long the
// slowest write took.
func writing(t *testing.T, answer, pause time.Duration, times, atOnce int) (requests int64, slowest time.Duration) {
	t.Helper()
	return answering(t, func(int64) time.Duration { return answer }, pause, times, atOnce)
}

// answering is writing for answers that differ; they are counted from 1.
func answering(t *testing.T, answer func(n int64) time.Duration, pause time.Duration, times, atOnce int) (requests int64, slowest time.Duration) {
	synctest.Test(t, func(t *testing.T) {
		s, stop := stacked(t, firestored.Options{})
		defer stop()
		var batches atomic.Int64
		s.server.SetFaults(firestored.Faults{Call: func(string, any) firestored.CallFault {
			return firestored.CallFault{Late: answer(batches.Add(1))}
		}})
		var mu sync.Mutex
		var writes sync.WaitGroup
		for i := range times {
			for j := range atOnce {
				writes.Go(func() {
					began := time.Now()
					w := &pb.Write{Operation: &pb.Write_Update{Update: &pb.Document{Name: s.mail.name(strconv.Itoa(i*atOnce + j))}}}
					if _, err := s.batch.apply(t.Context(), w); err != nil {
						t.Error(err)
					}
					mu.Lock()
					defer mu.Unlock()
					slowest = max(slowest, time.Since(began))
				})
			}
			time.Sleep(pause)
		}
		writes.Wait()
		requests = batches.Load()
	})
	return requests, slowest
}

// A write that comes while answers to others are long under way goes at once.
func TestLateAnswersKeepNoWriteWaiting(t *testing.T) {
	const answer = 20 * time.Millisecond
	if _, slowest := writing(t, answer, 3*time.Millisecond, 30, 1); slowest != answer {
		t.Errorf("a write took %v, its answer %v", slowest, answer)
	}
}

// A server that is near is busy if its answers are late: it is sent few requests.
func TestBusyServerThatIsNearIsSentFewRequests(t *testing.T) {
	first := func(n int64) time.Duration {
		if n == 1 {
			return time.Millisecond
		}
		return 20 * time.Millisecond
	}
	if requests, _ := answering(t, first, 2*time.Millisecond, 100, 1); requests > 24 {
		t.Errorf("100 writes within 200 ms took %d requests, of which two at a time fit 20", requests)
	}
}

// What a minute has shown counts for another one.
func TestFastestAnswerIsForgotten(t *testing.T) {
	var f fastest
	at := time.Now()
	if !f.far() {
		t.Error("a server that has not answered is taken for near")
	}
	for _, step := range []struct {
		after, took time.Duration
		far         bool
	}{
		{0, 20 * time.Millisecond, true},
		{time.Second, time.Millisecond, false},
		{2 * time.Second, 20 * time.Millisecond, false},
		{61 * time.Second, 20 * time.Millisecond, false},
		{122 * time.Second, 20 * time.Millisecond, true},
	} {
		f.note(step.took, at.Add(step.after))
		if f.far() != step.far {
			t.Errorf("after %v: far is %v", step.after, f.far())
		}
	}
}

// Writes that come at the same time go together, but for the first.
func TestWritesGoTogether(t *testing.T) {
	if requests, _ := writing(t, 900*time.Microsecond, time.Millisecond, 10, 50); requests > 10*(usualFlights+1) {
		t.Errorf("500 writes, 50 at a time, took %d requests", requests)
	}
}

// A lone write is sent at once.
func TestLoneWriteIsNotHeldBack(t *testing.T) {
	if requests, slowest := writing(t, time.Millisecond, time.Second, 3, 1); requests != 3 || slowest != time.Millisecond {
		t.Errorf("%d requests, the slowest took %v", requests, slowest)
	}
}

func TestAWriteThatNobodyWaitsForDoesNotGo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, stop := stacked(t, firestored.Options{})
		defer stop()
		faulty(s, "BatchWrite", always(firestored.CallFault{Delay: time.Minute}))
		ctx, cancel := context.WithCancel(t.Context())
		var group sync.WaitGroup
		for i := range 20 {
			group.Go(func() {
				// Of these no two go together.
				_ = s.Create(ctx, strconv.Itoa(i), delivery.Fields{"to": strings.Repeat("x", 1000<<10)})
			})
		}
		synctest.Wait()
		cancel()
		group.Wait()
		s.batch.mu.Lock()
		defer s.batch.mu.Unlock()
		if left := len(s.batch.waiting); left > 0 {
			t.Errorf("%d wait", left)
		}
	})
}
