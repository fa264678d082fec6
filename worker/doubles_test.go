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

// notBegun and stopped are what the pool says when it was not let begin, and
// when it was cut.
func notBegun(err error) error {
	return &smtp.Error{Stage: smtp.StageMail, Err: marked{err, "the caller did not let it begin"}}
}

func stopped(ctx context.Context, stage smtp.Stage) error {
	return &smtp.Error{Stage: stage, Err: marked{context.Cause(ctx), "cancelled"}}
}

func TestDoublesErrorsHaveTheCausesOfThePool(t *testing.T) {
	for want, err := range map[smtp.Cause]error{
		smtp.CauseCaller: notBegun(errOvertime), smtp.CauseCancelled: stopped(t.Context(), smtp.StageConnect),
	} {
		if e, _ := errors.AsType[*smtp.Error](err); e.Cause() != want {
			t.Errorf("got %q, want %q", e.Cause(), want)
		}
	}
}

// server is a mail server that takes its time, or can't be used.
type server struct {
	takes  time.Duration                                                      // for a session
	answer func(ctx, limit context.Context, m smtp.Mail) (smtp.Result, error) // with a session; nil accepts

	mu     sync.Mutex
	down   *smtp.Error // why there is no session
	tries  int         // of mails, to have one
	trying int         // now
	most   int         // at once
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
	s.count(1)
	err := s.session(ctx)
	s.count(-1)
	if err != nil {
		return smtp.Result{}, err
	}
	if err := m.Begin(true); err != nil {
		return smtp.Result{}, notBegun(err)
	}
	s.mu.Lock()
	s.sent = append(s.sent, m)
	s.mu.Unlock()
	if s.answer == nil {
		return accepted(m)
	}
	return s.answer(ctx, limit, m)
}

func (s *server) count(n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.tries += max(0, n)
	s.trying += n
	s.most = max(s.most, s.trying)
}

func (s *server) Probe(ctx context.Context) error {
	s.mu.Lock()
	s.probes = append(s.probes, time.Now())
	s.mu.Unlock()
	return s.session(ctx)
}

func (s *server) set(down *smtp.Error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.down = down
}

// tried returns how many mails have asked for a session, how many do so now, and
// at most did at once.
func (s *server) tried() (all, now, most int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.tries, s.trying, s.most
}

func (s *server) all() int {
	all, _, _ := s.tried()
	return all
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
