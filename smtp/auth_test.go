package smtp

import (
	"bufio"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"postrider/smtp/smtptest"
)

func TestEachMechanismLogsIn(t *testing.T) {
	t.Parallel()
	for _, mech := range []string{"PLAIN", "LOGIN", "CRAM-MD5", "SCRAM-SHA-1", "SCRAM-SHA-256"} {
		for _, password := range []Secret{"p@ss:w/rd%& ü", "wrong"} {
			b := smtptest.Behaviour{AuthUsers: map[string]string{"u=ser,@x.test": "p@ss:w/rd%& ü"}, AuthMechs: []string{mech}}
			s := sink(t, b)
			_, err := pool(t, s.Addr(), Options{Username: "u=ser,@x.test", Password: password}).Send(t.Context(), t.Context(), letter())
			if right := password != "wrong"; right != (err == nil) {
				t.Errorf("%s with %s password: %v", mech, map[bool]string{true: "the", false: "another"}[right], err)
			}
			if a := s.Sessions()[0].Auth; a == nil || a.Mech != mech || a.User != "u=ser,@x.test" {
				t.Errorf("%s: server saw %+v", mech, a)
			}
			if err != nil {
				e := expect(t, err, StageAuth, CauseReply, false)
				if e.Reply.Code != 535 || e.Command != "AUTH "+mech {
					t.Errorf("%s: %v", mech, e)
				}
			}
		}
	}
}

func TestChoose(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		offered, private, exposed string
	}{
		{"PLAIN LOGIN", "PLAIN", "PLAIN"},
		{"LOGIN CRAM-MD5", "LOGIN", "CRAM-MD5"},
		{"PLAIN CRAM-MD5 SCRAM-SHA-1 SCRAM-SHA-256", "PLAIN", "SCRAM-SHA-256"},
		{"SCRAM-SHA-1 CRAM-MD5", "SCRAM-SHA-1", "SCRAM-SHA-1"},
		{"GSSAPI XOAUTH2", "PLAIN", "PLAIN"},
		{"", "PLAIN", "PLAIN"},
	} {
		offered := strings.Fields(c.offered)
		if a, b := choose(offered, false), choose(offered, true); a != c.private || b != c.exposed {
			t.Errorf("%s: %s and %s", c.offered, a, b)
		}
	}
}

func TestCredentialsStayHomeUnlessTheConnectionIsSafe(t *testing.T) {
	t.Parallel()
	offers := sink(t, smtptest.Behaviour{AuthUsers: map[string]string{"u": "p"}})
	without := sink(t, smtptest.Behaviour{}) // as if somebody had taken STARTTLS and AUTH out
	token := &OAuth2{User: "u", ClientID: "c", RefreshToken: "r"}
	for what, c := range map[string]struct {
		s    *smtptest.Server
		o    Options
		away bool // the server is another machine
		want error
	}{
		"loopback":                        {offers, Options{}, false, nil},
		"elsewhere":                       {offers, Options{}, true, ErrPlaintextAuth},
		"elsewhere, allowed":              {offers, Options{AllowPlaintextAuth: true}, true, nil},
		"token":                           {offers, Options{OAuth2: token}, false, ErrPlaintextAuth},
		"token, though allowed":           {offers, Options{OAuth2: token, AllowPlaintextAuth: true}, true, ErrPlaintextAuth},
		"loopback, not offered":           {without, Options{}, false, nil},
		"elsewhere, not offered":          {without, Options{}, true, ErrPlaintextAuth},
		"elsewhere, token, not offered":   {without, Options{OAuth2: token}, true, ErrPlaintextAuth},
		"elsewhere, allowed, not offered": {without, Options{AllowPlaintextAuth: true}, true, nil},
	} {
		o, s := c.o, c.s
		if o.Host = "127.0.0.1"; o.OAuth2 == nil {
			o.Username, o.Password = "u", "p"
		}
		o.Port = s.Port()
		set := o.settle()
		raw, _, err := new(addresses).dial(t.Context(), &set)
		if err != nil {
			t.Fatal(err)
		}
		se := &session{conn: newConn(raw), o: &set}
		if c.away {
			se.raw = elsewhere{raw}
		}
		e := se.begin(t.Context(), newTokens(o.OAuth2))
		if (e == nil) != (c.want == nil) || e != nil && (!errors.Is(e, c.want) || e.Stage != StageAuth) {
			t.Errorf("%s: %v", what, e)
		}
		se.leave()
	}
	for _, r := range offers.Sessions() {
		if n := count(r.Commands, "AUTH"); (n > 0) != (r.Auth != nil) {
			t.Errorf("commands: %q", r.Commands)
		}
	}
}

