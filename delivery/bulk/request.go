package bulk

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	"postrider/delivery"
)

const (
	// MaxBody is how long a request's body may be that [ReadRequest] is made for,
	// in bytes.
	MaxBody = 1 << 20

	maxIDs   = 5000      // of a request
	maxID    = 1500      // bytes of one (Firestore's limit)
	maxText  = 4 << 10   // bytes of each string in a filter: it is kept in the same document
	maxNamed = 640 << 10 // bytes of all in JSON: they are kept in one document with what has come of them
)

// Request says which mails are to be sent again: those named by IDs, or those
// that a filter matches.
type Request struct {
	MessageIDs []string // none twice; nil if there is a filter
	Filter     Filter   // the zero Filter if there are IDs
	DryRun     bool     // nothing is to be changed, only counted
}

// Filter says which mails are meant. All of it must match; what is empty or zero
// matches any mail, but State, which is never empty.
type Filter struct {
	State         delivery.State
	ErrorContains string         // part of delivery.error, to the letter
	Class         delivery.Class // delivery.outcome.class, as [delivery.Record.Fate] has it
	Template      string         // the document's template.name
	From          string         // the document's from, or the address in it, in any case
	Since, Until  time.Time      // UTC; when the mail was last tried, Since included, Until not
}

// Fault is what is wrong with a request. It is an error.
type Fault struct {
	Target  string // the field, as in "filter.since"; empty for the body itself
	Message string // what is wrong with it, and what it should be
}

// Error returns the field and what is wrong with it.
func (f *Fault) Error() string {
	if f.Target == "" {
		return f.Message
	}
	return f.Target + ": " + f.Message
}

func fault(target, format string, args ...any) *Fault {
	return &Fault{Target: target, Message: fmt.Sprintf(format, args...)}
}

// ReadRequest reads a request's body, a JSON object (RFC 8259). The error is a
// [*Fault]: nothing of what was asked is ignored, as a filter that was misspelt
// would match more mails than are meant.
func ReadRequest(body []byte) (Request, error) {
	fields, err := object("", body, "messageIds", "filter", "dryRun")
	if err != nil {
		return Request{}, err
	}
	var q Request
	ids, named := fields["messageIds"]
	filter, filtered := fields["filter"]
	switch {
	case named && filtered:
		return Request{}, fault("filter", "messageIds is given, too; give one of them")
	case named:
		q.MessageIDs, err = readIDs(ids)
	case filtered:
		q.Filter, err = readFilter(filter)
	default:
		return Request{}, fault("messageIds", "must be given, or else filter, to say which mails are to be sent again")
	}
	if err != nil {
		return Request{}, err
	}
	if dry, ok := fields["dryRun"]; ok {
		if q.DryRun, ok = value(dry).(bool); !ok {
			return Request{}, fault("dryRun", "must be true or false")
		}
	}
	return q, nil
}

// object reads a JSON object that has no other members than those named.
func object(target string, text []byte, known ...string) (map[string]json.RawMessage, error) {
	decoder, members := json.NewDecoder(bytes.NewReader(text)), map[string]json.RawMessage{}
	if token, err := decoder.Token(); err != nil || token != json.Delim('{') || !json.Valid(text) {
		return nil, fault(target, "must be one JSON object with %s, and nothing after it", list(known))
	}
	for decoder.More() {
		token, _ := decoder.Token() // of valid JSON: a name, and then a value
		name, _ := token.(string)
		var member json.RawMessage
		_ = decoder.Decode(&member)
		switch _, there := members[name]; {
		case !slices.Contains(known, name):
			return nil, fault(below(target, name), "is not known; there are %s", list(known))
		case there:
			return nil, fault(below(target, name), "is given twice; give it once")
		}
		members[name] = member
	}
	return members, nil
}

func list(names []string) string { return strings.Join(names, ", ") }

// below returns the path of an object's member.
func below(target, name string) string {
	if target == "" {
		return name
	}
	return target + "." + name
}

// value returns a JSON value that is no object; nil for null and what is no JSON.
func value(text json.RawMessage) any {
	var v any
	_ = json.Unmarshal(text, &v) // a decoder has read it already
	return v
}

// readIDs reads messageIds; one that is named twice counts once.
func readIDs(text json.RawMessage) ([]string, error) {
	const target = "messageIds"
	given, ok := value(text).([]any)
	switch {
	case !ok:
		return nil, fault(target, "must be an array of document IDs")
	case len(given) == 0:
		return nil, fault(target, "must name a mail at least")
	case len(given) > maxIDs:
		return nil, fault(target, "has %d IDs, more than %d; ask for them in several requests", len(given), maxIDs)
	}
	ids, seen := make([]string, 0, len(given)), make(map[string]bool, len(given))
	for i, v := range given {
		id, ok := v.(string)
		if !ok || id == "" || len(id) > maxID {
			return nil, fault(fmt.Sprintf("%s[%d]", target, i), "must be a document's ID, a string of 1 to %d bytes", maxID)
		}
		if !seen[id] {
			seen[id] = true
			ids = append(ids, id)
		}
	}
	if n := len(encode(ids)); n > maxNamed {
		return nil, fault(target, "are %d bytes in all, more than %d; ask for them in several requests", n, maxNamed)
	}
	return ids, nil
}
