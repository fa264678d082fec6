package worker

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"

	"postrider/delivery"
	"postrider/delivery/deliverytest"
	"postrider/smtp"
)

// reasons counts the documents of fill by what delivery.error says of a setting.
func (o *office) reasons(n int, setting string) (count int) {
	for i := range n {
		record, _ := o.Get(fmt.Sprintf("doc-%04d", i))["delivery"].(delivery.Fields)
		text, _ := record["error"].(string)
		if strings.Contains(text, setting) {
			count++
		}
	}
	return count
}

// As many mails as may arrive at one address do, at the same time or one by one,
// and no more; the others say why.
func TestOneAddressGetsAsManyMailsAsItMay(t *testing.T) {
	for name, takes := range map[string]time.Duration{"at the same time": 5 * time.Second, "one by one": 0} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				o, _, s := tapped()
				o.options.Policy.PerRecipient = delivery.Rate{N: 20, Per: time.Hour}
				o.hands = newHands(50)
				shut := o.open(t)
				o.add("first", "") // which finds out that there is a server
				synctest.Wait()
				s.takes = takes
				o.fill(40)
				time.Sleep(10 * time.Minute)
				synctest.Wait()
				if got := o.inStates(40); got[delivery.Success] != 19 || got[delivery.Error] != 21 || len(s.begun()) != 20 {
					t.Errorf("%v, %d were sent", got, len(s.begun()))
				}
				if n := o.reasons(40, "MAX_PER_RECIPIENT"); n != 21 {
					t.Errorf("%d name the setting", n)
				}
				time.Sleep(time.Hour)
				o.add("later", "")
				time.Sleep(10 * time.Second)
				synctest.Wait()
				o.want(t, "later", delivery.Success, 1)
				if n := len(o.rates.going); n > 0 {
					t.Errorf("%d addresses are still reserved", n)
				}
				shut()
			})
		})
	}
}

// One mail counts once for an address, however it is written.
func TestAddressWrittenTwiceIsOne(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o, _, s := tapped()
		o.options.Policy.PerRecipient = delivery.Rate{N: 1, Per: time.Hour}
		shut := o.open(t)
		for _, id := range []string{"a", "b"} {
			o.Put(id, delivery.Fields{"to": []any{"Ada@y.test", "ada@y.test"}, "message": delivery.Fields{"subject": "s", "text": "t"}})
			synctest.Wait()
		}
		o.want(t, "a", delivery.Success, 1)
		o.want(t, "b", delivery.Error, 1)
		if len(s.begun()) != 1 {
			t.Errorf("%d mails", len(s.begun()))
		}
		shut()
	})
}

// What was not accepted gives its place back, however it ended.
func TestMailThatDoesNotArriveGivesItsPlaceBack(t *testing.T) {
	ends := map[string]func(ctx, limit context.Context, m smtp.Mail) (smtp.Result, error){
		"refused": func(_, _ context.Context, m smtp.Mail) (smtp.Result, error) {
			return says(smtp.StageMessage, 554, "554 no")(0, m)
		},
		"handed back": func(context.Context, context.Context, smtp.Mail) (smtp.Result, error) {
			time.Sleep(time.Second)
			return smtp.Result{}, &smtp.Error{Stage: smtp.StageConnect, Err: smtp.ErrBusy}
		},
		"a panic": func(context.Context, context.Context, smtp.Mail) (smtp.Result, error) { panic("secret") },
	}
	for name, answer := range ends {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				o, _, s := tapped()
				o.options.Policy.PerRecipient = delivery.Rate{N: 1, Per: time.Hour}
				s.answer = func(ctx, limit context.Context, m smtp.Mail) (smtp.Result, error) {
					if string(m.Message) == "good" || len(s.begun()) > 3 {
						return accepted(m)
					}
					return answer(ctx, limit, m)
				}
				shut := o.open(t)
				o.add("a", "bad")
				time.Sleep(time.Minute)
				if name != "handed back" {
					o.add("b", "good")
					synctest.Wait()
					o.want(t, "b", delivery.Success, 1)
				} else {
					o.want(t, "a", delivery.Success, 1)
				}
				if n := len(o.rates.going); n > 0 {
					t.Errorf("%v is reserved", o.rates.going)
				}
				shut()
			})
		})
	}
}

// countless is a store that does not count.
type countless struct {
	*deliverytest.Store
	until time.Time
}

