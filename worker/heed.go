package worker

import (
	"errors"
	"time"

	"postrider/smtp"
)

const (
	// recentlyTaken is how long ago a server that asks to slow down has taken a
	// mail, if it is the pace that it dislikes and not the mail.
	recentlyTaken = time.Minute

	// mostSpared is how often in a row a mail is spared that the server refuses so
	// while it takes others: it may be the mail after all.
	mostSpared = 3
)

// errSlow has a mail handed back that the server refused for the pace.
var errSlow = errors.New("the mail server asked to slow down")

// heed slows down if the server asks for it in what it said to a mail. It reports
// whether the mail is not to be blamed for being refused. A mail that is told so
// again while others are taken is not believed a second time: what it was told may
// be about its recipient alone.
func (w *Worker) heed(in *entry, result smtp.Result, failed *smtp.Error, crowded bool) (blameless bool) {
	if failed == nil {
		in.errand.spared = 0
		w.pacer.took(time.Now())
	}
	wait, slow := asked(result, failed)
	if slow = slow || crowded; slow && in.errand.spared == 0 {
		if pause := w.pacer.slowDown(in.letGo, wait); pause > 0 {
			w.log.Warn().Dur("pause", pause).Float64("per_second", w.pacer.speed()).Msg("mail server asks to slow down")
		}
	}
	if failed == nil || !slow || failed.PossiblyAccepted || !failed.Reply.Temporary() ||
		in.errand.spared == mostSpared || !w.pacer.worked() {
		return false
	}
	in.errand.spared++
	return true
}

// asked reports whether the server asks to slow down, and for how long nothing is
// to go. What it says about a recipient may be meant for that one: it does not
// stop the others for long.
func asked(result smtp.Result, failed *smtp.Error) (wait time.Duration, slow bool) {
	if failed != nil {
		wait, slow = failed.Reply.SlowDown()
		if failed.Stage == smtp.StageRcpt {
			wait = 0
		}
		return wait, slow
	}
	for _, r := range result.Recipients {
		if _, asks := r.Reply.SlowDown(); asks {
			return 0, true
		}
	}
	return 0, false
}
