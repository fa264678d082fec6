package retry

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rs/zerolog"

	"postrider/delivery"
	"postrider/delivery/bulk"
)

// store is a mail collection and its operations in memory: what package queue does
// in Firestore. Time in it is the program's, which synctest fakes.
type store struct {
	mu         sync.Mutex
	last       time.Time
	documents  map[string]delivery.Snapshot
	operations map[string]delivery.Snapshot
	moves      map[string][]string // by document, the operations that have moved it
	reads      int
	looks      int
}

func newStore() *store {
	return &store{documents: map[string]delivery.Snapshot{}, operations: map[string]delivery.Snapshot{}, moves: map[string][]string{}}
}

// put is called with s.mu held.
func (s *store) put(in map[string]delivery.Snapshot, id string, f delivery.Fields) delivery.Snapshot {
	s.last = latest(time.Now().UTC().Truncate(time.Microsecond), s.last.Add(time.Microsecond))
	in[id] = delivery.Snapshot{ID: id, Fields: f, UpdateTime: s.last}
	return in[id]
}

func latest(a, b time.Time) time.Time {
	if a.Before(b) {
		return b
	}
	return a
}

// record sets the record of a document; nil makes one without.
func (s *store) record(id string, record delivery.Fields) {
	s.mu.Lock()
	defer s.mu.Unlock()
	f := delivery.Fields{"to": "a@b.test"}
	if record != nil {
		f["delivery"] = record
	}
	s.put(s.documents, id, f)
}

// fill adds n documents that have failed, with IDs from m000.
func (s *store) fill(n int) {
	for i := range n {
		s.record(fmt.Sprintf("m%03d", i), failed())
	}
}

func failed() delivery.Fields {
	return delivery.Fields{"state": "ERROR", "error": "Error: no", "endTime": time.Now().UTC().Add(-time.Minute)}
}

// attempt has all that is in RETRY tried at once, and fail again.
func (s *store) attempt() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for id, d := range s.documents {
		if r := delivery.ReadRecord(d.Fields); r.State == delivery.Retry {
			s.put(s.documents, id, delivery.Change{Set: delivery.Fields{"state": "ERROR", "endTime": time.Now().UTC()}}.AppliedTo(d.Fields))
		}
	}
}

// operation returns an operation as it is kept.
func (s *store) operation(id string) bulk.Operation {
	s.mu.Lock()
	defer s.mu.Unlock()
	return bulk.ReadOperation(s.operations[id])
}

// first returns the ID of an operation; there is one.
func (s *store) first() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	for id := range s.operations {
		return id
	}
	return ""
}

func (s *store) state(id string) delivery.State {
	s.mu.Lock()
	defer s.mu.Unlock()
	return delivery.ReadRecord(s.documents[id].Fields).State
}

// moved returns how many documents were moved, and those that were more than once.
func (s *store) moved() (n int, twice []string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for id, by := range s.moves {
		if n++; len(by) > 1 {
			twice = append(twice, id)
		}
	}
	return n, twice
}

// view is the store as one instance sees it: with what a test has go wrong.
type view struct {
	*store
	mu    sync.Mutex
	dead  bool
	calls int
	// write is asked about each write, with its number; nil lets all pass.
	write func(n int, what string) fault
	// read is asked about each other call; nil lets all pass.
	read func(what string) error
}

// fault is what happens to a write.
type fault struct {
	err     error // answered; nil for the true answer
	applied bool  // all the same
	dies    bool  // the instance: nothing it does comes about any more
}

var errDead = errors.New("nobody is there")

// enter is asked before a write.
func (v *view) enter(what string) (f fault) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.dead {
		return fault{err: errDead}
	}
	v.calls++
	if v.write != nil {
		f = v.write(v.calls, what)
	}
	v.dead = f.dies
	return f
}

func (v *view) ask(what string) error {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.dead {
		return errDead
	}
	if v.read != nil {
		return v.read(what)
	}
	return nil
}

func (v *view) writes() int {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.calls
}

func (v *view) isDead() bool {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.dead
}

// change makes a write, or what goes wrong with it.
func (v *view) change(ctx context.Context, what string, in map[string]delivery.Snapshot, s delivery.Snapshot, put func(delivery.Snapshot) delivery.Fields) (delivery.Snapshot, error) {
	if ctx.Err() != nil {
		return s, ctx.Err()
	}
	f := v.enter(what)
	if f.err != nil && !f.applied {
		return s, f.err
	}
	v.store.mu.Lock()
	defer v.store.mu.Unlock()
	now, there := in[s.ID]
	switch {
	case there && !now.UpdateTime.Equal(s.UpdateTime), !there && !s.UpdateTime.IsZero():
		return now, errors.Join(delivery.ErrConflict, f.err)
	case there && s.UpdateTime.IsZero():
		return now, delivery.ErrConflict
	}
	after := v.put(in, s.ID, put(now))
	if f.err != nil {
		return s, f.err
	}
	return after, nil
}

func (v *view) CreateOperation(ctx context.Context, id string, f delivery.Fields) (delivery.Snapshot, error) {
	return v.change(ctx, "create", v.operations, delivery.Snapshot{ID: id}, func(delivery.Snapshot) delivery.Fields { return maps.Clone(f) })
}

func (v *view) ChangeOperation(ctx context.Context, s delivery.Snapshot, f delivery.Fields) (delivery.Snapshot, error) {
	return v.change(ctx, "operation", v.operations, s, func(now delivery.Snapshot) delivery.Fields {
		out := maps.Clone(now.Fields)
		maps.Copy(out, f)
		return out
	})
}

