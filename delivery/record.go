package delivery

import "time"

// State is delivery.state, in its stored spelling.
type State string

// The states of the extension. The zero State is a document without a record.
const (
	None       State = ""
	Pending    State = "PENDING"
	Processing State = "PROCESSING"
	Success    State = "SUCCESS"
	Error      State = "ERROR"
	Retry      State = "RETRY"
)

// Final reports whether a document in state s stays as it is until an operator
// moves it, incomplete ones aside.
func (s State) Final() bool { return s == Success || s == Error }

// Record is a document's delivery field, as far as decisions need it. The zero
// Record belongs to a new document.
type Record struct {
	State       State
	Attempts    int64     // attempts that have ended
	NextAttempt time.Time // when a waiting document is due; zero means now
	Lease       Lease     // of the claim while Processing
	Class       Class     // of the last outcome
	Error       string    // delivery.error; "" for null
	Start       time.Time // when the document was first seen
	Series      Series    // of attempts that has not come to its end
	Recent      Window    // attempts of late; zero if there were few

	// RetryOperation is the ID of the operation that last had the mail sent again
	// (see [Record.Retried]); empty if none has.
	RetryOperation string

	reached    []any     // delivery.reached
	reachedAt  time.Time // delivery.reachedTime
	recipients []any     // delivery.recipients
	messageID  string    // delivery.info.messageId
	response   string    // delivery.info.response

	// Malformed says that there is a delivery field with no state in it: not a
	// map, or a map whose state is missing or not a string. The extension
	// leaves such a document untouched for ever.
	Malformed bool
}

// Lease is the right to work a document until it expires.
type Lease struct {
	ID      string    // which claim this is: the fence where update times can't tell
	Expires time.Time // UTC; zero if there is none
	Phase   Reach
}

// Reach is how far the attempt under a lease has come, where that is written
// down: it says what became of a mail whose worker died.
type Reach string

// The zero Reach tells nothing: under [Policy] without RetryLapsed none is kept.
const (
	ReachClaimed Reach = "claimed" // nothing was sent
	ReachSending Reach = "sending" // a connection was in hand: anything may have been sent
)

// Names of the fields under delivery.
const (
	fieldState       = "state"
	fieldStartTime   = "startTime"
	fieldEndTime     = "endTime"
	fieldAttempts    = "attempts"
	fieldError       = "error"
	fieldLeaseExpire = "leaseExpireTime"
	fieldExpireAt    = "expireAt"
	fieldInfo        = "info"
	fieldLeaseID     = "leaseId"
	fieldNextAttempt = "nextAttemptTime"
	fieldRecipients  = "recipients"
	fieldOutcome     = "outcome"
	fieldLeasePhase  = "leasePhase"
	fieldRetry       = "retry"
	fieldRecent      = "recent"
	fieldReached     = "reached"
	fieldReachedTime = "reachedTime"
	fieldOperation   = "retryOperation"
)

// ReadRecord reads the record of a document. What has the wrong type counts as
// absent, as it does for the extension: attempts that aren't a number are 0. A
// delivery field that JavaScript holds for false (null, "", 0, false) is none.
func ReadRecord(doc Fields) Record {
	value := doc["delivery"]
	if !Truthy(value) {
		return Record{}
	}
	f, ok := value.(Fields)
	if !ok {
		return Record{Malformed: true}
	}
	r := Record{
		State:       State(text(f[fieldState])),
		Attempts:    count(f[fieldAttempts]),
		NextAttempt: moment(f[fieldNextAttempt]),
		Lease:       Lease{ID: text(f[fieldLeaseID]), Expires: moment(f[fieldLeaseExpire]), Phase: Reach(text(f[fieldLeasePhase]))},
		Error:       text(f[fieldError]),
		Start:       moment(f[fieldStartTime]),
		Series:      readSeries(f[fieldRetry]),
		Recent:      readWindow(f[fieldRecent]),
		reachedAt:   moment(f[fieldReachedTime]),

		RetryOperation: text(f[fieldOperation]),
	}
	r.reached, _ = f[fieldReached].([]any)
	if o, ok := f[fieldOutcome].(Fields); ok {
		r.Class = Class(text(o["class"]))
	}
	if r.Series.Open() {
		r.recipients, _ = f[fieldRecipients].([]any)
		info, _ := f[fieldInfo].(Fields)
		r.messageID, r.response = text(info["messageId"]), text(info["response"])
	}
	r.Malformed = r.State == None
	return r
}

// maxAttempts is the highest number of attempts that is believed.
const maxAttempts = 1 << 31

// Truthy reports whether JavaScript, and with it the extension, takes a value
// for true: null, false, "", 0 and NaN it does not.
func Truthy(v any) bool {
	switch v := v.(type) {
	case nil:
		return false
	case bool:
		return v
	case string:
		return v != ""
	case int64:
		return v != 0
	case float64:
		return v != 0 && v == v
	}
	return true
}

func text(v any) string {
	s, _ := v.(string)
	return s
}

func number(v any) int64 {
	switch v := v.(type) {
	case int64:
		return v
	case float64:
		return int64(v)
	}
	return 0
}

// count returns a number of attempts as far as it is believed.
func count(v any) int64 { return min(number(v), maxAttempts) }

func moment(v any) time.Time {
	t, _ := v.(time.Time)
	return t
}
