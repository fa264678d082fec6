package queue

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"postrider/delivery"
	"postrider/delivery/firestored"
)

func idsOf(n int) []string {
	ids := make([]string, n)
	for i := range ids {
		ids[i] = fmt.Sprintf("m%04d", i)
	}
	return ids
}

// documents returns how many documents the collection has.
func (s *stack) documents(t *testing.T) int {
	t.Helper()
	n := 0
	err := s.List(t.Context(), Filter{}, func(context.Context, delivery.Snapshot) error {
		n++
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// A bulk writes each of its documents once, leaves others alone, and deletes all
// that it and the worker have left of the collection.
func TestBulkTouchesItsOwnDocumentsOnly(t *testing.T) {
	s, stop := stacked(t, firestored.Options{})
	defer stop()
	shelf := shelved{s, t}
	shelf.Put("m0003", delivery.Fields{"to": "taken"})
	shelf.Put("other", delivery.Fields{"to": "left alone"})
	if err := s.NoteAudit(t.Context(), noon); err != nil {
		t.Fatal(err)
	}
	const n = 1100 // more than two batches
	var told atomic.Int64
	if err := s.AddAll(t.Context(), idsOf(n), delivery.Fields{"to": "a"}, func() { told.Add(1) }); err != nil {
		t.Fatal(err)
	}
	if got := s.documents(t); got != n+1 || told.Load() != n {
		t.Errorf("%d documents, told of %d", got, told.Load())
	}
	if got := shelf.Get("m0003")["to"]; got != "taken" {
		t.Errorf("a document that was there is now to %v", got)
	}
	told.Store(0)
	if err := s.DeleteAll(t.Context(), append(idsOf(n), "absent"), func() { told.Add(1) }); err != nil {
		t.Fatal(err)
	}
	if got := s.documents(t); got != 1 || told.Load() != n+1 {
		t.Errorf("%d documents are left, told of %d", got, told.Load())
	}
	if at, err := s.LastAudit(t.Context()); err != nil || !at.IsZero() {
		t.Errorf("the state document has an audit at %v, %v", at, err)
	}
}

// A bulk that is stopped is taken back by the one that deletes its documents,
// though Firestore may be slow to take the writes that were under way.
func TestStoppedBulkCanBeTakenBack(t *testing.T) {
	s, stop := stacked(t, firestored.Options{})
	defer stop()
	ctx, cancel := context.WithCancel(t.Context())
	var calls atomic.Int64
	s.server.SetFaults(firestored.Faults{Call: func(string, any) firestored.CallFault {
		if calls.Add(1) == 2 {
			cancel()
			return firestored.CallFault{Delay: 100 * time.Millisecond}
		}
		return firestored.CallFault{}
	}})
	ids := idsOf(20_000)
	if err := s.AddAll(ctx, ids, delivery.Fields{"to": "a"}, func() {}); !errors.Is(err, context.Canceled) {
		t.Errorf("it ended with %v", err)
	}
	if err := s.DeleteAll(t.Context(), ids[:5000], func() {}); err != nil {
		t.Fatal(err)
	}
	if n := s.documents(t); n > 0 {
		t.Errorf("%d documents are left", n)
	}
}

// What a meter counts is what the server bills.
func TestMeterCountsWhatIsBilled(t *testing.T) {
	s, stop := stacked(t, firestored.Options{})
	defer stop()
	meter, before := s.Meter(), s.server.Usage()
	nothing := func() {}
	steps := map[string]func() error{
		"add":    func() error { return s.AddAll(t.Context(), idsOf(30), delivery.Fields{"to": "a"}, nothing) },
		"read":   func() error { _, err := s.Read(t.Context(), "m0001"); return err },
		"state":  func() error { _, err := s.LastAudit(t.Context()); return err },
		"delete": func() error { return s.DeleteAll(t.Context(), idsOf(10), nothing) },
		"audit": func() error {
			_, err := s.Audit(t.Context(), func(context.Context, delivery.Snapshot) error { return nil })
			return err
		},
	}
	for _, name := range []string{"add", "read", "state", "delete", "audit"} {
		if err := steps[name](); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
	}
	got, billed := meter.Usage(), s.server.Usage()
	want := Usage{Reads: billed.Reads - before.Reads, Writes: billed.Writes - before.Writes, Deletes: billed.Deletes - before.Deletes}
	if spare := got.Reads - want.Reads; spare < 0 || spare > 2 { // a query's last word counts, too
		t.Errorf("%d reads, and %d are billed", got.Reads, want.Reads)
	}
	if got.Writes != want.Writes || got.Writes != 30 {
		t.Errorf("%d writes, and %d are billed", got.Writes, want.Writes)
	}
	if got.Deletes != want.Deletes || got.Deletes != 11 {
		t.Errorf("%d deletes, and %d are billed", got.Deletes, want.Deletes)
	}
	if got.Less(got) != (Usage{}) || got.Requests == 0 {
		t.Errorf("%+v", got)
	}
}
