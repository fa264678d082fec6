package queue

import "sync"

// marks keeps the low-water mark of a watch: the last place in the stream up to
// which every document passed on has been settled. A restart begins there, and
// so reads again what was not settled.
//
// The places come in order, the settling does not. What lies between two places
// is a stretch; one that has nothing left to settle is joined to the one before
// it, so that there are never more stretches than unsettled documents, and one.
type marks struct {
	mu    sync.Mutex
	first *stretch // the oldest; nil if nothing is unsettled
	last  *stretch // the newest; nil if nothing is unsettled
	low   place
	found int // documents passed on so far
}

// stretch is a part of the stream with something unsettled in it.
type stretch struct {
	unsettled  int
	end        place // zero while it may grow: the last one's
	prev, next *stretch
}

// pass notes that a document is passed on. What it returns is to be called
// once, when the document is settled.
func (m *marks) pass() (settled func()) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.found++
	if m.last == nil || !m.last.end.isZero() {
		s := &stretch{prev: m.last}
		if m.last == nil {
			m.first = s
		} else {
			m.last.next = s
		}
		m.last = s
	}
	s := m.last
	s.unsettled++
	return func() { m.settle(s) }
}

// reached notes that everything before p has been passed on.
func (m *marks) reached(p place) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.last == nil {
		m.low = p
		return
	}
	m.last.end = p
	if m.last.unsettled == 0 {
		m.join(m.last)
	}
}

// settle takes one document off a stretch, and joins the stretch to what is
// before it when nothing is left. One that may grow stays.
func (m *marks) settle(s *stretch) {
	m.mu.Lock()
	defer m.mu.Unlock()
	s.unsettled--
	if s.unsettled == 0 && !s.end.isZero() {
		m.join(s)
	}
}

// join is called with m.mu held.
func (m *marks) join(s *stretch) {
	if s.prev == nil {
		m.low, m.first = s.end, s.next
	} else {
		s.prev.end, s.prev.next = s.end, s.next
	}
	if s.next == nil {
		m.last = s.prev
	} else {
		s.next.prev = s.prev
	}
}

// lowest returns the mark, and how many documents had been passed on in all.
func (m *marks) lowest() (place, int) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.low, m.found
}
