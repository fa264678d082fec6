package delivery

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"
)

// Attempt is how one attempt has ended.
type Attempt struct {
	Failure    *Failure    // nil if the mail was accepted for at least one recipient
	Envelope   []string    // those it was owed to
	Recipients []Recipient // what was said about them, in the envelope's order; none if it did not come to that
	MessageID  string      // empty if there was no message
	Response   string      // the final reply, code and all lines included; empty if none came
}

// Ended returns the change that ends an attempt. The mail has come to its end,
// or waits for the next attempt: where p allows another, one is made of what may
// work later, and to those only who are still owed the mail. Fraction is random,
// in [0,1).
//
// An operator who wrote RETRY or PENDING meanwhile is obeyed: that state stays,
// with all attempts before it. The lease's ID stays too: with the counted attempt
// it tells a worker whose write was never answered that it was applied.
func (r Record) Ended(a Attempt, p Policy, fraction float64, now time.Time) Change {
	e := end{record: r, attempt: a, policy: p, all: r.merged(a), series: r.series(now)}
	e.series.Attempts++
	e.count()
	wish := r.State == Retry || r.State == Pending
	var next time.Time
	switch {
	case !e.owed() || r.cancelled():
	case wish:
		e.again = p.MaxAttempts > 1
		e.series = Series{Since: now, ID: e.series.ID}
	default:
		next, e.again = p.next(e.series, fraction, now)
	}
	c := e.change(now)
	if wish {
		c.State = r.State
		delete(c.Set, fieldState)
	} else if e.again {
		c.Set[fieldNextAttempt] = stored(next)
	}
	c.partial = e.again && e.accepted > 0
	if e.again {
		c.Set[fieldRetry] = e.series.stored()
	} else {
		c.drop(fieldRetry, r.Series.Open())
	}
	return c
}

// cancelled reports whether an operator has ended the mail while it was being
// sent.
func (r Record) cancelled() bool { return r.State.Final() && r.Class != Incomplete }

// end is the end of an attempt, and what its series has come to.
type end struct {
	record   Record
	attempt  Attempt
	policy   Policy
	all      []Recipient
	accepted int // of all
	pending  int // of those the attempt was for
	series   Series
	again    bool
}

func (e *end) count() {
	for _, r := range e.all {
		if r.Status == Accepted {
			e.accepted++
		}
	}
	for _, r := range e.attempt.Recipients {
		if r.Status == Deferred {
			e.pending++
		}
	}
}

// owed reports whether another attempt may reach somebody.
func (e *end) owed() bool {
	if f := e.attempt.Failure; f != nil {
		return f.Class == Transient
	}
	return e.pending > 0
}

// state returns what the mail has come to: whom it has reached counts for more
// than how the last attempt ended, but for one of unknown fate.
func (e *end) state() State {
	f := e.attempt.Failure
	switch {
	case e.again:
		return Pending
	case f != nil && (f.Class == Unknown || e.accepted == 0):
		return Error
	default:
		return Success
	}
}

func (e *end) change(now time.Time) Change {
	state, failure := e.state(), e.failure()
	c := Change{State: state, Set: Fields{
		fieldState:       string(state),
		fieldAttempts:    e.record.Attempts + 1,
		fieldEndTime:     stored(now),
		fieldLeaseExpire: nil,
		fieldError:       nil,
		fieldOutcome:     outcome(failure),
	}}
	if state != Success {
		c.Set[fieldError] = failure.Message
	}
	c.drop(fieldLeasePhase, e.record.Lease.Phase != "")
	if len(e.all) > 0 {
		c.Set[fieldRecipients] = recipientFields(e.all)
	} else {
		c.Remove = append(c.Remove, fieldRecipients)
	}
	if e.accepted > 0 || e.attempt.Failure == nil {
		c.Set[fieldInfo] = info(cmp.Or(e.attempt.MessageID, e.record.messageID), cmp.Or(e.attempt.Response, e.record.response), e.all)
	}
	if p := e.policy.PerDocument; p.Limited() && (e.record.Attempts > 0 || e.record.Start.IsZero()) {
		w := e.record.window(p.Per, now)
		c.Set[fieldRecent] = Fields{"since": stored(w.Since), "attempts": w.Attempts + 1}
	}
	if reached := e.reached(now); len(reached) > 0 {
		c.Set[fieldReached], c.Set[fieldReachedTime] = reached, stored(now)
	}
	return c
}

