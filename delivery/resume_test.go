package delivery

import (
	"reflect"
	"strings"
	"testing"
	"time"
)

// step is an attempt of a mail to envelope, and what it leaves behind.
type step struct {
	envelope   string // as it is at the attempt
	owed       string // of it
	attempt    Attempt
	recipients string
	info       string // "" for none
	state      State
}

var resumptions = map[string][]step{
	"deferred, then accepted": {
		{"a b c", "a b c", sent("a+ b- c~"), "a+1 b-1 c~1", "[a] [b] [c]", Pending},
		{"a b c", "c", sent("c+"), "a+1 b-1 c+2", "[a c] [b] []", Success},
	},
	"deferred, then rejected": {
		{"a b", "a b", sent("a+ b~"), "a+1 b~1", "[a] [] [b]", Pending},
		{"a b", "b", sent("b-"), "a+1 b-2", "[a] [b] []", Success},
	},
	"one by one": {
		{"a b c", "a b c", sent("a+ b~ c~"), "a+1 b~1 c~1", "[a] [] [b c]", Pending},
		{"a b c", "b c", sent("b~ c+"), "a+1 b~2 c+2", "[a c] [] [b]", Pending},
		{"a b c", "b", sent("b+"), "a+1 b+3 c+2", "[a b c] [] []", Success},
	},
	"rejected is not asked again": {
		{"a b", "a b", sent("a- b~"), "a-1 b~1", "", Pending},
		{"a b", "b", sent("b+"), "a-1 b+2", "[b] [a] []", Success},
	},
	"rejected one by one": {
		{"a b", "a b", sent("a- b~"), "a-1 b~1", "", Pending},
		{"a b", "b", sent("b-"), "a-1 b-2", "", Error},
	},
	"nobody until the last": {
		{"a b", "a b", sent("a~ b~"), "a~1 b~1", "", Pending},
		{"a b", "a b", failed(Transient), "a~1 b~1", "", Pending},
		{"a b", "a b", sent("a~ b+"), "a~3 b+3", "[b] [] [a]", Success},
	},
	"given up after some": {
		{"a b", "a b", sent("a+ b~"), "a+1 b~1", "[a] [] [b]", Pending},
		{"a b", "b", sent("b~"), "a+1 b~2", "[a] [] [b]", Pending},
		{"a b", "b", failed(Transient), "a+1 b~2", "[a] [] [b]", Success},
	},
	"refused in whole after some": {
		{"a b", "a b", sent("a+ b~"), "a+1 b~1", "[a] [] [b]", Pending},
		{"a b", "b", failed(Permanent), "a+1 b~1", "[a] [] [b]", Success},
	},
	"of unknown fate after some": {
		{"a b c", "a b c", sent("a+ b~ c~"), "a+1 b~1 c~1", "[a] [] [b c]", Pending},
		{"a b c", "b c", Attempt{Failure: failed(Unknown).Failure, Recipients: verdicts("b? c~")}, "a+1 b?2 c~2", "[a] [] [c]", Error},
	},
	"an address is added": {
		{"a b", "a b", sent("a+ b~"), "a+1 b~1", "[a] [] [b]", Pending},
		{"x a b", "x b", sent("x+ b~"), "a+1 b~2 x+2", "[a x] [] [b]", Pending},
		{"x a b y", "b y", sent("b+ y+"), "a+1 b+3 x+2 y+3", "[a b x y] [] []", Success},
	},
	"an address is taken out and put back": {
		{"a b", "a b", sent("a+ b~"), "a+1 b~1", "[a] [] [b]", Pending},
		{"b", "b", sent("b~"), "a+1 b~2", "[a] [] [b]", Pending},
		{"a b", "b", sent("b+"), "a+1 b+3", "[a b] [] []", Success},
	},
	"the one that is owed is taken out": {
		{"a b", "a b", sent("a+ b~"), "a+1 b~1", "[a] [] [b]", Pending},
		{"a c", "c", sent("c+"), "a+1 b~1 c+2", "[a c] [] [b]", Success},
	},
	"the one that is owed is taken out, another deferred": {
		{"a b", "a b", sent("a+ b~"), "a+1 b~1", "[a] [] [b]", Pending},
		{"a c", "c", sent("c~"), "a+1 b~1 c~2", "[a] [] [b c]", Pending},
		{"a b c", "b c", sent("b+ c+"), "a+1 b+3 c+3", "[a b c] [] []", Success},
	},
	"an address is added, and nothing said of it": {
		{"a b", "a b", sent("a+ b~"), "a+1 b~1", "[a] [] [b]", Pending},
		{"x a b", "x b", to("x b", failed(Transient)), "a+1 b~1 x~2", "[a] [] [b x]", Pending},
		{"x a b y", "x b y", to("x b y", failed(Permanent)), "a+1 b~1 x~2 y~3", "[a] [] [b x y]", Success},
	},
	"nothing is said of anybody": {
		{"a b", "a b", to("a b", failed(Transient)), "", "", Pending},
		{"a b", "a b", to("a b", failed(Permanent)), "", "", Error},
	},
	"accepted, and then the mail is not": {
		{"a b", "a b", Attempt{Failure: failed(Transient).Failure, Recipients: verdicts("a+ b+")}, "a~1 b~1", "", Pending},
		{"a b", "a b", sent("a+ b~"), "a+2 b~2", "[a] [] [b]", Pending},
		{"a b", "b", Attempt{Failure: failed(Permanent).Failure, Recipients: verdicts("b+")}, "a+2 b~3", "[a] [] [b]", Success},
	},
	"before any verdict": {
		{"a b", "a b", failed(Transient), "", "", Pending},
		{"a b", "a b", failed(Transient), "", "", Pending},
		{"a b", "a b", sent("a+ b+"), "a+3 b+3", "[a b] [] []", Success},
	},
}

