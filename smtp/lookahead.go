package smtp

import (
	"slices"
	"time"
)

// What bounds looking ahead.
const (
	// promptly is how soon a session's last final reply must have come for the next
	// one to be expected soon too: a mail whose envelope has flown depends on it.
	promptly = time.Second

	// patience is how long such a mail waits for the final reply to the message
	// before it. Then it goes its own way: first in line for another connection.
	patience = 5 * time.Second

	// flownTimeout is how long the reply to a MAIL that has flown may take once the
	// message before it was answered. A server that has thrown it away answers
	// nothing; nothing is lost but a connection if it was only slow.
	flownTimeout = 15 * time.Second

	// wariness is how long nothing flies after a server did not make sense of it,
	// though it offers PIPELINING. What stands between may be taken away, or there
	// may be another one behind the same name; to find out costs one mail a new
	// connection.
	wariness = time.Hour
)

// outOfStep says that a flown envelope came to nothing because the server, as it
// seems, did not expect it there: it takes MAIL for a command that it does not
// know, or that is out of order, or has not seen it at all.
func outOfStep(e *Error) bool {
	switch e.Cause() {
	case CauseReply:
		return e.Stage == StageMail && (e.Reply.Code == 500 || e.Reply.Code == 502 || e.Reply.Code == 503)
	case CauseProtocol, CauseTimeout:
		return true
	}
	return false
}

// beWary stops all looking ahead for a while, because of what came of a flown
// envelope.
func (p *Pool) beWary(e *Error) {
	p.mu.Lock()
	now := time.Now()
	already := now.Before(p.wary)
	p.wary = now.Add(wariness)
	p.mu.Unlock()
	if !already && p.o.Wary != nil {
		p.o.Wary(e)
	}
}

// lookAhead says that s is about to send a message that another envelope may go
// along with; so many transactions will have been begun then. It gets the next
// mail ready.
func (p *Pool) lookAhead(s *session, used int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !s.looking && p.leads(s, used) {
		s.looking = true
		p.lookouts++
		p.ask()
	}
}

// lookAway undoes lookAhead. The caller holds p.mu.
func (p *Pool) lookAway(s *session) {
	if s.looking {
		s.looking = false
		p.lookouts--
	}
}

// leads says that an envelope may go along with the message of the last of so
// many transactions of s. The caller holds p.mu.
func (p *Pool) leads(s *session, used int) bool {
	return p.o.Pipelining == Lookahead && s.ext.pipelining && s.prompt && !s.broken && !s.forsaken &&
		!p.closed && !s.spent(used) && !time.Now().Before(p.wary)
}

// mayFly says that t's envelope may go along with a message. One that is too
// large might fill the buffers between both ends (RFC 2920 §3.1).
func (t *turn) mayFly() bool {
	return t.mail != nil && len(t.mail.to) <= maxFlight && !t.plain
}

// ask lets as many of the first in line get ready as there are sessions to take
// them along. Nobody is asked before one that cannot fly: it must have the next
// connection that is free. The caller holds p.mu.
func (p *Pool) ask() {
	for i := 0; i < min(p.lookouts, len(p.line)) && p.line[i].mayFly(); i++ {
		if t := p.line[i]; !t.asked {
			t.asked = true
			t.ready = t.mail.begin == nil
			t.notify()
		}
	}
}

// begin asks the caller whether t's mail may begin, so that its envelope can fly.
// If not, or if the caller panics, t goes away.
func (p *Pool) begin(t *turn) *Error {
	stays := false
	defer func() {
		if !stays {
			p.goAway(t)
		}
	}()
	if e := t.mail.start(false); e != nil {
		return e
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	stays, t.ready = true, true
	return nil
}

// board returns the mail whose envelope goes along with the end of the message
// that s is about to send, and which follows on s from now on; nil for none. It
// is the first in line that is ready, unless somebody who cannot fly comes before
// it.
func (p *Pool) board(s *session) *outgoing {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.lookAway(s)
	if !p.leads(s, s.used) {
		return nil
	}
	for i, t := range p.line {
		if !t.mayFly() {
			return nil
		}
		if t.ready && t.over() == nil && (t.startBy.IsZero() || time.Now().Before(t.startBy)) {
			p.line = slices.Delete(p.line, i, i+1)
			t.on, t.flownAt, s.follower = s, time.Now(), t
			return t.mail
		}
	}
	return nil
}

// forsake leaves the session that t's envelope has flown on: nobody will send
// the message that it may ask for, so it is of no more use. The caller holds
// p.mu.
func (t *turn) forsake() {
	t.on.follower, t.on.forsaken = nil, true
	t.on = nil
}
