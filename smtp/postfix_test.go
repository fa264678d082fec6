package smtp

import (
	"bytes"
	"fmt"
	"io"
	netmail "net/mail"
	"strings"
	"testing"

	"postrider/smtp/smtptest"
)

func TestPostfixDeliversRefusesAndBounces(t *testing.T) {
	x := smtptest.StartPostfix(t)
	p := pool(t, x.Addr, Options{StartTLS: Required, TLS: x.TLS, Name: "client.test"})
	body := ".leading dot\r\n..two\r\nBod\u00fd\r\n" + strings.Repeat("x", 900) + "\r\n"
	for i := range 2 { // the second one goes out in one flight
		m := letter("ada@rcpt.test", "nobody@rcpt.test", "relay@elsewhere.test")
		m.Message = fmt.Appendf(nil, "From: a@sender.test\r\nTo: ada@rcpt.test\r\nSubject: mail %d\r\n\r\n%s", i, body)
		r, err := p.Send(t.Context(), t.Context(), m)
		if err != nil {
			t.Fatal(err)
		}
		if !strings.Contains(r.Reply.String(), "queued as") || r.Reply.Code != 250 || r.Reply.Enhanced != "2.0.0" {
			t.Errorf("final reply: %q", r.Reply)
		}
		for i, want := range []string{"2.1.5", "5.1.1", "5.7.1"} {
			if got := r.Recipients[i]; got.Reply.Enhanced != want || got.Reply.Positive() != (i == 0) {
				t.Errorf("%s: %q, want %s", got.Address, got.Reply, want)
			}
		}
		if got := bodyOf(t, x.Next(fmt.Sprintf("mail %d", i))); got != strings.ReplaceAll(body, "\r\n", "\n") {
			t.Errorf("arrived: %q", got)
		}
	}
	_, err := p.Send(t.Context(), t.Context(), letter("nobody@rcpt.test"))
	if e := expect(t, err, StageRcpt, CauseReply, false); e.Reply.Enhanced != "5.1.1" {
		t.Errorf("unknown user: %v", e)
	}
	m := letter("moved@rcpt.test")
	m.Envelope.From = "ada@rcpt.test"
	if _, err := p.Send(t.Context(), t.Context(), m); err != nil {
		t.Fatal(err)
	}
	if got := bodyOf(t, x.Next("Undelivered Mail Returned to Sender")); !strings.Contains(got, "moved away") {
		t.Errorf("bounce: %s", got)
	}
	_, err = p.Send(t.Context(), t.Context(), Mail{Envelope: m.Envelope, Message: make([]byte, 200_000)})
	if e := failure(t, err); e.Stage != StageMail || e.Temporary() {
		t.Errorf("larger than Postfix takes: %v", e)
	}
	stranger := pool(t, x.Addr, Options{})
	_, err = stranger.Send(t.Context(), t.Context(), letter("ada@rcpt.test"))
	expect(t, err, StageTLS, CauseTLS, false) // its certificate is nobody's
}

func TestPostfixTakesEnvelopesThatTravelWithTheMessageBefore(t *testing.T) {
	x := smtptest.StartPostfix(t)
	for what, o := range map[string]Options{"plain": {StartTLS: Ignore}, "TLS": {StartTLS: Required, TLS: x.TLS}} {
		o.MaxConnections, o.Name = 1, "client.test"
		p := pool(t, x.Addr, o)
		var mails []Mail
		ahead := 0
		for i := range 10 {
			m := letter("ada@rcpt.test")
			if i%4 == 3 {
				m.Envelope.To = []string{"nobody@rcpt.test", "ada@rcpt.test"}
			}
			if i == 6 {
				m.Envelope.To = []string{"nobody@rcpt.test"}
			}
			m.Message = fmt.Appendf(nil, "Subject: %s %d\r\n\r\n.%d\r\n%s", what, i, i, strings.Repeat(fmt.Sprintf("line of %d\r\n", i), 500*i))
			m.Begin = func(fresh bool) error {
				p.mu.Lock()
				defer p.mu.Unlock()
				if p.lookouts > 0 && !fresh {
					ahead++
				}
				return nil
			}
			mails = append(mails, m)
		}
		for i, out := range inOrder(t, p, mails...) {
			if i == 6 {
				expect(t, out.err, StageRcpt, CauseReply, false)
				continue
			}
			if out.err != nil {
				t.Errorf("%s, mail %d: %v", what, i, out.err)
				continue
			}
			_, want, _ := strings.Cut(string(mails[i].Message), "\r\n\r\n")
			if got := bodyOf(t, x.Next(fmt.Sprintf("%s %d", what, i))); got != strings.ReplaceAll(want, "\r\n", "\n") {
				t.Errorf("%s, mail %d: %d bytes arrived, not as sent", what, i, len(got))
			}
		}
		if ahead < 5 || !p.wary.IsZero() {
			t.Errorf("%s: %d mails have begun ahead, wary until %v", what, ahead, p.wary)
		}
	}
}

// bodyOf returns the body of a mail as net/mail reads it.
func bodyOf(t *testing.T, source []byte) string {
	t.Helper()
	m, err := netmail.ReadMessage(bytes.NewReader(source))
	if err != nil {
		t.Fatal(err)
	}
	body, err := io.ReadAll(m.Body)
	if err != nil {
		t.Fatal(err)
	}
	return string(body)
}
