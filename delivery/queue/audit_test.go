package queue

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	pb "cloud.google.com/go/firestore/apiv1/firestorepb"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/timestamppb"

	"postrider/delivery"
)

// shelf is a collection in memory that can be counted at every moment it has
// seen, and bills what Firestore would.
type shelf struct {
	mu      sync.Mutex
	moments []*inventory // by moment
	oldest  int64        // moment that is answered for
	calls   int
	billed  int
	scanned int            // documents that were read
	onCall  func(call int) // before each call, without the lock
	onRead  func()         // before a range is read
}

// inventory is what a shelf holds at one moment.
type inventory struct {
	ids    []string // in order
	states []string // "" for none, unfinished for an error that may be none by now
	sums   map[string][]int32
}

// shelve returns a collection of ids. State gives the state of each.
func shelve(ids []string, state func(i int, id string) string) *shelf {
	states := make([]string, len(ids))
	for i, id := range ids {
		states[i] = state(i, id)
	}
	return &shelf{moments: []*inventory{take(ids, states)}}
}

func take(ids, states []string) *inventory {
	v := &inventory{ids: ids, states: states, sums: map[string][]int32{}}
	for _, s := range states {
		if v.sums[counts(s)] == nil {
			v.sums[counts(s)] = make([]int32, len(ids)+1)
		}
	}
	for s, sum := range v.sums {
		for i, state := range states {
			sum[i+1] = sum[i]
			if s == counts(state) {
				sum[i+1]++
			}
		}
	}
	return v
}

const unfinished = "incomplete"

// counts returns the state that a document is counted in.
func counts(state string) string {
	if state == unfinished {
		return string(delivery.Error)
	}
	return state
}

// held returns a document as it is read.
func held(id, state string) *pb.Document {
	d := &pb.Document{Name: "projects/p/databases/d/documents/mail/" + id, UpdateTime: timestamppb.New(time.Unix(1, 0))}
	if state == "" {
		return d
	}
	record := delivery.Fields{"state": counts(state)}
	if state == unfinished {
		record["outcome"] = delivery.Fields{"class": string(delivery.Incomplete)}
	}
	d.Fields, _ = encodeFields(delivery.Fields{"delivery": record}, "")
	return d
}

// change makes the next moment: the documents as they are but for these; "-" is
// one that is deleted.
func (s *shelf) change(states map[string]string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	old := s.moments[len(s.moments)-1]
	var ids, after []string
	for i, id := range old.ids {
		if _, ok := states[id]; !ok {
			ids, after = append(ids, id), append(after, old.states[i])
		}
	}
	for id, state := range states {
		if state != "-" {
			i, _ := slices.BinarySearchFunc(ids, id, compareIDs)
			ids, after = slices.Insert(ids, i, id), slices.Insert(after, i, state)
		}
	}
	s.moments = append(s.moments, take(ids, after))
}

// bounds returns where a range begins and ends.
func (v *inventory) bounds(s span) (from, to int) {
	to = len(v.ids)
	if s.from != "" {
		from, _ = slices.BinarySearchFunc(v.ids, s.from, compareIDs)
	}
	if s.to != "" {
		to, _ = slices.BinarySearchFunc(v.ids, s.to, compareIDs)
	}
	return from, to
}

