package smtp

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"postrider/smtp/smtptest"
)

// sent is what became of a mail.
type sent struct {
	r   Result
	err error
}

// await returns when done, which it asks with the pool's mutex, says yes.
func await(t testing.TB, p *Pool, what string, done func() bool) {
	t.Helper()
	for end := time.Now().Add(20 * time.Second); ; runtime.Gosched() {
		p.mu.Lock()
		ok := done()
		p.mu.Unlock()
		if ok {
			return
		}
		if time.Now().After(end) {
			t.Errorf("waited in vain until %s", what)
			return
		}
	}
}

// inOrder sends mails over a pool of one connection that is at rest, so that the
// second and all others wait in line, in that order, before the first one begins.
func inOrder(t testing.TB, p *Pool, mails ...Mail) []sent {
	t.Helper()
	out := make([]sent, len(mails))
	var all sync.WaitGroup
	send := func(i int) {
		all.Go(func() { out[i].r, out[i].err = p.Send(t.Context(), t.Context(), mails[i]) })
	}
	begin := mails[0].Begin
	mails[0].Begin = func(fresh bool) error {
		for i := range mails[1:] {
			send(i + 1)
			await(t, p, "the mail is in line", func() bool { return len(p.line) == i+1 })
		}
		if begin != nil {
			return begin(fresh)
		}
		return nil
	}
	send(0)
	all.Wait()
	return out
}

// numbered is a mail that can be told from others.
func numbered(i int) Mail {
	m := letter(fmt.Sprintf("to%d@rcpt.test", i))
	m.Envelope.From = fmt.Sprintf("from%d@sender.test", i)
	m.Message = fmt.Appendf(nil, "Subject: mail %d\r\n\r\nhello\r\n", i)
	return m
}

func numberedUpTo(n int) []Mail {
	var all []Mail
	for i := range n {
		all = append(all, numbered(i))
	}
	return all
}

// checkNumbered asserts that so many numbered mails have arrived, each once and
// whole.
func checkNumbered(t *testing.T, s *smtptest.Server, n int) {
	t.Helper()
	seen := map[string]bool{}
	for _, tx := range s.Transactions() {
		if tx.Data == nil {
			continue
		}
		var i int
		if _, err := fmt.Sscanf(tx.Mail, "<from%d@", &i); err != nil {
			t.Errorf("%q: %v", tx.Mail, err)
			continue
		}
		want := numbered(i)
		if seen[tx.Mail] || len(tx.Rcpt) != 1 || tx.Rcpt[0].To != "<"+want.Envelope.To[0]+">" || string(tx.Data) != string(want.Message) {
			t.Errorf("arrived, once more %v: %+v %q", seen[tx.Mail], tx, tx.Data)
		}
		seen[tx.Mail] = true
	}
	if len(seen) != n {
		t.Errorf("%d mails arrived, want %d", len(seen), n)
	}
}

func TestAnEnvelopeTravelsWithTheMessageBefore(t *testing.T) {
	t.Parallel()
	for what, c := range map[string]struct {
		b    smtptest.Behaviour
		o    Options
		want int32 // of 5 mails, those that begin before the message before them is sent
	}{
		"plain":              {smtptest.Behaviour{}, Options{}, 3},
		"TLS":                {smtptest.Behaviour{StartTLS: true}, Options{StartTLS: Required}, 3},
		"envelope only":      {smtptest.Behaviour{}, Options{Pipelining: EnvelopeOnly}, 0},
		"no pipelining":      {smtptest.Behaviour{}, Options{Pipelining: NoPipelining}, 0},
		"not offered":        {smtptest.Behaviour{Caps: []string{"SIZE"}}, Options{}, 0},
		"three a connection": {smtptest.Behaviour{}, Options{MaxMessages: 3}, 1},
	} {
		t.Run(what, func(t *testing.T) {
			t.Parallel()
			c.b.Delays = map[string]smtptest.Delay{"data": smtptest.Delay(60 * time.Millisecond)} // time to get ready
			s := sink(t, c.b)
			c.o.TLS, c.o.MaxConnections = s.TLSConfig(), 1
			p := pool(t, s.Addr(), c.o)
			mails := numberedUpTo(5)
			var ahead atomic.Int32
			for i := range mails {
				mails[i].Begin = func(fresh bool) error {
					if n := arrivals(s, string(numbered(max(0, i-1)).Message)); i > 0 && n == 0 {
						ahead.Add(1)
						if fresh {
							t.Errorf("mail %d has a session of its own", i)
						}
					}
					return nil
				}
			}
			for i, out := range inOrder(t, p, mails...) {
				if out.err != nil || out.r.Recipients[0].Address != mails[i].Envelope.To[0] {
					t.Errorf("mail %d: %+v", i, out)
				}
			}
			checkNumbered(t, s, 5)
			if got := ahead.Load(); got != c.want {
				t.Errorf("%d mails have begun ahead", got)
			}
		})
	}
}

