package delivery

import (
	"fmt"
	"reflect"
	"strings"
	"testing"
	"time"
)

const tick = time.Microsecond

// hourly allows a document three attempts an hour.
var hourly = Policy{PerDocument: Rate{N: 3, Per: time.Hour}}

// exceeds reports how long the document may not be attempted; 0 if it may.
func (d *drill) exceeds(in time.Duration) time.Duration {
	at := d.now.Add(in)
	if until, exceeded := d.record().Exceeds(d.policy, at); exceeded {
		return until.Sub(at)
	}
	return 0
}

// again has an operator ask for the mail and makes the attempt.
func (d *drill) again(wait time.Duration) {
	d.Helper()
	d.now = d.now.Add(wait)
	d.write(fieldState, string(Retry))
	if left := d.exceeds(0); left > 0 {
		d.Fatalf("refused for %v: %v", left, d.stored())
	}
	d.claim()
	d.end(sent("a+"))
}

func TestLoopsOfRetryAreRefused(t *testing.T) {
	d := newDrill(t, hourly)
	d.try(sent("a+"))
	d.again(10 * time.Minute)
	d.again(10 * time.Minute) // at :20
	for in, want := range map[time.Duration]time.Duration{
		0: 40 * time.Minute, 40*time.Minute - tick: tick, 40 * time.Minute: 0, 100 * time.Hour: 0,
	} {
		if got := d.exceeds(in); got != want {
			t.Errorf("after %v: refused for %v, want %v", in, got, want)
		}
	}
}

// Once the window is over another begins, with the attempt that comes then.
func TestAWindowThatIsOverIsForgotten(t *testing.T) {
	d := newDrill(t, hourly)
	d.try(sent("a+"))
	d.again(0)
	d.again(0)
	d.again(90 * time.Minute)
	d.again(10 * time.Minute)
	d.again(10 * time.Minute)
	if got := d.exceeds(0); got != 40*time.Minute {
		t.Errorf("refused for %v: %v", got, d.stored())
	}
	d.again(40 * time.Minute)
	if got := d.record(); got.Attempts != 7 || got.Recent != (Window{Since: d.now, Attempts: 1}) {
		t.Errorf("%+v", got)
	}
}

// A window may begin with any attempt, the second one included.
func TestEveryAttemptOfAWindowCounts(t *testing.T) {
	d := newDrill(t, hourly)
	d.try(sent("a+"))
	d.again(time.Hour)
	d.again(10 * time.Minute)
	d.again(10 * time.Minute)
	if got := d.exceeds(0); got != 40*time.Minute {
		t.Errorf("refused for %v: %v", got, d.stored())
	}
}

// The attempts of a document whose record holds no window are all within the one
// that began with it.
func TestTheFirstAttemptsAreCountedFromTheStart(t *testing.T) {
	for name, c := range map[string]struct {
		record Record
		want   bool // it is exceeded
	}{
		"new":                     {Record{}, false},
		"just begun":              {Record{Start: now}, false},
		"tried twice":             {Record{Start: now, Attempts: 2}, false},
		"tried three times":       {Record{Start: now, Attempts: 3}, true},
		"nearly an hour ago":      {Record{Start: now.Add(tick - time.Hour), Attempts: 3}, true},
		"an hour ago this tick":   {Record{Start: now.Add(-time.Hour), Attempts: 3}, false},
		"long ago":                {Record{Start: now.Add(-1000 * time.Hour), Attempts: 500}, false},
		"lately only":             {Record{Start: now.Add(-1000 * time.Hour), Attempts: 500, Recent: Window{Since: now, Attempts: 3}}, true},
		"lately, but not so much": {Record{Start: now, Attempts: 3, Recent: Window{Since: now, Attempts: 2}}, false},
		"a lower limit is set":    {Record{Start: now, Attempts: 50}, true},
	} {
		if _, got := c.record.Exceeds(hourly, now); got != c.want {
			t.Errorf("%s: exceeded %v", name, got)
		}
		if _, got := c.record.Exceeds(Policy{}, now); got {
			t.Errorf("%s: exceeds no limit", name)
		}
	}
}