// call begins a call at a moment; the present one for nil.
func (s *shelf) call(at *timestamppb.Timestamp) (*inventory, int64, error) {
	s.mu.Lock()
	s.calls++
	n, hook := s.calls, s.onCall
	s.mu.Unlock()
	if hook != nil {
		hook(n)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	moment := int64(len(s.moments) - 1)
	if at != nil {
		moment = at.GetSeconds()
	}
	if moment < s.oldest {
		return nil, 0, status.Error(codes.FailedPrecondition, "The requested snapshot version is too old.")
	}
	return s.moments[moment], moment, nil
}

func (s *shelf) bill(reads int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.billed += reads
}

func (s *shelf) begin(_ context.Context, limit int) (int, *timestamppb.Timestamp, error) {
	v, at, err := s.call(nil)
	if err != nil {
		return 0, nil, err
	}
	n := min(len(v.ids), limit)
	s.bill(billed(n))
	return n, &timestamppb.Timestamp{Seconds: at}, nil
}

func (s *shelf) count(_ context.Context, r span, l *ledger, known bool) (int, error) {
	v, _, err := s.call(l.at)
	if err != nil {
		s.bill(1) // the audit takes a refusal to cost as much
		return 0, err
	}
	from, to := v.bounds(r)
	n := max(to-from, 0)
	if known {
		n = 0
		for _, state := range l.states {
			if sum := v.sums[state]; sum != nil && from < to {
				n += int(sum[to] - sum[from])
			}
		}
	}
	s.bill(billed(n))
	return n, nil
}

func (s *shelf) edges(_ context.Context, r span, l *ledger) (first, last string, err error) {
	v, _, err := s.call(l.at)
	s.bill(2)
	if err != nil {
		return "", "", err
	}
	from, to := v.bounds(r)
	for i := from; i < to && first == ""; i++ {
		if slices.Contains(l.states, counts(v.states[i])) {
			first = v.ids[i]
		}
	}
	for i := to - 1; i >= from && last == ""; i-- {
		if slices.Contains(l.states, counts(v.states[i])) {
			last = v.ids[i]
		}
	}
	return first, last, nil
}

func (s *shelf) reading(ctx context.Context, r span, wanted func(state string) bool, each func(context.Context, *pb.Document) error) error {
	v, _, err := s.call(nil)
	if err != nil {
		return err
	}
	n := 0
	defer func() { s.bill(max(n, 1)) }()
	from, to := v.bounds(r)
	for i := from; i < to; i++ {
		if !wanted(v.states[i]) {
			continue
		}
		n++
		s.mu.Lock()
		s.scanned++
		s.mu.Unlock()
		if err := each(ctx, held(v.ids[i], v.states[i])); err != nil {
			return err
		}
	}
	return nil
}

func (s *shelf) read(ctx context.Context, r span, each func(context.Context, *pb.Document) error) error {
	if s.onRead != nil {
		s.onRead()
	}
	return s.reading(ctx, r, func(string) bool { return true }, each)
}

func (s *shelf) incomplete(ctx context.Context, each func(context.Context, *pb.Document) error) error {
	return s.reading(ctx, span{}, func(state string) bool { return state == unfinished }, each)
}

// audited runs an audit of a shelf and returns what it found, sorted. It checks
// that the reads it tells of are those that were billed.
func audited(t *testing.T, s *shelf, k *known) ([]string, delivery.Audit) {
	t.Helper()
	before := s.billed
	a := newAudit(s, k)
	var got []string
	err := a.run(t.Context(), func(_ context.Context, s delivery.Snapshot) error {
		got = append(got, s.ID)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if a.result.Reads != s.billed-before {
		t.Errorf("says that it cost %d reads, was billed %d", a.result.Reads, s.billed-before)
	}
	slices.SortFunc(got, compareIDs)
	return got, a.result
}

// stray returns the states of a collection in which some are missed.
func stray(n, missing int, seed uint64) (state func(int, string) string, missed map[int]bool) {
	rng := rand.New(rand.NewPCG(seed, 2))
	missed = map[int]bool{}
	for len(missed) < missing {
		missed[rng.IntN(n)] = true
	}
	return func(i int, _ string) string {
		if missed[i] {
			return ""
		}
		return []string{"SUCCESS", "SUCCESS", "SUCCESS", "ERROR"}[i%4]
	}, missed
}

func TestAuditFindsWhatIsMissed(t *testing.T) {
	for name := range families {
		for _, n := range []int{1, 2, 9, 50, 1001, fewEnough} {
			for _, missing := range []int{0, 1, 7, n / 10, n} {
				if missing > n || n == fewEnough && name != "auto" && name != "imported" {
					continue
				}
				t.Run(fmt.Sprintf("%s/%d of %d", name, missing, n), func(t *testing.T) {
					all := ids(name, n, uint64(n))
					state, missed := stray(n, missing, uint64(n))
					got, result := audited(t, shelve(all, state), &known{})
					var want []string
					for i, id := range all {
						if missed[i] {
							want = append(want, id)
						}
					}
					if !slices.Equal(got, want) {
						t.Errorf("found %d, want %d", len(got), len(want))
					}
					if result.Documents != n || result.Missing != missing {
						t.Errorf("says %d of %d", result.Missing, result.Documents)
					}
					if limit := 2*n + n/100 + 200; result.Reads > limit {
						t.Errorf("cost %d reads, want %d at most", result.Reads, limit)
					}
				})
			}
		}
	}
}

func TestAuditOfNothingCostsNothingMuch(t *testing.T) {
	got, result := audited(t, shelve(nil, nil), &known{})
	if len(got) != 0 || result != (delivery.Audit{Reads: 2}) {
		t.Errorf("found %v, %+v", got, result)
	}
}

// What the audit is for: the reads that DESIGN promises, mostly of the IDs
// that Firestore makes.
func TestAuditCostsWhatItShould(t *testing.T) {
	for _, c := range []struct {
		family            string
		n, missing, reads int
	}{
		{"auto", 900, 0, 3},
		{"auto", 9_000, 0, 19},
		{"auto", 20_000, 0, 85},
		{"auto", 20_000, 1, 110},
		{"email", 20_000, 0, 75},
		{"auto", 60_000, 0, 150},
		{"auto", 60_000, 1, 180},
		{"auto", 60_000, 100, 2_250},
		{"auto", 60_000, 60_000, 60_150},
		{"auto", 100_000, 1, 310},
		{"auto", 100_000, 100, 2_350},
	} {
		state, _ := stray(c.n, c.missing, 9)
		if _, result := audited(t, shelve(ids(c.family, c.n, 1), state), &known{}); result.Reads > c.reads {
			t.Errorf("%d of %d: cost %d reads, want %d at most", c.missing, c.n, result.Reads, c.reads)
		}
	}
}

// Once all that is missed in a range has been found its other parts are not
// counted.
func TestPartsAreCountedUntilAllIsFound(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		all := ids("order", 20_000, 1)
		s := shelve(all, func(i int, _ string) string {
			return map[bool]string{true: "", false: "SUCCESS"}[i == 5]
		})
		s.onCall = func(int) { time.Sleep(time.Millisecond) }
		a := newAudit(s, &known{})
		whole := part{documents: len(all), missing: 1, ledger: &ledger{&timestamppb.Timestamp{}, own()}}
		var keys []string
		for i := 100; i < len(all); i += 100 {
			keys = append(keys, all[i])
		}
		parts := whole.cut(keys)
		if err := a.weighAll(t.Context(), whole, parts); err != nil || parts[0].missing != 1 || parts[len(parts)-1].missing != 0 {
			t.Errorf("%v, %v", parts[0], err)
		}
		if s.calls > 4*maxRanges {
			t.Errorf("%d calls for %d parts", s.calls, len(parts))
		}
	})
}

// IDs that lie close together among others that don't are not looked for one
// character at a time.
func TestAuditOfClustersCostsLittle(t *testing.T) {
	for name, c := range map[string]struct {
		before string
		reads  int
	}{
		"words": {"invoice-of-the-year-2026-", 70},
		"signs": {"a-", 70},
	} {
		cluster := ids("order", 900, 1)
		for i := range cluster {
			cluster[i] = c.before + cluster[i]
		}
		all := append(cluster, ids("auto", 90, 1)...)
		all = append(all, "a", "a0")
		slices.Sort(all)
		at := slices.Index(all, cluster[555])
		got, result := audited(t, shelve(all, func(i int, _ string) string {
			return map[bool]string{true: "", false: "SUCCESS"}[i == at]
		}), &known{})
		if len(got) != 1 || result.Reads > c.reads {
			t.Errorf("%s: found %q, %+v", name, got, result)
		}
	}
}

// Numeric IDs come before all others and can't be told apart; the others can.
func TestAuditOfImportedDocumentsDividesTheOthers(t *testing.T) {
	all := ids("imported", 8_000, 1)
	for _, at := range []int{4_100, 6_000, 7_990} {
		got, result := audited(t, shelve(all, func(i int, _ string) string {
			return map[bool]string{true: "", false: "SUCCESS"}[i == at]
		}), &known{})
		if len(got) != 1 || result.Reads > 120 {
			t.Errorf("%d: found %q, %+v", at, got, result)
		}
	}
}

func BenchmarkAudit(b *testing.B) {
	for _, family := range []string{"auto", "uuid", "order", "email"} {
		all := ids(family, 1_000_000, 1)
		for _, missing := range []int{0, 1, 100} {
			state, _ := stray(len(all), missing, 3)
			s := shelve(all, state)
			b.Run(fmt.Sprintf("%s/%d", family, missing), func(b *testing.B) {
				var a *audit
				for b.Loop() {
					a = newAudit(s, &known{})
					if err := a.run(b.Context(), func(context.Context, delivery.Snapshot) error { return nil }); err != nil {
						b.Fatal(err)
					}
				}
				b.ReportMetric(float64(a.result.Reads), "reads/op")
			})
		}
	}
}

// What comes and goes while the audit counts must not hide what was missed when
// it began.
func TestAuditIsNotMisledByWhatHappensMeanwhile(t *testing.T) {
	for seed := range uint64(12) {
		all := ids("auto", []int{2_000, fewEnough}[seed/10], seed)
		state, missed := stray(len(all), 20, seed)
		s := shelve(all, state)
		rng := rand.New(rand.NewPCG(seed, 5))
		var mu sync.Mutex
		gone := map[int]bool{}
		s.onCall = func(call int) {
			if call%(len(all)/400) != 0 {
				return
			}
			mu.Lock()
			defer mu.Unlock()
			changes := map[string]string{randomID(rng, autoLetters, 20): "SUCCESS", randomID(rng, autoLetters, 20): ""}
			for range 3 {
				i := rng.IntN(len(all))
				changes[all[i]], gone[i] = "-", true
			}
			for i := range missed {
				if rng.IntN(8) == 0 {
					changes[all[i]], gone[i] = "-", true
				}
			}
			s.change(changes)
		}
		got, _ := audited(t, s, &known{})
		for i := range missed {
			if !gone[i] && !slices.Contains(got, all[i]) {
				t.Errorf("seed %d: %s was not found", seed, all[i])
			}
		}
	}
}

// Firestore answers for a moment for an hour; found may take longer.
func TestAuditGoesOnAfterItsMoment(t *testing.T) {
	for _, every := range []int{40, 75, 200} {
		all := ids("auto", 30_000, 3)
		state, missed := stray(len(all), 60, 3)
		s := shelve(all, state)
		expiries := 0
		s.onCall = func(call int) {
			s.mu.Lock()
			defer s.mu.Unlock()
			if call%every == 0 && expiries < maxRenewals {
				expiries++
				s.moments = append(s.moments, s.moments[len(s.moments)-1])
				s.oldest = int64(len(s.moments) - 1)
			}
		}
		got, result := audited(t, s, &known{})
		got = slices.Compact(got)
		if len(got) != len(missed) || result.Documents != len(all) || result.Missing != len(missed) || result.Reads > 2_500 || expiries == 0 {
			t.Errorf("every %d: found %d of %d, %+v", every, len(got), len(missed), result)
		}
	}
}

// What is deleted between being counted and being read costs a read.
func TestAuditOfWhatIsGone(t *testing.T) {
	s := shelve([]string{"a"}, func(int, string) string { return "" })
	s.onRead = func() { s.change(map[string]string{"a": "-"}) }
	if got, result := audited(t, s, &known{}); len(got) != 0 || result.Missing != 1 {
		t.Errorf("found %q, %+v", got, result)
	}
}

func TestAuditWithoutAMomentFails(t *testing.T) {
	all := ids("auto", 30_000, 3)
	state, _ := stray(len(all), 60, 3)
	s := shelve(all, state)
	s.onCall = func(call int) {
		s.mu.Lock()
		defer s.mu.Unlock()
		if call < 80 {
			return
		}
		s.moments = append(s.moments, s.moments[len(s.moments)-1])
		s.oldest = int64(len(s.moments) - 1)
	}
	a := newAudit(s, &known{})
	err := a.run(t.Context(), func(context.Context, delivery.Snapshot) error { return nil })
	if status.Code(err) != codes.FailedPrecondition {
		t.Errorf("ended in %v", err)
	}
}

// States of a newer version, or of somebody else, are looked at once, by however
// many workers.
func TestAuditLearnsStates(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		all := ids("auto", 20_000, 4)
		s := shelve(all, func(i int, _ string) string {
			switch {
			case i%400 == 7:
				return "" // 50 of them
			case i%2 == 0:
				return "SUCCESS"
			case i%10 == 1:
				return "HELD"
			}
			return "ARCHIVED"
		})
		s.onCall = func(int) { time.Sleep(time.Millisecond) }
		checkLearning(t, s)
	})
}

