package worker

import (
	"context"
	"errors"
	"math/rand/v2"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"
)

// entering has a mail enter, and reports in order when it is inside.
func entering(t *testing.T, r *room, bytes int, inside chan<- int) *stay {
	t.Helper()
	s, err := r.enter(t.Context(), bytes)
	if err != nil {
		t.Error(err)
	}
	inside <- bytes
	return s
}

func TestMailsEnterInOrderWhenThereIsRoom(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, inside := newRoom(100), make(chan int, 10)
		first := entering(t, r, 60, inside)
		for _, bytes := range []int{50, 10, 20} { // the later ones would fit, and wait all the same
			go func() { entering(t, r, bytes, inside) }()
			synctest.Wait()
		}
		if len(inside) != 1 {
			t.Fatalf("%d are inside, want one", len(inside))
		}
		first.leave()
		first.leave()
		synctest.Wait()
		if r.taken != 80 || r.inside != 3 {
			t.Errorf("%d mails take %d bytes, want three that take 80", r.inside, r.taken)
		}
	})
}

func TestMailLargerThanTheRoomHasItAlone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, inside := newRoom(100), make(chan int, 10)
		small := entering(t, r, 1, inside)
		var large *stay
		go func() { large = entering(t, r, 500, inside) }()
		synctest.Wait()
		if len(inside) != 1 {
			t.Error("it does not wait until the room is empty")
		}
		small.leave()
		synctest.Wait()
		if len(inside) != 2 {
			t.Fatal("it never enters")
		}
		go func() { entering(t, r, 1, inside) }()
		synctest.Wait()
		if len(inside) != 2 {
			t.Error("another one enters beside it")
		}
		large.leave()
		synctest.Wait()
		if len(inside) != 3 {
			t.Error("nobody enters after it")
		}
	})
}

func TestOneMailAtMostOverdraws(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, inside := newRoom(100), make(chan int, 10)
		a, b := entering(t, r, 50, inside), entering(t, r, 50, inside)
		if err := a.resize(t.Context(), 90); err != nil {
			t.Fatal(err)
		}
		grown := false
		go func() {
			if err := b.resize(t.Context(), 60); err != nil {
				t.Error(err)
			}
			grown = true
		}()
		synctest.Wait()
		if grown {
			t.Error("a second one overdraws")
		}
		if err := a.resize(t.Context(), 200); err != nil { // it is not to wait behind b, who waits for it
			t.Fatal(err)
		}
		synctest.Wait()
		if grown || r.taken != 250 {
			t.Errorf("%d bytes are taken", r.taken)
		}
		if err := a.resize(t.Context(), 30); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		if !grown || r.taken != 90 || r.overdrawn != nil {
			t.Errorf("when the first one shrinks: grown %v, %d bytes taken", grown, r.taken)
		}
	})
}

func TestMailThatFindsNoRoomInTimeIsTold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, inside := newRoom(100), make(chan int, 10)
		a, b := entering(t, r, 50, inside), entering(t, r, 50, inside)
		if err := a.resize(t.Context(), 200); err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if err := b.resize(ctx, 60); !errors.Is(err, errCramped) || !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("got %v, want errCramped for the deadline", err)
		}
		if _, err := r.enter(ctx, 1); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("got %v, want the deadline", err)
		}
		if r.taken != 250 || len(r.growing)+len(r.entering) != 0 {
			t.Errorf("%d bytes are taken, %d wait", r.taken, len(r.growing)+len(r.entering))
		}
	})
}

// Many mails grow and shrink at random, and give up now and then: all come to
// their end, and never more than one of them exceeds the limit.
func TestRoomIsNeverLeftLocked(t *testing.T) {
	for seed := range uint64(200) {
		synctest.Test(t, func(t *testing.T) {
			r := newRoom(1000)
			var mails sync.WaitGroup
			for i := range uint64(20) {
				mails.Go(func() {
					random := rand.New(rand.NewPCG(seed, i))
					time.Sleep(time.Duration(random.IntN(50)) * time.Millisecond)
					s, err := r.enter(t.Context(), random.IntN(300))
					if err != nil {
						t.Error(err)
					}
					defer s.leave()
					for range random.IntN(6) {
						ctx, cancel := context.WithTimeout(t.Context(), time.Duration(1+random.IntN(100))*time.Millisecond)
						_ = s.resize(ctx, random.IntN(900))
						cancel()
						time.Sleep(time.Duration(random.IntN(20)) * time.Millisecond)
						r.mu.Lock()
						if r.taken > 1000+900 {
							t.Errorf("seed %d: %d bytes are taken", seed, r.taken)
						}
						r.mu.Unlock()
					}
				})
			}
			mails.Wait()
			if r.taken != 0 || r.inside != 0 || r.overdrawn != nil {
				t.Errorf("seed %d: in the end %d mails take %d bytes", seed, r.inside, r.taken)
			}
		})
	}
}

// What the metrics say of the room and of the pace is as it is when they are read,
// whether the worker does anything or not.
func TestGaugesOfRoomAndPaceAreReadWhenAsked(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := newOffice(nil)
		want := func(when string, held, slowed float64) {
			t.Helper()
			if got := testutil.ToFloat64(o.metrics.held); got != held {
				t.Errorf("%s: %v bytes are held, want %v", when, got, held)
			}
			if got := testutil.ToFloat64(o.metrics.slowed); got != slowed {
				t.Errorf("%s: slowed to %v mails a second, want %v", when, got, slowed)
			}
		}
		want("at first", 0, 0)
		s, _ := o.room.enter(t.Context(), 60)
		o.pacer.slowDown(time.Now(), 0)
		want("a mail is inside, and was told to slow down", 60, least/2)
		s.leave()
		time.Sleep(time.Hour)
		want("an hour later", 0, 0)
	})
}