// What most mails need is one attempt, and one write less.
func TestAFirstAttemptWritesNoWindow(t *testing.T) {
	d := newDrill(t, hourly)
	d.try(sent("a+"))
	if _, there := d.stored()[fieldRecent]; there {
		t.Errorf("%v", d.stored())
	}
	d = newDrill(t, Policy{})
	d.try(sent("a+"))
	d.again(0)
	if _, there := d.stored()[fieldRecent]; there {
		t.Errorf("without a limit: %v", d.stored())
	}
}

// Attempts of the program count as those by hand do, but it is only what somebody
// asks for that is refused: the program has its own limits.
func TestAttemptsOfTheProgramCount(t *testing.T) {
	p := patient
	p.PerDocument = Rate{N: 2, Per: time.Hour}
	d := newDrill(t, p)
	d.try(failed(Transient))
	d.try(failed(Transient))
	if got := d.exceeds(0); got != 0 {
		t.Errorf("the program is refused for %v: %v", got, d.stored())
	}
	d.now = d.record().NextAttempt // at 2:30
	d.claim()
	d.write(fieldState, string(Pending))
	if got := d.exceeds(0); got != 57*time.Minute+30*time.Second {
		t.Errorf("PENDING over a claim is refused for %v: %v", got, d.stored())
	}
	d.write(fieldState, string(Retry))
	if got := d.exceeds(0); got != 57*time.Minute+30*time.Second {
		t.Errorf("RETRY is refused for %v: %v", got, d.stored())
	}
}

// What the program tries again by itself it tries to the end, however many
// attempts were asked for before.
func TestAMailThatWaitsIsNotRefused(t *testing.T) {
	for name, reach := range map[string]func(*drill){
		"deferred": func(d *drill) { d.try(sent("a+ b~")) },
		"failed":   func(d *drill) { d.try(failed(Transient)) },
		"lapsed":   func(d *drill) { d.claim(); d.lapse() },
		"released then": func(d *drill) {
			d.try(failed(Transient))
			d.now = d.record().NextAttempt
			d.claim()
			d.apply(released(d.record()))
		},
	} {
		p := patient
		p.PerDocument = hourly.PerDocument
		d := newDrill(t, p)
		d.try(sent("a+"))
		d.again(0)
		d.write(fieldState, string(Retry))
		reach(d)
		for !d.record().State.Final() {
			if got := d.exceeds(0); got != 0 {
				t.Fatalf("%s: refused for %v: %v", name, got, d.stored())
			}
			d.try(failed(Transient))
		}
		if d.write(fieldState, string(Retry)); d.exceeds(0) == 0 {
			t.Errorf("%s: the attempts do not count: %v", name, d.stored())
		}
	}
}

// A document that was not begun by a worker has a window from its first attempt on.
func TestADocumentWithoutAStartIsLimited(t *testing.T) {
	d := newDrill(t, hourly)
	d.doc = Fields{"delivery": Fields{"state": "PENDING"}}
	d.try(sent("a+"))
	d.again(10 * time.Minute)
	d.again(10 * time.Minute)
	if got := d.exceeds(0); got != 40*time.Minute {
		t.Errorf("refused for %v: %v", got, d.stored())
	}
}

// To take the content away and bring it back is no way round the limit.
func TestAnIncompleteDocumentKeepsItsAttempts(t *testing.T) {
	for name, p := range map[string]Policy{"hourly": hourly, "patient": {MaxAttempts: 3, MaxAge: time.Hour, PerDocument: hourly.PerDocument}} {
		d := newDrill(t, p)
		d.try(sent("a+"))
		for n := int64(2); n <= 3; n++ {
			d.write(fieldState, string(Retry))
			d.apply(d.record().Refused(p, d.now))
			if got := d.exceeds(0); got != 0 {
				t.Fatalf("%s: attempt %d is refused for %v", name, n, got)
			}
			d.try(sent("a+"))
			if got := d.record().Attempts; got != n {
				t.Errorf("%s: %d attempts, want %d", name, got, n)
			}
		}
		d.write(fieldState, string(Retry))
		d.apply(d.record().Refused(p, d.now))
		if got := d.exceeds(0); got != time.Hour {
			t.Errorf("%s: refused for %v: %v", name, got, d.stored())
		}
	}
}

