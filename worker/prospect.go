package worker

import "time"

// Pace returns how long a document waits about that is found now, before it is
// claimed: for the mail server, and for those that are in hand before it, at the
// pace that SMTP_RATE or the server itself sets. It may be called at any time.
func (w *Worker) Pace() time.Duration {
	now := time.Now()
	wait, apart := w.pacer.prospect(now)
	return max(w.outage.prospect(now), wait+time.Duration(w.hands.count())*apart)
}

const (
	// spareTime is for how long at most those go that Room lets in at a time.
	spareTime = 100 * time.Millisecond

	// spareEach is how many Room lets in at a time for each instance, where there
	// are others: they rank for most of them, and may have fewer hands.
	spareEach = 4

	// claimTime is how long it takes at most until a document is claimed by an
	// instance that has a hand for it.
	claimTime = 200 * time.Millisecond
)

// Room returns how many documents that need not go at once may be set free now, so
// that others are not kept waiting by them: half of the hands that are free, and
// no more than go in a tenth of a second, or than others have hands for. It is 0
// while mails wait to go, for memory, or for another instance. It may be called at
// any time.
func (w *Worker) Room() int {
	now := time.Now()
	wait, apart := w.pacer.prospect(now)
	if shut, _ := w.outage.isOpen(); shut || wait > 0 || w.room.crowded() {
		return 0
	}
	room := (w.hands.free() + 1) / 2
	if apart > 0 {
		room = min(room, max(1, int(spareTime/apart)))
	}
	return w.share.spare(room, w.queue.Now())
}

// spare returns how many of so many documents may be set free, of which others get
// their part: few while they have not come to all that was left to them, and none
// if one of those waits for longer than it should.
func (s *share) spare(room int, now time.Time) int {
	n := s.size(now)
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, l := range s.waiting {
		if !l.mendable && now.Sub(l.since) > claimTime {
			return 0
		}
	}
	if n > 1 {
		room = min(room, max(1, spareEach*n-len(s.waiting)))
	}
	return room
}

// crowded reports whether a mail waits for room.
func (r *room) crowded() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.entering)+len(r.growing) > 0
}
