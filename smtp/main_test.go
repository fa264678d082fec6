package smtp

import (
	"context"
	"errors"
	"net"
	"strconv"
	"testing"
	"time"

	"go.uber.org/goleak"

	"postrider/smtp/smtptest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// sink starts a server that is closed when the test ends.
func sink(t testing.TB, b smtptest.Behaviour) *smtptest.Server {
	t.Helper()
	s, err := smtptest.Start(b)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

// pool opens a pool to addr that is closed when the test ends, before the
// server is.
func pool(t testing.TB, addr string, o Options) *Pool {
	t.Helper()
	host, port, err := net.SplitHostPort(addr)
	if err != nil {
		t.Fatal(err)
	}
	o.Host = host
	if o.Port, err = strconv.Atoi(port); err != nil {
		t.Fatal(err)
	}
	p, err := NewPool(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { p.Close() })
	return p
}

func letter(to ...string) Mail {
	if len(to) == 0 {
		to = []string{"ada@rcpt.test"}
	}
	return Mail{
		Envelope: Envelope{From: "default@sender.test", To: to},
		Message:  []byte("Subject: x\r\n\r\nhello\r\n"),
	}
}

// within is a limit that ends after d.
func within(t testing.TB, d time.Duration) context.Context {
	limit, stop := context.WithTimeout(t.Context(), d)
	t.Cleanup(stop)
	return limit
}

// failure asserts that err is an *Error and returns it.
func failure(t *testing.T, err error) *Error {
	t.Helper()
	var e *Error
	if !errors.As(err, &e) {
		t.Fatalf("got %v, want an *Error", err)
	}
	return e
}

// expect asserts where and why a mail failed.
func expect(t *testing.T, err error, stage Stage, cause Cause, temporary bool) *Error {
	t.Helper()
	e := failure(t, err)
	if e.Stage != stage || e.Cause() != cause || e.Temporary() != temporary {
		t.Errorf("got %s, %s, temporary %v (%v), want %s, %s, temporary %v",
			e.Stage, e.Cause(), e.Temporary(), e, stage, cause, temporary)
	}
	return e
}

// sentOnce says that a message has arrived whole, whatever the server says to
// it.
func sentOnce(all []smtptest.Session) bool {
	for _, r := range all {
		for _, tx := range r.Transactions {
			if tx.Data != nil {
				return true
			}
		}
	}
	return false
}
