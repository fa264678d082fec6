package smtp

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"postrider/smtp/smtptest"
)

var errLeaseLost = errors.New("the lease is lost")

func TestAMailThatMayNotBeginLeavesNoTrace(t *testing.T) {
	t.Parallel()
	s := sink(t, smtptest.Behaviour{AuthUsers: map[string]string{"u": "p"}})
	p := pool(t, s.Addr(), Options{Username: "u", Password: "p", MaxConnections: 1, MaxMessages: 2})
	refused := letter("never@rcpt.test")
	refused.Begin = func(bool) error { return fmt.Errorf("ask: %w", errLeaseLost) }
	for i, m := range []Mail{refused, letter(), refused, refused, letter()} {
		_, err := p.Send(t.Context(), t.Context(), m)
		if m.Begin == nil {
			if err != nil {
				t.Errorf("mail %d: %v", i, err)
			}
			continue
		}
		e := expect(t, err, StageMail, CauseCaller, true)
		if !errors.Is(err, errLeaseLost) || e.Command != "" || e.PossiblyAccepted || e.Unreachable() || e.Recipients != nil {
			t.Errorf("mail %d: %+v", i, e)
		}
	}
	p.Close()
	all := s.Sessions()
	if len(all) != 1 {
		t.Fatalf("%d connections", len(all))
	}
	want := "EHLO AUTH MAIL RCPT DATA MAIL RCPT DATA QUIT"
	var got []string
	for _, c := range all[0].Commands {
		verb, _, _ := strings.Cut(c, " ")
		got = append(got, verb)
	}
	if strings.Join(got, " ") != want {
		t.Errorf("got %s", got)
	}
}

func TestAMailBeginsWithASessionInHandAndOnce(t *testing.T) {
	t.Parallel()
	s := sink(t, smtptest.Behaviour{AuthUsers: map[string]string{"u": "p"}})
	p := pool(t, s.Addr(), Options{Username: "u", Password: "p"})
	begun := 0
	m := letter()
	m.Begin = func(fresh bool) error {
		begun++
		if fresh != (begun == 1) {
			t.Errorf("mail %d has a session of its own: %v", begun, fresh)
		}
		if all := s.Sessions(); len(all) != 1 || count(all[0].Commands, "AUTH") != 1 || count(all[0].Commands, "MAIL") != begun-1 {
			t.Errorf("when mail %d begins: %+v", begun, all)
		}
		return nil
	}
	if _, err := p.Send(t.Context(), t.Context(), m); err != nil {
		t.Fatal(err)
	}
	if err := s.SetBehaviour(smtptest.Behaviour{Mail: smtptest.Replies{"421 idle for too long", "250 ok"}}); err != nil {
		t.Fatal(err)
	}
	if _, err := p.Send(t.Context(), t.Context(), m); err != nil {
		t.Fatal(err)
	}
	if n := s.Stats().Connections; begun != 2 || n != 2 {
		t.Errorf("two mails have begun %d times, over %d connections", begun, n)
	}
}

func TestAMailThatCannotHaveASessionDoesNotBegin(t *testing.T) {
	t.Parallel()
	s := sink(t, smtptest.Behaviour{Greeting: "421 later"})
	m := letter()
	m.Begin = func(bool) error {
		t.Error("it has begun")
		return nil
	}
	_, err := pool(t, s.Addr(), Options{}).Send(t.Context(), t.Context(), m)
	expect(t, err, StageGreeting, CauseReply, true)
}