// to is an attempt of a mail to these.
func to(envelope string, a Attempt) Attempt {
	a.Envelope = strings.Fields(envelope)
	return a
}

func TestAMailGoesOnlyToThoseStillOwed(t *testing.T) {
	for name, steps := range resumptions {
		t.Run(name, func(t *testing.T) {
			d := newDrill(t, patient)
			for i, s := range steps {
				if i > 0 {
					d.now = d.record().NextAttempt
				}
				d.claim()
				if got := d.owed(s.envelope); got != s.owed {
					t.Errorf("attempt %d: owed to %s, want %s", i+1, got, s.owed)
				}
				d.end(s.attempt)
				d.shows(i+1, s)
			}
			d.closed()
		})
	}
}

// shows checks a record after its n-th attempt.
func (d *drill) shows(n int, s step) {
	d.Helper()
	if got := d.recipients(); got != s.recipients {
		d.Errorf("attempt %d: recipients %s, want %s", n, got, s.recipients)
	}
	if s.info == "" {
		s.info = "<nil><nil><nil>"
	}
	if got := d.info(); strings.ReplaceAll(got, " <nil>", "<nil>") != s.info {
		d.Errorf("attempt %d: info %s, want %s", n, got, s.info)
	}
	r := d.record()
	if r.State != s.state || r.Attempts != int64(n) || r.Series.Open() != (s.state == Pending) {
		d.Errorf("attempt %d: %+v", n, r)
	}
	if (r.State == Success) != (d.stored()[fieldError] == nil) {
		d.Errorf("attempt %d: %s with error %v", n, r.State, d.stored()[fieldError])
	}
	if got := r.Class == Delivered; got != (s.state == Success) {
		d.Errorf("attempt %d: %s with outcome %v", n, s.state, d.stored()[fieldOutcome])
	}
}

// An application that edits a document in two writes leaves it without content,
// or too large, for a moment: nobody who has the mail gets it again for that.
func TestARefusalInASeriesForgetsNobody(t *testing.T) {
	p := patient
	p.PerDocument = Rate{N: 1, Per: time.Hour}
	for name, c := range map[string]struct {
		refuse func(Record, time.Time) Change
		asked  bool // by RETRY
	}{
		"incomplete":           {func(r Record, at time.Time) Change { return r.Refused(p, at) }, false},
		"incomplete, by RETRY": {func(r Record, at time.Time) Change { return r.Refused(p, at) }, true},
		"too large":            {func(r Record, at time.Time) Change { return r.TooLarge(1<<20, p, at) }, true},
		"too often":            {func(r Record, at time.Time) Change { return r.TooOften(p, at, at) }, true},
	} {
		d := newDrill(t, p)
		d.try(sent("a+ b~"))
		d.now = d.record().NextAttempt
		d.apply(c.refuse(d.record(), d.now))
		if r := d.record(); r.State != Error || !r.NextAttempt.IsZero() || r.Attempts != 1 {
			t.Errorf("%s: %v", name, d.stored())
		}
		if c.asked {
			d.write(fieldState, string(Retry))
		} else if got := Decide(d.record(), false, d.now); got != Ignore {
			t.Errorf("%s: decided %v, still incomplete", name, got)
		}
		d.claim()
		if r := d.record(); d.owed("a b") != "b" || r.Message() != "l1" || r.Attempts != 1 || !r.Start.Equal(now) {
			t.Errorf("%s: owed to %s: %v", name, d.owed("a b"), d.stored())
		}
		d.end(sent("b+"))
		d.shows(2, step{recipients: "a+1 b+2", info: "[a b] [] []", state: Success})
		d.closed()
	}
}

