package worker

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"postrider/delivery"
	"postrider/delivery/deliverytest"
	"postrider/smtp"
)

// marked is an error as the pool marks it: so that its cause can be told.
type marked struct {
	error
	mark string
}

func (m marked) Is(target error) bool { return target.Error() == m.mark }
func (m marked) Unwrap() error        { return m.error }

// notOpened, notBegun and stopped are what the pool says when it was not let open
// a session, or begin, and when it was cut.
func notOpened(err error) error {
	return &smtp.Error{Stage: smtp.StageConnect, Err: marked{err, "the caller did not let it begin"}}
}

func notBegun(err error) error {
	return &smtp.Error{Stage: smtp.StageMail, Err: marked{err, "the caller did not let it begin"}}
}

func stopped(ctx context.Context, stage smtp.Stage) error {
	return &smtp.Error{Stage: stage, Err: marked{context.Cause(ctx), "cancelled"}}
}

func TestDoublesErrorsHaveTheCausesOfThePool(t *testing.T) {
	for _, c := range []struct {
		err  error
		want smtp.Cause
	}{
		{notOpened(errOutage), smtp.CauseCaller},
		{notBegun(overtime{}), smtp.CauseCaller},
		{stopped(t.Context(), smtp.StageConnect), smtp.CauseCancelled},
	} {
		if e, _ := errors.AsType[*smtp.Error](c.err); e.Cause() != c.want || e.Unreachable() {
			t.Errorf("got %q, want %q", e.Cause(), c.want)
		}
	}
}

// server is a mail server that takes its time, or can't be used.
type server struct {
	takes  time.Duration                                                      // for a session
	answer func(ctx, limit context.Context, m smtp.Mail) (smtp.Result, error) // with a session; nil accepts
	keeps  bool                                                               // sessions, for the next mail
	room   chan struct{}                                                      // for sessions at once; nil for any number

	mu     sync.Mutex
	down   *smtp.Error // why there is no session
	tries  []time.Time // of mails, to have one opened
	trying int         // now
	most   int         // at once
	idle   int         // sessions that are kept
	dead   int         // of them, those that are of no use any more
	probes []time.Time
	sent   []smtp.Mail // that were let begin
}

var (
	refused  = &smtp.Error{Stage: smtp.StageConnect, Err: syscall.ECONNREFUSED}
	badLogin = &smtp.Error{Stage: smtp.StageAuth, Reply: smtp.Reply{Code: 535, Enhanced: "5.7.8", Lines: []string{"535 5.7.8 ada@rcpt.test is unknown"}}}
)

func (s *server) session(ctx context.Context) error {
	if s.takes > 0 {
		await(ctx, nil, s.takes)
	}
	if ctx.Err() != nil {
		return stopped(ctx, smtp.StageConnect)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.down != nil {
		return s.down
	}
	return nil
}

func (s *server) Send(ctx, limit context.Context, m smtp.Mail) (smtp.Result, error) {
	if s.room != nil {
		select {
		case s.room <- struct{}{}:
		case <-time.After(time.Until(m.StartBy)):
			return smtp.Result{}, &smtp.Error{Stage: smtp.StageConnect, Err: smtp.ErrBusy}
		}
		defer func() { <-s.room }()
	}
	if err := s.have(ctx, m); err != nil {
		return smtp.Result{}, err
	}
	defer s.leave()
	s.mu.Lock()
	s.sent = append(s.sent, m)
	s.mu.Unlock()
	if s.answer == nil {
		return accepted(m)
	}
	return s.answer(ctx, limit, m)
}

// have has a session for m, and lets it begin: once, though the session that was
// kept for it turns out to be dead.
func (s *server) have(ctx context.Context, m smtp.Mail) error {
	kept, dead := s.take()
	if kept {
		if err := m.Begin(false); err != nil {
			s.leave()
			return notBegun(err)
		}
		if !dead {
			return nil
		}
	}
	if err := m.Open(); err != nil {
		return notOpened(err)
	}
	s.count(1)
	err := s.session(ctx)
	s.count(-1)
	if e, ok := errors.AsType[*smtp.Error](err); ok && e.Unreachable() {
		m.NoSession(e)
	}
	if err != nil || dead {
		return err
	}
	if err := m.Begin(true); err != nil {
		return notBegun(err)
	}
	return nil
}

// take takes a session that is kept, if there is one.
func (s *server) take() (kept, dead bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.idle == 0 {
		return false, false
	}
	s.idle--
	if s.dead > 0 {
		s.dead--
		return true, true
	}
	return true, false
}

func (s *server) leave() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.keeps {
		s.idle++
	}
}

// hangUp ends the sessions that are kept: the mails that get them find out.
func (s *server) hangUp() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.dead = s.idle
}

