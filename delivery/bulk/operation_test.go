package bulk_test

import (
	"fmt"
	"reflect"
	"strings"
	"testing"
	"time"

	"postrider/delivery"
	"postrider/delivery/bulk"
)

const id = "abcdefghij0123456789"

func request(t *testing.T, body string) bulk.Request {
	t.Helper()
	q, err := bulk.ReadRequest([]byte(body))
	if err != nil {
		t.Fatal(err)
	}
	return q
}

func read(o bulk.Operation) bulk.Operation {
	return bulk.ReadOperation(delivery.Snapshot{ID: o.ID, Fields: o.Fields()})
}

func TestOperationsHaveNamesThatNoDocumentCanHave(t *testing.T) {
	name := bulk.OperationID(id)
	if got, ok := bulk.ParseOperationID(name); name != "__retry-"+id+"__" || got != id || !ok {
		t.Errorf("%s is read as %q, %v", name, got, ok)
	}
	for _, bad := range []string{
		"", id, "__retry-__", "__retry-" + id[1:] + "__", "__retry-" + strings.ToUpper(id) + "__", "x" + name, name + "\n",
		"__retry-" + id[:18] + "/x__", "__retry-" + id[:18] + "..__",
	} {
		if got, ok := bulk.ParseOperationID(bad); ok {
			t.Errorf("%q is read as %q", bad, got)
		}
	}
}

// What an operation has come to is kept whole, at every step.
func TestOperationsAreKeptWhole(t *testing.T) {
	page := bulk.Page{IDs: []string{"a<b", "b"}, Seen: 3, End: "c"}
	results := []bulk.Result{{ID: "a<b", Status: bulk.Moved}, bulk.Left("b", bulk.NotFound)}
	for name, body := range map[string]string{
		"filter": `{"filter":{"errorContains":"<\"&>","since":"2027-03-31T12:00:00.000001Z","until":"2027-03-31T13:00:00Z"},"dryRun":true}`,
		"IDs":    `{"messageIds":["a<b","b","c"]}`,
	} {
		t.Run(name, func(t *testing.T) {
			made := bulk.New(id, request(t, body), noon.Add(1))
			claimed := made.Claimed("me", noon.Add(time.Second)).Estimated(7)
			ahead := claimed.Ahead(page, noon.Add(2*time.Second))
			after := ahead.After(page, results, noon.Add(3*time.Second))
			for step, o := range map[string]bulk.Operation{
				"made": made, "claimed": claimed, "ahead": ahead, "after": after, "renewed": after.Renewed(noon.Add(time.Minute)),
				"released": ahead.Released(noon), "succeeded": after.Succeed(noon), "failed": ahead.Fail(bulk.Problem{Code: "C", Message: "m"}, noon),
			} {
				back := read(o)
				if !back.Same(o) || !reflect.DeepEqual(back.Request, o.Request) || len(back.Results) != len(o.Results) || back.Counts != o.Counts {
					t.Errorf("%s: kept %+v as %+v", step, o, back)
				}
				for i, r := range o.Results {
					if back.Results[i] != r {
						t.Errorf("%s: kept %v as %v", step, r, back.Results[i])
					}
				}
				if open := o.Fields()["open"]; open == o.State.Final() {
					t.Errorf("%s: open is %v", step, open)
				}
				if after.Same(made) || ahead.Same(claimed) {
					t.Error("what differs is taken for the same")
				}
			}
			if want := (bulk.Counts{Seen: 3, Matched: 2, Moved: 1, Refused: 1}); after.Counts != want || after.Cursor != "c" || after.Page.End != "" {
				t.Errorf("got %+v", after)
			}
		})
	}
}

