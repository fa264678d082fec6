package delivery

import (
	"fmt"
	"reflect"
	"strings"
	"testing"
	"time"
)

// wishes are the moments at which an operator may ask for a mail to a and b.
var wishes = map[string]struct {
	reach func(*drill)
	owed  string // by the attempt that comes of it
}{
	"delivered":           {func(d *drill) { d.try(sent("a+ b+")) }, "a b"},
	"refused":             {func(d *drill) { d.try(sent("a- b-")) }, "a b"},
	"of unknown fate":     {func(d *drill) { d.try(failed(Unknown)) }, "a b"},
	"delivered to some":   {func(d *drill) { d.try(sent("a+ b-")) }, "a b"},
	"given up after some": {func(d *drill) { d.try(sent("a+ b~")); d.untilEnd() }, "a b"},
	"claimed":             {func(d *drill) { d.claim() }, "a b"},
	"claimed again":       {func(d *drill) { d.try(failed(Transient)); d.now = d.record().NextAttempt; d.claim() }, "a b"},
	"claimed after some":  {func(d *drill) { d.try(sent("a+ b~")); d.now = d.record().NextAttempt; d.claim() }, "b"},
	"lapsed":              {func(d *drill) { d.claim(); d.now = d.record().Lease.Expires }, "a b"},
	"lapsed and recorded": {func(d *drill) { d.claim(); d.apply(d.record().Sending()); d.lapse() }, "a b"},
	"lapsed after some": {func(d *drill) {
		d.try(sent("a+ b~"))
		d.now = d.record().NextAttempt
		d.claim()
		d.now = d.now.Add(time.Hour)
	}, "b"},
}

func TestAWishTakesEffectAtOnceAndCountsAnew(t *testing.T) {
	for name, w := range wishes {
		for _, s := range []State{Retry, Pending} {
			d := newDrill(t, patient)
			w.reach(d)
			d.write(fieldState, string(s))
			d.claim()
			if got := d.owed("a b"); got != w.owed {
				t.Errorf("%s, %s: owed to %s, want %s", name, s, got, w.owed)
			}
			before := d.record().Attempts
			d.end(failed(Transient))
			if got := 1 + d.untilEnd(); got != d.policy.MaxAttempts || d.record().Attempts != before+int64(got) {
				t.Errorf("%s, %s: %d attempts, want %d; %d in all after %d", name, s, got, d.policy.MaxAttempts, d.record().Attempts, before)
			}
			d.closed()
		}
	}
}

// An operator who asks for a mail that waits has it tried at once, by RETRY, and
// with all attempts before it.
func TestRetryOfAWaitingMailGoesToThoseOwedAtOnce(t *testing.T) {
	for name, c := range map[string]struct {
		reach func(*drill)
		owed  string
	}{
		"after nobody":     {func(d *drill) { d.try(failed(Transient)) }, "a b"},
		"after some":       {func(d *drill) { d.try(sent("a+ b~")) }, "b"},
		"for the last try": {func(d *drill) { d.try(sent("a+ b~")); d.try(failed(Transient)) }, "b"},
		"after a lapse":    {func(d *drill) { d.claim(); d.lapse() }, "a b"},
	} {
		d := newDrill(t, patient)
		c.reach(d)
		at := d.now.Add(time.Second)
		if Decide(d.record(), true, at) != Wait {
			t.Fatalf("%s: does not wait: %v", name, d.stored())
		}
		d.now = at
		d.write(fieldState, string(Retry))
		message := d.record().Message()
		d.claim()
		want := Series{Since: at, ID: message}
		if got := d.record(); got.Series != want || !got.NextAttempt.IsZero() || d.owed("a b") != c.owed {
			t.Errorf("%s: series %+v, want %+v; owed to %s", name, got.Series, want, d.owed("a b"))
		}
		d.end(failed(Transient))
		if got := 1 + d.untilEnd(); got != d.policy.MaxAttempts {
			t.Errorf("%s: %d attempts", name, got)
		}
	}
}

