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
	"postrider/smtp"
)

// fill adds n mails.
func (o *office) fill(n int) {
	for i := range n {
		o.add(fmt.Sprintf("doc-%04d", i), fmt.Sprint(i))
	}
}

// inStates counts the documents that fill has added by their states.
func (o *office) inStates(n int) map[delivery.State]int {
	count := map[delivery.State]int{}
	for i := range n {
		state, _ := o.state(fmt.Sprintf("doc-%04d", i))
		count[state]++
	}
	return count
}

// Until a server was seen to work, no more than one document depends on it, for
// a turn.
func TestWorkerBeginsWithOneDocumentAtATime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o, _, s := tapped()
		s.takes = 40 * time.Second
		o.fill(20)
		shut := o.open(t)
		for i, at := range []time.Duration{time.Second, turnTime - 2*time.Second, 2 * time.Second, turnTime} {
			time.Sleep(at)
			synctest.Wait()
			if _, n, _ := s.tried(); n != max(1, i) {
				t.Errorf("look %d: %d at once", i, n)
			}
		}
		time.Sleep(time.Until(s.asked(time.Time{})[0].Add(s.takes + time.Second)))
		synctest.Wait()
		if _, n, _ := s.tried(); n != 10 {
			t.Errorf("with a session %d at once", n)
		}
		time.Sleep(3 * time.Minute)
		if got := o.inStates(20); got[delivery.Success] != 20 {
			t.Errorf("in the end %v", got)
		}
		shut()
	})
}

// A worker that begins during an outage costs one mail an attempt, though the
// turns of several come before the first one has failed.
func TestStartDuringAnOutageBurnsOneMailAtMost(t *testing.T) {
	for _, takes := range []time.Duration{0, time.Second, 2*turnTime + 5*time.Second} {
		t.Run(takes.String(), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				o, _, s := tapped()
				s.takes, s.down = takes, refused
				o.fill(100)
				for starts := range 5 {
					again := o
					if starts > 0 {
						again = o.beside("one", nil)
						again.sender = s
					}
					shut := again.open(t)
					time.Sleep(10 * time.Minute)
					shut()
					if got := o.inStates(100); got[delivery.Error] != starts+1 {
						t.Errorf("after start %d: %v", starts+1, got)
					}
				}
				s.set(nil)
				again := o.beside("one", nil)
				again.sender = s
				shut := again.open(t)
				time.Sleep(2 * time.Minute)
				if got := o.inStates(100); takes < turnTime && got[delivery.Success] != 95 {
					t.Errorf("with the server back: %v", got)
				}
				shut()
			})
		})
	}
}

// A document that has nothing to do with the server keeps nobody waiting for
// long.
func TestDocumentThatIsNotComposedLetsTheNextOneTry(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o, _, s := tapped()
		o.composer = composeFunc(func(ctx context.Context, doc delivery.Document, id string, now time.Time) (Mail, error) {
			if doc.Message.Subject != "9" {
				return Mail{}, &delivery.Failure{Class: delivery.Permanent, Phase: delivery.PhaseCompose, Message: "Error: no"}
			}
			return plain(ctx, doc, id, now)
		})
		o.fill(10)
		shut := o.open(t)
		synctest.Wait()
		if got := o.inStates(10); got[delivery.Error] != 9 || len(s.begun()) != 1 {
			t.Errorf("%v", got)
		}
		shut()
	})
}

// A server that can't be used costs one mail an attempt; the others wait without
// a trace, and are sent by themselves when it is back.
func TestOutageLeavesDocumentsUnclaimed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o, q, s := tapped()
		s.down = refused
		o.fill(1000)
		shut := o.open(t)
		time.Sleep(time.Minute)
		synctest.Wait()
		writes := o.Writes()
		if got := o.inStates(1000); got[delivery.None] != 999 || got[delivery.Error] != 1 || s.all() != 1 || writes != 2 {
			t.Errorf("%v, %d tries, %d writes", got, s.all(), writes)
		}
		if p := o.Status().Problem; p == nil || !strings.Contains(p.Error(), "unclaimed") || !strings.Contains(p.Error(), "refused") {
			t.Errorf("the status says %v", p)
		}
		if n := testutil.ToFloat64(o.metrics.down); n != 1 {
			t.Errorf("the metric says %v", n)
		}
		time.Sleep(3*time.Hour - time.Minute)
		synctest.Wait()
		if o.Writes() != writes || s.all() != 1 || q.noted("claim") != 1 {
			t.Errorf("%d writes, %d tries, %d claims", o.Writes(), s.all(), q.noted("claim"))
		}
		if n := s.probed(); n < 150 || n > 200 {
			t.Errorf("%d probes in three hours", n)
		}
		for i, at := range s.probes {
			want, before := min(time.Minute, time.Second<<min(i, 8)), s.tries[0]
			if i > 0 {
				before = s.probes[i-1]
			}
			if gap := at.Sub(before); gap < want || gap > want+time.Second/4 {
				t.Errorf("probe %d after %v, want about %v", i+1, gap, want)
			}
		}
		if log := o.log.String(); strings.Count(log, `"mail server can't be used"`) != 1 || strings.Contains(log, "used again") {
			t.Errorf("the log: %s", log)
		}
		s.set(nil)
		time.Sleep(2 * time.Minute)
		synctest.Wait()
		if got := o.inStates(1000); got[delivery.Success] != 999 {
			t.Errorf("with the server back: %v", got)
		}
		if n := testutil.ToFloat64(o.metrics.down); n != 0 || o.Status().Problem != nil || strings.Count(o.log.String(), "used again") != 1 {
			t.Errorf("the metric says %v, the status %v", n, o.Status().Problem)
		}
		shut()
	})
}

