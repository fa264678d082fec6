package smtp

import (
	"context"
	"fmt"
	"strconv"
	"time"
)

// maxFlight is how many RCPT travel in one flight. Their replies must fit into
// the buffers between both ends, or both would wait for the other to read
// (RFC 2920 §3.1).
const maxFlight = 100

// Result is a mail that was delivered to at least one recipient.
type Result struct {
	Recipients []Recipient // one for each of Envelope.To, in its order
	Reply      Reply       // the final reply, to the message
}

// send runs one transaction. Until the final dot is flushed the end of ctx
// cuts it short, that of limit whenever it comes. An envelope that has flown, with
// the message before, is not sent again.
func (s *session) send(ctx, limit context.Context, m *outgoing, flown bool) (Result, *Error) {
	s.watch(limit, &s.limit)
	defer s.release(&s.limit)
	s.watch(ctx, &s.caller)
	defer s.release(&s.caller)
	if !flown {
		if e := s.start(m); e != nil {
			return Result{}, e
		}
	}
	s.used++
	d := dialogue{rcpts: make([]Reply, len(m.to))}
	stage, err := s.envelope(m, &d, flown)
	if stage != "" {
		e := s.refused(m, d, stage, err)
		if flown && outOfStep(e) {
			s.broken, e.stale = true, true
		}
		return Result{}, e
	}
	if err := s.message(m, !d.closing()); err != nil {
		r := s.lastWords(err)
		if !r.IsZero() {
			err = nil
		}
		s.broken = true
		e := s.failed(StageMessage, "DATA", r, err)
		e.Recipients = d.recipients(m)
		return Result{}, e
	}
	s.release(&s.caller) // from here on the mail may be gone: only time ends the wait
	return s.verdict(m, d)
}

// start asks the caller, once, whether the mail may begin. If not, the session
// is as good as before.
func (s *session) start(m *outgoing) *Error {
	if err := s.refuses(); err != nil {
		return &Error{Stage: StageMail, Err: err}
	}
	return m.start(!s.kept)
}

// lastPart is the largest end of a message that is copied so that it travels
// with what comes after it: a record of TLS (RFC 8446 §5.1).
const lastPart = 16 << 10

// message writes the message up to and including its final dot, and at once
// behind it, where that may be, the envelope of a mail that waits. Without an
// error the dot is flushed, whatever became of the envelope.
func (s *session) message(m *outgoing, more bool) error {
	head := m.lines[:max(0, len(m.lines)-lastPart)]
	if n, err := s.write(head, s.o.SocketTimeout); n < len(head) {
		return err
	}
	b := append(append(s.flight[:0], m.lines[len(head):]...), ".\r\n"...)
	dot := len(b)
	var next *outgoing
	if more {
		next = s.pool.board(s)
	}
	if next != nil {
		for i := range len(next.to) + 2 {
			b = s.appendCommand(b, next, i)
		}
	}
	s.flight = b
	n, err := s.write(b, s.o.SocketTimeout)
	if n < dot {
		return err
	}
	s.broken = s.broken || n < len(b)
	if next != nil {
		s.pool.lookAhead(s, s.used+1)
	}
	return nil
}

// verdict reads the final reply.
func (s *session) verdict(m *outgoing, d dialogue) (Result, *Error) {
	asked := time.Now()
	r, err := s.read(s.o.verdictTimeout)
	s.prompt = err == nil && time.Since(asked) < promptly
	s.broken = s.broken || err != nil || r.closing() || d.closing()
	if err == nil && r.Positive() {
		return Result{Recipients: d.recipients(m), Reply: r}, nil
	}
	e := s.failed(StageMessage, "DATA", r, err)
	e.Recipients = d.recipients(m)
	if e.PossiblyAccepted = e.Err != nil; e.PossiblyAccepted {
		e.Conversation = s.conversation(m, d, e)
	}
	return Result{}, e
}

// refused is the error for an envelope that failed at stage: by the server's
// reply if err is nil, else by err.
func (s *session) refused(m *outgoing, d dialogue, stage Stage, err error) *Error {
	r := d.refusal(stage)
	switch {
	case err == nil:
	case r.closing(): // a server that said 421 and went is explained by it
		err = nil
	default:
		r = Reply{}
	}
	e := s.failed(stage, verb(stage), r, err)
	e.Recipients = d.recipients(m)
	e.stale = e.Err != nil || r.closing()
	s.reset = d.open()
	return e
}

func verb(stage Stage) string {
	switch stage {
	case StageMail:
		return "MAIL FROM"
	case StageRcpt:
		return "RCPT TO"
	default:
		return "DATA"
	}
}

// refusal is the reply that stands for the failure at stage. Of several
// refused recipients it is the last, or the one that is not even a refusal.
func (d dialogue) refusal(stage Stage) Reply {
	switch stage {
	case StageMail:
		return d.mail
	case StageData:
		return d.data
	}
	var last Reply
	for _, r := range d.rcpts {
		switch {
		case r.IsZero(), r.Positive():
		case !isRefusal(r):
			return r
		default:
			last = r
		}
	}
	return last
}

func (d dialogue) recipients(m *outgoing) []Recipient {
	rs := make([]Recipient, len(m.addresses))
	for i, a := range m.addresses {
		rs[i] = Recipient{Address: a, Reply: d.rcpts[i]}
	}
	return rs
}