// While a mail is sent an operator may ask for it again: what the attempt has
// come to is put down, the wish stays, and is obeyed at once.
func TestAWishDuringAnAttemptOutlivesIt(t *testing.T) {
	for name, c := range map[string]struct {
		before, during string
		owed           string // by the attempt that comes of it
	}{
		"the first reaches all":     {"", "a+ b+", "a b"},
		"the first reaches some":    {"", "a+ b~", "b"},
		"the first reaches nobody":  {"", "a~ b~", "a b"},
		"the second reaches all":    {"a+ b~", "b+", "a b"},
		"the second reaches nobody": {"a+ b~", "b~", "b"},
		"the second is refused":     {"a~ b~", "a- b-", "a b"},
	} {
		for _, s := range []State{Retry, Pending} {
			d := newDrill(t, patient)
			if c.before != "" {
				d.try(sent(c.before))
				d.now = d.record().NextAttempt
			}
			d.claim()
			d.write(fieldState, string(s))
			d.end(sent(c.during))
			if r := d.record(); r.State != s || !r.NextAttempt.IsZero() {
				t.Errorf("%s, %s: %+v", name, s, r)
			}
			d.claim()
			if got := d.owed("a b"); got != c.owed {
				t.Errorf("%s, %s: owed to %s, want %s", name, s, got, c.owed)
			}
			d.end(failed(Transient))
			if got := 1 + d.untilEnd(); got != d.policy.MaxAttempts {
				t.Errorf("%s, %s: %d attempts, want %d", name, s, got, d.policy.MaxAttempts)
			}
		}
	}
}

// Whatever an attempt comes to under a wish, the one that obeys it is the first
// of all: neither those before it nor their time nor lapses count.
func TestAWishDuringAnAttemptBeginsAnew(t *testing.T) {
	for name, end := range map[string]func(*drill){
		"failed":      func(d *drill) { d.end(failed(Transient)) },
		"deferred":    func(d *drill) { d.end(sent("b~")) },
		"handed back": func(d *drill) { d.apply(d.record().Released(d.now)) },
	} {
		for _, s := range []State{Retry, Pending} {
			d := newDrill(t, patient)
			d.try(sent("a+ b~"))
			d.now = d.record().NextAttempt
			d.claim()
			d.lapse()
			d.try(failed(Transient))
			d.now = d.now.Add(patient.MaxAge - time.Second)
			d.claim()
			d.write(fieldState, string(s))
			end(d)
			if r := d.record(); r.State != s || !r.NextAttempt.IsZero() || r.Series != (Series{Since: d.now, ID: "l1"}) {
				t.Errorf("%s, %s: %+v", name, s, r)
			}
			d.now = d.now.Add(time.Hour)
			d.claim()
			if got := d.owed("a b"); got != "b" {
				t.Errorf("%s, %s: owed to %s", name, s, got)
			}
			d.end(failed(Transient))
			if got := 1 + d.untilEnd(); got != d.policy.MaxAttempts {
				t.Errorf("%s, %s: %d attempts", name, s, got)
			}
		}
	}
}

// Without retries there is no series to go on with: a wish is for all.
func TestWithoutRetriesAWishDuringAnAttemptIsForAll(t *testing.T) {
	for _, p := range []Policy{{}, {MaxAttempts: 1}} {
		d := newDrill(t, p)
		d.claim()
		d.write(fieldState, string(Retry))
		d.end(sent("a+ b~"))
		d.claim()
		if got := d.owed("a b"); got != "a b" || d.record().Series.Open() {
			t.Errorf("MAX_ATTEMPTS=%d: owed to %s: %v", p.MaxAttempts, got, d.stored())
		}
	}
}

// An operator who ends a mail while it is sent wants no more of it: what the
// attempt has come to is put down, and nothing waits.
func TestAMailThatAnOperatorEndsIsNotTriedAgain(t *testing.T) {
	for name, c := range map[string]struct {
		before string
		during Attempt
		state  State
	}{
		"fails":             {"", failed(Transient), Error},
		"reaches all":       {"", sent("a+ b+"), Success},
		"reaches some":      {"", sent("a+ b~"), Success},
		"reaches nobody":    {"", sent("a~ b~"), Error},
		"of unknown fate":   {"a+ b~", failed(Unknown), Error},
		"fails after some":  {"a+ b~", failed(Transient), Success},
		"fails after none":  {"a~ b~", failed(Transient), Error},
		"deferred for good": {"a+ b~", sent("b~"), Success},
	} {
		for _, s := range []State{Error, Success} {
			d := newDrill(t, patient)
			if c.before != "" {
				d.try(sent(c.before))
				d.now = d.record().NextAttempt
			}
			d.claim()
			d.write(fieldState, string(s))
			before := d.record().Attempts
			d.end(c.during)
			if r := d.record(); r.State != c.state || r.Attempts != before+1 {
				t.Errorf("%s, %s: %+v", name, s, r)
			}
			d.closed()
		}
	}
}

