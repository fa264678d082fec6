package smtp

import (
	"context"
	"strings"
	"sync"
	"testing"
	"time"

	"postrider/smtp/smtptest"
)

// A whole session of two mails is run once for every byte that passes in each
// direction, and spoiled there.

func TestASessionSpoiledAtAnyByteTellsTheTruth(t *testing.T) {
	for what, b := range map[string]smtptest.Behaviour{
		"pipelined": {
			Caps:    []string{"PIPELINING", "8BITMIME"},
			Rcpt:    map[string]smtptest.Replies{"ada@rcpt.test": {"250-2.1.5 <ADA@rcpt.test>... and\n250 2.1.5 ada@rcpt.test ok"}},
			DataEnd: smtptest.Replies{"250-2.0.0 well\n250 2.0.0 ada@rcpt.test"},
		},
		"one by one": {Caps: []string{}, Rcpt: map[string]smtptest.Replies{"bad@rcpt.test": {"550-5.1.1 no\n550 5.1.1 such"}}},
	} {
		for _, kind := range []smtptest.Kind{smtptest.Cut, smtptest.Reset, smtptest.Stall, smtptest.Split} {
			for name, d := range map[string]smtptest.Direction{"to server": smtptest.ToServer, "to client": smtptest.ToClient} {
				t.Run(what+"/"+kind.String()+"/"+name, func(t *testing.T) { spoilEveryByte(t, b, false, kind, d) })
			}
		}
	}
}

// The third mail waits for the one connection while the second is sent, so that
// its envelope travels with that one's message.
func TestASessionThatLooksAheadSpoiledAtAnyByteTellsTheTruth(t *testing.T) {
	b := smtptest.Behaviour{
		Rcpt:    map[string]smtptest.Replies{"bad@rcpt.test": {"550-5.1.1 no\n550 5.1.1 such"}},
		DataEnd: smtptest.Replies{"250-2.0.0 well\n250 2.0.0 ada@rcpt.test"},
	}
	for _, kind := range []smtptest.Kind{smtptest.Cut, smtptest.Reset, smtptest.Stall, smtptest.Split} {
		for name, d := range map[string]smtptest.Direction{"to server": smtptest.ToServer, "to client": smtptest.ToClient} {
			t.Run(kind.String()+"/"+name, func(t *testing.T) { spoilEveryByte(t, b, true, kind, d) })
		}
	}
}

func spoilEveryByte(t *testing.T, b smtptest.Behaviour, ahead bool, kind smtptest.Kind, d smtptest.Direction) {
	total := spoil(t, b, ahead, smtptest.Fault{}) // of a whole session
	step := 1
	switch {
	case testing.Short():
		step = 7
	case ahead && kind == smtptest.Stall:
		step = 3 // each takes a while
	}
	slots := make(chan struct{}, 48)
	var wg sync.WaitGroup
	for n := 0; n <= total[d]; n += step {
		slots <- struct{}{}
		wg.Go(func() {
			defer func() { <-slots }()
			spoil(t, b, ahead, smtptest.Fault{Kind: kind, Direction: d, After: n, Times: 1})
		})
	}
	wg.Wait()
}