// A collection of one part is not read to its end before it is counted again,
// and neither are the parts that it was divided into before.
func TestAuditLearnsStatesAtOnce(t *testing.T) {
	for _, states := range []func(i int) string{
		func(int) string { return "ARCHIVED" },
		func(i int) string { return []string{"HELD", "ARCHIVED"}[min(i%10, 1)] },
	} {
		checkLearning(t, shelve(ids("auto", 9_000, 4), func(i int, _ string) string {
			if i%180 == 7 {
				return ""
			}
			return states(i)
		}))
	}
}

// checkLearning audits a collection with 50 documents without a state.
func checkLearning(t *testing.T, s *shelf) {
	t.Helper()
	k := &known{}
	got, first := audited(t, s, k)
	if len(got) != 50 {
		t.Errorf("found %d", len(got))
	}
	if first.Reads > 4_000 || first.Documents != len(s.moments[0].ids) {
		t.Errorf("to learn the states: %+v", first)
	}
	got, second := audited(t, s, k)
	if len(got) != 50 || second.Missing != 50 || second.Reads > 1_500 {
		t.Errorf("with them known: found %d, %+v", len(got), second)
	}
}

func TestStatesAreNotLearnedWithoutEnd(t *testing.T) {
	all := ids("auto", 3000, 4)
	s := shelve(all, func(i int, _ string) string { return fmt.Sprint("STATE", i%60) })
	k := &known{}
	for range 3 {
		if got, _ := audited(t, s, k); len(got) != 0 {
			t.Errorf("found %v", got)
		}
	}
	if n := len(k.all()); n != maxStates {
		t.Errorf("%d states are known, Firestore takes %d", n, maxStates)
	}
	if k = (&known{}); k.learn("SUCCESS") || k.learn(string(make([]byte, maxState+1))) || !k.learn("X") || k.learn("X") {
		t.Error("learns what it knows, or what is no state")
	}
}

