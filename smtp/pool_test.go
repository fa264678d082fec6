package smtp

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"postrider/smtp/smtptest"
)

func TestOptionsAreCheckedAllAtOnce(t *testing.T) {
	_, err := NewPool(Options{
		Host: "a b", Port: 70000, Name: "x\r\nRSET", Mechanism: "NTLM", LocalAddress: "here",
		MaxMessages: -1, SocketTimeout: -1, OAuth2: &OAuth2{TokenURL: "token", User: "a\nb"},
	})
	if err == nil {
		t.Fatal("no error")
	}
	for _, want := range []string{"host", "port 70000", "name", "NTLM", "local address", "negative", "timeouts", "client ID", "refresh token", "control", "token URL"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("%q is missing in:\n%v", want, err)
		}
	}
}

func TestConnectionsAreUsedAgainAndBounded(t *testing.T) {
	t.Parallel()
	s := sink(t, smtptest.Behaviour{})
	p := pool(t, s.Addr(), Options{MaxConnections: 3})
	var wg sync.WaitGroup
	for i := range 60 {
		wg.Go(func() {
			if _, err := p.Send(t.Context(), t.Context(), letter(fmt.Sprintf("r%d@rcpt.test", i))); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if n := s.Stats().Connections; n > 3 {
		t.Errorf("%d connections", n)
	}
	seen := map[string]bool{}
	for _, tx := range s.Transactions() {
		seen[tx.Rcpt[0].To] = true
		if string(tx.Data) != string(letter().Message) {
			t.Errorf("arrived: %q", tx.Data)
		}
	}
	if len(seen) != 60 {
		t.Errorf("%d mails arrived", len(seen))
	}
}

func TestAConnectionEndsAfterMaxMessages(t *testing.T) {
	t.Parallel()
	s := sink(t, smtptest.Behaviour{})
	p := pool(t, s.Addr(), Options{MaxMessages: 2})
	for range 5 {
		if _, err := p.Send(t.Context(), t.Context(), letter()); err != nil {
			t.Fatal(err)
		}
	}
	p.Close()
	all := s.Sessions()
	if len(all) != 3 || len(all[0].Transactions) != 2 || len(all[2].Transactions) != 1 {
		t.Errorf("sessions: %+v", all)
	}
	for _, r := range all {
		if count(r.Commands, "QUIT") != 1 {
			t.Errorf("no farewell: %q", r.Commands)
		}
	}
}

func TestIdleConnectionsAreClosed(t *testing.T) {
	t.Parallel()
	s := sink(t, smtptest.Behaviour{})
	p := pool(t, s.Addr(), Options{IdleTimeout: 10 * time.Millisecond})
	if _, err := p.Send(t.Context(), t.Context(), letter()); err != nil {
		t.Fatal(err)
	}
	err := s.Await(t.Context(), func(all []smtptest.Session) bool { return count(all[0].Commands, "QUIT") == 1 })
	if err != nil {
		t.Fatal(err)
	}
	if _, err := p.Send(t.Context(), t.Context(), letter()); err != nil {
		t.Fatal(err)
	}
}

func TestWaitingForASlotHonoursContextLimitAndClose(t *testing.T) {
	t.Parallel()
	s := sink(t, smtptest.Behaviour{HangAt: "dataEnd"})
	p := pool(t, s.Addr(), Options{MaxConnections: 1})
	first := make(chan error, 1)
	limit := within(t, time.Second)
	go func() {
		_, err := p.Send(t.Context(), limit, letter())
		first <- err
	}()
	if err := s.Await(t.Context(), sentOnce); err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithTimeout(t.Context(), 10*time.Millisecond)
	defer stop()
	_, err := p.Send(ctx, t.Context(), letter())
	expect(t, err, StageConnect, CauseTimeout, true)
	_, err = p.Send(t.Context(), within(t, 10*time.Millisecond), letter())
	expect(t, err, StageConnect, CauseTimeout, true)
	cancelled, cancel := context.WithCancel(t.Context())
	cancel()
	_, err = p.Send(cancelled, t.Context(), letter())
	expect(t, err, StageConnect, CauseCancelled, true)

	waiting := make(chan error, 1)
	go func() {
		_, err := p.Send(t.Context(), t.Context(), letter())
		waiting <- err
	}()
	p.Close()
	if err := <-waiting; !errors.Is(err, ErrPoolClosed) {
		t.Errorf("waiting when the pool closed: %v", err)
	}
	if e := failure(t, <-first); !e.PossiblyAccepted {
		t.Errorf("Close waited for it, but: %v", e)
	}
	_, err = p.Send(t.Context(), t.Context(), letter())
	expect(t, err, StageConnect, CauseLocal, true)
}

func TestADeadKeptConnectionIsReplacedOnce(t *testing.T) {
	t.Parallel()
	for _, kind := range []smtptest.Kind{smtptest.Cut, smtptest.Reset} {
		s := sink(t, smtptest.Behaviour{})
		x, err := smtptest.NewProxy(s.Addr())
		if err != nil {
			t.Fatal(err)
		}
		p := pool(t, x.Addr(), Options{})
		if _, err := p.Send(t.Context(), t.Context(), letter()); err != nil {
			t.Fatal(err)
		}
		n := x.Passed(smtptest.ToServer)
		p.Close()
		x.SetFault(smtptest.Fault{Kind: kind, After: n + 1, Times: 1})
		p = pool(t, x.Addr(), Options{})
		for range 3 {
			if _, err := p.Send(t.Context(), t.Context(), letter()); err != nil {
				t.Error(err)
			}
		}
		if got := s.Stats(); got.Connections != 3 || got.Messages != 4 {
			t.Errorf("kind %v: %+v", kind, got)
		}
		p.Close()
		x.Close()
	}
}

func TestNothingIsRetriedAfterTheMessage(t *testing.T) {
	t.Parallel()
	s := sink(t, smtptest.Behaviour{})
	p := pool(t, s.Addr(), Options{})
	if _, err := p.Send(t.Context(), t.Context(), letter()); err != nil {
		t.Fatal(err)
	}
	if err := s.SetBehaviour(smtptest.Behaviour{DropAt: "dataEnd"}); err != nil {
		t.Fatal(err)
	}
	_, err := p.Send(t.Context(), t.Context(), letter())
	if e := failure(t, err); !e.PossiblyAccepted {
		t.Errorf("got %v", e)
	}
	if got := s.Stats(); got.Messages != 2 || got.Connections != 1 {
		t.Errorf("%+v", got)
	}
}

func TestSecretsPrintAsSuch(t *testing.T) {
	o := Options{Password: "hunter2", OAuth2: &OAuth2{RefreshToken: "hunter2"}}
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%d"} {
		if got := fmt.Sprintf(verb+verb, o, *o.OAuth2); strings.Contains(got, "hunter2") || strings.Contains(got, "68756e74657232") {
			t.Errorf("%s: %s", verb, got)
		}
	}
}
