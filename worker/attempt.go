package worker

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"time"

	"github.com/rs/zerolog"

	"postrider/delivery"
	"postrider/smtp"
)

// handle does what is to be done about a document and returns it as it is then.
// After an error it is returned with no fields, so that nobody acts on it.
func (w *Worker) handle(ctx, work context.Context, s delivery.Snapshot) delivery.Snapshot {
	now, record := time.Now(), delivery.ReadRecord(s.Fields)
	switch delivery.Decide(record, delivery.Complete(s.Fields), now) {
	case delivery.Claim:
		if ctx.Err() != nil {
			return handled(s)
		}
		return w.attempt(ctx, work, s, record)
	case delivery.Expire:
		return w.apply(work, s, record.Expired(), "lease lapsed", w.metrics.expired.Inc)
	case delivery.Refuse:
		return w.apply(work, s, record.Refused(w.options.TTL, now), "refused", w.metrics.refused.Inc)
	}
	return handled(s)
}

// handled returns a document about which nothing is left to be done, unless
// something newer has come.
func handled(s delivery.Snapshot) delivery.Snapshot {
	s.Fields = delivery.Fields{"delivery": delivery.Fields{"state": string(delivery.Success)}}
	return s
}

// apply puts down a change that is no attempt.
func (w *Worker) apply(ctx context.Context, s delivery.Snapshot, c delivery.Change, fact string, count func()) delivery.Snapshot {
	after, err := w.queue.Apply(ctx, s, c)
	if err != nil {
		w.lost(s, err)
		return handled(s)
	}
	count()
	w.state.note(c.State)
	w.log.Warn().Str("doc", s.ID).Str("state", string(c.State)).Msg(fact)
	return after
}

// lost says that a document could not be written. A conflict is nobody's fault:
// another worker was faster, or the document changed and will be found again.
func (w *Worker) lost(s delivery.Snapshot, err error) {
	if errors.Is(err, delivery.ErrConflict) || errors.Is(err, delivery.ErrGone) {
		w.metrics.claims.WithLabelValues("lost").Inc()
		w.state.conflict()
		w.log.Debug().Str("doc", s.ID).Err(err).Msg("document was not ours")
		return
	}
	w.log.Error().Str("doc", s.ID).Err(err).Msg("document could not be written")
}

// attempt claims the document, sends it, and writes down what happened.
func (w *Worker) attempt(ctx, work context.Context, s delivery.Snapshot, record delivery.Record) delivery.Snapshot {
	began := time.Now()
	lease := delivery.Lease{ID: uuid(), Expires: began.Add(w.options.Lease)}
	claimed, err := w.queue.Apply(work, s, record.Claimed(lease, w.options.TTL, began))
	if err != nil {
		w.lost(s, err)
		if !errors.Is(err, delivery.ErrConflict) && !errors.Is(err, delivery.ErrGone) {
			w.disown(work, s, record.Claimed(lease, w.options.TTL, began), lease)
		}
		return handled(s)
	}
	w.metrics.claims.WithLabelValues("won").Inc()
	w.log.Debug().Str("doc", s.ID).Time("lease_until", lease.Expires).Msg("claimed")

	var e ending
	if ctx.Err() == nil {
		e = w.send(work, claimed, lease, began)
	} else {
		e = ending{released: true}
	}
	return w.finish(work, claimed, lease, e, began)
}

// disown hands back a claim that was asked for and never answered, in case
// Firestore has made it all the same.
func (w *Worker) disown(work context.Context, s delivery.Snapshot, c delivery.Change, lease delivery.Lease) {
	ctx, cancel := context.WithDeadline(context.WithoutCancel(work), lease.Expires)
	defer cancel()
	s.Fields = c.AppliedTo(s.Fields)
	_, err := w.queue.Finish(ctx, s, delivery.Record.Released)
	w.log.Debug().Str("doc", s.ID).Err(err).Msg("unanswered claim handed back")
}

// ending is how an attempt ended: released, failed, or else sent.
type ending struct {
	released   bool
	failure    *delivery.Failure
	recipients []delivery.Recipient // that a server spoke about
	sent       delivery.Sent
}

