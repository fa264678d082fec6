package worker

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"runtime/debug"
	"time"

	"postrider/delivery"
	"postrider/smtp"
)

// handle does what is to be done about a document, and returns it as it is then:
// if somebody else was faster, what that made of it. The error is
// delivery.ErrGone, or says that the document could not be written.
func (w *Worker) handle(ctx, work context.Context, s delivery.Snapshot) (delivery.Snapshot, error) {
	now, record := time.Now(), delivery.ReadRecord(s.Fields)
	switch delivery.Decide(record, delivery.Complete(s.Fields), now) {
	case delivery.Claim:
		if s.Size > delivery.MaxSize {
			return w.apply(work, s, record.TooLarge(s.Size, w.options.TTL, now), "refused", w.metrics.refused.Inc)
		}
		return w.attempt(ctx, work, s, record)
	case delivery.Expire:
		return w.apply(work, s, record.Expired(), "lease lapsed", w.metrics.expired.Inc)
	case delivery.Refuse:
		return w.apply(work, s, record.Refused(w.options.TTL, now), "refused", w.metrics.refused.Inc)
	}
	return s, nil
}

// apply puts down a change that is no attempt.
func (w *Worker) apply(ctx context.Context, s delivery.Snapshot, c delivery.Change, fact string, count func()) (delivery.Snapshot, error) {
	after, err := w.queue.Apply(ctx, s, c)
	if errors.Is(err, delivery.ErrRefused) {
		after, err = w.queue.Apply(ctx, s, c.Terse())
	}
	if err != nil {
		return w.lost(s, after, err)
	}
	count()
	w.state.note(c.State)
	w.log.Warn().Str("doc", s.ID).Str("state", string(c.State)).Msg(fact)
	return after, nil
}

// lost says that a document could not be written, and returns what handle does.
// A conflict is nobody's fault: another worker was faster, or a client.
func (w *Worker) lost(s, now delivery.Snapshot, err error) (delivery.Snapshot, error) {
	switch {
	case errors.Is(err, delivery.ErrConflict):
		w.metrics.claims.WithLabelValues("lost").Inc()
		w.log.Debug().Str("doc", s.ID).Msg("document has changed")
		return now, nil
	case errors.Is(err, delivery.ErrGone):
		w.log.Debug().Str("doc", s.ID).Msg("document was deleted")
		return s, err
	}
	w.metrics.unwritten.Inc()
	w.state.unwritten()
	w.log.Error().Str("doc", s.ID).Err(err).Msg("document could not be written")
	return s, err
}

// attempt claims the document, sends it, and writes down what happened.
func (w *Worker) attempt(ctx, work context.Context, s delivery.Snapshot, record delivery.Record) (delivery.Snapshot, error) {
	claimed, lease, err := w.claim(ctx, work, s, record)
	if err != nil {
		return w.lost(s, claimed, err)
	}
	w.metrics.claims.WithLabelValues("won").Inc()
	w.log.Debug().Str("doc", s.ID).Time("lease_until", lease.Expires).Msg("claimed")
	began, e := time.Now(), ending{released: true}
	if ctx.Err() == nil {
		e = w.send(work, claimed, lease)
	}
	return w.finish(work, claimed, lease, e, began)
}

// claim takes the document. A lease is worth something only if it has begun
// just now, so a claim that Firestore does not answer for a while is settled,
// and made anew with another lease, until ctx ends.
func (w *Worker) claim(ctx, work context.Context, s delivery.Snapshot, record delivery.Record) (delivery.Snapshot, delivery.Lease, error) {
	for {
		now := time.Now()
		lease := delivery.Lease{ID: uuid(), Expires: now.Add(w.options.Lease)}
		change := record.Claimed(lease, w.options.TTL, now)
		short, cancel := context.WithTimeout(work, w.options.Margin)
		claimed, err := w.queue.Apply(short, s, change)
		timely := short.Err() == nil
		cancel()
		if err == nil || timely {
			return claimed, lease, err
		}
		w.disown(work, s, change)
		if ctx.Err() != nil {
			return s, lease, err
		}
		if w.giveUp != nil {
			w.giveUp(err)
			return s, lease, err
		}
	}
}

// lastWord is how long a worker that must stop tries to settle a claim.
const lastWord = time.Second

// disown hands back a claim that was asked for and never answered, in case
// Firestore has made it all the same. It may make it late: nothing was sent under
// it, so it is handed back even after the lease's end.
func (w *Worker) disown(work context.Context, s delivery.Snapshot, c delivery.Change) {
	ctx := work
	if work.Err() != nil {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(context.WithoutCancel(work), lastWord)
		defer cancel()
	}
	unanswered := delivery.Snapshot{ID: s.ID, Fields: c.AppliedTo(s.Fields)}
	_, err := w.queue.Finish(ctx, unanswered, delivery.Record.Released)
	w.log.Warn().Str("doc", s.ID).AnErr("err", err).Msg("claim was not answered, handed back")
}

// ending is how an attempt ended: released, failed, or else sent.
type ending struct {
	released   bool
	failure    *delivery.Failure
	recipients []delivery.Recipient // that a server spoke about
	sent       delivery.Sent
}

// send makes the mail and hands it to the mail server before the lease's end,
// less the margin that the write-back needs. If no connection is free by half
// that time the mail is handed back: one that begins must have time to end.
func (w *Worker) send(work context.Context, s delivery.Snapshot, lease delivery.Lease) (e ending) {
	defer func() {
		if recover() != nil { // what it says may be part of a mail
			w.log.Error().Str("doc", s.ID).Bytes("stack", debug.Stack()).Msg("panic while sending")
			e = ending{failure: broken()}
		}
	}()
	now, deadline := time.Now(), lease.Expires.Add(-w.options.Margin)
	ctx, cancel := context.WithDeadline(work, deadline)
	defer cancel()
	doc, err := delivery.Decode(s.Fields)
	if err != nil {
		return ending{failure: failureOf(err)}
	}
	mail, err := w.composer.Compose(ctx, doc, lease.ID, now)
	if err != nil {
		return w.cut(work, ending{failure: failureOf(err)})
	}
	result, err := w.sender.Send(ctx, smtp.Mail{
		Envelope: mail.Envelope, Message: mail.Message,
		Deadline: deadline, StartBy: now.Add(deadline.Sub(now) / 2),
	})
	if errors.Is(err, smtp.ErrBusy) {
		return ending{released: true}
	}
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

// broken is the failure of a mail over which the program stumbled.
func broken() *delivery.Failure {
	return &delivery.Failure{
		Class: delivery.Unknown, Phase: delivery.PhaseCompose,
		Message: "Error: The program failed over this document.",
		Explain: "this is a fault of Postrider; its log has the details under this document's ID; " +
			"look there whether the mail was sent before setting delivery.state to RETRY",
	}
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
func (w *Worker) finish(work context.Context, claimed delivery.Snapshot, lease delivery.Lease, e ending, began time.Time) (delivery.Snapshot, error) {
	ctx, cancel := context.WithDeadline(context.WithoutCancel(work), lease.Expires)
	defer cancel()
	ended := time.Now()
	var change delivery.Change
	after, err := w.queue.Finish(ctx, claimed, func(r delivery.Record) delivery.Change {
		change = e.change(r, ended)
		return change
	})
	w.metrics.ended(e, ended.Sub(began))
	if err == nil {
		w.state.note(change.State)
	} else {
		w.metrics.unwritten.Inc()
		w.state.unwritten()
	}
	w.report(claimed, e, change, ended.Sub(began), err)
	if err != nil {
		return claimed, err
	}
	return after, nil
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
