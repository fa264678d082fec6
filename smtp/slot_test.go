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
	p.busy = 1
	return p
}

// inUse is how many connections are at work.
func inUse(p *Pool) int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.busy
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
			if inUse(p) != 1 {
				t.Errorf("%s: %d slots are taken, want the one taken before", what, inUse(p))
			}
		})
	}
}

func TestASlotThatBecomesFreeBeforeStartByIsTaken(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := taken(t)
		defer time.AfterFunc(time.Minute-1, p.release).Stop()
		if _, err := p.enter(t.Context(), t.Context(), nil, time.Now().Add(time.Minute)); err != nil {
			t.Fatal(err)
		}
		p.running.Done()
		if inUse(p) != 1 {
			t.Errorf("%d slots are taken", inUse(p))
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
	m.Message = []byte(".a dot\r\n")
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
