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
		return nil, 0, errOutdated
	}
	return s.moments[moment], moment, nil
}

func (s *shelf) bill(reads int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.billed += reads
}

func (s *shelf) begin(_ context.Context, limit int) (int, *timestamppb.Timestamp, error) {
	v, moment, err := s.call(nil)
	if err != nil {
		return 0, nil, err
	}
	n := min(len(v.ids), limit)
	s.bill(billed(n))
	return n, &timestamppb.Timestamp{Seconds: moment}, nil
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
		for _, n := range []int{1, 2, 9, 50, 1000, 1001, 10_000} {
			for _, missing := range []int{0, 1, 7, n / 10, n} {
				if missing > n || n == 10_000 && missing > n/10 && name != "auto" {
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

// What the audit is for: the reads that DESIGN promises, of the IDs that
// Firestore makes.
func TestAuditCostsWhatItShould(t *testing.T) {
	for _, c := range []struct{ n, missing, reads int }{
		{900, 0, 3},
		{9_000, 0, 19},
		{20_000, 0, 85},
		{20_000, 1, 110},
		{60_000, 0, 180},
		{60_000, 1, 210},
		{60_000, 100, 2300},
		{60_000, 60_000, 60_300},
	} {
		state, _ := stray(c.n, c.missing, 9)
		if _, result := audited(t, shelve(ids("auto", c.n, 1), state), &known{}); result.Reads > c.reads {
			t.Errorf("%d of %d: cost %d reads, want %d at most", c.missing, c.n, result.Reads, c.reads)
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
		s.onCall = func(call int) {
			if call%(len(all)/400) != 0 {
				return
			}
			mu.Lock()
			defer mu.Unlock()
			changes := map[string]string{randomID(rng, autoLetters, 20): "SUCCESS", randomID(rng, autoLetters, 20): ""}
			for range 3 {
				if i := rng.IntN(len(all)); !missed[i] {
					changes[all[i]] = "-"
				}
			}
			s.change(changes)
		}
		got, _ := audited(t, s, &known{})
		for i := range missed {
			if !slices.Contains(got, all[i]) {
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
		if len(got) != len(missed) || result.Documents != len(all) || result.Missing != len(missed) || expiries == 0 {
			t.Errorf("every %d: found %d of %d, %+v", every, len(got), len(missed), result)
		}
	}
}

func TestAuditWithoutAMomentFails(t *testing.T) {
	all := ids("auto", 30_000, 3)
	state, _ := stray(len(all), 60, 3)
	s := shelve(all, state)
	s.onCall = func(int) {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.moments = append(s.moments, s.moments[len(s.moments)-1])
		s.oldest = int64(len(s.moments) - 1)
	}
	a := newAudit(s, &known{})
	err := a.run(t.Context(), func(context.Context, delivery.Snapshot) error { return nil })
	if !errors.Is(err, errOutdated) {
		t.Errorf("ended in %v", err)
	}
}

// States of a newer version, or of somebody else, are looked at once.
func TestAuditLearnsStates(t *testing.T) {
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
	k := &known{}
	got, first := audited(t, s, k)
	if len(got) != 50 {
		t.Errorf("found %d", len(got))
	}
	if first.Reads > 4_000 || first.Documents != len(all) {
		t.Errorf("to learn two states: %+v", first)
	}
	got, second := audited(t, s, k)
	if len(got) != 50 || second.Missing != 50 || second.Reads > first.Reads {
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
