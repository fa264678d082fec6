package retry

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rs/zerolog"

	"postrider/delivery"
	"postrider/delivery/bulk"
)

// many is how many documents an operation has that takes several pages.
const many = 19

const all = `{"filter":{}}`

// named returns the request for documents by their IDs.
func named(ids ...string) string { return `{"messageIds":["` + strings.Join(ids, `","`) + `"]}` }

// An operation is worked as soon as it is accepted, page by page.
func TestAcceptedOperationIsWorkedAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStore()
		s.fill(7)
		s.record("other", delivery.Fields{"state": "SUCCESS"})
		i := begin(t, s, "a", roomFor(3), nil)
		defer i.stop()
		synctest.Wait()
		before := time.Now()
		o := s.ended(t, i.ask(t, all))
		s.exactly(t, o, 7)
		if took := time.Since(before); took < 3*rest || took > 5*rest || o.Percent() != 100 || o.Total != 7 || o.Started.IsZero() || o.Ended.IsZero() || o.Lease != (bulk.Lease{}) {
			t.Errorf("after %v: %+v", took, o)
		}
		if s.state("other") != delivery.Success || s.state("m000") != delivery.Retry {
			t.Errorf("m000 is in %s, the other in %s", s.state("m000"), s.state("other"))
		}
	})
}

// What has come of each document is told in the order of the IDs.
func TestEachNamedDocumentHasItsResult(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStore()
		s.record("failed", failed())
		s.record("waits", delivery.Fields{"state": "PENDING", "nextAttemptTime": time.Now().Add(time.Hour)})
		s.record("sent", delivery.Fields{"state": "SUCCESS"})
		s.record("retried", delivery.Fields{"state": "RETRY"})
		s.record("new", nil)
		s.record("odd", delivery.Fields{"attempts": int64(1)})
		s.record("live", delivery.Fields{"state": "PROCESSING", "leaseExpireTime": time.Now().UTC().Add(time.Hour)})
		i := begin(t, s, "a", roomFor(2), nil)
		defer i.stop()
		o := s.ended(t, i.ask(t, named("sent", "failed", "no/such", "waits", "retried", "new", "odd", "live")))
		want := []bulk.Result{
			bulk.Left("sent", delivery.RefusedSent),
			{ID: "failed", Status: bulk.Moved},
			bulk.Left("no/such", bulk.NotFound),
			{ID: "waits", Status: bulk.Moved},
			bulk.Left("retried", delivery.RefusedWaiting), bulk.Left("new", delivery.RefusedNotAttempted),
			bulk.Left("odd", delivery.RefusedMalformed), bulk.Left("live", delivery.RefusedInProgress),
		}
		if !slices.Equal(o.Results, want) {
			t.Errorf("got %+v", o.Results)
		}
		if o.Counts != (bulk.Counts{Seen: 8, Matched: 8, Moved: 2, Skipped: 3, Refused: 3}) || len(o.Errors) != 3 || o.State != bulk.Succeeded {
			t.Errorf("got %+v", o)
		}
	})
}

func TestDryRunChangesNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStore()
		s.fill(250)
		i := begin(t, s, "a", roomFor(0), nil) // it needs no room
		defer i.stop()
		o := s.ended(t, i.ask(t, `{"filter":{},"dryRun":true}`))
		named := s.ended(t, i.ask(t, `{"messageIds":["m001","none"],"dryRun":true}`))
		if n, _ := s.moved(); n > 0 {
			t.Errorf("%d moved", n)
		}
		if n := i.view.writes(); n > 11 {
			t.Errorf("%d writes for four pages", n)
		}
		if o.Counts != (bulk.Counts{Seen: 250, Matched: 250}) || len(o.Results) != 250 || o.Results[0].Status != bulk.Matched || o.Percent() != 100 {
			t.Errorf("got %+v", o.Counts)
		}
		if named.Counts != (bulk.Counts{Seen: 2, Matched: 2, Refused: 1}) {
			t.Errorf("got %+v", named.Counts)
		}
	})
}

