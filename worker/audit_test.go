package worker

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"postrider/delivery"
	"postrider/delivery/deliverytest"
)

// deaf is a store whose watch tells of nothing, but that it missed something.
type deaf struct {
	*deliverytest.Store
	settled chan struct{} // closed when what was missed is settled
	audits  []time.Time
	fail    error // the next audit
}

func (s *deaf) Watch(ctx context.Context, w delivery.Watcher) error {
	w.Missed(func() { close(s.settled) })
	w.Watching(nil)
	<-ctx.Done()
	return ctx.Err()
}

func (s *deaf) Audit(ctx context.Context, found func(context.Context, delivery.Snapshot) error) (delivery.Audit, error) {
	s.audits = append(s.audits, time.Now())
	if err := s.fail; err != nil {
		s.fail = nil
		return delivery.Audit{}, err
	}
	return s.Store.Audit(ctx, found)
}

func deafOffice() (*office, *deaf) {
	o := newOffice(nil)
	s := &deaf{Store: o.Store, settled: make(chan struct{})}
	o.queue = s
	return o, s
}

func TestWhatTheWatchMissedIsAudited(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o, s := deafOffice()
		o.add("a", "1")
		shut := o.open(t)
		o.want(t, "a", delivery.Success, 1)
		<-s.settled
		if len(s.audits) != 1 {
			t.Errorf("%d audits", len(s.audits))
		}
		shut()
	})
}

// Nothing is settled by an audit that failed; it is repeated, and its failure
// is to be seen.
func TestFailedAuditIsRepeated(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o, s := deafOffice()
		s.fail = errors.New("no answer")
		o.add("a", "1")
		shut := o.open(t)
		select {
		case <-s.settled:
			t.Error("settled by an audit that failed")
		default:
		}
		if o.Status().Problem == nil {
			t.Error("the failure is not to be seen")
		}
		time.Sleep(o.options.Sweep * 5 / 4)
		<-s.settled
		o.want(t, "a", delivery.Success, 1)
		if o.Status().Problem != nil {
			t.Errorf("%v", o.Status().Problem)
		}
		shut()
	})
}

// An audit comes an hour after the last, restarts or not, and by one instance.
func TestAuditsComeHourlyWhateverRestarts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o, s := deafOffice()
		shut := o.open(t)
		time.Sleep(4 * time.Hour)
		synctest.Wait()
		if n := len(s.audits); n < 4 || n > 6 {
			t.Errorf("%d audits in four hours", n)
		}
		shut()
		last := s.audits[len(s.audits)-1]
		again := newOffice(nil)
		again.Store, again.queue = o.Store, &quiet{deaf{Store: o.Store}}
		shut = again.open(t)
		time.Sleep(10 * time.Minute)
		shut()
		if q := again.queue.(*quiet); len(q.audits) > 0 && q.audits[0].Sub(last) < 45*time.Minute {
			t.Errorf("an audit %v after the last", q.audits[0].Sub(last))
		}
	})
}

// quiet is deaf, and does not say so.
type quiet struct{ deaf }

func (s *quiet) Watch(ctx context.Context, w delivery.Watcher) error {
	w.Watching(nil)
	<-ctx.Done()
	return ctx.Err()
}

// A document that no source tells of is found all the same, within an hour and
// a quarter.
func TestNoDocumentStaysUnseen(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := newOffice(nil)
		o.queue = &quiet{deaf{Store: o.Store}}
		shut := o.open(t)
		time.Sleep(10 * time.Minute)
		o.add("a", "1")
		time.Sleep(75 * time.Minute)
		o.want(t, "a", delivery.Success, 1)
		shut()
	})
}

// An audit that was noted by a clock far ahead puts off no other.
func TestAuditOfTheFutureIsNotWaitedFor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := newOffice(nil)
		o.queue = &quiet{deaf{Store: o.Store}}
		_ = o.NoteAudit(t.Context(), time.Now().Add(30*24*time.Hour))
		shut := o.open(t)
		o.add("a", "1")
		time.Sleep(75*time.Minute + maxIntroduction)
		o.want(t, "a", delivery.Success, 1)
		shut()
	})
}
