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

// Until a server was seen to work, no more than one document depends on it.
func TestWorkerBeginsWithOneDocumentAtATime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o, _, s := tapped()
		s.takes, s.down = 10*time.Second, refused
		o.fill(20)
		shut := o.open(t)
		time.Sleep(35 * time.Second)
		synctest.Wait()
		if tries, _, most := s.tried(); most != 1 || tries != 4 {
			t.Errorf("%d of %d tries at once", most, tries)
		}
		s.set(nil)
		time.Sleep(5*time.Second + time.Second/2)
		synctest.Wait()
		if _, n, _ := s.tried(); n != 10 {
			t.Errorf("with a session %d at once", n)
		}
		time.Sleep(time.Minute)
		if got := o.inStates(20); got[delivery.Success] != 17 || got[delivery.Error] != 3 {
			t.Errorf("in the end %v", got)
		}
		shut()
	})
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

// A server that can't be used costs five mails an attempt at most; the others
// wait without a trace, and are sent by themselves when it is back.
func TestOutageLeavesDocumentsUnclaimed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o, q, s := tapped()
		s.down = refused
		o.fill(1000)
		shut := o.open(t)
		time.Sleep(time.Minute)
		synctest.Wait()
		writes := o.Writes()
		if got := o.inStates(1000); got[delivery.None] != 995 || got[delivery.Error] != 5 || s.all() != 5 || writes != 10 {
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
		if o.Writes() != writes || s.all() != 5 || q.noted("claim") != 5 {
			t.Errorf("%d writes, %d tries, %d claims", o.Writes(), s.all(), q.noted("claim"))
		}
		if n := len(s.probes); n < 140 || n > 260 {
			t.Errorf("%d probes in three hours", n)
		}
		for i, at := range s.probes[1:] {
			gap := at.Sub(s.probes[i])
			want := min(time.Minute, 5*time.Second<<min(i+1, 8))
			if gap < want*3/4 || gap > want*5/4 {
				t.Errorf("probe %d after %v, want about %v", i+1, gap, want)
			}
		}
		if log := o.log.String(); strings.Count(log, `"mail server can't be used"`) != 1 || strings.Contains(log, "used again") {
			t.Errorf("the log: %s", log)
		}
		s.set(nil)
		time.Sleep(2 * time.Minute)
		synctest.Wait()
		if got := o.inStates(1000); got[delivery.Success] != 995 {
			t.Errorf("with the server back: %v", got)
		}
		if n := testutil.ToFloat64(o.metrics.down); n != 0 || o.Status().Problem != nil || strings.Count(o.log.String(), "used again") != 1 {
			t.Errorf("the metric says %v, the status %v", n, o.Status().Problem)
		}
		shut()
	})
}

// With retries even those lose nothing.
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
		if burnt > 5 {
			t.Errorf("%d attempts were in vain", burnt)
		}
		shut()
	})
}

// Wrong credentials are not hammered: the server would lock the account. Nor is
// what it said repeated: it may name somebody.
func TestRefusedLoginsAreFewAndFarBetween(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o, _, s := tapped()
		s.down = badLogin
		o.fill(100)
		shut := o.open(t)
		time.Sleep(6 * time.Hour)
		synctest.Wait()
		if got := o.inStates(100); s.all() != 3 || got[delivery.None] != 97 {
			t.Errorf("%d tries, %v", s.all(), got)
		}
		if n := len(s.probes); n < 18 || n > 36 {
			t.Errorf("%d probes within six hours", n)
		}
		for i, at := range s.probes[1:] {
			if gap := at.Sub(s.probes[i]); gap < time.Minute {
				t.Errorf("a probe after %v", gap)
			}
		}
		if p := o.Status().Problem; p == nil || strings.Contains(p.Error(), "ada@") || !strings.Contains(p.Error(), "535") {
			t.Errorf("the status says %v", p)
		}
		s.set(nil)
		time.Sleep(20 * time.Minute)
		if got := o.inStates(100); got[delivery.Success] != 97 {
			t.Errorf("with the right ones: %v", got)
		}
		shut()
	})
}

