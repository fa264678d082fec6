package delivery

import (
	"maps"
	"slices"
	"strings"
	"time"
)

// Change is a change of a record as one write puts it down.
type Change struct {
	Set    Fields   // by name under delivery; a nil value is null
	Remove []string // fields under delivery that go
	State  State    // the record's state afterwards

	partial bool // some have got the mail, and others are still owed it
}

// LeaseExpired is delivery.error of a document whose lease lapsed: the
// extension's words.
const LeaseExpired = "Message processing lease expired."

// Claimed returns the change by which a worker takes the document: the lease,
// and for a new document what the extension writes when it first sees one.
// A document that was incomplete before counts as new.
// What an operator wants again has all its attempts before it.
func (r Record) Claimed(l Lease, p Policy, now time.Time) Change {
	c := Change{State: Processing, Set: Fields{}}
	if (r.State == None || r.State == Error) && !r.Series.Open() {
		c.Set = begun(r.Attempts, p.TTL, now)
	}
	c.Set[fieldState] = string(Processing)
	c.Set[fieldLeaseID] = l.ID
	c.Set[fieldLeaseExpire] = stored(l.Expires)
	switch {
	case p.RetryLapsed:
		c.Set[fieldLeasePhase] = string(ReachClaimed)
	case r.Lease.Phase != "":
		c.Remove = append(c.Remove, fieldLeasePhase)
	}
	if r.Series.Open() && r.wanted() {
		c.Set[fieldRetry] = Series{Since: now, ID: r.Series.ID}.stored()
	}
	if !r.NextAttempt.IsZero() {
		c.Remove = append(c.Remove, fieldNextAttempt)
	}
	if r.Class == Incomplete {
		c.Remove = append(c.Remove, fieldOutcome)
	}
	return c
}

// Renewed returns the change by which an attempt that goes on keeps the document
// for longer.
func (r Record) Renewed(expires time.Time) Change {
	return Change{State: r.State, Set: Fields{fieldLeaseExpire: stored(expires)}}
}

// Sending returns the change that comes before the first command of the mail's
// transaction, where [Policy] asks for it: should the worker die from here on,
// nobody can tell what became of the mail.
func (r Record) Sending() Change {
	return Change{State: r.State, Set: Fields{fieldLeasePhase: string(ReachSending)}}
}

// begun returns the fields of a document first seen at now, or that is complete
// at last. Attempts that it has had all the same still count.
func begun(attempts int64, ttl TTL, now time.Time) Fields {
	f := Fields{fieldStartTime: stored(now), fieldAttempts: attempts, fieldError: nil}
	if at, ok := ttl.ExpireAt(now); ok {
		f[fieldExpireAt] = stored(at)
	}
	return f
}

// Released returns the change by which a worker that must stop hands back a
// mail it has not sent: not counted as an attempt, and due at once.
func (r Record) Released(now time.Time) Change {
	c := Change{
		State: Pending,
		Set:   Fields{fieldState: string(Pending), fieldLeaseExpire: nil},
	}
	if r.State == Retry || r.State.Final() { // an operator has written that
		c.State = r.State
		delete(c.Set, fieldState)
	}
	if r.Series.Open() && r.wanted() {
		c.Set[fieldRetry] = Series{Since: now, ID: r.Series.ID}.stored()
	}
	c.drop(fieldLeasePhase, r.Lease.Phase != "")
	return c
}

// Expired returns the change that records a lapsed lease. Like the extension it
// leaves the attempts as they are, and the lease's end. Where p allows it, a mail
// that provably never came to DATA is tried again instead. Of those who were
// still owed the mail nobody can tell who has got it, unless it never came to
// DATA.
func (r Record) Expired(p Policy, fraction float64, now time.Time) Change {
	unsent := r.Lease.Phase == ReachClaimed
	if r.Outlives(p) {
		s := r.series(now)
		s.Lapses++
		return r.lapsed(s, now.Add(p.delay(s.Lapses, fraction)))
	}
	f := expired(r.Message(), unsent)
	c := Change{State: Error, Remove: []string{fieldLeaseID}, Set: Fields{
		fieldState: string(Error), fieldError: f.Message, fieldOutcome: outcome(f),
	}}
	c.drop(fieldLeasePhase, r.Lease.Phase != "")
	if unsent {
		return c // the series stays: who has got the mail must not get it again
	}
	c.drop(fieldRetry, r.Series.Open())
	if r.Series.Open() {
		all := r.earlier()
		for i := range all {
			if all[i].Status == Deferred {
				all[i].Status = Unsure
			}
		}
		c.Set[fieldRecipients] = recipientFields(all)
		c.Set[fieldInfo] = info(r.messageID, r.response, all)
	}
	return c
}

// Outlives reports whether the mail is tried again though the lease under which it
// is claimed lapses: where p allows it, and it provably never came to DATA.
func (r Record) Outlives(p Policy) bool {
	return p.RetryLapsed && r.Lease.Phase == ReachClaimed && r.Series.Lapses < max(int64(p.MaxAttempts), minLapses)
}

// minLapses is how often a mail that never came to DATA is tried again at least:
// it is its worker that died. Some documents do that to any worker.
const minLapses = 3