// told reports whether anybody was told of an outage.
func (o *office) told() bool {
	return testutil.ToFloat64(o.metrics.down) != 0 || o.Status().Problem != nil || strings.Contains(o.log.String(), `"mail server can't be used"`)
}

// It is told once there have been five failures in a row, a mail's and four
// probes', whichever comes first: not before.
func TestOutageIsToldAfterFiveFailuresInARow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o, _, s := tapped()
		s.down = refused
		o.add("a", "1")
		shut := o.open(t)
		for len(s.asked(time.Time{})) < 5 {
			if o.told() {
				t.Fatalf("told after %d failures", len(s.asked(time.Time{})))
			}
			time.Sleep(100 * time.Millisecond)
			synctest.Wait()
		}
		if testutil.ToFloat64(o.metrics.down) != 1 || o.Status().Problem == nil || strings.Count(o.log.String(), `"mail server can't be used"`) != 1 {
			t.Errorf("the metric says %v, the status %v; the log: %s", testutil.ToFloat64(o.metrics.down), o.Status().Problem, o.log)
		}
		shut()
	})
}

// A connection that is refused by chance costs the others a second, and nobody
// is told.
func TestChanceFailureCostsASecond(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o, _, s := tapped()
		shut := o.open(t)
		o.add("first", "")
		synctest.Wait()
		for n := range 3 {
			s.set(refused)
			o.add("unlucky", "")
			synctest.Wait()
			s.set(nil)
			o.fill(50)
			time.Sleep(time.Second - 1)
			synctest.Wait()
			if got := s.probed() - n; got != 0 {
				t.Errorf("%d probes within a second of the failure", got)
			}
			time.Sleep(time.Second/4 + 1)
			synctest.Wait()
			if got := o.inStates(50); got[delivery.Success] != 50 {
				t.Errorf("a second later: %v", got)
			}
			o.want(t, "unlucky", delivery.Error, 1)
			o.Delete("unlucky")
			for i := range 50 {
				o.Delete(fmt.Sprintf("doc-%04d", i))
			}
			synctest.Wait()
		}
		if s.probed() != 3 || o.told() || strings.Contains(o.log.String(), "used again") {
			t.Errorf("%d probes; the log: %s", s.probed(), o.log)
		}
		shut()
	})
}

// The first probe keeps its distance from the failure, whatever comes to its end
// in between: the mail that has failed, or another one that was under way.
func TestFirstProbeKeepsItsDistance(t *testing.T) {
	for name, c := range map[string]struct {
		down *smtp.Error
		gap  time.Duration
	}{"refused": {refused, time.Second}, "wrong login": {badLogin, time.Minute}} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				o, _, s := tapped()
				s.takes, s.down = turnTime+5*time.Second, c.down
				o.fill(3)
				shut := o.open(t)
				time.Sleep(s.takes) // one has failed, one is under way
				synctest.Wait()
				if got := o.inStates(3); got[delivery.Error] != 1 || got[delivery.Processing] != 1 {
					t.Errorf("%v", got)
				}
				time.Sleep(c.gap - 1)
				synctest.Wait()
				if n := s.probed(); n != 0 {
					t.Errorf("%d probes within %v of the failure", n, c.gap)
				}
				time.Sleep(c.gap/4 + 1)
				synctest.Wait()
				if n := s.probed(); n != 1 {
					t.Errorf("%d probes after %v", n, c.gap)
				}
				shut()
			})
		})
	}
}