// Incomplete documents are passed on, whatever there is.
func TestAuditPassesOnTheIncomplete(t *testing.T) {
	for _, n := range []int{3, 15_000} {
		s := shelve(ids("auto", n, 4), func(i int, _ string) string {
			return map[int]string{0: unfinished, n - 1: unfinished}[i] + map[bool]string{true: "SUCCESS"}[i > 0 && i < n-1]
		})
		if got, result := audited(t, s, &known{}); len(got) != 2 || result.Missing != 0 {
			t.Errorf("found %v, %+v", got, result)
		}
	}
}

// While found blocks nothing more is read than each worker has in hand.
func TestAuditWaitsForFound(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		all := ids("auto", 40_000, 4)
		state, missed := stray(len(all), 4_000, 3)
		s := shelve(all, state)
		a := newAudit(s, &known{})
		held, n := make(chan struct{}), 0
		done := make(chan error, 1)
		go func() {
			done <- a.run(t.Context(), func(context.Context, delivery.Snapshot) error {
				<-held
				n++
				return nil
			})
		}()
		synctest.Wait()
		if s.scanned > maxRanges*leaf*2 {
			t.Errorf("%d documents were read ahead", s.scanned)
		}
		close(held)
		if err := <-done; err != nil || n != len(missed) {
			t.Errorf("found %d, %v", n, err)
		}
	})
}

