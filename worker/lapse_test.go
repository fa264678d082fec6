package worker

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"postrider/delivery"
	"postrider/smtp"
)

// A mail may be tried again after its worker's death only if it provably never
// began: so the mark is written between the session and the first command.
func TestMarkIsWrittenBeforeTheFirstCommand(t *testing.T) {
	for marked, want := range map[bool]string{true: "claim session sending mail end", false: "claim session mail end"} {
		synctest.Test(t, func(t *testing.T) {
			o, q, s := tapped()
			o.options.Policy.RetryLapsed = marked
			phase := func(want delivery.Reach) {
				if got := o.lease("a").Phase; marked && got != want || !marked && got != "" {
					t.Errorf("phase %q, want %q", got, want)
				}
			}
			o.sender = hook{s, func() { q.note("session"); phase(delivery.ReachClaimed) }}
			s.answer = func(_, _ context.Context, m smtp.Mail) (smtp.Result, error) {
				q.note("mail")
				phase(delivery.ReachSending)
				return accepted(m)
			}
			shut := o.open(t)
			o.add("a", "1")
			synctest.Wait()
			o.want(t, "a", delivery.Success, 1)
			phase("")
			if marked && o.lease("a").Phase != "" || q.story() != want {
				t.Errorf("%s, want %s; phase %q", q.story(), want, o.lease("a").Phase)
			}
			shut()
		})
	}
}

// hook is a mail server that does something when there is a session.
type hook struct {
	*server
	session func()
}

func (h hook) Send(ctx, limit context.Context, m smtp.Mail) (smtp.Result, error) {
	begin := m.Begin
	m.Begin = func(fresh bool) error {
		h.session()
		return begin(fresh)
	}
	return h.server.Send(ctx, limit, m)
}

// A mail whose mark could not be written is not sent.
func TestNothingIsSentWithoutItsMark(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o, q, s := tapped()
		o.options.Policy.RetryLapsed = true
		o.options.Attempt = 45 * time.Second // it takes no renewal
		q.before = hinder("sending")
		shut := o.open(t)
		o.add("a", "1")
		time.Sleep(time.Hour)
		if len(s.begun()) > 0 {
			t.Error("sent")
		}
		if n := q.noted("claim"); n > 90 {
			t.Errorf("claimed %d times within an hour", n)
		}
		shut()
	})
}

// mortal returns two offices over one collection, and what kills the first one:
// it writes nothing any more, and its mail server's call returns only when it is
// buried.
func mortal(t *testing.T) (first, second *office, die, bury func()) {
	t.Helper()
	var dead atomic.Bool
	o, q, s := tapped()
	q.before = func(context.Context, string, string) error {
		if dead.Load() {
			return errors.New("dead")
		}
		return nil
	}
	grave := make(chan struct{})
	s.answer = func(_, _ context.Context, m smtp.Mail) (smtp.Result, error) {
		<-grave
		return accepted(m)
	}
	other := o.beside("two", nil)
	other.sender = &server{}
	return o, other, func() { dead.Store(true); o.Die("one") }, func() { close(grave) }
}

// beforeMark is a mail server whose worker never comes to its session.
type beforeMark struct {
	*server
	grave chan struct{}
}

func (s beforeMark) Send(ctx, limit context.Context, m smtp.Mail) (smtp.Result, error) {
	<-s.grave
	return smtp.Result{}, &smtp.Error{Stage: smtp.StageConnect, Err: errors.New("dead")}
}

