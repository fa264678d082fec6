package worker

import (
	"context"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"

	"postrider/delivery"
	"postrider/smtp"
)

// patience to retry five times, after one, two, four and eight minutes.
var fiveTimes = delivery.Policy{MaxAttempts: 5, MinDelay: time.Minute, MaxDelay: time.Hour, MaxAge: 24 * time.Hour}

// diary notes when a mail server was asked to take a mail, and what it said.
type diary struct {
	times []time.Time
	mails []smtp.Mail
}

// answering returns an office whose server answers the n-th mail, from 0, in a
// way.
func answering(p delivery.Policy, answer func(n int, m smtp.Mail) (smtp.Result, error)) (*office, *tap, *diary) {
	o, q, s := tapped()
	o.options.Policy = p
	d := &diary{}
	s.answer = func(_, _ context.Context, m smtp.Mail) (smtp.Result, error) {
		s.mu.Lock()
		defer s.mu.Unlock()
		d.times, d.mails = append(d.times, time.Now()), append(d.mails, m)
		return answer(len(d.times)-1, m)
	}
	return o, q, d
}

func says(stage smtp.Stage, code int, line string) func(int, smtp.Mail) (smtp.Result, error) {
	return func(_ int, m smtp.Mail) (smtp.Result, error) {
		e := &smtp.Error{Stage: stage, Reply: said(code, line)}
		for _, to := range m.Envelope.To {
			e.Recipients = append(e.Recipients, smtp.Recipient{Address: to, Reply: ok})
		}
		return smtp.Result{}, e
	}
}

// What may work later is tried again, each time after twice as long, and in the
// end given up.
func TestTransientFailureIsTriedAgainWithDoublingDelays(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o, _, d := answering(fiveTimes, says(smtp.StageMessage, 451, "451 later"))
		shut := o.open(t)
		o.add("a", "1")
		synctest.Wait()
		o.want(t, "a", delivery.Pending, 1)
		if o.Get("a")["delivery"].(delivery.Fields)["nextAttemptTime"] == nil {
			t.Error("the record does not say until when it waits")
		}
		time.Sleep(3 * time.Hour)
		synctest.Wait()
		o.want(t, "a", delivery.Error, 5)
		if len(d.times) != 5 {
			t.Fatalf("%d attempts", len(d.times))
		}
		for n, delay := 1, time.Minute; n < 5; n, delay = n+1, 2*delay {
			gap := d.times[n].Sub(d.times[n-1])
			if gap < delay*3/4 || gap > delay*5/4+50*time.Second {
				t.Errorf("attempt %d comes %v after the one before, want about %v", n+1, gap, delay)
			}
		}
		shut()
	})
}

// Neither what will not work nor what may have worked is tried again.
func TestOnlyTransientFailuresAreTriedAgain(t *testing.T) {
	cases := map[string]struct {
		answer   func(int, smtp.Mail) (smtp.Result, error)
		class    delivery.Class
		policy   delivery.Policy
		attempts int64
	}{
		"permanent":        {says(smtp.StageMessage, 554, "554 spam"), delivery.Permanent, fiveTimes, 1},
		"retries are off":  {says(smtp.StageMessage, 451, "451 later"), delivery.Transient, delivery.Policy{MaxAttempts: 1}, 1},
		"too old for more": {says(smtp.StageMessage, 451, "451 later"), delivery.Transient, young(10 * time.Minute), 4},
		"too old at once":  {says(smtp.StageMessage, 451, "451 later"), delivery.Transient, young(10 * time.Second), 1},
		"of unknown fate":  {lostAfterTheDot, delivery.Unknown, fiveTimes, 1},
		"unknown at last": {func(n int, m smtp.Mail) (smtp.Result, error) {
			if n < 2 {
				return says(smtp.StageData, 451, "451 later")(n, m)
			}
			return lostAfterTheDot(n, m)
		}, delivery.Unknown, fiveTimes, 3},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				o, _, d := answering(c.policy, c.answer)
				shut := o.open(t)
				o.add("a", "1")
				time.Sleep(3 * time.Hour)
				synctest.Wait()
				if _, n := o.state("a"); c.policy.MaxAge == 10*time.Minute && n == 3 {
					c.attempts = n // the delays are random
				}
				o.want(t, "a", delivery.Error, c.attempts)
				if o.class("a") != c.class || int64(len(d.times)) != c.attempts {
					t.Errorf("class %q after %d mails", o.class("a"), len(d.times))
				}
				if last := d.times[len(d.times)-1].Sub(d.times[0]); c.policy.MaxAge == 10*time.Minute && last > 11*time.Minute {
					t.Errorf("tried for %v", last)
				}
				shut()
			})
		})
	}
}

func young(age time.Duration) delivery.Policy {
	p := fiveTimes
	p.MaxAge = age
	return p
}

func lostAfterTheDot(int, smtp.Mail) (smtp.Result, error) {
	return smtp.Result{}, &smtp.Error{Stage: smtp.StageMessage, Err: smtp.ErrClosed, PossiblyAccepted: true}
}

