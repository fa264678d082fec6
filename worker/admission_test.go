package worker

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	dto "github.com/prometheus/client_model/go"

	"postrider/delivery"
	"postrider/smtp"
)

// paced returns an office with a rate.
func paced(n int, per time.Duration) (*office, *tap, *server) {
	o, q, s := tapped()
	o.pacer = newPacer(delivery.Rate{N: n, Per: per})
	return o, q, s
}

func TestDocumentsBeyondTheRateWaitUnclaimed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o, q, _ := paced(10, time.Minute)
		o.fill(100)
		shut := o.open(t)
		time.Sleep(time.Minute - 1)
		synctest.Wait()
		if got := o.inStates(100); got[delivery.Success] != 10 || got[delivery.None] != 90 {
			t.Errorf("after a minute: %v", got)
		}
		if q.noted("claim") != 10 {
			t.Errorf("%d claims for 10 mails", q.noted("claim"))
		}
		time.Sleep(10 * time.Minute)
		synctest.Wait()
		if got := o.inStates(100); got[delivery.Success] != 100 {
			t.Errorf("in the end: %v", got)
		}
		shut()
	})
}

func TestMailThatIsNotMadeLeavesItsPlaceInTheRate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o, _, _ := paced(1, time.Hour)
		for i := range 20 {
			o.Put(fmt.Sprint("wrong-", i), delivery.Fields{"to": 7, "message": delivery.Fields{"text": "t"}})
		}
		shut := o.open(t)
		o.add("right", "1")
		time.Sleep(time.Second)
		synctest.Wait()
		o.want(t, "right", delivery.Success, 1)
		o.want(t, "wrong-19", delivery.Error, 1)
		shut()
	})
}

func TestWorkerStopsWhileDocumentsWaitForTheRate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o, _, _ := paced(1, 24*time.Hour)
		o.endsWhileDocumentsWait(t)
	})
}

func TestDocumentThatWouldWaitLongForTheRateIsTurnedAway(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o, q, _ := paced(1, time.Minute)
		o.options.Push = true
		shut := o.open(t)
		o.fill(2)
		if err := o.Deliver(t.Context(), o.event(t, "doc-0000")); err != nil {
			t.Error(err)
		}
		if err := o.Deliver(t.Context(), o.event(t, "doc-0001")); !errors.Is(err, delivery.ErrUnavailable) {
			t.Errorf("got %v, want delivery.ErrUnavailable", err)
		}
		if q.noted("claim") != 1 {
			t.Errorf("%d claims", q.noted("claim"))
		}
		time.Sleep(time.Minute)
		if err := o.Deliver(t.Context(), o.event(t, "doc-0001")); err != nil {
			t.Errorf("a minute later: %v", err)
		}
		shut()
	})
}

// tooFast is what Amazon's server says.
var tooFast = smtp.Reply{Code: 454, Lines: []string{"454 Throttling failure: Maximum sending rate exceeded."}}

// throttling is the answer of a server that takes so many mails within a second.
func throttling(most int) func(context.Context, context.Context, smtp.Mail) (smtp.Result, error) {
	var mu sync.Mutex
	var taken []time.Time
	return func(_, _ context.Context, m smtp.Mail) (smtp.Result, error) {
		mu.Lock()
		defer mu.Unlock()
		now := time.Now()
		if len(taken) >= most && now.Sub(taken[len(taken)-most]) < time.Second {
			return smtp.Result{}, &smtp.Error{Stage: smtp.StageMessage, Reply: tooFast}
		}
		taken = append(taken, now)
		return accepted(m)
	}
}

func TestServerThatAsksToSlowDownCostsNoMail(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o, q, s := tapped()
		s.answer = throttling(14)
		o.fill(2000)
		shut := o.open(t)
		time.Sleep(time.Minute)
		if testutil.ToFloat64(o.metrics.slowed) == 0 || !strings.Contains(o.log.String(), "mail server asks to slow down") {
			t.Error("nobody is told that it is slow")
		}
		time.Sleep(9 * time.Minute)
		synctest.Wait()
		if got := o.inStates(2000); got[delivery.Success] != 2000 {
			t.Errorf("%v", got)
		}
		if refused := q.noted("claim") - 2000; refused > 100 {
			t.Errorf("%d mails were refused and sent again", refused)
		}
		time.Sleep(time.Hour)
		if testutil.ToFloat64(o.metrics.slowed) != 0 {
			t.Error("an hour later it still counts as slow")
		}
		shut()
	})
}

// A server that has taken nothing lately may mean the mail: what becomes of it is
// for the policy to say, which is that of the extension by default.
func TestLoneMailThatIsToldToSlowDownIsNoException(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o, _, s := tapped()
		s.answer = throttling(0)
		o.add("a", "1")
		shut := o.open(t)
		time.Sleep(time.Minute)
		o.want(t, "a", delivery.Error, 1)
		shut()
	})
}

// A recipient that is told to get fewer mails is no reason to send a mail again
// that may have been taken.
func TestMailOfUnknownFateIsNotSparedForAThrottledRecipient(t *testing.T) {
	for name, reply := range map[string]smtp.Reply{"no reply": {}, "a temporary reply": tooFast} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				o, _, s := tapped()
				sent := 0
				s.answer = func(_, _ context.Context, m smtp.Mail) (smtp.Result, error) {
					if len(m.Envelope.To) == 1 {
						return accepted(m)
					}
					sent++
					return smtp.Result{}, &smtp.Error{
						Stage: smtp.StageMessage, Reply: reply, PossiblyAccepted: true, Err: smtp.ErrClosed,
						Recipients: []smtp.Recipient{{Address: m.Envelope.To[0], Reply: ok}, {Address: m.Envelope.To[1], Reply: tooFast}},
					}
				}
				o.add("first", "0")
				shut := o.open(t)
				time.Sleep(time.Second)
				o.Put("two", delivery.Fields{"to": []any{"ada@rcpt.test", "bob@rcpt.test"}, "message": delivery.Fields{"subject": "x", "text": "t"}})
				time.Sleep(2 * time.Minute)
				o.want(t, "two", delivery.Error, 1)
				if sent != 1 || o.class("two") != delivery.Unknown {
					t.Errorf("sent %d times, class %q", sent, o.class("two"))
				}
				shut()
			})
		})
	}
}