func TestRefusalNamesTheLimitAndEnds(t *testing.T) {
	d := newDrill(t, hourly)
	d.try(sent("a+"))
	d.again(0)
	d.again(0)
	d.write(fieldState, string(Retry))
	until, exceeded := d.record().Exceeds(d.policy, d.now)
	if !exceeded {
		t.Fatalf("%v", d.stored())
	}
	d.apply(d.record().TooOften(d.policy, until, d.now))
	r, o := d.record(), d.stored()[fieldOutcome].(Fields)
	if r.State != Error || r.Class != Permanent || r.Attempts != 3 || !strings.Contains(r.Error, "3 within 1h are allowed (MAX_PER_DOCUMENT)") {
		t.Errorf("%v", d.stored())
	}
	if want := "set RETRY after 2026-11-22T13:00:00Z"; !strings.Contains(fmt.Sprint(o["explain"]), want) {
		t.Errorf("explains %q, want %q", o["explain"], want)
	}
	d.closed()
	d.again(time.Hour)
}

// MAX_PER_RECIPIENT counts whom a mail has reached, or may have, and when: an
// attempt that reaches nobody takes nothing away.
func TestReachedAreThoseWhoMayHaveTheMail(t *testing.T) {
	p := patient
	p.PerRecipient = Rate{N: 20, Per: time.Hour}
	d := newDrill(t, p)
	reached := func(at time.Time, want ...any) {
		t.Helper()
		f := d.stored()
		if got, _ := f[fieldReached].([]any); !reflect.DeepEqual(got, want) || !at.IsZero() && !f[fieldReachedTime].(time.Time).Equal(at) {
			t.Errorf("reached %v at %v, want %v at %v", got, f[fieldReachedTime], want, at)
		}
	}
	d.try(failed(Transient))
	reached(time.Time{})
	d.try(sent("Ada@B.test+ b- c~ d~"))
	reached(d.now, "ada@b.test")
	d.try(Attempt{Failure: failed(Unknown).Failure, Recipients: verdicts("c? d~")})
	last := d.now
	reached(last, "c", "ada@b.test")
	d.write(fieldState, string(Retry))
	d.try(failed(Permanent))
	reached(last, "c", "ada@b.test")
	d.now = last.Add(time.Hour)
	d.write(fieldState, string(Retry))
	d.try(sent("b+"))
	reached(d.now, "b")
}

// A document that is sent again by hand is one document, and several mails.
func TestRepeatsAreMails(t *testing.T) {
	p := Policy{PerDocument: Rate{N: 100, Per: time.Hour}, PerRecipient: Rate{N: 20, Per: time.Hour}}
	d := newDrill(t, p)
	d.try(sent("a+"))
	for n := range 3 {
		if got := d.record().Repeats("a", time.Hour, d.now); got != n {
			t.Errorf("after %d mails: %d beyond the first", n+1, got)
		}
		d.write(fieldState, string(Retry))
		d.try(sent("a+"))
	}
	if got := d.record().Repeats("b", time.Hour, d.now); got != 0 {
		t.Errorf("of somebody else: %d", got)
	}
	if got := d.record().Repeats("a", time.Hour, d.now.Add(time.Hour)); got != 0 {
		t.Errorf("an hour later: %d", got)
	}
}

func TestReachedIsNotKeptWithoutALimit(t *testing.T) {
	d := newDrill(t, patient)
	d.try(sent("a+"))
	if v, there := d.stored()[fieldReached]; there {
		t.Errorf("%v", v)
	}
}