func TestWhatMayNotFlyIsNotOvertaken(t *testing.T) {
	t.Parallel()
	var many []string
	for i := range maxFlight + 1 {
		many = append(many, fmt.Sprintf("r%d@rcpt.test", i))
	}
	s := sink(t, smtptest.Behaviour{})
	p := pool(t, s.Addr(), Options{MaxConnections: 1})
	mails := numberedUpTo(5)
	mails[3].Envelope.To = many
	inOrder(t, p, mails...)
	var got []string
	for _, tx := range s.Transactions() {
		got = append(got, strings.Fields(tx.Mail)[0])
	}
	var want []string
	for _, m := range mails {
		want = append(want, "<"+m.Envelope.From+">")
	}
	if !slices.Equal(got, want) {
		t.Errorf("they came as %s", got)
	}
}

func TestAMailThatIsNotReadyDoesNotHoldUpTheOneBefore(t *testing.T) {
	t.Parallel()
	s := sink(t, smtptest.Behaviour{})
	p := pool(t, s.Addr(), Options{MaxConnections: 1})
	mails := numberedUpTo(5)
	mails[2].Begin = func(bool) error { // while mail 1 is sent
		return s.Await(t.Context(), func([]smtptest.Session) bool { return arrivals(s, string(mails[1].Message)) == 1 })
	}
	mails[3].Begin = func(bool) error { return errLeaseLost }
	out := inOrder(t, p, mails...)
	for i, o := range out {
		if i == 3 {
			if e := expect(t, o.err, StageMail, CauseCaller, true); !errors.Is(e, errLeaseLost) || e.Recipients != nil {
				t.Errorf("not let begin: %v", e)
			}
		} else if o.err != nil {
			t.Errorf("mail %d: %v", i, o.err)
		}
	}
	checkNumbered(t, s, 4)
	if n := s.Stats().Connections; n != 1 || announced(s, mails[3].Envelope.From) != 0 {
		t.Errorf("%d connections; MAIL came for the one that was not let begin: %d", n, announced(s, mails[3].Envelope.From))
	}
}

// flying sends mails 0, 1 and 2 in order to a server that keeps its reply to
// message 1 back, calls f when the envelope of mail 2 has flown with that, and
// lets the server reply when f has returned. F learns when Send of mail 2 returned.
func flying(ctx, limit context.Context, t *testing.T, s *smtptest.Server, p *Pool, f func(returned <-chan struct{})) (before, flown sent) {
	if _, err := p.Send(t.Context(), t.Context(), numbered(0)); err != nil {
		t.Fatal(err)
	}
	reply := make(chan struct{})
	if err := s.SetBehaviour(smtptest.Behaviour{Hold: reply}); err != nil {
		t.Fatal(err)
	}
	var both sync.WaitGroup
	lined, returned := make(chan struct{}), make(chan struct{})
	m := numbered(1)
	m.Begin = func(bool) error {
		both.Go(func() {
			defer close(returned)
			flown.r, flown.err = p.Send(ctx, limit, numbered(2))
		})
		await(t, p, "the mail is in line", func() bool { return len(p.line) == 1 })
		close(lined)
		return nil
	}
	both.Go(func() { before.r, before.err = p.Send(t.Context(), t.Context(), m) })
	<-lined
	await(t, p, "it has flown", func() bool { return len(p.line) == 0 })
	f(returned)
	close(reply)
	both.Wait()
	if err := s.SetBehaviour(smtptest.Behaviour{}); err != nil {
		t.Fatal(err)
	}
	return before, flown
}

