package queue

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	pb "cloud.google.com/go/firestore/apiv1/firestorepb"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"postrider/delivery"
	"postrider/delivery/firestored"
)

// waits writes a document in a state, due after some time; at once for 0.
func (s shelved) waits(id string, state delivery.State, after time.Duration) {
	s.t.Helper()
	record := delivery.Fields{"state": string(state)}
	if after != 0 {
		record["nextAttemptTime"] = s.Now().Add(after)
	}
	s.Put(id, delivery.Fields{"to": "a", "delivery": record})
}

// crowd writes documents that wait for a day.
func (s shelved) crowd(n int) {
	s.t.Helper()
	for i := range n {
		s.waits(fmt.Sprintf("later%05d", i), delivery.Pending, 24*time.Hour)
	}
}

// sweep sweeps, and returns what came in its order, and what it was billed.
func (s shelved) sweep() (ids []string, reads int64) {
	s.t.Helper()
	before := s.server.Usage().Reads
	err := s.Sweep(s.t.Context(), func(_ context.Context, snap delivery.Snapshot) error {
		ids = append(ids, snap.ID)
		return nil
	})
	if err != nil {
		s.t.Fatal(err)
	}
	return ids, s.server.Usage().Reads - before
}

// bubble runs a test with a collection of its own in virtual time.
func bubble(t *testing.T, test func(*testing.T, shelved)) {
	synctest.Test(t, func(t *testing.T) {
		s, stop := stacked(t, firestored.Options{})
		defer stop()
		test(t, shelved{s, t})
	})
}

// While few wait a sweep is one query, and where many do it does not read those
// that are not due.
func TestSweepIsBilledForWhatItNeeds(t *testing.T) {
	bubble(t, func(t *testing.T, s shelved) {
		steps := []struct {
			name string
			do   func()
			want []string // nil for all
			cost int64
		}{
			{"idle", func() {}, []string{}, 1},
			{"few wait", func() { s.crowd(fewWaiting) }, nil, fewWaiting},
			{"few wait still", func() {}, nil, fewWaiting},
			{"one more", func() { s.waits("one", delivery.Pending, 5*time.Hour) }, nil, fewWaiting + 1},
			{"many wait", func() {}, []string{}, 4},
			{"some are due", func() {
				s.waits("due", delivery.Pending, -time.Minute)
				s.waits("claimed", delivery.Processing, 0)
				s.waits("retry", delivery.Retry, 0)
				s.waits("first", delivery.Pending, -time.Hour)
				s.waits("done", delivery.Success, 0)
			}, []string{"claimed", "retry", "first", "due"}, 2 + 2 + 2},
			{"an operator's", func() { s.waits("by hand", delivery.Pending, 0) }, nil, 2 + 2 + 2 + fewWaiting + 6},
			{"an operator's, not taken up", func() {}, []string{"claimed", "retry", "first", "due"}, 2 + 2 + 2},
			{"an operator's, later", func() { time.Sleep((fewWaiting + 6) * perWaiting) }, nil, 2 + 2 + 2 + fewWaiting + 6},
			{"it is taken up", func() { s.Delete("by hand") }, []string{"claimed", "retry", "first", "due"}, 2 + 2 + 2},
			{"another", func() { time.Sleep(time.Minute); s.waits("by hand", delivery.Pending, 0) }, nil, 2 + 2 + 2 + fewWaiting + 6},
			{"hidden", func() {
				s.Delete("by hand")
				s.waits("canceled", delivery.Error, 5*time.Hour)
				s.waits("hidden", delivery.Pending, 0)
				time.Sleep(time.Minute)
			}, []string{"claimed", "retry", "first", "due"}, 2 + 2 + 2},
			{"an hour", func() { time.Sleep(fullSweep) }, nil, 2 + 2 + 2 + fewWaiting + 6},
			{"few wait again", func() {
				for i := range 20 {
					s.Delete(fmt.Sprintf("later%05d", i))
				}
			}, []string{"claimed", "retry", "first", "due"}, 2 + 2 + 2},
			{"as at first", func() {}, nil, fewWaiting - 20 + 6},
		}
		for _, step := range steps {
			step.do()
			ids, cost := s.sweep()
			if cost != step.cost || step.want != nil && !slices.Equal(ids, step.want) {
				t.Errorf("%s: found %d documents, of them %v, for %d reads, want %v for %d",
					step.name, len(ids), ids[:min(len(ids), 5)], cost, step.want, step.cost)
			}
			if step.want == nil && !slices.Contains(ids, "later00050") {
				t.Errorf("%s: it was not a full sweep", step.name)
			}
		}
	})
}