// What a dead worker leaves behind is sent if it never began, and of unknown
// fate else.
func TestMailOfADeadWorkerIsSentOnceOrUnknown(t *testing.T) {
	for name, began := range map[string]bool{"before the mark": false, "after the mark": true} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				one, two, die, bury := mortal(t)
				one.options.Policy.RetryLapsed, two.options.Policy.RetryLapsed = true, true
				one.options.Policy.MinDelay, one.options.Policy.MaxDelay = time.Second, time.Minute
				two.options.Policy = one.options.Policy
				grave := make(chan struct{})
				if !began {
					one.sender = beforeMark{&server{}, grave}
				}
				shut := []func(){one.open(t), two.open(t)}
				id := two.theirs()
				one.add(id, "1")
				time.Sleep(5 * time.Second)
				one.want(t, id, delivery.Processing, 0)
				die()
				time.Sleep(55*time.Second + 60*time.Second + 61*time.Second)
				if began {
					one.want(t, id, delivery.Error, 0)
					if one.class(id) != delivery.Unknown {
						t.Errorf("class %q", one.class(id))
					}
				} else {
					one.want(t, id, delivery.Success, 1)
				}
				want := 1
				if began {
					want = 0
				}
				if n := len(two.sender.(*server).begun()); n != want {
					t.Errorf("the other sent %d", n)
				}
				close(grave)
				bury()
				for _, f := range shut {
					f()
				}
			})
		})
	}
}

// A lapsed lease is recorded within a sweep of its end, by a worker whose hands
// are all full for long, with thousands of documents waiting: its owner may be
// long forgotten, or have died just now.
func TestLapsedLeaseIsRecordedInTimeHoweverBusyTheHands(t *testing.T) {
	for name, known := range map[string]bool{"of one long gone": false, "of one that has just died": true} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				one, two, die, bury := mortal(t)
				two.sender = &server{answer: never}
				var shut []func()
				if known {
					shut = append(shut, one.open(t))
				}
				shut = append(shut, two.open(t))
				die()
				for i := range 3000 {
					two.Put(fmt.Sprintf("wait-%04d", i), delivery.Fields{
						"to": "x@y.test", "message": delivery.Fields{"subject": "s", "text": "t"},
						"delivery": delivery.Fields{"state": "PENDING", "attempts": int64(0)},
					})
				}
				time.Sleep(time.Minute)
				if two.hands.free() > 0 {
					t.Fatal("a hand is free")
				}
				ends := time.Now().Add(30 * time.Second).UTC()
				for i := range 20 {
					two.Put(fmt.Sprintf("lapse-%02d", i), delivery.Fields{
						"to": "x@y.test", "message": delivery.Fields{"subject": "s", "text": "t"},
						"delivery": delivery.Fields{"state": "PROCESSING", "leaseId": "dead", "leaseExpireTime": ends, "attempts": int64(0)},
					})
				}
				time.Sleep(time.Until(ends) + 60*time.Second)
				for i := range 20 {
					two.want(t, fmt.Sprintf("lapse-%02d", i), delivery.Error, 0)
				}
				bury()
				for i := range 3000 { // there is no need to wait for them
					two.Delete(fmt.Sprintf("wait-%04d", i))
				}
				for _, f := range shut {
					f()
				}
			})
		})
	}
}

// A document that waits in a hand, or for one, is no exception.
func TestLapsedLeaseOfADocumentThatWaitsInAHandIsRecorded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o, _, s := tapped()
		s.down = refused
		o.options.Policy.MaxAttempts, o.options.Policy.MinDelay, o.options.Policy.MaxDelay = 9, time.Minute, time.Minute
		o.options.Policy.MaxAge = 24 * time.Hour
		shut := o.open(t)
		for i := range 12 {
			o.add(fmt.Sprintf("doc-%02d", i), "")
		}
		time.Sleep(time.Minute) // nothing is claimed any more
		ends := time.Now().Add(time.Minute).UTC()
		waiting := 0
		for i := range 12 { // another instance has another route to the server, and dies
			if id := fmt.Sprintf("doc-%02d", i); o.hands.knows(id) {
				waiting++
				o.Put(id, delivery.Fields{
					"to": "x@y.test", "message": delivery.Fields{"subject": "s", "text": "t"},
					"delivery": delivery.Fields{"state": "PROCESSING", "leaseId": "dead", "leaseExpireTime": ends, "attempts": int64(0)},
				})
			}
		}
		if waiting == 0 {
			t.Fatal("no document waits in a hand")
		}
		time.Sleep(time.Until(ends) + 60*time.Second)
		synctest.Wait()
		for i := range 12 {
			id := fmt.Sprintf("doc-%02d", i)
			if l := o.lease(id); l.ID == "dead" {
				t.Errorf("%s: the lapsed lease is not recorded", id)
			}
		}
		shut()
	})
}
