package delivery

import (
	"math"
	"reflect"
	"testing"
	"time"
)

func TestReadRecordTakesWrongTypesForAbsent(t *testing.T) {
	cases := map[string]struct {
		delivery any
		want     Record
	}{
		"absent":        {nil, Record{}},
		"empty string":  {"", Record{}},
		"false":         {false, Record{}},
		"zero":          {int64(0), Record{}},
		"not a number":  {math.NaN(), Record{}},
		"string":        {"PENDING", Record{Malformed: true}},
		"true":          {true, Record{Malformed: true}},
		"list":          {[]any{}, Record{Malformed: true}},
		"empty map":     {Fields{}, Record{Malformed: true}},
		"state missing": {Fields{"attempts": int64(2)}, Record{Malformed: true, Attempts: 2}},
		"state a number": {
			Fields{"state": int64(1)}, Record{Malformed: true},
		},
		"wrong types throughout": {
			Fields{
				"state": "RETRY", "attempts": "many", "leaseExpireTime": "soon", "leaseId": int64(1), "outcome": "x", "error": int64(3),
				"leasePhase": true, "startTime": "then", "retry": "a", "recent": []any{}, "recipients": "all", "info": "none",
			},
			Record{State: Retry},
		},
		"whole": {
			Fields{"state": "PROCESSING", "attempts": 2.0, "leaseExpireTime": now, "leaseId": "a", "nextAttemptTime": now, "outcome": Fields{"class": "transient"}, "error": "e"},
			Record{State: Processing, Attempts: 2, Lease: Lease{ID: "a", Expires: now}, NextAttempt: now, Class: Transient, Error: "e"},
		},
		"whole, with a series": {
			Fields{
				"state": "PROCESSING", "startTime": now, "leasePhase": "sending", "recipients": []any{Fields{}},
				"retry":  Fields{"attempts": int64(1), "since": now, "id": "a", "lapses": int64(2)},
				"recent": Fields{"since": now, "attempts": int64(3)}, "info": Fields{"messageId": "m", "response": "250"},
			},
			Record{
				State: Processing, Start: now, Lease: Lease{Phase: ReachSending}, recipients: []any{Fields{}},
				Series: Series{Attempts: 1, Since: now, ID: "a", Lapses: 2}, Recent: Window{Since: now, Attempts: 3}, messageID: "m", response: "250",
			},
		},
		"a series without an ID is none": {
			Fields{"state": "PENDING", "retry": Fields{"attempts": int64(1), "since": now}, "recipients": []any{Fields{}}, "info": Fields{"messageId": "m"}},
			Record{State: Pending},
		},
		"more attempts than can be": {
			Fields{"state": "PENDING", "attempts": int64(math.MaxInt64), "retry": Fields{"attempts": int64(math.MaxInt64), "id": "a"}},
			Record{State: Pending, Attempts: maxAttempts, Series: Series{Attempts: maxAttempts, ID: "a"}},
		},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			if got := ReadRecord(Fields{"delivery": c.delivery}); !reflect.DeepEqual(got, c.want) {
				t.Errorf("got  %+v\nwant %+v", got, c.want)
			}
		})
	}
}

func TestClaimOfANewDocumentBeginsItsRecord(t *testing.T) {
	at := now.Add(123456789 * time.Nanosecond)
	c := Record{}.Claimed(Lease{ID: "a", Expires: at.Add(time.Minute)}, Policy{TTL: TTL{Unit: "day", Value: 5}}, at)
	kept := at.Truncate(time.Microsecond)
	want := Fields{
		"state": "PROCESSING", "leaseId": "a", "leaseExpireTime": kept.Add(time.Minute),
		"startTime": kept, "attempts": int64(0), "error": nil, "expireAt": kept.AddDate(0, 0, 5),
	}
	if !reflect.DeepEqual(c.Set, want) {
		t.Errorf("got  %v\nwant %v", c.Set, want)
	}
}

func TestClaimOfAWaitingDocumentKeepsItsRecord(t *testing.T) {
	c := Record{State: Pending, Attempts: 3, NextAttempt: now}.Claimed(Lease{ID: "a", Expires: now}, Policy{TTL: TTL{Unit: "day", Value: 1}}, now)
	if got, want := c.Paths(), []string{"leaseExpireTime", "leaseId", "nextAttemptTime", "state"}; !reflect.DeepEqual(got, want) {
		t.Errorf("writes %v, want %v", got, want)
	}
}

func TestIncompleteDocumentStartsAfreshOnceItHasContent(t *testing.T) {
	doc := Fields{"to": "a@b.test"}
	doc = Record{}.Refused(Policy{}, now).AppliedTo(doc)
	r := ReadRecord(doc)
	if r.State != Error || r.Class != Incomplete || r.Attempts != 0 {
		t.Fatalf("after refusal: %+v", r)
	}
	later := now.Add(time.Hour)
	doc = r.Claimed(Lease{ID: "a", Expires: later}, Policy{}, later).AppliedTo(doc)
	got := doc["delivery"].(Fields)
	if !got["startTime"].(time.Time).Equal(later) || got["error"] != nil || got["outcome"] != nil {
		t.Errorf("after claim: %v", got)
	}
}

