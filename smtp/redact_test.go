package smtp

import (
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"postrider/smtp/smtptest"
)

func TestNoErrorHoldsCredentialsThatTheServerRepeats(t *testing.T) {
	t.Parallel()
	const password = "hünter-two-4711"
	b64 := base64.StdEncoding.EncodeToString
	blob := b64([]byte("\x00user\x00" + password))
	for what, c := range map[string]struct {
		reply string
		stage Stage
		cause Cause
	}{
		"the line":              {"AUTH PLAIN " + blob, StageAuth, CauseProtocol},
		"the line, later":       {"535-no\nAUTH PLAIN " + blob, StageAuth, CauseProtocol},
		"after it was accepted": {"235 yes\nAUTH PLAIN " + blob, StageMail, CauseProtocol},
		"the password":          {password, StageAuth, CauseProtocol},
		"in a reply":            {"535 bad: AUTH PLAIN " + blob, StageAuth, CauseReply},
		"in no refusal":         {"354 bad: AUTH PLAIN " + blob, StageAuth, CauseProtocol},
		"cut":                   {"535 bad: AUTH PLAIN " + blob[:len(blob)-3], StageAuth, CauseReply},
		"begun late":            {"535 bad: " + blob[5:], StageAuth, CauseReply},
		"over two lines":        {"535-" + blob[:16] + "\n535 " + blob[16:], StageAuth, CauseReply},
		"not as UTF-8":          {"535 \xff " + password, StageAuth, CauseReply},
		"unpadded":              {"535 " + strings.TrimRight(b64([]byte(password)), "="), StageAuth, CauseReply},
		"for URLs":              {"535 " + base64.URLEncoding.EncodeToString([]byte(password)), StageAuth, CauseReply},
	} {
		s := sink(t, smtptest.Behaviour{AuthUsers: map[string]string{}, AuthReply: c.reply})
		_, err := pool(t, s.Addr(), Options{Username: "user", Password: password}).Send(t.Context(), t.Context(), letter())
		e := failure(t, err)
		if e.Stage != c.stage || e.Cause() != c.cause {
			t.Errorf("%s: %s, %s", what, e.Stage, e.Cause())
		}
		shown := fmt.Sprintf("%v %+v %v %q", e, e.Reply, e.Err, errors.Unwrap(e))
		for _, secret := range []string{"nter-two", "-4711", blob[:8], blob[8:16], blob[16:24], b64([]byte(password))[:8]} {
			if strings.Contains(shown, secret) {
				t.Errorf("%s: %q shows in %s", what, secret, shown)
			}
		}
	}
}

func TestARedactedReplyIsStillOne(t *testing.T) {
	t.Parallel()
	var rd redactor
	rd.add("5.7.8")
	rd.add("übergrößenträger")
	r := rd.redact(Reply{Code: 535, Enhanced: "5.7.8", Lines: []string{"535-5.7.8 no", "535", "535 x rgrößenträgen"}})
	if want := "535-[secret] no\n535\n535 x [secret]n"; r.String() != want || r.Enhanced != "" {
		t.Errorf("got %q, %q", r, r.Enhanced)
	}
	r = rd.redact(Reply{Code: 535, Lines: []string{"535 x " + latin1("übergrößenträger") + "."}})
	if want := "535 x [secret]."; r.String() != want {
		t.Errorf("read as Latin-1: got %q", r)
	}
	if r := rd.redact(Reply{}); !r.IsZero() {
		t.Errorf("from nothing comes %+v", r)
	}
}

func TestAnAbsurdChallengeIsNotQuoted(t *testing.T) {
	t.Parallel()
	_, err := answer(nil, base64.StdEncoding.EncodeToString([]byte("r=nonce,s=c2FsdA==,i=hunter-two")))
	if err == nil || strings.Contains(err.Error(), "hunter") {
		t.Errorf("got %v", err)
	}
}

func TestNoErrorHoldsWhatATokenServerRepeats(t *testing.T) {
	t.Parallel()
	for what, answer := range map[string]string{
		"as HTTP":        "%s",
		"as a header":    "HTTP/1.1 200 OK\r\n%s\r\n\r\n",
		"as a status":    "HTTP/1.1 %s OK\r\n\r\n",
		"as text":        "HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n%s",
		"as a form":      "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Type: text/plain\r\n\r\n%%%s",
		"as a number":    "HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n{\"access_token\":\"x\",\"expires_in\":\"%s\"}",
		"as a code":      "HTTP/1.1 400 No\r\nConnection: close\r\n\r\n{\"error\":\"refresh\"}",
		"as description": "HTTP/1.1 400 No\r\nConnection: close\r\n\r\n{\"error\":\"no\",\"error_description\":\"%s\"}",
		"after breaking": "HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n%s",
	} {
		i := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			body, _ := io.ReadAll(r.Body)
			c, _, err := http.NewResponseController(w).Hijack()
			if err != nil {
				t.Error(err)
				return
			}
			defer c.Close()
			_, _ = io.WriteString(c, strings.ReplaceAll(answer, "%s", string(body)))
		}))
		s := sink(t, smtptest.Behaviour{ImplicitTLS: true, AuthUsers: map[string]string{}, AuthMechs: []string{"XOAUTH2"}})
		_, err := pool(t, s.Addr(), withToken(s, i)).Send(t.Context(), t.Context(), letter())
		e := failure(t, err)
		if shown := fmt.Sprintf("%v %q", e, e.Err); e.Cause() != CauseToken || strings.Contains(shown, "refresh") || strings.Contains(shown, "key") {
			t.Errorf("%s: %s: %s", what, e.Cause(), shown)
		}
		i.Close()
	}
}