func (v *view) Operation(_ context.Context, id string) (delivery.Snapshot, error) {
	if err := v.ask("operation"); err != nil {
		return delivery.Snapshot{}, err
	}
	v.store.mu.Lock()
	defer v.store.mu.Unlock()
	s, there := v.operations[id]
	if !there {
		return s, delivery.ErrGone
	}
	return s, nil
}

func (v *view) OpenOperations(ctx context.Context, found func(context.Context, delivery.Snapshot) error) error {
	if err := v.ask("open"); err != nil {
		return err
	}
	v.store.mu.Lock()
	v.looks++
	var open []delivery.Snapshot
	for _, s := range v.operations {
		if s.Fields["open"] == true {
			open = append(open, delivery.Snapshot{ID: s.ID, Fields: delivery.Fields{"leaseExpireTime": s.Fields["leaseExpireTime"]}})
		}
	}
	v.store.mu.Unlock()
	for _, s := range open {
		if err := found(ctx, s); err != nil {
			return err
		}
	}
	return nil
}

func (v *view) Now() time.Time { return time.Now().UTC() }

func (v *view) CountState(_ context.Context, state delivery.State) (n int, err error) {
	if err := v.ask("count"); err != nil {
		return 0, err
	}
	for range v.in(state, "") {
		n++
	}
	return n, nil
}

// in returns the documents in a state after an ID.
func (s *store) in(state delivery.State, after string) (list []delivery.Snapshot) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, id := range slices.Sorted(maps.Keys(s.documents)) {
		if d := s.documents[id]; id > after && delivery.ReadRecord(d.Fields).State == state {
			list = append(list, d)
		}
	}
	return list
}

func (v *view) Retryable(ctx context.Context, state delivery.State, after string, limit int, found func(context.Context, delivery.Snapshot, time.Time) error) error {
	if err := v.ask("page"); err != nil {
		return err
	}
	list := v.in(state, after)
	for _, d := range list[:min(limit, len(list))] {
		v.store.mu.Lock()
		v.reads++
		v.store.mu.Unlock()
		if err := found(ctx, d, d.UpdateTime); err != nil {
			return fmt.Errorf("find: %w", err)
		}
	}
	return nil
}

func (v *view) Documents(ctx context.Context, ids []string, found func(context.Context, delivery.Snapshot, time.Time) error) error {
	if err := v.ask("documents"); err != nil {
		return err
	}
	for _, id := range slices.Backward(ids) {
		v.store.mu.Lock()
		d, there := v.documents[id]
		v.store.mu.Unlock()
		if there {
			if err := found(ctx, d, d.UpdateTime); err != nil {
				return err
			}
		}
	}
	return nil
}

// Apply is queue.Queue's: it repeats what was not answered.
func (v *view) Apply(ctx context.Context, s delivery.Snapshot, c delivery.Change) (delivery.Snapshot, error) {
	for {
		after, err := v.change(ctx, "move", v.documents, s, func(now delivery.Snapshot) delivery.Fields {
			v.moves[s.ID] = append(v.moves[s.ID], c.Set["retryOperation"].(string))
			return c.AppliedTo(now.Fields)
		})
		switch {
		case errors.Is(err, delivery.ErrConflict) && after.ID == "":
			return after, delivery.ErrGone
		case err == nil, errors.Is(err, delivery.ErrConflict), errors.Is(err, delivery.ErrRefused), ctx.Err() != nil:
			return after, err
		}
		await(ctx, nil, time.Second)
	}
}

// instance is a runner that runs.
type instance struct {
	*Runner
	view *view
	stop func()
}

// begin has an instance run; room is what Options.Room returns.
func begin(t *testing.T, s *store, name string, room func() int, broken *view) *instance {
	t.Helper()
	v := broken
	if v == nil {
		v = &view{}
	}
	v.store = s
	r := New(Options{Instance: name, Room: room}, v, v, zerolog.Nop())
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- r.Run(ctx) }()
	return &instance{Runner: r, view: v, stop: sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("%s: %v", name, err)
		}
	})}
}

func roomFor(n int) func() int { return func() int { return n } }

// narrow returns a room for one document and for four by turns.
func narrow() func() int {
	var n atomic.Int64
	return func() int { return int(1 + 3*((n.Add(1)+1)%2)) }
}

func request(t *testing.T, body string) bulk.Request {
	t.Helper()
	q, err := bulk.ReadRequest([]byte(body))
	if err != nil {
		t.Fatal(err)
	}
	return q
}

// ask has an operation accepted.
func (i *instance) ask(t *testing.T, body string) string {
	t.Helper()
	id, err := i.Accept(t.Context(), request(t, body))
	if err != nil {
		t.Fatal(err)
	}
	return id
}

// ended waits until an operation has ended.
func (s *store) ended(t *testing.T, id string) bulk.Operation {
	t.Helper()
	for range 24_000 {
		synctest.Wait()
		if o := s.operation(id); o.State.Final() {
			return o
		}
		time.Sleep(100 * time.Millisecond)
	}
	t.Fatalf("it does not end: %+v", s.operation(id))
	return bulk.Operation{}
}

// exactly checks that an operation has moved n documents, each once.
func (s *store) exactly(t *testing.T, o bulk.Operation, n int) {
	t.Helper()
	moved, twice := s.moved()
	want := bulk.Counts{Seen: o.Counts.Seen, Matched: n, Moved: n}
	if moved != n || len(twice) > 0 || o.Counts != want || o.State != bulk.Succeeded || len(o.Results) != n {
		t.Errorf("%d of %d moved, more than once %v; it is %s with %+v and %d results", moved, n, twice, o.State, o.Counts, len(o.Results))
	}
}