// envelope holds the dialogue up to the reply to DATA. It returns no stage if
// the message may be sent; an error if the connection failed at the stage
// rather than the server refusing.
func (s *session) envelope(m *outgoing, d *dialogue, flown bool) (Stage, error) {
	next := 0 // index of the next command: MAIL, RCPT..., DATA
	if flown {
		next = len(m.to) + 2
		if stage, err := s.land(d, 0, next, min(s.o.SocketTimeout, flownTimeout)); err != nil {
			return s.lost(d, stage, err)
		}
	}
	for {
		switch st, stage := d.judge(); st {
		case transmit:
			if s.unasked() {
				return StageData, fmt.Errorf("%w: more replies than commands", errMalformed)
			}
			return "", nil
		case refuse, abandon:
			s.broken = s.broken || st == abandon
			return stage, nil
		}
		n := s.together(next, len(m.to))
		if stage, err := s.fly(m, d, next, n); err != nil {
			return s.lost(d, stage, err)
		}
		next += n
	}
}

// lost is what envelope returns when the connection has failed at the stage.
func (s *session) lost(d *dialogue, stage Stage, err error) (Stage, error) {
	s.broken = true
	if _, earlier := d.judge(); earlier != "" && isRefusal(d.refusal(earlier)) {
		return earlier, nil // the verdict was in before the connection failed
	}
	return stage, err
}

// together says how many commands go out together from the next one on. The
// first MAIL of a connection goes alone: see the package comment.
func (s *session) together(next, rcpts int) int {
	if !s.ext.pipelining || next == 0 && s.used == 1 {
		return 1
	}
	end := max(next, 1) + maxFlight // of RCPT
	if end > rcpts {
		end = rcpts + 2 // all of them, and DATA
	}
	return end - next
}

// fly sends the n commands from the next one on and reads their replies into
// d.
func (s *session) fly(m *outgoing, d *dialogue, next, n int) (Stage, error) {
	b := s.flight[:0]
	rset := next == 0 && s.reset
	if rset {
		b = append(b, "RSET\r\n"...)
	}
	for i := next; i < next+n; i++ {
		b = s.appendCommand(b, m, i)
	}
	s.flight = b
	if _, err := s.write(b, s.o.SocketTimeout); err != nil {
		return d.stage(next), s.gaveUp(d.at(next), err)
	}
	if next+n == len(m.to)+2 {
		s.pool.lookAhead(s, s.used)
	}
	if rset {
		r, err := s.read(s.o.SocketTimeout)
		if err == nil && !r.Positive() {
			err = fmt.Errorf("RSET was refused: %w: %s", errMalformed, r)
		}
		if err != nil {
			return StageMail, err
		}
		s.reset = false
	}
	return s.land(d, next, n, s.o.SocketTimeout)
}

// land reads the replies to n commands from the next one on into d. The first
// may take so long.
func (s *session) land(d *dialogue, next, n int, first time.Duration) (Stage, error) {
	within := first
	for i := next; i < next+n; i++ {
		keep := keepReply
		if d.stage(i) == StageRcpt {
			keep = keepRcpt
		}
		r, err := s.readUpTo(keep, within)
		if err != nil {
			return d.stage(i), err
		}
		*d.at(i) = r
		if r.closing() && d.stage(i) != StageRcpt {
			break // the server answers nothing more
		}
		within = s.o.SocketTimeout
	}
	return "", nil
}

// gaveUp explains err, the failure to write a flight, by what the server said
// last. Only 421 counts as the reply to a command it has not read.
func (s *session) gaveUp(at *Reply, err error) error {
	switch r := s.lastWords(err); {
	case r.closing():
		*at = r
	case !r.IsZero():
		return fmt.Errorf("%w, saying %s", ErrClosed, r)
	}
	return err
}

// at returns where the reply to command i belongs.
func (d *dialogue) at(i int) *Reply {
	switch d.stage(i) {
	case StageMail:
		return &d.mail
	case StageRcpt:
		return &d.rcpts[i-1]
	default:
		return &d.data
	}
}

// stage returns what command i belongs to: MAIL is 0, DATA comes after the
// last RCPT.
func (d *dialogue) stage(i int) Stage {
	switch {
	case i == 0:
		return StageMail
	case i <= len(d.rcpts):
		return StageRcpt
	default:
		return StageData
	}
}

// appendCommand appends command i.
func (s *session) appendCommand(b []byte, m *outgoing, i int) []byte {
	switch {
	case i > len(m.to):
		b = append(b, "DATA"...)
	case i > 0:
		b = append(append(append(b, "RCPT TO:<"...), m.to[i-1]...), '>')
	default:
		b = append(append(append(b, "MAIL FROM:<"...), m.from...), '>')
		if s.ext.size {
			b = strconv.AppendInt(append(b, " SIZE="...), int64(m.size), 10)
		}
		if s.ext.eightBit && m.eightBit {
			b = append(b, " BODY=8BITMIME"...)
		}
		if s.ext.utf8 && m.utf8 {
			b = append(b, " SMTPUTF8"...)
		}
	}
	return append(b, '\r', '\n')
}
