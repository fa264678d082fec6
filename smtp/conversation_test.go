package smtp

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"postrider/smtp/smtptest"
)

// checkConversation asserts that e has a conversation where it must, within
// bounds and without the addresses.
func checkConversation(t *testing.T, e *Error, addresses ...string) {
	t.Helper()
	if (len(e.Conversation) > 0) != e.PossiblyAccepted || len(e.Conversation) > 12 {
		t.Errorf("possibly accepted: %v, with %d lines of conversation", e.PossiblyAccepted, len(e.Conversation))
	}
	for _, l := range e.Conversation {
		if len(l) > 500 || strings.ContainsAny(l, "\r\n\x00") || !strings.HasPrefix(l, "C: ") && !strings.HasPrefix(l, "S: ") {
			t.Errorf("%d bytes: %q", len(l), l)
		}
		for _, a := range addresses {
			if strings.Contains(strings.ToLower(l), a) {
				t.Errorf("%s shows in %q", a, l)
			}
		}
	}
}

func TestTheConversationOfAMailOfUnknownFateIsKept(t *testing.T) {
	t.Parallel()
	s := sink(t, smtptest.Behaviour{
		AuthUsers: map[string]string{"u": "p"},
		Rcpt: map[string]smtptest.Replies{
			"b@rcpt.test": {"550-5.1.1 <B@rcpt.test>: no\n550 5.1.1 such user"},
			"d@rcpt.test": {"250 2.1.5 d@rcpt.test is fine"},
		},
		Data:   smtptest.Replies{"354 go on, default@sender.test"},
		DropAt: "dataEnd",
	})
	_, err := pool(t, s.Addr(), Options{Username: "u", Password: "p"}).Send(t.Context(), t.Context(), letter("a@rcpt.test", "b@rcpt.test", "c@rcpt.test", "d@rcpt.test"))
	want := []string{
		"C: MAIL FROM:<…> SIZE=21", "S: 250 2.1.0 Ok",
		"C: RCPT TO:<…> (2 of 4)", "S: 550-5.1.1 <…>: no / 550 5.1.1 such user",
		"C: RCPT TO:<…> (3 of 4)", "S: 250 2.1.5 Ok",
		"C: RCPT TO:<…> (4 of 4)", "S: 250 2.1.5 <…> is fine",
		"C: DATA", "S: 354 go on, <…>",
		"C: (message of 21 bytes, final dot)", "S: (no answer: the server closed the connection)",
	}
	if e := failure(t, err); !slices.Equal(e.Conversation, want) {
		t.Errorf("got:\n%s", strings.Join(e.Conversation, "\n"))
	}
}

func TestAConversationShowsNoAddressAndIsBounded(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("x", 490)
	for what, c := range map[string]struct{ from, to, answer, want string }{
		"whole":             {"s@a.test", "ada@b.test", "ok <s@A.test> (Ada@B.Test)", "S: ok <…> (<…>)"},
		"as it was sent":    {"", "ada@bücher.test", "ok ada@bücher.test, ada@xn--bcher-kva.test", "S: ok <…>, <…>"},
		"not as UTF-8":      {"", "ádá@b.test", "ok \xe1 ádá@b.test", "S: ok á <…>"},
		"at the beginning":  {"", "ada@b.test", "ada@b.test ok", "S: <…> ok"},
		"no domain":         {"", "postmaster", "hi, postmaster!", "S: hi, <…>!"},
		"a short name":      {"", "o", "to <o>, or so", "S: to <…>, or so"},
		"cut":               {"", "ada@b.test", long + " <ada@b.te" + strings.Repeat("y", 100), "S: " + long + " <…>"},
		"controls":          {"", "ada@b.test", "a\rb\x00c", "S: a b c"},
		"cut by the server": {"", "ada@b.test", "queued for <ada@b.t", "S: queued for <…>"},
		"an unasked 354":    {"", "ada@b.test", "354-more\r\n354 ada@b.test", "S: 354-more / 354 <…>"},
		"over two lines":    {"", "ada@b.test", "354-<ada@\r\n354 b.test>", "S: 354-<…> / 354 <…>"},
		"in the words":      {"", "ada@b.test", "", "S: (no answer: ask <…>)"},
	} {
		m, bad := prepare(Mail{Envelope: Envelope{From: c.from, To: []string{c.to}}})
		if bad != nil {
			t.Fatal(bad)
		}
		e := &Error{Stage: StageMessage, PossiblyAccepted: true, Err: errors.New("ask ada@b.test")}
		if c.answer != "" {
			e.Reply, e.Err = spoken(c.answer+"\r\n"), errMalformed
		}
		before := e.Reply.String()
		e.Conversation = (&session{}).conversation(m, dialogue{mail: spoken("250 x\r\n"), rcpts: []Reply{spoken("250 x\r\n")}, data: spoken("354 x\r\n")}, e)
		checkConversation(t, e, "ada@")
		if got := e.Conversation[len(e.Conversation)-1]; got != c.want {
			t.Errorf("%s: got %q, want %q", what, got, c.want)
		}
		if first := e.Conversation[0]; (first == "C: MAIL FROM:<>") != (c.from == "") {
			t.Errorf("%s: %q", what, first)
		}
		if e.Reply.String() != before {
			t.Errorf("%s: the reply itself was changed: %q", what, e.Reply)
		}
	}
}

func TestAConversationOfManyRecipientsIsBounded(t *testing.T) {
	t.Parallel()
	var to []string
	d := dialogue{mail: spoken(strings.Repeat("250-"+strings.Repeat("x", 500)+"\r\n", 20) + "250 x\r\n"), data: spoken("354 x\r\n")}
	for i := range 300 {
		to = append(to, fmt.Sprintf("r%d@rcpt.test", i))
		d.rcpts = append(d.rcpts, spoken("250 "+strings.Repeat("ü", 400)+to[i]+"\r\n"))
	}
	m, _ := prepare(Mail{Envelope: Envelope{To: to}})
	e := &Error{PossiblyAccepted: true, Err: ErrClosed}
	e.Conversation = (&session{}).conversation(m, d, e)
	checkConversation(t, e, to...)
	if len(e.Conversation) != 12 || !strings.HasSuffix(e.Conversation[3], cutMark) {
		t.Errorf("%q", e.Conversation)
	}
}

// spoken is what is read of a server's words, if they are no reply at all, too.
func spoken(s string) Reply {
	r, _ := parse(s)
	return r
}
