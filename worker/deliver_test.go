package worker

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"postrider/delivery"
	"postrider/smtp"
)

// pushOffice is an office to which documents are handed in.
func pushOffice(send sendFunc) *office {
	o := newOffice(send)
	o.options.Push = true
	return o
}

// event returns a document as an event that tells of it now has it.
func (o *office) event(t *testing.T, id string) delivery.Snapshot {
	t.Helper()
	s, err := o.Read(t.Context(), id)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestDeliveredDocumentCostsTwoWritesAndIsDoneWhenAnswered(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := pushOffice(nil)
		shut := o.open(t)
		o.add("a", "1")
		s := o.event(t, "a")
		if err := o.Deliver(t.Context(), s); err != nil {
			t.Error(err)
		}
		o.want(t, "a", delivery.Success, 1)
		if o.Writes() != 2 {
			t.Errorf("%d writes", o.Writes())
		}
		for range 3 { // told again
			if err := o.Deliver(t.Context(), s); err != nil {
				t.Error(err)
			}
		}
		if len(o.mails()) != 1 || o.Writes() != 2 {
			t.Errorf("sent %v in %d writes", o.mails(), o.Writes())
		}
		shut()
	})
}

// An event told twice at the same time is answered when the one attempt ends.
func TestDocumentInHandIsDeliveredOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := pushOffice(func(_ context.Context, m smtp.Mail) (smtp.Result, error) {
			time.Sleep(10 * time.Second)
			return accepted(m)
		})
		shut := o.open(t)
		o.add("a", "1")
		s, done := o.event(t, "a"), make(chan error, 2)
		for range 2 {
			go func() { done <- o.Deliver(t.Context(), s) }()
		}
		time.Sleep(9 * time.Second)
		if len(done) > 0 {
			t.Error("answered before the attempt has ended")
		}
		if err := errors.Join(<-done, <-done); err != nil || len(o.mails()) != 1 {
			t.Errorf("%v, sent %v", err, o.mails())
		}
		shut()
	})
}

// The event of a version that is not the newest stands for the newest: its own
// may be lost.
func TestOldEventStandsForTheNewestVersion(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := pushOffice(nil)
		shut := o.open(t)
		o.add("a", "old")
		s := o.event(t, "a")
		o.add("a", "edited")
		if err := o.Deliver(t.Context(), s); err != nil {
			t.Error(err)
		}
		o.want(t, "a", delivery.Success, 1)
		if got := o.mails(); len(got) != 1 || got[0] != "edited" {
			t.Errorf("sent %v", got)
		}
		o.add("b", "1")
		gone := o.event(t, "b")
		o.Delete("b")
		if err := o.Deliver(t.Context(), gone); err != nil {
			t.Errorf("of a deleted document: %v", err)
		}
		shut()
	})
}

// What another instance has claimed is told again until that has come to an
// end: it may have died.
func TestEventOfWhatAnotherHasIsToldAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := pushOffice(nil)
		o.options.Sweep = 24 * time.Hour
		shut := o.open(t)
		o.add("a", "1")
		s := o.event(t, "a")
		dead := delivery.Lease{ID: "dead", Expires: time.Now().Add(time.Minute)}
		claimed, err := o.Apply(t.Context(), s, delivery.Record{}.Claimed(dead, delivery.Policy{}, time.Now()))
		if err != nil {
			t.Fatal(err)
		}
		if err := o.Deliver(t.Context(), claimed); err != nil {
			t.Errorf("the event of the claim: %v", err)
		}
		if err := o.Deliver(t.Context(), s); !errors.Is(err, delivery.ErrElsewhere) {
			t.Errorf("while the lease runs: %v", err)
		}
		time.Sleep(time.Minute)
		if err := o.Deliver(t.Context(), s); err != nil {
			t.Errorf("afterwards: %v", err)
		}
		o.want(t, "a", delivery.Error, 0)
		shut()
	})
}

func TestFullHandsAndTheEndTurnEventsAway(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := pushOffice(func(ctx context.Context, m smtp.Mail) (smtp.Result, error) {
			<-ctx.Done() // it would take for ever
			return smtp.Result{}, &smtp.Error{Err: ctx.Err()}
		})
		shut := o.open(t)
		hands, answers := cap(o.hands.slots), make(chan error, 100)
		deliver := func(i int) {
			o.add(fmt.Sprint(i), "")
			s := o.event(t, fmt.Sprint(i))
			go func() { answers <- o.Deliver(t.Context(), s) }()
			synctest.Wait()
		}
		for i := range hands + queuePerHand*hands {
			deliver(i)
		}
		if len(answers) > 0 {
			t.Errorf("turned away although there is room: %v", <-answers)
		}
		deliver(1000)
		if err := <-answers; !errors.Is(err, delivery.ErrFull) {
			t.Errorf("with no room to wait: %v", err)
		}
		time.Sleep(maxQueue)
		for range queuePerHand * hands {
			if err := <-answers; !errors.Is(err, delivery.ErrFull) {
				t.Errorf("after waiting: %v", err)
			}
		}
		s := o.event(t, "1000")
		shut()
		for range hands {
			if err := <-answers; !errors.Is(err, delivery.ErrStopping) {
				t.Errorf("handed back: %v", err)
			}
		}
		if err := o.Deliver(t.Context(), s); !errors.Is(err, delivery.ErrStopping) {
			t.Errorf("after the end: %v", err)
		}
		o.want(t, "0", delivery.Pending, 0)
	})
}

// A burst of events waits for hands rather than to be told again.
func TestBurstOfEventsIsWorkedOffAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := pushOffice(func(_ context.Context, m smtp.Mail) (smtp.Result, error) {
			time.Sleep(time.Second)
			return accepted(m)
		})
		shut := o.open(t)
		answers := make(chan error, 100)
		for i := range 4 * cap(o.hands.slots) {
			o.add(fmt.Sprint(i), fmt.Sprint(i))
			s := o.event(t, fmt.Sprint(i))
			go func() { answers <- o.Deliver(t.Context(), s) }()
		}
		time.Sleep(4 * time.Second)
		synctest.Wait()
		for range 4 * cap(o.hands.slots) {
			if err := <-answers; err != nil {
				t.Error(err)
			}
		}
		if n := len(o.mails()); n != 4*cap(o.hands.slots) {
			t.Errorf("%d mails", n)
		}
		shut()
	})
}

// Who hangs up does not end the attempt.
func TestAttemptOutlivesWhoHandedItIn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := pushOffice(func(_ context.Context, m smtp.Mail) (smtp.Result, error) {
			time.Sleep(10 * time.Second)
			return accepted(m)
		})
		shut := o.open(t)
		o.add("a", "1")
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if err := o.Deliver(ctx, o.event(t, "a")); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("error %v", err)
		}
		time.Sleep(10 * time.Second)
		o.want(t, "a", delivery.Success, 1)
		shut()
	})
}