// send makes the mail and hands it to the mail server before the lease's end,
// less the margin that the write-back needs.
func (w *Worker) send(work context.Context, s delivery.Snapshot, lease delivery.Lease, now time.Time) ending {
	deadline := lease.Expires.Add(-w.options.Margin)
	ctx, cancel := context.WithDeadline(work, deadline)
	defer cancel()

	if s.Size > delivery.MaxSize {
		return ending{failure: delivery.TooLarge(s.Size)}
	}
	doc, err := delivery.Decode(s.Fields)
	if err != nil {
		return ending{failure: failureOf(err)}
	}
	mail, err := w.composer.Compose(ctx, doc, lease.ID, now)
	if err != nil {
		return w.cut(work, ending{failure: failureOf(err)})
	}
	result, err := w.sender.Send(ctx, smtp.Mail{Envelope: mail.Envelope, Message: mail.Message, Deadline: deadline})
	if err != nil {
		failure, recipients := verdictOf(err)
		return w.cut(work, ending{failure: failure, recipients: recipients})
	}
	return ending{sent: delivery.Sent{
		MessageID:  mail.MessageID,
		Recipients: recipientsOf(result.Recipients),
		Response:   result.Reply.String(),
	}}
}

// cut tells an attempt that failed from one that was stopped before the mail
// was sent.
func (w *Worker) cut(work context.Context, e ending) ending {
	if work.Err() != nil && e.failure.Class == delivery.Transient {
		return ending{released: true}
	}
	return e
}

// finish writes down how the attempt ended. It keeps trying until the lease
// ends: the mail may be gone.
func (w *Worker) finish(work context.Context, claimed delivery.Snapshot, lease delivery.Lease, e ending, began time.Time) delivery.Snapshot {
	ctx, cancel := context.WithDeadline(context.WithoutCancel(work), lease.Expires)
	defer cancel()
	ended := time.Now()
	var change delivery.Change
	after, err := w.queue.Finish(ctx, claimed, func(r delivery.Record) delivery.Change {
		change = e.change(r, ended)
		return change
	})
	w.metrics.ended(e, ended.Sub(began))
	w.state.note(change.State)
	w.report(claimed, e, change, ended.Sub(began), err)
	if err != nil {
		return handled(claimed)
	}
	return after
}

// change returns what the ending makes of the record.
func (e ending) change(r delivery.Record, now time.Time) delivery.Change {
	switch {
	case e.released:
		return r.Released()
	case e.failure != nil:
		return r.Failed(e.failure, e.recipients, now)
	default:
		return r.Delivered(e.sent, now)
	}
}

// class returns the ending's class; "" if the attempt was handed back.
func (e ending) class() delivery.Class {
	switch {
	case e.released:
		return ""
	case e.failure != nil:
		return e.failure.Class
	default:
		return delivery.Delivered
	}
}

// report logs how an attempt ended, in one line: what happened, never to whom.
func (w *Worker) report(s delivery.Snapshot, e ending, c delivery.Change, took time.Duration, err error) {
	line, fact := w.log.Info(), "attempt finished"
	switch {
	case err != nil:
		w.metrics.unwritten.Inc()
		line, fact = w.log.Error().Err(err), "attempt finished, but could not be recorded"
	case e.released:
		line, fact = w.log.Warn(), "attempt handed back"
	case e.failure != nil:
		line = w.log.Error()
	}
	line.Str("doc", s.ID).
		Int64("attempt", delivery.ReadRecord(s.Fields).Attempts+1).
		Str("state", string(c.State)).
		Str("outcome", string(e.class())).
		Dur("took", took).
		EmbedObject(logged(e)).
		Msg(fact)
	if e.failure != nil {
		w.log.Debug().Str("doc", s.ID).Str("reason", e.failure.Message).AnErr("err", e.failure.Err).Msg("attempt failed")
	}
}

// logged is an ending's part of the log line.
type logged ending

// MarshalZerologObject writes the code and the phase, or the Message-ID.
func (l logged) MarshalZerologObject(line *zerolog.Event) {
	switch {
	case l.failure != nil:
		line.Str("phase", string(l.failure.Phase)).Int("code", l.failure.Code).Str("enhanced", l.failure.EnhancedCode)
	case !l.released:
		line.Str("message_id", l.sent.MessageID).Int("recipients", len(l.sent.Recipients))
	}
}

// failureOf returns the failure that an error is, or makes one of it: what has
// no words of its own for the document may work if tried again.
func failureOf(err error) *delivery.Failure {
	if f, ok := errors.AsType[*delivery.Failure](err); ok {
		return f
	}
	return &delivery.Failure{
		Class: delivery.Transient, Phase: delivery.PhaseCompose, Err: err,
		Message: "Error: " + err.Error(),
		Explain: "the mail was not made in time; set delivery.state to RETRY to try again",
	}
}

// uuid returns a random UUID (RFC 9562 §5.4).
func uuid() string {
	var b [16]byte
	_, _ = rand.Read(b[:]) // never fails
	b[6], b[8] = b[6]&0x0f|0x40, b[8]&0x3f|0x80
	return fmt.Sprintf("%x-%x-%x-%x-%x", b[:4], b[4:6], b[6:8], b[8:10], b[10:])
}