// A sweep that breaks off is begun again behind what it has passed on, also among
// documents that are due at the same time.
func TestSweepOfDueGoesOnWhereItBroke(t *testing.T) {
	bubble(t, func(t *testing.T, s shelved) {
		s.crowd(fewWaiting + 1)
		s.sweep()
		var want []string
		for i := range 60 {
			id := fmt.Sprintf("due%02d", i)
			s.waits(id, delivery.Pending, -time.Hour+time.Duration(i/20)*time.Second)
			want = append(want, id)
		}
		streams := 0
		s.server.SetFaults(firestored.Faults{Stream: func(method string, sent int) firestored.StreamFault {
			if method == "RunQuery" && sent == 7 {
				streams++
				return firestored.StreamFault{Cut: codes.Unavailable}
			}
			return firestored.StreamFault{}
		}})
		ids, _ := s.sweep()
		if !slices.Equal(ids, slices.Compact(slices.Clone(want))) {
			t.Errorf("found %v", ids)
		}
		if streams < 5 {
			t.Errorf("the query was cut %d times", streams)
		}
	})
}

// A full sweep that broke off tells how many wait at least, and is not the one
// that is due every hour.
func TestWaitingAfterBrokenSweep(t *testing.T) {
	var w waiting
	w.swept(1000, 900, false, noon)
	if !w.many() || w.asks {
		t.Errorf("%+v", &w)
	}
	if !w.full(0, noon.Add(time.Minute)) {
		t.Error("there was no full sweep yet, and none follows")
	}
	w.swept(1000, 100, false, noon.Add(time.Minute))
	if !w.many() {
		t.Error("a part of a sweep has told that few wait")
	}
	if w.full(1, noon.Add(time.Minute+1000*perWaiting-1)) || !w.full(1, noon.Add(time.Minute+1000*perWaiting)) {
		t.Error("the next full sweep does not keep its distance")
	}
	w.swept(1000, 100, true, noon.Add(2*time.Minute))
	if w.many() {
		t.Error("a whole sweep has told that few wait, and many do")
	}
}

// What found returns ends the sweep, whichever query it is at.
func TestSweepEndsWithFoundsError(t *testing.T) {
	bubble(t, func(t *testing.T, s shelved) {
		s.crowd(fewWaiting + 1)
		s.sweep()
		for id, put := range map[string]func(){
			"due":     func() { s.waits("due", delivery.Pending, -time.Minute) },
			"claimed": func() { s.waits("claimed", delivery.Processing, 0) },
			"by hand": func() { s.waits("by hand", delivery.Pending, 0) },
		} {
			put()
			err := s.Sweep(t.Context(), func(context.Context, delivery.Snapshot) error { return delivery.ErrStopping })
			if err == nil || !strings.Contains(err.Error(), delivery.ErrStopping.Error()) {
				t.Errorf("%s: error %v", id, err)
			}
			s.Delete(id)
		}
	})
}

// Where the index is not deployed everything is read, and the log says why.
func TestSweepWithoutIndexIsFull(t *testing.T) {
	query := func(_ int, r *pb.RunQueryRequest, stream pb.Firestore_RunQueryServer) error {
		if r.GetStructuredQuery().GetWhere().GetFieldFilter().GetField().GetFieldPath() == pathNextAttempt {
			return status.Error(codes.FailedPrecondition, "The query requires an index.")
		}
		values := r.GetStructuredQuery().GetWhere().GetFieldFilter().GetValue().GetArrayValue().GetValues()
		if len(values) != 3 { // not the full sweep
			return nil
		}
		d := after(t, delivery.Snapshot{ID: "a"}, delivery.Record{}.Released(time.Now()))
		return stream.Send(&pb.RunQueryResponse{Document: d})
	}
	q := serve(t, &troubled{query: query})
	q.waiting.later = fewWaiting + 1
	n := 0
	if err := q.Sweep(t.Context(), func(context.Context, delivery.Snapshot) error { n++; return nil }); err != nil || n != 1 {
		t.Errorf("found %d, %v", n, err)
	}
}

// A count that an index is missing for says what to do.
func TestAcceptedNamesTheMissingIndex(t *testing.T) {
	s, stop := stacked(t, firestored.Options{})
	defer stop()
	s.server.SetFaults(firestored.Faults{Stream: func(method string, _ int) firestored.StreamFault {
		if method == "RunAggregationQuery" {
			return firestored.StreamFault{Cut: codes.FailedPrecondition}
		}
		return firestored.StreamFault{}
	}})
	_, err := s.Accepted(t.Context(), "ada@rcpt.test", noon)
	if err == nil || !strings.Contains(err.Error(), "deploy/firestore.indexes.json") || !strings.Contains(err.Error(), "MAX_PER_RECIPIENT") {
		t.Errorf("error %v", err)
	}
	if strings.Contains(err.Error(), "ada") {
		t.Errorf("error %v names the address", err)
	}
}

// A count of what an address was sent costs a read, whatever the collection holds.
func TestAcceptedCostsOneRead(t *testing.T) {
	s, stop := stacked(t, firestored.Options{})
	defer stop()
	for i := range 50 {
		shelved{s, t}.Put(fmt.Sprint(i), delivery.Fields{"delivery": delivery.Fields{
			"reachedTime": noon, "reached": []any{fmt.Sprintf("r%d@rcpt.test", i%5)},
		}})
	}
	before := s.server.Usage().Reads
	n, err := s.Accepted(t.Context(), "r3@rcpt.test", noon)
	if cost := s.server.Usage().Reads - before; err != nil || n != 10 || cost != 1 {
		t.Errorf("%d for %d reads, %v", n, cost, err)
	}
}
