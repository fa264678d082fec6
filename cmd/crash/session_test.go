package main

import (
	"bufio"
	"context"
	"net"
	"strings"
	"testing"
	"time"
)

// talk sends a mail, pipelined, and returns what is answered up to its end.
func talk(t *testing.T, s *mailServer) string {
	t.Helper()
	ctx, end := context.WithCancel(t.Context())
	l, err := s.listen(ctx, "w1")
	if err != nil {
		t.Fatal(err)
	}
	defer s.running.Wait()
	defer end()
	defer func() { _ = l.Close() }()
	c, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = c.Close() }()
	_ = c.SetDeadline(time.Now().Add(20 * time.Second))
	in := bufio.NewReader(c)
	greeting, err := in.ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	answer := greeting
	for _, part := range []string{envelope, message} {
		if _, err := c.Write([]byte(strings.ReplaceAll(part, "\n", "\r\n"))); err != nil {
			break // cut
		}
		for line := ""; err == nil && !strings.HasPrefix(line, "354"); answer += line {
			line, err = in.ReadString('\n')
		}
	}
	return strings.ReplaceAll(answer, "\r\n", "\n")
}

const (
	envelope = "EHLO me\nMAIL FROM:<crash@sender.test>\nRCPT TO:<a.d000010@rcpt.test>\nRCPT TO:<b.d000010@rcpt.test>\nDATA\n"
	message  = "Subject: x\nMessage-ID: <1@x>\n\ntext\n.\nQUIT\n"
)

func TestTheMailServerCountsWhatItAccepts(t *testing.T) {
	for name, c := range map[string]struct {
		habits   habits
		fuse     *fuse  // from RCPT on
		answer   string // its end
		accepted bool
		kept     string
	}{
		"whole":                     {answer: "250 2.0.0 Ok: queued\n221 2.0.0 Bye\n", accepted: true},
		"cut in the message":        {fuse: &fuse{true, 20, blowClose}, answer: "354 Go ahead\n", kept: keptCut},
		"cut before the answers":    {fuse: &fuse{false, 0, blowClose}, answer: "ESMTP\n", kept: keptCut},
		"cut in the final answer":   {fuse: &fuse{false, 134, blowClose}, answer: "250 2.0", accepted: true, kept: keptCut},
		"reset in the final answer": {fuse: &fuse{false, 134, blowReset}, accepted: true, kept: keptCut},
	} {
		j := newJournal(nil)
		s := newMailServer(c.habits, 1, j)
		if c.fuse != nil {
			s.fuses = append(s.fuses, *c.fuse)
		}
		answer := talk(t, s)
		if !strings.HasSuffix(answer, c.answer) {
			t.Errorf("%s: answered %q", name, answer)
		}
		n := s.accepted["d000010"]
		if got := n["a.d000010@rcpt.test"] == 1 && n["b.d000010@rcpt.test"] == 1 && s.owners["<1@x>"]["d000010"]; got != c.accepted {
			t.Errorf("%s: accepted %v of %v", name, n, s.owners)
		}
		if s.kept["d000010"] != c.kept {
			t.Errorf("%s: kept by %q", name, s.kept["d000010"])
		}
		if s.sender("d000010") != "w1" && c.accepted {
			t.Errorf("%s: sent by %q", name, s.sender("d000010"))
		}
	}
}

func TestMoodsAreAsOftenAsTheHabitsSay(t *testing.T) {
	h, n := habits{deferred: 0.2, silent: 0.1, slow: 0.2, slowest: time.Second, long: 0.1}, map[string]int{}
	for i := range 2000 {
		m := h.moodFor(1, docID(i), 1)
		if m != h.moodFor(1, docID(i), 1) {
			t.Fatal("another mood for the same transaction")
		}
		if m.rcpt || m.data || m.dot {
			n["deferred"]++
		}
		switch {
		case m.silent:
			n["silent"]++
		case m.delay >= longMin && m.delay < longMax:
			n["long"]++
		case m.delay >= h.slowest/4 && m.delay < h.slowest:
			n["slow"]++
		}
	}
	for what, want := range map[string]int{"deferred": 400, "silent": 200, "long": 200, "slow": 400} {
		if n[what] < want*3/4 || n[what] > want*5/4 {
			t.Errorf("%s: %d of 2000, want about %d", what, n[what], want)
		}
	}
	if m := h.moodFor(1, docID(1), maxDeferrals+1); m.rcpt || m.data || m.dot {
		t.Error("put off for ever")
	}
}
