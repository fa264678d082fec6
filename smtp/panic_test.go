package smtp

import (
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"postrider/smtp/smtptest"
)

// panics says that f does.
func panics(f func()) (yes bool) {
	defer func() { yes = recover() != nil }()
	f()
	return false
}

func TestAPanicOfTheCallersGivesTheConnectionBack(t *testing.T) {
	t.Parallel()
	for what, c := range map[string]struct {
		b    smtptest.Behaviour
		kept bool // there is a session before
		m    Mail
	}{
		"Begin, fresh": {m: Mail{Begin: func(bool) error { panic("Begin") }}},
		"Begin, kept":  {kept: true, m: Mail{Begin: func(bool) error { panic("Begin") }}},
		"Open":         {m: Mail{Open: func() error { panic("Open") }}},
		"Open, stale":  {kept: true, b: smtptest.Behaviour{DropAt: "mail"}, m: Mail{Open: func() error { panic("Open") }}},
		"NoSession":    {b: smtptest.Behaviour{Greeting: "421 later"}, m: Mail{NoSession: func(*Error) { panic("NoSession") }}},
	} {
		t.Run(what, func(t *testing.T) {
			t.Parallel()
			s := sink(t, smtptest.Behaviour{})
			p := pool(t, s.Addr(), Options{MaxConnections: 1})
			if c.kept {
				if err := p.Probe(t.Context()); err != nil {
					t.Fatal(err)
				}
			}
			if err := s.SetBehaviour(c.b); err != nil {
				t.Fatal(err)
			}
			m := letter()
			m.Begin, m.Open, m.NoSession = c.m.Begin, c.m.Open, c.m.NoSession
			if !panics(func() { _, _ = p.Send(t.Context(), t.Context(), m) }) {
				t.Error("it is swallowed")
			}
			if err := s.SetBehaviour(smtptest.Behaviour{}); err != nil {
				t.Fatal(err)
			}
			if n := inUse(p); n != 0 || len(p.spread.inUse) != len(p.idle) {
				t.Fatalf("%d connections are at work, %d kept, %v", n, len(p.idle), p.spread.inUse)
			}
			if _, err := p.Send(t.Context(), t.Context(), letter()); err != nil {
				t.Errorf("the next mail: %v", err)
			}
		})
	}
}

func TestAMailInLineThatPanicsLeavesIt(t *testing.T) {
	for _, given := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			p := taken(t)
			s := atWork(t, p)
			m := letter()
			m.Begin = func(bool) error {
				time.Sleep(time.Second)
				panic("Begin")
			}
			var waits sync.WaitGroup
			waits.Go(func() {
				if !panics(func() { _, _ = p.Send(t.Context(), t.Context(), m) }) {
					t.Error("it is swallowed")
				}
			})
			synctest.Wait()
			p.lookAhead(s, s.used)
			synctest.Wait()
			if given {
				p.leave(s)
			}
			waits.Wait()
			if !given {
				p.leave(s)
			}
			if inUse(p) != 0 || len(p.line) != 0 || len(p.idle) != 1 {
				t.Errorf("given a session %v: %d at work, %d in line, %d idle", given, inUse(p), len(p.line), len(p.idle))
			}
			p.Close() // it waits for nobody
		})
	}
}

func TestWaryIsToldOncePerSwitchAndUnderNoLock(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p, told, why := taken(t), 0, &Error{}
		p.o.Wary = func(e *Error) {
			if told++; e != why || inUse(p) != 1 {
				t.Errorf("told of %v", e)
			}
		}
		p.beWary(why)
		p.beWary(why) // of another envelope that was under way
		if told != 1 {
			t.Errorf("told %d times", told)
		}
		time.Sleep(wariness)
		if p.beWary(why); told != 2 {
			t.Errorf("an hour later: told %d times", told)
		}
		p.o.Wary = nil
		time.Sleep(wariness)
		p.beWary(why)
	})
}
