package bulk_test

import (
	"errors"
	"fmt"
	"reflect"
	"strings"
	"testing"
	"time"

	"postrider/delivery"
	"postrider/delivery/bulk"
)

var noon = time.Date(2027, 3, 31, 12, 0, 0, 0, time.UTC)

func TestRequestsAreRead(t *testing.T) {
	cases := map[string]struct {
		body string
		want bulk.Request
	}{
		"IDs":             {`{"messageIds":["a","b/c","a","ü"]}`, bulk.Request{MessageIDs: []string{"a", "b/c", "ü"}}},
		"dry IDs":         {`{"dryRun":true,"messageIds":["a"]}`, bulk.Request{MessageIDs: []string{"a"}, DryRun: true}},
		"an empty filter": {` {"filter":{},"dryRun":false} `, bulk.Request{Filter: bulk.Filter{State: delivery.Error}}},
		"a whole filter": {
			`{"filter":{"state":"SUCCESS","errorContains":"Error: 4","class":"transient","template":"welcome","from":"a@b.test",` +
				`"since":"2027-03-31T14:00:00+02:00","until":"2027-03-31T12:00:00.000001Z"},"dryRun":true}`,
			bulk.Request{DryRun: true, Filter: bulk.Filter{
				State: delivery.Success, ErrorContains: "Error: 4", Class: delivery.Transient, Template: "welcome", From: "a@b.test",
				Since: noon, Until: noon.Add(time.Microsecond),
			}},
		},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			got, err := bulk.ReadRequest([]byte(c.body))
			if err != nil || !reflect.DeepEqual(got, c.want) {
				t.Errorf("got %+v, %v", got, err)
			}
		})
	}
}

// Whatever is wrong is named: a filter that was misspelt would match more mails
// than are meant.
func TestWrongRequestsAreRefusedByTheirField(t *testing.T) {
	many := make([]string, 5001)
	for i := range many {
		many[i] = fmt.Sprintf(`"m%d"`, i)
	}
	long := make([]string, 5000)
	for i := range long {
		long[i] = fmt.Sprintf(`"%0140d"`, i)
	}
	cases := map[string]struct{ body, target string }{
		"nothing":           {``, ""},
		"null":              {`null`, ""},
		"a list":            {`["a"]`, ""},
		"cut short":         {`{"messageIds":["a"]`, ""},
		"two objects":       {`{"messageIds":["a"]}{}`, ""},
		"a member twice":    {`{"messageIds":["a"],"dryRun":true,"dryRun":false}`, "dryRun"},
		"twice, escaped":    {`{"messageIds":["a"],"messageIds":["b"]}`, "messageIds"},
		"a filter twice":    {`{"filter":{"class":"permanent"},"filter":{}}`, "filter"},
		"a condition twice": {`{"filter":{"class":"permanent","class":"unknown"}}`, "filter.class"},
		"broken inside":     {`{"messageIds":["a",],"dryRun":true}`, ""},
		"neither":           {`{"dryRun":true}`, "messageIds"},
		"both":              {`{"messageIds":["a"],"filter":{}}`, "filter"},
		"an unknown field":  {`{"messageIds":["a"],"force":true}`, "force"},
		"another case":      {`{"messageIDs":["a"]}`, "messageIDs"},
		"no list":           {`{"messageIds":"a"}`, "messageIds"},
		"null for a list":   {`{"messageIds":null}`, "messageIds"},
		"an empty list":     {`{"messageIds":[]}`, "messageIds"},
		"too many IDs":      {`{"messageIds":[` + strings.Join(many, ",") + `]}`, "messageIds"},
		"too long in all":   {`{"messageIds":[` + strings.Join(long, ",") + `]}`, "messageIds"},
		"an empty ID":       {`{"messageIds":["a",""]}`, "messageIds[1]"},
		"a number":          {`{"messageIds":[1]}`, "messageIds[0]"},
		"a long ID":         {`{"messageIds":["` + strings.Repeat("a", 1501) + `"]}`, "messageIds[0]"},
		"dry, in words":     {`{"messageIds":["a"],"dryRun":"yes"}`, "dryRun"},
		"a filter's list":   {`{"filter":[]}`, "filter"},
		"a filter's null":   {`{"filter":null}`, "filter"},
		"a filter's typo":   {`{"filter":{"error":"x"}}`, "filter.error"},
		"an empty template": {`{"filter":{"template":""}}`, "filter.template"},
		"null for a sender": {`{"filter":{"from":null}}`, "filter.from"},
		"a list of classes": {`{"filter":{"class":["transient"]}}`, "filter.class"},
		"an unknown class":  {`{"filter":{"class":"fatal"}}`, "filter.class"},
		"an unknown state":  {`{"filter":{"state":"error"}}`, "filter.state"},
		"no state":          {`{"filter":{"state":""}}`, "filter.state"},
		"a date":            {`{"filter":{"since":"2027-03-31"}}`, "filter.since"},
		"a number of ms":    {`{"filter":{"until":1}}`, "filter.until"},
		"a long text":       {`{"filter":{"errorContains":"` + strings.Repeat("ü", 2049) + `"}}`, "filter.errorContains"},
		"until nobody set":  {`{"filter":{"until":"0001-01-01T00:00:00Z"}}`, "filter.until"},
		"since nobody set":  {`{"filter":{"since":"0001-01-01T00:00:00Z"}}`, "filter.since"},
		"a year too many":   {`{"filter":{"until":"9999-12-31T23:59:59-01:00"}}`, "filter.until"},
		"no time between":   {`{"filter":{"since":"2027-03-31T12:00:00Z","until":"2027-03-31T12:00:00Z"}}`, "filter.until"},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			q, err := bulk.ReadRequest([]byte(c.body))
			fault, ok := errors.AsType[*bulk.Fault](err)
			if !ok || fault.Target != c.target || fault.Message == "" || !strings.HasPrefix(err.Error(), c.target) {
				t.Errorf("got %+v, %v", q, err)
			}
		})
	}
}