// A lone mail spends one attempt, however long the outage: it waits unclaimed,
// though its next one is due.
func TestLoneMailOutlivesAnOutage(t *testing.T) {
	for name, down := range map[string]*smtp.Error{"refused": refused, "wrong login": badLogin} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				o, q, s := tapped()
				o.options.Policy = delivery.Policy{MaxAttempts: 4, MinDelay: time.Minute, MaxDelay: time.Hour, MaxAge: 24 * time.Hour}
				shut := o.open(t)
				o.add("first", "")
				synctest.Wait()
				s.set(down)
				o.add("a", "1")
				time.Sleep(time.Hour)
				synctest.Wait()
				o.want(t, "a", delivery.Pending, 1)
				if q.noted("claim") != 2 || !o.told() {
					t.Errorf("wrote %s; the status says %v", q.story(), o.Status().Problem)
				}
				s.set(nil)
				time.Sleep(20 * time.Minute)
				synctest.Wait()
				o.want(t, "a", delivery.Success, 2)
				shut()
			})
		})
	}
}

// With retries even that one loses nothing.
func TestOutageCostsNobodyAMailThatMayBeTriedAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o, _, s := tapped()
		o.options.Policy = fiveTimes
		s.down = refused
		o.fill(1000)
		shut := o.open(t)
		time.Sleep(3 * time.Hour)
		s.set(nil)
		time.Sleep(10 * time.Minute)
		synctest.Wait()
		if got := o.inStates(1000); got[delivery.Success] != 1000 {
			t.Errorf("%v", got)
		}
		burnt := 0
		for i := range 1000 {
			if _, n := o.state(fmt.Sprintf("doc-%04d", i)); n > 1 {
				burnt += int(n) - 1
			}
		}
		if burnt != 1 {
			t.Errorf("%d attempts were in vain, want 1", burnt)
		}
		shut()
	})
}

// A kept session that delivers ends an outage that is none of the login: somebody
// is there.
func TestKeptSessionEndsAnOutageOfOtherCauses(t *testing.T) {
	o := newOutage()
	o.succeed(true, time.Now())
	o.fail(refused, time.Now())
	if o.succeed(false, time.Now()); o.circuit != closed {
		t.Error("still open")
	}
}

// A server that fails while many mails are on their way gets no session for any:
// what is known already counts for nobody.
func TestMailsUnderWayAreHandedBackWhenAnOutageIsKnown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o, _, s := tapped()
		s.takes = time.Second
		s.room = make(chan struct{}, 6)
		o.add("first", "")
		shut := o.open(t)
		time.Sleep(2 * time.Second)
		s.set(refused)
		o.fill(30)
		time.Sleep(time.Minute)
		synctest.Wait()
		if got := o.inStates(30); got[delivery.Error] != 1 || got[delivery.Pending] != 9 || got[delivery.None] != 20 {
			t.Errorf("%v", got)
		}
		for i := range 30 {
			id := fmt.Sprintf("doc-%04d", i)
			if state, n := o.state(id); state == delivery.Pending && n != 0 {
				t.Errorf("%s: handed back after %d attempts", id, n)
			}
		}
		if n := s.all(); n != 1+6 { // those that waited for room ask for no session
			t.Errorf("%d tries", n)
		}
		s.set(nil)
		time.Sleep(2 * time.Minute)
		if got := o.inStates(30); got[delivery.Success] != 29 {
			t.Errorf("with the server back: %v", got)
		}
		shut()
	})
}

// Failures must come in a row, unless the login is refused.
func TestSessionForgetsFailures(t *testing.T) {
	o := newOutage()
	for range 3 {
		for i := range mostFailures - 1 {
			if known, _ := o.fail(refused, time.Now()); known != (i > 0) || o.problem() != nil {
				t.Fatalf("failure %d: known %v, told %v", i+1, known, o.problem())
			}
		}
		o.succeed(true, time.Now())
	}
	for range mostFailures {
		o.fail(refused, time.Now())
	}
	if o.problem() == nil {
		t.Error("five in a row are no problem")
	}
	o.succeed(true, time.Now())
	o.fail(badLogin, time.Now())
	if o.problem() == nil {
		t.Error("a wrong login is no problem")
	}
}

// A drain can't wait: it says why nothing was sent.
func TestDrainEndsInAnErrorDuringAnOutage(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o, _, s := tapped()
		s.down = refused
		o.fill(30)
		tally, err := o.Drain(t.Context())
		if err == nil || !strings.Contains(err.Error(), "unclaimed") || tally.Failed != 1 {
			t.Errorf("%+v, %v", tally, err)
		}
		if got := o.inStates(30); got[delivery.None] != 29 || s.probed() != mostFailures-1 {
			t.Errorf("%v, %d probes", got, s.probed())
		}
	})
}