func (s *server) count(n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if n > 0 {
		s.tries = append(s.tries, time.Now())
	}
	s.trying += n
	s.most = max(s.most, s.trying)
}

func (s *server) Probe(ctx context.Context) error {
	s.mu.Lock()
	s.probes = append(s.probes, time.Now())
	if s.idle > 0 { // whose place it takes
		s.idle, s.dead = s.idle-1, max(0, s.dead-1)
	}
	s.mu.Unlock()
	if err := s.session(ctx); err != nil {
		return err
	}
	s.leave()
	return nil
}

func (s *server) set(down *smtp.Error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.down = down
}

// tried returns how many mails have had a session opened, how many do so now, and
// at most did at once.
func (s *server) tried() (all, now, most int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.tries), s.trying, s.most
}

func (s *server) all() int {
	all, _, _ := s.tried()
	return all
}

// asked returns when a session was asked for, by mails and by probes, after a
// time.
func (s *server) asked(after time.Time) (times []time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, at := range slices.Concat(s.tries, s.probes) {
		if at.After(after) {
			times = append(times, at)
		}
	}
	slices.SortFunc(times, time.Time.Compare)
	return times
}

// probed returns how often it was probed.
func (s *server) probed() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.probes)
}

// begun returns the mails that were let begin.
func (s *server) begun() []smtp.Mail {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.sent)
}

// never answers the final dot.
func never(_, limit context.Context, _ smtp.Mail) (smtp.Result, error) {
	<-limit.Done()
	return smtp.Result{}, &smtp.Error{Stage: smtp.StageMessage, Err: context.Cause(limit), PossiblyAccepted: true}
}

// tap is a store that tells of each write before it is made, and may hinder it.
type tap struct {
	*deliverytest.Store
	before func(ctx context.Context, kind, id string) error // nil for nothing
	jump   atomic.Int64                                     // of the clock, as for a process that was frozen

	mu      sync.Mutex
	journal []string // the writes that were asked for, by kind
}

// kind names a change: claim, renewal, sending or end.
func kind(c delivery.Change) string {
	expires, there := c.Set["leaseExpireTime"]
	switch {
	case there && expires == nil:
		return "end"
	case c.Set["leaseId"] != nil:
		return "claim"
	case there:
		return "renewal"
	case c.Set["leasePhase"] == "sending":
		return "sending"
	}
	return "other"
}

func (s *tap) note(what string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.journal = append(s.journal, what)
}

// noted returns how often something is in the journal.
func (s *tap) noted(what string) (n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, k := range s.journal {
		if k == what {
			n++
		}
	}
	return n
}

func (s *tap) story() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return strings.Join(s.journal, " ")
}

func (s *tap) Apply(ctx context.Context, snap delivery.Snapshot, c delivery.Change) (delivery.Snapshot, error) {
	if err := s.ask(ctx, kind(c), snap.ID); err != nil {
		return snap, err
	}
	return s.Store.Apply(ctx, snap, c)
}

func (s *tap) Finish(ctx context.Context, claimed delivery.Snapshot, change func(delivery.Record) delivery.Change) (delivery.Snapshot, error) {
	if err := s.ask(ctx, kind(change(delivery.ReadRecord(claimed.Fields))), claimed.ID); err != nil {
		return claimed, err
	}
	return s.Store.Finish(ctx, claimed, change)
}

func (s *tap) ask(ctx context.Context, kind, id string) error {
	if ctx.Err() != nil {
		return ctx.Err()
	}
	s.note(kind)
	if s.before == nil {
		return nil
	}
	return s.before(ctx, kind, id)
}

func (s *tap) Now() time.Time { return s.Store.Now().Add(time.Duration(s.jump.Load())) }

// hinder returns what blocks all writes of a kind.
func hinder(blocked string) func(context.Context, string, string) error {
	return func(ctx context.Context, kind, _ string) error {
		if kind != blocked {
			return nil
		}
		<-ctx.Done()
		return ctx.Err()
	}
}

// tapped returns an office with a tap and a server, which are its own to set.
func tapped() (*office, *tap, *server) {
	o := newOffice(nil)
	q, s := &tap{Store: o.Store}, &server{}
	o.queue, o.sender = q, s
	return o, q, s
}

// lease returns the lease in a document.
func (o *office) lease(id string) delivery.Lease { return delivery.ReadRecord(o.Get(id)).Lease }

func (o *office) class(id string) delivery.Class { return delivery.ReadRecord(o.Get(id)).Class }

// edit changes a document's record as an operator does.
func (o *office) edit(id string, set delivery.Fields) {
	o.Update(id, func(f delivery.Fields) {
		record := f["delivery"].(delivery.Fields)
		for name, v := range set {
			record[name] = v
		}
	})
}

// errors returns how many log lines are of a level.
func (o *office) lines(level string) int { return strings.Count(o.log.String(), `"level":"`+level+`"`) }
