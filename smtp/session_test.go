package smtp

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
	"testing"
	"time"

	"postrider/smtp/smtptest"
)

func TestFailuresNameStageAndCause(t *testing.T) {
	t.Parallel()
	short := Options{GreetingTimeout: 50 * time.Millisecond, SocketTimeout: 50 * time.Millisecond}
	for what, c := range map[string]struct {
		b         smtptest.Behaviour
		o         Options
		stage     Stage
		cause     Cause
		temporary bool
		possibly  bool
	}{
		"down":              {b: smtptest.Behaviour{Down: true}, stage: StageConnect, cause: CauseRefused, temporary: true},
		"greeting hangs":    {b: smtptest.Behaviour{HangAt: "greeting"}, o: short, stage: StageGreeting, cause: CauseTimeout, temporary: true},
		"greeting drops":    {b: smtptest.Behaviour{DropAt: "greeting"}, stage: StageGreeting, cause: CauseClosed, temporary: true},
		"greeting 554":      {b: smtptest.Behaviour{Greeting: "554 no"}, stage: StageGreeting, cause: CauseReply},
		"greeting 421":      {b: smtptest.Behaviour{Greeting: "421 later"}, stage: StageGreeting, cause: CauseReply, temporary: true},
		"greeting nonsense": {b: smtptest.Behaviour{Greeting: "SSH-2.0-OpenSSH"}, stage: StageGreeting, cause: CauseProtocol, temporary: true},
		"EHLO hangs":        {b: smtptest.Behaviour{HangAt: "ehlo"}, o: short, stage: StageHello, cause: CauseTimeout, temporary: true},
		"EHLO 421":          {b: smtptest.Behaviour{Ehlo: "421 later"}, stage: StageHello, cause: CauseReply, temporary: true},
		"MAIL drops":        {b: smtptest.Behaviour{DropAt: "mail"}, stage: StageMail, cause: CauseClosed, temporary: true},
		"MAIL hangs":        {b: smtptest.Behaviour{HangAt: "mail"}, o: short, stage: StageMail, cause: CauseTimeout, temporary: true},
		"RCPT drops":        {b: smtptest.Behaviour{DropAt: "rcpt"}, stage: StageRcpt, cause: CauseClosed, temporary: true},
		"RCPT 552":          {b: smtptest.Behaviour{RcptDefault: smtptest.Replies{"552 too many"}}, stage: StageRcpt, cause: CauseReply, temporary: true},
		"RCPT nonsense":     {b: smtptest.Behaviour{RcptDefault: smtptest.Replies{"\x00\x01"}}, stage: StageRcpt, cause: CauseProtocol, temporary: true},
		"DATA hangs":        {b: smtptest.Behaviour{HangAt: "data"}, o: short, stage: StageData, cause: CauseTimeout, temporary: true},
		"DATA refused":      {b: smtptest.Behaviour{Data: smtptest.Replies{"554 no"}}, stage: StageData, cause: CauseReply},
		"final drops":       {b: smtptest.Behaviour{DropAt: "dataEnd"}, stage: StageMessage, cause: CauseClosed, possibly: true},
		"final hangs":       {b: smtptest.Behaviour{HangAt: "dataEnd"}, o: short, stage: StageMessage, cause: CauseTimeout, possibly: true},
		"final 354":         {b: smtptest.Behaviour{DataEnd: smtptest.Replies{"354 more"}}, stage: StageMessage, cause: CauseProtocol, possibly: true},
		"final 451":         {b: smtptest.Behaviour{DataEnd: smtptest.Replies{"451 no"}}, stage: StageMessage, cause: CauseReply, temporary: true},
		"no TLS there":      {o: Options{StartTLS: Required}, stage: StageTLS, cause: CauseReply},
		"HELO and TLS":      {b: smtptest.Behaviour{Ehlo: "502 no"}, o: Options{StartTLS: Required}, stage: StageHello, cause: CauseLocal},
		"TLS to plain":      {o: Options{Secure: true}, stage: StageTLS, cause: CauseTLS},
		"STARTTLS hangs":    {b: smtptest.Behaviour{StartTLS: true, HangAt: "starttls"}, o: short, stage: StageTLS, cause: CauseTimeout, temporary: true},
		"unknown CA":        {b: smtptest.Behaviour{StartTLS: true}, stage: StageTLS, cause: CauseTLS},
		"unknown CA, smtps": {b: smtptest.Behaviour{ImplicitTLS: true}, o: Options{Secure: true}, stage: StageTLS, cause: CauseTLS},
		"no password":       {b: smtptest.Behaviour{AuthUsers: map[string]string{}}, o: Options{Username: "u"}, stage: StageAuth, cause: CauseLocal},
		"no user":           {b: smtptest.Behaviour{AuthUsers: map[string]string{}}, o: Options{Password: "p"}, stage: StageAuth, cause: CauseLocal},
		"wrong password":    {b: smtptest.Behaviour{AuthUsers: map[string]string{"u": "q"}}, o: Options{Username: "u", Password: "p"}, stage: StageAuth, cause: CauseReply},
		"AUTH hangs":        {b: smtptest.Behaviour{AuthUsers: map[string]string{}, HangAt: "auth"}, o: Options{Username: "u", Password: "p", SocketTimeout: 50 * time.Millisecond}, stage: StageAuth, cause: CauseTimeout, temporary: true},
		"AUTH for now":      {b: smtptest.Behaviour{AuthUsers: map[string]string{}, AuthReply: "454 4.7.0 later"}, o: Options{Username: "u", Password: "p"}, stage: StageAuth, cause: CauseReply, temporary: true},
	} {
		t.Run(what, func(t *testing.T) {
			t.Parallel()
			_, err := pool(t, sink(t, c.b).Addr(), c.o).Send(t.Context(), t.Context(), letter())
			if e := expect(t, err, c.stage, c.cause, c.temporary); e.PossiblyAccepted != c.possibly {
				t.Errorf("possibly accepted: %v (%v)", e.PossiblyAccepted, e)
			}
			if strings.Contains(err.Error(), "%!") || err.Error() == "" {
				t.Errorf("text: %q", err)
			}
		})
	}
}

