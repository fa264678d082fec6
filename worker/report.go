package worker

import (
	"errors"
	"time"

	"github.com/rs/zerolog"

	"postrider/delivery"
	"postrider/smtp"
)

// report logs how an attempt ended, in one line: what happened, never to whom.
func (w *Worker) report(s delivery.Snapshot, e ending, c delivery.Change, took time.Duration, err error) {
	line, fact := w.log.WithLevel(e.level()), "attempt finished"
	switch {
	case e.released && errors.Is(err, delivery.ErrLeaseLost):
		fact = "attempt given up, another claim has its document"
	case errors.Is(err, delivery.ErrGone):
		fact = "attempt finished, its document was deleted"
	case err != nil:
		line, fact = w.log.Error().Err(err), "attempt finished, but could not be recorded"
	case e.released:
		line, fact = line.AnErr("why", e.why), "attempt handed back"
	}
	line = line.Str("doc", s.ID).Int64("attempt", delivery.ReadRecord(s.Fields).Attempts+1)
	if err == nil {
		line = line.Str("state", string(c.State)).EmbedObject(waiting(c))
	}
	line.
		Str("outcome", outcomeOf(e, c)).
		Dur("took", took).
		EmbedObject(logged(e)).
		Msg(fact)
	if e.Failure != nil {
		w.log.Debug().Str("doc", s.ID).Str("reason", e.Failure.Message).AnErr("err", e.Failure.Err).Msg("attempt failed")
	}
}

// level returns how much an ending matters: a server that can't be used or a
// mail of unknown fate wants somebody to look, a wrong document does not.
func (e ending) level() zerolog.Level {
	if e.released {
		return zerolog.WarnLevel
	}
	if e.Failure == nil {
		return zerolog.InfoLevel
	}
	switch e.Failure.Phase {
	case delivery.PhaseConnect, delivery.PhaseGreeting, delivery.PhaseHello, delivery.PhaseTLS, delivery.PhaseAuth:
		return zerolog.ErrorLevel
	}
	if e.Failure.Class == delivery.Unknown {
		return zerolog.ErrorLevel
	}
	return zerolog.WarnLevel
}

// logged is an ending's part of the log line.
type logged ending

// MarshalZerologObject writes phase, code and cause, or the Message-ID.
func (l logged) MarshalZerologObject(line *zerolog.Event) {
	if l.released {
		return
	}
	l.recipients(line)
	if l.Failure == nil {
		line.Str("message_id", l.MessageID)
		return
	}
	line.Str("phase", string(l.Failure.Phase))
	if l.Failure.Code != 0 {
		line.Int("code", l.Failure.Code).Str("enhanced", l.Failure.EnhancedCode)
	}
	if cause, ok := errors.AsType[*smtp.Error](l.Failure.Err); ok {
		line.Str("command", cause.Command).Str("cause", string(cause.Cause()))
	}
}

// recipients writes how many the server accepted, deferred and refused.
func (l logged) recipients(line *zerolog.Event) {
	n := map[delivery.Status]int{}
	for _, r := range l.Recipients {
		n[r.Status]++
	}
	for _, status := range []delivery.Status{delivery.Accepted, delivery.Deferred, delivery.Rejected, delivery.Unsure} {
		if n[status] > 0 {
			line.Int(string(status), n[status])
		}
	}
}

// waiting is a change's part of the log line: when the mail is tried again.
type waiting delivery.Change

// MarshalZerologObject writes when the next attempt is due, if there is one.
func (c waiting) MarshalZerologObject(line *zerolog.Event) {
	if next, ok := c.Set["nextAttemptTime"].(time.Time); ok {
		line.Time("next_attempt", next)
	}
}

// outcomeOf returns the class that the record bears, or released.
func outcomeOf(e ending, c delivery.Change) string {
	if e.released {
		return "released"
	}
	if outcome, ok := c.Set["outcome"].(delivery.Fields); ok {
		class, _ := outcome["class"].(string)
		return class
	}
	if e.Failure != nil { // nothing was written
		return string(e.Failure.Class)
	}
	return string(delivery.Delivered)
}
