package worker

import (
	"context"
	"hash/fnv"
	"slices"
	"sync"
	"time"

	"postrider/delivery"
)

const (
	// alive is how long an instance counts after it was last heard of: two
	// heartbeats may be late.
	alive = 5 * time.Minute

	// stagger is the head start that each instance leaves those ranked before it.
	stagger = 500 * time.Millisecond

	// patience is how long one waits for those that work, but have not come to a
	// document yet.
	patience = 15 * time.Second

	// maxWaiting bounds the documents that are left to others.
	maxWaiting = 100_000
)

// share is what one of several instances on a collection leaves to the others.
// All of them rank the living for each document in the same way (rendezvous
// hashing); the first claims at once, the n-th only when those before it have
// done nothing for n staggers. So one that dies loses nothing, and while all
// live nobody claims in vain. Who has let a turn pass has no rank until heard of
// again: the dead are waited for once.
//
// Of a document left to others only the ID is kept: it is read again in the rare
// case that its turn comes here.
type share struct {
	self string

	mu      sync.Mutex
	heard   map[string]time.Time // instances, self not among them
	silent  map[string]bool      // others whose turn passed unused, until heard of again
	busy    map[string]time.Time // when an instance was last seen to claim
	held    time.Time            // when this instance last kept its source waiting
	waiting map[string]*left     // by the document's ID
	room    chan struct{}        // closed and replaced when something is no longer left
	some    chan struct{}        // holds one when something is left that a hand is needed for
	lapsed  chan struct{}        // the same for what needs none
}

// left is a document that is left to others.
type left struct {
	since   time.Time
	version time.Time // its update time
	settled func()

	mendable bool // no hand is needed for it
}

func newShare(self string) *share {
	return &share{
		self: self, busy: map[string]time.Time{}, silent: map[string]bool{}, waiting: map[string]*left{},
		room: make(chan struct{}), some: make(chan struct{}, 1), lapsed: make(chan struct{}, 1),
	}
}

// meet notes the instances that there are.
func (s *share) meet(heard map[string]time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for id := range s.silent {
		if at, there := heard[id]; !there || at.After(s.heard[id]) {
			delete(s.silent, id)
		}
	}
	for id := range s.busy {
		if _, there := heard[id]; !there {
			delete(s.busy, id)
		}
	}
	s.heard = heard
	delete(s.heard, s.self)
}

// size returns how many instances live.
func (s *share) size(now time.Time) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	n := 1
	for _, at := range s.heard {
		if now.Sub(at) < alive {
			n++
		}
	}
	return n
}

// first reports whether this instance is the one to do what only one should.
func (s *share) first(key string, now time.Time) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.ahead(key, now)) == 0
}

// ahead returns the living instances that rank before this one for a key. s.mu
// is held.
func (s *share) ahead(key string, now time.Time) []string {
	var before []string
	mine := weight(s.self, key)
	for id, at := range s.heard {
		if now.Sub(at) < alive && !s.silent[id] && weight(id, key) > mine {
			before = append(before, id)
		}
	}
	slices.SortFunc(before, func(a, b string) int {
		if weight(a, key) > weight(b, key) {
			return -1
		}
		return 1
	})
	return before
}

// weight is an instance's rank for a key, higher being better. FNV alone does
// not spread its last bytes over the high bits; what follows it does (the
// finalizer of MurmurHash3).
func weight(instance, key string) uint64 {
	h := fnv.New64a()
	_, _ = h.Write([]byte(instance + "\x00" + key))
	x := h.Sum64()
	x = (x ^ x>>33) * 0xff51afd7ed558ccd
	x = (x ^ x>>33) * 0xc4ceb9fe1a85ec53
	return x ^ x>>33
}

// claimed notes that there is nothing to be done about a document, in a newer
// version than the one that was left to others: one of them has it.
func (s *share) claimed(d delivery.Snapshot, now time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if l := s.waiting[d.ID]; l != nil && l.version.Before(d.UpdateTime) {
		s.credit(d.ID, now)
		s.remove(d.ID)()
	}
}

