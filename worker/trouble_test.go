package worker

import (
	"context"
	"errors"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"postrider/delivery"
	"postrider/delivery/deliverytest"
	"postrider/smtp"
)

// troubled is a store whose claims fail, or are never answered, for a while.
type troubled struct {
	*deliverytest.Store
	mu      sync.Mutex
	until   time.Time // claims are not answered before
	applied bool      // but applied all the same
	refuse  error     // what ends fail with, if not nil
}

func (s *troubled) Apply(ctx context.Context, snap delivery.Snapshot, c delivery.Change) (delivery.Snapshot, error) {
	s.mu.Lock()
	silent, applied := time.Now().Before(s.until), s.applied
	s.mu.Unlock()
	if !silent {
		return s.Store.Apply(ctx, snap, c)
	}
	if applied {
		_, _ = s.Store.Apply(ctx, snap, c)
	}
	<-ctx.Done()
	return snap, ctx.Err()
}

func (s *troubled) Finish(ctx context.Context, snap delivery.Snapshot, end func(delivery.Record) delivery.Change) (delivery.Snapshot, error) {
	if s.refuse != nil {
		return snap, s.refuse
	}
	return s.Store.Finish(ctx, snap, end)
}

// A lease begins with the claim that Firestore took, however long that lasted.
func TestClaimThatIsAnsweredLateHasItsWholeLease(t *testing.T) {
	for name, applied := range map[string]bool{"never applied": false, "applied without an answer": true} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var o *office
				o = newOffice(func(_ context.Context, m smtp.Mail) (smtp.Result, error) {
					if left := time.Until(delivery.ReadRecord(o.Get("a")).Lease.Expires); left < 59*time.Second {
						t.Errorf("only %v for the mail", left)
					}
					return accepted(m)
				})
				s := &troubled{Store: o.Store, until: time.Now().Add(5 * time.Minute), applied: applied}
				o.queue = s
				o.add("a", "1")
				shut := o.open(t)
				time.Sleep(10 * time.Minute)
				o.want(t, "a", delivery.Success, 1)
				if o.Get("a")["delivery"].(delivery.Fields)["startTime"] == nil {
					t.Error("the record has no beginning")
				}
				if len(o.mails()) != 1 {
					t.Errorf("sent %v", o.mails())
				}
				shut()
			})
		})
	}
}

func TestDrainFailsIfNothingCanBeClaimed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := newOffice(nil)
		o.queue = &troubled{Store: o.Store, until: time.Now().Add(24 * time.Hour)}
		o.add("a", "1")
		if tally, err := o.Drain(t.Context()); err == nil {
			t.Errorf("%+v, and no error", tally)
		}
	})
}

func TestDrainTellsOfWhatCouldNotBeWritten(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := newOffice(nil)
		o.queue = &troubled{Store: o.Store, refuse: errors.New("permission denied")}
		o.add("a", "1")
		tally, err := o.Drain(t.Context())
		if err != nil || tally != (Tally{Unwritten: 1}) {
			t.Errorf("%+v, %v", tally, err)
		}
	})
}

// What was cut after its final dot is not handed back: it may have been sent.
func TestStopDoesNotHandBackAMailOfUnknownFate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := newOffice(nil)
		o.sender = unanswered{}
		o.add("a", "1")
		shut := o.open(t)
		shut()
		o.want(t, "a", delivery.Error, 1)
		if class := delivery.ReadRecord(o.Get("a")).Class; class != delivery.Unknown {
			t.Errorf("class %q", class)
		}
	})
}

// What can't be composed because the time for it was cut is handed back too.
func TestStopHandsBackWhatIsBeingComposed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := newOffice(nil)
		o.composer = composeFunc(func(ctx context.Context, _ delivery.Document, _ string, _ time.Time) (Mail, error) {
			<-ctx.Done()
			return Mail{}, context.Cause(ctx)
		})
		o.add("a", "1")
		shut := o.open(t)
		shut()
		o.want(t, "a", delivery.Pending, 0)
	})
}

// A mail for which no connection became free in half its time is handed back,
// and sent when one is.
func TestMailThatFoundNoConnectionIsHandedBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		busy := true
		o := newOffice(func(_ context.Context, m smtp.Mail) (smtp.Result, error) {
			if !busy {
				return accepted(m)
			}
			busy = false
			if wait := time.Until(m.StartBy); wait != 25*time.Second {
				t.Errorf("waits %v for a connection", wait)
			}
			time.Sleep(time.Until(m.StartBy))
			return smtp.Result{}, &smtp.Error{Stage: smtp.StageConnect, Err: smtp.ErrBusy}
		})
		o.add("a", "1")
		shut := o.open(t)
		time.Sleep(time.Minute)
		o.want(t, "a", delivery.Success, 1)
		shut()
	})
}

