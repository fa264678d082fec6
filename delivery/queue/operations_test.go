package queue

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc/codes"

	"postrider/delivery"
	"postrider/delivery/firestored"
)

// An operation is written only by who knows how it is, and found until it has
// ended.
func TestOperationsChangeConditionally(t *testing.T) {
	s, stop := stacked(t, firestored.Options{})
	defer stop()
	ctx := t.Context()
	open := func() (ids []string) {
		t.Helper()
		err := s.OpenOperations(ctx, func(_ context.Context, o delivery.Snapshot) error {
			ids = append(ids, o.ID)
			if len(o.Fields) > 1 {
				t.Errorf("%s: %v is read to find it", o.ID, o.Fields)
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		return ids
	}
	if got := open(); len(got) > 0 {
		t.Errorf("there are %v", got)
	}
	if _, err := s.Operation(ctx, "a"); !errors.Is(err, delivery.ErrGone) {
		t.Errorf("before it is made: %v", err)
	}
	fields := delivery.Fields{"open": true, "state": "notStarted", "leaseExpireTime": nil, "results": "[]", "seen": int64(0)}
	made, err := s.CreateOperation(ctx, "a", fields)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.CreateOperation(ctx, "a", delivery.Fields{"open": true}); !errors.Is(err, delivery.ErrConflict) {
		t.Errorf("made twice: %v", err)
	}
	read, err := s.Operation(ctx, "a")
	if err != nil || !read.UpdateTime.Equal(made.UpdateTime) || len(read.Fields) != len(fields) {
		t.Errorf("made %v, read %v, %v", made, read, err)
	}
	next, err := s.ChangeOperation(ctx, made, delivery.Fields{"seen": int64(3), "state": "running", "leaseExpireTime": noon})
	if err != nil || next.Fields["seen"] != int64(3) || next.Fields["results"] != "[]" || made.Fields["seen"] != int64(0) {
		t.Errorf("changed %v to %v, %v", made, next, err)
	}
	if _, err := s.ChangeOperation(ctx, made, delivery.Fields{"seen": int64(4)}); !errors.Is(err, delivery.ErrConflict) {
		t.Errorf("a change of what it no longer is: %v", err)
	}
	if got := open(); !slices.Equal(got, []string{"a"}) {
		t.Errorf("open: %v", got)
	}
	if next, err = s.ChangeOperation(ctx, next, delivery.Fields{"open": false}); err != nil {
		t.Fatal(err)
	}
	if got := open(); len(got) > 0 {
		t.Errorf("ended, and open: %v", got)
	}
	if read, err := s.Operation(ctx, "a"); err != nil || read.Fields["seen"] != int64(3) || !read.UpdateTime.Equal(next.UpdateTime) {
		t.Errorf("at the end %v, %v", read, err)
	}
	if _, err := s.ChangeOperation(ctx, delivery.Snapshot{ID: "gone", UpdateTime: noon}, delivery.Fields{"seen": int64(1)}); !errors.Is(err, delivery.ErrConflict) {
		t.Errorf("a change of what is not there: %v", err)
	}
	if got := s.documents(t); got > 0 {
		t.Errorf("%d mail documents", got)
	}
}

// What has not changed is not written again, and what Firestore can't keep is
// told from what it may take later.
func TestOperationsAreWrittenInPart(t *testing.T) {
	s, stop := stacked(t, firestored.Options{})
	defer stop()
	long := strings.Repeat("x", 900<<10)
	fields := delivery.Fields{"open": true, "results": long, "at": noon}
	o, err := s.CreateOperation(t.Context(), "a", fields)
	if err != nil {
		t.Fatal(err)
	}
	before := s.server.Usage()
	if same, err := s.ChangeOperation(t.Context(), o, fields); err != nil || !same.UpdateTime.Equal(o.UpdateTime) {
		t.Errorf("nothing to change: %v, %v", same.UpdateTime, err)
	}
	if after := s.server.Usage(); after.Writes != before.Writes {
		t.Errorf("%d writes of nothing", after.Writes-before.Writes)
	}
	if _, err = s.ChangeOperation(t.Context(), o, delivery.Fields{"errors": long}); !errors.Is(err, delivery.ErrRefused) {
		t.Errorf("a document of 1.8 MB: %v", err)
	}
	s.server.SetFaults(firestored.Faults{Call: func(string, any) firestored.CallFault {
		return firestored.CallFault{Answer: codes.Unavailable}
	}})
	if _, err = s.ChangeOperation(t.Context(), o, delivery.Fields{"open": false}); err == nil || settledError(err) {
		t.Errorf("no answer: %v", err)
	}
	if _, err := s.Operation(t.Context(), "a"); err == nil || errors.Is(err, delivery.ErrGone) {
		t.Errorf("no answer to a read: %v", err)
	}
}

// Pages of a state come in the order of IDs, with what a filter asks about and no
// more, at one read for each document.
func TestPagesOfAState(t *testing.T) {
	s, stop := stacked(t, firestored.Options{})
	defer stop()
	shelf := shelved{s, t}
	var want []string
	for i := range 25 {
		id, state := fmt.Sprintf("m%02d", i), "ERROR"
		if i%5 == 4 {
			state = "SUCCESS"
		} else {
			want = append(want, id)
		}
		shelf.Put(id, delivery.Fields{
			"to": "a@b.test", "from": "f", "message": delivery.Fields{"text": "long"}, "template": delivery.Fields{"name": "t", "data": "long"},
			"delivery": delivery.Fields{"state": state},
		})
	}
	if n, err := s.CountState(t.Context(), delivery.Error); err != nil || n != len(want) {
		t.Errorf("counted %d, %v", n, err)
	}
	before := s.server.Usage()
	var got []string
	for after, full := "", true; full; {
		n := 0
		err := s.Retryable(t.Context(), delivery.Error, after, 7, func(_ context.Context, d delivery.Snapshot, added time.Time) error {
			got, after, n = append(got, d.ID), d.ID, n+1
			template, _ := d.Fields["template"].(delivery.Fields)
			if len(d.Fields) != 3 || d.Fields["from"] != "f" || len(template) != 1 || template["name"] != "t" || added.IsZero() || d.UpdateTime.IsZero() {
				t.Errorf("%s: %v, added %v", d.ID, d.Fields, added)
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		full = n == 7
	}
	if !slices.Equal(got, want) {
		t.Errorf("got %v", got)
	}
	if reads := s.server.Usage().Reads - before.Reads; reads > int64(len(want)+1) {
		t.Errorf("%d reads for %d documents", reads, len(want))
	}
	enough := errors.New("enough")
	if err := s.Retryable(t.Context(), delivery.Error, "", 7, func(context.Context, delivery.Snapshot, time.Time) error { return enough }); !errors.Is(err, enough) {
		t.Errorf("found's error: %v", err)
	}
}

// A query that breaks off passes on no document twice and no more than the limit.
func TestPageThatBreaksOff(t *testing.T) {
	s, stop := stacked(t, firestored.Options{})
	defer stop()
	fill(t, s.Queue, idsOf(20), func(int, string) string { return "ERROR" })
	broken := 0
	s.server.SetFaults(firestored.Faults{Stream: func(method string, sent int) firestored.StreamFault {
		if method == "RunQuery" && sent == 5 && broken < 2 {
			broken++
			return firestored.StreamFault{Cut: codes.Unavailable}
		}
		return firestored.StreamFault{}
	}})
	var got []string
	err := s.Retryable(t.Context(), delivery.Error, "m0002", 12, func(_ context.Context, d delivery.Snapshot, _ time.Time) error {
		got = append(got, d.ID)
		return nil
	})
	if err != nil || !slices.Equal(got, idsOf(15)[3:]) || broken != 2 {
		t.Errorf("got %v, %v, broken %d times", got, err, broken)
	}
}

// IDs that there is no document with are passed over, those too that can't be one.
func TestDocumentsByID(t *testing.T) {
	s, stop := stacked(t, firestored.Options{})
	defer stop()
	fill(t, s.Queue, []string{"a", "b", "ü &?"}, func(int, string) string { return "ERROR" })
	read := func(ids ...string) (got []string) {
		t.Helper()
		err := s.Documents(t.Context(), ids, func(_ context.Context, d delivery.Snapshot, added time.Time) error {
			got = append(got, d.ID)
			if added.IsZero() || delivery.ReadRecord(d.Fields).State != delivery.Error {
				t.Errorf("%s: %v, added %v", d.ID, d.Fields, added)
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		slices.Sort(got)
		return got
	}
	if got := read("b", "no", "a/b", "..", "__x__", "", strings.Repeat("x", 1501), "ü &?", "\xff", "a"); !slices.Equal(got, []string{"a", "b", "ü &?"}) {
		t.Errorf("got %v", got)
	}
	if got := read("x/y"); len(got) > 0 {
		t.Errorf("got %v", got)
	}
	if got := read(); len(got) > 0 {
		t.Errorf("got %v", got)
	}
}