func TestUnknownHostIsALookupFailure(t *testing.T) {
	p, err := NewPool(Options{Host: "no-such-host.invalid", Port: 25})
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	_, err = p.Send(t.Context(), t.Context(), letter())
	if e := failure(t, err); e.Stage != StageConnect || e.Cause() != CauseLookup || !e.Temporary() || !e.Unreachable() {
		t.Errorf("got %v: %s", e, e.Cause())
	}
}

func TestTLSIsVerifiedAndUsed(t *testing.T) {
	t.Parallel()
	for what, c := range map[string]struct {
		b    smtptest.Behaviour
		o    Options
		want bool // TLS was used
	}{
		"implicit":             {smtptest.Behaviour{ImplicitTLS: true}, Options{Secure: true}, true},
		"where offered":        {smtptest.Behaviour{StartTLS: true}, Options{}, true},
		"required":             {smtptest.Behaviour{StartTLS: true}, Options{StartTLS: Required}, true},
		"ignored":              {smtptest.Behaviour{StartTLS: true}, Options{StartTLS: Ignore}, false},
		"not offered":          {smtptest.Behaviour{}, Options{}, false},
		"required after HELO?": {smtptest.Behaviour{ImplicitTLS: true, Ehlo: "502 no"}, Options{Secure: true, StartTLS: Required}, true},
	} {
		t.Run(what, func(t *testing.T) {
			t.Parallel()
			s := sink(t, c.b)
			c.o.TLS = s.TLSConfig()
			p := pool(t, s.Addr(), c.o)
			for range 2 {
				if _, err := p.Send(t.Context(), t.Context(), letter()); err != nil {
					t.Fatal(err)
				}
			}
			all := s.Sessions()
			if len(all) != 1 || all[0].TLS != c.want || len(all[0].Transactions) != 2 {
				t.Errorf("sessions: %+v", all)
			}
			if n := count(all[0].Commands, "EHLO"); c.b.StartTLS && c.want && n != 2 {
				t.Errorf("EHLO was said %d times", n)
			}
		})
	}
}

func count(commands []string, verb string) (n int) {
	for _, c := range commands {
		if strings.HasPrefix(c, verb) {
			n++
		}
	}
	return n
}

func TestAnOldTLSVersionIsRefused(t *testing.T) {
	o := Options{Host: "h", Port: 1, TLS: &tls.Config{InsecureSkipVerify: true}}
	if c := o.settle().TLS; c.MinVersion != tls.VersionTLS12 || c.ServerName != "h" || !c.InsecureSkipVerify {
		t.Errorf("got %+v", c)
	}
	if o.TLS.MinVersion != 0 {
		t.Error("the caller's configuration was changed")
	}
}

// A man in the middle may append replies to the go-ahead of STARTTLS: they
// must not be taken for what the server says inside TLS.
func TestRepliesInjectedBeforeTLSAreDiscarded(t *testing.T) {
	s := sink(t, smtptest.Behaviour{StartTLS: true})
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	done := make(chan struct{})
	go func() {
		defer close(done)
		injectAfterGoAhead(l, s.Addr())
	}()
	p := pool(t, l.Addr().String(), Options{TLS: s.TLSConfig()})
	if r, err := p.Send(t.Context(), t.Context(), letter()); err != nil || r.Reply.String() != "250 2.0.0 Ok: queued as SINK" {
		t.Errorf("got %+v, %v", r, err)
	}
	p.Close()
	<-done
}

