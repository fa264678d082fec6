package smtp

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"syscall"
	"testing"
	"time"

	"postrider/smtp/smtptest"
)

func TestUnreachableAndLogin(t *testing.T) {
	t.Parallel()
	drained := fmt.Errorf("%w: drained", errCancelled)
	past := fmt.Errorf("the attempt's time is over: %w", context.DeadlineExceeded)
	for what, c := range map[string]struct {
		e                  Error
		unreachable, login bool
	}{
		"nobody listens":        {Error{Stage: StageConnect, Err: syscall.ECONNREFUSED}, true, false},
		"no such host":          {Error{Stage: StageConnect, Err: &net.DNSError{IsNotFound: true}}, true, false},
		"no route":              {Error{Stage: StageConnect, Err: syscall.EHOSTUNREACH}, true, false},
		"black hole":            {Error{Stage: StageConnect, Err: os.ErrDeadlineExceeded}, true, false},
		"black hole to the end": {Error{Stage: StageConnect, Err: past}, true, false},
		"stopped":               {Error{Stage: StageConnect, Err: drained}, false, false},
		"stopped at the login":  {Error{Stage: StageAuth, Err: drained}, false, false},
		"busy":                  {Error{Stage: StageConnect, Err: ErrBusy}, false, false},
		"waited to the end":     {Error{Stage: StageConnect, Err: fmt.Errorf("%w: %w", errWaiting, past)}, false, false},
		"pool closed":           {Error{Stage: StageConnect, Err: ErrPoolClosed}, false, false},
		"greeting 554":          {Error{Stage: StageGreeting, Reply: Reply{Code: 554}}, true, false},
		"greeting 421":          {Error{Stage: StageGreeting, Reply: Reply{Code: 421}}, true, false},
		"no SMTP":               {Error{Stage: StageGreeting, Err: errMalformed}, true, false},
		"EHLO closed":           {Error{Stage: StageHello, Err: ErrClosed}, true, false},
		"no TLS":                {Error{Stage: StageHello, Err: ErrNoStartTLS}, true, false},
		"bad certificate":       {Error{Stage: StageTLS, Err: errors.New("x509")}, true, false},
		"half a login":          {Error{Stage: StageAuth, Err: ErrMissingCredentials}, true, false},
		"login in clear":        {Error{Stage: StageAuth, Err: ErrPlaintextAuth}, true, false},
		"wrong password":        {Error{Stage: StageAuth, Reply: Reply{Code: 535}}, true, true},
		"login refused for now": {Error{Stage: StageAuth, Reply: Reply{Code: 454}}, true, false},
		"login closed":          {Error{Stage: StageAuth, Err: io.EOF}, true, false},
		"token refused":         {Error{Stage: StageAuth, Err: &TokenError{Status: 400, Code: "invalid_grant"}}, true, true},
		"token server down":     {Error{Stage: StageAuth, Err: &TokenError{Err: syscall.ECONNREFUSED}}, true, false},
		"token server busy":     {Error{Stage: StageAuth, Err: &TokenError{Status: 429}}, true, false},
		"not begun":             {Error{Stage: StageMail, Err: fmt.Errorf("%w: %w", errCaller, syscall.ECONNREFUSED)}, false, false},
		"sender refused":        {Error{Stage: StageMail, Reply: Reply{Code: 530}}, false, false},
		"no recipients":         {Error{Stage: StageRcpt, Err: ErrNoRecipients}, false, false},
		"bad address":           {Error{Stage: StageMail, Err: ErrInvalidAddress}, false, false},
		"closed at MAIL":        {Error{Stage: StageMail, Err: ErrClosed}, false, false},
		"no verdict":            {Error{Stage: StageMessage, Err: past, PossiblyAccepted: true}, false, false},
	} {
		if c.e.Unreachable() != c.unreachable || c.e.Login() != c.login {
			t.Errorf("%s: unreachable %v, login %v", what, c.e.Unreachable(), c.e.Login())
		}
	}
}

// silence is a port where connections are taken, and nothing ever said.
func silence(t *testing.T) string {
	s := sink(t, smtptest.Behaviour{HangAt: "greeting"})
	return s.Addr()
}

func TestALimitThatEndsDuringTheConnectionIsTheServersFault(t *testing.T) {
	t.Parallel()
	addr := silence(t)
	_, err := pool(t, addr, Options{}).Send(t.Context(), within(t, 50*time.Millisecond), letter())
	if e := expect(t, err, StageGreeting, CauseTimeout, true); !e.Unreachable() {
		t.Errorf("by its limit: %v", e)
	}
	ctx, stop := context.WithCancel(t.Context())
	time.AfterFunc(20*time.Millisecond, stop)
	_, err = pool(t, addr, Options{}).Send(ctx, t.Context(), letter())
	if e := expect(t, err, StageGreeting, CauseCancelled, true); e.Unreachable() {
		t.Errorf("by the caller: %v", e)
	}
}
