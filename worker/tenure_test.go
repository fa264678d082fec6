package worker

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"

	"postrider/delivery"
	"postrider/smtp"
)

// However long a server takes to answer the final dot, the lease is always
// ahead, up to the time of an attempt; and then nobody knows.
func TestAttemptThatGoesOnKeepsItsLeaseUntilItsTimeIsOver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o, _, s := tapped()
		s.answer = never
		other := o.beside("two", nil)
		other.sender = s
		shut := []func(){o.open(t), other.open(t)}
		o.add("a", "1")
		began, moves, last := time.Now(), 0, time.Time{}
		for time.Since(began) < 10*time.Minute-time.Second {
			time.Sleep(time.Second)
			synctest.Wait()
			o.want(t, "a", delivery.Processing, 0)
			expires := o.lease("a").Expires
			if !expires.After(time.Now().Add(10 * time.Second)) {
				t.Fatalf("after %v only %v are left", time.Since(began), time.Until(expires))
			}
			if expires.After(last) {
				moves, last = moves+1, expires
			}
		}
		if moves < 10 || moves > 20 {
			t.Errorf("the lease's end has moved %d times", moves)
		}
		time.Sleep(2 * time.Second)
		o.want(t, "a", delivery.Error, 1)
		if o.class("a") != delivery.Unknown || len(s.begun()) != 1 {
			t.Errorf("class %q, sent %d times", o.class("a"), len(s.begun()))
		}
		time.Sleep(time.Hour)
		o.want(t, "a", delivery.Error, 1)
		for _, f := range shut {
			f()
		}
	})
}

// What can't be renewed is over a margin before the lease's end, and its end is
// recorded within it.
func TestAttemptWithoutRenewalEndsAMarginBeforeItsLease(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o, q, s := tapped()
		q.before = hinder("renewal")
		s.answer = never
		shut := o.open(t)
		o.add("a", "1")
		time.Sleep(50*time.Second - time.Millisecond)
		synctest.Wait()
		o.want(t, "a", delivery.Processing, 0)
		time.Sleep(time.Millisecond + time.Microsecond)
		synctest.Wait()
		o.want(t, "a", delivery.Error, 1)
		if o.class("a") != delivery.Unknown {
			t.Errorf("class %q", o.class("a"))
		}
		shut()
	})
}

// A lease counts from when it was asked for: an answer that takes long gives no
// more time.
func TestRenewalThatIsAnsweredLateLeavesTheMarginAlone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o, q, s := tapped()
		q.before = func(ctx context.Context, kind, id string) error {
			if kind == "renewal" && q.noted("renewal") == 1 {
				time.Sleep(15 * time.Second)
				return nil
			}
			return hinder("renewal")(ctx, kind, id)
		}
		var over time.Time
		s.answer = func(ctx, limit context.Context, m smtp.Mail) (smtp.Result, error) {
			r, err := never(ctx, limit, m)
			over = time.Now()
			if left := o.lease("a").Expires.Sub(over).Round(time.Millisecond); left != 10*time.Second {
				t.Errorf("the attempt ends %v before its lease, want the margin", left)
			}
			return r, err
		}
		shut := o.open(t)
		o.add("a", "1")
		time.Sleep(3 * time.Minute)
		synctest.Wait()
		if q.noted("renewal") < 2 || over.IsZero() {
			t.Errorf("%d renewals, over at %v", q.noted("renewal"), over)
		}
		shut()
	})
}

// What the mail server's side looks at is when the time is over, which moves: a
// process that was stopped for a while wakes up before its timers.
func TestLimitTellsWhenTheTimeIsOver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o, _, s := tapped()
		s.answer = func(_, limit context.Context, m smtp.Mail) (smtp.Result, error) {
			for range 2 {
				end, there := limit.Deadline()
				if want := o.lease("a").Expires.Add(-10 * time.Second); !there || end.Sub(want).Abs() > time.Millisecond {
					t.Errorf("the limit tells %v, %v; want %v", end, there, want)
				}
				time.Sleep(40 * time.Second) // past a renewal
			}
			return accepted(m)
		}
		shut := o.open(t)
		o.add("a", "1")
		time.Sleep(2 * time.Minute)
		o.want(t, "a", delivery.Success, 1)
		shut()
	})
}

// Few mails need more than two writes.
func TestShortAttemptIsNotRenewed(t *testing.T) {
	for name, c := range map[string]struct {
		takes  time.Duration
		lapsed bool
		writes int
	}{
		"half a minute":         {30 * time.Second, false, 2},
		"half a minute, marked": {30 * time.Second, true, 3},
		"longer":                {40 * time.Second, false, 3},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				o, _, s := tapped()
				s.takes, o.options.Policy.RetryLapsed = c.takes, c.lapsed
				shut := o.open(t)
				o.add("a", "1")
				time.Sleep(time.Minute)
				o.want(t, "a", delivery.Success, 1)
				if o.Writes() != c.writes {
					t.Errorf("%d writes, want %d", o.Writes(), c.writes)
				}
				shut()
			})
		})
	}
}

// A renewal that finds the document in other hands cuts the mail while that is
// safe, and what the other one writes stays.
func TestLostLeaseCutsTheMailBeforeItsDot(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o, _, s := tapped()
		var why error
		s.answer = func(ctx, limit context.Context, _ smtp.Mail) (smtp.Result, error) {
			<-ctx.Done()
			if why = context.Cause(ctx); limit.Err() != nil {
				t.Error("a mail whose dot was sent would be cut too")
			}
			return smtp.Result{}, stopped(ctx, smtp.StageData)
		}
		shut := o.open(t)
		o.add("a", "1")
		time.Sleep(10 * time.Second)
		later := time.Now().Add(time.Hour).UTC()
		o.edit("a", delivery.Fields{"leaseId": "another", "leaseExpireTime": later})
		time.Sleep(40 * time.Second)
		synctest.Wait()
		if !errors.Is(why, errTakenOver) {
			t.Errorf("cut for %v", why)
		}
		o.want(t, "a", delivery.Processing, 0)
		if l := o.lease("a"); l.ID != "another" || !l.Expires.Equal(later) {
			t.Errorf("the other's lease is %+v now", l)
		}
		if n := testutil.ToFloat64(o.metrics.unwritten); n > 0 || o.lines("error") > 0 {
			t.Errorf("%v unwritten; the log: %s", n, o.log)
		}
		shut()
	})
}

