package worker

import (
	"context"
	"fmt"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"

	"postrider/delivery"
	"postrider/smtp"
)

// beside returns an office that shares another's collection.
func (o *office) beside(instance string, send sendFunc) *office {
	other := newOffice(send)
	other.Store, other.queue = o.Store, o.Store
	other.options.Instance, other.share = instance, newShare(instance)
	return other
}

// crew opens instances on one collection.
func crew(t *testing.T, n int, send func(ctx context.Context, m smtp.Mail) (smtp.Result, error)) (offices []*office, shut []func()) {
	t.Helper()
	first := newOffice(send)
	for i := range n {
		o := first
		if i > 0 {
			o = first.beside(fmt.Sprint("instance-", i), send)
		}
		offices = append(offices, o)
		shut = append(shut, o.open(t))
	}
	return offices, shut
}

// claims returns how many claims were won and lost.
func (o *office) claims() (won, lost int) {
	count := func(result string) int { return int(testutil.ToFloat64(o.metrics.claims.WithLabelValues(result))) }
	return count("won"), count("lost")
}

// Several instances share a collection out among them, and none claims what
// another has.
func TestInstancesShareAndNoClaimIsInVain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const mails = 400
		offices, shut := crew(t, 4, func(_ context.Context, m smtp.Mail) (smtp.Result, error) {
			time.Sleep(200 * time.Millisecond)
			return accepted(m)
		})
		for i := range mails {
			offices[0].add(fmt.Sprint("doc-", i), fmt.Sprint(i))
		}
		time.Sleep(time.Minute)
		sent := 0
		for i, o := range offices {
			won, lost := o.claims()
			sent += len(o.mails())
			if won < mails/8 || lost > 0 {
				t.Errorf("instance %d won %d claims and lost %d", i, won, lost)
			}
			if o.Unsettled() > 0 || o.share.count() > 0 {
				t.Errorf("%d documents are unsettled, %d left to others", o.Unsettled(), o.share.count())
			}
		}
		if sent != mails {
			t.Errorf("%d mails were sent", sent)
		}
		for _, f := range shut {
			f()
		}
	})
}

// What would be the share of an instance that has gone, with or without a
// goodbye, is taken by the others.
func TestShareOfTheGoneIsTakenOver(t *testing.T) {
	for name, goodbye := range map[string]bool{"said goodbye": true, "died": false} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				offices, shut := crew(t, 3, nil)
				if goodbye {
					shut[1]()
				} else {
					offices[0].Die("instance-1")
					stall(offices[1])
				}
				for i := range 90 {
					offices[0].add(fmt.Sprint("doc-", i), "")
				}
				wait := time.Duration(0)
				if !goodbye {
					wait = 2*stagger + time.Second
				}
				time.Sleep(wait)
				synctest.Wait()
				for i := range 90 {
					offices[0].want(t, fmt.Sprint("doc-", i), delivery.Success, 1)
				}
				if takeovers := testutil.ToFloat64(offices[0].metrics.takeovers); goodbye != (takeovers == 0) {
					t.Errorf("%v takeovers", takeovers)
				}
				shut[0]()
				shut[2]()
				if !goodbye {
					shut[1]()
				}
			})
		})
	}
}

// stall makes an instance one that claims nothing more.
func stall(o *office) {
	for range cap(o.hands.slots) {
		o.hands.slots <- struct{}{}
	}
}

// An instance that has much to do is left its share while it works on it, and
// some of it is taken when it takes too long.
func TestBusyInstanceIsLeftItsShare(t *testing.T) {
	s := newShare("me")
	var others, mine []delivery.Snapshot
	s.meet(map[string]time.Time{"me": time.Now(), "other": time.Now()})
	for i := range 40 {
		d := delivery.Snapshot{ID: fmt.Sprint(i), UpdateTime: time.Unix(1, 0)}
		if left, _ := s.leave(t.Context(), time.Now, false, d, func() {}); left {
			others = append(others, d)
		} else {
			mine = append(mine, d)
		}
	}
	if len(others) < 10 || len(mine) < 10 {
		t.Fatalf("%d are left to the other, %d not", len(others), len(mine))
	}
	begin := time.Now()
	claim := func(d delivery.Snapshot, at time.Time) {
		d.UpdateTime = d.UpdateTime.Add(time.Second)
		s.claimed(d, at)
	}
	for i := range 9 {
		claim(others[i], begin.Add(time.Duration(i)*stagger/2))
	}
	last := begin.Add(8 * stagger / 2)
	if ids := s.due(100, 0, last.Add(stagger-time.Millisecond)); len(ids) > 0 {
		t.Errorf("%v are due although the other works", ids)
	}
	if ids := s.due(100, 0, last.Add(stagger+time.Millisecond)); len(ids) != len(others)-9 {
		t.Errorf("%d of %d are due when it does not any more", len(ids), len(others)-9)
	}
	s.busy["other"] = begin.Add(patience)
	if ids := s.due(100, 0, begin.Add(patience+time.Second/10)); len(ids) != len(others)-9 {
		t.Errorf("%d of %d are due when patience is over", len(ids), len(others)-9)
	}
}

// All instances rank alike, each is first for its part, and when one goes only
// its own part goes to others.
func TestRanksAreStable(t *testing.T) {
	names := []string{"a", "b", "c", "d", "e"}
	first := func(of []string, key string) string {
		return slices.MaxFunc(of, func(x, y string) int {
			if weight(x, key) < weight(y, key) {
				return -1
			}
			return 1
		})
	}
	parts := map[string]int{}
	for i := range 10_000 {
		key := fmt.Sprint("order-", i)
		before := first(names, key)
		parts[before]++
		if after := first(names[1:], key); before != "a" && after != before {
			t.Fatalf("%s goes from %s to %s", key, before, after)
		}
	}
	for name, n := range parts {
		if n < 1800 || n > 2200 {
			t.Errorf("%s is first for %d of 10000", name, n)
		}
	}
}