func TestLeaseOfAnOperation(t *testing.T) {
	o := bulk.New(id, request(t, `{"messageIds":["a"]}`), noon)
	if !o.Claimable(noon) {
		t.Error("what nobody has is not claimable")
	}
	o = o.Claimed("me", noon)
	for name, c := range map[string]struct {
		now       time.Duration
		claimable bool
		stale     bool
	}{
		"at once":         {0, false, false},
		"a while":         {20*time.Second - 1, false, false},
		"worth a write":   {20 * time.Second, false, true},
		"the last tick":   {time.Minute - 1, false, true},
		"it ends":         {time.Minute, true, true},
		"long since over": {time.Hour, true, true},
	} {
		now := noon.Add(c.now)
		if o.Claimable(now) != c.claimable || o.Stale(now) != c.stale {
			t.Errorf("%s: claimable %v, stale %v", name, o.Claimable(now), o.Stale(now))
		}
	}
	if again := o.Claimed("you", noon.Add(time.Hour)); !again.Started.Equal(noon) || again.Lease.Owner != "you" {
		t.Errorf("taken again: %+v", again)
	}
	if !o.Released(noon).Claimable(noon) {
		t.Error("what was released is not claimable")
	}
	for _, ended := range []bulk.Operation{o.Succeed(noon), o.Fail(bulk.Problem{}, noon)} {
		if ended.Claimable(noon.Add(time.Hour)) {
			t.Errorf("%s is claimable", ended.State)
		}
	}
}

func TestPercentIsWholeOnlyAtTheEnd(t *testing.T) {
	o := bulk.New(id, request(t, `{"messageIds":["a","b","c"]}`), noon)
	var got []int
	for range 3 {
		got = append(got, o.Percent())
		p := bulk.Page{IDs: o.Named(1), Seen: 1}
		o = o.After(p, []bulk.Result{{ID: p.IDs[0], Status: bulk.Moved}}, noon)
	}
	if got = append(got, o.Percent(), o.Succeed(noon).Percent()); !reflect.DeepEqual(got, []int{0, 33, 66, 99, 100}) {
		t.Errorf("got %v", got)
	}
	f := bulk.New(id, request(t, `{"filter":{}}`), noon)
	if f.Percent() != 0 || f.Estimated(1).After(bulk.Page{Seen: 7, End: "x"}, nil, noon).Percent() != 99 {
		t.Error("an estimate that was too small")
	}
}

// The document has room for so many results; counts go on, and so do the first
// failures.
func TestResultsAreBoundedAndCountsAreNot(t *testing.T) {
	for name, c := range map[string]struct{ size, pages, atLeast, atMost int }{
		"many": {10, 60, 5000, 5000},
		"long": {1500, 10, 300, 360},
	} {
		t.Run(name, func(t *testing.T) {
			o := bulk.New(id, request(t, `{"filter":{}}`), noon)
			for i := range c.pages {
				var results []bulk.Result
				for j := range 100 {
					r := bulk.Result{ID: fmt.Sprintf("%0*d", c.size, i*100+j), Status: bulk.Moved}
					if j == 99 {
						r = bulk.Left(r.ID, bulk.NotFound)
					}
					results = append(results, r)
				}
				o = read(o.After(bulk.Page{Seen: 100, End: results[99].ID}, results, noon))
			}
			n := 100 * c.pages
			if len(o.Results) < c.atLeast || len(o.Results) > c.atMost || o.Counts.Matched != n || o.Counts.Refused != c.pages || len(o.Errors) != 10 {
				t.Errorf("%d results, %d errors, %+v", len(o.Results), len(o.Errors), o.Counts)
			}
			for i, r := range o.Results {
				if r.ID != fmt.Sprintf("%0*d", c.size, i) {
					t.Fatalf("result %d is of %s", i, r.ID)
				}
			}
			if size := len(fmt.Sprint(o.Fields())); size > 600<<10 {
				t.Errorf("%d bytes", size)
			}
		})
	}
}