// spoil sends two mails through a proxy with a fault, or three of which the last
// one waits for the second, and compares what the client believes with what the
// server has. It returns the bytes that passed.
func spoil(t *testing.T, b smtptest.Behaviour, ahead bool, f smtptest.Fault) [2]int {
	s, err := smtptest.Start(b)
	if err != nil {
		t.Error(err)
		return [2]int{}
	}
	defer s.Close()
	x, err := smtptest.NewProxy(s.Addr())
	if err != nil {
		t.Error(err)
		return [2]int{}
	}
	defer x.Close()
	x.SetFault(f)
	p, err := NewPool(Options{Host: "127.0.0.1", Port: x.Port(), Name: "client.test", MaxConnections: 1})
	if err != nil {
		t.Error(err)
		return [2]int{}
	}
	defer p.Close()
	send := func(id string, begin func()) {
		begun := 0
		m := spoilable(id)
		m.Begin = func(bool) error {
			if begun++; begun > 1 || announced(s, m.Envelope.From) > 0 {
				t.Errorf("%+v: mail %s begins for the %d. time, MAIL has come %d times", f, id, begun, announced(s, m.Envelope.From))
			}
			begin()
			return nil
		}
		d := 30 * time.Second
		if f.Kind == smtptest.Stall {
			d = 150 * time.Millisecond
		}
		r, err := sendInTime(t, f, p, d, m)
		checkTruth(t, f, id, r, err, arrivals(s, string(m.Message)))
		if n := announced(s, m.Envelope.From); n > 0 && begun == 0 {
			t.Errorf("%+v: MAIL has come %d times for mail %s, which has not begun", f, n, id)
		}
	}
	send("one", func() {})
	var third sync.WaitGroup
	started := !ahead
	send("two", func() {
		if ahead {
			started = true
			gone := make(chan struct{})
			third.Go(func() {
				defer close(gone)
				send("six", func() {})
			})
			await(t, p, "the third is in line, or has given up", func() bool {
				select {
				case <-gone:
					return true
				default:
					return len(p.line) == 1
				}
			})
		}
	})
	third.Wait()
	if !started {
		send("six", func() {})
	}
	p.Close()
	checkEnvelopes(t, f, s)
	return [2]int{x.Passed(smtptest.ToServer), x.Passed(smtptest.ToClient)}
}

// spoilable is a mail whose message says whose it is.
func spoilable(id string) Mail {
	m := letter("ada@rcpt.test", "bad@rcpt.test")
	m.Envelope.From = id + "@sender.test"
	m.Message = []byte("Subject: " + id + "\r\n\r\n.dot\r\n")
	return m
}

// checkEnvelopes asserts that every message came under its own envelope.
func checkEnvelopes(t *testing.T, f smtptest.Fault, s *smtptest.Server) {
	for _, tx := range s.Transactions() {
		if tx.Data != nil && !strings.HasPrefix(string(tx.Data), "Subject: "+tx.Mail[1:4]+"\r\n") {
			t.Errorf("%+v: %q came as %q", f, tx.Data, tx.Mail)
		}
	}
}

// sendInTime sends m, and fails the test if that outlasts its limit d by so
// much that no slow machine explains it.
func sendInTime(t *testing.T, f smtptest.Fault, p *Pool, d time.Duration, m Mail) (Result, error) {
	limit, stop := context.WithTimeout(t.Context(), d)
	defer stop()
	hangs := time.AfterFunc(d+20*time.Second, func() { t.Errorf("%+v: %s hangs", f, m.Envelope.From) })
	defer hangs.Stop()
	return p.Send(t.Context(), limit, m)
}

// announced counts the MAIL commands that have come from a sender.
func announced(s *smtptest.Server, from string) (n int) {
	for _, tx := range s.Transactions() {
		if strings.HasPrefix(tx.Mail, "<"+from+">") {
			n++
		}
	}
	return n
}

// arrivals counts how often a message arrived whole; anything else that
// arrived is returned as -1.
func arrivals(s *smtptest.Server, message string) (n int) {
	for _, tx := range s.Transactions() {
		switch {
		case tx.Data == nil:
		case string(tx.Data) == message:
			n++
		case len(tx.Data) != len(message):
			return -1
		}
	}
	return n
}

func checkTruth(t *testing.T, f smtptest.Fault, id string, r Result, err error, arrived int) {
	t.Helper()
	if arrived < 0 || arrived > 1 {
		t.Errorf("%+v: mail %s arrived %d times", f, id, arrived)
	}
	if err == nil {
		if arrived != 1 || !r.Reply.Positive() || !r.Recipients[0].Reply.Positive() {
			t.Errorf("%+v: mail %s is said to be delivered: %d arrived, %+v", f, id, arrived, r)
		}
		return
	}
	e := failure(t, err)
	if arrived == 1 && !e.PossiblyAccepted {
		t.Errorf("%+v: mail %s arrived, and the client is sure it did not: %v", f, id, err)
	}
	if e.PossiblyAccepted && (e.Stage != StageMessage || e.Temporary() || e.Unreachable()) {
		t.Errorf("%+v: mail %s: %v", f, id, err)
	}
	checkConversation(t, e, "one@sender.test", "two@sender.test", "six@sender.test", "ada@rcpt.test", "bad@rcpt.test")
	if f.Kind == smtptest.Split || f.Kind == smtptest.None {
		t.Errorf("%+v: mail %s: %v", f, id, err)
	}
}