// An operator's wish outlasts renewals.
func TestRenewalKeepsWhatAnOperatorWrote(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o, _, s := tapped()
		s.takes = 45 * time.Second
		shut := o.open(t)
		o.add("a", "1")
		time.Sleep(10 * time.Second)
		before := o.lease("a")
		o.edit("a", delivery.Fields{"state": "RETRY"})
		time.Sleep(30 * time.Second)
		o.want(t, "a", delivery.Retry, 0)
		if now := o.lease("a"); now.ID != before.ID || !now.Expires.After(before.Expires) {
			t.Errorf("the lease was %+v, is %+v", before, now)
		}
		time.Sleep(time.Hour)
		o.want(t, "a", delivery.Success, 2)
		shut()
	})
}

// A worker that must stop waits for a mail of unknown fate as long as it holds
// the lease, but no longer.
func TestWorkerThatStopsRenewsNoMore(t *testing.T) {
	for name, c := range map[string]struct {
		stop, end time.Duration
		renewals  int
	}{
		"at once":         {5 * time.Second, 50 * time.Second, 0},
		"after a renewal": {40 * time.Second, 100*time.Second/3 + 50*time.Second, 1},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				o, q, s := tapped()
				s.answer = never
				shut := o.open(t)
				o.add("a", "1")
				began := time.Now()
				time.Sleep(c.stop)
				shut()
				if took := time.Since(began); took.Round(time.Millisecond) != c.end.Round(time.Millisecond) {
					t.Errorf("ended after %v, want %v", took, c.end)
				}
				o.want(t, "a", delivery.Error, 1)
				if n := q.noted("renewal"); n != c.renewals {
					t.Errorf("%d renewals, want %d", n, c.renewals)
				}
			})
		})
	}
}

// The end of an attempt cuts a renewal that is under way, and is written after it.
func TestEndOfAnAttemptComesAfterItsRenewal(t *testing.T) {
	for name, applied := range map[string]bool{"never applied": false, "applied without an answer": true} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				o, q, s := tapped()
				running := false
				q.before = func(ctx context.Context, kind, _ string) error {
					switch {
					case kind == "end" && running:
						t.Error("the end is written under a renewal")
					case kind == "renewal":
						running = true
						<-ctx.Done()
						running = false
						if applied {
							o.edit("a", delivery.Fields{"leaseExpireTime": time.Now().Add(time.Minute).UTC()})
						}
						return ctx.Err()
					}
					return nil
				}
				s.answer = func(_, _ context.Context, m smtp.Mail) (smtp.Result, error) {
					time.Sleep(35 * time.Second)
					return accepted(m)
				}
				shut := o.open(t)
				o.add("a", "1")
				time.Sleep(time.Minute)
				o.want(t, "a", delivery.Success, 1)
				if q.noted("renewal") != 1 || len(s.begun()) != 1 {
					t.Errorf("wrote %s, sent %d", q.story(), len(s.begun()))
				}
				shut()
			})
		})
	}
}

// Renewal, mark and end may come at the same moment.
func TestRenewalMarkAndEndDoNotGetInEachOthersWay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o, _, s := tapped()
		o.options.Policy.RetryLapsed = true
		s.takes = o.renewal()
		s.answer = func(_, _ context.Context, m smtp.Mail) (smtp.Result, error) {
			time.Sleep(o.renewal()) // to the moment of the next one
			return accepted(m)
		}
		for i := range 30 {
			o.add(fmt.Sprint("doc-", i), "")
		}
		shut := o.open(t)
		time.Sleep(10 * time.Minute)
		for i := range 30 {
			o.want(t, fmt.Sprint("doc-", i), delivery.Success, 1)
		}
		if n := len(s.begun()); n != 30 {
			t.Errorf("%d mails", n)
		}
		shut()
	})
}

// A process that was stopped past its lease, with a session at last in hand,
// sends nothing, and says nothing of it: whoever has the document now tells.
func TestFrozenWorkerSendsNothingAfterItsLease(t *testing.T) {
	for name, recorded := range map[string]bool{"nobody was there": false, "another has recorded it": true} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				o, q, s := tapped()
				s.takes = time.Second
				shut := o.open(t)
				o.add("a", "1")
				time.Sleep(time.Second / 2)
				q.jump.Store(int64(50 * time.Second)) // a margin before the lease's end
				if recorded {
					o.Update("a", func(f delivery.Fields) {
						f["delivery"] = delivery.ReadRecord(f).Expired(delivery.Policy{}, 0, q.Now()).AppliedTo(f)["delivery"]
					})
				}
				time.Sleep(time.Second * 3 / 4)
				if len(s.begun()) > 0 {
					t.Error("sent after its time")
				}
				time.Sleep(time.Minute)
				if recorded {
					o.want(t, "a", delivery.Error, 0)
				} else {
					o.want(t, "a", delivery.Success, 1)
				}
				if n := testutil.ToFloat64(o.metrics.unwritten); n > 0 || o.lines("error") > 0 {
					t.Errorf("%v unwritten; the log: %s", n, o.log)
				}
				shut()
			})
		})
	}
}