// What was changed by hand, or by another version, does no harm.
func TestUnreadableOperationsHaveAProblem(t *testing.T) {
	for name, change := range map[string]delivery.Fields{
		"no request":        {"request": nil},
		"another's request": {"request": `{"filter":{"size":"1"}}`},
		"a list":            {"results": []any{}},
		"no JSON":           {"results": "["},
		"a page":            {"page": int64(1)},
		"no page's end":     {"page": `{"ids":["a"],"seen":1,"end":"a/b"}`},
		"a cursor":          {"cursor": "a/b"},
		"errors":            {"errors": "{}"},
		"a state":           {"state": "paused"},
	} {
		f := bulk.New(id, request(t, `{"messageIds":["a"]}`), noon).Fields()
		for field, v := range change {
			f[field] = v
		}
		o := bulk.ReadOperation(delivery.Snapshot{ID: id, Fields: f})
		if o.Problem == nil || o.Problem.Code != "Unreadable" || !o.Claimable(noon) {
			t.Errorf("%s: %+v", name, o)
		}
		if ended := read(o.Fail(*o.Problem, noon)); ended.State != bulk.Failed || ended.Problem == nil {
			t.Errorf("%s: ends as %+v", name, ended)
		}
	}
	o := bulk.ReadOperation(delivery.Snapshot{ID: id, Fields: delivery.Fields{"seen": int64(-3)}})
	if got := o.Named(5); len(got) > 0 {
		t.Errorf("an empty document names %v", got)
	}
	f := bulk.New(id, request(t, `{"messageIds":["a"]}`), noon).Fields()
	for _, seen := range []int64{-1, 2, 1 << 40} {
		f["seen"] = seen
		if p := bulk.ReadOperation(delivery.Snapshot{ID: id, Fields: f}).Percent(); p < 0 || p > 99 {
			t.Errorf("%d seen: %d %%", seen, p)
		}
		if got := bulk.ReadOperation(delivery.Snapshot{ID: id, Fields: f}).Named(5); len(got) > 1 {
			t.Errorf("%d seen: %v", seen, got)
		}
	}
}

