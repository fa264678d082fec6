package smtp

import (
	"context"
	"errors"
	"testing"
	"time"

	"postrider/smtp/smtptest"
)

func TestAProbedSessionServesTheNextMail(t *testing.T) {
	t.Parallel()
	s := sink(t, smtptest.Behaviour{StartTLS: true, AuthUsers: map[string]string{"u": "p"}})
	p := pool(t, s.Addr(), Options{TLS: s.TLSConfig(), Username: "u", Password: "p", MaxMessages: 1})
	if err := p.Probe(t.Context()); err != nil {
		t.Fatal(err)
	}
	all := s.Sessions()
	if len(all) != 1 || !all[0].TLS || all[0].Auth == nil || len(all[0].Transactions) != 0 {
		t.Errorf("after the probe: %+v", all)
	}
	if _, err := p.Send(t.Context(), t.Context(), letter()); err != nil {
		t.Error(err)
	}
	if n := s.Stats().Connections; n != 1 {
		t.Errorf("%d connections", n)
	}
}

func TestAProbeOpensASessionEvenIfOneIsKept(t *testing.T) {
	t.Parallel()
	s := sink(t, smtptest.Behaviour{})
	p := pool(t, s.Addr(), Options{MaxConnections: 1})
	for range 3 {
		if err := p.Probe(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	if n := len(p.idle); s.Stats().Connections != 3 || n != 1 {
		t.Errorf("%d connections, %d kept, want 3 and 1", s.Stats().Connections, n)
	}
	if err := s.SetBehaviour(smtptest.Behaviour{Down: true}); err != nil {
		t.Fatal(err)
	}
	if e := expect(t, p.Probe(t.Context()), StageConnect, CauseRefused, true); !e.Unreachable() || inUse(p) != 0 {
		t.Errorf("%v, %d slots are taken", e, inUse(p))
	}
}

func TestAProbeFailsAsAMailWould(t *testing.T) {
	t.Parallel()
	s := sink(t, smtptest.Behaviour{AuthUsers: map[string]string{"u": "q"}})
	p := pool(t, s.Addr(), Options{Username: "u", Password: "p"})
	if e := expect(t, p.Probe(t.Context()), StageAuth, CauseReply, false); !e.Login() {
		t.Errorf("got %v", e)
	}
	if e := expect(t, pool(t, silence(t), Options{}).Probe(within(t, 50*time.Millisecond)), StageGreeting, CauseTimeout, true); !e.Unreachable() {
		t.Errorf("got %v", e)
	}
	p = taken(t)
	e := expect(t, p.Probe(within(t, 10*time.Millisecond)), StageConnect, CauseTimeout, true)
	if e.Unreachable() {
		t.Errorf("while it waited: %v", e)
	}
	stopped, stop := context.WithCancel(t.Context())
	stop()
	expect(t, p.Probe(stopped), StageConnect, CauseCancelled, true)
	p.Close()
	if err := p.Probe(t.Context()); !errors.Is(err, ErrPoolClosed) {
		t.Errorf("closed: %v", err)
	}
}
