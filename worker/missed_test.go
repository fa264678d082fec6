package worker

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"postrider/delivery"
	"postrider/delivery/deliverytest"
)

// lengthy is a store whose audits take a minute.
type lengthy struct {
	*deliverytest.Store
	audits int
}

func (s *lengthy) Audit(ctx context.Context, found func(context.Context, delivery.Snapshot) error) (delivery.Audit, error) {
	s.audits++
	await(ctx, nil, time.Minute)
	return s.Store.Audit(ctx, found)
}

// An audit settles what was missed before it began, and it is that moment which
// is noted.
func TestAuditStandsForTheMomentItBeganAt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := newOffice(nil)
		s := &lengthy{Store: o.Store}
		o.queue = s
		_ = o.NoteAudit(t.Context(), time.Now())
		shut := o.open(t)
		time.Sleep(10 * time.Minute)
		began, settled := time.Now(), [2]bool{}
		o.missed.add(func() { settled[0] = true })
		time.Sleep(30 * time.Second)
		o.missed.add(func() { settled[1] = true })
		time.Sleep(31 * time.Second)
		synctest.Wait()
		if s.audits != 2 || settled != [2]bool{true, false} {
			t.Errorf("%d audits begun, settled %v", s.audits, settled)
		}
		if last, _ := o.LastAudit(t.Context()); !last.Equal(began) {
			t.Errorf("noted %v after it began", last.Sub(began))
		}
		time.Sleep(time.Minute)
		synctest.Wait()
		if s.audits != 2 || !settled[1] {
			t.Errorf("%d audits, settled %v", s.audits, settled)
		}
		shut()
	})
}

// What an instance has missed it audits itself, whoever audits for all.
func TestWhoMissedSomethingAuditsItself(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		first := newOffice(nil)
		offices := []*office{first, first.beside("two", nil)}
		var shut []func()
		for _, o := range offices {
			_ = o.NoteAudit(t.Context(), time.Now())
			shut = append(shut, o.open(t))
		}
		settled := 0
		for _, o := range offices {
			o.missed.add(func() { settled++ })
			synctest.Wait()
		}
		if settled != 2 {
			t.Errorf("%d of 2 are settled", settled)
		}
		for _, f := range shut {
			f()
		}
	})
}

// unreadable is a store whose documents can't be read one by one.
type unreadable struct{ *deliverytest.Store }

func (s unreadable) Read(ctx context.Context, _ string) (delivery.Snapshot, error) {
	<-ctx.Done()
	return delivery.Snapshot{}, ctx.Err()
}

// What was left to others and could not be read before the end is left for the
// next worker.
func TestDocumentThatCouldNotBeReadIsNotSettled(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		first := newOffice(nil)
		other := first.beside("two", nil)
		first.queue = unreadable{first.Store}
		shut := []func(){first.open(t), other.open(t)}
		stall(other)
		first.add(first.theirs(), "")
		time.Sleep(time.Minute)
		first.unsettled(t, "while it is read", 2)
		shut[0]()
		first.unsettled(t, "at the end", 2)
		for range cap(other.hands.slots) {
			<-other.hands.slots
		}
		synctest.Wait()
		shut[1]()
	})
}

// With full hands nothing is taken over, and what others do is not known.
func TestFullHandsTakeNothingOver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		first := newOffice(tenSeconds)
		s := &counting{Store: first.Store}
		first.queue = s
		other := first.beside("two", nil)
		shut := []func(){first.open(t), other.open(t)}
		stall(other)
		stall(first)
		first.add(first.theirs(), "")
		time.Sleep(5 * time.Second)
		if n := s.reads.Load(); n > 0 {
			t.Errorf("%d reads", n)
		}
		for _, o := range []*office{first, other} {
			for range cap(o.hands.slots) {
				<-o.hands.slots
			}
		}
		time.Sleep(time.Minute)
		for _, f := range shut {
			f()
		}
	})
}

// A source that was kept waiting is remembered.
func TestBeingKeptWaitingIsRemembered(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := newOffice(nil)
		stall(o)
		o.add("a", "1")
		shut := o.open(t)
		time.Sleep(time.Minute)
		at := time.Now()
		<-o.hands.slots
		synctest.Wait()
		o.share.mu.Lock()
		held := o.share.held
		o.share.mu.Unlock()
		if !held.Equal(at) {
			t.Errorf("held at %v, not %v", held, at)
		}
		for range cap(o.hands.slots) - 1 {
			<-o.hands.slots
		}
		shut()
	})
}
