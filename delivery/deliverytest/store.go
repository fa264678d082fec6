// Package deliverytest holds a mail collection in memory and the conformance
// suite that it and the one in Firestore pass. It is for tests.
package deliverytest

import (
	"context"
	"maps"
	"slices"
	"sync"
	"time"

	"postrider/delivery"
)

// Store is a mail collection in memory: what package queue does in Firestore,
// without its failures. The zero Store is empty and ready. Time in it is the
// program's, so that synctest may fake it.
type Store struct {
	Ahead time.Duration // of the program's clock is the store's, as Firestore's may be; set before use

	mu       sync.Mutex
	docs     map[string]delivery.Snapshot
	last     time.Time // the newest update time given out
	watchers map[*watcher]bool
	writes   int

	unsettled int
	audited   time.Time
	members   members
}

// watcher is one Watch: the documents it has yet to pass on, and a signal that
// there are some.
type watcher struct {
	changed []string
	wake    chan struct{}
}

// Put sets the whole document called id, as an application does.
func (s *Store) Put(id string, f delivery.Fields) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.put(id, f)
}

// Update changes the document called id as an application or an operator does.
func (s *Store) Update(id string, edit func(delivery.Fields)) {
	f := s.Get(id)
	edit(f)
	s.Put(id, f)
}

// Delete removes the document called id.
func (s *Store) Delete(id string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.docs, id)
}

// Get returns a copy of the fields of the document called id; nil if there is
// none.
func (s *Store) Get(id string) delivery.Fields {
	s.mu.Lock()
	defer s.mu.Unlock()
	snap, ok := s.docs[id]
	if !ok {
		return nil
	}
	return copied(snap.Fields)
}

func copied(f delivery.Fields) delivery.Fields {
	out := maps.Clone(f)
	for name, v := range out {
		if m, ok := v.(delivery.Fields); ok {
			out[name] = copied(m)
		}
	}
	return out
}

// Writes returns how many changes were applied.
func (s *Store) Writes() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.writes
}

// put stores a document and tells the watchers. s.mu is held.
func (s *Store) put(id string, f delivery.Fields) delivery.Snapshot {
	if s.docs == nil {
		s.docs = map[string]delivery.Snapshot{}
	}
	now := s.now().Truncate(time.Microsecond)
	if !now.After(s.last) {
		now = s.last.Add(time.Microsecond)
	}
	s.last = now
	snap := delivery.Snapshot{ID: id, Fields: f, UpdateTime: now}
	s.docs[id] = snap
	for w := range s.watchers {
		w.changed = append(w.changed, id)
		w.signal()
	}
	return snap
}

func (w *watcher) signal() {
	select {
	case w.wake <- struct{}{}:
	default:
	}
}

// Now is queue.Queue's.
func (s *Store) Now() time.Time {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.now()
}

// now is called with s.mu held.
func (s *Store) now() time.Time {
	now := time.Now().UTC().Add(s.Ahead)
	if now.Before(s.last) {
		return s.last
	}
	return now
}