// lapsed returns the change by which a mail waits whose worker died before it
// sent anything.
func (r Record) lapsed(s Series, next time.Time) Change {
	f := expired(r.Lease.ID, true)
	f.Explain = "the worker that had claimed this document ended before it sent anything; the mail is tried again by itself at delivery.nextAttemptTime"
	c := Change{
		State:  Pending,
		Remove: []string{fieldLeaseID, fieldLeasePhase},
		Set: Fields{
			fieldState: string(Pending), fieldError: f.Message, fieldOutcome: outcome(f), fieldLeaseExpire: nil,
			fieldNextAttempt: stored(next), fieldRetry: s.stored(),
		},
	}
	c.drop(fieldRecipients, !r.Series.Open()) // they are of a mail that has come to its end
	return c
}

// Refused returns the change for a document that can't be sent as it is: one
// with nothing to send yet, or whose delivery field has no state. It is no
// attempt. A departure from the extension, which says nothing.
func (r Record) Refused(p Policy, now time.Time) Change {
	if r.Malformed {
		return r.refused(malformed(), p, now)
	}
	return r.refused(incomplete(), p, now)
}

// TooLarge returns the change for a document of size bytes, above [MaxSize],
// which must not be sent: what happened could not be recorded. It is no attempt.
func (r Record) TooLarge(size int, p Policy, now time.Time) Change {
	return r.refused(tooLarge(size), p, now)
}

// TooOften returns the change for a document that was attempted as often as
// p.PerDocument allows until the given time. It is no attempt.
func (r Record) TooOften(p Policy, until, now time.Time) Change {
	return r.refused(tooOften(p.PerDocument, until), p, now)
}

func (r Record) refused(f *Failure, p Policy, now time.Time) Change {
	c := Change{State: Error, Set: Fields{}}
	if r.State == None && !r.Malformed {
		c.Set = begun(0, p.TTL, now)
	}
	c.drop(fieldNextAttempt, !r.NextAttempt.IsZero())
	if r.Series.Open() && r.wanted() {
		c.Set[fieldRetry] = Series{Since: now, ID: r.Series.ID}.stored()
	}
	c.Set[fieldState] = string(Error)
	c.Set[fieldError] = f.Message
	c.Set[fieldOutcome] = outcome(f)
	return c
}

// drop removes a field that is there.
func (c *Change) drop(name string, there bool) {
	if there {
		c.Remove = append(c.Remove, name)
	}
}

// Brief returns the change without what servers said at length: who is owed what
// stays.
func (c Change) Brief() Change {
	b := Change{Set: clone(c.Set), State: c.State, Remove: slices.Clone(c.Remove), partial: c.partial}
	if list, ok := b.Set[fieldRecipients].([]any); ok {
		brief := make([]any, len(list))
		for i, v := range list {
			f, _ := v.(Fields)
			brief[i] = Fields{"address": f["address"], "status": f["status"], "code": f["code"], "attempt": f["attempt"]}
		}
		b.Set[fieldRecipients] = brief
	}
	return b
}

// Terse returns the change without the fields that may be long, for a document
// that has no room for them: what happened stays, the lists and replies go. A
// mail that some have got and others are still owed ends with it: nobody could
// tell any more whom not to send it to again.
func (c Change) Terse() Change {
	t := Change{Set: clone(c.Set), State: c.State, Remove: slices.Clone(c.Remove)}
	for _, name := range []string{fieldRecipients, fieldInfo, fieldOutcome, fieldReached, fieldReachedTime} {
		if _, ok := t.Set[name]; ok {
			delete(t.Set, name)
			t.Remove = append(t.Remove, name)
		}
	}
	if c.partial {
		delete(t.Set, fieldNextAttempt)
		delete(t.Set, fieldRetry)
		t.Remove = append(t.Remove, fieldRetry)
		if t.Set[fieldState] == string(Pending) {
			t.State, t.Set[fieldState], t.Set[fieldError] = Success, string(Success), nil
		}
	}
	if s, ok := t.Set[fieldError].(string); ok && len(s) > maxTerseError {
		t.Set[fieldError] = strings.ToValidUTF8(s[:maxTerseError], "") + "…"
	}
	return t
}

// maxTerseError is how much of delivery.error a terse change keeps, in bytes.
const maxTerseError = 300

// AppliedTo returns the document as it is after the change. The given one is
// left alone.
func (c Change) AppliedTo(doc Fields) Fields {
	out := clone(doc)
	before, _ := doc["delivery"].(Fields)
	record := make(Fields, len(before)+len(c.Set))
	maps.Copy(record, before)
	maps.Copy(record, c.Set)
	for _, name := range c.Remove {
		delete(record, name)
	}
	out["delivery"] = record
	return out
}

// Paths returns the names of all fields under delivery that the change sets or
// removes, sorted: the update mask of its write.
func (c Change) Paths() []string {
	paths := append(make([]string, 0, len(c.Remove)+len(c.Set)), c.Remove...)
	for name := range c.Set {
		paths = append(paths, name)
	}
	slices.Sort(paths)
	return paths
}

func clone(f Fields) Fields {
	out := make(Fields, len(f)+1)
	maps.Copy(out, f)
	return out
}

// stored returns t as Firestore keeps it: UTC, in microseconds.
func stored(t time.Time) time.Time { return t.UTC().Truncate(time.Microsecond) }
