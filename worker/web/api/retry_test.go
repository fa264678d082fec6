package api

import (
	"fmt"
	"testing"
	"time"

	"postrider/delivery"
	"postrider/delivery/bulk"
)

// bulkAt returns the view of a bulk retry as its document keeps it, changed by hand.
func bulkAt(o bulk.Operation, byHand delivery.Fields) view {
	f := o.Fields()
	for name, v := range byHand {
		f[name] = v
	}
	return viewOfBulk(delivery.Snapshot{ID: o.ID, Fields: f})
}

func asked(ids ...string) bulk.Operation {
	return bulk.New("abcdefghij0123456789", bulk.Request{MessageIDs: ids}, noon)
}

// Each document that was named is a part of the operation from the beginning.
func TestNamedDocumentsAreShownBeforeTheirTurn(t *testing.T) {
	o := asked("a", "b", "c").Claimed("i", noon)
	o = o.After(bulk.Page{IDs: o.Named(2), Seen: 2}, []bulk.Result{{ID: "a", Status: bulk.Moved}, bulk.Left("b", bulk.NotFound)}, noon)
	for name, c := range map[string]struct {
		v    view
		want string
	}{
		"not started": {bulkAt(asked("a", "b"), nil), "waiting [a running] [b running]"},
		"running":     {bulkAt(o, nil), "running [a succeeded] [b failed] [c running]"},
		"failed":      {bulkAt(o.Fail(bulk.Problem{Code: "C", Message: "m"}, noon), nil), "failed [a succeeded] [b failed]"},
	} {
		got := c.v.stage.String()
		for _, part := range c.v.children {
			got += fmt.Sprintf(" [%s %s]", part.name, part.stage)
		}
		if got != c.want {
			t.Errorf("%s: got %s, want %s", name, got, c.want)
		}
	}
}

// A bulk retry has a fault if it has failed, and only then, with a code and words.
func TestBulkRetryThatWasChangedByHandIsShown(t *testing.T) {
	o := asked("a").Claimed("i", noon)
	for name, c := range map[string]struct {
		v    view
		want string
	}{
		"running, unreadable":    {bulkAt(o, delivery.Fields{"page": "{"}), ""},
		"succeeded, unreadable":  {bulkAt(o.Succeed(noon), delivery.Fields{"errors": "{"}), ""},
		"failed without a word":  {bulkAt(o, delivery.Fields{"state": "failed"}), "OperationFailed"},
		"failed with half of it": {bulkAt(o, delivery.Fields{"state": "failed", "problem": delivery.Fields{"code": "C"}}), "OperationFailed"},
		"failed":                 {bulkAt(o.Fail(bulk.Problem{Code: "C", Message: "m"}, noon), nil), "C"},
		"a state of nobody's":    {bulkAt(o, delivery.Fields{"state": "paused"}), "Unreadable"},
	} {
		got := ""
		if c.v.fault != nil && c.v.fault.message != "" {
			got = c.v.fault.code
		}
		if got != c.want {
			t.Errorf("%s: got %q, want %q", name, got, c.want)
		}
	}
}

func TestBulkRetryIsAskedAboutAtItsPace(t *testing.T) {
	o := asked("a", "b", "c").Claimed("i", noon).Estimated(1000)
	after := func(seen int, took time.Duration) bulk.Operation {
		return o.After(bulk.Page{Seen: seen}, nil, noon.Add(took))
	}
	for name, c := range map[string]struct {
		o    bulk.Operation
		want time.Duration
	}{
		"not begun":                {o, 2 * time.Second},
		"a tenth in two seconds":   {after(100, 2*time.Second), 9 * time.Second},
		"almost done":              {after(999, time.Hour), 2 * time.Second},
		"the estimate was too low": {after(2000, time.Hour), 2 * time.Second},
		"it takes hours":           {after(10, time.Hour), time.Minute},
		"changed by hand":          {bulk.Operation{Counts: bulk.Counts{Seen: -1}}, 2 * time.Second},
	} {
		if got := viewOfBulk(delivery.Snapshot{Fields: c.o.Fields()}).retry; got.Round(time.Millisecond) != c.want {
			t.Errorf("%s: %v, want %v", name, got, c.want)
		}
	}
}
