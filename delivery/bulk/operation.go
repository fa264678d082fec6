package bulk

import (
	"regexp"
	"slices"
	"time"

	"postrider/delivery"
)

// State is how far an operation has come, in its stored spelling.
type State string

// The states of an operation. An operation has failed only if it could not be
// worked: what has come of the documents is in its results.
const (
	NotStarted State = "notStarted"
	Running    State = "running"
	Succeeded  State = "succeeded"
	Failed     State = "failed"
)

// Final reports whether an operation has come to its end.
func (s State) Final() bool { return s == Succeeded || s == Failed }

// LeaseTime is how long an instance has an operation, from the last time it wrote.
const LeaseTime = time.Minute

const (
	renewAfter = 20 * time.Second // of a lease it is worth a write

	maxResults     = 5000      // of an operation
	maxResultBytes = 512 << 10 // of them in JSON
	maxErrors      = 10
)

// Operation is a bulk retry as its document keeps it. Times are UTC, by
// Firestore's clock; those of what has not happened are zero.
type Operation struct {
	ID      string
	Request Request
	State   State
	Created time.Time
	Started time.Time
	Last    time.Time // when something was last done about it; never zero
	Ended   time.Time
	Lease   Lease
	Cursor  string // ID of the last document that a filter was compared with
	Page    Page   // of a filter, written ahead; the zero Page if there is none

	// Total is how many documents are to be looked at, 0 while it is not known. Of
	// a filter it is those that were in its state in the beginning: an estimate.
	Total  int
	Counts Counts

	Results []Result // what has come of the first documents that are meant, up to 5,000 or 512 KiB
	Errors  []Result // the first that were refused, up to 10
	Problem *Problem // why the operation has failed; nil if it has not

	raw any // the request as it is stored
}

// Lease is the right of an instance to work an operation until it expires.
type Lease struct {
	Owner   string // unique for each time that the operation was taken; empty if nobody has it
	Expires time.Time
}

// Page is a part of the documents that a filter is compared with.
type Page struct {
	IDs  []string `json:"ids"`  // those that it matches
	Seen int      `json:"seen"` // how many were compared
	End  string   `json:"end"`  // the ID of the last of them; empty if IDs are those of a request
}

// Counts say how many documents were looked at, how many of them are meant, and
// what has come of those.
type Counts struct {
	Seen, Matched, Moved, Skipped, Refused int
}

// Problem is why an operation has failed.
type Problem struct {
	Code, Message string
}

// operationID is what the ID of an operation looks like.
var operationID = regexp.MustCompile(`^__retry-([a-z0-9]{20})__$`)

// OperationID returns the name by which the API knows the operation with an ID:
// one that no document can have (Firestore reserves __.*__).
func OperationID(id string) string { return "__retry-" + id + "__" }

// ParseOperationID returns the ID in an operation's name; false if it is none.
func ParseOperationID(name string) (id string, ok bool) {
	m := operationID.FindStringSubmatch(name)
	if m == nil {
		return "", false
	}
	return m[1], true
}

// New returns the operation that was asked for at now; its ID is of 20 lower-case
// letters and digits.
func New(id string, q Request, now time.Time) Operation {
	o := Operation{ID: id, Request: q, State: NotStarted, Created: stored(now), Last: stored(now), Total: len(q.MessageIDs)}
	o.raw = q.text()
	return o
}

// Percent returns how much of the operation is done, 100 only once it has ended
// well.
func (o Operation) Percent() int {
	switch {
	case o.State == Succeeded:
		return 100
	case o.Total <= 0:
		return 0
	}
	return min(99, 100*max(0, min(o.Counts.Seen, o.Total))/o.Total)
}

// Claimable reports whether an instance may take the operation at now.
func (o Operation) Claimable(now time.Time) bool {
	return !o.State.Final() && !now.Before(o.Lease.Expires)
}