func TestAMailThatEndsWhileItsEnvelopeFliesIsNotSentByAnybody(t *testing.T) {
	t.Parallel()
	for what, c := range map[string]struct {
		cause error
		limit bool
		want  Cause
	}{
		"drained":      {errLeaseLost, false, CauseCancelled},
		"limit passed": {fmt.Errorf("lease: %w", context.DeadlineExceeded), true, CauseTimeout},
	} {
		s := sink(t, smtptest.Behaviour{})
		p := pool(t, s.Addr(), Options{MaxConnections: 1})
		ending, end := context.WithCancelCause(t.Context())
		ctx, limit := ending, t.Context()
		if c.limit {
			ctx, limit = limit, ending
		}
		before, flown := flying(ctx, limit, t, s, p, func(returned <-chan struct{}) {
			end(c.cause)
			<-returned
		})
		if before.err != nil {
			t.Errorf("%s: the mail before: %v", what, before.err)
		}
		e := expect(t, flown.err, StageMail, c.want, true)
		if !errors.Is(e, c.cause) || e.PossiblyAccepted || e.Unreachable() || len(e.Recipients) != 1 || e.Command != "MAIL FROM" {
			t.Errorf("%s: %+v", what, e)
		}
		if _, err := p.Send(t.Context(), t.Context(), numbered(3)); err != nil {
			t.Errorf("%s: the mail after: %v", what, err)
		}
		p.Close()
		checkNumbered(t, s, 3)
		if n := s.Stats(); n.Connections != 2 || n.Messages != 3 || announced(s, numbered(2).Envelope.From) != 1 {
			t.Errorf("%s: %+v", what, n)
		}
	}
}

func TestAPoolThatClosesSendsWhatHasFlown(t *testing.T) {
	t.Parallel()
	s := sink(t, smtptest.Behaviour{})
	p := pool(t, s.Addr(), Options{MaxConnections: 1})
	var closed sync.WaitGroup
	before, flown := flying(t.Context(), t.Context(), t, s, p, func(<-chan struct{}) {
		closed.Go(func() { p.Close() })
		<-p.done
	})
	closed.Wait()
	if before.err != nil || flown.err != nil {
		t.Errorf("%v, %v", before.err, flown.err)
	}
	checkNumbered(t, s, 3)
	if n := inUse(p); n != 0 {
		t.Errorf("%d connections are at work", n)
	}
}

