package delivery

import "errors"

// What a store of mail documents says when a conditional write is not applied.
var (
	// ErrConflict: the document has changed since it was read. Somebody else
	// has it, or will be told of the change.
	ErrConflict = errors.New("document has changed since it was read")

	// ErrLeaseLost: the record belongs to another claim by now.
	ErrLeaseLost = errors.New("lease was lost to another claim")

	// ErrRefused: the document can't hold what was to be written, as one that is
	// full already can't.
	ErrRefused = errors.New("document can't hold the change")

	// ErrGone: the document has been deleted.
	ErrGone = errors.New("document has been deleted")
)

// What a worker says to who hands it a document.
var (
	// ErrFull: it has no hand free; later it will.
	ErrFull = errors.New("as many documents are in hand as may be")

	// ErrElsewhere: another instance has claimed the document, and may yet fail.
	ErrElsewhere = errors.New("document is claimed by another instance")

	// ErrUnavailable: the mail server can't be used; later it will.
	ErrUnavailable = errors.New("the mail server can't be used")

	// ErrStopping: it takes no more documents.
	ErrStopping = errors.New("the worker is stopping")
)

// Applied reports whether the end of the attempt that claimed before is already
// in the record now: a write that was never answered may have been applied. It
// has counted the attempt and ended the lease, but not forgotten its ID.
func Applied(claimed, now Record) bool {
	return now.Lease.ID == claimed.Lease.ID && now.Attempts > claimed.Attempts && now.Lease.Expires.IsZero()
}
