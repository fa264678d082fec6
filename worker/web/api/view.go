package api

import (
	"cmp"
	"strconv"
	"time"

	"postrider/delivery"
)

// stage is how far a mail or an operation has come.
type stage int

const (
	waiting stage = iota
	running
	succeeded
	failed
)

// view is what every dialect renders: a mail, or a bulk retry, at one moment.
type view struct {
	id       string
	stage    stage
	created  time.Time // when it was added
	started  time.Time // zero if nothing was begun
	last     time.Time // when it last changed
	ended    time.Time // zero if it has not
	percent  int       // settled children of all; 100 once a mail has ended
	children []child   // recipients of a mail, documents of a bulk retry
	attempts int64     // that have ended; 0 for a bulk retry
	fault    *fault    // why it failed; nil if it did not

	retry time.Duration // when asking again makes sense; 0 once it has ended
	about string        // operationType
}

// child is a part of what a view shows.
type child struct {
	name  string
	stage stage
	fault *fault // nil unless it has failed
}

// fault is why something failed.
type fault struct{ code, message string } // neither is empty: clients drop a fault that lacks one

// Codes of faults.
const (
	codeDropped  = "EmailDropped"
	codeRejected = "RecipientRejected" // 5xx
	codeDeferred = "RecipientDeferred" // 4xx, and nothing tries again
	codeUnsure   = "RecipientUnknown"  // the reply never came
	codeBroken   = "OperationFailed"   // a bulk retry that does not say why
)

// final reports whether the view stays as it is.
func (v view) final() bool { return v.stage == succeeded || v.stage == failed }

// viewOf returns the view of a mail document at now. A document that is new, or
// waits, is asked about again when it is due, or at the queue's pace.
func (a *API) viewOf(s delivery.Snapshot, added, now time.Time) view {
	p := delivery.ReadProgress(s.Fields)
	v := view{
		id: s.ID, about: "sendMail", created: added, started: p.Start, last: s.UpdateTime, attempts: p.Attempts,
	}
	v.stage, v.ended = stageOf(p, a.Policy, now)
	for _, r := range p.Recipients {
		v.children = append(v.children, childOf(r, v.final()))
	}
	v.percent = percent(v)
	switch v.stage {
	case failed:
		v.fault = &fault{codeDropped, cmp.Or(p.Outcome.Message, "the mail was not sent")}
		if p.State == delivery.Processing {
			v.fault.message = delivery.LeaseExpired
		}
	case running:
		v.retry = patience(p.Lease.Expires.Sub(now), a.Lease)
	case waiting:
		v.retry = max(a.Pace(), time.Second)
		if p.State == delivery.Pending && p.NextAttempt.After(now) {
			v.retry = p.NextAttempt.Sub(now)
		}
	}
	return v
}

// stageOf returns how far a mail has come, and when it ended. States of somebody
// else's are left alone, so the mail waits, as it does where policy has it tried
// again though its worker died.
func stageOf(p delivery.Progress, policy delivery.Policy, now time.Time) (s stage, ended time.Time) {
	switch {
	case p.State == delivery.Success:
		return succeeded, p.End
	case p.State == delivery.Error:
		return failed, p.End
	case p.Lapsed(now) && p.Outlives(policy):
		return waiting, time.Time{}
	case p.Lapsed(now):
		return failed, p.Lease.Expires
	case p.State == delivery.Processing:
		return running, time.Time{}
	}
	return waiting, time.Time{}
}

// childOf returns what has become of a recipient. Once the mail has come to its
// end, nobody tries again who was put off.
func childOf(r delivery.Recipient, final bool) child {
	c := child{name: r.Address, stage: failed}
	said := r.Reply
	if said == "" && r.Code > 0 {
		said = strconv.Itoa(r.Code)
	}
	switch {
	case r.Status == delivery.Accepted:
		c.stage = succeeded
	case r.Status == delivery.Rejected:
		c.fault = &fault{codeRejected, cmp.Or(said, "the mail server refused this recipient")}
	case r.Status == delivery.Unsure:
		c.fault = &fault{codeUnsure, "whether the mail reached this recipient is not known"}
	case final:
		c.fault = &fault{codeDeferred, cmp.Or(said, "the mail server put this recipient off, and nothing tries again")}
	default:
		c.stage = running
	}
	return c
}

// percent returns how many of the children are settled, in percent.
func percent(v view) int {
	if v.final() {
		return 100
	}
	settled := 0
	for _, c := range v.children {
		if c.stage == succeeded || c.stage == failed {
			settled++
		}
	}
	return 100 * settled / max(1, len(v.children))
}

// patience returns when to ask again about a mail that is being sent, of whose
// lease rest is left: most are sent within a second, so who asks waits as long
// again as the attempt has gone on, and never beyond the lease's end.
func patience(rest, lease time.Duration) time.Duration {
	return min(max(lease-rest, time.Second), rest)
}
