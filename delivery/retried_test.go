package delivery

import (
	"errors"
	"slices"
	"testing"
	"time"
)

var (
	retryNow = time.Date(2027, 1, 2, 3, 4, 5, 0, time.UTC)
	lapsedAt = retryNow
	liveTill = retryNow.Add(time.Microsecond)
)

// What may be sent again at an operator's wish, and why the rest is not.
func TestOperatorsRetryMovesWhatHasEndedOrWaits(t *testing.T) {
	record := func(state State, more Fields) Fields {
		f := Fields{"state": string(state), "attempts": int64(1), "leaseId": "l"}
		for name, v := range more {
			f[name] = v
		}
		return Fields{"delivery": f}
	}
	cases := map[string]struct {
		doc     Fields
		consent Consent
		refused RefusalCode
	}{
		"failed":                     {doc: record(Error, nil)},
		"of unknown fate":            {doc: record(Error, Fields{"outcome": Fields{"class": "unknown"}}), consent: Consent{Sent: true}, refused: RefusedUnknownFate},
		"of unknown fate, as meant":  {doc: record(Error, Fields{"outcome": Fields{"class": "unknown"}}), consent: Consent{Unknown: true}},
		"lapsed in the extension":    {doc: record(Error, Fields{"error": LeaseExpired}), refused: RefusedUnknownFate},
		"lapsed before it was sent":  {doc: record(Error, Fields{"error": LeaseExpired, "outcome": Fields{"class": "transient"}})},
		"incomplete":                 {doc: record(Error, Fields{"outcome": Fields{"class": "incomplete"}})},
		"waits for its next attempt": {doc: record(Pending, Fields{"nextAttemptTime": retryNow.Add(time.Hour)})},
		"waits and is due":           {doc: record(Pending, nil)},
		"lapsed this tick":           {doc: record(Processing, Fields{"leaseExpireTime": lapsedAt}), consent: Consent{Unknown: true}},
		"lapsed, and maybe sent":     {doc: record(Processing, Fields{"leaseExpireTime": lapsedAt, "leasePhase": "sending"}), refused: RefusedUnknownFate},
		"lapsed, and not sent":       {doc: record(Processing, Fields{"leaseExpireTime": lapsedAt, "leasePhase": "claimed"})},
		"claimed a tick longer":      {doc: record(Processing, Fields{"leaseExpireTime": liveTill}), refused: RefusedInProgress},
		"sent":                       {doc: record(Success, nil), refused: RefusedSent},
		"sent, and that is meant":    {doc: record(Success, nil), consent: Consent{Sent: true}},
		"in RETRY":                   {doc: record(Retry, nil), refused: RefusedWaiting},
		"never seen":                 {doc: Fields{}, refused: RefusedNotAttempted},
		"without a state":            {doc: Fields{"delivery": Fields{"attempts": int64(1)}}, refused: RefusedMalformed},
		"of a newer version":         {doc: record("PAUSED", nil), consent: Consent{Sent: true, Unknown: true}, refused: RefusedUnknownState},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			change, err := ReadRecord(c.doc).Retried("op", c.consent, retryNow)
			refusal, _ := errors.AsType[*Refusal](err)
			switch {
			case c.refused != "":
				if refusal == nil || refusal.Code != c.refused || refusal.Error() == "" {
					t.Errorf("got %v, want %s", err, c.refused)
				}
				return
			case err != nil:
				t.Fatal(err)
			}
			after := ReadRecord(change.AppliedTo(c.doc))
			if after.State != Retry || change.State != Retry || after.RetryOperation != "op" || Decide(after, true, retryNow) != Claim {
				t.Errorf("got %+v", after)
			}
		})
	}
}

// A bulk retry does what an operator does in the console and nothing else, so that
// the attempt that follows is the same.
func TestOperatorsRetryIsRETRYWrittenByHand(t *testing.T) {
	docs := map[string]Fields{
		"failed": {"state": "ERROR", "attempts": int64(3), "error": "e", "recipients": []any{Fields{"address": "a", "status": "accepted"}}},
		"waits": {
			"state": "PENDING", "attempts": int64(1), "nextAttemptTime": retryNow.Add(time.Hour), "retry": Series{Attempts: 1, Since: retryNow, ID: "s"}.stored(),
			"recipients": []any{Fields{"address": "a", "status": "accepted"}, Fields{"address": "b", "status": "pending"}},
		},
		"lapsed": {"state": "PROCESSING", "attempts": int64(0), "leaseId": "old", "leaseExpireTime": lapsedAt, "leasePhase": "claimed"},
	}
	for name, record := range docs {
		t.Run(name, func(t *testing.T) {
			doc := Fields{"delivery": record}
			c, err := ReadRecord(doc).Retried("op", Consent{}, retryNow)
			if err != nil {
				t.Fatal(err)
			}
			if got := c.Paths(); !slices.Equal(got, []string{"retryOperation", "state"}) {
				t.Errorf("it writes %v", got)
			}
			hand := clone(record)
			hand["state"] = "RETRY"
			moved, byHand := ReadRecord(c.AppliedTo(doc)), ReadRecord(Fields{"delivery": hand})
			lease := Lease{ID: "new", Expires: retryNow.Add(time.Minute)}
			a := moved.Claimed(lease, Policy{MaxAttempts: 3}, retryNow).AppliedTo(c.AppliedTo(doc))
			b := byHand.Claimed(lease, Policy{MaxAttempts: 3}, retryNow).AppliedTo(Fields{"delivery": hand})
			after := ReadRecord(a)
			after.RetryOperation = ""
			if want := ReadRecord(b); after.Series != want.Series || after.Lease != want.Lease || after.NextAttempt != want.NextAttempt ||
				!slices.Equal(after.Owed([]string{"a", "b"}), want.Owed([]string{"a", "b"})) {
				t.Errorf("got %+v, by hand %+v", after, want)
			}
			if ReadRecord(a).RetryOperation != "op" {
				t.Error("the claim has forgotten the operation")
			}
		})
	}
}
