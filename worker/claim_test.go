package worker

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"postrider/delivery"
	"postrider/delivery/deliverytest"
)

// belated is a store that does not answer its first claim, and makes it only
// when the second one is asked for.
type belated struct {
	*deliverytest.Store
	first  delivery.Change
	claims int
}

func (s *belated) Apply(ctx context.Context, snap delivery.Snapshot, c delivery.Change) (delivery.Snapshot, error) {
	if kind(c) != "claim" {
		return s.Store.Apply(ctx, snap, c)
	}
	s.claims++
	switch s.claims {
	case 1:
		s.first = c
		<-ctx.Done()
		return snap, ctx.Err()
	case 2:
		if _, err := s.Store.Apply(ctx, snap, s.first); err != nil {
			return snap, err
		}
	}
	return s.Store.Apply(ctx, snap, c)
}

func TestClaimThatIsMadeAfterItsSuccessorWasAskedForIsHandedBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := newOffice(nil)
		q := &belated{Store: o.Store}
		o.queue = q
		o.add("a", "hello")
		shut := o.open(t)
		time.Sleep(30 * time.Second) // half of the first claim's lease
		synctest.Wait()
		if got := o.Get("a")["delivery"].(delivery.Fields)["state"]; got != "SUCCESS" {
			t.Errorf("the document is in %v, want SUCCESS\n%s", got, o.log)
		}
		if got := len(o.mails()); got != 1 {
			t.Errorf("%d mails are sent, want one", got)
		}
		shut()
	})
}
