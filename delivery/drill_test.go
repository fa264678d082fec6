package delivery

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"
)

// patient tries three times, and takes a mail up again whose worker died.
var patient = Policy{MaxAttempts: 3, MinDelay: time.Minute, MaxDelay: time.Hour, MaxAge: 24 * time.Hour, RetryLapsed: true}

// marks spell a verdict: "a+ b- c~ d?" is a accepted, b rejected, c deferred, d
// of unknown fate. What a record shows has the attempt's number behind.
var marks = map[string]Recipient{
	"+": {Status: Accepted, Code: 250, Reply: "250 ok"},
	"-": {Status: Rejected, Code: 550, EnhancedCode: "5.1.1", Reply: "550 5.1.1 no"},
	"~": {Status: Deferred, Code: 451, EnhancedCode: "4.7.1", Reply: "451 4.7.1 later"},
	"?": {Status: Unsure, Code: 250, Reply: "250 ok"},
}

func verdicts(spelled string) []Recipient {
	var list []Recipient
	for _, v := range strings.Fields(spelled) {
		r := marks[v[len(v)-1:]]
		r.Address = v[:len(v)-1]
		list = append(list, r)
	}
	return list
}

// sent is an attempt whose recipients got these verdicts: one that nobody was
// accepted on has failed.
func sent(spelled string) Attempt {
	a := Attempt{Recipients: verdicts(spelled), MessageID: "<m@b.test>", Response: "250 queued"}
	if strings.Contains(spelled, "+") {
		return a
	}
	a.Response = ""
	a.Failure = &Failure{Class: Permanent, Phase: PhaseRcpt, Code: 550, Message: "Error: no", Explain: "nobody"}
	if strings.Contains(spelled, "~") {
		a.Failure = &Failure{Class: Transient, Phase: PhaseRcpt, Code: 451, Message: "Error: later", Explain: "busy"}
	}
	return a
}

// failed is an attempt that came to no recipient.
func failed(c Class) Attempt {
	return Attempt{Failure: &Failure{Class: c, Phase: PhaseConnect, Message: "Error: " + string(c), Explain: "because"}}
}

// drill drives one document through changes.
type drill struct {
	*testing.T
	policy Policy
	now    time.Time
	doc    Fields
	claims int
}

func newDrill(t *testing.T, p Policy) *drill {
	return &drill{T: t, policy: p, now: now, doc: Fields{}}
}

func (d *drill) record() Record { return ReadRecord(d.doc) }

// stored returns the delivery field.
func (d *drill) stored() Fields { return d.doc["delivery"].(Fields) }

func (d *drill) decide() Action { return Decide(d.record(), true, d.now) }

// apply puts a change down, which must say what it comes to.
func (d *drill) apply(c Change) {
	d.Helper()
	for _, name := range c.Remove {
		if _, set := c.Set[name]; set {
			d.Errorf("the change sets and removes %s", name)
		}
	}
	if paths := c.Paths(); len(slices.Compact(slices.Clone(paths))) != len(paths) {
		d.Errorf("the change names a field twice: %v", paths)
	}
	d.doc = c.AppliedTo(d.doc)
	if got := d.record().State; got != c.State {
		d.Errorf("the change says %q, the record %q", c.State, got)
	}
}

func (d *drill) claim() {
	d.Helper()
	if got := d.decide(); got != Claim {
		d.Fatalf("decided %v, want claim: %v", got, d.stored())
	}
	d.claims++
	d.apply(d.record().Claimed(Lease{ID: fmt.Sprint("l", d.claims), Expires: d.now.Add(time.Minute)}, d.policy, d.now))
}

func (d *drill) end(a Attempt) {
	d.Helper()
	d.apply(d.record().Ended(a, d.policy, 0, d.now))
}

// try makes an attempt of a waiting mail as soon as it is due.
func (d *drill) try(a Attempt) {
	d.Helper()
	if r := d.record(); r.State == Pending && d.now.Before(r.NextAttempt) {
		d.now = r.NextAttempt
	}
	d.claim()
	d.end(a)
}

// lapse lets the lease run out and has that recorded.
func (d *drill) lapse() {
	d.Helper()
	d.now = d.record().Lease.Expires
	if got := d.decide(); got != Expire {
		d.Fatalf("decided %v, want expire: %v", got, d.stored())
	}
	d.apply(d.record().Expired(d.policy, 0, d.now))
}

// write is an operator's or an application's.
func (d *drill) write(name string, value any) {
	d.apply(Change{Set: Fields{name: value}, State: func() State {
		if name == fieldState {
			return State(value.(string))
		}
		return d.record().State
	}()})
}

// untilEnd fails the attempts that are left and returns how many those are.
func (d *drill) untilEnd() (attempts int) {
	d.Helper()
	for ; !d.record().State.Final(); attempts++ {
		if attempts > 1000 {
			d.Fatal("no end")
		}
		d.try(failed(Transient))
	}
	return attempts
}

// recipients returns delivery.recipients in marks.
func (d *drill) recipients() string {
	list, _ := d.stored()[fieldRecipients].([]any)
	var all []string
	for _, v := range list {
		f := v.(Fields)
		for mark, r := range marks {
			if string(r.Status) == f["status"] {
				all = append(all, fmt.Sprint(f["address"], mark, f["attempt"]))
			}
		}
	}
	return strings.Join(all, " ")
}

// info returns delivery.info's accepted, rejected and pending.
func (d *drill) info() string {
	f, _ := d.stored()[fieldInfo].(Fields)
	return fmt.Sprint(f["accepted"], f["rejected"], f["pending"])
}

func (d *drill) owed(envelope string) string {
	return strings.Join(d.record().Owed(strings.Fields(envelope)), " ")
}

// closed checks that nothing is left of a series, unless its mail was given up
// because its workers died before they sent it.
func (d *drill) closed() {
	d.Helper()
	o, _ := d.stored()[fieldOutcome].(Fields)
	unsent := o["phase"] == string(PhaseLease) && o["class"] == string(Transient)
	for _, name := range []string{fieldRetry, fieldNextAttempt, fieldLeasePhase} {
		if v, there := d.stored()[name]; there && !(unsent && name == fieldRetry) {
			d.Errorf("%s is left: %v", name, v)
		}
	}
	if got := Decide(d.record(), true, d.now.Add(10*365*24*time.Hour)); got != Ignore {
		d.Errorf("decided %v in ten years", got)
	}
}

func released(r Record) Change { return r.Released(now) }