// reached returns the addresses that have got the mail within the time of
// Policy.PerRecipient, or may have: what that is counted by. None means that this
// attempt has reached nobody, or that there is no limit.
func (e *end) reached(now time.Time) []any {
	limit := e.policy.PerRecipient
	if !limit.Limited() {
		return nil
	}
	var list []any
	for _, r := range e.attempt.Recipients {
		if r.Status == Unsure || r.Status == Accepted && e.attempt.Failure == nil {
			list = append(list, strings.ToLower(r.Address))
		}
	}
	if len(list) == 0 || now.Sub(e.record.reachedAt) >= limit.Per {
		return list
	}
	for _, earlier := range e.record.reached {
		if !slices.Contains(list, earlier) {
			list = append(list, earlier)
		}
	}
	return list
}

// failure returns what delivery.outcome says: the attempt's failure, or that the
// mail was delivered, and to whom it was not.
func (e *end) failure() *Failure {
	f := &Failure{Class: Delivered, Phase: PhaseMessage, Code: int(replyCode(e.attempt.Response))}
	if e.attempt.Failure != nil {
		copied := *e.attempt.Failure
		f = &copied
	}
	if e.again {
		return e.waiting(f)
	}
	missed := len(e.all) - e.accepted
	partial := missed > 0 && e.accepted > 0
	if partial && f.Message != "" && e.state() == Success {
		f.Class, f.Explain = Delivered, f.Message
	}
	if e.owed() && e.series.Attempts > 1 && !e.record.cancelled() {
		f.explain("given up after " + e.givenUp())
	}
	switch {
	case partial:
		f.explain(fmt.Sprintf("recipients who have not got the mail: %d of %d, see delivery.recipients; RETRY would send it to all again, "+
			"to reach only them add a document for them", missed, len(e.all)))
	case f.Phase.server() && (f.Class == Transient || f.Class == Permanent):
		f.explain("then set delivery.state to RETRY")
	}
	return f
}

// givenUp says what has ended a series.
func (e *end) givenUp() string {
	if e.series.Attempts >= int64(e.policy.MaxAttempts) {
		return fmt.Sprintf("%d attempts (MAX_ATTEMPTS)", e.series.Attempts)
	}
	return fmt.Sprintf("%d attempts, as the next would be later than %s after the first (RETRY_MAX_AGE)", e.series.Attempts, e.policy.MaxAge)
}

// waiting makes of a failure one that is tried again.
func (e *end) waiting(f *Failure) *Failure {
	if f.Class == Delivered {
		f.Class, f.Phase = Transient, PhaseRcpt
		f.explain("the mail is delivered to the others; those who are deferred, see delivery.recipients, are still owed it")
		for _, r := range e.attempt.Recipients {
			if r.Status == Deferred {
				f.Code, f.EnhancedCode = r.Code, r.EnhancedCode
				f.Message = fmt.Sprintf("Error: %d of %d recipients are deferred: %s", e.pending, len(e.all), r.Reply)
				break
			}
		}
	}
	if e.series.Attempts == 0 {
		f.explain("the mail is tried again at once, as was asked for while it was being sent")
		return f
	}
	f.explain(fmt.Sprintf("the mail is tried again by itself at delivery.nextAttemptTime, as attempt %d of %d, RETRY does it at once",
		e.series.Attempts+1, e.policy.MaxAttempts))
	return f
}

// explain adds a clause to what the failure says of itself.
func (f *Failure) explain(clause string) {
	if f.Explain != "" {
		f.Explain += "; "
	}
	f.Explain += clause
}
