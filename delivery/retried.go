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
	RefusedUnknownFate  RefusalCode = "UnknownFate"    // it may have been sent, and who asks did not say that such mails are meant
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
	case RefusedUnknownFate:
		return "whether the mail was sent is not known; look into the mail server's log, and only if it has not taken the mail " +
			"name it in messageIds, or the class unknown, to send it again"
	case RefusedMalformed:
		return "the document's delivery field has no state; remove the field, or set delivery.state to PENDING"
	}
	return "the document's state is not one that this version knows"
}

// Consent says which mails are meant that somebody may get twice. The zero Consent
// means none of them.
type Consent struct {
	Sent    bool // those that were sent
	Unknown bool // those that may have been
}

// Retried returns the change by which an operator has the mail sent again, as
// part of the operation with an ID: RETRY, as if it were written by hand, and the
// operation's ID, by which one that goes on after a crash knows what it has done.
// What RETRY does to the rest of the record is done when the mail is claimed.
//
// May be sent again: what has failed, what waits for its next attempt, and what
// is claimed under a lease that has lapsed at now; what somebody may have got
// already only with consent. The error is a [*Refusal].
func (r Record) Retried(operation string, c Consent, now time.Time) (Change, error) {
	if code := r.refusesRetry(c, now); code != "" {
		return Change{}, &Refusal{Code: code}
	}
	return Change{State: Retry, Set: Fields{fieldState: string(Retry), fieldOperation: operation}}, nil
}

func (r Record) refusesRetry(c Consent, now time.Time) RefusalCode {
	switch {
	case r.Malformed:
		return RefusedMalformed
	case r.State == None:
		return RefusedNotAttempted
	case r.State == Retry:
		return RefusedWaiting
	case r.State == Success && !c.Sent:
		return RefusedSent
	case r.State == Success, r.State == Pending:
		return ""
	case r.State != Processing && r.State != Error:
		return RefusedUnknownState
	case r.State == Processing && now.Before(r.Lease.Expires):
		return RefusedInProgress
	case r.Fate() == Unknown && !c.Unknown:
		return RefusedUnknownFate
	}
	return ""
}

// Fate returns the class of the last outcome. Of a claim that nobody has ended it
// is Unknown, unless nothing was sent under it; and so it is of one that has lapsed
// in the extension, which writes no class.
func (r Record) Fate() Class {
	claimed := r.State == Processing && r.Lease.Phase != ReachClaimed
	if claimed || r.State == Error && r.Class == "" && r.Error == LeaseExpired {
		return Unknown
	}
	return r.Class
}
