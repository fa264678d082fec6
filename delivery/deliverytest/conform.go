package deliverytest

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"postrider/delivery"
)

// Subject is a mail collection under test: what a worker uses of it, and what
// an application does to it. The methods of the first group are those of
// [Store] and package queue's Queue.
type Subject interface {
	Watch(ctx context.Context, w delivery.Watcher) error
	Sweep(ctx context.Context, found func(context.Context, delivery.Snapshot) error) error
	Audit(ctx context.Context, found func(context.Context, delivery.Snapshot) error) (delivery.Audit, error)
	Read(ctx context.Context, id string) (delivery.Snapshot, error)
	Apply(ctx context.Context, s delivery.Snapshot, c delivery.Change) (delivery.Snapshot, error)
	Claimed(ctx context.Context, found func(context.Context, delivery.Snapshot) error) error
	Accepted(ctx context.Context, address string, since time.Time) (int, error)
	Now() time.Time
	Finish(ctx context.Context, s delivery.Snapshot, change func(delivery.Record) delivery.Change) (delivery.Snapshot, error)

	Put(id string, f delivery.Fields)
	Get(id string) delivery.Fields // nil if there is no such document
	Delete(id string)
}

// Conform checks that a mail collection keeps what the worker relies on. Open
// returns an empty one; it is called for each test.
func Conform(t *testing.T, open func(*testing.T) Subject) {
	tests := map[string]func(*testing.T, Subject){
		"a claim writes what it names and nothing else": claimIsNarrow,
		"a claim of what has changed is a conflict":     claimConflicts,
		"of many claims one wins":                       oneClaimWins,
		"an end is written":                             endIsWritten,
		"an end survives an edit of another field":      endSurvivesEdit,
		"an end obeys an operator's RETRY":              endObeysRetry,
		"an end is not written over a later claim":      endIsFenced,
		"an end of a deleted document is gone":          endIsGone,
		"an end is written once":                        endIsWrittenOnce,
		"a renewed lease is finished":                   renewedIsFinished,
		"a lease that was lost is not renewed":          lostIsNotRenewed,
		"an unanswered renewal is finished":             unansweredRenewal,
		"an attempt that has ended is not renewed":      endedIsNotRenewed,
		"a mail handed back is not renewed":             handedBackIsNotRenewed,
		"a renewal obeys an operator's RETRY":           renewalObeysRetry,
		"a claim that never was can't be handed back":   unansweredClaim,
		"an answered claim can be handed back unseen":   answeredClaim,
		"a delivery field of another type is replaced":  oddRecords,
		"the watch passes on what is and what comes":    watches,
		"the sweep finds what waits or is claimed":      sweeps,
		"the sweep finds what is due among many":        sweepsMany,
		"what is claimed is found":                      findsClaimed,
		"what an address was sent is counted":           countsAccepted,
		"the time is that of update times":              tellsTime,
		"the audit finds what has no state":             audits,
		"a document is read as it is":                   reads,
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) { test(t, open(t)) })
	}
}

func mail() delivery.Fields {
	return delivery.Fields{"to": "ada@rcpt.test", "message": delivery.Fields{"subject": "s", "text": "t"}}
}

// in returns a mail whose record has the given state.
func in(s delivery.State) delivery.Fields {
	f := mail()
	f["delivery"] = delivery.Fields{"state": string(s), "note": "mine"}
	return f
}

// incomplete returns a mail that had nothing to send before.
func incomplete() delivery.Fields {
	return delivery.Record{}.Refused(delivery.Policy{}, now()).AppliedTo(mail())
}

func now() time.Time { return time.Now().UTC().Truncate(time.Microsecond) }