// Nor does a worker that hands the mail back undo what an operator wrote.
func TestAMailThatAnOperatorEndsIsNotHandedBack(t *testing.T) {
	for _, s := range []State{Error, Success} {
		d := newDrill(t, patient)
		d.try(sent("a+ b~"))
		series := d.record().Series
		d.now = d.record().NextAttempt
		d.claim()
		d.write(fieldState, string(s))
		d.apply(released(d.record()))
		if r := d.record(); r.State != s || r.Attempts != 1 || !r.Lease.Expires.IsZero() || d.decide() != Ignore {
			t.Errorf("%s: %v", s, d.stored())
		}
		if got := d.record().Series; got != series || d.owed("a b") != "b" {
			t.Errorf("%s: series %+v", s, got)
		}
	}
}

// What the record says of the next attempt is what comes.
func TestTheExplanationSaysWhatComesNext(t *testing.T) {
	for name, c := range map[string]struct {
		policy   Policy
		attempts []Attempt
		wish     State
		want     string
		never    string
	}{
		"failed":           {patient, []Attempt{failed(Transient)}, None, "by itself at delivery.nextAttemptTime, as attempt 2 of 3", "given up"},
		"failed twice":     {patient, []Attempt{failed(Transient), failed(Transient)}, None, "as attempt 3 of 3", "given up"},
		"failed for good":  {patient, []Attempt{failed(Transient), failed(Transient), failed(Transient)}, None, "given up after 3 attempts", "by itself"},
		"some, then none":  {patient, []Attempt{sent("a+ b~"), sent("b~"), sent("b~")}, None, "given up after 3 attempts (MAX_ATTEMPTS); recipients who have not got the mail: 1 of 2", "by itself"},
		"some":             {patient, []Attempt{sent("a+ b~")}, None, "still owed it; the mail is tried again by itself", "at once, as was asked"},
		"without retries":  {Policy{}, []Attempt{failed(Transient)}, None, "because", "given up"},
		"permanent":        {patient, []Attempt{failed(Transient), failed(Permanent)}, None, "because", "given up"},
		"RETRY meanwhile":  {patient, []Attempt{sent("a+ b~")}, Retry, "at once, as was asked for while it was being sent", "nextAttemptTime"},
		"PENDING, failing": {patient, []Attempt{failed(Transient), failed(Transient)}, Pending, "at once, as was asked for while it was being sent", "attempt 1"},
	} {
		d := newDrill(t, c.policy)
		last := len(c.attempts) - 1
		for _, a := range c.attempts[:last] {
			d.try(a)
		}
		if last > 0 {
			d.now = d.record().NextAttempt
		}
		d.claim()
		if c.wish != None {
			d.write(fieldState, string(c.wish))
		}
		d.end(c.attempts[last])
		got := fmt.Sprint(d.stored()[fieldOutcome].(Fields)["explain"])
		if !strings.Contains(got, c.want) || strings.Contains(got, c.never) {
			t.Errorf("%s: %q, want %q, not %q", name, got, c.want, c.never)
		}
	}
}

// A worker that keeps its claim, or says how far it is, does not undo what an
// operator wrote meanwhile.
func TestALeaseIsKeptWithoutTouchingTheState(t *testing.T) {
	later := now.Add(time.Hour + 123*time.Nanosecond)
	for _, s := range []State{Processing, Retry, Pending, Error, Success} {
		doc := Fields{"delivery": Fields{"state": string(s), "leaseId": "a", "leaseExpireTime": now, "attempts": int64(1)}}
		r := ReadRecord(doc)
		for name, c := range map[string]struct {
			change Change
			want   Lease
		}{
			"renewed": {r.Renewed(later), Lease{ID: "a", Expires: now.Add(time.Hour)}},
			"sending": {r.Sending(), Lease{ID: "a", Expires: now, Phase: ReachSending}},
		} {
			want := r
			want.Lease = c.want
			if got := ReadRecord(c.change.AppliedTo(doc)); !reflect.DeepEqual(got, want) || c.change.State != s {
				t.Errorf("%s from %s: %+v, want %+v", name, s, got, want)
			}
		}
	}
}
