package delivery

import (
	"fmt"
	"testing"
	"time"
)

// moves are all changes that a record can see, with what is decided a day later
// if the program alone has written.
func moves(p Policy) map[string]struct {
	change func(Record) Change
	want   Action
} {
	type move = struct {
		change func(Record) Change
		want   Action
	}
	again := Ignore
	if p.MaxAttempts > 1 {
		again = Claim
	}
	ended := func(a Attempt) func(Record) Change {
		return func(r Record) Change { return r.Ended(a, p, 0.5, now) }
	}
	return map[string]move{
		"claimed":   {func(r Record) Change { return r.Claimed(Lease{ID: "b", Expires: now.Add(time.Minute)}, p, now) }, Expire},
		"delivered": {ended(sent("a+ b-")), Ignore},
		"partial":   {ended(sent("a+ b~")), again},
		"terse":     {func(r Record) Change { return r.Ended(sent("a+ b~"), p, 0.5, now).Terse() }, Ignore},
		"brief":     {func(r Record) Change { return r.Ended(sent("a+ b~"), p, 0.5, now).Brief() }, again},
		"transient": {ended(failed(Transient)), again},
		"permanent": {ended(failed(Permanent)), Ignore},
		"unknown":   {ended(failed(Unknown)), Ignore},
		"released":  {released, Claim},
		"expired":   {func(r Record) Change { return r.Expired(p, 0.5, now) }, Ignore},
		"refused":   {func(r Record) Change { return r.Refused(p, now) }, Ignore},
		"too often": {func(r Record) Change { return r.TooOften(p, now, now) }, Ignore},
		"too large": {func(r Record) Change { return r.TooLarge(1<<20, p, now) }, Ignore},
	}
}

// Every record that any change leaves behind is one that Decide settles: no
// document is claimed twice, and none stays PROCESSING or waits for ever.
func TestEveryChangeLeadsToADecision(t *testing.T) {
	endings := map[string]bool{"delivered": true, "partial": true, "terse": true, "brief": true, "transient": true, "permanent": true, "unknown": true}
	for _, p := range []Policy{{}, patient} {
		for name, m := range moves(p) {
			for _, s := range []State{None, Pending, Processing, Retry, Success, Error} {
				t.Run(fmt.Sprintf("%s from %q, %d attempts", name, s, p.MaxAttempts), func(t *testing.T) {
					d := newDrill(t, p)
					if s != None {
						d.doc = Fields{"delivery": Fields{"state": string(s), "leaseId": "a", "leaseExpireTime": now}}
					}
					d.apply(m.change(d.record()))
					want := m.want
					if s.Final() && (endings[name] || name == "released") {
						want = Ignore // so is one who wants no more of it
						if got := d.record().State; !got.Final() {
							t.Errorf("state %s", got)
						}
						d.closed()
					}
					if (s == Retry || s == Pending) && endings[name] {
						want = Claim // an operator's wish is obeyed
						if got := Decide(d.record(), true, now); got != Claim {
							t.Errorf("decided %v at once, want claim", got)
						}
					}
					if got := Decide(d.record(), name != "refused", now.Add(24*time.Hour)); got != want {
						t.Errorf("decided %v, want %v: %v", got, want, d.stored())
					}
				})
			}
		}
	}
}

// What waits does so until its time, and no longer: a record that waits says
// until when.
func TestEveryWaitEnds(t *testing.T) {
	for name, m := range moves(patient) {
		for _, phase := range []Reach{"", ReachClaimed, ReachSending} {
			d := newDrill(t, patient)
			d.claim()
			d.write(fieldLeasePhase, string(phase))
			d.apply(m.change(d.record()))
			r := d.record()
			if Decide(r, true, now) != Wait {
				continue
			}
			end := r.NextAttempt
			if r.State == Processing {
				end = r.Lease.Expires
			}
			if got := Decide(r, true, end.Add(-time.Microsecond)); got != Wait {
				t.Errorf("%s, %q: %v a tick before the end", name, phase, got)
			}
			if got := Decide(r, true, end); got != Claim && got != Expire {
				t.Errorf("%s, %q: %v at the end", name, phase, got)
			}
			if end.Sub(now) > patient.MaxDelay {
				t.Errorf("%s, %q: waits until %v", name, phase, end)
			}
		}
	}
}
