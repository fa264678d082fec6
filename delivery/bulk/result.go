package bulk

import (
	"errors"
	"time"

	"postrider/delivery"
)

// Status is what has come of one document, in its stored spelling.
type Status string

// What may come of a document.
const (
	Moved   Status = "moved"   // it is in RETRY, or has been since the operation put it there
	Matched Status = "matched" // it would be, were the operation not a dry run
	Skipped Status = "skipped" // there is nothing to do about it
	Refused Status = "failed"  // it can't be sent again as it is
)

// Code says in a word why a document was not moved: one of [delivery.RefusalCode],
// or of these.
type Code = delivery.RefusalCode

// Reasons that the record alone does not tell.
const (
	NotFound       Code = "NotFound"       // there is no such document
	AttemptedSince Code = "AttemptedSince" // an attempt has ended since the operation was asked for
	Changed        Code = "Changed"        // the filter no longer matches
	NoRoom         Code = "NoRoom"         // Firestore does not take the change: the document is full
)

// Result is what has come of one document.
type Result struct {
	ID     string
	Status Status
	Code   Code // empty if it was moved, or would be
}

// Message returns the reason in a sentence, with the remedy; empty if the document
// was moved, or would be.
func (r Result) Message() string {
	switch r.Code {
	case "":
		return ""
	case NotFound:
		return "there is no document with this ID"
	case AttemptedSince:
		return "an attempt has ended since the operation was asked for; ask again to have the mail sent again"
	case Changed:
		return "the document has changed, and the filter no longer matches it"
	case NoRoom:
		return "Firestore does not take the change; the document may be too large"
	}
	return (&delivery.Refusal{Code: r.Code}).Error()
}

// failing reports whether a mail that was not moved for a reason needs somebody's
// attention: the others are on their way, or were.
func failing(c Code) bool {
	switch c {
	case delivery.RefusedInProgress, delivery.RefusedWaiting, delivery.RefusedNotAttempted, AttemptedSince, Changed:
		return false
	}
	return true
}

// Left returns the result of a document that is not moved.
func Left(id string, c Code) Result {
	if failing(c) {
		return Result{ID: id, Status: Refused, Code: c}
	}
	return Result{ID: id, Status: Skipped, Code: c}
}

// consent returns which mails are meant that somebody may get twice: those that
// were sent if the filter names their state, those of unknown fate if it names
// their class. A broad filter is about what has failed, and nobody who writes one
// has looked into the mail server's log for each mail; who names a mail may have.
func (q Request) consent() delivery.Consent {
	return delivery.Consent{
		Sent:    q.Filter.State == delivery.Success,
		Unknown: q.Filter.Class == delivery.Unknown || len(q.MessageIDs) > 0,
	}
}

// Judge decides about a document that is meant, or was when its page was written
// ahead. Where a change is to be made, change reports it, and the result is what
// has come of the document once it is made.
func (o Operation) Judge(d Document, now time.Time) (c delivery.Change, r Result, change bool) {
	record := delivery.ReadRecord(d.Fields)
	switch {
	case record.RetryOperation == o.ID:
		return c, Result{ID: d.ID, Status: Moved}, false
	case o.since(d.Fields, now):
		return c, Left(d.ID, AttemptedSince), false
	case len(o.Request.MessageIDs) == 0 && !o.Request.Filter.Matches(d):
		return c, Left(d.ID, Changed), false
	}
	c, err := record.Retried(o.ID, o.Request.consent(), now)
	if refusal, refused := errors.AsType[*delivery.Refusal](err); refused {
		return c, Left(d.ID, refusal.Code), false
	}
	if o.Request.DryRun {
		return delivery.Change{}, Result{ID: d.ID, Status: Matched}, false
	}
	return c, Result{ID: d.ID, Status: Moved}, true
}
