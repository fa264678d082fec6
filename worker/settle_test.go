package worker

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"

	"postrider/delivery"
	"postrider/delivery/deliverytest"
	"postrider/smtp"
)

// tenSeconds sends a mail in ten seconds.
func tenSeconds(_ context.Context, m smtp.Mail) (smtp.Result, error) {
	time.Sleep(10 * time.Second)
	return accepted(m)
}

func (o *office) unsettled(t *testing.T, when string, want int) {
	t.Helper()
	synctest.Wait()
	if n := o.Unsettled(); n != want {
		t.Errorf("%s: %d are unsettled, want %d", when, n, want)
	}
}

// No checkpoint passes a document before its attempt has ended.
func TestDocumentInHandIsNotSettled(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := newOffice(tenSeconds)
		shut := o.open(t)
		o.add("a", "1")
		o.unsettled(t, "while it is sent", 1)
		time.Sleep(10 * time.Second)
		o.unsettled(t, "afterwards", 0)
		shut()
	})
}

// What ends while the worker stops is settled.
func TestDocumentThatEndsWhileStoppingIsSettled(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := newOffice(func(_ context.Context, m smtp.Mail) (smtp.Result, error) {
			time.Sleep(5 * time.Second)
			return accepted(m)
		})
		shut := o.open(t)
		o.add("a", "1")
		synctest.Wait()
		shut()
		o.want(t, "a", delivery.Success, 1)
		o.unsettled(t, "at the end", 0)
	})
}

// A document that the worker has not come to claim is left for the next one.
func TestDocumentThatCouldNotBeClaimedBeforeTheEndIsNotSettled(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := newOffice(nil)
		o.queue = &troubled{Store: o.Store, until: time.Now().Add(time.Hour)}
		shut := o.open(t)
		o.add("a", "1")
		synctest.Wait()
		shut()
		o.unsettled(t, "at the end", 1)
	})
}

// refusing is a store in which no document can hold a record.
type refusing struct{ *deliverytest.Store }

func (s refusing) Apply(_ context.Context, snap delivery.Snapshot, _ delivery.Change) (delivery.Snapshot, error) {
	return snap, delivery.ErrRefused
}

// A document that can't hold a record holds up no checkpoint, and asks for no
// audit.
func TestDocumentThatTakesNoRecordIsSettled(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := newOffice(nil)
		o.queue = refusing{o.Store}
		shut := o.open(t)
		o.add("a", "1")
		time.Sleep(10 * time.Minute)
		o.unsettled(t, "in the end", 0)
		if n := testutil.ToFloat64(o.metrics.audits.WithLabelValues("done")); n > 1 {
			t.Errorf("%v audits", n)
		}
		shut()
	})
}

// theirs returns an ID that another instance ranks first for.
func (o *office) theirs() string {
	for i := 0; ; i++ {
		if id := fmt.Sprint("doc-", i); !o.share.first(id, time.Now()) {
			return id
		}
	}
}

// What is left to another instance is settled when that claims it, or when it is
// taken over and its attempt has ended.
func TestDocumentLeftToOthersIsNotSettled(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		offices, shut := crew(t, 2, tenSeconds)
		stall(offices[1]) // which keeps its own unsettled
		offices[0].add(offices[0].theirs(), "")
		offices[0].unsettled(t, "while it is left", 2)
		time.Sleep(5 * time.Second)
		offices[0].unsettled(t, "while it is taken over", 2)
		time.Sleep(10 * time.Second)
		offices[0].unsettled(t, "afterwards", 1)
		for _, f := range shut {
			f()
		}
	})
}

// late is a store that takes a second to say which instances there are.
type late struct {
	*deliverytest.Store
	never bool
}

func (s late) Attend(ctx context.Context, self string, view func(map[string]time.Time)) error {
	if s.never {
		<-ctx.Done()
		return ctx.Err()
	}
	await(ctx, nil, time.Second)
	return s.Store.Attend(ctx, self, view)
}

// Nothing is claimed before the others are known, but they are not waited for
// for ever.
func TestOthersAreKnownBeforeAnythingIsClaimed(t *testing.T) {
	for name, never := range map[string]bool{"late": false, "never": true} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				o := newOffice(nil)
				o.queue = late{o.Store, never}
				o.add("a", "1")
				shut := o.open(t)
				time.Sleep(time.Second - 1)
				synctest.Wait()
				if o.Writes() > 0 {
					t.Error("claimed before the others were known")
				}
				time.Sleep(maxIntroduction)
				synctest.Wait()
				o.want(t, "a", delivery.Success, 1)
				if n := testutil.ToFloat64(o.metrics.instances); n != 1 && !never {
					t.Errorf("%v instances", n)
				}
				shut()
			})
		})
	}
}