// other returns a document for which another instance is first, or, with false,
// this one.
func other(s *share, want bool) delivery.Snapshot {
	for i := 0; ; i++ {
		d := delivery.Snapshot{ID: fmt.Sprint("doc-", i), UpdateTime: time.Unix(1, 0)}
		if s.first(d.ID, time.Now()) != want {
			return d
		}
	}
}

// Who has not been heard of for five minutes has no rank, and nobody waits for
// oneself.
func TestOnlyTheLivingRank(t *testing.T) {
	now := time.Now()
	s := newShare("me")
	s.meet(map[string]time.Time{"me": now, "other": now})
	d := other(s, true)
	if s.size(now) != 2 || s.first(d.ID, now.Add(alive-1)) {
		t.Errorf("%d instances, first %v", s.size(now), s.first(d.ID, now.Add(alive-1)))
	}
	if at := now.Add(alive); s.size(at) != 1 || !s.first(d.ID, at) {
		t.Errorf("when the other is dead: %d instances, first %v", s.size(at), s.first(d.ID, at))
	}
	if s.first(other(s, false).ID, now) != true {
		t.Error("this instance waits for itself")
	}
}

// What is left to others is settled once it is seen in a newer version, as often
// as it was passed on, and not before.
func TestLeftDocumentIsSettledByItsClaim(t *testing.T) {
	s := newShare("me")
	s.meet(map[string]time.Time{"other": time.Now()})
	d, settled := other(s, true), 0
	for range 3 {
		if left, err := s.leave(t.Context(), time.Now, false, d, func() { settled++ }); !left || err != nil {
			t.Fatalf("%v, %v", left, err)
		}
	}
	s.claimed(d, time.Now()) // it is passed on once more
	if settled != 0 || s.count() != 1 {
		t.Errorf("the same version: %d settled, %d left", settled, s.count())
	}
	edited := d
	edited.UpdateTime = d.UpdateTime.Add(time.Second)
	if left, _ := s.leave(t.Context(), time.Now, false, edited, func() { settled++ }); !left {
		t.Fatal("not left")
	}
	s.claimed(edited, time.Now())
	if settled != 0 {
		t.Error("settled by the version that was left")
	}
	claimed := d
	claimed.UpdateTime = edited.UpdateTime.Add(time.Second)
	s.claimed(claimed, time.Now())
	if settled != 4 || s.count() != 0 {
		t.Errorf("claimed: %d settled, %d left", settled, s.count())
	}
}

// A source waits while too much is left to others, and goes on when there is
// room.
func TestWhatIsLeftIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newShare("me")
		s.meet(map[string]time.Time{"other": time.Now()})
		d := other(s, true)
		for i := range maxWaiting {
			s.waiting[fmt.Sprint("full-", i)] = &left{settled: func() {}}
		}
		source, end := context.WithCancel(t.Context())
		end()
		if left, err := s.leave(source, time.Now, false, d, func() {}); left || err == nil {
			t.Errorf("%v, %v", left, err)
		}
		done := make(chan bool, 1)
		go func() {
			left, _ := s.leave(t.Context(), time.Now, false, d, func() {})
			done <- left
		}()
		synctest.Wait()
		if len(done) > 0 {
			t.Error("nobody waited")
		}
		s.end("full-0", false, time.Now())
		if !<-done || s.count() != maxWaiting {
			t.Errorf("%d are left", s.count())
		}
	})
}

// An instance that was too busy to hear of the others' claims gives them time.
func TestBusyInstanceDoesNotTakeOver(t *testing.T) {
	s, begin := newShare("me"), time.Now()
	s.meet(map[string]time.Time{"other": begin})
	if left, _ := s.leave(t.Context(), time.Now, false, other(s, true), func() {}); !left {
		t.Fatal("not left")
	}
	s.keptWaiting(begin.Add(time.Second))
	if ids := s.due(10, 0, begin.Add(time.Second+stagger-time.Millisecond)); len(ids) > 0 {
		t.Errorf("%v is due", ids)
	}
	if ids := s.due(10, 0, begin.Add(time.Second+stagger+time.Second)); len(ids) != 1 {
		t.Errorf("%v is due", ids)
	}
	if ids := s.due(0, 0, begin.Add(time.Hour)); len(ids) > 0 {
		t.Errorf("with no hand free %v is due", ids)
	}
}

// Who has let a turn pass is not waited for again until it is heard of.
func TestTheDeadAreWaitedForOnce(t *testing.T) {
	s, begin := newShare("me"), time.Now()
	s.meet(map[string]time.Time{"other": begin})
	d := other(s, true)
	if left, _ := s.leave(t.Context(), time.Now, false, d, func() {}); !left {
		t.Fatal("not left")
	}
	s.end(d.ID, true, begin) // it was the other's
	if s.first(d.ID, begin) {
		t.Error("who has claimed is passed over")
	}
	if left, _ := s.leave(t.Context(), time.Now, false, d, func() {}); !left {
		t.Fatal("not left")
	}
	s.end(d.ID, false, begin) // its turn has passed
	s.meet(map[string]time.Time{"other": begin})
	if !s.first(d.ID, begin) {
		t.Error("the silent one is waited for again")
	}
	s.meet(map[string]time.Time{"other": begin.Add(time.Minute)})
	if s.first(d.ID, begin.Add(time.Minute)) {
		t.Error("who was heard of again has no rank")
	}
}
