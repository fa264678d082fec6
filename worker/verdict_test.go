package worker

import (
	"context"
	"crypto/x509"
	"errors"
	"io"
	"net"
	"os"
	"syscall"
	"testing"

	"postrider/delivery"
	"postrider/smtp"
)

func said(code int, line string) smtp.Reply { return smtp.Reply{Code: code, Lines: []string{line}} }

// The sentences are nodemailer's where a server refused or kept silent.
func TestVerdictSaysWhatTheExtensionSays(t *testing.T) {
	refused := []smtp.Recipient{{Address: "a@b.test", Reply: said(450, "450 busy")}, {Address: "c@b.test", Reply: said(550, "550 gone")}}
	cases := map[string]struct {
		err     smtp.Error
		class   delivery.Class
		message string
	}{
		"greeting refused": {
			smtp.Error{Stage: smtp.StageGreeting, Reply: said(554, "554 no")},
			delivery.Transient,
			"Error: Invalid greeting. response=554 no: 554 no",
		},
		"greeting 421": {smtp.Error{Stage: smtp.StageGreeting, Reply: said(421, "421 later")}, delivery.Transient, "Error: Invalid greeting. response=421 later: 421 later"},
		"another greeting": {
			smtp.Error{Stage: smtp.StageGreeting, Reply: said(250, "250 hi")}, delivery.Transient, "Error: Invalid greeting. response=250 hi: 250 hi",
		},
		"no greeting":     {smtp.Error{Stage: smtp.StageGreeting, Err: os.ErrDeadlineExceeded}, delivery.Transient, "Error: Greeting never received"},
		"closed at once":  {smtp.Error{Stage: smtp.StageGreeting, Err: smtp.ErrClosed}, delivery.Transient, "Error: Unexpected socket close"},
		"EHLO 421":        {smtp.Error{Stage: smtp.StageHello, Reply: said(421, "421 busy")}, delivery.Transient, "Error: Server terminates connection. response=421 busy: 421 busy"},
		"login refused":   {smtp.Error{Stage: smtp.StageAuth, Reply: said(535, "535 no")}, delivery.Transient, "Error: Invalid login: 535 no"},
		"half a login":    {smtp.Error{Stage: smtp.StageAuth, Err: smtp.ErrMissingCredentials}, delivery.Transient, `Error: Missing credentials for "PLAIN"`},
		"starttls":        {smtp.Error{Stage: smtp.StageTLS, Reply: said(502, "502 what")}, delivery.Transient, "Error: Error upgrading connection with STARTTLS: 502 what"},
		"sender refused":  {smtp.Error{Stage: smtp.StageMail, Reply: said(553, "553 no")}, delivery.Permanent, "Error: Mail command failed: 553 no"},
		"all refused":     {smtp.Error{Stage: smtp.StageRcpt, Reply: said(550, "550 gone"), Recipients: refused[1:]}, delivery.Permanent, "Error: Can't send mail - all recipients were rejected: 550 gone"},
		"one deferred":    {smtp.Error{Stage: smtp.StageRcpt, Reply: said(550, "550 gone"), Recipients: refused}, delivery.Transient, "Error: Can't send mail - all recipients were rejected: 550 gone"},
		"data refused":    {smtp.Error{Stage: smtp.StageData, Reply: said(451, "451 later")}, delivery.Transient, "Error: Data command failed: 451 later"},
		"message refused": {smtp.Error{Stage: smtp.StageMessage, Reply: said(554, "554 spam")}, delivery.Permanent, "Error: Message failed: 554 spam"},
		"no answer to the dot": {
			smtp.Error{Stage: smtp.StageMessage, Err: os.ErrDeadlineExceeded, PossiblyAccepted: true}, delivery.Unknown, "Error: Timeout",
		},
		"closed after the dot": {
			smtp.Error{Stage: smtp.StageMessage, Err: io.ErrUnexpectedEOF, PossiblyAccepted: true}, delivery.Unknown, "Error: Connection closed unexpectedly",
		},
		"connection timeout": {smtp.Error{Stage: smtp.StageConnect, Err: os.ErrDeadlineExceeded}, delivery.Transient, "Error: Connection timeout"},
		"nobody listens":     {smtp.Error{Stage: smtp.StageConnect, Err: syscall.ECONNREFUSED}, delivery.Transient, "Error: Can't connect to the mail server: connection refused"},
		"no such host": {
			smtp.Error{Stage: smtp.StageConnect, Err: &net.DNSError{IsNotFound: true}},
			delivery.Transient,
			"Error: Can't find the mail server: its name does not resolve",
		},
		"bad certificate": {
			smtp.Error{Stage: smtp.StageTLS, Err: x509.HostnameError{Certificate: &x509.Certificate{}, Host: "h"}},
			delivery.Transient,
			"Error: Can't encrypt the connection to the mail server: x509: certificate is not valid for any names, but wanted to match h",
		},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			f, _ := verdictOf(&c.err)
			if f.Class != c.class || f.Message != c.message {
				t.Errorf("got  %s %q\nwant %s %q", f.Class, f.Message, c.class, c.message)
			}
			if f.Explain == "" || string(f.Phase) != string(c.err.Stage) || f.Code != c.err.Reply.Code {
				t.Errorf("%+v", f)
			}
		})
	}
}

func TestEveryRecipientHasItsOwnVerdict(t *testing.T) {
	got := recipientsOf([]smtp.Recipient{
		{Address: "a", Reply: said(250, "250 ok")},
		{Address: "b", Reply: said(550, "550 no")},
		{Address: "c", Reply: said(450, "450 later")},
		{Address: "d", Reply: said(552, "552 too many recipients")},
		{Address: "e"},
	})
	want := []delivery.Status{delivery.Accepted, delivery.Rejected, delivery.Deferred, delivery.Deferred, delivery.Deferred}
	for i, r := range got {
		if r.Status != want[i] {
			t.Errorf("%s: %s, want %s", r.Address, r.Status, want[i])
		}
	}
}

func TestAnErrorWithoutWordsMayBeTriedAgain(t *testing.T) {
	f := failureOf(context.DeadlineExceeded)
	if f.Class != delivery.Transient || f.Message != "Error: context deadline exceeded" || !errors.Is(f, context.DeadlineExceeded) {
		t.Errorf("%+v", f)
	}
}
