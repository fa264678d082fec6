package smtptest

import (
	"bufio"
	"encoding/json"
	"fmt"
	"net"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// talk sends what is given in one write and returns the reply lines that come
// until the server closes.
func talk(t *testing.T, addr, out string) []string {
	t.Helper()
	c, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if err := c.SetDeadline(time.Now().Add(10 * time.Second)); err != nil {
		t.Fatal(err)
	}
	fmt.Fprint(c, strings.ReplaceAll(out, "\n", "\r\n"))
	var lines []string
	for in := bufio.NewScanner(c); in.Scan(); {
		lines = append(lines, in.Text())
	}
	return lines
}

func start(t *testing.T, behaviour string) *Server {
	t.Helper()
	var b Behaviour
	if err := json.Unmarshal([]byte(behaviour), &b); err != nil {
		t.Fatal(err)
	}
	s, err := Start(b)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

func TestServerFollowsTheCorpusJSON(t *testing.T) {
	s := start(t, `{"caps": ["8BITMIME"], "mail": "250-a\n250 b", "rcpt": {"x@y.test": ["550 no", "250 yes"]},
		"rcptDefault": "450 later", "dataEnd": ["250 one", "250 two"], "delays": {"data": 1}}`)
	got := talk(t, s.Addr(), "EHLO me\nMAIL FROM:<a@b> SIZE=1\nRCPT TO:<X@y.test>\nRCPT TO:<X@y.test>\nRCPT TO:<z@y.test>\n"+
		"DATA\n..dot\n.\nMAIL FROM:<>\nDATA\n.\nQUIT\n")
	want := []string{
		"220 sink.test ESMTP", "250-sink.test greets you", "250 8BITMIME", "250-a", "250 b", "550 no", "250 yes", "450 later",
		"354 End data with <CR><LF>.<CR><LF>", "250 one", "250-a", "250 b", "354 End data with <CR><LF>.<CR><LF>", "250 two", "221 2.0.0 Bye",
	}
	if fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("replies:\n%q\nwant:\n%q", got, want)
	}
	all := s.Transactions()
	if len(all) != 2 || string(all[0].Data) != ".dot\r\n" || all[0].DataReply != "250 one" || all[0].Mail != "<a@b> SIZE=1" {
		t.Fatalf("transactions: %+v", all)
	}
	if fmt.Sprint(all[0].Rcpt) != "[{<X@y.test> 550 no} {<X@y.test> 250 yes} {<z@y.test> 450 later}]" {
		t.Errorf("rcpt: %v", all[0].Rcpt)
	}
	if all[1].Data == nil || len(all[1].Data) != 0 {
		t.Errorf("a lone dot is an empty message that came, not none: %v", all[1].Data)
	}
	if r := s.Sessions()[0]; r.Helo != "me" || len(r.Commands) != 9 {
		t.Errorf("session: %+v", r)
	}
}

func TestDropAndHang(t *testing.T) {
	s := start(t, `{"dropAt": "rcpt"}`)
	got := talk(t, s.Addr(), "HELO me\nMAIL FROM:<a@b>\nRCPT TO:<c@d>\n")
	if len(got) != 3 || s.Transactions()[0].Rcpt[0].Reply != "250 2.1.5 Ok" {
		t.Errorf("replies before the drop: %q, recorded: %+v", got, s.Transactions())
	}
	if err := s.SetBehaviour(Behaviour{HangAt: "mail"}); err != nil {
		t.Fatal(err)
	}
	c, err := net.Dial("tcp", s.Addr())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	in := bufio.NewReader(c)
	fmt.Fprint(c, "HELO me\r\nMAIL FROM:<a@b>\r\nRCPT TO:<c@d>\r\n")
	for range 2 {
		if _, err := in.ReadString('\n'); err != nil {
			t.Fatal(err)
		}
	}
	err = s.Await(t.Context(), func(all []Session) bool { // it goes on listening
		return len(all) == 2 && len(all[1].Transactions) == 1 && len(all[1].Transactions[0].Rcpt) == 1
	})
	if err != nil {
		t.Error(err)
	}
}

func TestDownAndUpKeepThePort(t *testing.T) {
	s := start(t, `{"down": true}`)
	if c, err := net.Dial("tcp", s.Addr()); err == nil {
		c.Close()
		t.Error("somebody listens while down")
	}
	if err := s.SetBehaviour(Behaviour{}); err != nil {
		t.Fatal(err)
	}
	if got := talk(t, s.Addr(), "QUIT\n"); len(got) != 2 {
		t.Errorf("up again: %q", got)
	}
}

func TestMessagesThatAreNotRecordedAreCounted(t *testing.T) {
	s := start(t, `{"record": false}`)
	body := strings.Repeat("foo.\na.\n", 40_000)
	talk(t, s.Addr(), "MAIL FROM:<a@b>\nDATA\n"+body+".\nMAIL FROM:<a@b>\nDATA\n.\nQUIT\n")
	if got, want := s.Stats(), (Stats{1, 2, int64(len(body) + strings.Count(body, "\n"))}); got != want {
		t.Errorf("got %+v, want %+v", got, want)
	}
	if len(s.Sessions()) != 0 {
		t.Error("recorded all the same")
	}
}

func TestProxySpoilsExactlyAfterByteN(t *testing.T) {
	s := start(t, `{}`)
	p, err := NewProxy(s.Addr())
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	p.SetFault(Fault{Kind: Cut, Direction: ToClient, After: 7, Times: 1})
	if got := talk(t, p.Addr(), ""); len(got) != 1 || got[0] != "220 sin" {
		t.Errorf("cut after 7 bytes: %q", got)
	}
	if got := talk(t, p.Addr(), "QUIT\n"); len(got) != 2 {
		t.Errorf("the second connection is whole: %q", got)
	}
	p.SetFault(Fault{Kind: Split, Direction: ToServer, After: 3})
	if got := talk(t, p.Addr(), "QUIT\n"); len(got) != 2 {
		t.Errorf("split is whole: %q", got)
	}
}

func TestProxyThatDelaysPassesAllAndSpoilsExactly(t *testing.T) {
	s := start(t, `{}`)
	p, err := NewProxy(s.Addr())
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	p.SetDelay(time.Millisecond)
	message := strings.Repeat(strings.Repeat("x", 98)+"\n", 20_000)
	talk(t, p.Addr(), "EHLO me\nMAIL FROM:<a@b>\nRCPT TO:<c@d>\nDATA\n"+message+".\nQUIT\n")
	if all := s.Transactions(); len(all) != 1 || len(all[0].Data) != len(message)+20_000 {
		t.Errorf("transactions: %d", len(all))
	}
	p.SetFault(Fault{Kind: Cut, Direction: ToClient, After: 7, Times: 1})
	if got := talk(t, p.Addr(), ""); len(got) != 1 || got[0] != "220 sin" {
		t.Errorf("cut after 7 bytes: %q", got)
	}
}