// credit counts a claim as the first instance's. s.mu is held.
func (s *share) credit(id string, now time.Time) {
	if before := s.ahead(id, now); len(before) > 0 {
		s.busy[before[0]] = now
	}
}

// remove takes a document out of those that are left to others, and returns what
// to call when it is taken care of. s.mu is held.
func (s *share) remove(id string) (settled func()) {
	l := s.waiting[id]
	delete(s.waiting, id)
	close(s.room)
	s.room = make(chan struct{})
	return l.settled
}

// leave leaves a document to others if they rank before this instance, and
// reports whether it did. While too many are left to others it blocks; the
// error is ctx's.
func (s *share) leave(ctx context.Context, now func() time.Time, mendable bool, d delivery.Snapshot, settled func()) (bool, error) {
	for {
		room, done := s.tryLeave(d, mendable, settled, now())
		if room == nil {
			return done, nil
		}
		select {
		case <-room:
		case <-ctx.Done():
			return false, ctx.Err()
		}
	}
}

// tryLeave does what leave does, or returns the channel that tells of room.
func (s *share) tryLeave(d delivery.Snapshot, mendable bool, settled func(), now time.Time) (room <-chan struct{}, done bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.ahead(d.ID, now)) == 0 {
		return nil, false
	}
	if known := s.waiting[d.ID]; known != nil {
		if known.version.Before(d.UpdateTime) {
			known.version, known.since, known.mendable = d.UpdateTime, now, mendable
		}
		before := known.settled
		known.settled = func() { before(); settled() }
		s.signal(mendable)
		return nil, true
	}
	if len(s.waiting) >= maxWaiting {
		return s.room, false
	}
	s.waiting[d.ID] = &left{since: now, version: d.UpdateTime, mendable: mendable, settled: settled}
	s.signal(mendable)
	return nil, true
}

// signal tells that something is left.
func (s *share) signal(mendable bool) {
	some := s.some
	if mendable {
		some = s.lapsed
	}
	select {
	case some <- struct{}{}:
	default:
	}
}

// keptWaiting notes that this instance was too busy to take what its source had:
// what it knows of others may be old.
func (s *share) keptWaiting(now time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.held = now
}

// due returns documents that were left to others and have waited long enough: as
// many as there are hands for, and for those that need none, menders.
func (s *share) due(hands, menders int, now time.Time) []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	var ids []string
	for id, l := range s.waiting {
		room := &hands
		if l.mendable {
			room = &menders
		}
		if *room > 0 && !now.Before(s.turn(id, l, now)) {
			ids = append(ids, id)
			*room--
		}
	}
	return ids
}

// turn returns when a document's turn comes here. s.mu is held.
func (s *share) turn(id string, l *left, now time.Time) time.Time {
	before := s.ahead(id, now)
	if len(before) == 0 {
		return l.since
	}
	start := later(l.since, s.held)
	for _, other := range before {
		start = later(start, s.busy[other])
	}
	n := time.Duration(len(before))
	turn, latest := start.Add(n*stagger), l.since.Add(n*patience)
	if latest.Before(turn) {
		return latest
	}
	return turn
}

func later(a, b time.Time) time.Time {
	if a.Before(b) {
		return b
	}
	return a
}

// end takes a document out of those that are left to others, and returns what to
// call when it is taken care of; nil if it is not among them any more. Claimed
// says that one of them has it.
func (s *share) end(id string, claimed bool, now time.Time) (settled func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.waiting[id] == nil {
		return nil
	}
	if claimed {
		s.credit(id, now)
	} else {
		for _, other := range s.ahead(id, now) {
			s.silent[other] = true
		}
	}
	return s.remove(id)
}

// count returns how many documents are left to others.
func (s *share) count() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.waiting)
}