// A mail whose transaction failed has reached nobody, whatever was said to RCPT TO.
func TestNobodyHasGotAMailThatFailed(t *testing.T) {
	for class, want := range map[Class]State{Transient: Pending, Permanent: Error, Unknown: Error} {
		p := patient
		p.PerRecipient = Rate{N: 1, Per: time.Hour}
		d := newDrill(t, p)
		d.try(Attempt{Failure: failed(class).Failure, Recipients: verdicts("a+ b+")})
		if got := d.record().State; got != want || d.recipients() != "a~1 b~1" || d.owed("a b") != "a b" {
			t.Errorf("%s: %s, recipients %s", class, got, d.recipients())
		}
		if got, there := d.stored()[fieldReached]; there {
			t.Errorf("%s: reached %v", class, got)
		}
	}
}

// Without retries a mail that some have got has come to its end, as for the
// extension, and the record still says who is owed it.
func TestWithoutRetriesAPartialDeliveryIsSuccess(t *testing.T) {
	d := newDrill(t, Policy{})
	d.try(sent("a+ b~ c-"))
	d.shows(1, step{recipients: "a+1 b~1 c-1", info: "[a] [c] [b]", state: Success})
	d.closed()
	if o := d.stored()[fieldOutcome].(Fields); !strings.Contains(o["explain"].(string), "recipients who have not got the mail: 2 of 3") {
		t.Errorf("outcome %v", o)
	}
}

// An attempt that fails before the mail's reply says nothing about the mail that
// some have got.
func TestTheReplyOfAnEarlierAttemptIsKept(t *testing.T) {
	d := newDrill(t, patient)
	first := sent("a+ b~ c~")
	first.MessageID, first.Response = "<first@b.test>", "250 queued as 1"
	d.try(first)
	for i, a := range []Attempt{failed(Transient), sent("b~ c-")} {
		a.MessageID = ""
		d.try(a)
		if f := d.stored()[fieldInfo].(Fields); f["messageId"] != first.MessageID || f["response"] != first.Response {
			t.Errorf("attempt %d: %v", i+2, f)
		}
	}
}

func TestTheReplyOfALaterAttemptTakesItsPlace(t *testing.T) {
	d := newDrill(t, patient)
	d.try(sent("a+ b~"))
	second := sent("b+")
	second.Response = "250 queued as 2"
	d.try(second)
	if f := d.stored()[fieldInfo].(Fields); f["response"] != "250 queued as 2" {
		t.Errorf("%v", f)
	}
}

// What servers said about each address comes back as it was.
func TestEarlierVerdictsAreKeptWhole(t *testing.T) {
	d := newDrill(t, patient)
	d.try(sent("a+ b- c~"))
	before := d.stored()[fieldRecipients].([]any)
	d.try(sent("c+"))
	after := d.stored()[fieldRecipients].([]any)
	if !reflect.DeepEqual(before[:2], after[:2]) {
		t.Errorf("got  %v\nwant %v", after[:2], before[:2])
	}
	want := Fields{"address": "c", "status": "accepted", "code": int64(250), "enhancedCode": "", "reply": "250 ok", "attempt": int64(2)}
	if !reflect.DeepEqual(after[2], want) {
		t.Errorf("got  %v\nwant %v", after[2], want)
	}
}

// A mail that is tried again is the same mail, to whoever gets it twice.
func TestAllAttemptsOfASeriesHaveOneMessage(t *testing.T) {
	d := newDrill(t, patient)
	for range 3 {
		if s := d.record(); s.State == Pending {
			d.now = s.NextAttempt
		}
		d.claim()
		if got := d.record().Message(); got != "l1" {
			t.Errorf("claim %d: message %q", d.claims, got)
		}
		d.end(failed(Transient))
	}
	d.write(fieldState, string(Retry))
	d.claim()
	if got := d.record().Message(); got != "l4" {
		t.Errorf("asked for again: message %q", got)
	}
}

// A record of which somebody has made something else hinders nothing.
func TestOddRecipientsAreOwed(t *testing.T) {
	d := newDrill(t, patient)
	d.try(sent("a+ b~"))
	d.write(fieldRecipients, []any{"a", int64(1), nil, Fields{"address": int64(3), "status": "accepted"}, Fields{"address": "b", "status": true}})
	d.write(fieldInfo, "gone")
	if got := d.owed("a b"); got != "a b" {
		t.Errorf("owed to %s", got)
	}
	d.try(sent("a+ b+"))
	if got := d.record().State; got != Success {
		t.Errorf("%v", d.stored())
	}
}