func TestAMailWhoseEnvelopeBrokeWithTheMailBeforeIsTriedAnew(t *testing.T) {
	t.Parallel()
	for what, c := range map[string]struct {
		b        smtptest.Behaviour
		possibly bool // the mail before
		wary     bool
	}{
		"the connection":   {smtptest.Behaviour{DropAt: "dataEnd"}, true, false},
		"a farewell":       {smtptest.Behaviour{DataEnd: smtptest.Replies{"421 4.3.2 going down"}}, false, false},
		"MAIL is unknown":  {smtptest.Behaviour{Mail: smtptest.Replies{"250 ok", "503 5.5.1 bad sequence"}}, false, true},
		"MAIL comes back":  {smtptest.Behaviour{Mail: smtptest.Replies{"250 ok", "421 4.7.0 enough for you"}}, false, false},
		"a reply too many": {smtptest.Behaviour{DataEnd: smtptest.Replies{"250 ok\n250 really"}}, false, true},
	} {
		t.Run(what, func(t *testing.T) {
			t.Parallel()
			s := sink(t, smtptest.Behaviour{})
			told := 0
			p := pool(t, s.Addr(), Options{MaxConnections: 1, Wary: func(e *Error) {
				if told++; !outOfStep(e) {
					t.Errorf("wary for %v", e)
				}
			}})
			if _, err := p.Send(t.Context(), t.Context(), numbered(0)); err != nil {
				t.Fatal(err)
			}
			if err := s.SetBehaviour(c.b); err != nil {
				t.Fatal(err)
			}
			mails := []Mail{numbered(1), numbered(2)}
			mails[1].Open = func() error { return s.SetBehaviour(smtptest.Behaviour{}) }
			out := inOrder(t, p, mails...)
			switch {
			case c.possibly:
				if e := failure(t, out[0].err); !e.PossiblyAccepted || strings.Contains(fmt.Sprint(e.Conversation), "250 2.1.0 Ok\nC: MAIL") {
					t.Errorf("the mail before: %v", e)
				}
			case what == "a farewell":
				expect(t, out[0].err, StageMessage, CauseReply, true)
			case out[0].err != nil:
				t.Errorf("the mail before: %v", out[0].err)
			}
			if out[1].err != nil {
				t.Errorf("the mail that had flown: %v", out[1].err)
			}
			p.Close()
			checkNumbered(t, s, 3)
			if n := s.Stats().Connections; n != 2 {
				t.Errorf("%d connections", n)
			}
			if got := time.Now().Before(p.wary); got != c.wary || told != map[bool]int{true: 1}[c.wary] {
				t.Errorf("nothing flies any more: %v, told %d times", got, told)
			}
		})
	}
}

// A kept connection may be as dead as the one the envelope has flown on.
func TestAMailWhoseEnvelopeBrokeWithTheMailBeforeGetsAConnectionOfItsOwn(t *testing.T) {
	t.Parallel()
	s := sink(t, smtptest.Behaviour{})
	p := pool(t, s.Addr(), Options{})
	if err := p.Probe(t.Context()); err != nil {
		t.Fatal(err)
	}
	m, _ := prepare(letter())
	m.encode(nil)
	if _, e := p.enter(t.Context(), t.Context(), m, time.Time{}); e != nil {
		t.Fatal(e)
	}
	_, e := p.attempt(t.Context(), t.Context(), m, hold{stale: true})
	p.running.Done()
	if n := s.Stats().Connections; e != nil || n != 2 {
		t.Errorf("%v, %d connections", e, n)
	}
}

// A mail that finds no session says so before the next one has its place.
func TestTheCallerHearsOfNoSessionBeforeTheNextMailIsAsked(t *testing.T) {
	t.Parallel()
	s := sink(t, smtptest.Behaviour{Greeting: "421 later"})
	p := pool(t, s.Addr(), Options{MaxConnections: 1})
	var heard, asked atomic.Int32
	m := numbered(0)
	m.Open = func() error {
		if n, h := asked.Add(1), heard.Load(); n != h+1 {
			t.Errorf("asked for the %d. time, heard %d times", n, h)
		}
		return nil
	}
	m.NoSession = func(e *Error) {
		if heard.Add(1); !e.Unreachable() || e.Stage != StageGreeting || inUse(p) != 1 {
			t.Errorf("%v, %d connections at work", e, inUse(p))
		}
	}
	var all sync.WaitGroup
	for range 8 {
		all.Go(func() {
			_, err := p.Send(t.Context(), t.Context(), m)
			expect(t, err, StageGreeting, CauseReply, true)
		})
	}
	all.Wait()
	if heard.Load() != 8 {
		t.Errorf("heard %d times", heard.Load())
	}
	m.Open = func() error { return errLeaseLost }
	_, err := p.Send(t.Context(), t.Context(), m)
	expect(t, err, StageConnect, CauseCaller, true)
	stopped, stop := context.WithCancel(t.Context())
	m.Open = func() error { stop(); return nil }
	_, err = p.Send(stopped, t.Context(), m)
	expect(t, err, StageConnect, CauseCancelled, true)
	if heard.Load() != 8 {
		t.Error("heard of what the caller has stopped")
	}
}