func TestDeliveredSortsRecipientsByVerdict(t *testing.T) {
	r := Record{State: Processing, Attempts: 1, Lease: Lease{ID: "a"}}
	c := r.Ended(Attempt{
		MessageID: "<a@b.test>", Response: "250-one\n250 two",
		Recipients: []Recipient{
			{Address: "x@b.test", Status: Accepted, Code: 250, Reply: "250 ok"},
			{Address: "y@b.test", Status: Rejected, Code: 550, Reply: "550 no"},
			{Address: "z@b.test", Status: Deferred, Code: 450, Reply: "450 later"},
		},
	}, Policy{}, 0, now)
	want := Fields{
		"messageId": "<a@b.test>", "response": "250-one\n250 two", "sendgridQueueId": nil,
		"accepted": []any{"x@b.test"}, "rejected": []any{"y@b.test"}, "pending": []any{"z@b.test"},
	}
	if !reflect.DeepEqual(c.Set["info"], want) {
		t.Errorf("info %v\nwant %v", c.Set["info"], want)
	}
	if o := c.Set["outcome"].(Fields); c.State != Success || o["class"] != "delivered" || o["phase"] != "message" || o["code"] != int64(250) {
		t.Errorf("%s, outcome %v", c.State, o)
	}
	if c.Set["attempts"] != int64(2) || c.Set["leaseExpireTime"] != nil || c.Set["error"] != nil {
		t.Errorf("record %v", c.Set)
	}
}

// Only a worker's own end counts as applied: not somebody's edit of attempts.
func TestAppliedKnowsItsOwnEnd(t *testing.T) {
	claimed := Record{State: Processing, Attempts: 1, Lease: Lease{ID: "a", Expires: now}}
	for name, c := range map[string]struct {
		now  Record
		want bool
	}{
		"ended by us":            {Record{State: Success, Attempts: 2, Lease: Lease{ID: "a"}}, true},
		"ended, wanted again":    {Record{State: Retry, Attempts: 2, Lease: Lease{ID: "a"}}, true},
		"still claimed":          {claimed, false},
		"attempts were edited":   {Record{State: Processing, Attempts: 7, Lease: Lease{ID: "a", Expires: now}}, false},
		"another's claim":        {Record{State: Processing, Attempts: 2, Lease: Lease{ID: "b", Expires: now}}, false},
		"ended by somebody else": {Record{State: Success, Attempts: 2, Lease: Lease{ID: "b"}}, false},
		"cancelled by a person":  {Record{State: Error, Attempts: 1, Lease: Lease{ID: "a", Expires: now}}, false},
	} {
		if got := Applied(claimed, c.now); got != c.want {
			t.Errorf("%s: %v", name, got)
		}
	}
}

func TestAnOperatorsWishOutlivesTheAttempt(t *testing.T) {
	for _, s := range []State{Retry, Pending} {
		for name, c := range map[string]Change{
			"delivered": Record{State: s}.Ended(Attempt{}, Policy{}, 0, now),
			"failed":    Record{State: s}.Ended(Attempt{Failure: &Failure{}}, Policy{}, 0, now),
		} {
			if _, written := c.Set["state"]; written || c.State != s {
				t.Errorf("%s under %s writes state %v", name, s, c.Set["state"])
			}
		}
	}
}

// What is handed back before it was sent is still wanted, and nothing more.
func TestReleaseKeepsAnOperatorsWish(t *testing.T) {
	if c := (Record{State: Processing}).Released(now); c.State != Pending || c.Set["state"] != "PENDING" || len(c.Set) != 2 {
		t.Errorf("from PROCESSING: %+v", c)
	}
	c := Record{State: Retry}.Released(now)
	if _, written := c.Set["state"]; written || c.State != Retry {
		t.Errorf("from RETRY: %+v", c)
	}
}

// A worker whose lease lapsed must not find it in the record again.
func TestExpiryTakesTheLeaseAway(t *testing.T) {
	doc := Fields{"delivery": Fields{"state": "PROCESSING", "leaseId": "a", "leaseExpireTime": now, "attempts": int64(2)}}
	got := Record{}.Expired(Policy{}, 0, now).AppliedTo(doc)["delivery"].(Fields)
	if _, there := got["leaseId"]; there || got["state"] != "ERROR" || got["attempts"] != int64(2) || got["leaseExpireTime"] != now {
		t.Errorf("%v", got)
	}
}

// The recipients of an earlier attempt say nothing about a later one.
func TestEndForgetsEarlierRecipients(t *testing.T) {
	doc := Fields{"delivery": Fields{"state": "PROCESSING", "recipients": []any{Fields{"address": "a@b.test"}}}}
	got := ReadRecord(doc).Ended(Attempt{Failure: &Failure{Message: "Error: Timeout"}}, Policy{}, 0, now).AppliedTo(doc)["delivery"].(Fields)
	if _, there := got["recipients"]; there {
		t.Errorf("%v", got)
	}
}

func TestExpireAtReckonsInUTC(t *testing.T) {
	start := time.Date(2027, 1, 31, 23, 30, 0, 0, time.FixedZone("east", 2*3600)) // 21:30 UTC
	at := func(y int, m time.Month, d, h int) time.Time { return time.Date(y, m, d, h, 30, 0, 0, time.UTC) }
	cases := map[string]struct {
		ttl  TTL
		want time.Time
	}{
		"hours":                    {TTL{"hour", 3}, at(2027, 2, 1, 0)},
		"days":                     {TTL{"day", 5}, at(2027, 2, 5, 21)},
		"weeks":                    {TTL{"week", 1}, at(2027, 2, 7, 21)},
		"a month without that day": {TTL{"month", 1}, at(2027, 3, 3, 21)},
		"years":                    {TTL{"year", 2}, at(2029, 1, 31, 21)},
		"zero":                     {TTL{"day", 0}, at(2027, 1, 31, 21)},
		"never":                    {TTL{"never", 1}, time.Time{}},
		"unset":                    {TTL{}, time.Time{}},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			got, ok := c.ttl.ExpireAt(start)
			if !got.Equal(c.want) || ok == c.want.IsZero() {
				t.Errorf("got %v, %v; want %v", got, ok, c.want)
			}
		})
	}
}
