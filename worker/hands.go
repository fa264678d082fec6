package worker

import (
	"context"
	"sync"

	"postrider/delivery"
)

// hands holds the documents that this worker is busy with, so that no document
// is worked on twice at a time, and so many of them at most.
type hands struct {
	slots   chan struct{}
	running sync.WaitGroup

	mu   sync.Mutex
	held map[string]*delivery.Snapshot // by ID; the newest that came while it was held, or nil
}

func newHands(n int) *hands {
	return &hands{slots: make(chan struct{}, n), held: map[string]*delivery.Snapshot{}}
}

// take takes a document in hand once there is a hand free, and reports whether
// it did. One that is in hand already is not taken: what it has become is kept
// for later. The error is ctx's.
func (h *hands) take(ctx context.Context, s delivery.Snapshot) (bool, error) {
	h.mu.Lock()
	newest, busy := h.held[s.ID]
	if busy {
		if newest == nil || newest.UpdateTime.Before(s.UpdateTime) {
			h.held[s.ID] = &s
		}
		h.mu.Unlock()
		return false, nil
	}
	h.held[s.ID] = nil
	h.mu.Unlock()
	select {
	case h.slots <- struct{}{}:
		return true, nil
	case <-ctx.Done():
		h.mu.Lock()
		delete(h.held, s.ID)
		h.mu.Unlock()
		return false, ctx.Err()
	}
}

// release lets go of a document, unless what it has become in the meantime is
// wanted again: then it stays in hand and is returned with true. Known says that
// after is what it has become, as far as its worker knows.
func (h *hands) release(after delivery.Snapshot, known bool, again func(delivery.Snapshot) bool) (delivery.Snapshot, bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if newest := h.held[after.ID]; newest != nil && after.UpdateTime.Before(newest.UpdateTime) {
		after, known = *newest, true
	}
	if known && again(after) {
		h.held[after.ID] = nil
		return after, true
	}
	delete(h.held, after.ID)
	<-h.slots
	return after, false
}

// count returns how many documents are in hand.
func (h *hands) count() int { return len(h.slots) }

// wait returns once nothing is in hand.
func (h *hands) wait() { h.running.Wait() }
