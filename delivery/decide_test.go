package delivery

import (
	"testing"
	"time"
)

var now = time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)

func TestDecideEveryStateAndMoment(t *testing.T) {
	const tick = time.Microsecond
	lease := func(d time.Duration) Lease { return Lease{ID: "a", Expires: now.Add(d)} }
	cases := map[string]struct {
		record     Record
		complete   Action
		incomplete Action
	}{
		"new document":                  {Record{}, Claim, Refuse},
		"delivery without a state":      {Record{Malformed: true}, Refuse, Refuse},
		"pending":                       {Record{State: Pending}, Claim, Refuse},
		"pending, due in a tick":        {Record{State: Pending, NextAttempt: now.Add(tick)}, Wait, Wait},
		"pending, due this tick":        {Record{State: Pending, NextAttempt: now}, Claim, Refuse},
		"retry":                         {Record{State: Retry}, Claim, Refuse},
		"retry obeys the operator":      {Record{State: Retry, NextAttempt: now.Add(time.Hour)}, Claim, Refuse},
		"processing, a tick left":       {Record{State: Processing, Lease: lease(tick)}, Wait, Wait},
		"processing, lapsed this tick":  {Record{State: Processing, Lease: lease(0)}, Expire, Expire},
		"processing, lapsed":            {Record{State: Processing, Lease: lease(-time.Hour)}, Expire, Expire},
		"processing without a lease":    {Record{State: Processing}, Expire, Expire},
		"success":                       {Record{State: Success}, Ignore, Ignore},
		"error":                         {Record{State: Error, Class: Permanent}, Ignore, Ignore},
		"error of the extension":        {Record{State: Error}, Ignore, Ignore},
		"error, unknown fate":           {Record{State: Error, Class: Unknown}, Ignore, Ignore},
		"incomplete until content came": {Record{State: Error, Class: Incomplete}, Claim, Ignore},
		"a newer version's state":       {Record{State: "QUEUED"}, Ignore, Ignore},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			if got := Decide(c.record, true, now); got != c.complete {
				t.Errorf("with something to send: %v, want %v", got, c.complete)
			}
			if got := Decide(c.record, false, now); got != c.incomplete {
				t.Errorf("with nothing to send: %v, want %v", got, c.incomplete)
			}
		})
	}
}
