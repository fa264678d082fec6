package delivery

import (
	"slices"
	"testing"
	"time"
)

// record returns a delivery field in which anything may be anywhere.
func (g *grower) record() Fields {
	words := []string{
		"PENDING", "PROCESSING", "SUCCESS", "ERROR", "RETRY", "accepted", "rejected", "pending", "unknown", "transient",
		"permanent", "incomplete", "claimed", "sending", "a@b.test", "c@d.test", "id",
	}
	odd := func() any {
		if g.next()%3 > 0 {
			return words[int(g.next())%len(words)]
		}
		return g.value(2)
	}
	of := func(names ...string) Fields {
		f := Fields{}
		for _, name := range names {
			if g.next()%4 > 0 {
				f[name] = odd()
			}
		}
		return f
	}
	f := of(fieldState, fieldStartTime, fieldAttempts, fieldError, fieldLeaseExpire, fieldLeaseID, fieldLeasePhase, fieldNextAttempt)
	f[fieldOutcome], f[fieldRetry], f[fieldRecent] = of("class"), of("id", "attempts", "since", "lapses"), of("since", "attempts")
	list := []any{}
	for range g.next() % 5 {
		list = append(list, of("address", "status", "code", "attempt"), odd())
	}
	f[fieldRecipients] = list
	return f
}

// Whatever somebody has written into a record: a mail is owed to nobody else
// than its recipients, a claim is kept until it ends, and an end is one.
func FuzzRecord(f *testing.F) {
	f.Add([]byte{})
	f.Add([]byte("\x01\x01\x00\x03\x06\x09\x01\x02\x03\x04\x05\x06\x07\x08\x09\x0a\x0b\x0c\x0d\x0e\x0f\x10\x11\x12\x13\x14\x15"))
	p := Policy{MaxAttempts: 5, MinDelay: time.Second, MaxDelay: time.Hour, MaxAge: 24 * time.Hour, RetryLapsed: true, PerDocument: Rate{N: 3, Per: time.Hour}}
	f.Fuzz(func(t *testing.T, b []byte) {
		doc := Fields{"delivery": (&grower{bytes: b}).record()}
		r := ReadRecord(doc)
		envelope := []string{"a@b.test", "c@d.test", "e@f.test"}
		owed := r.Owed(envelope)
		if !r.Series.Open() && !slices.Equal(owed, envelope) {
			t.Errorf("a mail that has come to its end is owed to %v", owed)
		}
		for _, a := range owed {
			if !slices.Contains(envelope, a) {
				t.Errorf("owed to a stranger: %v", a)
			}
		}
		claimed := r.Claimed(Lease{ID: "mine", Expires: now.Add(time.Minute)}, p, now).AppliedTo(doc)
		c := ReadRecord(claimed)
		if Decide(c, true, now) != Wait || Decide(c, true, now.Add(time.Minute)) != Expire || c.Attempts < 0 && r.Attempts >= 0 {
			t.Errorf("a claim is not kept: %v", claimed)
		}
		for _, class := range []Class{Transient, Permanent, Unknown} {
			ended := c.Ended(Attempt{Failure: &Failure{Class: class}, Envelope: owed}, p, 0.5, now).AppliedTo(claimed)
			e := ReadRecord(ended)
			if e.State == Processing || !Applied(c, e) || class != Transient && e.State == Pending {
				t.Errorf("%s: %v", class, ended)
			}
		}
		if e := ReadRecord(c.Expired(p, 0.5, now).AppliedTo(claimed)); e.State != Error && e.State != Pending || e.Lease.ID != "" {
			t.Errorf("a lapsed lease: %+v", e)
		}
	})
}
