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

// spareTime is for how long at most those go that Room lets in at a time.
const spareTime = 100 * time.Millisecond

// Room returns how many documents that need not go at once may be set free now, so
// that others are not kept waiting by them: half of the hands that are free, and
// no more than go in a tenth of a second. It is 0 while mails wait to go. It may
// be called at any time.
func (w *Worker) Room() int {
	now := time.Now()
	wait, apart := w.pacer.prospect(now)
	if shut, _ := w.outage.isOpen(); shut || wait > 0 {
		return 0
	}
	room := (w.hands.free() + 1) / 2
	if apart > 0 {
		room = min(room, max(1, int(spareTime/apart)))
	}
	return room
}
