package queue

import (
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	pb "cloud.google.com/go/firestore/apiv1/firestorepb"

	"postrider/delivery/firestored"
)

// writing has writes made, so many at a time, every pause, of a server whose
// answers take so long. It returns how many requests there were, and how long the
// slowest write took.
func writing(t *testing.T, answer, pause time.Duration, times, atOnce int) (requests int64, slowest time.Duration) {
	synctest.Test(t, func(t *testing.T) {
		s, stop := stacked(t, firestored.Options{})
		defer stop()
		var batches atomic.Int64
		s.server.SetFaults(firestored.Faults{Call: func(string, any) firestored.CallFault {
			batches.Add(1)
			return firestored.CallFault{Late: answer}
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