// A mail that is told so each time, for its recipient's sake, ends as its policy
// says, and does not slow the others down for long.
func TestOneThrottledRecipientDoesNotStopTheOthers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o, _, s := tapped()
		tried, took := 0, 0
		s.answer = func(_, _ context.Context, m smtp.Mail) (smtp.Result, error) {
			time.Sleep(50 * time.Millisecond)
			s.mu.Lock()
			defer s.mu.Unlock()
			if string(m.Message) == "poison" {
				tried++
				return smtp.Result{}, &smtp.Error{Stage: smtp.StageMessage, Reply: tooFast}
			}
			took++
			return accepted(m)
		}
		o.add("aaa", "0")
		shut := o.open(t)
		time.Sleep(time.Second)
		o.add("poison", "poison")
		for i := range 600 { // ten mails a second
			o.add(fmt.Sprint("m-", i), "z")
			time.Sleep(100 * time.Millisecond)
		}
		time.Sleep(5 * time.Minute)
		synctest.Wait()
		o.want(t, "poison", delivery.Error, 1)
		if tried != 1+mostSpared || took != 601 {
			t.Errorf("tried %d times, and %d others were sent", tried, took)
		}
		shut()
	})
}

// It waits unclaimed until then: each claim in vain costs two writes, and its
// attachments are fetched again.
func TestMailThatFoundNoRoomComesBackWhenItFits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o, q, s := tapped()
		o.composer, o.room.limit = &cellar{bytes: 160 << 10}, 1<<20
		o.hands = newHands(64)
		s.answer = func(_, _ context.Context, m smtp.Mail) (smtp.Result, error) {
			time.Sleep(28 * time.Second)
			return accepted(m)
		}
		o.fill(100)
		shut := o.open(t)
		time.Sleep(time.Hour)
		synctest.Wait()
		if got := o.inStates(100); got[delivery.Success] != 100 {
			t.Errorf("%v", got)
		}
		if claims := q.noted("claim"); claims > 2*100 {
			t.Errorf("%d claims for 100 mails", claims)
		}
		shut()
	})
}

// cellar composes mails of a size, and knows how many there were at once.
type cellar struct {
	bytes     int
	mu        sync.Mutex
	now, most int
}

func (c *cellar) Compose(ctx context.Context, doc delivery.Document, id string, now time.Time, hold func(context.Context, int) error) (Mail, error) {
	if err := hold(ctx, c.bytes); err != nil {
		return Mail{}, fmt.Errorf("compose: %w", err)
	}
	c.mu.Lock()
	c.now++
	c.most = max(c.most, c.now)
	c.mu.Unlock()
	return plain(ctx, doc, id, now)
}

func TestMailsThatTakeMuchRoomAreSentAFewAtATime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o, _, s := tapped()
		c := &cellar{bytes: 400 << 10} // two fit, and one more may overdraw
		o.composer = c
		s.answer = func(_, _ context.Context, m smtp.Mail) (smtp.Result, error) {
			time.Sleep(time.Second)
			c.mu.Lock()
			c.now--
			c.mu.Unlock()
			return accepted(m)
		}
		o.add("first", "0") // after it the server is known to work
		shut := o.open(t)
		time.Sleep(2 * time.Second)
		o.fill(50)
		time.Sleep(5 * time.Minute)
		synctest.Wait()
		if got := o.inStates(50); got[delivery.Success] != 50 || c.most != 3 {
			t.Errorf("%v, %d at once, want 3", got, c.most)
		}
		if o.room.taken != 0 || o.room.inside != 0 {
			t.Errorf("%d bytes are still taken", o.room.taken)
		}
		shut()
	})
}

func TestPhasesOfAMailAreMeasured(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o, _, s := tapped()
		s.takes = 2 * time.Second
		s.answer = func(_, _ context.Context, m smtp.Mail) (smtp.Result, error) {
			time.Sleep(3 * time.Second)
			return accepted(m)
		}
		o.add("a", "1")
		time.Sleep(time.Minute)
		shut := o.open(t)
		time.Sleep(time.Minute)
		shut()
		for p, want := range map[phase]float64{phaseClaim: 0, phaseCompose: 0, phaseConnect: 2, phaseTransaction: 3, phaseWriteBack: 0} {
			if n, sum := observed(t, o.metrics.timing.phases[p]); n != 1 || sum != want {
				t.Errorf("%v: %d observations of %v s, want one of %v", p, n, sum, want)
			}
		}
		if n, sum := observed(t, o.metrics.timing.age); n != 1 || sum != 60 {
			t.Errorf("age: %d observations of %v s, want one of 60", n, sum)
		}
	})
}

// observed returns how many observations a histogram has, and their sum.
func observed(t *testing.T, o prometheus.Observer) (n uint64, sum float64) {
	t.Helper()
	var m dto.Metric
	if err := o.(prometheus.Metric).Write(&m); err != nil {
		t.Fatal(err)
	}
	return m.GetHistogram().GetSampleCount(), m.GetHistogram().GetSampleSum()
}