func TestPanicHarmsOneMail(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := newOffice(nil)
		o.composer = composeFunc(func(ctx context.Context, doc delivery.Document, id string, now time.Time) (Mail, error) {
			if doc.Message.Subject == "bad" {
				panic("secret subject")
			}
			return plain(ctx, doc, id, now)
		})
		o.add("a", "bad")
		o.add("b", "good")
		shut := o.open(t)
		synctest.Wait()
		o.want(t, "a", delivery.Error, 1)
		o.want(t, "b", delivery.Success, 1)
		shut()
		if strings.Contains(o.log.String(), "secret subject") || !strings.Contains(o.log.String(), "panic while sending") {
			t.Errorf("the log: %s", o.log)
		}
	})
}

// A document too large for a record of its mail is refused before it is sent.
func TestDocumentWithoutRoomForARecordIsNotSent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := newOffice(nil)
		o.queue = large{o.Store}
		o.add("a", "1")
		shut := o.open(t)
		synctest.Wait()
		o.want(t, "a", delivery.Error, 0)
		if len(o.mails()) != 0 {
			t.Errorf("sent %v", o.mails())
		}
		shut()
	})
}

// large is a store of documents that are nearly full.
type large struct{ *deliverytest.Store }

func (s large) Watch(ctx context.Context, w delivery.Watcher) error {
	return s.Store.Watch(ctx, enlarging{w})
}

type enlarging struct{ delivery.Watcher }

func (e enlarging) Found(ctx context.Context, snap delivery.Snapshot, settled func()) error {
	snap.Size = delivery.MaxSize + 1
	return e.Watcher.Found(ctx, snap, settled)
}

// With more documents waiting than hands, the worker is ready all the same.
func TestBacklogDoesNotDelayReadiness(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := newOffice(func(_ context.Context, m smtp.Mail) (smtp.Result, error) {
			time.Sleep(20 * time.Second)
			return accepted(m)
		})
		for _, id := range strings.Split("abcdefghijklmnopqrstuvwxyz", "") {
			o.add(id, id)
		}
		shut := o.open(t)
		if s := o.Status(); !s.Watching || s.Heard.IsZero() {
			t.Errorf("%+v", s)
		}
		shut()
	})
}

// A claim that comes through only after the worker was told to stop is handed
// back unsent.
func TestStopWhileClaimingSendsNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := newOffice(nil)
		o.queue = slow{o.Store}
		o.add("a", "1")
		shut := o.open(t)
		shut()
		o.want(t, "a", delivery.Pending, 0)
		if len(o.mails()) != 0 {
			t.Errorf("sent %v", o.mails())
		}
	})
}

// slow is a store that takes two seconds for a claim.
type slow struct{ *deliverytest.Store }

func (s slow) Apply(ctx context.Context, snap delivery.Snapshot, c delivery.Change) (delivery.Snapshot, error) {
	time.Sleep(2 * time.Second)
	return s.Store.Apply(ctx, snap, c)
}

// A drain takes up what changed between the audit and the claim.
func TestDrainTakesUpWhatChangedUnderIt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := newOffice(nil)
		o.queue = hasty{o.Store}
		o.add("a", "1")
		tally, err := o.Drain(t.Context())
		if err != nil || tally.Delivered != 1 {
			t.Errorf("%+v, %v", tally, err)
		}
		o.want(t, "a", delivery.Success, 1)
	})
}

// hasty is a store in which every document changes as soon as it was found.
type hasty struct{ *deliverytest.Store }

func (s hasty) Audit(ctx context.Context, found func(context.Context, delivery.Snapshot) error) (delivery.Audit, error) {
	return s.Store.Audit(ctx, func(ctx context.Context, snap delivery.Snapshot) error {
		s.Update(snap.ID, func(f delivery.Fields) { f["delivery"] = delivery.Fields{"state": "PENDING"} })
		return found(ctx, snap)
	})
}

func nothing() {}

// A source that ends while all hands are full is let go, and what it had found
// can be taken in hand later.
func TestFullHandsLetGoOfASourceThatEnds(t *testing.T) {
	h := newHands(1)
	a, b := delivery.Snapshot{ID: "a"}, delivery.Snapshot{ID: "b"}
	if mine, err := h.take(t.Context(), a, nothing); !mine || err != nil {
		t.Fatalf("%v, %v", mine, err)
	}
	source, end := context.WithCancel(t.Context())
	end()
	if mine, err := h.take(source, b, nothing); mine || !errors.Is(err, context.Canceled) {
		t.Errorf("%v, %v", mine, err)
	}
	h.release(a, delivery.ErrConflict, nil)
	if mine, err := h.take(t.Context(), b, nothing); !mine || err != nil {
		t.Errorf("afterwards %v, %v", mine, err)
	}
}

// It is the source's end that counts: the worker's own may be far away.
func TestFinderEndsWithItsSource(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := newOffice(nil)
		for range cap(o.hands.slots) {
			o.hands.slots <- struct{}{}
		}
		source, end := context.WithCancel(t.Context())
		end()
		s := delivery.Snapshot{ID: "a", Fields: delivery.Fields{"message": delivery.Fields{}}}
		if err := o.taker(t.Context(), t.Context())(source, s, nothing); !errors.Is(err, context.Canceled) {
			t.Errorf("error %v", err)
		}
	})
}
