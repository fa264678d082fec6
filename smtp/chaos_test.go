package smtp

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"
)

// A server that refuses, leaves, hangs up, tears replies apart and takes its time
// at random, and remembers what it has taken. With it many mails, each with a
// sender, recipients and a body of its own, go over few connections.

func TestUnderChaosNoMailTakesAnothersPlace(t *testing.T) {
	t.Parallel()
	seeds := uint64(12)
	if testing.Short() {
		seeds = 3
	}
	for seed := range seeds {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			t.Parallel()
			runChaos(t, seed)
		})
	}
}

func runChaos(t *testing.T, seed uint64) {
	c := startChaos(t, seed)
	p := pool(t, c.l.Addr().String(), Options{MaxConnections: 4, MaxMessages: int(seed%3) * 20, SocketTimeout: 25 * time.Second})
	const mails, senders = 600, 24
	var all sync.WaitGroup
	for sender := range senders {
		all.Go(func() {
			rnd := rand.New(rand.NewPCG(seed, uint64(sender)))
			for i := sender; i < mails; i += senders {
				c.send(t, p, i, rnd)
			}
		})
	}
	all.Wait()
	p.Close()
	c.l.Close()
	c.running.Wait()
	if n := inUse(p); n != 0 || p.lookouts != 0 || len(p.line) != 0 || len(p.spread.inUse) != 0 {
		t.Errorf("left behind: %d connections at work, %d looking, %d in line, %v", n, p.lookouts, len(p.line), p.spread.inUse)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.ahead < 20 {
		t.Errorf("only %d envelopes flew with a message: the test means little", c.ahead)
	}
	t.Logf("%d accepted, %d envelopes flew ahead", len(c.taken), c.ahead)
}

// chaos is the server.
type chaos struct {
	l       net.Listener
	running sync.WaitGroup

	mu    sync.Mutex
	begun map[string]int   // sender to how often its mail has begun
	taken map[string][]got // sender to what was accepted of it
	ahead int
	wrong []string
}

type got struct {
	to   []string
	body string
}

func startChaos(t *testing.T, seed uint64) *chaos {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	c := &chaos{l: l, begun: map[string]int{}, taken: map[string][]got{}}
	c.running.Go(func() {
		for n := uint64(0); ; n++ {
			nc, err := l.Accept()
			if err != nil {
				return
			}
			c.running.Go(func() {
				defer nc.Close()
				_ = nc.SetDeadline(time.Now().Add(30 * time.Second))
				s := &chaosSession{chaos: c, nc: nc, in: bufio.NewReaderSize(nc, 256<<10), rnd: rand.New(rand.NewPCG(seed, 1000+n))}
				s.serve()
			})
		}
	})
	t.Cleanup(func() { l.Close() })
	return c
}

// send sends mail i and compares what comes of it with what the server knows.
func (c *chaos) send(t *testing.T, p *Pool, i int, rnd *rand.Rand) {
	from := fmt.Sprintf("from%d@sender.test", i)
	m := Mail{Envelope: Envelope{From: from}}
	for r := range 1 + rnd.IntN(3) {
		m.Envelope.To = append(m.Envelope.To, fmt.Sprintf("to%d-%d@rcpt.test", i, r))
	}
	end := []string{"\r\n", "\r\n.dot\r\n", "\n.\nbare\r\n", ""}[rnd.IntN(4)]
	text := fmt.Sprintf("Subject: mail %d\r\n\r\n%s%s", i, strings.Repeat(fmt.Sprintf("line of %d\r\n", i), rnd.IntN(3000)*rnd.IntN(2)), end)
	m.Message = []byte(text)
	m.Open = func() error { // what the server says of envelopes that fly is not to end it
		p.mu.Lock()
		defer p.mu.Unlock()
		p.wary = time.Time{}
		return nil
	}
	takes := max(0, rnd.IntN(40)-35) * 50
	m.Begin = func(bool) error {
		yield(takes)
		c.mu.Lock()
		defer c.mu.Unlock()
		c.begun[from]++
		return nil
	}
	ctx, limit := t.Context(), t.Context()
	if rnd.IntN(12) == 0 {
		brief, stop := context.WithTimeoutCause(ctx, time.Duration(rnd.IntN(8))*time.Millisecond, errLeaseLost)
		defer stop()
		ctx = brief
	}
	if rnd.IntN(20) == 0 {
		brief, stop := context.WithTimeout(limit, time.Duration(rnd.IntN(12))*time.Millisecond)
		defer stop()
		limit = brief
	}
	if rnd.IntN(20) == 0 {
		m.StartBy = time.Now().Add(time.Duration(rnd.IntN(8)) * time.Millisecond)
	}
	r, err := p.Send(ctx, limit, m)
	var e *Error
	if errors.As(err, &e) && e.Cause() == CauseTimeout && over(limit) == nil && over(ctx) == nil {
		t.Errorf("%s waited in vain: %v", from, err)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.check(t, m, r, err)
}

// check compares. The caller holds c.mu.
func (c *chaos) check(t *testing.T, m Mail, r Result, err error) {
	from := m.Envelope.From
	taken := c.taken[from]
	var e *Error
	switch {
	case err == nil && len(taken) != 1, len(taken) > 1:
		t.Errorf("%s was taken %d times; %v", from, len(taken), err)
	case err != nil && !errors.As(err, &e):
		t.Errorf("%s: %v", from, err)
	case e != nil && len(taken) > 0 && !e.PossiblyAccepted:
		t.Errorf("%s was taken, and yet %v", from, err)
	}
	if c.begun[from] > 1 {
		t.Errorf("%s has begun %d times", from, c.begun[from])
	}
	if e != nil {
		checkConversation(t, e, "@sender.test", "@rcpt.test")
		r.Recipients = e.Recipients
	}
	for _, w := range c.wrong {
		t.Error(w)
	}
	c.wrong = nil
	if len(taken) == 0 {
		return
	}
	var to []string
	for _, rc := range r.Recipients {
		if rc.Reply.Positive() {
			to = append(to, rc.Address)
		}
	}
	body, _ := travelling(m.Message)
	if strings.Join(taken[0].to, " ") != strings.Join(to, " ") || taken[0].body != string(body) {
		t.Errorf("%s was taken for %v, want %v; the same body: %v", from, taken[0].to, to, taken[0].body == string(body))
	}
}

// yield lets others go first, so many times.
func yield(times int) {
	for range times {
		runtime.Gosched()
	}
}

// chaosSession is the server's side of one connection.
type chaosSession struct {
	*chaos
	nc   net.Conn
	in   *bufio.Reader
	out  []byte
	rnd  *rand.Rand
	from string
	to   []string
	gone bool
}

var errGone = errors.New("gone")

func (s *chaosSession) serve() {
	s.say("220 chaos.test")
	for !s.gone {
		if s.in.Buffered() == 0 && s.flush() != nil {
			return
		}
		line, err := s.in.ReadString('\n')
		if err != nil {
			return
		}
		line = strings.TrimSuffix(line, "\r\n")
		verb, _, _ := strings.Cut(line, " ")
		switch verb {
		case "EHLO":
			s.say("250-chaos.test\r\n250-8BITMIME\r\n250 PIPELINING")
		case "MAIL":
			s.mail(line)
		case "RCPT":
			if s.answer("250 2.1.5 ok", 0.05, 0.002) {
				s.to = append(s.to, strings.TrimSuffix(strings.TrimPrefix(line, "RCPT TO:<"), ">"))
			}
		case "DATA":
			if len(s.to) == 0 {
				s.say("503 5.5.1 no recipients")
			} else if s.answer("354 go on", 0.04, 0.01) && !s.gone && s.message() != nil {
				return
			}
		case "RSET":
			s.from, s.to = "", nil
			s.say("250 ok")
		case "QUIT":
			s.say("221 bye")
			s.gone = true
		default:
			s.note("command %q", line)
			s.say("500 what")
		}
	}
	_ = s.flush()
}

func (s *chaosSession) note(format string, args ...any) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.wrong = append(s.wrong, fmt.Sprintf(format, args...))
}

func (s *chaosSession) mail(line string) {
	from, _, _ := strings.Cut(strings.TrimPrefix(line, "MAIL FROM:<"), ">")
	s.mu.Lock()
	if s.begun[from] == 0 {
		s.wrong = append(s.wrong, line+" came before it had begun")
	}
	s.mu.Unlock()
	switch {
	case s.from != "":
		s.note("%s within a transaction of %s", line, s.from)
		s.say("503 nested MAIL")
	case s.answer("250 2.1.0 ok", 0.06, 0.02):
		s.from, s.to = from, nil
	}
}

// answer gives a good answer, or a bad one with some probability, and says
// which. Rarely it leaves.
func (s *chaosSession) answer(good string, refuse, leave float64) bool {
	switch x := s.rnd.Float64(); {
	case x < refuse:
		s.say([]string{"450 4.2.0 later", "550 5.1.0 no", "503 5.5.1 out of order"}[s.rnd.IntN(3)])
		return false
	case x < refuse+leave/2:
		s.say("421 4.3.2 leaving")
		s.gone = s.rnd.IntN(2) == 0
		return false
	case x < refuse+leave:
		s.gone = true
		return false
	}
	s.say(good)
	return true
}

// message takes a message, and says what comes to its mind.
func (s *chaosSession) message() error {
	if err := s.flush(); err != nil {
		return err
	}
	var body bytes.Buffer
	for {
		line, err := s.in.ReadSlice('\n')
		if err != nil {
			return err
		}
		body.Write(line)
		if string(line) == ".\r\n" {
			break
		}
	}
	if rest, _ := s.in.Peek(s.in.Buffered()); bytes.HasPrefix(rest, []byte("MAIL")) {
		s.mu.Lock()
		s.ahead++
		s.mu.Unlock()
	}
	from, to := s.from, s.to
	s.from, s.to = "", nil
	take := func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.taken[from] = append(s.taken[from], got{to, body.String()})
	}
	if s.rnd.IntN(10) == 0 {
		yield(s.rnd.IntN(500))
	}
	switch x := s.rnd.IntN(100); {
	case x < 84:
		take()
		s.say("250 2.0.0 taken")
	case x < 90:
		s.say("451 4.3.0 not now")
	case x < 94:
		s.say("554 5.7.1 spam")
	case x < 96:
		s.say("421 4.3.2 not taken, leaving")
		s.gone = s.rnd.IntN(2) == 0
	case x < 98: // the fate is unknown
		take()
		return errGone
	default:
		return errGone
	}
	return s.flush()
}

func (s *chaosSession) say(reply string) { s.out = append(append(s.out, reply...), "\r\n"...) }

// flush sends what was said: at once, torn in two, or only a part of it.
func (s *chaosSession) flush() error {
	b := s.out
	s.out = nil
	switch x := s.rnd.IntN(300); {
	case len(b) == 0:
		return nil
	case x == 0:
		_, _ = s.nc.Write(b[:s.rnd.IntN(len(b))])
		return errGone
	case x < 20:
		n := s.rnd.IntN(len(b))
		if _, err := s.nc.Write(b[:n]); err != nil {
			return err
		}
		b = b[n:]
	}
	_, err := s.nc.Write(b)
	return err
}