// While there is no room nothing is moved, however long that is, and the
// operation stays with who has it.
func TestNewMailComesFirst(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStore()
		s.fill(20)
		var room, pages atomic.Int64
		before := 0
		i := begin(t, s, "a", func() int {
			pages.Add(1)
			n, _ := s.moved()
			if n-before > int(room.Load()) {
				t.Errorf("%d are moved where there is room for %d", n-before, room.Load())
			}
			before = n
			return int(room.Load())
		}, nil)
		defer i.stop()
		other := begin(t, s, "b", func() int { t.Error("it was taken away"); return 0 }, &view{read: func(what string) error {
			if what == "operation" {
				t.Error("what another has is read")
			}
			return nil
		}})
		defer other.stop()
		synctest.Wait()
		id := i.ask(t, all)
		time.Sleep(10 * time.Minute)
		if n, _ := s.moved(); n > 0 || s.operation(id).State != bulk.Running {
			t.Errorf("%d moved, %s", n, s.operation(id).State)
		}
		if n := pages.Load(); n < 500 || n > 700 {
			t.Errorf("asked %d times in ten minutes", n)
		}
		if n := i.view.writes(); n > 50 {
			t.Errorf("%d writes while it waits", n)
		}
		room.Store(4)
		s.exactly(t, s.ended(t, id), 20)
		if s.reads > 25 {
			t.Errorf("%d reads for 20 documents", s.reads)
		}
	})
}

// While one operation has to wait, be it for hours, others do what they can: what
// only counts is done, and so is what is accepted afterwards as soon as there is
// room.
func TestOperationsDontWaitForEachOther(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStore()
		s.fill(900)
		var room, at atomic.Int64
		i := begin(t, s, "a", func() int {
			if at.Add(1) > 1 {
				t.Error("two ask for room at a time")
			}
			time.Sleep(time.Microsecond)
			at.Add(-1)
			return int(room.Load())
		}, nil)
		defer i.stop()
		long := i.ask(t, all)
		time.Sleep(time.Hour)
		before := time.Now()
		s.ended(t, i.ask(t, `{"filter":{},"dryRun":true}`))
		if took := time.Since(before); took > time.Second {
			t.Errorf("a dry run took %v", took)
		}
		var short []string
		for range maxInHand + 3 {
			short = append(short, i.ask(t, named("m898", "m899")))
		}
		room.Store(1)
		for _, id := range short {
			s.ended(t, id)
		}
		if o := s.operation(long); o.State.Final() || o.Counts.Moved > 400 {
			t.Errorf("the long one is %s with %+v", o.State, o.Counts)
		}
		s.ended(t, long)
		if n, twice := s.moved(); n != 900 || len(twice) > 0 {
			t.Errorf("%d moved, more than once %v", n, twice)
		}
	})
}

// Where few of many are meant, pages become larger than the room is.
func TestFewOfManyTakeFewPages(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStore()
		s.fill(900)
		s.record("m450", delivery.Fields{"state": "ERROR", "error": "Error: this"})
		v := &view{}
		i := begin(t, s, "a", roomFor(1), v)
		defer i.stop()
		o := s.ended(t, i.ask(t, `{"filter":{"errorContains":"this"}}`))
		s.exactly(t, o, 1)
		if o.Counts.Seen != 900 || v.writes() > 60 {
			t.Errorf("%d writes for %+v", v.writes(), o.Counts)
		}
	})
}

// Where there is little room, that takes no write of the operation for each document.
func TestLittleRoomTakesFewWrites(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStore()
		s.fill(200)
		var writes atomic.Int64
		i := begin(t, s, "a", roomFor(1), &view{write: func(_ int, what string) fault {
			if what == "operation" {
				writes.Add(1)
			}
			return fault{}
		}})
		defer i.stop()
		s.exactly(t, s.ended(t, i.ask(t, all)), 200)
		if n := writes.Load(); n > 60 {
			t.Errorf("%d writes of the operation for 200 documents", n)
		}
	})
}

// A document that changes between its page and its turn is decided about anew.
func TestDocumentsThatChangeMeanwhile(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStore()
		s.fill(5)
		now := time.Now().UTC()
		v := &view{write: func(n int, what string) fault {
			if n == 3 && what == "operation" { // the page is written ahead
				s.record("m000", delivery.Fields{"state": "SUCCESS"})
				s.record("m001", delivery.Fields{"state": "RETRY"})
				s.record("m002", delivery.Fields{"state": "ERROR", "endTime": now.Add(time.Hour)})
				s.record("m003", delivery.Fields{"state": "ERROR", "error": "edited"})
				s.mu.Lock()
				delete(s.documents, "m004")
				s.mu.Unlock()
			}
			return fault{}
		}}
		i := begin(t, s, "a", roomFor(100), v)
		defer i.stop()
		o := s.ended(t, i.ask(t, all))
		want := []bulk.Result{
			bulk.Left("m000", bulk.Changed), bulk.Left("m001", bulk.Changed), bulk.Left("m002", bulk.AttemptedSince),
			{ID: "m003", Status: bulk.Moved},
			bulk.Left("m004", bulk.NotFound),
		}
		if !slices.Equal(o.Results, want) {
			t.Errorf("got %+v", o.Results)
		}
		if n, _ := s.moved(); n != 1 || s.state("m000") != delivery.Success {
			t.Errorf("%d moved", n)
		}
	})
}