func injectAfterGoAhead(l net.Listener, server string) {
	c, err := l.Accept()
	if err != nil {
		return
	}
	defer c.Close()
	u, err := net.Dial("tcp", server)
	if err != nil {
		return
	}
	back := make(chan struct{})
	go func() {
		defer close(back)
		defer c.Close()
		b := make([]byte, 4096)
		for {
			n, err := u.Read(b)
			out := b[:n]
			if strings.Contains(string(out), "Ready to start TLS") {
				out = append(slices.Clone(out), "250-evil\r\n250 AUTH PLAIN\r\n"...)
			}
			if _, e := c.Write(out); e != nil || err != nil {
				return
			}
		}
	}()
	b := make([]byte, 4096)
	for {
		n, err := c.Read(b)
		if _, e := u.Write(b[:n]); e != nil || err != nil {
			break
		}
	}
	u.Close()
	<-back
}

func TestTheEndOfTheContextCutsBeforeTheDotOnly(t *testing.T) {
	t.Parallel()
	for _, stage := range []string{"greeting", "ehlo", "mail", "rcpt", "data"} {
		s := sink(t, smtptest.Behaviour{HangAt: stage})
		ctx, stop := context.WithCancelCause(t.Context())
		errDrained := errors.New("drained")
		time.AfterFunc(20*time.Millisecond, func() { stop(errDrained) })
		_, err := pool(t, s.Addr(), Options{}).Send(ctx, t.Context(), letter())
		if e := failure(t, err); e.Cause() != CauseCancelled || !errors.Is(err, errDrained) || e.PossiblyAccepted || !e.Temporary() {
			t.Errorf("%s: got %v", stage, e)
		}
	}
	s := sink(t, smtptest.Behaviour{Delays: map[string]smtptest.Delay{"dataEnd": smtptest.Delay(300 * time.Millisecond)}})
	ctx, stop := context.WithCancel(t.Context())
	go func() {
		_ = s.Await(ctx, sentOnce)
		stop()
	}()
	if _, err := pool(t, s.Addr(), Options{}).Send(ctx, t.Context(), letter()); err != nil {
		t.Errorf("cancelled after the dot: %v", err)
	}
	if ctx.Err() == nil {
		t.Error("the context did not end in time for this test to mean something")
	}
}

func TestManyRecipientsGoInFlightsOfAHundred(t *testing.T) {
	s := sink(t, smtptest.Behaviour{Rcpt: map[string]smtptest.Replies{"r150@rcpt.test": {"550 5.1.1 no"}}})
	p := pool(t, s.Addr(), Options{})
	for _, n := range []int{1, 99, 100, 101, 250, 201} {
		var to []string
		for i := range n {
			to = append(to, fmt.Sprintf("r%d@rcpt.test", i))
		}
		r, err := p.Send(t.Context(), t.Context(), letter(to...))
		if err != nil {
			t.Fatal(err)
		}
		for i, rc := range r.Recipients {
			if rc.Address != to[i] || rc.Reply.Positive() == (i == 150) {
				t.Errorf("%d: %+v", i, rc)
			}
		}
		all := s.Transactions()
		if got := len(all[len(all)-1].Rcpt); got != n {
			t.Errorf("%d recipients arrived of %d", got, n)
		}
	}
}

func TestFlight(t *testing.T) {
	for _, c := range []struct{ next, rcpts, used, want int }{
		{0, 1, 1, 1},
		{1, 1, 1, 2},
		{0, 1, 2, 3},
		{1, 100, 1, 101},
		{0, 100, 2, 102},
		{0, 101, 2, 101},
		{101, 101, 2, 2},
		{1, 101, 1, 100},
		{101, 250, 1, 100},
		{201, 250, 1, 51},
		{201, 200, 1, 1},
	} {
		s := session{used: c.used, ext: extensions{pipelining: true}}
		if got := s.together(c.next, c.rcpts); got != c.want {
			t.Errorf("%+v: %d commands", c, got)
		}
		s.ext.pipelining = false
		if got := s.together(c.next, c.rcpts); got != 1 {
			t.Errorf("%+v without PIPELINING: %d commands", c, got)
		}
	}
}

func TestALargeMessageArrivesWhole(t *testing.T) {
	s := sink(t, smtptest.Behaviour{StartTLS: true})
	m := letter()
	m.Message = []byte(strings.Repeat(".a line of the message\r\n", 100_000))
	if _, err := pool(t, s.Addr(), Options{TLS: s.TLSConfig()}).Send(t.Context(), t.Context(), m); err != nil {
		t.Fatal(err)
	}
	if tx := s.Transactions(); string(tx[0].Data) != string(m.Message) ||
		tx[0].Mail != fmt.Sprintf("<default@sender.test> SIZE=%d", len(m.Message)) {
		t.Errorf("%s: %d bytes arrived", tx[0].Mail, len(tx[0].Data))
	}
}
