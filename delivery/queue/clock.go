package queue

import (
	"sync"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"
)

// Now returns the time by Firestore's clock, as far as its answers have told, in
// UTC: it may be late by as long as the fastest of them took, commonly some
// milliseconds. What instances compare with each other's times they reckon by it,
// so that their own clocks may be wrong, and may be set. Before the first answer
// it is the time of this machine.
func (q *Queue) Now() time.Time {
	if now, told := q.clock.at(time.Since(q.clock.start)); told {
		return now
	}
	return time.Now().UTC()
}

// clock tells the time of a server by what it says the time is, and by how much
// has passed here since. When an answer arrives its time is in the past already,
// by as long as it took: of several answers the one that makes it latest is the
// nearest.
//
// How much has passed here is not exact either: clocks drift, stand still while
// the machine sleeps, and are made to run faster or slower to correct them, by
// some by as much as a twelfth. So an answer is not believed for ever, but while
// it is of the present window or the one before. A window that nothing came in
// goes on.
type clock struct {
	start time.Time // with a monotonic reading: how much has passed is reckoned from here

	mu                sync.Mutex
	began             time.Duration // the present window
	present, previous sample        // the best ones of two windows
}

// window is the time for which the best answer is kept, and then once again.
const window = time.Minute

func newClock() *clock { return &clock{start: time.Now()} }

// sample is one answer: the server's clock had come so far, when this much had
// passed here. The zero sample is none.
type sample struct {
	server time.Time
	local  time.Duration
}

func (s sample) isZero() bool { return s.server.IsZero() }

// at returns the server's time when this much has passed here.
func (s sample) at(local time.Duration) time.Time { return s.server.Add(local - s.local) }

// better returns that of two samples which makes it later.
func better(a, b sample) sample {
	switch {
	case a.isZero():
		return b
	case b.isZero() || a.at(b.local).After(b.server):
		return a
	}
	return b
}

// heard notes a time that the server gave in an answer that has just arrived; nil
// is none. It must be of the present: one that was asked for at a moment in the
// past does no harm, but is no use.
func (c *clock) heard(t *timestamppb.Timestamp) {
	if t == nil {
		return
	}
	c.observe(sample{server: t.AsTime(), local: time.Since(c.start)})
}

func (c *clock) observe(s sample) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.present.isZero() || s.local-c.began >= window {
		c.previous, c.present, c.began = c.present, s, s.local
		return
	}
	c.present = better(c.present, s)
}

// at returns the server's time when this much has passed here, and whether the
// server has told any.
func (c *clock) at(local time.Duration) (now time.Time, told bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	best := better(c.previous, c.present)
	return best.at(local), !best.isZero()
}