// Who has got a mail, or was refused it, gets it no second time; it is the same
// mail to the others.
func TestOnlyThoseWhoAreOwedAMailGetIt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		replies := map[string][]smtp.Reply{
			"a@y.test": {ok},
			"b@y.test": {said(451, "451 greylisted"), ok},
			"c@y.test": {said(550, "550 gone")},
			"d@y.test": {said(451, "451 greylisted"), said(451, "451 still"), ok},
		}
		o, _, d := answering(fiveTimes, func(n int, m smtp.Mail) (smtp.Result, error) {
			r := smtp.Result{Reply: ok}
			for _, to := range m.Envelope.To {
				r.Recipients = append(r.Recipients, smtp.Recipient{Address: to, Reply: replies[to][n]})
			}
			return r, nil
		})
		var ids []string
		o.composer = composeFunc(func(ctx context.Context, doc delivery.Document, id string, now time.Time) (Mail, error) {
			ids = append(ids, id)
			return plain(ctx, doc, id, now)
		})
		shut := o.open(t)
		o.Put("m", delivery.Fields{"to": []any{"a@y.test", "b@y.test", "c@y.test", "d@y.test"}, "message": delivery.Fields{"subject": "s", "text": "t"}})
		synctest.Wait()
		o.want(t, "m", delivery.Pending, 1)
		time.Sleep(time.Hour)
		synctest.Wait()
		o.want(t, "m", delivery.Success, 3)
		want := [][]string{{"a@y.test", "b@y.test", "c@y.test", "d@y.test"}, {"b@y.test", "d@y.test"}, {"d@y.test"}}
		for i, m := range d.mails {
			if len(d.mails) != 3 || !slices.Equal(m.Envelope.To, want[i]) || ids[i] != ids[0] {
				t.Errorf("attempt %d of %d to %v as %s", i+1, len(d.mails), m.Envelope.To, ids[i])
			}
		}
		info := o.Get("m")["delivery"].(delivery.Fields)["info"].(delivery.Fields)
		if a, r, p := info["accepted"].([]any), info["rejected"].([]any), info["pending"].([]any); len(a) != 3 || len(r) != 1 || len(p) != 0 {
			t.Errorf("accepted %v, rejected %v, pending %v", a, r, p)
		}
		shut()
	})
}

// An operator need not wait, whatever the program waits for.
func TestRetryByHandTakesEffectAtOnce(t *testing.T) {
	for name, set := range map[string]delivery.Fields{
		"RETRY":   {"state": "RETRY"},
		"PENDING": {"state": "PENDING", "nextAttemptTime": nil},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				o, _, d := answering(fiveTimes, func(n int, m smtp.Mail) (smtp.Result, error) {
					if n == 0 {
						return says(smtp.StageData, 451, "451 later")(n, m)
					}
					return accepted(m)
				})
				shut := o.open(t)
				o.add("a", "1")
				time.Sleep(10 * time.Second)
				synctest.Wait()
				o.edit("a", set)
				synctest.Wait()
				o.want(t, "a", delivery.Success, 2)
				time.Sleep(time.Hour)
				synctest.Wait()
				if len(d.times) != 2 {
					t.Errorf("%d attempts", len(d.times))
				}
				shut()
			})
		})
	}
}

// A wish has all attempts before it.
func TestRetryByHandBeginsACountAnew(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o, _, d := answering(fiveTimes, says(smtp.StageData, 451, "451 later"))
		shut := o.open(t)
		o.add("a", "1")
		time.Sleep(5 * time.Minute)
		synctest.Wait()
		before := len(d.times)
		o.edit("a", delivery.Fields{"state": "RETRY"})
		time.Sleep(3 * time.Hour)
		synctest.Wait()
		o.want(t, "a", delivery.Error, int64(before)+5)
		shut()
	})
}

// A document that changes, or goes, between two attempts is what it is then, and
// nobody makes a noise about it.
func TestDocumentMayChangeOrGoWhileItWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o, _, d := answering(fiveTimes, func(n int, m smtp.Mail) (smtp.Result, error) {
			if n < 2 {
				return says(smtp.StageData, 451, "451 later")(n, m)
			}
			return accepted(m)
		})
		shut := o.open(t)
		o.add("a", "1")
		o.add("b", "2")
		time.Sleep(10 * time.Second)
		synctest.Wait()
		o.Update("a", func(f delivery.Fields) { f["message"] = delivery.Fields{"subject": "edited", "text": "t"} })
		o.Delete("b")
		time.Sleep(3 * time.Hour)
		synctest.Wait()
		o.want(t, "a", delivery.Success, 2)
		if len(d.mails) != 3 || string(d.mails[2].Message) != "edited" || o.Get("b") != nil {
			t.Errorf("%d mails, the last one is %q; b is %v", len(d.mails), d.mails[len(d.mails)-1].Message, o.Get("b"))
		}
		if n := testutil.ToFloat64(o.metrics.unwritten); n > 0 || o.lines("error") > 0 {
			t.Errorf("%v unwritten; the log: %s", n, o.log)
		}
		shut()
	})
}

// So is one that changes, or goes, while a session is opened for it: what is gone
// is not sent where the mark tells, and what was edited is not written over.
func TestDocumentMayChangeOrGoWhileItIsInHand(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o, _, s := tapped()
		s.takes = 10 * time.Second
		o.options.Policy.RetryLapsed = true
		shut := o.open(t)
		o.add("a", "1")
		o.add("b", "2")
		time.Sleep(5 * time.Second)
		o.Update("a", func(f delivery.Fields) { f["note"] = "mine" })
		o.Delete("b")
		time.Sleep(time.Hour)
		synctest.Wait()
		o.want(t, "a", delivery.Success, 1)
		if o.Get("a")["note"] != "mine" || len(s.begun()) != 1 || o.Get("b") != nil {
			t.Errorf("a is %v, b is %v, %d mails", o.Get("a"), o.Get("b"), len(s.begun()))
		}
		if n := testutil.ToFloat64(o.metrics.unwritten); n > 0 || o.lines("error") > 0 {
			t.Errorf("%v unwritten; the log: %s", n, o.log)
		}
		shut()
	})
}
