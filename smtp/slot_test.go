package smtp

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"postrider/smtp/smtptest"
)

// taken is a pool whose one slot is in use.
func taken(t *testing.T) *Pool {
	p, err := NewPool(Options{Host: "127.0.0.1", Port: 25, MaxConnections: 1})
	if err != nil {
		t.Fatal(err)
	}
	p.slots <- struct{}{}
	return p
}

func TestStartByEndsTheWaitForASlot(t *testing.T) {
	for what, c := range map[string]struct {
		startBy, limit, cancel time.Duration // 0 for none
		ends                   time.Duration
		cause                  Cause
	}{
		"alone":            {startBy: time.Minute, ends: time.Minute, cause: CauseBusy},
		"before the limit": {startBy: time.Minute, limit: time.Hour, ends: time.Minute, cause: CauseBusy},
		"after the limit":  {startBy: time.Hour, limit: time.Minute, ends: time.Minute, cause: CauseTimeout},
		"already past":     {startBy: -time.Minute, limit: time.Hour, cause: CauseBusy},
		"none":             {limit: time.Hour, ends: time.Hour, cause: CauseTimeout},
		"cancelled before": {startBy: time.Hour, cancel: time.Minute, ends: time.Minute, cause: CauseCancelled},
	} {
		synctest.Test(t, func(t *testing.T) {
			p, began := taken(t), time.Now()
			ctx, stop := context.WithCancel(t.Context())
			defer stop()
			limit, end := context.WithCancelCause(t.Context())
			defer end(nil)
			m := letter()
			if c.startBy != 0 {
				m.StartBy = began.Add(c.startBy)
			}
			if c.limit != 0 {
				defer time.AfterFunc(c.limit, func() { end(context.DeadlineExceeded) }).Stop()
			}
			if c.cancel != 0 {
				defer time.AfterFunc(c.cancel, stop).Stop()
			}
			_, err := p.Send(ctx, limit, m)
			e := expect(t, err, StageConnect, c.cause, true)
			if errors.Is(err, ErrBusy) != (c.cause == CauseBusy) {
				t.Errorf("%s: %v", what, e)
			}
			if end := began.Add(c.ends); !time.Now().Equal(end) { // the bubble's clock
				t.Errorf("%s: ended at %v, want %v", what, time.Now(), end)
			}
			if len(p.slots) != 1 {
				t.Errorf("%s: %d slots are taken, want the one taken before", what, len(p.slots))
			}
		})
	}
}

func TestASlotThatBecomesFreeBeforeStartByIsTaken(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := taken(t)
		defer time.AfterFunc(time.Minute-1, func() { <-p.slots }).Stop()
		if err := p.enter(t.Context(), t.Context(), time.Now().Add(time.Minute)); err != nil {
			t.Fatal(err)
		}
		p.running.Done()
		if len(p.slots) != 1 {
			t.Errorf("%d slots are taken", len(p.slots))
		}
	})
}

func TestStartByDoesNotEndWhatHasBegun(t *testing.T) {
	t.Parallel()
	s := sink(t, smtptest.Behaviour{})
	m := letter()
	m.StartBy = time.Now().Add(-time.Minute)
	if _, err := pool(t, s.Addr(), Options{MaxConnections: 1}).Send(t.Context(), t.Context(), m); err != nil {
		t.Errorf("with a free slot: %v", err)
	}
}

// A mail that waits has the caller's message, and no copy of it.
func TestAMessageIsEncodedWithASlotInHandOnly(t *testing.T) {
	t.Parallel()
	p := taken(t)
	var buffers atomic.Int32
	p.buffers.New = func() any {
		buffers.Add(1)
		return new([]byte)
	}
	m := letter()
	m.StartBy = time.Now().Add(-time.Minute)
	_, err := p.Send(t.Context(), t.Context(), m)
	expect(t, err, StageConnect, CauseBusy, true)
	if n := buffers.Load(); n != 0 {
		t.Errorf("%d buffers were in use for a mail that never began", n)
	}
	m.Envelope.To = []string{"a\r\n@x.test"}
	_, err = p.Send(t.Context(), t.Context(), m)
	if expect(t, err, StageRcpt, CauseLocal, false); !errors.Is(err, ErrInvalidAddress) {
		t.Errorf("a bad address need not wait: %v", err)
	}
}