func TestAuditEndsWithFoundsError(t *testing.T) {
	all := ids("auto", 20_000, 4)
	state, _ := stray(len(all), 2_000, 3)
	full := errors.New("full")
	n := 0
	err := newAudit(shelve(all, state), &known{}).run(t.Context(), func(context.Context, delivery.Snapshot) error {
		if n++; n == 3 {
			return full
		}
		return nil
	})
	if !errors.Is(err, full) || n != 3 {
		t.Errorf("after %d: %v", n, err)
	}
}

// A found that blocks is told of what ends the audit, which says why it ended.
func TestAuditEndsWhileFoundBlocks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		all := ids("auto", 20_000, 4)
		state, _ := stray(len(all), 2_000, 3)
		s := shelve(all, state)
		gone := errors.New("gone")
		ctx, cancel := context.WithCancelCause(t.Context())
		done := make(chan error, 1)
		go func() {
			done <- newAudit(s, &known{}).run(ctx, func(ctx context.Context, _ delivery.Snapshot) error {
				<-ctx.Done()
				return ctx.Err()
			})
		}()
		synctest.Wait()
		cancel(gone)
		if err := <-done; !errors.Is(err, gone) {
			t.Errorf("ended in %v", err)
		}
	})
}

// One that is stopped while it counts says why.
func TestAuditEndsWithItsContext(t *testing.T) {
	gone := errors.New("gone")
	ctx, cancel := context.WithCancelCause(t.Context())
	s := shelve(ids("auto", 20_000, 4), func(int, string) string { return "SUCCESS" })
	s.onCall = func(call int) {
		if call == 20 {
			cancel(gone)
		}
	}
	if err := newAudit(s, &known{}).run(ctx, nil); !errors.Is(err, gone) {
		t.Errorf("ended in %v", err)
	}
}

// The last document is passed on when all workers have ended, and its context
// goes on.
func TestAuditLeavesFoundItsContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := shelve([]string{"a"}, func(int, string) string { return "" })
		err := newAudit(s, &known{}).run(t.Context(), func(ctx context.Context, _ delivery.Snapshot) error {
			synctest.Wait()
			return ctx.Err()
		})
		if err != nil {
			t.Error(err)
		}
	})
}