func TestTheCallerIsAskedBeforeASessionIsOpenedAndOnce(t *testing.T) {
	t.Parallel()
	s := sink(t, smtptest.Behaviour{AuthUsers: map[string]string{"u": "p"}})
	p := pool(t, s.Addr(), Options{Username: "u", Password: "p", MaxConnections: 1})
	asked, before := 0, int64(0)
	m := letter()
	m.Open = func() error {
		asked++
		if n := s.Stats().Connections; n != before || inUse(p) != 1 {
			t.Errorf("when it is asked there are %d connections, want %d; %d slots are taken", n, before, inUse(p))
		}
		return nil
	}
	for _, c := range []struct {
		what        string
		asked       int
		connections int64
	}{
		{"with no session", 1, 1},
		{"with a kept one", 1, 1},
		{"with a dead one", 2, 2},
	} {
		if c.asked == 2 {
			if err := s.SetBehaviour(smtptest.Behaviour{AuthUsers: map[string]string{"u": "p"}, Mail: smtptest.Replies{"421 idle for too long", "250 ok"}}); err != nil {
				t.Fatal(err)
			}
			before = 1
		}
		if _, err := p.Send(t.Context(), t.Context(), m); err != nil {
			t.Errorf("%s: %v", c.what, err)
		}
		if n := s.Stats().Connections; asked != c.asked || n != c.connections {
			t.Errorf("%s: asked %d times, want %d; %d connections, want %d", c.what, asked, c.asked, n, c.connections)
		}
	}
	for range 2 {
		if err := p.Probe(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := p.Send(t.Context(), t.Context(), m); err != nil || asked != 2 {
		t.Errorf("with a probed session: asked %d times, %v", asked, err)
	}
}

func TestAMailForWhichNoSessionMayBeOpenedLeavesNoTrace(t *testing.T) {
	t.Parallel()
	s := sink(t, smtptest.Behaviour{})
	p := pool(t, s.Addr(), Options{MaxConnections: 1})
	m := letter("never@rcpt.test")
	m.Open = func() error { return fmt.Errorf("ask: %w", errLeaseLost) }
	m.Begin = func(bool) error {
		t.Error("it has begun")
		return nil
	}
	refuse := func(what string, connections int64) {
		t.Helper()
		_, err := p.Send(t.Context(), t.Context(), m)
		e := expect(t, err, StageConnect, CauseCaller, true)
		if !errors.Is(err, errLeaseLost) || e.Unreachable() || e.Login() || e.PossiblyAccepted || e.Recipients != nil {
			t.Errorf("%s: %+v", what, e)
		}
		if n := s.Stats().Connections; n != connections || inUse(p) != 0 {
			t.Errorf("%s: %d connections, want %d; %d slots are taken", what, n, connections, inUse(p))
		}
	}
	refuse("with no session", 0)
	refuse("and again", 0)
	if err := s.SetBehaviour(smtptest.Behaviour{Mail: smtptest.Replies{"250 ok", "421 idle for too long", "250 ok"}}); err != nil {
		t.Fatal(err)
	}
	if _, err := p.Send(t.Context(), t.Context(), letter()); err != nil { // the slot is free
		t.Fatal(err)
	}
	begun := 0
	m.Begin = func(fresh bool) error {
		if begun++; fresh {
			t.Error("it has a session of its own")
		}
		return nil
	}
	refuse("with a dead one", 1)
	if _, err := p.Send(t.Context(), t.Context(), letter()); err != nil || begun != 1 {
		t.Errorf("the next mail: %v; the other has begun %d times", err, begun)
	}
	p.Close()
	for _, tx := range s.Transactions() {
		if tx.Data != nil && strings.Contains(tx.Rcpt[0].To, "never") {
			t.Errorf("sent: %+v", tx)
		}
	}
}

func TestAMailThatFindsNoConnectionFreeDoesNotAskForASession(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := taken(t)
		m := letter()
		m.StartBy = time.Now().Add(time.Minute)
		m.Open = func() error {
			t.Error("it has asked")
			return nil
		}
		_, err := p.Send(t.Context(), t.Context(), m)
		expect(t, err, StageConnect, CauseBusy, true)
	})
}

func TestNothingIsSentOfAMailThatWasCutWhileItBegan(t *testing.T) {
	t.Parallel()
	for what, c := range map[string]struct {
		cause error
		want  Cause
		limit bool // is what ends
	}{
		"drained":       {errLeaseLost, CauseCancelled, false},
		"limit passed":  {fmt.Errorf("lease: %w", context.DeadlineExceeded), CauseTimeout, true},
		"limit revoked": {errLeaseLost, CauseCancelled, true},
	} {
		s := sink(t, smtptest.Behaviour{})
		p := pool(t, s.Addr(), Options{})
		if err := p.Probe(t.Context()); err != nil {
			t.Fatal(err)
		}
		ending, end := context.WithCancelCause(t.Context())
		ctx, limit := ending, t.Context()
		if c.limit {
			ctx, limit = limit, ending
		}
		m := letter()
		m.Begin = func(bool) error {
			end(c.cause)
			return nil
		}
		_, err := p.Send(ctx, limit, m)
		if e := expect(t, err, StageMail, c.want, true); !errors.Is(e, c.cause) || e.Unreachable() {
			t.Errorf("%s: %v", what, e)
		}
		p.Close()
		if n := len(s.Transactions()); n != 0 || s.Stats().Connections != 1 {
			t.Errorf("%s: %d transactions, %+v", what, n, s.Stats())
		}
	}
}

// A limit that tells its deadline but has not noticed that it passed: so it is
// in a process that was stopped and goes on.
type asleep struct{ context.Context }

func (asleep) Deadline() (time.Time, bool) { return time.Now(), true }

func TestAProcessThatWakesUpTooLateSendsNothing(t *testing.T) {
	t.Parallel()
	s := sink(t, smtptest.Behaviour{})
	p := pool(t, s.Addr(), Options{})
	_, err := p.Send(t.Context(), asleep{t.Context()}, letter())
	expect(t, err, StageConnect, CauseTimeout, true)
	if n := s.Stats().Connections; n != 0 {
		t.Errorf("%d connections", n)
	}
	if err := p.Probe(t.Context()); err != nil {
		t.Fatal(err)
	}
	end := time.Now().Add(time.Hour)
	m := letter()
	m.Begin = func(bool) error {
		end = time.Now()
		return nil
	}
	_, err = p.Send(t.Context(), movable{t.Context(), &end}, m)
	expect(t, err, StageMail, CauseTimeout, true)
	p.Close()
	if n := len(s.Transactions()); n != 0 {
		t.Errorf("%d transactions", n)
	}
}

// movable is a limit whose deadline moves.
type movable struct {
	context.Context
	end *time.Time
}

func (m movable) Deadline() (time.Time, bool) { return *m.end, true }

func TestWhenAWatchedContextEndsMayBePutOff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		limit, end := context.WithCancelCause(t.Context())
		lease := time.AfterFunc(time.Minute, func() { end(context.DeadlineExceeded) })
		p := taken(t)
		failed := make(chan error)
		began := time.Now()
		go func() {
			_, err := p.Send(t.Context(), limit, letter())
			failed <- err
		}()
		time.Sleep(time.Minute - 1)
		lease.Reset(time.Minute)
		e := expect(t, <-failed, StageConnect, CauseTimeout, true)
		if passed := time.Since(began); passed != 2*time.Minute-1 || e.Unreachable() { // by the bubble's clock
			t.Errorf("after %v: %v", passed, e)
		}
	})
}
