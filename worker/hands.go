package worker

import (
	"context"
	"sync"
	"time"

	"postrider/delivery"
)

// hands holds the documents that this worker is busy with, so that no document
// is worked on twice at a time, and so many of them at most.
type hands struct {
	slots   chan struct{}
	freed   chan struct{} // holds one when a hand has become free
	tasks   chan func()   // for goroutines that have nothing to do
	rest    chan struct{} // closed when they are to end
	running sync.WaitGroup

	mu     sync.Mutex
	held   map[string]*hold // by the document's ID
	leases map[string]bool  // by their IDs
}

// hold is a document in hand, or one that waits for a hand.
type hold struct {
	found   time.Time          // when it was passed on, or was found to be wanted again
	newest  *delivery.Snapshot // what it has become meanwhile; nil if nothing
	settled []func()           // to be called once it is taken care of
	done    chan struct{}      // closed when it is let go of; what follows is set before
	last    delivery.Snapshot  // what it was then, as far as is known
	err     error              // why it was not taken care of
}

func newHands(n int) *hands {
	return &hands{
		slots: make(chan struct{}, n), freed: make(chan struct{}, 1), tasks: make(chan func()), rest: make(chan struct{}),
		held: map[string]*hold{}, leases: map[string]bool{},
	}
}

// take takes a document in hand once there is a hand free, and reports whether
// it did. One that is in hand already is not taken: what it has become is kept
// for later. Settled is called once the document is taken care of. The error is
// ctx's.
func (h *hands) take(ctx context.Context, s delivery.Snapshot, settled func()) (bool, error) {
	held, already := h.hold(s, settled)
	if already {
		return false, nil
	}
	select {
	case h.slots <- struct{}{}:
		return true, nil
	case <-ctx.Done():
		h.drop(s.ID, held)
		return false, ctx.Err()
	}
}

// try is take for those that can't wait: it returns nil if no hand is free, and
// else the hold, by which to see the document's end, be it in hand already or
// not.
func (h *hands) try(s delivery.Snapshot) (held *hold, mine bool) {
	held, already := h.hold(s, func() {})
	if already {
		return held, false
	}
	select {
	case h.slots <- struct{}{}:
		return held, true
	default:
		h.drop(s.ID, held)
		return nil, false
	}
}

// hold returns the hold of a document, and whether there was one already: then
// it keeps what the document has become.
func (h *hands) hold(s delivery.Snapshot, settled func()) (held *hold, already bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	held, already = h.held[s.ID]
	if !already {
		held = &hold{found: time.Now(), done: make(chan struct{})}
		h.held[s.ID] = held
	} else if held.newest == nil || held.newest.UpdateTime.Before(s.UpdateTime) {
		held.newest = &s
	}
	held.settled = append(held.settled, settled)
	return held, already
}

// drop ends the hold of a document for which there was no hand.
func (h *hands) drop(id string, held *hold) {
	h.mu.Lock()
	defer h.mu.Unlock()
	held.err = delivery.ErrFull
	close(held.done)
	delete(h.held, id)
}

// release lets go of a document and returns the hold that has ended, unless what
// the document has become in the meantime is wanted again: then it stays in hand
// and is returned. With a nil error after is what it has become, as far as its
// worker knows. Next says whether a document is wanted, or why not although
// there is something to be done about it.
func (h *hands) release(after delivery.Snapshot, err error, next func(delivery.Snapshot) (again bool, err error)) (delivery.Snapshot, *hold) {
	h.mu.Lock()
	defer h.mu.Unlock()
	held := h.held[after.ID]
	if held.newest != nil && after.UpdateTime.Before(held.newest.UpdateTime) {
		after, err = *held.newest, nil
	}
	held.newest = nil
	if err == nil {
		var again bool
		if again, err = next(after); again {
			held.found = time.Now()
			return after, nil
		}
	}
	held.last, held.err = after, err
	close(held.done)
	delete(h.held, after.ID)
	<-h.slots
	select {
	case h.freed <- struct{}{}:
	default:
	}
	return after, held
}

// found returns when a document in hand was found.
func (h *hands) found(id string) time.Time {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.held[id].found
}

// lease notes that an attempt is made under a lease, until the returned function
// is called.
func (h *hands) lease(id string) (over func()) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.leases[id] = true
	return func() {
		h.mu.Lock()
		defer h.mu.Unlock()
		delete(h.leases, id)
	}
}

// leased reports whether an attempt is made under a lease.
func (h *hands) leased(id string) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.leases[id]
}

// full reports whether no hand is free.
func (h *hands) full() bool { return h.free() == 0 }

// free returns how many documents may be taken at once.
func (h *hands) free() int { return cap(h.slots) - len(h.slots) }

// count returns how many documents are in hand.
func (h *hands) count() int { return len(h.slots) }

// run runs a task on a goroutine: on one that has worked before, if there is one,
// for its stack has grown to what a mail needs.
func (h *hands) run(task func()) {
	select {
	case h.tasks <- task:
		return
	default:
	}
	h.running.Go(func() {
		for task != nil {
			task()
			select {
			case task = <-h.tasks:
			case <-h.rest:
				task = nil
			}
		}
	})
}

// wait returns once nothing is in hand. Nothing is run meanwhile.
func (h *hands) wait() {
	close(h.rest)
	h.running.Wait()
	h.rest = make(chan struct{})
}