func (s countless) Accepted(ctx context.Context, address string, since time.Time) (int, error) {
	if time.Now().Before(s.until) {
		return 0, errors.New("the query requires an index")
	}
	return s.Store.Accepted(ctx, address, since)
}

// While Firestore does not count, mails wait, and neither send nor claim in a
// hurry; somebody is told.
func TestMailWaitsWhileNobodyCounts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o, _, s := tapped()
		until := time.Now().Add(time.Hour)
		o.queue = brake{countless{o.Store, until}}
		o.options.Policy.PerRecipient = delivery.Rate{N: 1, Per: time.Hour}
		shut := o.open(t)
		o.add("a", "")
		time.Sleep(50 * time.Minute)
		synctest.Wait()
		if n := o.Writes(); n > 500 || len(s.begun()) > 0 {
			t.Errorf("%d writes, %d mails", n, len(s.begun()))
		}
		if _, n := o.state("a"); n > 0 || !strings.Contains(o.log.String(), "requires an index") {
			t.Errorf("%d attempts; the log does not say why", n)
		}
		time.Sleep(20 * time.Minute)
		o.want(t, "a", delivery.Success, 1)
		shut()
	})
}

// brake is a store that takes a while for a claim, as Firestore does, and ten
// seconds for each when there were too many: a test that fails must end.
type brake struct{ countless }

func (s brake) Apply(ctx context.Context, snap delivery.Snapshot, c delivery.Change) (delivery.Snapshot, error) {
	time.Sleep(10 * time.Millisecond)
	if s.Writes() > 1000 {
		time.Sleep(10 * time.Second)
	}
	return s.countless.Apply(ctx, snap, c)
}

// A mail that has waited for an earlier one to the same address, until its time to
// start or the worker's end, is not said to have failed to be counted.
func TestMailHandedBackUncountedSaysWhy(t *testing.T) {
	for name, until := range map[string]time.Duration{"its time to start": time.Minute, "the worker's end": time.Second} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				o, _, s := tapped()
				o.options.Policy.PerRecipient = delivery.Rate{N: 1, Per: time.Hour}
				s.answer = func(ctx, _ context.Context, _ smtp.Mail) (smtp.Result, error) {
					await(ctx, nil, 5*time.Minute)
					return smtp.Result{}, stopped(ctx, smtp.StageMessage)
				}
				shut := o.open(t)
				o.add("a", "")
				synctest.Wait()
				o.add("b", "")
				time.Sleep(until)
				shut()
				if log := o.log.String(); !strings.Contains(log, `"why":"it was not found out in time`) || strings.Contains(log, "can't be counted") {
					t.Error(log)
				}
			})
		})
	}
}

// A mail that takes long to compose has time to be counted, and to be sent.
func TestMailThatIsComposedSlowlyIsSent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o, _, s := tapped()
		o.options.Policy.PerRecipient = delivery.Rate{N: 1, Per: time.Hour}
		o.composer = composeFunc(func(ctx context.Context, doc delivery.Document, id string, now time.Time) (Mail, error) {
			time.Sleep(30 * time.Second)
			return plain(ctx, doc, id, now)
		})
		shut := o.open(t)
		o.add("a", "")
		time.Sleep(2 * time.Minute)
		o.want(t, "a", delivery.Success, 1)
		if n := testutil.ToFloat64(o.metrics.attempts.WithLabelValues("released")); n > 0 || len(s.begun()) != 1 {
			t.Errorf("handed back %v times, sent %d times", n, len(s.begun()))
		}
		shut()
	})
}

// A document whose operator, or whose program, wants it again and again is
// refused for a while.
func TestOneDocumentIsAttemptedAsOftenAsItMay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o, _, s := tapped()
		o.options.Policy.PerDocument = delivery.Rate{N: 10, Per: time.Hour}
		shut := o.open(t)
		o.add("doc-0000", "")
		for range 30 {
			synctest.Wait()
			o.edit("doc-0000", delivery.Fields{"state": "RETRY"})
		}
		synctest.Wait()
		o.want(t, "doc-0000", delivery.Error, 10)
		if len(s.begun()) != 10 || o.reasons(1, "MAX_PER_DOCUMENT") != 1 {
			t.Errorf("sent %d times; %v", len(s.begun()), o.Get("doc-0000"))
		}
		time.Sleep(time.Hour)
		o.edit("doc-0000", delivery.Fields{"state": "RETRY"})
		synctest.Wait()
		o.want(t, "doc-0000", delivery.Success, 11)
		shut()
	})
}
