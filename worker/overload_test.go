package worker

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"postrider/delivery"
	"postrider/smtp"
)

// A burst of new documents takes no more room than there are hands, and neither
// what is due again nor a lapsed lease waits behind it.
func TestBurstStarvesNobody(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const burst, due, lapsed = 20_000, 200, 20
		o, _, s := tapped()
		fresh, again, half := 0, 0, 0
		s.answer = func(_, _ context.Context, m smtp.Mail) (smtp.Result, error) {
			time.Sleep(100 * time.Millisecond)
			s.mu.Lock()
			defer s.mu.Unlock()
			if string(m.Message) == "again" {
				if again++; again == due {
					half = fresh
				}
				return accepted(m)
			}
			if fresh++; fresh%5000 == 0 {
				if n := o.hands.known(); n > 14 {
					t.Errorf("%d documents are held", n)
				}
			}
			return accepted(m)
		}
		waiting := time.Now().Add(20 * time.Second).UTC()
		record := func(id, subject string, f delivery.Fields) {
			o.Put(id, delivery.Fields{"to": "x@y.test", "message": delivery.Fields{"subject": subject, "text": "t"}, "delivery": f})
		}
		for i := range due {
			record(fmt.Sprintf("due-%03d", i), "again", delivery.Fields{"state": "PENDING", "attempts": int64(1), "nextAttemptTime": waiting})
		}
		for i := range lapsed {
			record(fmt.Sprintf("lapsed-%02d", i), "", delivery.Fields{"state": "PROCESSING", "leaseId": "dead", "leaseExpireTime": waiting})
		}
		shut := o.open(t)
		for i := range burst {
			o.add(fmt.Sprintf("new-%06d", i), "new")
		}
		time.Sleep(time.Until(waiting) + 60*time.Second)
		synctest.Wait()
		for i := range lapsed {
			o.want(t, fmt.Sprintf("lapsed-%02d", i), delivery.Error, 0)
		}
		time.Sleep(10 * time.Minute)
		synctest.Wait()
		if fresh != burst || again != due || half > burst/2 {
			t.Errorf("%d new ones, %d of the others, the last of them after %d", fresh, again, half)
		}
		if n := o.hands.known() + len(o.share.waiting) + len(o.missed.settled); n > 0 || o.Unsettled() > 0 {
			t.Errorf("%d are left behind, %d unsettled", n, o.Unsettled())
		}
		shut()
	})
}

// known returns how many documents are held, or wait to be.
func (h *hands) known() int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return len(h.held)
}

func (h *hands) knows(id string) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.held[id] != nil
}

// stubborn returns a hook by which Firestore neither takes nor refuses what
// concerns a document, until the given time.
func stubborn(id string, until time.Time, kinds ...string) func(context.Context, string, string) error {
	return func(ctx context.Context, kind, of string) error {
		if of != id || !time.Now().Before(until) || !strings.Contains(strings.Join(kinds, " "), kind) {
			return nil
		}
		<-ctx.Done()
		return ctx.Err()
	}
}

// A document that can't be claimed keeps its hand for two leases; the others go
// on, no checkpoint passes it, and audits ask again until it is claimed.
func TestDocumentThatCannotBeClaimedIsLeftForAnAudit(t *testing.T) {
	for name, kinds := range map[string][]string{"claims are not answered": {"claim"}, "nothing is answered": {"claim", "end"}} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				o, q, s := tapped()
				o.options.Concurrency, o.hands = 1, newHands(1)
				q.before = stubborn("bad", time.Now().Add(30*time.Minute), kinds...)
				shut := o.open(t)
				o.add("bad", "1")
				synctest.Wait()
				o.add("good", "2")
				time.Sleep(2*time.Minute + 30*time.Second)
				synctest.Wait()
				o.want(t, "bad", delivery.None, 0)
				o.want(t, "good", delivery.Success, 1)
				time.Sleep(20 * time.Minute)
				synctest.Wait()
				if n := o.Unsettled(); n == 0 {
					t.Error("a checkpoint may pass what was never claimed")
				}
				if o.Status().Problem != nil || o.lines("error") == 0 {
					t.Errorf("the status says %v; the log: %s", o.Status().Problem, o.log)
				}
				time.Sleep(15 * time.Minute)
				synctest.Wait()
				o.want(t, "bad", delivery.Success, 1)
				if n := o.Unsettled(); n > 0 || len(s.begun()) != 2 {
					t.Errorf("%d unsettled, %d mails", n, len(s.begun()))
				}
				shut()
			})
		})
	}
}

// Two instances of which one has a burst to do: what the other one sees lapsed is
// recorded, however much is left to others.
func TestLapsedLeaseIsRecordedThoughMuchIsLeftToOthers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		offices, shut := crew(t, 2, nil)
		o := offices[1]
		o.share.mu.Lock()
		for i := range maxWaiting {
			o.share.waiting[fmt.Sprint("left-", i)] = &left{since: time.Now().Add(time.Hour), settled: nothing}
		}
		o.share.mu.Unlock()
		shut[0]() // and nobody else is there
		ends := time.Now().Add(10 * time.Second).UTC()
		for i := range 10 {
			o.Put(fmt.Sprint("lapsed-", i), delivery.Fields{"to": "x@y.test", "message": delivery.Fields{}, "delivery": delivery.Fields{
				"state": "PROCESSING", "leaseId": "dead", "leaseExpireTime": ends,
			}})
		}
		time.Sleep(70 * time.Second)
		synctest.Wait()
		for i := range 10 {
			o.want(t, fmt.Sprint("lapsed-", i), delivery.Error, 0)
		}
		o.share.mu.Lock()
		clear(o.share.waiting)
		o.share.mu.Unlock()
		shut[1]()
	})
}