// What fails again while the operation is worked is not moved by it again.
func TestAFailureAfterwardsIsNotMovedAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStore()
		s.fill(many)
		i := begin(t, s, "a", func() int {
			s.attempt()
			s.record("z", delivery.Fields{"state": "ERROR", "endTime": time.Now().UTC().Add(time.Second)}) // it fails meanwhile, by itself
			return 2
		}, nil)
		defer i.stop()
		time.Sleep(time.Second)
		s.exactly(t, s.ended(t, i.ask(t, all)), many)
		s.attempt()
		time.Sleep(time.Second)
		if second := s.ended(t, i.ask(t, named("m000", "m001"))); second.Counts.Moved != 2 {
			t.Errorf("another operation moves %+v", second.Counts)
		}
	})
}

// requests are one operation by filter and one by IDs, each over several pages of documents.
func requests() map[string]string {
	ids := make([]string, many)
	for i := range ids {
		ids[i] = fmt.Sprintf("m%03d", i)
	}
	return map[string]string{"filter": all, "IDs": named(ids...)}
}

// An instance that dies at any of its writes, carried out or not, leaves an
// operation that another ends: each document is moved once, and counted once, even
// if mails that were moved have failed again meanwhile.
func TestDeathAtEveryWrite(t *testing.T) {
	for name, body := range requests() {
		writes := 0
		for _, applied := range []bool{false, true} {
			for _, again := range []bool{false, true} {
				for n := 1; ; n++ {
					died := false
					synctest.Test(t, func(t *testing.T) {
						s := newStore()
						s.fill(many)
						v := &view{}
						i := begin(t, s, "a", narrow(), v)
						synctest.Wait()
						v.write = func(call int, _ string) fault {
							if call == n+1 { // the first is the operation's making
								return fault{err: errDead, applied: applied, dies: true}
							}
							return fault{}
						}
						id := i.ask(t, body)
						time.Sleep(10 * time.Second) // it would be done long since
						died = v.isDead()
						i.stop()
						if again {
							time.Sleep(time.Second)
							s.attempt()
						}
						other := begin(t, s, "b", narrow(), nil)
						defer other.stop()
						s.exactly(t, s.ended(t, id), many)
					})
					if !died {
						writes = n
						break
					}
					if t.Failed() {
						t.Fatalf("%s: dead at write %d, carried out: %v, tried again: %v", name, n, applied, again)
					}
				}
			}
		}
		if writes < 12 {
			t.Errorf("%s: only %d writes were broken", name, writes)
		}
	}
}

// A write that is not answered is repeated, whether or not it was carried out, by
// the instance that has the operation.
func TestNoAnswerAtEveryWrite(t *testing.T) {
	for name, body := range requests() {
		for _, applied := range []bool{false, true} {
			for n, broken := 1, true; broken; n++ {
				broken = false
				synctest.Test(t, func(t *testing.T) {
					s := newStore()
					s.fill(many)
					i := begin(t, s, "a", narrow(), &view{write: func(call int, _ string) fault {
						if call == n {
							broken = true
							return fault{err: errors.New("no answer"), applied: applied}
						}
						return fault{}
					}})
					defer i.stop()
					began := time.Now()
					s.exactly(t, s.ended(t, i.ask(t, body)), many)
					if took := time.Since(began); took > 30*time.Second {
						t.Errorf("it took %v", took)
					}
				})
				if t.Failed() {
					t.Fatalf("%s: no answer to write %d, carried out: %v", name, n, applied)
				}
			}
		}
	}
}

// However many instances there are, each operation is worked by one at a time.
func TestInstancesShareOperations(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStore()
		s.fill(300)
		var asked []string
		var instances []*instance
		for k := range 3 {
			i := begin(t, s, fmt.Sprint("i", k), roomFor(7), nil)
			defer i.stop()
			instances = append(instances, i)
		}
		synctest.Wait()
		for k, i := range instances {
			asked = append(asked, i.ask(t, fmt.Sprintf(`{"filter":{},"dryRun":%v}`, k > 0)), i.ask(t, named("m000", fmt.Sprintf("m%03d", 10+k))))
		}
		total := 0
		for _, id := range asked {
			total += s.ended(t, id).Counts.Moved
		}
		if n, twice := s.moved(); n != 300 || len(twice) > 0 || total != 300 {
			t.Errorf("%d moved, counted %d, more than once %v", n, total, twice)
		}
	})
}