// Apply is queue.Queue's.
func (s *Store) Apply(ctx context.Context, snap delivery.Snapshot, c delivery.Change) (delivery.Snapshot, error) {
	if ctx.Err() != nil {
		return snap, ctx.Err()
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	now, ok := s.docs[snap.ID]
	if !ok {
		return now, delivery.ErrGone
	}
	if !now.UpdateTime.Equal(snap.UpdateTime) {
		return now, delivery.ErrConflict
	}
	s.writes++
	return s.put(snap.ID, c.AppliedTo(now.Fields)), nil
}

// Finish is queue.Queue's.
func (s *Store) Finish(ctx context.Context, claimed delivery.Snapshot, change func(delivery.Record) delivery.Change) (delivery.Snapshot, error) {
	if ctx.Err() != nil {
		return claimed, ctx.Err()
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	now, ok := s.docs[claimed.ID]
	if !ok {
		return now, delivery.ErrGone
	}
	record, mine := delivery.ReadRecord(now.Fields), delivery.ReadRecord(claimed.Fields)
	c := change(record)
	expires, there := c.Set["leaseExpireTime"]
	end := there && expires == nil
	switch {
	case record.Lease.ID != mine.Lease.ID, !end && record.Lease.Expires.IsZero():
		return now, delivery.ErrLeaseLost
	case end && delivery.Applied(mine, record):
		return now, nil
	}
	s.writes++
	return s.put(claimed.ID, c.AppliedTo(now.Fields)), nil
}

// Watch is queue.Queue's. It begins with all there is, and misses nothing.
func (s *Store) Watch(ctx context.Context, to delivery.Watcher) error {
	w := &watcher{wake: make(chan struct{}, 1)}
	s.mu.Lock()
	if s.watchers == nil {
		s.watchers = map[*watcher]bool{}
	}
	s.watchers[w] = true
	w.changed = slices.Sorted(maps.Keys(s.docs))
	s.mu.Unlock()
	defer func() {
		s.mu.Lock()
		delete(s.watchers, w)
		s.mu.Unlock()
	}()
	for first := true; ; first = false {
		for _, snap := range s.take(w) {
			if err := to.Found(ctx, snap, s.pass()); err != nil {
				return err
			}
		}
		if first {
			to.Watching(nil)
		}
		select {
		case <-w.wake:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// pass counts a document that was passed on until it is settled.
func (s *Store) pass() (settled func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.unsettled++
	return func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.unsettled--
	}
}

// Unsettled returns how many documents that Watch has passed on are not settled.
func (s *Store) Unsettled() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.unsettled
}

// take returns the documents that w has yet to pass on, as they are now.
func (s *Store) take(w *watcher) []delivery.Snapshot {
	s.mu.Lock()
	defer s.mu.Unlock()
	var snaps []delivery.Snapshot
	for _, id := range w.changed {
		if snap, ok := s.docs[id]; ok && !final(snap) {
			snaps = append(snaps, snap)
		}
	}
	w.changed = nil
	return snaps
}

// Sweep is queue.Queue's. It passes on what waits and is not due, too.
func (s *Store) Sweep(ctx context.Context, found func(context.Context, delivery.Snapshot) error) error {
	return s.each(ctx, found, inState(delivery.Pending, delivery.Retry, delivery.Processing))
}

// Claimed is queue.Queue's.
func (s *Store) Claimed(ctx context.Context, found func(context.Context, delivery.Snapshot) error) error {
	return s.each(ctx, found, inState(delivery.Processing))
}

func inState(states ...delivery.State) func(delivery.Snapshot) bool {
	return func(snap delivery.Snapshot) bool {
		return slices.Contains(states, delivery.ReadRecord(snap.Fields).State)
	}
}

// Accepted is queue.Queue's.
func (s *Store) Accepted(ctx context.Context, address string, since time.Time) (int, error) {
	n := 0
	err := s.each(ctx, func(context.Context, delivery.Snapshot) error { n++; return ctx.Err() }, func(snap delivery.Snapshot) bool {
		record, _ := snap.Fields["delivery"].(delivery.Fields)
		reached, _ := record["reached"].([]any)
		end, ended := record["reachedTime"].(time.Time)
		return ended && !end.Before(since) && slices.Contains(reached, any(address))
	})
	return n, err
}

// Audit is queue.Queue's.
func (s *Store) Audit(ctx context.Context, found func(context.Context, delivery.Snapshot) error) (delivery.Audit, error) {
	var a delivery.Audit
	s.mu.Lock()
	a.Documents = len(s.docs)
	s.mu.Unlock()
	err := s.each(ctx, func(ctx context.Context, snap delivery.Snapshot) error {
		if delivery.ReadRecord(snap.Fields).State == delivery.None {
			a.Missing++
		}
		return found(ctx, snap)
	}, func(snap delivery.Snapshot) bool {
		r := delivery.ReadRecord(snap.Fields)
		return r.State == delivery.None || r.Class == delivery.Incomplete && !final(snap)
	})
	return a, err
}

// Read is queue.Queue's.
func (s *Store) Read(ctx context.Context, id string) (delivery.Snapshot, error) {
	if ctx.Err() != nil {
		return delivery.Snapshot{}, ctx.Err()
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	snap, ok := s.docs[id]
	if !ok {
		return delivery.Snapshot{}, delivery.ErrGone
	}
	return snap, nil
}

// each passes on documents with a context that ends when it returns, as that of
// a stream does.
func (s *Store) each(ctx context.Context, found func(context.Context, delivery.Snapshot) error, want func(delivery.Snapshot) bool) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	s.mu.Lock()
	docs := maps.Clone(s.docs)
	s.mu.Unlock()
	for _, id := range slices.Sorted(maps.Keys(docs)) {
		if !want(docs[id]) {
			continue
		}
		if err := found(ctx, docs[id]); err != nil {
			return err
		}
	}
	return nil
}

func final(snap delivery.Snapshot) bool {
	r := delivery.ReadRecord(snap.Fields)
	return r.State.Final() && r.Class != delivery.Incomplete
}
