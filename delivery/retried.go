package delivery

import "time"

// RefusalCode says in a word why a mail is not to be sent again.
type RefusalCode string

// What [Record.Retried] refuses.
const (
	RefusedInProgress   RefusalCode = "InProgress"     // it is being sent
	RefusedWaiting      RefusalCode = "AlreadyWaiting" // it is in RETRY
	RefusedNotAttempted RefusalCode = "NotAttempted"   // it is about to be sent for the first time
	RefusedSent         RefusalCode = "AlreadySent"    // it was sent, and who asks did not say that such mails are meant
	RefusedMalformed    RefusalCode = "Malformed"      // its delivery field has no state
	RefusedUnknownState RefusalCode = "UnknownState"   // its state is of a newer version of the program
)

// Refusal is why a mail is not to be sent again as things are. It is an error.
type Refusal struct {
	Code RefusalCode
}

// Error returns the reason and the remedy.
func (r *Refusal) Error() string {
	switch r.Code {
	case RefusedInProgress:
		return "the mail is being sent; wait for how the attempt ends"
	case RefusedWaiting:
		return "the mail is in RETRY already and about to be sent"
	case RefusedNotAttempted:
		return "the mail has not been tried yet and is about to be sent"
	case RefusedSent:
		return "the mail was sent; to send it to everybody again name the state SUCCESS, or set delivery.state to RETRY"
	case RefusedMalformed:
		return "the document's delivery field has no state; remove the field, or set delivery.state to PENDING"
	}
	return "the document's state is not one that this version knows"
}

// Retried returns the change by which an operator has the mail sent again, as
// part of the operation with an ID: RETRY, as if it were written by hand, and the
// operation's ID, by which one that goes on after a crash knows what it has done.
// What RETRY does to the rest of the record is done when the mail is claimed.
//
// May be sent again: what has failed, what waits for its next attempt, and what
// is claimed under a lease that has lapsed at now; what was sent only if sent says
// that such mails are meant. The error is a [*Refusal].
func (r Record) Retried(operation string, sent bool, now time.Time) (Change, error) {
	if code := r.refusesRetry(sent, now); code != "" {
		return Change{}, &Refusal{Code: code}
	}
	return Change{State: Retry, Set: Fields{fieldState: string(Retry), fieldOperation: operation}}, nil
}

func (r Record) refusesRetry(sent bool, now time.Time) RefusalCode {
	switch {
	case r.Malformed:
		return RefusedMalformed
	case r.State == Error, r.State == Pending:
		return ""
	case r.State == None:
		return RefusedNotAttempted
	case r.State == Retry:
		return RefusedWaiting
	case r.State == Success && !sent:
		return RefusedSent
	case r.State == Success:
		return ""
	case r.State != Processing:
		return RefusedUnknownState
	case now.Before(r.Lease.Expires):
		return RefusedInProgress
	}
	return ""
}
