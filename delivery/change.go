package delivery

import (
	"slices"
	"strings"
	"time"
)

// Change is a change of a record as one write puts it down.
type Change struct {
	Set    Fields   // by name under delivery; a nil value is null
	Remove []string // fields under delivery that go
	State  State    // the record's state afterwards
}

// LeaseExpired is delivery.error of a document whose lease lapsed: the
// extension's words.
const LeaseExpired = "Message processing lease expired."

// Claimed returns the change by which a worker takes the document: the lease,
// and for a new document what the extension writes when it first sees one.
// A document that was incomplete before counts as new.
func (r Record) Claimed(l Lease, ttl TTL, now time.Time) Change {
	c := Change{State: Processing, Set: Fields{}}
	if r.State == None || r.State == Error {
		c.Set = begun(ttl, now)
	}
	c.Set[fieldState] = string(Processing)
	c.Set[fieldLeaseID] = l.ID
	c.Set[fieldLeaseExpire] = stored(l.Expires)
	if !r.NextAttempt.IsZero() {
		c.Remove = []string{fieldNextAttempt}
	}
	if r.Class == Incomplete {
		c.Remove = append(c.Remove, fieldOutcome)
	}
	return c
}

// begun returns the fields of a document first seen at now.
func begun(ttl TTL, now time.Time) Fields {
	f := Fields{fieldStartTime: stored(now), fieldAttempts: int64(0), fieldError: nil}
	if at, ok := ttl.ExpireAt(now); ok {
		f[fieldExpireAt] = stored(at)
	}
	return f
}

// Sent is what a server made of a mail it accepted for at least one recipient.
type Sent struct {
	MessageID  string
	Recipients []Recipient // in the order of the envelope
	Response   string      // the final reply, code and all lines included
}

// Delivered returns the change that ends an attempt whose mail was accepted.
func (r Record) Delivered(s Sent, now time.Time) Change {
	c := r.ended(Success, s.Recipients, now)
	c.Set[fieldError] = nil
	c.Set[fieldInfo] = info(s)
	c.Set[fieldOutcome] = Fields{"class": string(Delivered), "phase": string(PhaseMessage), "code": replyCode(s.Response)}
	return c
}

// Failed returns the change that ends an attempt in f. The recipients are
// those a server spoke about, if it came to that.
func (r Record) Failed(f *Failure, recipients []Recipient, now time.Time) Change {
	c := r.ended(Error, recipients, now)
	c.Set[fieldError] = f.Message
	c.Set[fieldOutcome] = outcome(f)
	return c
}

// ended returns what every attempt's end has in common. An operator who wrote
// RETRY or PENDING while the mail was being sent is obeyed: that state stays.
// The lease's ID stays too: with the counted attempt it tells a worker whose
// write was never answered that it was applied.
func (r Record) ended(s State, recipients []Recipient, now time.Time) Change {
	c := Change{
		State: s,
		Set: Fields{
			fieldState:       string(s),
			fieldAttempts:    r.Attempts + 1,
			fieldEndTime:     stored(now),
			fieldLeaseExpire: nil,
		},
	}
	if r.State == Retry || r.State == Pending {
		c.State = r.State
		delete(c.Set, fieldState)
	}
	if len(recipients) > 0 {
		c.Set[fieldRecipients] = recipientFields(recipients, r.Attempts+1)
	} else {
		c.Remove = append(c.Remove, fieldRecipients)
	}
	return c
}

// Released returns the change by which a worker that must stop hands back a
// mail it has not sent: not counted as an attempt, and due at once.
func (r Record) Released() Change {
	c := Change{
		State: Pending,
		Set:   Fields{fieldState: string(Pending), fieldLeaseExpire: nil},
	}
	if r.State == Retry {
		c.State = Retry
		delete(c.Set, fieldState)
	}
	return c
}

// Expired returns the change that records a lapsed lease. Like the extension it
// leaves the attempts and the lease itself as they are.
func (r Record) Expired() Change {
	f := &Failure{Class: Unknown, Phase: PhaseLease, Message: LeaseExpired, Explain: "the worker that had claimed this document ended, " +
		"or lost Firestore, before it could record what became of the mail, which may or may not have been sent; " +
		"ask the mail server's log, then set delivery.state to RETRY to send it again"}
	return Change{
		State:  Error,
		Set:    Fields{fieldState: string(Error), fieldError: f.Message, fieldOutcome: outcome(f)},
		Remove: []string{fieldLeaseID},
	}
}

// Refused returns the change for a document that can't be sent as it is: one
// with nothing to send yet, or whose delivery field has no state. It is no
// attempt. A departure from the extension, which says nothing.
func (r Record) Refused(ttl TTL, now time.Time) Change {
	if r.Malformed {
		return r.refused(malformed(), ttl, now)
	}
	return r.refused(incomplete(), ttl, now)
}

// TooLarge returns the change for a document of size bytes, above [MaxSize],
// which must not be sent: what happened could not be recorded. It is no attempt.
func (r Record) TooLarge(size int, ttl TTL, now time.Time) Change {
	return r.refused(tooLarge(size), ttl, now)
}

func (r Record) refused(f *Failure, ttl TTL, now time.Time) Change {
	c := Change{State: Error, Set: Fields{}}
	if r.State == None && !r.Malformed {
		c.Set = begun(ttl, now)
	}
	c.Set[fieldState] = string(Error)
	c.Set[fieldError] = f.Message
	c.Set[fieldOutcome] = outcome(f)
	return c
}

// Terse returns the change without the fields that may be long, for a document
// that has no room for them: what happened stays, the lists and replies go.
func (c Change) Terse() Change {
	t := Change{Set: clone(c.Set), State: c.State, Remove: slices.Clone(c.Remove)}
	for _, name := range []string{fieldRecipients, fieldInfo, fieldOutcome} {
		if _, ok := t.Set[name]; ok {
			delete(t.Set, name)
			t.Remove = append(t.Remove, name)
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
	out, record := clone(doc), Fields{}
	if f, ok := doc["delivery"].(Fields); ok {
		record = clone(f)
	}
	for name, value := range c.Set {
		record[name] = value
	}
	for _, name := range c.Remove {
		delete(record, name)
	}
	out["delivery"] = record
	return out
}

// Paths returns the names of all fields under delivery that the change sets or
// removes, sorted: the update mask of its write.
func (c Change) Paths() []string {
	paths := slices.Clone(c.Remove)
	for name := range c.Set {
		paths = append(paths, name)
	}
	slices.Sort(paths)
	return paths
}

func clone(f Fields) Fields {
	out := make(Fields, len(f)+1)
	for name, value := range f {
		out[name] = value
	}
	return out
}

// stored returns t as Firestore keeps it: UTC, in microseconds.
func stored(t time.Time) time.Time { return t.UTC().Truncate(time.Microsecond) }
