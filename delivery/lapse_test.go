package delivery

import (
	"testing"
	"time"
)

// Only a mail that provably never came to DATA is tried again after its worker
// died, and only where that is asked for.
func TestLapseIsFinalUnlessNothingWasSent(t *testing.T) {
	for name, c := range map[string]struct {
		phase Reach
		again bool // RETRY_LAPSED
		state State
		class Class
	}{
		"claimed":             {ReachClaimed, true, Pending, Transient},
		"sending":             {ReachSending, true, Error, Unknown},
		"of another version":  {"greeting", true, Error, Unknown},
		"not known":           {"", true, Error, Unknown},
		"claimed, never":      {ReachClaimed, false, Error, Transient},
		"sending, never":      {ReachSending, false, Error, Unknown},
		"not known, as usual": {"", false, Error, Unknown},
	} {
		p := patient
		p.RetryLapsed = c.again
		d := newDrill(t, p)
		d.doc = Fields{"delivery": Fields{"state": "PROCESSING", "attempts": int64(4), "leaseId": "a", "leaseExpireTime": now}}
		if c.phase != "" {
			d.write(fieldLeasePhase, string(c.phase))
		}
		d.lapse()
		r := d.record()
		if r.State != c.state || r.Class != c.class || r.Error != LeaseExpired || r.Attempts != 4 || r.Lease.ID != "" || r.Lease.Phase != "" {
			t.Errorf("%s: %v", name, d.stored())
		}
		if c.state != Pending {
			d.closed()
			continue
		}
		if want := d.now.Add(time.Minute); !r.NextAttempt.Equal(want) || d.decide() != Wait {
			t.Errorf("%s: %v until %v, want %v", name, d.decide(), r.NextAttempt, want)
		}
	}
}

// A claim says how far it is where that is used, and never shows how far an
// earlier one was.
func TestClaimBeginsItsOwnPhase(t *testing.T) {
	for _, before := range []Reach{"", ReachClaimed, ReachSending} {
		for _, again := range []bool{false, true} {
			d := newDrill(t, Policy{RetryLapsed: again})
			d.doc = Fields{"delivery": Fields{"state": "RETRY"}}
			if before != "" {
				d.write(fieldLeasePhase, string(before))
			}
			d.claim()
			want := Reach("")
			if again {
				want = ReachClaimed
			}
			if got := d.record().Lease.Phase; got != want {
				t.Errorf("%q before, again %v: phase %q, want %q", before, again, got, want)
			}
		}
	}
}

// Some documents end any worker that takes them.
func TestAMailThatKillsItsWorkersEnds(t *testing.T) {
	for attempts, want := range map[int]int{0: 3, 1: 3, 3: 3, 7: 7} {
		p := patient
		p.MaxAttempts = attempts
		d := newDrill(t, p)
		lapses := 0
		for d.claim(); d.record().State == Processing && lapses < 100; lapses++ {
			d.lapse()
			if r := d.record(); r.State == Pending {
				d.now = r.NextAttempt
				d.claim()
			}
		}
		if r := d.record(); lapses != want+1 || r.State != Error || r.Attempts != 0 || r.Class != Transient {
			t.Errorf("MAX_ATTEMPTS=%d: %d lapses, want %d; %v", attempts, lapses, want+1, d.stored())
		}
		d.closed()
	}
}

// A lapse is no attempt, and who has got the mail is not forgotten over it.
func TestALapseBetweenAttemptsLosesNothing(t *testing.T) {
	d := newDrill(t, patient)
	d.try(sent("a+ b~"))
	for range 2 {
		d.now = d.record().NextAttempt
		d.claim()
		d.lapse()
	}
	if got := d.record().Series; got != (Series{Attempts: 1, Since: now, Lapses: 2, ID: "l1"}) {
		t.Errorf("series %+v", got)
	}
	d.now = d.record().NextAttempt
	d.claim()
	if got := d.owed("a b"); got != "b" {
		t.Errorf("owed to %s", got)
	}
	d.end(sent("b+"))
	d.shows(2, step{recipients: "a+1 b+2", info: "[a b] [] []", state: Success})
	d.closed()
}

// A mail that an operator wants again has reached nobody yet, even if its worker
// dies before it begins.
func TestALapseAfterAWishStillOwesAll(t *testing.T) {
	for _, before := range []string{"a+ b+", "a- b-", "a+ b-"} {
		d := newDrill(t, patient)
		d.try(sent(before))
		d.write(fieldState, string(Retry))
		d.claim()
		d.lapse()
		d.now = d.record().NextAttempt
		d.claim()
		if got := d.owed("a b"); got != "a b" {
			t.Errorf("after %s: owed to %q, want a b", before, got)
		}
	}
}

// Verdicts on a mail that has come to its end say nothing about the one that was
// asked for since.
func TestALapseAfterAWishShowsNoOldVerdicts(t *testing.T) {
	d := newDrill(t, patient)
	d.try(sent("a+ b-"))
	d.write(fieldState, string(Retry))
	d.claim()
	d.lapse()
	if v, there := d.stored()[fieldRecipients]; there {
		t.Errorf("recipients %v", v)
	}
}

// Of a mail that may have been sent nobody can tell who has got it, but those
// whom an earlier attempt has settled.
func TestALapseOfUnknownFateLeavesNobodyPending(t *testing.T) {
	for name, c := range map[string]struct {
		sending          bool
		recipients, info string
	}{
		"sending": {true, "a+1 b-1 c?1 d?1", "[a] [b] []"},
		"claimed": {false, "a+1 b-1 c~1 d~1", "[a] [b] [c d]"},
	} {
		d := newDrill(t, patient)
		first := sent("a+ b- c~ d~")
		d.try(first)
		d.now = d.record().NextAttempt
		d.policy.RetryLapsed = false // of the instance that finds it
		d.apply(d.record().Claimed(Lease{ID: "l2", Expires: d.now.Add(time.Minute)}, patient, d.now))
		if c.sending {
			d.apply(d.record().Sending())
		}
		d.lapse()
		if d.record().State != Error || d.recipients() != c.recipients || d.info() != c.info {
			t.Errorf("%s: %s, recipients %s, info %s", name, d.record().State, d.recipients(), d.info())
		}
		if f := d.stored()[fieldInfo].(Fields); f["messageId"] != first.MessageID || f["response"] != first.Response {
			t.Errorf("%s: info %v", name, f)
		}
		d.closed()
	}
}

// A mail that is handed back is due at once, for whoever is owed it, and it was
// no attempt.
func TestReleaseGoesOnWithTheSeries(t *testing.T) {
	d := newDrill(t, patient)
	d.try(sent("a+ b~"))
	series := d.record().Series
	d.now = d.record().NextAttempt
	d.claim()
	d.apply(d.record().Released(now))
	if r := d.record(); r.Series != series || r.Attempts != 1 || r.Lease.Phase != "" || !r.Lease.Expires.IsZero() {
		t.Errorf("%+v", r)
	}
	d.claim()
	if got := d.owed("a b"); got != "b" {
		t.Errorf("owed to %s", got)
	}
}
