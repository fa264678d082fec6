package smtp

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	gomail "github.com/wneessen/go-mail/smtp"
)

// maxIterations bounds the work a server may ask for by SCRAM (RFC 5802 §4).
const maxIterations = 1_000_000

// maxRounds is how many challenges are answered: SCRAM has three, and CRAM-MD5
// would answer for ever, each answer one more for a guess at the password.
const maxRounds = 8

// mechanisms lists what Options.Mechanism may be, besides empty, in the order
// of preference on a connection where nobody listens. It is nodemailer's, with
// SCRAM where nodemailer has nothing: PLAIN over TLS gives nothing away, and
// works everywhere.
func mechanisms() []string {
	return []string{
		"PLAIN", "LOGIN", "SCRAM-SHA-256", "SCRAM-SHA-1", "CRAM-MD5",
		"SCRAM-SHA-256-PLUS", "SCRAM-SHA-1-PLUS",
	}
}

func knownMechanism(name string) bool {
	return name == "" || slices.Contains(mechanisms(), strings.ToUpper(name))
}

// choose picks from what the server offers. Where the connection is open to
// listeners, the mechanisms that do not send the password come first. A server
// that offers nothing known is tried with PLAIN, as nodemailer does, unless
// somebody may listen.
func choose(offered []string, exposed bool) string {
	order := mechanisms()[:5]
	if exposed {
		order = []string{"SCRAM-SHA-256", "SCRAM-SHA-1", "CRAM-MD5", "PLAIN", "LOGIN"}
	}
	for _, m := range order {
		if slices.Contains(offered, m) {
			return m
		}
	}
	return "PLAIN"
}

// authenticate logs in if credentials are set and the server offers AUTH. A
// server that does not is used without, as by nodemailer; one that does not
// even know EHLO is asked anyway. Where somebody may be in between, neither is
// done: who can take STARTTLS out of the server's offer can take AUTH out too,
// and would have a mail in clear that was meant to go out encrypted.
func (s *session) authenticate(ctx context.Context, t *tokens) *Error {
	o := s.o
	if t == nil && o.Username == "" && o.Password == "" {
		return nil
	}
	offered := s.ext.auth || !s.hello
	exposed := s.tlsState() == nil && !s.loopback()
	mech := o.Mechanism
	switch {
	case t != nil:
		mech = "XOAUTH2"
	case mech == "":
		mech = choose(s.ext.mechs, exposed)
	}
	fail := func(err error) *Error { return &Error{Stage: StageAuth, Command: "AUTH " + mech, Err: err} }
	switch {
	case offered && t == nil && (o.Username == "" || o.Password == ""):
		return fail(ErrMissingCredentials)
	case exposed && !o.AllowPlaintextAuth:
		return fail(ErrPlaintextAuth)
	case !offered:
		return nil
	case t != nil:
		return s.authenticateToken(ctx, t)
	}
	a, err := s.mechanism(mech)
	if err != nil {
		return fail(err)
	}
	return s.exchange(mech, a, o.Password.Reveal())
}

// mechanism returns go-mail's implementation. Its own checks for TLS are
// switched off: they go by the host's name, ours by the address and Options.
func (s *session) mechanism(name string) (gomail.Auth, error) {
	user, password, host := s.o.Username, s.o.Password.Reveal(), s.o.Host
	switch name {
	case "PLAIN":
		return gomail.PlainAuth("", user, password, host, true), nil
	case "LOGIN":
		return gomail.LoginAuth(user, password, host, true), nil
	case "CRAM-MD5":
		return gomail.CRAMMD5Auth(user, password), nil
	case "SCRAM-SHA-1":
		return gomail.ScramSHA1Auth(user, password), nil
	case "SCRAM-SHA-256":
		return gomail.ScramSHA256Auth(user, password), nil
	}
	state := s.tlsState()
	if state == nil {
		return nil, fmt.Errorf("%s needs TLS: %w", name, ErrPlaintextAuth)
	}
	if name == "SCRAM-SHA-1-PLUS" {
		return gomail.ScramSHA1PlusAuth(user, password, state), nil
	}
	return gomail.ScramSHA256PlusAuth(user, password, state), nil
}

// authenticateToken sends an access token by XOAUTH2, over TLS only: whoever
// reads a bearer token can use it.
func (s *session) authenticateToken(ctx context.Context, t *tokens) *Error {
	const command = "AUTH XOAUTH2"
	if s.tlsState() == nil {
		return &Error{Stage: StageAuth, Command: command, Err: ErrPlaintextAuth}
	}
	token, err := t.token(ctx)
	if err != nil {
		if why := over(ctx); why != nil {
			err = why
		}
		return &Error{Stage: StageAuth, Command: command, Err: err}
	}
	e := s.exchange("XOAUTH2", gomail.XOAuth2Auth(s.o.OAuth2.User, token), token)
	if e != nil {
		e.drop = func() { t.drop(token) }
	}
	return e
}

// exchange holds the AUTH dialogue (RFC 4954 §4). What it sends, and secret,
// appear in no error, even if the server repeats it.
func (s *session) exchange(mech string, a gomail.Auth, secret string) *Error {
	command := "AUTH " + mech
	rd := redactor{}
	rd.add(secret)
	_, resp, err := a.Start(&gomail.ServerInfo{Name: s.o.Host, TLS: s.tlsState() != nil, Auth: s.ext.mechs})
	if err != nil {
		return &Error{Stage: StageAuth, Command: command, Err: errors.New("the mechanism cannot begin")} // err may quote
	}
	line := command
	if resp != nil {
		line += " " + rd.encode(resp)
	}
	s.discreet = true
	for round := 0; ; round++ {
		r, err := s.command(line, s.o.SocketTimeout)
		r = rd.redact(r)
		switch {
		case err == nil && r.Positive():
			return nil
		case errors.Is(err, errMalformed):
			return s.failed(StageAuth, command, r, fmt.Errorf("%w to AUTH", errMalformed))
		case err != nil || r.Code != 334:
			return s.failed(StageAuth, command, r, err)
		case round == maxRounds:
			return s.giveUp(command, fmt.Errorf("%w: more than %d challenges", errMalformed, maxRounds))
		}
		resp, err := answer(a, r.text(0))
		if err != nil {
			return s.giveUp(command, fmt.Errorf("%w: %w", errMalformed, err))
		}
		line = rd.encode(resp)
	}
}

// giveUp ends an exchange that the server waits in (RFC 4954 §4).
func (s *session) giveUp(command string, err error) *Error {
	_, _ = s.command("*", s.o.SocketTimeout)
	s.broken = true
	return &Error{Stage: StageAuth, Command: command, Err: err}
}

// answer returns what a says to a challenge. Challenges that are not base64
// come from servers that mean them for people, such as "Username:".
func answer(a gomail.Auth, challenge string) ([]byte, error) {
	plain, err := base64.StdEncoding.DecodeString(strings.TrimSpace(challenge))
	if err != nil {
		plain = []byte(challenge)
	}
	if _, n, ok := strings.Cut(string(plain), ",i="); ok && strings.HasPrefix(string(plain), "r=") {
		n, _, _ = strings.Cut(n, ",")
		if i, err := strconv.Atoi(n); err != nil || i < 1 || i > maxIterations {
			return nil, fmt.Errorf("the server asks for less than 1 or more than %d iterations", maxIterations)
		}
	}
	resp, err := a.Next(plain, true)
	if err != nil {
		return nil, errors.New("the server's challenge cannot be answered") // err may quote it
	}
	return resp, nil
}
