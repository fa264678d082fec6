package smtp

import (
	"context"
	"errors"
	"io"
	"net"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// atWork is a session of a pool whose connection nobody answers on, that may
// take envelopes along.
func atWork(t *testing.T, p *Pool) *session {
	ours, theirs := net.Pipe()
	t.Cleanup(func() { ours.Close() })
	go func() { _, _ = io.Copy(io.Discard, theirs) }()
	return &session{
		conn: newConn(ours), o: &p.o, pool: p, opened: time.Now(),
		ext: extensions{pipelining: true}, prompt: true, used: 1,
	}
}

// when waits until nobody has anything to do, and then looks.
func when(p *Pool, ok func() bool) bool {
	synctest.Wait()
	p.mu.Lock()
	defer p.mu.Unlock()
	return ok()
}

// waiter is a mail in line.
type waiter struct {
	t    *turn
	mail *outgoing
	h    hold
	e    *Error
	done chan struct{}
}

// lineUp lets a mail wait, until startBy. It must be in a bubble.
func lineUp(ctx context.Context, t *testing.T, p *Pool, m Mail) *waiter {
	t.Helper()
	out, e := prepare(m)
	if e != nil {
		t.Fatal(e)
	}
	w := &waiter{mail: out, done: make(chan struct{})}
	go func() {
		defer close(w.done)
		if w.h, w.e = p.enter(ctx, context.Background(), out, m.StartBy); w.e == nil {
			p.running.Done()
		}
	}()
	synctest.Wait()
	p.mu.Lock()
	defer p.mu.Unlock()
	w.t = p.line[len(p.line)-1]
	return w
}

func (w *waiter) waits() bool {
	synctest.Wait()
	select {
	case <-w.done:
		return false
	default:
		return true
	}
}

// ahead returns a pool whose one connection is at work, and a mail in line whose
// envelope may travel along on it.
func ahead(t *testing.T, m Mail) (*Pool, *session, *waiter) {
	t.Helper()
	p := taken(t)
	s := atWork(t, p)
	w := lineUp(t.Context(), t, p, m)
	p.lookAhead(s, s.used)
	synctest.Wait()
	return p, s, w
}

// aboard is ahead with the envelope under way.
func aboard(t *testing.T, m Mail) (*Pool, *session, *waiter) {
	t.Helper()
	p, s, w := ahead(t, m)
	if p.board(s) != w.mail {
		t.Fatal("it does not fly")
	}
	return p, s, w
}

func TestWhoComesFirstIsServedFirst(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := taken(t)
		var all []*waiter
		for range 5 {
			all = append(all, lineUp(t.Context(), t, p, letter()))
		}
		gone, leave := context.WithCancel(t.Context())
		quitter := lineUp(gone, t, p, letter())
		all = append(all, lineUp(t.Context(), t, p, letter()))
		leave()
		<-quitter.done
		for i, w := range all {
			p.release()
			if w.waits() || w.e != nil || w.h != (hold{}) {
				t.Errorf("mail %d: %+v, %v", i, w.h, w.e)
			}
			if i+1 < len(all) && !all[i+1].waits() {
				t.Errorf("mail %d was served too", i+1)
			}
		}
		p.release()
		if p.busy != 0 || len(p.line) != 0 {
			t.Errorf("%d connections at work, %d in line", p.busy, len(p.line))
		}
	})
}

func TestAFlownMailIsPatientButNotForLong(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p, s, w := ahead(t, letter())
		time.Sleep(time.Second) // it is ready for longer than it flies
		if p.board(s) != w.mail || !when(p, func() bool { return s.follower == w.t && len(p.line) == 0 }) {
			t.Fatalf("it does not fly: %+v", w.t)
		}
		other := lineUp(t.Context(), t, p, letter())
		time.Sleep(patience - 1)
		if !when(p, func() bool { return s.follower == w.t }) {
			t.Error("its patience was short")
		}
		time.Sleep(time.Nanosecond)
		if !w.waits() || !when(p, func() bool { return s.follower == nil && s.forsaken && len(p.line) == 2 && p.line[0] == w.t }) {
			t.Errorf("it does not step aside: %+v", w.t)
		}
		another := atWork(t, p)
		p.lookAhead(another, 1)
		if p.board(another) != nil || when(p, func() bool { return other.t.asked }) {
			t.Error("an envelope overtakes it, or flies again")
		}
		p.release()
		if w.waits() || w.e != nil || w.h != (hold{}) || !other.waits() {
			t.Errorf("%+v, %v", w.h, w.e)
		}
		p.leave(s)
		if other.waits() || other.h.session != nil {
			t.Errorf("a session that an envelope was left on is used again: %+v", other.h)
		}
	})
}