// Claimed returns the operation as it is when it is taken. Nobody else may have
// been the same owner.
func (o Operation) Claimed(owner string, now time.Time) Operation {
	if o.Started.IsZero() {
		o.Started = stored(now)
	}
	o.State, o.Lease.Owner = Running, owner
	return o.Renewed(now)
}

// Renewed returns the operation with its owner's lease as long as it may be.
func (o Operation) Renewed(now time.Time) Operation {
	o.Last, o.Lease.Expires = stored(now), stored(now.Add(LeaseTime))
	return o
}

// Stale reports whether the lease is worth renewing at now.
func (o Operation) Stale(now time.Time) bool {
	return !now.Before(o.Lease.Expires.Add(renewAfter - LeaseTime))
}

// Released returns the operation as its owner leaves it for another.
func (o Operation) Released(now time.Time) Operation {
	o.Last, o.Lease = stored(now), Lease{}
	return o
}

// Estimated returns the operation with how many documents a filter is to be
// compared with.
func (o Operation) Estimated(total int) Operation {
	o.Total = total
	return o
}

// Named returns the next IDs of a request that has some, up to n; none if all are
// done.
func (o Operation) Named(n int) []string {
	ids := o.Request.MessageIDs[min(max(0, o.Counts.Seen), len(o.Request.MessageIDs)):]
	return ids[:min(n, len(ids))]
}

// Ahead returns the operation with a page written ahead, whose documents are then
// changed.
func (o Operation) Ahead(p Page, now time.Time) Operation {
	o.Page = p
	return o.Renewed(now)
}

// After returns the operation once a page is done.
func (o Operation) After(p Page, results []Result, now time.Time) Operation {
	whole := len(o.Results) == o.Counts.Matched // none was left out so far
	o.Counts.Seen += p.Seen
	if p.End != "" {
		o.Cursor = p.End
	}
	o.Page = Page{}
	o.Results, o.Errors = slices.Clone(o.Results), slices.Clone(o.Errors)
	room := maxResultBytes - len(encode(o.rows(o.Results)))
	for _, r := range results {
		o.Counts.count(r.Status)
		if r.Status == Refused && len(o.Errors) < maxErrors {
			o.Errors = append(o.Errors, r)
		}
		room -= len(encode(o.row(r))) + len(",")
		whole = whole && room >= 0 && len(o.Results) < maxResults
		if whole {
			o.Results = append(o.Results, r)
		}
	}
	return o.Renewed(now)
}

func (c *Counts) count(s Status) {
	c.Matched++
	switch s {
	case Moved:
		c.Moved++
	case Skipped:
		c.Skipped++
	case Refused:
		c.Refused++
	}
}

// Succeed returns the operation that has come to its end.
func (o Operation) Succeed(now time.Time) Operation { return o.ended(Succeeded, now) }

// Fail returns the operation that can't be worked.
func (o Operation) Fail(p Problem, now time.Time) Operation {
	o.Problem = &p
	return o.ended(Failed, now)
}

func (o Operation) ended(s State, now time.Time) Operation {
	o.State, o.Page, o.Lease = s, Page{}, Lease{}
	o.Last, o.Ended = stored(now), stored(now)
	return o
}

// stored returns t as Firestore keeps it: UTC, in microseconds.
func stored(t time.Time) time.Time { return t.UTC().Truncate(time.Microsecond) }

// Wants reports whether a document that a filter is compared with is meant: one
// whose attempt ended after the operation was asked for is not, however it ended.
func (o Operation) Wants(d Document, now time.Time) bool {
	return o.Request.Filter.Matches(d) && !o.since(d.Fields, now)
}

// since reports whether an attempt has ended since the operation was asked for,
// be it that its lease has lapsed: then the record has no time of its end.
func (o Operation) since(f delivery.Fields, now time.Time) bool {
	p := delivery.ReadProgress(f)
	lapsed := p.Lapsed(now) || p.State == delivery.Error && p.Error == delivery.LeaseExpired
	return p.End.After(o.Created) || lapsed && p.Lease.Expires.After(o.Created)
}