// An instance that stands still for longer than its lease has lost the operation,
// whenever it goes on.
func TestLeaseThatIsLostMidway(t *testing.T) {
	for name, body := range requests() {
		for n := 1; n < 28; n++ {
			synctest.Test(t, func(t *testing.T) {
				s := newStore()
				s.fill(many)
				var still atomic.Bool
				v := &view{}
				v.write = func(call int, _ string) fault {
					if call == n+1 && still.CompareAndSwap(false, true) {
						v.mu.Unlock()
						time.Sleep(5 * time.Minute)
						v.mu.Lock()
					}
					return fault{}
				}
				i := begin(t, s, "a", narrow(), v)
				defer i.stop()
				synctest.Wait()
				id := i.ask(t, body)
				other := begin(t, s, "b", narrow(), nil)
				defer other.stop()
				o := s.ended(t, id)
				if still.Load() {
					time.Sleep(10 * time.Minute) // until it goes on
				}
				s.exactly(t, s.operation(id), many)
				if !s.operation(id).Same(o) {
					t.Error("it was changed after its end")
				}
			})
			if t.Failed() {
				t.Fatalf("%s: still at write %d", name, n)
			}
		}
	}
}

// An operation that another takes just then, before it is read or before it is
// written, is the other's.
func TestOperationThatIsTakenJustThen(t *testing.T) {
	for _, when := range []string{"before it is read", "before it is written"} {
		t.Run(when, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newStore()
				s.fill(many)
				taken := ""
				take := func() {
					if taken != "" {
						s.mu.Lock()
						o := bulk.ReadOperation(s.operations[taken]).Claimed("other", time.Now())
						s.put(s.operations, taken, o.Fields())
						s.mu.Unlock()
						taken = ""
					}
				}
				v := &view{}
				i := begin(t, s, "a", narrow(), v)
				synctest.Wait()
				q := bulk.New("x", request(t, all), time.Now())
				s.mu.Lock()
				s.put(s.operations, "x", q.Fields())
				s.mu.Unlock()
				taken = "x"
				v.read = func(what string) error {
					if what == "operation" && when == "before it is read" {
						take()
					}
					return nil
				}
				v.write = func(int, string) fault { take(); return fault{} }
				i.Wake()
				time.Sleep(10 * time.Second)
				if n, _ := s.moved(); n > 0 || taken != "" || s.operation("x").Lease.Owner != "other" {
					t.Errorf("%d moved, it is %s's", n, s.operation("x").Lease.Owner)
				}
				i.stop()
			})
		})
	}
}

// A write of somebody who changes nothing is no other instance's.
func TestOperationThatIsTouched(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStore()
		s.fill(many)
		i := begin(t, s, "a", narrow(), &view{write: func(n int, what string) fault {
			s.mu.Lock()
			defer s.mu.Unlock()
			for id, o := range s.operations {
				if n%2 == 0 && what == "operation" {
					s.put(s.operations, id, o.Fields)
				}
			}
			return fault{}
		}})
		defer i.stop()
		s.exactly(t, s.ended(t, i.ask(t, all)), many)
	})
}

// Nothing is tried any more when the lease is about to end.
func TestNothingIsDoneAtTheEndOfALease(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStore()
		s.fill(many)
		tries := 0
		until := time.Now().Add(5 * time.Minute)
		i := begin(t, s, "a", narrow(), &view{write: func(_ int, what string) fault {
			if what != "move" || time.Now().After(until) {
				return fault{}
			}
			tries++
			if left := time.Until(s.operation(s.first()).Lease.Expires); left < margin {
				t.Errorf("tried %v before the lease's end", left)
			}
			return fault{err: errors.New("no answer")}
		}})
		defer i.stop()
		s.exactly(t, s.ended(t, i.ask(t, all)), many)
		if i.stop(); tries < 100 {
			t.Errorf("tried %d times", tries)
		}
	})
}