// A server that fails while many mails are on their way gets no session for any:
// what is known already counts for nobody.
func TestMailsUnderWayAreHandedBackWhenAnOutageIsKnown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o, _, s := tapped()
		s.takes = time.Second
		o.add("first", "")
		shut := o.open(t)
		time.Sleep(2 * time.Second)
		s.set(refused)
		o.fill(30)
		time.Sleep(time.Minute)
		synctest.Wait()
		if got := o.inStates(30); got[delivery.Error] != 5 || got[delivery.Pending] < 5 || got[delivery.Pending] > 6 {
			t.Errorf("%v", got)
		}
		for i := range 30 {
			id := fmt.Sprintf("doc-%04d", i)
			if state, n := o.state(id); state == delivery.Pending && n != 0 {
				t.Errorf("%s: handed back after %d attempts", id, n)
			}
		}
		if n := s.all(); n > 12 { // one may be let in before the circuit opens
			t.Errorf("%d tries", n)
		}
		s.set(nil)
		time.Sleep(2 * time.Minute)
		if got := o.inStates(30); got[delivery.Success] != 25 {
			t.Errorf("with the server back: %v", got)
		}
		shut()
	})
}

// Failures must come in a row.
func TestSessionForgetsFailures(t *testing.T) {
	o := newOutage()
	for range 3 {
		for range mostFailures - 1 {
			if o.fail(refused, time.Now()) {
				t.Fatal("known too early")
			}
		}
		o.succeed()
	}
	for range 5 {
		o.fail(badLogin, time.Now())
		o.fail(badLogin, time.Now())
		o.succeed()
	}
	if o.problem() != nil {
		t.Error(o.problem())
	}
	o.fail(badLogin, time.Now())
	o.fail(badLogin, time.Now())
	o.fail(refused, time.Now())
	if o.problem() != nil {
		t.Errorf("logins are not in a row: %v", o.problem())
	}
}

// A drain can't wait: it says why nothing was sent.
func TestDrainEndsInAnErrorDuringAnOutage(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o, _, s := tapped()
		s.down = refused
		o.fill(30)
		tally, err := o.Drain(t.Context())
		if err == nil || !strings.Contains(err.Error(), "unclaimed") || tally.Failed != 5 {
			t.Errorf("%+v, %v", tally, err)
		}
		if got := o.inStates(30); got[delivery.None] != 25 {
			t.Errorf("%v", got)
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
			if want := i >= 5; errors.Is(err, delivery.ErrUnavailable) != want {
				t.Errorf("document %d: %v", i, err)
			}
		}
		if got := o.inStates(8); got[delivery.None] != 3 {
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
		o.fill(100)
		shut := o.open(t)
		time.Sleep(time.Minute)
		began := time.Now()
		shut()
		if took := time.Since(began); took > 0 {
			t.Errorf("took %v", took)
		}
		if got := o.inStates(100); got[delivery.None] != 95 || o.Unsettled() < 95-5 && o.Unsettled() == 0 {
			t.Errorf("%v, %d unsettled", got, o.Unsettled())
		}
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
	o.succeed()
	o.fail(refused, time.Now())
	third := enter()
	second.end() // its mail was under way for long
	if third == nil || enter() != nil {
		t.Error("who was let in before the failure makes room for another one")
	}
}

// stale is a mail server that went while connections to it were kept.
type stale struct{ *server }

func (s stale) Send(ctx, limit context.Context, m smtp.Mail) (smtp.Result, error) {
	if err := m.Begin(false); err != nil {
		return smtp.Result{}, notBegun(err)
	}
	begin := m.Begin
	m.Begin = func(bool) error { return begin(true) }
	return s.server.Send(ctx, limit, m)
}

// A connection that was kept says nothing about the server: it may be dead.
func TestKeptConnectionsDoNotHideAnOutage(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o, _, s := tapped()
		s.down = refused
		o.sender = stale{s}
		o.fill(100)
		shut := o.open(t)
		time.Sleep(time.Hour)
		synctest.Wait()
		if got := o.inStates(100); got[delivery.Error] != 5 || s.all() != 5 {
			t.Errorf("%v, %d tries", got, s.all())
		}
		shut()
	})
}