// But not because of a chance failure, and not before it is one.
func TestDrainGoesOnAfterAChanceFailure(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o, _, s := tapped()
		s.down = refused
		o.fill(30)
		over := time.AfterFunc(2*time.Second, func() { s.set(nil) })
		defer over.Stop()
		tally, err := o.Drain(t.Context())
		if err != nil || tally.Failed != 1 || tally.Delivered != 29 || o.told() {
			t.Errorf("%+v, %v, the status says %v", tally, err, o.Status().Problem)
		}
	})
}

// A login that is refused ends a drain at once.
func TestDrainEndsAtOnceIfTheLoginIsRefused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o, _, s := tapped()
		s.down = badLogin
		o.fill(30)
		began := time.Now()
		_, err := o.Drain(t.Context())
		if took := time.Since(began); err == nil || !strings.Contains(err.Error(), "535") || took > 0 || len(s.asked(time.Time{})) != 1 { // by the bubble's clock
			t.Errorf("after %v: %v, %d logins", took, err, len(s.asked(time.Time{})))
		}
	})
}

// Who hands in a document during an outage is told so at once, to come back.
func TestDocumentsAreTurnedAwayDuringAnOutage(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o, _, s := tapped()
		o.options.Push, s.down = true, refused
		shut := o.open(t)
		o.fill(8)
		for i := range 8 {
			err := o.Deliver(t.Context(), o.event(t, fmt.Sprintf("doc-%04d", i)))
			if want := i >= 1; errors.Is(err, delivery.ErrUnavailable) != want {
				t.Errorf("document %d: %v", i, err)
			}
		}
		if got := o.inStates(8); got[delivery.None] != 7 {
			t.Errorf("%v", got)
		}
		s.set(nil)
		time.Sleep(time.Minute)
		if err := o.Deliver(t.Context(), o.event(t, "doc-0007")); err != nil {
			t.Errorf("with the server back: %v", err)
		}
		shut()
	})
}

// Nothing of an outage delays the end, and what has waited is left for the next
// worker.
func TestWorkerStopsDuringAnOutage(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o, _, s := tapped()
		s.down = refused
		o.endsWhileDocumentsWait(t)
	})
}

// The circuit may close and open again while a probe waits: the next one waits as
// long as it should.
func TestProbesKeepTheirDistanceThoughTheCircuitHasClosedMeanwhile(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o, _, s := tapped()
		s.down, s.takes = refused, 10*time.Millisecond
		ctx, cancel := context.WithCancel(t.Context())
		go o.probe(ctx)
		o.outage.fail(refused, time.Now())
		time.Sleep(100 * time.Millisecond)
		o.outage.succeed(false, time.Now())
		o.outage.fail(refused, time.Now())
		time.Sleep(time.Minute)
		if got := s.probed(); got > 7 {
			t.Errorf("%d probes in a minute", got)
		}
		cancel()
		synctest.Wait()
	})
}

// In trial there is one document, whatever those before it still have to write.
func TestTrialIsPassedOnOnce(t *testing.T) {
	o := newOutage()
	enter := func() *pass {
		p, _, _ := o.tryEnter(true, time.Now())
		return p
	}
	first := enter()
	if first == nil || enter() != nil {
		t.Fatal("not one at a time")
	}
	first.end()
	second := enter()
	first.end() // as attempt does
	if second == nil || enter() != nil {
		t.Error("who was let in before makes room for another one")
	}
	o.fail(refused, time.Now())
	_, turned := o.isOpen()
	if second.end(); enter() != nil {
		t.Error("let in while the circuit is open")
	}
	select {
	case <-turned:
		t.Error("the end of a mail that has failed tells of a change")
	default:
	}
}

// A connection that was kept says nothing about the server: it may be dead.
func TestKeptConnectionsDoNotHideAnOutage(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o, _, s := tapped()
		s.keeps = true
		s.answer = func(_, _ context.Context, m smtp.Mail) (smtp.Result, error) {
			time.Sleep(time.Second)
			return accepted(m)
		}
		shut := o.open(t)
		for i := range 10 {
			o.add(fmt.Sprint("kept-", i), "")
		}
		time.Sleep(time.Minute)
		synctest.Wait()
		before := s.all()
		s.hangUp()
		s.set(refused)
		o.fill(100)
		time.Sleep(time.Hour)
		synctest.Wait()
		if got := o.inStates(100); got[delivery.Error] != 1 || s.all()-before > 10 || !o.told() {
			t.Errorf("%v, %d tries; the status says %v", got, s.all()-before, o.Status().Problem)
		}
		s.set(nil)
		time.Sleep(2 * time.Minute)
		if got := o.inStates(100); got[delivery.Success] != 99 {
			t.Errorf("with the server back: %v", got)
		}
		shut()
	})
}
