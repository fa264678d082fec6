package delivery

import "time"

// Action is what may be done with a document.
type Action int

const (
	Ignore Action = iota // nothing: final, or not ours to touch
	Claim                // claim it and send it
	Wait                 // nothing yet: not due, or another's lease runs
	Expire               // its lease has lapsed: record that, don't send
	Refuse               // it can't be sent as it is: record why
)

// String returns the action's name, for logs and tests.
func (a Action) String() string {
	return [...]string{"ignore", "claim", "wait", "expire", "refuse"}[a]
}

// Decide reports what a worker may do at now with a document whose record is r.
// Complete says whether the document has something to send (see [Complete]).
//
// Before its lease ends nobody touches a claimed document; at that very tick it
// has lapsed. A lapsed mail may have been sent, so it is not claimed; see
// [Record.Expired].
func Decide(r Record, complete bool, now time.Time) Action {
	if r.Malformed {
		return Refuse
	}
	switch r.State {
	case None, Retry:
		return claimOrRefuse(complete)
	case Pending:
		if now.Before(r.NextAttempt) {
			return Wait
		}
		return claimOrRefuse(complete)
	case Processing:
		if now.Before(r.Lease.Expires) {
			return Wait
		}
		return Expire
	case Error:
		if r.Class == Incomplete && complete {
			return Claim
		}
		return Ignore
	default: // Success, and what a newer version may have written
		return Ignore
	}
}

func claimOrRefuse(complete bool) Action {
	if complete {
		return Claim
	}
	return Refuse
}
