package api

import (
	"reflect"
	"testing"
	"time"

	"postrider/delivery"
)

var noon = time.Date(2026, 3, 4, 12, 0, 0, 0, time.UTC)

// at returns the API's view of a document with this record at noon. Its claims
// last a minute, and its queue takes three seconds.
func at(record delivery.Fields) view {
	a := &API{Options: Options{Lease: time.Minute, Pace: func() time.Duration { return 3 * time.Second }}}
	f := delivery.Fields{}
	if record != nil {
		f["delivery"] = record
	}
	return a.viewOf(delivery.Snapshot{ID: "m1", Fields: f, UpdateTime: noon.Add(-time.Second)}, noon.Add(-time.Hour), noon)
}

// String returns the stage's name.
func (s stage) String() string {
	return [...]string{"waiting", "running", "succeeded", "failed"}[s]
}

func TestStagesAndWhenToAskAgain(t *testing.T) {
	claimed := func(rest time.Duration) delivery.Fields {
		return delivery.Fields{"state": "PROCESSING", "leaseExpireTime": noon.Add(rest)}
	}
	for name, c := range map[string]struct {
		record delivery.Fields
		stage  stage
		retry  time.Duration
	}{
		"new":                      {nil, waiting, 3 * time.Second},
		"PENDING":                  {delivery.Fields{"state": "PENDING"}, waiting, 3 * time.Second},
		"PENDING, due later":       {delivery.Fields{"state": "PENDING", "nextAttemptTime": noon.Add(90 * time.Second)}, waiting, 90 * time.Second},
		"PENDING, due this tick":   {delivery.Fields{"state": "PENDING", "nextAttemptTime": noon}, waiting, 3 * time.Second},
		"RETRY":                    {delivery.Fields{"state": "RETRY", "nextAttemptTime": noon.Add(90 * time.Second)}, waiting, 3 * time.Second},
		"somebody else's state":    {delivery.Fields{"state": "HELD"}, waiting, 3 * time.Second},
		"just claimed":             {claimed(time.Minute), running, time.Second},
		"claimed ten seconds ago":  {claimed(50 * time.Second), running, 10 * time.Second},
		"claimed a long time ago":  {claimed(7 * time.Second), running, 7 * time.Second},
		"renewed beyond its lease": {claimed(2 * time.Minute), running, time.Second},
		"lapses in a tick":         {claimed(1), running, 1},
		"lapsed this tick":         {claimed(0), failed, 0},
		"claimed without a lease":  {delivery.Fields{"state": "PROCESSING"}, failed, 0},
		"SUCCESS":                  {delivery.Fields{"state": "SUCCESS"}, succeeded, 0},
		"ERROR":                    {delivery.Fields{"state": "ERROR", "error": "Error: no"}, failed, 0},
	} {
		v := at(c.record)
		if v.stage != c.stage || v.retry != c.retry {
			t.Errorf("%s: %v, ask again in %v; want %v, %v", name, v.stage, v.retry, c.stage, c.retry)
		}
	}
}

// With RETRY_LAPSED a mail that provably was not sent is on its way still.
func TestLapsedMailThatIsTriedAgainWaits(t *testing.T) {
	a := &API{Options: Options{Policy: delivery.Policy{RetryLapsed: true}, Pace: func() time.Duration { return 0 }}}
	for phase, want := range map[string]stage{"claimed": waiting, "sending": failed, "": failed} {
		f := delivery.Fields{"delivery": delivery.Fields{"state": "PROCESSING", "leaseExpireTime": noon, "leasePhase": phase}}
		if got := a.viewOf(delivery.Snapshot{ID: "m1", Fields: f}, noon, noon).stage; got != want {
			t.Errorf("%q: %v, want %v", phase, got, want)
		}
	}
}

func TestFailureIsToldInTheWordsOfTheDocument(t *testing.T) {
	for name, c := range map[string]struct {
		record delivery.Fields
		want   string
	}{
		"as written":        {delivery.Fields{"state": "ERROR", "error": "Error: No recipients defined"}, "Error: No recipients defined"},
		"without an error":  {delivery.Fields{"state": "ERROR", "error": nil}, "the mail was not sent"},
		"of a lapsed lease": {delivery.Fields{"state": "PROCESSING", "error": "Error: before", "leaseExpireTime": noon}, "Message processing lease expired."},
	} {
		if got := at(c.record).fault; got == nil || *got != (fault{"EmailDropped", c.want}) {
			t.Errorf("%s: %v", name, got)
		}
	}
	if got := at(delivery.Fields{"state": "PENDING", "error": "Error: later"}).fault; got != nil {
		t.Errorf("of a mail that is tried again: %v", got)
	}
}

func TestRecipientsAreTheParts(t *testing.T) {
	said := func(address, status, reply string) delivery.Fields {
		return delivery.Fields{"address": address, "status": status, "reply": reply, "code": int64(450)}
	}
	told := []any{said("a@x.test", "accepted", "250 ok"), said("b@x.test", "rejected", "550 no"), said("c@x.test", "pending", "450 later"), said("d@x.test", "unknown", "")}
	ended := []child{
		{"a@x.test", succeeded, nil},
		{"b@x.test", failed, &fault{"RecipientRejected", "550 no"}},
		{"c@x.test", failed, &fault{"RecipientDeferred", "450 later"}},
		{"d@x.test", failed, &fault{"RecipientUnknown", "whether the mail reached this recipient is not known"}},
	}
	goesOn := append([]child(nil), ended...)
	goesOn[2] = child{"c@x.test", running, nil}
	open := delivery.Fields{"id": "l1", "attempts": int64(1)}
	for name, c := range map[string]struct {
		record  delivery.Fields
		want    []child
		percent int
	}{
		"sent":    {delivery.Fields{"state": "SUCCESS", "recipients": told}, ended, 100},
		"refused": {delivery.Fields{"state": "ERROR", "recipients": told}, ended, 100},
		"goes on": {delivery.Fields{"state": "PENDING", "recipients": told, "retry": open}, goesOn, 75},
		"new":     {nil, nil, 0},
		"no replies": {delivery.Fields{"state": "SUCCESS", "info": delivery.Fields{"rejected": []any{"b@x.test"}, "pending": []any{"c@x.test"}}}, []child{
			{"b@x.test", failed, &fault{"RecipientRejected", "the mail server refused this recipient"}},
			{"c@x.test", failed, &fault{"RecipientDeferred", "the mail server put this recipient off, and nothing tries again"}},
		}, 100},
	} {
		v := at(c.record)
		if !reflect.DeepEqual(v.children, c.want) || v.percent != c.percent {
			t.Errorf("%s: %d %%, %v", name, v.percent, v.children)
		}
	}
}