func TestMailWithoutCredentialsNeedsNoTLS(t *testing.T) {
	t.Parallel()
	s := sink(t, smtptest.Behaviour{})
	set := Options{Host: "127.0.0.1", Port: s.Port()}.settle()
	raw, _, err := new(addresses).dial(t.Context(), &set)
	if err != nil {
		t.Fatal(err)
	}
	se := &session{conn: newConn(raw), o: &set}
	se.raw = elsewhere{raw}
	if e := se.begin(t.Context(), nil); e != nil {
		t.Error(e)
	}
	se.leave()
}

func TestAuthDoesNotGoOnForEver(t *testing.T) {
	t.Parallel()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	lines := make(chan []string, 1)
	go func() { lines <- challengeForEver(l) }()
	p := pool(t, l.Addr().String(), Options{Username: "u", Password: "p"})
	_, err = p.Send(t.Context(), within(t, 5*time.Second), letter())
	expect(t, err, StageAuth, CauseProtocol, true)
	got := <-lines // EHLO, AUTH, the answers, "*"
	if len(got) != maxRounds+3 || got[len(got)-1] != "*" {
		t.Errorf("%d lines: %q", len(got), got)
	}
}

// challengeForEver serves one connection, and returns what it sent.
func challengeForEver(l net.Listener) (lines []string) {
	c, err := l.Accept()
	if err != nil {
		return nil
	}
	defer c.Close()
	_, _ = io.WriteString(c, "220 x\r\n")
	for in := bufio.NewScanner(c); in.Scan(); {
		if len(lines) < 100 {
			lines = append(lines, in.Text())
		}
		reply := "334 PDEyM0B4LnRlc3Q+\r\n"
		switch {
		case strings.HasPrefix(in.Text(), "EHLO"):
			reply = "250-x\r\n250 AUTH CRAM-MD5\r\n"
		case in.Text() == "*":
			reply = "501 given up\r\n"
		}
		_, _ = io.WriteString(c, reply)
	}
	return lines
}

func TestAuthIsSkippedWhereItIsNotOffered(t *testing.T) {
	t.Parallel()
	s := sink(t, smtptest.Behaviour{})
	if _, err := pool(t, s.Addr(), Options{Username: "u", Password: "p"}).Send(t.Context(), t.Context(), letter()); err != nil {
		t.Error(err)
	}
	if _, err := pool(t, s.Addr(), Options{Username: "u"}).Send(t.Context(), t.Context(), letter()); err != nil {
		t.Error(err)
	}
	s = sink(t, smtptest.Behaviour{Ehlo: "502 no", AuthUsers: map[string]string{"u": "p"}, RequireAuth: true})
	if _, err := pool(t, s.Addr(), Options{Username: "u", Password: "p"}).Send(t.Context(), t.Context(), letter()); err != nil {
		t.Errorf("after HELO it is tried: %v", err)
	}
}

func TestMissingCredentialsNameTheMechanism(t *testing.T) {
	t.Parallel()
	s := sink(t, smtptest.Behaviour{AuthUsers: map[string]string{"u": "p"}})
	_, err := pool(t, s.Addr(), Options{Username: "u"}).Send(t.Context(), t.Context(), letter())
	if e := failure(t, err); !errors.Is(e, ErrMissingCredentials) || e.Command != "AUTH PLAIN" {
		t.Errorf("got %v", e)
	}
}

func TestSecretsAreTakenOutOfReplies(t *testing.T) {
	t.Parallel()
	b64 := base64.StdEncoding.EncodeToString
	blob := b64([]byte("\x00user\x00wr0ngpw"))
	for _, mech := range []string{"PLAIN", "LOGIN"} {
		s := sink(t, smtptest.Behaviour{
			AuthUsers: map[string]string{}, AuthMechs: []string{mech},
			AuthReply: "535-5.7.8 Bad credentials user:wr0ngpw (" + blob + ")\n535 5.7.8 " + b64([]byte("wr0ngpw")),
		})
		_, err := pool(t, s.Addr(), Options{Username: "user", Password: "wr0ngpw"}).Send(t.Context(), t.Context(), letter())
		e := failure(t, err)
		for _, secret := range []string{"wr0ngpw", b64([]byte("wr0ngpw"))} {
			if strings.Contains(fmt.Sprintf("%v %+v %v", e, e.Reply, e.Reply), secret) {
				t.Errorf("%s: %v", mech, e)
			}
		}
		if want := "535-5.7.8 Bad credentials user:[secret] ([secret])\n535 5.7.8 [secret]"; mech == "PLAIN" && e.Reply.String() != want {
			t.Errorf("got %q, want %q", e.Reply, want)
		}
	}
}

