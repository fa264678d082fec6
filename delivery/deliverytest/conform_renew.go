package deliverytest

import (
	"errors"
	"reflect"
	"testing"
	"time"

	"postrider/delivery"
)

// renewed returns the renewal of a lease until an hour from now.
func renewed(r delivery.Record) delivery.Change { return r.Renewed(now().Add(time.Hour)) }

// renew renews the lease of a claimed document.
func renew(t *testing.T, s Subject, snap delivery.Snapshot) delivery.Snapshot {
	t.Helper()
	after, err := s.Finish(t.Context(), snap, renewed)
	if err != nil {
		t.Fatal(err)
	}
	return after
}

// refusesRenewal checks that neither renewal nor mark is written.
func refusesRenewal(t *testing.T, s Subject, snap delivery.Snapshot) {
	t.Helper()
	before := s.Get(snap.ID)
	for name, change := range map[string]func(delivery.Record) delivery.Change{"renewed": renewed, "sending": delivery.Record.Sending} {
		if _, err := s.Finish(t.Context(), snap, change); !errors.Is(err, delivery.ErrLeaseLost) {
			t.Errorf("%s: error %v, want ErrLeaseLost", name, err)
		}
		if got := s.Get(snap.ID); !reflect.DeepEqual(got, before) {
			t.Errorf("%s: %v\nwas %v", name, got, before)
		}
	}
}

func renewedIsFinished(t *testing.T, s Subject) {
	snap := claim(t, s, "a")
	snap = renew(t, s, snap)
	if got := s.Get("a"); !reflect.DeepEqual(got, snap.Fields) {
		t.Errorf("stored   %v\nreturned %v", got, snap.Fields)
	}
	if r := delivery.ReadRecord(s.Get("a")); r.State != delivery.Processing || r.Lease.Expires.Before(now().Add(50*time.Minute)) {
		t.Errorf("renewed: %+v", r)
	}
	snap, err := s.Finish(t.Context(), snap, delivery.Record.Sending)
	if err != nil {
		t.Fatal(err)
	}
	if r := delivery.ReadRecord(s.Get("a")); r.Lease.Phase != delivery.ReachSending || r.Attempts != 0 {
		t.Errorf("sending: %+v", r)
	}
	if _, err := s.Finish(t.Context(), snap, delivered); err != nil {
		t.Fatal(err)
	}
	if r := record(t, s, "a"); r["state"] != "SUCCESS" || r["attempts"] != int64(1) || r["leaseExpireTime"] != nil {
		t.Errorf("after the end: %v", r)
	}
}

func lostIsNotRenewed(t *testing.T, s Subject) {
	snap := claim(t, s, "a")
	later := s.Get("a")
	later["delivery"].(delivery.Fields)["leaseId"] = "another"
	s.Put("a", later)
	refusesRenewal(t, s, snap)
	lapsed := claim(t, s, "b")
	if _, err := s.Apply(t.Context(), lapsed, delivery.ReadRecord(lapsed.Fields).Expired(delivery.Policy{}, 0, now())); err != nil {
		t.Fatal(err)
	}
	refusesRenewal(t, s, lapsed)
}

// A worker whose renewal was never answered goes on with what it had before.
func unansweredRenewal(t *testing.T, s Subject) {
	snap := claim(t, s, "a")
	renew(t, s, snap)
	if r := delivery.ReadRecord(renew(t, s, snap).Fields); r.State != delivery.Processing {
		t.Errorf("renewed again: %+v", r)
	}
	after, err := s.Finish(t.Context(), snap, delivered)
	if err != nil {
		t.Fatal(err)
	}
	if r := delivery.ReadRecord(after.Fields); r.State != delivery.Success || r.Attempts != 1 {
		t.Errorf("after the end: %+v", r)
	}
}

func endedIsNotRenewed(t *testing.T, s Subject) {
	snap := claim(t, s, "a")
	after, err := s.Finish(t.Context(), snap, delivered)
	if err != nil {
		t.Fatal(err)
	}
	unanswered := snap
	unanswered.UpdateTime = time.Time{}
	for _, claimed := range []delivery.Snapshot{snap, after, unanswered} {
		refusesRenewal(t, s, claimed)
	}
}

func handedBackIsNotRenewed(t *testing.T, s Subject) {
	snap := claim(t, s, "a")
	if _, err := s.Finish(t.Context(), snap, released); err != nil {
		t.Fatal(err)
	}
	refusesRenewal(t, s, snap)
}

func renewalObeysRetry(t *testing.T, s Subject) {
	snap := claim(t, s, "a")
	edited := s.Get("a")
	edited["delivery"].(delivery.Fields)["state"] = "RETRY"
	s.Put("a", edited)
	snap = renew(t, s, snap)
	if r := delivery.ReadRecord(s.Get("a")); r.State != delivery.Retry {
		t.Errorf("renewed: %+v", r)
	}
	if _, err := s.Finish(t.Context(), snap, delivered); err != nil {
		t.Fatal(err)
	}
	if r := record(t, s, "a"); r["state"] != "RETRY" || r["attempts"] != int64(1) {
		t.Errorf("after the end: %v", r)
	}
}