func FuzzReadRequest(f *testing.F) {
	f.Add([]byte(`{"filter":{"state":"ERROR","since":"2027-03-31T12:00:00Z"},"dryRun":true}`))
	f.Add([]byte(`{"messageIds":["a","<&>","\u0000"]}`))
	f.Fuzz(func(t *testing.T, body []byte) {
		q, err := bulk.ReadRequest(body)
		if err != nil {
			if _, ok := errors.AsType[*bulk.Fault](err); !ok {
				t.Errorf("%v is no fault", err)
			}
			return
		}
		o := bulk.New("op", q, noon)
		back := bulk.ReadOperation(delivery.Snapshot{ID: "op", Fields: o.Fields()})
		if back.Problem != nil || !reflect.DeepEqual(back.Request, q) {
			t.Errorf("kept %+v as %+v", q, back)
		}
	})
}

func TestFiltersMatchAllTheySay(t *testing.T) {
	whole := bulk.Filter{
		State: delivery.Error, ErrorContains: "full", Class: delivery.Transient, Template: "welcome", From: "a@b.test",
		Since: noon, Until: noon.Add(time.Hour),
	}
	set := func(change func(doc, record delivery.Fields)) bulk.Document {
		record := delivery.Fields{
			"state": "ERROR", "error": "Error: mailbox full", "outcome": delivery.Fields{"class": "transient"},
			"startTime": noon.Add(-time.Hour), "endTime": noon,
		}
		doc := delivery.Fields{"from": "Anna <A@B.test>", "template": delivery.Fields{"name": "welcome"}, "delivery": record}
		if change != nil {
			change(doc, record)
		}
		return bulk.Document{Snapshot: delivery.Snapshot{ID: "x", Fields: doc}, Added: noon.Add(time.Minute)}
	}
	cases := map[string]struct {
		doc  bulk.Document
		want bool
	}{
		"all":                 {set(nil), true},
		"the bare address":    {set(func(d, _ delivery.Fields) { d["from"] = "a@b.TEST" }), true},
		"another sender":      {set(func(d, _ delivery.Fields) { d["from"] = "a@b.test <x@b.test>" }), false},
		"no sender":           {set(func(d, _ delivery.Fields) { delete(d, "from") }), false},
		"another template":    {set(func(d, _ delivery.Fields) { d["template"] = delivery.Fields{"name": "welcome2"} }), false},
		"no template":         {set(func(d, _ delivery.Fields) { delete(d, "template") }), false},
		"another state":       {set(func(_, r delivery.Fields) { r["state"] = "PENDING" }), false},
		"another class":       {set(func(_, r delivery.Fields) { r["outcome"] = delivery.Fields{"class": "permanent"} }), false},
		"another error":       {set(func(_, r delivery.Fields) { r["error"] = "Error: Full" }), false},
		"no error":            {set(func(_, r delivery.Fields) { r["error"] = nil }), false},
		"a tick too early":    {set(func(_, r delivery.Fields) { r["endTime"] = noon.Add(-1) }), false},
		"a tick early enough": {set(func(_, r delivery.Fields) { r["endTime"] = noon.Add(time.Hour - 1) }), true},
		"too late":            {set(func(_, r delivery.Fields) { r["endTime"] = noon.Add(time.Hour) }), false},
		"started, not ended":  {set(func(_, r delivery.Fields) { delete(r, "endTime") }), false},
		"known by its making": {set(func(_, r delivery.Fields) { delete(r, "endTime"); delete(r, "startTime") }), true},
		"without a record":    {set(func(d, _ delivery.Fields) { delete(d, "delivery") }), false},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			if got := whole.Matches(c.doc); got != c.want {
				t.Errorf("got %v", got)
			}
		})
	}
	if !(bulk.Filter{State: delivery.Error}).Matches(set(nil)) {
		t.Error("a filter that names a state alone asks for more")
	}
}