func TestAFlownMailWithAFreeConnectionBesideTakesIt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p, _, w := aboard(t, letter())
		when(p, func() bool { p.busy--; return true }) // somebody has left, and nobody was in line
		time.Sleep(patience)
		if w.waits() || w.e != nil || w.h != (hold{}) || p.busy != 1 {
			t.Errorf("%+v, %v", w.h, w.e)
		}
	})
}

func TestAPoolThatHasClosedServesNobodyWhoStepsAside(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p, _, w := aboard(t, letter())
		closed := make(chan struct{})
		go func() {
			defer close(closed)
			p.Close()
		}()
		time.Sleep(patience - 1)
		if !w.waits() {
			t.Errorf("a mail that flies is refused: %v", w.e)
		}
		time.Sleep(time.Nanosecond)
		if w.waits() || !errors.Is(w.e, ErrPoolClosed) {
			t.Errorf("%v", w.e)
		}
		<-closed
	})
}

func TestStartByEndsTheWaitOfAFlownMailToo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := letter()
		m.StartBy = time.Now().Add(time.Second)
		_, s, w := aboard(t, m)
		time.Sleep(time.Second)
		if w.waits() || w.e.Cause() != CauseBusy || w.e.Stage != StageConnect || !s.forsaken {
			t.Errorf("%v", w.e)
		}
	})
}

func TestTheCallerIsAskedWhileTheMailBeforeIsSent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := taken(t)
		s, other := atWork(t, p), atWork(t, p)
		begun := [3]int{}
		takes := [3]time.Duration{time.Second, 0, 0}
		var all []*waiter
		for i := range begun {
			m := letter()
			m.Begin = func(fresh bool) error {
				if begun[i]++; fresh {
					t.Error("fresh")
				}
				time.Sleep(takes[i])
				return nil
			}
			all = append(all, lineUp(t.Context(), t, p, m))
		}
		p.lookAhead(s, s.used)
		if synctest.Wait(); begun != [3]int{1, 0, 0} {
			t.Errorf("for one session: %v", begun)
		}
		if p.board(s) != nil {
			t.Error("one flies that has not begun")
		}
		p.lookAhead(s, s.used)
		p.lookAhead(other, other.used)
		if synctest.Wait(); begun != [3]int{1, 1, 0} {
			t.Errorf("for two: %v", begun)
		}
		if p.board(s) != all[1].mail {
			t.Error("who is ready waits for who is not")
		}
		time.Sleep(time.Second)
		synctest.Wait()
		if p.board(other) != all[0].mail {
			t.Error("who is ready now does not fly")
		}
		p.pass(s)
		p.pass(other)
		for _, w := range all[:2] {
			if w.waits() || !w.h.flown || w.mail.begin != nil {
				t.Errorf("%+v", w.h)
			}
		}
		p.release()
		<-all[2].done
	})
}

func TestAMailThatMayNotBeginGivesBackWhatItWasGivenMeanwhile(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := letter()
		m.Begin = func(bool) error {
			time.Sleep(time.Minute)
			return errLeaseLost
		}
		p, s, w := ahead(t, m)
		p.leave(s)
		if !w.t.given {
			t.Error("it was given nothing")
		}
		<-w.done
		if w.e == nil || !errors.Is(w.e, errLeaseLost) || p.busy != 0 || len(p.idle) != 1 {
			t.Errorf("%v; %d at work, %d idle", w.e, p.busy, len(p.idle))
		}
		s.expire.Stop()
	})
}

func TestNoEnvelopeFliesWhereItMayNot(t *testing.T) {
	for what, spoil := range map[string]func(p *Pool, s *session){
		"nothing":            func(*Pool, *session) {},
		"not to":             func(p *Pool, _ *session) { p.o.Pipelining = EnvelopeOnly },
		"not offered":        func(_ *Pool, s *session) { s.ext.pipelining = false },
		"slow":               func(_ *Pool, s *session) { s.prompt = false },
		"the last one":       func(p *Pool, s *session) { p.o.MaxMessages = s.used },
		"too old":            func(_ *Pool, s *session) { s.opened = time.Now().Add(-maxAge) },
		"broken":             func(_ *Pool, s *session) { s.broken = true },
		"closed":             func(p *Pool, _ *session) { p.closed = true },
		"wary":               func(p *Pool, _ *session) { p.beWary(&Error{}) },
		"too large":          func(p *Pool, _ *session) { p.line[0].mail.to = make([]string, maxFlight+1) },
		"its time to start":  func(p *Pool, _ *session) { p.line[0].startBy = time.Now() },
		"the mail's own end": func(p *Pool, _ *session) { p.line[0].over = func() error { return errLeaseLost } },
	} {
		synctest.Test(t, func(t *testing.T) {
			p, s, w := ahead(t, letter())
			spoil(p, s)
			if flies := p.board(s) != nil; flies != (what == "nothing") {
				t.Errorf("%s: it flies: %v", what, flies)
			}
			p.closed = false
			s.broken = true
			w.t.over = func() error { return nil }
			p.leave(s)
			<-w.done
			time.Sleep(wariness - 1)
			if what == "wary" && p.leads(atWork(t, p), 1) {
				t.Error("it does not last")
			}
			if time.Sleep(time.Nanosecond); what == "wary" && !p.leads(atWork(t, p), 1) {
				t.Error("it lasts for ever")
			}
		})
	}
}

func TestAnOldSessionIsNotUsedAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := taken(t)
		p.o.IdleTimeout = time.Hour
		s := atWork(t, p)
		time.Sleep(maxAge - 1)
		p.leave(s)
		if got := p.take(); got != s {
			t.Error("it is not old")
		}
		p.busy = 1
		p.leave(s)
		time.Sleep(time.Nanosecond)
		if got := p.take(); got != nil || len(p.idle) != 0 {
			t.Error("it is used again")
		}
		p.busy = 1
		s = atWork(t, p)
		time.Sleep(maxAge)
		p.leave(s)
		p.running.Wait()
		if len(p.idle) != 0 || p.busy != 0 {
			t.Errorf("%d are kept, %d at work", len(p.idle), p.busy)
		}
	})
}

// shortConn takes so many bytes and then fails; what it answers is fixed.
type shortConn struct {
	net.Conn
	room    int
	answers io.Reader
}

func (c *shortConn) Write(b []byte) (int, error) {
	n := min(len(b), c.room)
	if c.room -= n; n < len(b) {
		return n, io.ErrClosedPipe
	}
	return n, nil
}

func (c *shortConn) Read(b []byte) (int, error)    { return c.answers.Read(b) }
func (c *shortConn) SetDeadline(_ time.Time) error { return nil }

// The envelope behind a message may be written in part or not at all: the mail
// is possibly accepted from its final dot on, and not before.
func TestTheDotIsCountedAndNotTheEnvelopeBehindIt(t *testing.T) {
	const envelope = "MAIL FROM:<default@sender.test>\r\nRCPT TO:<ada@rcpt.test>\r\nDATA\r\n"
	m := letter()
	body := string(m.Message) + ".\r\n"
	for room := len(envelope); room <= len(envelope+body+envelope); room++ {
		synctest.Test(t, func(t *testing.T) {
			p := taken(t)
			s := atWork(t, p)
			ours, _ := net.Pipe()
			s.conn = newConn(&shortConn{ours, room, io.MultiReader(strings.NewReader("250 ok\r\n250 ok\r\n354 go on\r\n"), strings.NewReader("250 taken\r\n"))})
			behind := lineUp(t.Context(), t, p, letter())
			out, _ := prepare(m)
			out.encode(nil)
			_, e := s.send(t.Context(), context.Background(), out, false)
			p.leave(s)
			want := hold{stale: true}
			if room == len(envelope+body+envelope) {
				want = hold{session: s, flown: true}
			}
			if behind.waits() || behind.h != want || room >= len(envelope+body) && e != nil {
				t.Errorf("%d bytes written, taken: %v; behind it: %+v", room, e, behind.h)
			}
		})
		synctest.Test(t, func(t *testing.T) {
			p := taken(t)
			s := atWork(t, p)
			ours, _ := net.Pipe()
			s.conn = newConn(&shortConn{ours, room, strings.NewReader("250 ok\r\n250 ok\r\n354 go on\r\n")})
			behind := lineUp(t.Context(), t, p, letter())
			out, _ := prepare(m)
			out.encode(nil)
			_, e := s.send(t.Context(), context.Background(), out, false)
			p.leave(s)
			flushed := room >= len(envelope+body)
			if e == nil || e.Stage != StageMessage || e.PossiblyAccepted != flushed {
				t.Errorf("%d bytes written: %v, possibly accepted %v", room, e, e.PossiblyAccepted)
			}
			if behind.waits() || behind.e != nil || behind.h != (hold{stale: true}) {
				t.Errorf("%d bytes written: behind it: %+v, %v", room, behind.h, behind.e)
			}
		})
	}
}