// counting is a store that counts what only one instance should do.
type counting struct {
	*deliverytest.Store
	reads, checkpoints, audits atomic.Int64
}

func (s *counting) Read(ctx context.Context, id string) (delivery.Snapshot, error) {
	s.reads.Add(1)
	return s.Store.Read(ctx, id)
}

func (s *counting) Checkpoint(context.Context, bool) error {
	s.checkpoints.Add(1)
	return nil
}

func (s *counting) Audit(ctx context.Context, found func(context.Context, delivery.Snapshot) error) (delivery.Audit, error) {
	s.audits.Add(1)
	return s.Store.Audit(ctx, found)
}

// A claim that was seen is not read, and one of the instances saves the place and
// audits for all.
func TestInstancesDoNotRepeatEachOthersWork(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		first := newOffice(tenSeconds)
		offices := []*office{first, first.beside("two", tenSeconds), first.beside("three", tenSeconds)}
		var stores []*counting
		var shut []func()
		for _, o := range offices {
			s := &counting{Store: first.Store}
			o.queue, stores = s, append(stores, s)
			o.options.Audit = 30 * time.Second
			shut = append(shut, o.open(t))
		}
		for i := range 12 {
			first.add(fmt.Sprint("doc-", i), "")
		}
		time.Sleep(alive - time.Second) // the store has no heartbeats
		var reads, checkpoints, audits int64
		for _, s := range stores {
			reads += s.reads.Load()
			if n := s.checkpoints.Load(); n > 0 {
				checkpoints++
			}
			if s.audits.Load() > 0 {
				audits++
			}
		}
		if reads > 0 || checkpoints != 1 || audits != 1 {
			t.Errorf("%d reads; %d instances saved the place, %d audited", reads, checkpoints, audits)
		}
		for _, f := range shut {
			f()
		}
	})
}

// A document that changes while it is in hand is worked on as it has become.
func TestHandsKeepWhatADocumentHasBecome(t *testing.T) {
	h, settled := newHands(1), 0
	version := func(n int64) delivery.Snapshot { return delivery.Snapshot{ID: "a", UpdateTime: time.Unix(n, 0)} }
	take := func(n int64, want bool) {
		t.Helper()
		if mine, err := h.take(t.Context(), version(n), func() { settled++ }); mine != want || err != nil {
			t.Errorf("version %d: taken %v, %v", n, mine, err)
		}
	}
	wanted := func(delivery.Snapshot) (bool, error) { return true, nil }
	take(1, true)
	take(4, false)
	take(3, false) // late
	if s, end := h.release(version(2), errors.New("unwritten"), wanted); end != nil || !s.UpdateTime.Equal(version(4).UpdateTime) {
		t.Errorf("what it has become is forgotten: %v, %v", s, end)
	}
	take(3, false)
	if s, end := h.release(version(5), nil, wanted); end != nil || !s.UpdateTime.Equal(version(5).UpdateTime) {
		t.Errorf("gone back to %v, %v", s, end)
	}
	_, end := h.release(version(6), nil, func(delivery.Snapshot) (bool, error) { return false, nil })
	if end == nil || end.err != nil || len(end.settled) != 4 || settled != 0 {
		t.Fatalf("let go of as %+v", end)
	}
	if h.free() != 1 {
		t.Error("the hand is not free")
	}
}

// What found no free hand is not taken care of.
func TestHandsSettleNothingThatTheyDidNotTake(t *testing.T) {
	h, settled := newHands(1), 0
	settle := func() { settled++ }
	_, _ = h.take(t.Context(), delivery.Snapshot{ID: "a"}, settle)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if mine, err := h.take(ctx, delivery.Snapshot{ID: "b"}, settle); mine || err == nil || settled > 0 {
		t.Errorf("taken %v, %v, %d settled", mine, err, settled)
	}
	if held, mine := h.try(delivery.Snapshot{ID: "c"}); held != nil || mine {
		t.Error("taken without a hand")
	}
	if len(h.held) != 1 {
		t.Errorf("%d are held", len(h.held))
	}
}