func TestJudgement(t *testing.T) {
	const filter, ids = `{"filter":{}}`, `{"messageIds":["x"]}`
	unknown := delivery.Fields{"state": "ERROR", "endTime": noon, "outcome": delivery.Fields{"class": "unknown"}}
	cases := map[string]struct {
		body   string
		record delivery.Fields
		want   bulk.Result
		change bool
	}{
		"meant":                         {filter, delivery.Fields{"state": "ERROR", "endTime": noon}, bulk.Result{ID: "x", Status: bulk.Moved}, true},
		"named":                         {ids, delivery.Fields{"state": "ERROR", "endTime": noon}, bulk.Result{ID: "x", Status: bulk.Moved}, true},
		"dry":                           {`{"filter":{},"dryRun":true}`, delivery.Fields{"state": "ERROR"}, bulk.Result{ID: "x", Status: bulk.Matched}, false},
		"done before, and failed":       {filter, delivery.Fields{"state": "ERROR", "retryOperation": id, "endTime": noon.Add(time.Hour)}, bulk.Result{ID: "x", Status: bulk.Moved}, false},
		"done before, and in RETRY":     {ids, delivery.Fields{"state": "RETRY", "retryOperation": id}, bulk.Result{ID: "x", Status: bulk.Moved}, false},
		"done by another":               {ids, delivery.Fields{"state": "RETRY", "retryOperation": "other"}, bulk.Left("x", delivery.RefusedWaiting), false},
		"tried since":                   {ids, delivery.Fields{"state": "ERROR", "endTime": noon.Add(time.Microsecond)}, bulk.Left("x", bulk.AttemptedSince), false},
		"no longer matches":             {filter, delivery.Fields{"state": "PENDING"}, bulk.Left("x", bulk.Changed), false},
		"named, and waits":              {ids, delivery.Fields{"state": "PENDING"}, bulk.Result{ID: "x", Status: bulk.Moved}, true},
		"named, and sent":               {ids, delivery.Fields{"state": "SUCCESS", "endTime": noon}, bulk.Left("x", delivery.RefusedSent), false},
		"sent, as is meant":             {`{"filter":{"state":"SUCCESS"}}`, delivery.Fields{"state": "SUCCESS", "endTime": noon}, bulk.Result{ID: "x", Status: bulk.Moved}, true},
		"in an attempt":                 {ids, delivery.Fields{"state": "PROCESSING", "leaseExpireTime": noon.Add(time.Hour)}, bulk.Left("x", delivery.RefusedInProgress), false},
		"lapsed":                        {`{"filter":{"state":"PROCESSING"}}`, delivery.Fields{"state": "PROCESSING", "leaseExpireTime": noon}, bulk.Left("x", delivery.RefusedUnknownFate), false},
		"lapsed, and that is meant":     {`{"filter":{"state":"PROCESSING","class":"unknown"}}`, delivery.Fields{"state": "PROCESSING", "leaseExpireTime": noon}, bulk.Result{ID: "x", Status: bulk.Moved}, true},
		"lapsed since":                  {ids, delivery.Fields{"state": "PROCESSING", "leaseExpireTime": noon.Add(time.Microsecond)}, bulk.Left("x", bulk.AttemptedSince), false},
		"lapsed since, and put down":    {ids, delivery.Fields{"state": "ERROR", "error": delivery.LeaseExpired, "leaseExpireTime": noon.Add(time.Microsecond)}, bulk.Left("x", bulk.AttemptedSince), false},
		"of unknown fate":               {filter, unknown, bulk.Left("x", delivery.RefusedUnknownFate), false},
		"of unknown fate, of its state": {`{"filter":{"state":"ERROR"}}`, unknown, bulk.Left("x", delivery.RefusedUnknownFate), false},
		"of unknown fate, and dry":      {`{"filter":{},"dryRun":true}`, unknown, bulk.Left("x", delivery.RefusedUnknownFate), false},
		"of unknown fate, as is meant":  {`{"filter":{"class":"unknown"}}`, unknown, bulk.Result{ID: "x", Status: bulk.Moved}, true},
		"of unknown fate, and named":    {ids, unknown, bulk.Result{ID: "x", Status: bulk.Moved}, true},
		"lapsed in the extension":       {filter, delivery.Fields{"state": "ERROR", "error": delivery.LeaseExpired}, bulk.Left("x", delivery.RefusedUnknownFate), false},
		"that, as is meant":             {`{"filter":{"class":"unknown"}}`, delivery.Fields{"state": "ERROR", "error": delivery.LeaseExpired}, bulk.Result{ID: "x", Status: bulk.Moved}, true},
		"no state in its record":        {ids, delivery.Fields{"error": "e"}, bulk.Left("x", delivery.RefusedMalformed), false},
		"not tried yet":                 {ids, nil, bulk.Left("x", delivery.RefusedNotAttempted), false},
		"dry, and refused all the same": {`{"messageIds":["x"],"dryRun":true}`, nil, bulk.Left("x", delivery.RefusedNotAttempted), false},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			doc := delivery.Fields{}
			if c.record != nil {
				doc["delivery"] = c.record
			}
			o := bulk.New(id, request(t, c.body), noon)
			change, got, changes := o.Judge(bulk.Document{Snapshot: delivery.Snapshot{ID: "x", Fields: doc}, Added: noon}, noon.Add(time.Second))
			if got != c.want || changes != c.change || changes != (len(change.Set) > 0) {
				t.Errorf("got %+v, %v: %v", got, changes, change.Set)
			}
			if (got.Code == "") != (got.Message() == "") {
				t.Errorf("%s says %q", got.Code, got.Message())
			}
		})
	}
}

// Only what needs somebody's attention counts as a failure.
func TestWhatIsOnItsWayIsNoFailure(t *testing.T) {
	said := map[string]bulk.Code{}
	for code, want := range map[bulk.Code]bulk.Status{
		delivery.RefusedInProgress: bulk.Skipped, delivery.RefusedWaiting: bulk.Skipped, delivery.RefusedNotAttempted: bulk.Skipped,
		bulk.AttemptedSince: bulk.Skipped, bulk.Changed: bulk.Skipped,
		delivery.RefusedSent: bulk.Refused, delivery.RefusedUnknownFate: bulk.Refused, delivery.RefusedMalformed: bulk.Refused, delivery.RefusedUnknownState: bulk.Refused,
		bulk.NotFound: bulk.Refused, bulk.NoRoom: bulk.Refused,
	} {
		r := bulk.Left("x", code)
		if r.Status != want {
			t.Errorf("%s is %s", code, r.Status)
		}
		if other, double := said[r.Message()]; double {
			t.Errorf("%s and %s say the same", code, other)
		}
		said[r.Message()] = code
	}
}
