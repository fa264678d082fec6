package worker

import (
	"context"
	crand "crypto/rand"
	"errors"
	"fmt"
	"math/rand/v2"
	"runtime/debug"
	"slices"
	"time"

	"postrider/delivery"
	"postrider/smtp"

	"github.com/rs/zerolog"
)

// handle does what is to be done about a document, and returns it as it is then:
// if somebody else was faster, what that made of it. The error is
// delivery.ErrGone, or says that the document could not be written.
func (w *Worker) handle(ctx, work context.Context, s delivery.Snapshot, how *errand) (delivery.Snapshot, error) {
	now, record, policy := w.queue.Now(), delivery.ReadRecord(s.Fields), w.options.Policy
	switch decide(s, now) {
	case delivery.Claim:
		if s.Size > delivery.MaxSize {
			return w.apply(work, s, record.TooLarge(s.Size, policy, now), "refused", w.metrics.refused.Inc)
		}
		if until, exceeded := record.Exceeds(policy, now); exceeded {
			return w.apply(work, s, record.TooOften(policy, until, now), "refused by MAX_PER_DOCUMENT", w.metrics.refused.Inc)
		}
		return w.attempt(ctx, work, s, how)
	case delivery.Expire:
		return w.apply(work, s, record.Expired(policy, rand.Float64(), now), "lease lapsed", w.metrics.expired.Inc)
	case delivery.Refuse:
		return w.apply(work, s, record.Refused(policy, now), "refused", w.metrics.refused.Inc)
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
	level := zerolog.WarnLevel
	if c.Set["error"] == delivery.ReadRecord(s.Fields).Error {
		level = zerolog.DebugLevel // it was said before: something asks again and again
	}
	w.log.WithLevel(level).Str("doc", s.ID).Str("state", string(c.State)).Msg(fact)
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

// attempt claims the document once the mail server may be used, sends it, and
// writes down what happened.
func (w *Worker) attempt(ctx, work context.Context, s delivery.Snapshot, how *errand) (delivery.Snapshot, error) {
	in, err := w.enter(ctx, s, how)
	if err != nil {
		return s, err
	}
	defer in.leave()
	claimed, lease, err := w.claim(ctx, work, s)
	if err != nil {
		return w.lost(s, claimed, err)
	}
	defer w.hands.lease(lease.ID)()
	w.metrics.claimed(how.found, s, w.queue.Now())
	w.log.Debug().Str("doc", s.ID).Time("lease_until", lease.Expires).Msg("claimed")
	began, e := time.Now(), handedBack(delivery.ErrStopping)
	if ctx.Err() == nil {
		t := w.tenure(work, claimed, lease, in)
		e = w.send(work, t, claimed)
		claimed, lease = t.close()
	}
	in.leave()
	return w.finish(work, claimed, lease, e, time.Since(began))
}

// errUnclaimed says that Firestore has neither taken nor refused a claim for
// long.
var errUnclaimed = errors.New("document could not be claimed")

// claim takes the document. A lease is worth something only if it has begun
// just now, so a claim that Firestore does not answer for a while is settled,
// and made anew with another lease: for the time of two leases, for it may be
// the document, not Firestore, that is the matter.
func (w *Worker) claim(ctx, work context.Context, s delivery.Snapshot) (delivery.Snapshot, delivery.Lease, error) {
	record, began := delivery.ReadRecord(s.Fields), time.Now()
	var unanswered []string // leases
	for {
		now := w.queue.Now()
		lease := delivery.Lease{ID: uuid(), Expires: now.Add(w.options.Lease)}
		change := record.Claimed(lease, w.options.Policy, now)
		short, cancel := context.WithTimeout(work, w.options.Margin)
		claimed, err := w.queue.Apply(short, s, change)
		timely := short.Err() == nil
		cancel()
		if errors.Is(err, delivery.ErrConflict) && slices.Contains(unanswered, delivery.ReadRecord(claimed.Fields).Lease.ID) {
			claimed = w.disown(work, claimed) // Firestore has made an earlier claim after all
		}
		if err == nil || timely {
			return claimed, lease, err
		}
		w.disown(work, delivery.Snapshot{ID: s.ID, Fields: change.AppliedTo(s.Fields)})
		switch {
		case ctx.Err() != nil:
			return s, lease, err
		case w.giveUp != nil:
			w.giveUp(err)
			return s, lease, err
		case time.Since(began) > 2*w.options.Lease:
			return s, lease, fmt.Errorf("%w: %w", errUnclaimed, err)
		}
		unanswered = append(unanswered, lease.ID)
	}
}

// lastWord is how long a worker that must stop tries to settle a claim.
const lastWord = time.Second

// disown hands back a claim that was asked for and not answered in time, if
// Firestore has made it all the same, and returns the document as it is then.
// Firestore may make it late: nothing was sent under it, so it is handed back
// even after the lease's end.
func (w *Worker) disown(work context.Context, claimed delivery.Snapshot) delivery.Snapshot {
	parent, longest := work, w.options.Lease
	if work.Err() != nil {
		parent, longest = context.WithoutCancel(work), lastWord
	}
	ctx, cancel := context.WithTimeout(parent, longest)
	defer cancel()
	now := w.queue.Now()
	after, err := w.queue.Finish(ctx, claimed, func(r delivery.Record) delivery.Change { return r.Released(now) })
	w.log.Warn().Str("doc", claimed.ID).AnErr("err", err).Msg("claim was not answered, handed back")
	if err != nil {
		return claimed
	}
	return after
}

// ending is how an attempt ended.
type ending struct {
	released bool  // handed back: it does not count
	why      error // it was
	delivery.Attempt
	recorded func() // called once the ending is written; nil for nothing
}

// send makes the mail and hands it to the mail server while the attempt has
// time. If no connection is free for the time of half a lease the mail is handed
// back: others may have one.
func (w *Worker) send(work context.Context, t *tenure, s delivery.Snapshot) (e ending) {
	var recorded func()
	defer func() {
		if recover() != nil { // what it says may be part of a mail
			w.log.Error().Str("doc", s.ID).Bytes("stack", debug.Stack()).Msg("panic while sending")
			e = notSent(broken())
		}
		e.recorded = recorded
	}()
	record := delivery.ReadRecord(s.Fields)
	doc, err := delivery.Decode(s.Fields)
	if err != nil {
		return notSent(failureOf(err))
	}
	doc.ID = s.ID
	began := time.Now()
	mail, err := w.composer.Compose(t.ctx, doc, record.Message(), w.queue.Now(), t.resize)
	w.metrics.timing.passed(phaseCompose, began)
	if errors.Is(err, errCramped) {
		return handedBack(errCramped)
	} else if err != nil {
		return w.cut(work, t, notSent(failureOf(err)))
	}
	mail.Envelope.To = record.Owed(mail.Envelope.To)
	if len(mail.Envelope.To) == 0 {
		return notSent(nobody())
	}
	startBy := time.Now().Add((w.options.Lease - w.options.Margin) / 2)
	recorded, err = w.admit(t.ctx, startBy, record, mail.Envelope.To)
	if f, refused := errors.AsType[*delivery.Failure](err); refused {
		e = notSent(f)
		e.Envelope = mail.Envelope.To
		return e
	} else if err != nil {
		return handedBack(errUncounted)
	}
	return w.hand(work, t, mail, startBy)
}

// hand hands a mail to the mail server.
func (w *Worker) hand(work context.Context, t *tenure, mail Mail, startBy time.Time) ending {
	t.handed = time.Now()
	result, err := w.sender.Send(t.ctx, t.limit, smtp.Mail{
		Envelope: mail.Envelope, Message: mail.Message, StartBy: startBy, Open: t.open, NoSession: t.noSession, Begin: t.begin,
	})
	refused, failed := errors.AsType[*smtp.Error](err)
	blameless := w.heed(t.entry, result, refused, t.crowded)
	if errors.Is(err, smtp.ErrBusy) {
		t.entry.spent = false // it was let begin, and waited for its session in vain
	}
	if t.entry.spent {
		w.metrics.timing.passed(phaseTransaction, t.begunAt)
	}
	if err == nil || failed && !refused.Reply.IsZero() && !refused.Unreachable() {
		w.outage.succeed(false, w.queue.Now()) // the server answers mails
	}
	if err == nil {
		return ending{Attempt: delivery.Attempt{
			MessageID:  mail.MessageID,
			Recipients: recipientsOf(result.Recipients),
			Response:   result.Reply.String(),
		}}
	}
	switch {
	case errors.Is(err, smtp.ErrBusy):
		return handedBack(smtp.ErrBusy)
	case t.unbegun != nil:
		return handedBack(t.unbegun)
	case t.crowded:
		return handedBack(errCrowded)
	case t.blameless:
		return handedBack(errOutage)
	case blameless:
		return handedBack(errSlow)
	}
	failure, recipients := verdictOf(err)
	if failure.Class == delivery.Unknown {
		failure.MessageID = mail.MessageID
	}
	e := notSent(failure)
	e.MessageID, e.Envelope, e.Recipients = mail.MessageID, mail.Envelope.To, recipients
	return w.cut(work, t, e)
}

// handedBack is the ending of a mail that was not sent, and is not to be blamed.
// The log says why.
func handedBack(why error) ending { return ending{released: true, why: why} }

// errUncounted has a mail handed back that had no more time to wait, or was stopped,
// while it was still open whether its recipients may get it: Firestore has not
// told, or an earlier mail to one of them was on its way.
var errUncounted = errors.New("it was not found out in time how many mails a recipient has got")

// notSent is the ending of a mail that was not delivered.
func notSent(f *delivery.Failure) ending { return ending{Attempt: delivery.Attempt{Failure: f}} }

// nobody is the failure of a mail that is owed to nobody any more.
func nobody() *delivery.Failure {
	return &delivery.Failure{
		Class: delivery.Permanent, Phase: delivery.PhaseCompose,
		Message: "Error: No recipients defined",
		Explain: "those who were still owed the mail are not in to, cc or bcc any more",
	}
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

// cut tells an attempt that failed from one that was stopped before the mail was
// sent: by the end of the worker, or because another claim has the document.
func (w *Worker) cut(work context.Context, t *tenure, e ending) ending {
	stopped := work.Err() != nil || errors.Is(context.Cause(t.ctx), errTakenOver)
	if stopped && e.Failure.Class == delivery.Transient {
		return handedBack(context.Cause(t.ctx))
	}
	return e
}

// finish writes down how the attempt ended. It keeps trying until the lease
// ends, for the mail may be gone; a worker that comes late, as one whose process
// was stopped for a while does, tries too: the fence keeps it from a record that
// is not its own any more.
func (w *Worker) finish(work context.Context, claimed delivery.Snapshot, lease delivery.Lease, e ending, took time.Duration) (delivery.Snapshot, error) {
	if e.recorded != nil {
		defer e.recorded()
	}
	now, fraction := w.queue.Now(), rand.Float64()
	ctx, cancel := context.WithTimeout(context.WithoutCancel(work), max(lease.Expires.Sub(now), w.options.Margin))
	defer cancel()
	began := time.Now()
	var change delivery.Change
	after, err := w.queue.Finish(ctx, claimed, func(r delivery.Record) delivery.Change {
		change = e.change(r, w.options.Policy, fraction, now)
		return change
	})
	w.metrics.timing.passed(phaseWriteBack, began)
	w.metrics.ended(outcomeOf(e, change), took)
	switch {
	case err == nil:
		w.state.note(change.State)
	case !e.released || !missing(err):
		w.metrics.unwritten.Inc()
		w.state.unwritten()
	}
	w.report(claimed, e, change, took, err)
	if err != nil {
		return claimed, err
	}
	return after, nil
}

// missing reports whether there is no record to write to any more: the document
// was deleted, or belongs to another claim.
func missing(err error) bool {
	return errors.Is(err, delivery.ErrGone) || errors.Is(err, delivery.ErrLeaseLost)
}

// change returns what the ending makes of the record.
func (e ending) change(r delivery.Record, p delivery.Policy, fraction float64, now time.Time) delivery.Change {
	if e.released {
		return r.Released(now)
	}
	return r.Ended(e.Attempt, p, fraction, now)
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
	_, _ = crand.Read(b[:]) // never fails
	b[6], b[8] = b[6]&0x0f|0x40, b[8]&0x3f|0x80
	return fmt.Sprintf("%x-%x-%x-%x-%x", b[:4], b[4:6], b[6:8], b[8:10], b[10:])
}
