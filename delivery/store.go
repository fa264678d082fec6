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

// Applied reports whether the end of the attempt that claimed before is already
// in the record now: a write that was never answered may have been applied. It
// has counted the attempt and ended the lease, but not forgotten its ID.
func Applied(claimed, now Record) bool {
	return now.Lease.ID == claimed.Lease.ID && now.Attempts > claimed.Attempts && now.Lease.Expires.IsZero()
}