// An instance that stops leaves the operation at once: another need not wait for
// the end of its lease.
func TestStopMidway(t *testing.T) {
	for name, body := range requests() {
		for n := 2; n < 28; n++ {
			synctest.Test(t, func(t *testing.T) {
				s := newStore()
				s.fill(many)
				reached := make(chan struct{})
				v := &view{write: func(call int, _ string) fault {
					if call == n {
						close(reached)
					}
					return fault{}
				}}
				i := begin(t, s, "a", narrow(), v)
				id := i.ask(t, body)
				select {
				case <-reached:
				case <-time.After(time.Minute):
				}
				i.stop()
				if o := s.operation(id); !o.Claimable(time.Now()) && !o.State.Final() {
					t.Errorf("it is kept: %+v", o.Lease)
				}
				began := time.Now()
				other := begin(t, s, "b", narrow(), nil)
				defer other.stop()
				s.exactly(t, s.ended(t, id), many)
				if took := time.Since(began); took > time.Second {
					t.Errorf("the other took it after %v", took)
				}
			})
			if t.Failed() {
				t.Fatalf("%s: stopped at write %d", name, n)
			}
		}
	}
}

// Who knows that another works an operation looks often whether it goes on.
func TestAnotherGoesOnSoonAfterAStop(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStore()
		s.fill(many)
		i := begin(t, s, "a", func() int { return 0 }, nil)
		id := i.ask(t, all)
		synctest.Wait()
		other := begin(t, s, "b", narrow(), nil)
		defer other.stop()
		time.Sleep(5 * time.Minute)
		i.stop()
		began := time.Now()
		s.exactly(t, s.ended(t, id), many)
		if took := time.Since(began); took > 15*time.Second {
			t.Errorf("it stood still for %v", took)
		}
	})
}

// A Firestore that is away for long is waited for.
func TestOutageIsWaitedFor(t *testing.T) {
	for name, body := range requests() {
		synctest.Test(t, func(t *testing.T) {
			s := newStore()
			s.fill(many)
			var away atomic.Bool
			gone := errors.New("away")
			v := &view{
				read: func(string) error {
					if away.Load() {
						return gone
					}
					return nil
				},
				write: func(n int, _ string) fault {
					if n == 5 {
						away.Store(true)
						time.AfterFunc(20*time.Minute, func() { away.Store(false) })
					}
					if away.Load() {
						return fault{err: gone}
					}
					return fault{}
				},
			}
			i := begin(t, s, "a", narrow(), v)
			defer i.stop()
			began := time.Now()
			s.exactly(t, s.ended(t, i.ask(t, body)), many)
			if took := time.Since(began); took < 20*time.Minute || took > 24*time.Minute {
				t.Errorf("%s: it took %v", name, took)
			}
		})
	}
}

// What can't be read, or kept, fails: nobody could ever end it.
func TestOperationsThatCantBeWorkedFail(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStore()
		s.fill(many)
		v := &view{write: func(n int, what string) fault {
			if n == 3 && what == "operation" {
				return fault{err: delivery.ErrRefused}
			}
			return fault{}
		}}
		i := begin(t, s, "a", narrow(), v)
		defer i.stop()
		full := s.ended(t, i.ask(t, all))
		if full.State != bulk.Failed || full.Problem == nil || full.Problem.Code != "TooLarge" {
			t.Errorf("got %+v", full)
		}
		f := bulk.New("x", full.Request, time.Now()).Fields()
		f["request"] = "{"
		s.mu.Lock()
		s.put(s.operations, "x", f)
		s.mu.Unlock()
		i.Wake()
		if o := s.ended(t, "x"); o.State != bulk.Failed || o.Problem.Code != "Unreadable" {
			t.Errorf("got %+v", o)
		}
	})
}

// Without operations an instance asks once a minute or so.
func TestIdleRunnerIsCheap(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStore()
		i := begin(t, s, "a", narrow(), nil)
		time.Sleep(time.Hour)
		i.stop()
		if s.looks < 45 || s.looks > 81 || i.view.calls > 0 {
			t.Errorf("%d looks, %d writes", s.looks, i.view.calls)
		}
	})
}

// Accepting is tried for some seconds, and says when it was no use.
func TestAcceptGivesUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStore()
		away := errors.New("away")
		v := &view{store: s, write: func(int, string) fault { return fault{err: away} }}
		r := New(Options{}, v, v, zerolog.Nop())
		began := time.Now()
		if _, err := r.Accept(t.Context(), bulk.Request{MessageIDs: []string{"a"}}); !errors.Is(err, away) {
			t.Errorf("got %v", err)
		}
		if took := time.Since(began); took > acceptTime {
			t.Errorf("it took %v", took)
		}
		v.write = nil
		id, err := r.Accept(t.Context(), bulk.Request{MessageIDs: []string{"a"}})
		if _, ok := bulk.ParseOperationID(bulk.OperationID(id)); !ok || err != nil {
			t.Errorf("got %q, %v", id, err)
		}
	})
}
