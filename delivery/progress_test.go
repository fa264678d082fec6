package delivery

import (
	"reflect"
	"testing"
	"time"
)

func TestProgressTellsWhatHasBecomeOfEachRecipient(t *testing.T) {
	told := []any{
		Fields{"address": "a@x.test", "status": "accepted", "code": int64(250), "enhancedCode": "2.1.5", "reply": "250 2.1.5 ok", "attempt": int64(1)},
		Fields{"address": "b@x.test", "status": "pending", "code": int64(451), "reply": "451 later", "attempt": int64(2)},
	}
	lists := Fields{"messageId": "<m@x.test>", "accepted": []any{"a@x.test"}, "rejected": []any{"c@x.test"}, "pending": []any{"b@x.test"}}
	a := Recipient{Address: "a@x.test", Status: Accepted, Code: 250, EnhancedCode: "2.1.5", Reply: "250 2.1.5 ok", Attempt: 1}
	b := Recipient{Address: "b@x.test", Status: Deferred, Code: 451, Reply: "451 later", Attempt: 2}
	open := Fields{"id": "l1", "attempts": int64(1)}
	for name, c := range map[string]struct {
		record Fields
		want   []Recipient
	}{
		"sent":                         {Fields{"state": "SUCCESS", "recipients": told, "info": lists}, []Recipient{a, b}},
		"sent by the extension":        {Fields{"state": "SUCCESS", "info": lists}, []Recipient{{Address: "a@x.test", Status: Accepted}, {Address: "c@x.test", Status: Rejected}, {Address: "b@x.test", Status: Deferred}}},
		"goes on":                      {Fields{"state": "PENDING", "recipients": told, "retry": open}, []Recipient{a, b}},
		"goes on, claimed":             {Fields{"state": "PROCESSING", "recipients": told, "retry": open}, []Recipient{a, b}},
		"tried again at a time":        {Fields{"state": "PENDING", "recipients": told, "nextAttemptTime": time.Unix(1, 0)}, []Recipient{a, b}},
		"wanted again from the start":  {Fields{"state": "RETRY", "recipients": told}, []Recipient{{Address: "a@x.test", Status: Deferred}, {Address: "b@x.test", Status: Deferred}}},
		"claimed again from the start": {Fields{"state": "PROCESSING", "info": lists}, []Recipient{{Address: "a@x.test", Status: Deferred}, {Address: "c@x.test", Status: Deferred}, {Address: "b@x.test", Status: Deferred}}},
		"nobody known":                 {Fields{"state": "PENDING"}, nil},
		"of other types":               {Fields{"state": "ERROR", "recipients": "a", "info": "b", "outcome": 3}, nil},
	} {
		got := ReadProgress(Fields{"delivery": c.record}).Recipients
		if len(got)+len(c.want) > 0 && !reflect.DeepEqual(got, c.want) {
			t.Errorf("%s:\n got %v\nwant %v", name, got, c.want)
		}
	}
}

func TestProgressTellsTheLastOutcome(t *testing.T) {
	at := time.Date(2026, 3, 4, 5, 6, 7, 0, time.UTC)
	p := ReadProgress(Fields{"delivery": Fields{
		"state": "ERROR", "error": "Error: no", "endTime": at, "attempts": int64(2), "info": Fields{"messageId": "<m@x.test>"},
		"outcome": Fields{"class": "permanent", "phase": "rcpt", "code": int64(550), "enhancedCode": "5.1.1", "explain": "why"},
	}})
	want := Failure{Class: Permanent, Phase: PhaseRcpt, Code: 550, EnhancedCode: "5.1.1", Explain: "why", Message: "Error: no"}
	if !reflect.DeepEqual(p.Outcome, want) || !p.End.Equal(at) || p.MessageID != "<m@x.test>" || p.Attempts != 2 {
		t.Errorf("got %+v", p)
	}
	if p := ReadProgress(Fields{}); p.State != None || p.Recipients != nil || !p.End.IsZero() {
		t.Errorf("of a new document: %+v", p)
	}
}

func TestLeaseLapsesAtItsEnd(t *testing.T) {
	end := time.Date(2026, 3, 4, 5, 6, 7, 0, time.UTC)
	for name, c := range map[string]struct {
		state State
		now   time.Time
		want  bool
	}{
		"a tick before": {Processing, end.Add(-1), false},
		"this tick":     {Processing, end, true},
		"another state": {Pending, end, false},
	} {
		p := ReadProgress(Fields{"delivery": Fields{"state": string(c.state), "leaseExpireTime": end}})
		if got := p.Lapsed(c.now); got != c.want {
			t.Errorf("%s: %v", name, got)
		}
	}
}
