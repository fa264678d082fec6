package bulk

import (
	"bytes"
	"encoding/json"
	"reflect"
	"slices"
	"strings"
	"time"

	"postrider/delivery"
)

// Names of the fields of an operation's document. What is long is JSON in a
// string: an array would have an index entry for each of its elements.
const (
	fieldOpen     = "open" // whether it has not ended: what a query finds it by
	fieldState    = "state"
	fieldCreated  = "createdTime"
	fieldStarted  = "startTime"
	fieldLast     = "lastTime"
	fieldEnded    = "endTime"
	fieldOwner    = "leaseOwner"
	fieldExpires  = "leaseExpireTime"
	fieldRequest  = "request"
	fieldCursor   = "cursor"
	fieldPage     = "page"
	fieldTotal    = "total"
	fieldSeen     = "seen"
	fieldMatched  = "matched"
	fieldMoved    = "moved"
	fieldSkipped  = "skipped"
	fieldFailed   = "failed"
	fieldResults  = "results"
	fieldErrors   = "errors"
	fieldProblem  = "problem"
	unreadable    = "Unreadable"
	whyUnreadable = "the operation's document can't be read by this version of the program; ask for the retry again"
)

// Fields returns the operation as its document keeps it; every field is there.
func (o Operation) Fields() delivery.Fields {
	f := delivery.Fields{
		fieldOpen: !o.State.Final(), fieldState: string(o.State),
		fieldCreated: moment(o.Created), fieldStarted: moment(o.Started), fieldLast: moment(o.Last), fieldEnded: moment(o.Ended),
		fieldOwner: o.Lease.Owner, fieldExpires: moment(o.Lease.Expires),
		fieldRequest: o.raw, fieldCursor: o.Cursor, fieldPage: nil,
		fieldTotal: int64(o.Total), fieldSeen: int64(o.Counts.Seen), fieldMatched: int64(o.Counts.Matched),
		fieldMoved: int64(o.Counts.Moved), fieldSkipped: int64(o.Counts.Skipped), fieldFailed: int64(o.Counts.Refused),
		fieldResults: string(encode(o.rows(o.Results))), fieldErrors: string(encode(rows(o.Errors))), fieldProblem: nil,
	}
	if o.Page.End != "" {
		f[fieldPage] = string(encode(o.Page))
	}
	if o.Problem != nil {
		f[fieldProblem] = delivery.Fields{"code": o.Problem.Code, "message": o.Problem.Message}
	}
	return f
}

// moment returns a time as a field has it: null for the zero time.
func moment(t time.Time) any {
	if t.IsZero() {
		return nil
	}
	return t
}

// ReadOperation reads an operation's document. One that can't be read, because it
// was changed by hand or by another version of the program, has a Problem.
func ReadOperation(s delivery.Snapshot) Operation {
	f := s.Fields
	o := Operation{
		ID: s.ID, State: State(text(f[fieldState])), raw: f[fieldRequest],
		Created: at(f[fieldCreated]), Started: at(f[fieldStarted]), Last: at(f[fieldLast]), Ended: at(f[fieldEnded]),
		Lease:  Lease{Owner: text(f[fieldOwner]), Expires: at(f[fieldExpires])},
		Cursor: text(f[fieldCursor]), Total: number(f[fieldTotal]),
		Counts: Counts{
			Seen: number(f[fieldSeen]), Matched: number(f[fieldMatched]),
			Moved: number(f[fieldMoved]), Skipped: number(f[fieldSkipped]), Refused: number(f[fieldFailed]),
		},
	}
	if p, ok := f[fieldProblem].(delivery.Fields); ok {
		o.Problem = &Problem{Code: text(p["code"]), Message: text(p["message"])}
	}
	var err error
	o.Request, err = ReadRequest([]byte(text(f[fieldRequest])))
	var results, errs [][3]string
	readable := err == nil && decode(f[fieldResults], &results) && decode(f[fieldErrors], &errs) &&
		decode(f[fieldPage], &o.Page) && !strings.Contains(o.Cursor+o.Page.End, "/") && // no document is called so: a query would fail for ever
		slices.Contains([]State{NotStarted, Running, Succeeded, Failed}, o.State)
	if !readable && o.Problem == nil {
		o.Problem = &Problem{Code: unreadable, Message: whyUnreadable}
	}
	o.Results, o.Errors = o.named(unrows(results)), unrows(errs)
	return o
}

// Same reports whether two operations are kept by the same document.
func (o Operation) Same(p Operation) bool { return reflect.DeepEqual(o.Fields(), p.Fields()) }

// text returns the request as [ReadRequest] reads it.
func (q Request) text() string {
	if len(q.MessageIDs) > 0 {
		return string(encode(map[string]any{"messageIds": q.MessageIDs, "dryRun": q.DryRun}))
	}
	f := map[string]string{"state": string(q.Filter.State)}
	for name, v := range map[string]string{
		"errorContains": q.Filter.ErrorContains, "class": string(q.Filter.Class), "template": q.Filter.Template, "from": q.Filter.From,
	} {
		if v != "" {
			f[name] = v
		}
	}
	for name, t := range map[string]time.Time{"since": q.Filter.Since, "until": q.Filter.Until} {
		if !t.IsZero() {
			f[name] = t.Format(time.RFC3339Nano)
		}
	}
	return string(encode(map[string]any{"filter": f, "dryRun": q.DryRun}))
}

// row returns a result as it is kept. The results of a request that names IDs are
// in the order of these, which need not be kept twice.
func (o Operation) row(r Result) [3]string {
	if len(o.Request.MessageIDs) > 0 {
		r.ID = ""
	}
	return [3]string{r.ID, string(r.Status), string(r.Code)}
}

func (o Operation) rows(results []Result) [][3]string {
	list := make([][3]string, len(results))
	for i, r := range results {
		list[i] = o.row(r)
	}
	return list
}

func rows(results []Result) [][3]string { return Operation{}.rows(results) }

func unrows(list [][3]string) []Result {
	results := make([]Result, len(list))
	for i, row := range list {
		results[i] = Result{ID: row[0], Status: Status(row[1]), Code: Code(row[2])}
	}
	return results
}

// named gives results the IDs of the request.
func (o Operation) named(results []Result) []Result {
	for i, id := range o.Request.MessageIDs[:min(len(o.Request.MessageIDs), len(results))] {
		results[i].ID = id
	}
	return results
}

// encode returns v as JSON, in which nothing is escaped that need not be.
func encode(v any) []byte {
	var b bytes.Buffer
	encoder := json.NewEncoder(&b)
	encoder.SetEscapeHTML(false)
	_ = encoder.Encode(v) // strings, whole numbers and booleans can be
	return bytes.TrimSuffix(b.Bytes(), []byte("\n"))
}

// decode reads JSON from a field; what is null, or not there, is left as it is.
func decode(field, into any) bool {
	if field == nil {
		return true
	}
	s, ok := field.(string)
	return ok && json.Unmarshal([]byte(s), into) == nil
}

func text(v any) string {
	s, _ := v.(string)
	return s
}

func number(v any) int {
	n, _ := v.(int64)
	return int(n)
}

func at(v any) time.Time {
	t, _ := v.(time.Time)
	return t
}
