package firestored

import "sort"

// change is one step of one document: old is nil where it was created, new
// where it was deleted. The changes of one commit share their time, and a later
// commit has a later one.
type change struct {
	at       int64 // commit time, microseconds since the epoch
	path     string
	old, new *version
}

// history is the log of the latest changes, as a ring.
type history struct {
	ring       []change
	max        int64 // changes kept
	start, end int64 // positions of the first change kept and of the next one
	floor      int64 // time of the latest change that was dropped
}

func (h *history) append(c change) {
	if int64(len(h.ring)) < h.max {
		h.ring = append(h.ring, c)
		h.end++
		return
	}
	oldest := &h.ring[h.end%h.max]
	h.floor = oldest.at
	*oldest = c
	h.start++
	h.end++
}

func (h *history) at(pos int64) change { return h.ring[pos%h.max] }

// has reports whether all changes from pos on are still there.
func (h *history) has(pos int64) bool { return pos >= h.start && pos <= h.end }

// after returns the position of the first change after a time.
func (h *history) after(at int64) (pos int64, ok bool) {
	if at < h.floor {
		return 0, false
	}
	n := sort.Search(int(h.end-h.start), func(i int) bool { return h.at(h.start+int64(i)).at > at })
	return h.start + int64(n), true
}

// position returns the position of the end of the log.
func (db *database) position() int64 {
	db.mu.RLock()
	defer db.mu.RUnlock()
	return db.log.end
}

// since returns changes from pos on, and the position after them: at least max
// of them if there are as many, and always whole commits. It returns false where
// the log no longer has pos.
func (db *database) since(pos int64, max int) (changes []change, next int64, ok bool) {
	db.mu.RLock()
	defer db.mu.RUnlock()
	if !db.log.has(pos) {
		return nil, 0, false
	}
	for ; pos < db.log.end; pos++ {
		c := db.log.at(pos)
		if n := len(changes); n >= max && changes[n-1].at != c.at {
			break
		}
		changes = append(changes, c)
	}
	return changes, pos, true
}

// positionAt returns the position of the first change after a time in
// microseconds, or false where the log no longer reaches back to it.
func (db *database) positionAt(at int64) (pos int64, ok bool) {
	db.mu.RLock()
	defer db.mu.RUnlock()
	return db.log.after(at)
}

// bell returns a channel that is closed at the next commit. Who waits takes the
// bell first and then looks at the log, so as to miss nothing.
func (db *database) bell() <-chan struct{} {
	db.mu.RLock()
	defer db.mu.RUnlock()
	return db.rung
}

// ring rings the bell. The lock is held for writing.
func (db *database) ring() {
	close(db.rung)
	db.rung = make(chan struct{})
}