// found returns the only document that a find passes on.
func found(t *testing.T, find func(context.Context, func(context.Context, delivery.Snapshot) error) error) []delivery.Snapshot {
	t.Helper()
	var all []delivery.Snapshot
	err := find(t.Context(), func(_ context.Context, s delivery.Snapshot) error {
		all = append(all, s)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// audit returns a subject's Audit in the form of its Sweep.
func audit(s Subject) func(context.Context, func(context.Context, delivery.Snapshot) error) error {
	return func(ctx context.Context, found func(context.Context, delivery.Snapshot) error) error {
		_, err := s.Audit(ctx, found)
		return err
	}
}

// claim puts a new mail and claims it.
func claim(t *testing.T, s Subject, id string) delivery.Snapshot {
	t.Helper()
	s.Put(id, mail())
	claimed, err := s.Apply(t.Context(), found(t, audit(s))[0], claimed(delivery.Record{}, id))
	if err != nil {
		t.Fatal(err)
	}
	return claimed
}

func claimed(r delivery.Record, lease string) delivery.Change {
	at := now()
	return r.Claimed(delivery.Lease{ID: lease, Expires: at.Add(time.Minute)}, delivery.Policy{}, at)
}

func delivered(r delivery.Record) delivery.Change {
	return r.Ended(delivery.Attempt{MessageID: "<m@b.test>", Response: "250 ok", Recipients: []delivery.Recipient{
		{Address: "ada@rcpt.test", Status: delivery.Accepted, Code: 250, Reply: "250 ok"},
	}}, delivery.Policy{}, 0, now())
}

// record returns the delivery field of a document.
func record(t *testing.T, s Subject, id string) delivery.Fields {
	t.Helper()
	f, ok := s.Get(id)["delivery"].(delivery.Fields)
	if !ok {
		t.Fatalf("%s has no record: %v", id, s.Get(id))
	}
	return f
}

func claimIsNarrow(t *testing.T, s Subject) {
	s.Put("a", in(delivery.Pending))
	before := found(t, s.Sweep)[0]
	after, err := s.Apply(t.Context(), before, claimed(delivery.ReadRecord(before.Fields), "l1"))
	if err != nil {
		t.Fatal(err)
	}
	if !after.UpdateTime.After(before.UpdateTime) {
		t.Errorf("update time went from %v to %v", before.UpdateTime, after.UpdateTime)
	}
	if got := s.Get("a"); !reflect.DeepEqual(got, after.Fields) {
		t.Errorf("stored   %v\nreturned %v", got, after.Fields)
	}
	r := record(t, s, "a")
	if r["state"] != "PROCESSING" || r["leaseId"] != "l1" || r["note"] != "mine" || s.Get("a")["to"] != "ada@rcpt.test" {
		t.Errorf("after claim: %v", s.Get("a"))
	}
}

func claimConflicts(t *testing.T, s Subject) {
	s.Put("a", mail())
	s.Put("b", mail())
	stale := found(t, audit(s))
	changed := mail()
	changed["to"] = "bob@rcpt.test"
	s.Put("a", changed)
	s.Delete("b")
	for _, snap := range stale {
		now, err := s.Apply(t.Context(), snap, claimed(delivery.Record{}, "l1"))
		want := delivery.ErrConflict
		if snap.ID == "b" {
			want = delivery.ErrGone
		} else if !reflect.DeepEqual(now.Fields, changed) || !now.UpdateTime.After(snap.UpdateTime) {
			t.Errorf("returned %v", now)
		}
		if !errors.Is(err, want) {
			t.Errorf("%s: %v, want %v", snap.ID, err, want)
		}
	}
	if got := s.Get("a"); !reflect.DeepEqual(got, changed) {
		t.Errorf("the edited document is %v", got)
	}
	if got := s.Get("b"); got != nil {
		t.Errorf("the deleted document is back: %v", got)
	}
}

func oneClaimWins(t *testing.T, s Subject) {
	s.Put("a", mail())
	snap := found(t, audit(s))[0]
	var won atomic.Int32
	var claims sync.WaitGroup
	for i := range 20 {
		claims.Go(func() {
			_, err := s.Apply(t.Context(), snap, claimed(delivery.Record{}, fmt.Sprint("l", i)))
			switch {
			case err == nil:
				won.Add(1)
			case !errors.Is(err, delivery.ErrConflict):
				t.Error(err)
			}
		})
	}
	claims.Wait()
	if won.Load() != 1 {
		t.Errorf("%d claims won", won.Load())
	}
}

func endIsWritten(t *testing.T, s Subject) {
	snap := claim(t, s, "a")
	after, err := s.Finish(t.Context(), snap, delivered)
	if err != nil {
		t.Fatal(err)
	}
	if got := s.Get("a"); !reflect.DeepEqual(got, after.Fields) {
		t.Errorf("stored   %v\nreturned %v", got, after.Fields)
	}
	r := record(t, s, "a")
	if r["state"] != "SUCCESS" || r["attempts"] != int64(1) || r["leaseExpireTime"] != nil {
		t.Errorf("after the end: %v", r)
	}
}

func endSurvivesEdit(t *testing.T, s Subject) {
	snap := claim(t, s, "a")
	edited := s.Get("a")
	edited["to"] = "late@rcpt.test"
	s.Put("a", edited)
	if _, err := s.Finish(t.Context(), snap, delivered); err != nil {
		t.Fatal(err)
	}
	if record(t, s, "a")["state"] != "SUCCESS" || s.Get("a")["to"] != "late@rcpt.test" {
		t.Errorf("after the end: %v", s.Get("a"))
	}
}

func endObeysRetry(t *testing.T, s Subject) {
	snap := claim(t, s, "a")
	edited := s.Get("a")
	edited["delivery"].(delivery.Fields)["state"] = "RETRY"
	s.Put("a", edited)
	after, err := s.Finish(t.Context(), snap, delivered)
	if err != nil {
		t.Fatal(err)
	}
	if r := record(t, s, "a"); r["state"] != "RETRY" || r["attempts"] != int64(1) || r["info"] == nil {
		t.Errorf("after the end: %v", r)
	}
	if delivery.ReadRecord(after.Fields).State != delivery.Retry {
		t.Errorf("returned %v", after.Fields)
	}
}

func endIsFenced(t *testing.T, s Subject) {
	snap := claim(t, s, "a")
	later := s.Get("a")
	later["delivery"].(delivery.Fields)["leaseId"] = "another"
	s.Put("a", later)
	if _, err := s.Finish(t.Context(), snap, delivered); !errors.Is(err, delivery.ErrLeaseLost) {
		t.Errorf("error %v, want ErrLeaseLost", err)
	}
	if got := s.Get("a"); !reflect.DeepEqual(got, later) {
		t.Errorf("the later claim's document is %v", got)
	}
}

func endIsGone(t *testing.T, s Subject) {
	snap := claim(t, s, "a")
	s.Delete("a")
	if _, err := s.Finish(t.Context(), snap, delivered); !errors.Is(err, delivery.ErrGone) {
		t.Errorf("error %v, want ErrGone", err)
	}
	if got := s.Get("a"); got != nil {
		t.Errorf("the deleted document is back: %v", got)
	}
}

func endIsWrittenOnce(t *testing.T, s Subject) {
	snap := claim(t, s, "a")
	for range 2 {
		if _, err := s.Finish(t.Context(), snap, delivered); err != nil {
			t.Fatal(err)
		}
	}
	if got := record(t, s, "a")["attempts"]; got != int64(1) {
		t.Errorf("%v attempts", got)
	}
}

// unanswered returns the claim of a document as its worker knows it that was
// never answered: without an update time.
func unanswered(snap delivery.Snapshot) delivery.Snapshot {
	return delivery.Snapshot{ID: snap.ID, Fields: claimed(delivery.Record{}, "l1").AppliedTo(snap.Fields)}
}

func unansweredClaim(t *testing.T, s Subject) {
	s.Put("a", mail())
	_, err := s.Finish(t.Context(), unanswered(found(t, audit(s))[0]), released)
	if !errors.Is(err, delivery.ErrLeaseLost) {
		t.Errorf("error %v, want ErrLeaseLost", err)
	}
	if got := s.Get("a"); !reflect.DeepEqual(got, mail()) {
		t.Errorf("the document is %v", got)
	}
}

func answeredClaim(t *testing.T, s Subject) {
	s.Put("a", mail())
	snap := found(t, audit(s))[0]
	if _, err := s.Apply(t.Context(), snap, claimed(delivery.Record{}, "l1")); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Finish(t.Context(), unanswered(snap), released); err != nil {
		t.Fatal(err)
	}
	if r := record(t, s, "a"); r["state"] != "PENDING" || r["startTime"] == nil {
		t.Errorf("handed back as %v", r)
	}
}

func oddRecords(t *testing.T, s Subject) {
	for id, odd := range map[string]any{"null": nil, "text": "PENDING", "list": []any{"x"}} {
		f := mail()
		f["delivery"] = odd
		s.Put(id, f)
	}
	for _, snap := range found(t, audit(s)) {
		r := delivery.ReadRecord(snap.Fields)
		if _, err := s.Apply(t.Context(), snap, r.Refused(delivery.Policy{}, now())); err != nil {
			t.Errorf("%s: %v", snap.ID, err)
		}
		if got := record(t, s, snap.ID)["state"]; got != "ERROR" {
			t.Errorf("%s: state %v", snap.ID, got)
		}
	}
}

func released(r delivery.Record) delivery.Change { return r.Released(now()) }
