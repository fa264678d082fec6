package delivery

import (
	"math"
	"testing"
	"time"
)

func TestDelayDoublesWithinItsBounds(t *testing.T) {
	minutes := Policy{MinDelay: time.Minute, MaxDelay: time.Hour}
	same := Policy{MinDelay: time.Minute, MaxDelay: time.Minute}
	longest := Policy{MinDelay: 24 * time.Hour, MaxDelay: 168 * time.Hour}
	for name, c := range map[string]struct {
		policy    Policy
		n         int64
		low, high time.Duration
	}{
		"after the first":           {minutes, 1, time.Minute, 75 * time.Second},
		"after the second":          {minutes, 2, 90 * time.Second, 150 * time.Second},
		"after the third":           {minutes, 3, 3 * time.Minute, 5 * time.Minute},
		"after the sixth":           {minutes, 6, 24 * time.Minute, 40 * time.Minute},
		"doubled past the longest":  {minutes, 7, 45 * time.Minute, time.Hour},
		"past every doubling":       {minutes, 41, 45 * time.Minute, time.Hour},
		"past every number":         {minutes, math.MaxInt64, 45 * time.Minute, time.Hour},
		"shortest is longest":       {same, 1, time.Minute, time.Minute},
		"shortest is longest, late": {same, 100, time.Minute, time.Minute},
		"a day, late":               {longest, maxAttempts, 126 * time.Hour, 168 * time.Hour},
		"nothing set":               {Policy{}, 5, 0, 0},
		"nothing set, late":         {Policy{}, math.MaxInt64, 0, 0},
	} {
		if got := c.policy.delay(c.n, 0); got != c.low {
			t.Errorf("%s: at least %v, want %v", name, got, c.low)
		}
		if got := c.policy.delay(c.n, 0.5); got != (c.low+c.high)/2 {
			t.Errorf("%s: in the middle %v, want %v", name, got, (c.low+c.high)/2)
		}
		if got := c.policy.delay(c.n, math.Nextafter(1, 0)); got > c.high || got < c.high-time.Microsecond {
			t.Errorf("%s: at most %v, want %v", name, got, c.high)
		}
	}
}

func TestDelayIsNeverOutOfBounds(t *testing.T) {
	for _, p := range []Policy{
		{MinDelay: time.Second, MaxDelay: 168 * time.Hour},
		{MinDelay: 90 * time.Second, MaxDelay: 100 * time.Second},
		{MinDelay: 24 * time.Hour, MaxDelay: 24 * time.Hour},
	} {
		for n := int64(1); n < 100; n++ {
			for _, fraction := range []float64{0, 0.01, 0.5, 0.99, math.Nextafter(1, 0)} {
				if got := p.delay(n, fraction); got < p.MinDelay || got > p.MaxDelay {
					t.Errorf("%v..%v after %d at %v: %v", p.MinDelay, p.MaxDelay, n, fraction, got)
				}
			}
		}
	}
}

// Mails that failed together are not tried again together.
func TestJitterKeepsMailsApart(t *testing.T) {
	p := Policy{MinDelay: time.Minute, MaxDelay: time.Hour}
	for n := int64(1); n < 50; n++ {
		last := time.Duration(-1)
		for i := range 16 {
			got := p.delay(n, float64(i)/16)
			if got-last < 900*time.Millisecond { // a sixteenth of a quarter of a minute
				t.Errorf("after %d: %v and %v", n, last, got)
			}
			last = got
		}
	}
}

func TestTransientIsTriedUntilMaxAttempts(t *testing.T) {
	for _, n := range []int{0, 1, 2, 5} {
		p := patient
		p.MaxAttempts = n
		d := newDrill(t, p)
		d.claim()
		d.end(failed(Transient))
		if got := 1 + d.untilEnd(); got != max(n, 1) {
			t.Errorf("MAX_ATTEMPTS=%d: %d attempts", n, got)
		}
		if got := d.record(); got.State != Error || got.Class != Transient || got.Attempts != int64(max(n, 1)) {
			t.Errorf("MAX_ATTEMPTS=%d: %+v", n, got)
		}
		d.closed()
	}
}

// The last attempt begins at RETRY_MAX_AGE after the end of the first, if it
// is due on that tick.
func TestTransientIsTriedUntilMaxAge(t *testing.T) {
	for name, c := range map[string]struct {
		age  time.Duration
		want int
	}{
		"due that tick":          {time.Hour, 7},
		"due a tick later":       {time.Hour - 1, 6},
		"too old from the first": {10*time.Minute - 1, 1},
	} {
		d := newDrill(t, Policy{MaxAttempts: 1000, MinDelay: 10 * time.Minute, MaxDelay: 10 * time.Minute, MaxAge: c.age})
		d.now = d.now.Add(3 * time.Hour) // how old the document is does not count
		d.doc = Fields{"delivery": Fields{"state": "PENDING", "startTime": now}}
		if got := d.untilEnd(); got != c.want || d.record().State != Error {
			t.Errorf("%s: %d attempts, want %d; %v", name, got, c.want, d.stored())
		}
	}
}

// A mail that waits is due at the time its record shows, and not a tick before.
func TestWaitIsTheDelay(t *testing.T) {
	d := newDrill(t, patient)
	d.claim()
	d.apply(d.record().Ended(failed(Transient), d.policy, 0.5, d.now))
	want := d.now.Add(67500 * time.Millisecond)
	if got := d.record(); got.State != Pending || !got.NextAttempt.Equal(want) || got.Series != (Series{Attempts: 1, Since: now, ID: "l1"}) {
		t.Errorf("%+v", got)
	}
	for at, action := range map[time.Time]Action{want.Add(-time.Microsecond): Wait, want: Claim} {
		if got := Decide(d.record(), true, at); got != action {
			t.Errorf("at %v: %v, want %v", at, got, action)
		}
	}
	if o := d.stored()[fieldOutcome].(Fields); o["class"] != "transient" || d.stored()[fieldError] != "Error: transient" {
		t.Errorf("record %v", d.stored())
	}
}

// What will not work again, or may have been sent, is not tried again, whoever
// has got it before.
func TestOnlyTransientIsTriedAgain(t *testing.T) {
	for _, class := range []Class{Permanent, Unknown, Incomplete, Delivered, ""} {
		for _, attempts := range []int{1, 2, 100} {
			for _, partial := range []bool{false, true} {
				p := patient
				p.MaxAttempts = max(attempts, 2)
				d := newDrill(t, p)
				if partial {
					d.try(sent("a+ b~"))
					d.now = d.record().NextAttempt
				}
				d.policy.MaxAttempts = attempts
				d.try(failed(class))
				want := Error
				if partial && class != Unknown {
					want = Success
				}
				if got := d.record(); got.State != want || !partial && got.Class != class || class == Unknown && got.Class != Unknown {
					t.Errorf("%s, %d attempts, partial %v: %v", class, attempts, partial, d.stored())
				}
				if class != Incomplete || partial {
					d.closed()
				}
			}
		}
	}
}
