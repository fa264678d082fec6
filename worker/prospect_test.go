package worker

import (
	"context"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"postrider/delivery"
	"postrider/delivery/deliverytest"
	"postrider/smtp"
)

// idle is a worker with nothing in hand.
func idle(hands int, limit delivery.Rate) *Worker {
	return &Worker{hands: newHands(hands), pacer: newPacer(limit), outage: newOutage(), room: newRoom(100), share: newShare("me"), queue: &deliverytest.Store{}}
}

// occupy takes n hands.
func occupy(w *Worker, n int) {
	for range n {
		w.hands.slots <- struct{}{}
	}
}

// others has another instance that so many documents are left to, and so many that
// need no hand, for some time already.
func others(left, mendable int, since time.Duration) func(*Worker) {
	return func(w *Worker) {
		now := w.queue.Now()
		w.share.meet(map[string]time.Time{"other": now})
		for i := 0; len(w.share.waiting) < left+mendable; i++ {
			w.share.tryLeave(delivery.Snapshot{ID: fmt.Sprint(i)}, len(w.share.waiting) >= left, func() {}, now.Add(-since))
		}
	}
}

func TestBulkIsLetInBesideOtherMail(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		second := delivery.Rate{N: 1000, Per: time.Second}
		minute := delivery.Rate{N: 60, Per: time.Minute}
		slow := func(w *Worker) { w.pacer.slowDown(time.Now().Add(time.Millisecond), 0) }
		for name, c := range map[string]struct {
			limit delivery.Rate
			hands int
			busy  int
			do    func(*Worker)
			want  int
		}{
			"all hands free":                 {hands: 64, want: 32},
			"some hands free":                {hands: 64, busy: 54, want: 5},
			"one hand":                       {hands: 1, want: 1},
			"no hand free":                   {hands: 64, busy: 64, want: 0},
			"what a tenth of a second takes": {limit: second, hands: 300, want: 90},
			"a slow rate":                    {limit: minute, hands: 64, want: 1},
			"no mail may go": {limit: minute, hands: 64, do: func(w *Worker) {
				for wait := time.Duration(0); wait == 0; wait, _ = w.pacer.pace.take(time.Now()) {
				}
			}, want: 0},
			"much memory in use": {hands: 64, do: func(w *Worker) { _, _ = w.room.enter(t.Context(), 100) }, want: 32},
			"a mail waits for memory": {hands: 64, do: func(w *Worker) {
				_, _ = w.room.enter(t.Context(), 100)
				ctx, cancel := context.WithCancel(t.Context())
				t.Cleanup(cancel)
				go func() { _, _ = w.room.enter(ctx, 1) }() // it ends with the test
				synctest.Wait()
			}, want: 0},
			"server asked to slow down":        {hands: 64, do: slow, want: 0},
			"the other instance has few":       {hands: 64, do: others(3, 0, claimTime), want: 5},
			"it has as many as are left to it": {hands: 64, do: others(8, 0, claimTime), want: 1},
			"it has come to all":               {hands: 64, do: others(0, 0, 0), want: 8},
			"it does not come to one":          {hands: 64, do: others(1, 0, claimTime+1), want: 0},
			"nor to what needs no hand":        {hands: 64, do: others(0, 1, time.Hour), want: 7},
			"the other has died":               {hands: 64, do: func(w *Worker) { w.share.meet(map[string]time.Time{"other": time.Now().Add(-alive)}) }, want: 32},
			"server can't be used":             {hands: 64, do: func(w *Worker) { w.outage.fail(&smtp.Error{}, time.Now()) }, want: 0},
		} {
			w := idle(c.hands, c.limit)
			occupy(w, c.busy)
			if c.do != nil {
				c.do(w)
			}
			if got := w.Room(); got != c.want {
				t.Errorf("%s: %d, want %d", name, got, c.want)
			}
		}
	})
}

func TestPaceIsTheWaitBehindOthers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := idle(64, delivery.Rate{})
		occupy(w, 10)
		if got := w.Pace(); got != 0 {
			t.Errorf("without a limit: %v", got)
		}
		w = idle(64, delivery.Rate{N: 10, Per: 10 * time.Second}) // one at once, and one a second
		occupy(w, 3)
		if got := w.Pace(); got < 3*time.Second || got > 4*time.Second {
			t.Errorf("behind three, one a second: %v", got)
		}
		w = idle(64, delivery.Rate{})
		w.outage.fail(&smtp.Error{}, time.Now())
		pause := w.outage.rest(3, 0.5, time.Now())
		if got := w.Pace(); pause <= 0 || got != pause {
			t.Errorf("before the next probe: %v, want %v", got, pause)
		}
		time.Sleep(pause + 1)
		if got := w.Pace(); got != 0 {
			t.Errorf("once it is due: %v", got)
		}
		w.outage.succeed(true, time.Now())
		if w.outage.prospect(time.Now().Add(-time.Hour)) != 0 {
			t.Error("a server that can be used is waited for")
		}
	})
}
