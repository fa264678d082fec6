package smtp

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"syscall"
	"testing"
	"time"

	"postrider/smtp/smtptest"
)

// leased is a limit that was put off once and ends soon, as those of leases do:
// it tells no deadline.
func leased(t *testing.T) context.Context {
	limit, end := context.WithCancelCause(t.Context())
	timer := time.AfterFunc(time.Hour, func() { end(fmt.Errorf("lease: %w", context.DeadlineExceeded)) })
	timer.Reset(2 * time.Second)
	t.Cleanup(func() { timer.Stop() })
	return limit
}

func TestTheLimitEndsEverything(t *testing.T) {
	t.Parallel()
	login := Options{Username: "u", Password: "p"}
	for at, c := range map[string]struct {
		b     smtptest.Behaviour
		o     Options
		stage Stage
	}{
		"greeting":    {smtptest.Behaviour{HangAt: "greeting"}, Options{}, StageGreeting},
		"ehlo":        {smtptest.Behaviour{HangAt: "ehlo"}, Options{}, StageHello},
		"starttls":    {smtptest.Behaviour{StartTLS: true, HangAt: "starttls"}, Options{}, StageTLS},
		"handshake":   {smtptest.Behaviour{HangAt: "greeting"}, Options{Secure: true}, StageTLS},
		"auth":        {smtptest.Behaviour{AuthUsers: map[string]string{}, HangAt: "auth"}, login, StageAuth},
		"mail":        {smtptest.Behaviour{HangAt: "mail"}, Options{}, StageMail},
		"rcpt":        {smtptest.Behaviour{HangAt: "rcpt"}, Options{}, StageRcpt},
		"data":        {smtptest.Behaviour{HangAt: "data"}, Options{}, StageData},
		"final reply": {smtptest.Behaviour{HangAt: "dataEnd"}, Options{}, StageMessage},
	} {
		t.Run(at, func(t *testing.T) {
			t.Parallel()
			_, err := pool(t, sink(t, c.b).Addr(), c.o).Send(t.Context(), leased(t), letter())
			e := expect(t, err, c.stage, CauseTimeout, at != "final reply")
			if e.PossiblyAccepted != (at == "final reply") || !strings.Contains(e.Error(), "the attempt's time is over") {
				t.Errorf("got %v, possibly accepted %v", e, e.PossiblyAccepted)
			}
		})
	}
}

func TestTheLimitEndsTheWaitForAToken(t *testing.T) {
	t.Parallel()
	stop := make(chan struct{})
	i := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { <-stop }))
	defer i.Close()
	defer close(stop)
	s := sink(t, smtptest.Behaviour{ImplicitTLS: true, AuthUsers: map[string]string{}, AuthMechs: []string{"XOAUTH2"}})
	_, err := pool(t, s.Addr(), withToken(s, i)).Send(t.Context(), leased(t), letter())
	if e := expect(t, err, StageAuth, CauseTimeout, true); !e.Unreachable() || e.Login() {
		t.Errorf("got %v", e)
	}
}

// A server that asks for the message and does not read it fills every buffer on
// the way: the write itself must be cut.
func TestTheLimitEndsTheWritingOfAMessage(t *testing.T) {
	t.Parallel()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	limit, end := context.WithCancelCause(t.Context())
	done, stop := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		c, err := l.Accept()
		if err != nil {
			return
		}
		defer c.Close()
		_, _ = io.WriteString(c, "220 x\r\n")
		for in := bufio.NewScanner(c); in.Scan(); {
			if in.Text() == "DATA" {
				_, _ = io.WriteString(c, "354 go on\r\n")
				defer time.AfterFunc(50*time.Millisecond, func() { end(context.DeadlineExceeded) }).Stop()
				<-stop
				return
			}
			_, _ = io.WriteString(c, "250 x\r\n")
		}
	}()
	m := letter()
	m.Message = []byte(strings.Repeat("a line of the message\r\n", 1<<20))
	_, err = pool(t, l.Addr().String(), Options{}).Send(t.Context(), limit, m)
	if e := expect(t, err, StageMessage, CauseTimeout, true); e.PossiblyAccepted {
		t.Errorf("got %v", e)
	}
	close(stop)
	<-done
}

func TestTheLimitEndsAConnectionThatIsNeverMade(t *testing.T) {
	t.Parallel()
	addr := blackHole(t)
	_, err := pool(t, addr, Options{}).Send(t.Context(), leased(t), letter())
	if e := expect(t, err, StageConnect, CauseTimeout, true); !e.Unreachable() {
		t.Errorf("by its limit: %v", e)
	}
	ctx, stop := context.WithCancel(t.Context())
	defer time.AfterFunc(50*time.Millisecond, stop).Stop()
	_, err = pool(t, addr, Options{}).Send(ctx, t.Context(), letter())
	if e := expect(t, err, StageConnect, CauseCancelled, true); e.Unreachable() {
		t.Errorf("by the caller: %v", e)
	}
}

// A deadline that a context tells may be put off: what runs must not keep it.
func TestADeadlineThatMayMoveIsNotKept(t *testing.T) {
	t.Parallel()
	end := time.Now().Add(time.Hour)
	for _, c := range [][2]context.Context{{movable{t.Context(), &end}, t.Context()}, {t.Context(), movable{t.Context(), &end}}} {
		both, stop := either(c[0], c[1])
		if at, ok := both.Deadline(); ok {
			t.Errorf("it is kept: %v", at)
		}
		stop()
	}
}

// blackHole is a port that answers no connection: its backlog is full.
func blackHole(t *testing.T) string {
	fd, err := syscall.Socket(syscall.AF_INET, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = syscall.Close(fd) })
	if err := syscall.Bind(fd, &syscall.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Listen(fd, 0); err != nil {
		t.Fatal(err)
	}
	own, err := syscall.Getsockname(fd)
	if err != nil {
		t.Fatal(err)
	}
	addr := fmt.Sprintf("127.0.0.1:%d", own.(*syscall.SockaddrInet4).Port)
	for range 10 {
		c, err := net.DialTimeout("tcp", addr, 200*time.Millisecond)
		if err != nil {
			return addr
		}
		t.Cleanup(func() { c.Close() })
	}
	t.Fatal("the backlog does not fill")
	return ""
}