func TestSCRAMDoesNotWorkForEver(t *testing.T) {
	t.Parallel()
	for _, i := range []string{"1000001", "0", "-1", "99999999999999999999", "x"} {
		if _, err := answer(nil, base64.StdEncoding.EncodeToString([]byte("r=nonce,s=c2FsdA==,i="+i))); err == nil {
			t.Errorf("i=%s is answered", i)
		}
	}
}

// issuer is a token server; it counts what it issues.
func issuer(t *testing.T, answer func(n int64) (status int, body any)) (*httptest.Server, *atomic.Int64) {
	var n atomic.Int64
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.FormValue("refresh_token") != "refresh" || r.FormValue("client_id") != "id" || r.FormValue("client_secret") != "key" ||
			r.FormValue("grant_type") != "refresh_token" {
			t.Errorf("token request: %v", r.Form)
		}
		status, body := answer(n.Add(1))
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(status)
		if err := json.NewEncoder(w).Encode(body); err != nil {
			t.Error(err)
		}
	}))
	t.Cleanup(s.Close)
	return s, &n
}

func granted(n int64) (int, any) {
	return http.StatusOK, map[string]any{"access_token": fmt.Sprintf("token%d", n), "expires_in": 3600, "token_type": "Bearer"}
}

func withToken(s *smtptest.Server, i *httptest.Server) Options {
	return Options{
		Secure: true, TLS: s.TLSConfig(), MaxMessages: 1,
		OAuth2: &OAuth2{User: "u@x.test", ClientID: "id", ClientSecret: "key", RefreshToken: "refresh", TokenURL: i.URL, Client: i.Client()},
	}
}

func TestAnAccessTokenIsKeptAndReplacedOnceWhenRefused(t *testing.T) {
	t.Parallel()
	i, issued := issuer(t, granted)
	users := func(token string) smtptest.Behaviour {
		return smtptest.Behaviour{ImplicitTLS: true, AuthMechs: []string{"XOAUTH2"}, RequireAuth: true, AuthUsers: map[string]string{"u@x.test": token}}
	}
	s := sink(t, users("token1"))
	p := pool(t, s.Addr(), withToken(s, i))
	for range 3 { // each on its own connection
		if _, err := p.Send(t.Context(), t.Context(), letter()); err != nil {
			t.Fatal(err)
		}
	}
	if n := issued.Load(); n != 1 {
		t.Errorf("%d tokens for three connections", n)
	}
	if err := s.SetBehaviour(users("token2")); err != nil { // token1 is revoked
		t.Fatal(err)
	}
	if _, err := p.Send(t.Context(), t.Context(), letter()); err != nil {
		t.Error(err)
	}
	if n := issued.Load(); n != 2 {
		t.Errorf("%d tokens after a 535", n)
	}
	if err := s.SetBehaviour(users("none of them")); err != nil {
		t.Fatal(err)
	}
	before := s.Stats().Connections
	_, err := p.Send(t.Context(), t.Context(), letter())
	e := expect(t, err, StageAuth, CauseReply, false)
	if n := issued.Load(); n != 3 || e.Reply.Code != 535 || s.Stats().Connections != before+2 {
		t.Errorf("%d tokens, %d connections, %v", n, s.Stats().Connections-before, e)
	}
	if strings.Contains(err.Error(), "token3") {
		t.Errorf("the token shows: %v", err)
	}
}

func TestATokenRefusalSaysWhy(t *testing.T) {
	t.Parallel()
	for status, temporary := range map[int]bool{http.StatusBadRequest: false, http.StatusServiceUnavailable: true, http.StatusTooManyRequests: true} {
		i, _ := issuer(t, func(int64) (int, any) {
			return status, map[string]string{"error": "invalid_grant", "error_description": "refresh is no good"}
		})
		s := sink(t, smtptest.Behaviour{ImplicitTLS: true, AuthUsers: map[string]string{}, AuthMechs: []string{"XOAUTH2"}})
		_, err := pool(t, s.Addr(), withToken(s, i)).Send(t.Context(), t.Context(), letter())
		e := expect(t, err, StageAuth, CauseToken, temporary)
		if !strings.Contains(e.Error(), "invalid_grant") || strings.Contains(e.Error(), "refresh is") {
			t.Errorf("got %v", e)
		}
		if s.Sessions()[0].Auth != nil {
			t.Error("something was sent")
		}
	}
}
