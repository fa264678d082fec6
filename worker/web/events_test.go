package web

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rs/zerolog"

	"postrider/delivery"
)

// post tells events of a change and returns the answer, what was counted and
// what was logged.
func post(e Events, r *http.Request) (w *httptest.ResponseRecorder, counted []string, logged string) {
	var log bytes.Buffer
	e.Log = zerolog.New(&log)
	e.Count = func(result string) { counted = append(counted, result) }
	w = httptest.NewRecorder()
	e.ServeHTTP(w, r)
	return w, counted, log.String()
}

// body is a request with an event in it.
func body(text string) *http.Request {
	return httptest.NewRequest(http.MethodPost, "/events", strings.NewReader(text))
}

func TestAnswersToEvents(t *testing.T) {
	g := newGoogle(t)
	caller, err := NewCaller(t.Context(), testAudience, testAccount, g)
	if err != nil {
		t.Fatal(err)
	}
	unreachable, err := NewCaller(t.Context(), testAudience, testAccount, &google{err: io.EOF})
	if err != nil {
		t.Fatal(err)
	}
	get := body("event")
	get.Method = http.MethodGet
	signed := func(c map[string]any) *http.Request {
		r := body("event")
		r.Header.Set("Authorization", "Bearer "+token(t, g.key, rs256, c))
		return r
	}
	type want struct {
		code                 int
		result, retry, level string
	}
	cases := map[string]struct {
		request *http.Request
		caller  *Caller
		found   bool
		decode  error
		deliver error
		want    want
	}{
		"taken care of":        {body("event"), nil, true, nil, nil, want{204, "done", "", ""}},
		"nothing to do":        {body("event"), nil, false, nil, nil, want{204, "ignored", "", ""}},
		"can't be read":        {body("event"), nil, false, errors.New("ce-type is missing"), nil, want{400, "refused", "", "error"}},
		"no hand free":         {body("event"), nil, true, nil, fmt.Errorf("deliver: %w", delivery.ErrFull), want{429, "full", "1", "debug"}},
		"stopping":             {body("event"), nil, true, nil, fmt.Errorf("deliver: %w", delivery.ErrStopping), want{503, "full", "10", "debug"}},
		"elsewhere":            {body("event"), nil, true, nil, delivery.ErrElsewhere, want{503, "failed", "10", "debug"}},
		"not recorded":         {body("event"), nil, true, nil, errors.New("unavailable"), want{503, "failed", "10", "debug"}},
		"not a POST":           {get, nil, true, nil, nil, want{405, "refused", "", "debug"}},
		"as large as may be":   {body(strings.Repeat("x", MaxEvent)), nil, true, nil, nil, want{204, "done", "", ""}},
		"too large":            {body(strings.Repeat("x", MaxEvent+1)), nil, true, nil, nil, want{413, "refused", "", "error"}},
		"cut off":              {httptest.NewRequest(http.MethodPost, "/events", io.MultiReader(strings.NewReader("x"), broken{})), nil, true, nil, nil, want{408, "failed", "", "debug"}},
		"the account":          {signed(claims()), caller, true, nil, nil, want{204, "done", "", ""}},
		"nobody":               {body("event"), caller, true, nil, nil, want{401, "refused", "", "warn"}},
		"another audience":     {signed(claims("aud", "x")), caller, true, nil, nil, want{401, "refused", "", "warn"}},
		"another account":      {signed(claims("email", "x")), caller, true, nil, nil, want{403, "refused", "", "warn"}},
		"keys not fetched":     {signed(claims()), unreachable, true, nil, nil, want{503, "failed", "10", "debug"}},
		"stranger, too large":  {body(strings.Repeat("x", MaxEvent+1)), caller, true, nil, nil, want{401, "refused", "", "warn"}},
		"stranger, wrong data": {body("event"), caller, false, errors.New("ce-type is missing"), nil, want{401, "refused", "", "warn"}},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			w, counted, logged := post(Events{
				Decode: func(http.Header, []byte) (delivery.Snapshot, bool, error) {
					return delivery.Snapshot{ID: "m1"}, c.found, c.decode
				},
				Deliver: func(context.Context, delivery.Snapshot) error { return c.deliver },
				Caller:  c.caller,
			}, c.request)
			var line struct{ Level string }
			if logged != "" && json.Unmarshal([]byte(logged), &line) != nil {
				t.Fatalf("logged %q", logged)
			}
			got := want{w.Code, strings.Join(counted, " "), w.Header().Get("Retry-After"), line.Level}
			if got != c.want {
				t.Errorf("got %+v, want %+v", got, c.want)
			}
			if (w.Code == 401) != (w.Header().Get("WWW-Authenticate") == "Bearer") || (w.Code == 405) != (w.Header().Get("Allow") == "POST") {
				t.Errorf("header %v", w.Header())
			}
			if c.decode != nil && w.Code == 400 && !strings.Contains(w.Body.String(), c.decode.Error()) {
				t.Errorf("body %q does not say what is wrong", w.Body)
			}
		})
	}
}

// broken is a body whose sender is gone.
type broken struct{}

func (broken) Read([]byte) (int, error) { return 0, io.ErrUnexpectedEOF }

func TestWhatIsRefusedIsNeitherReadNorDelivered(t *testing.T) {
	caller, err := NewCaller(t.Context(), testAudience, testAccount, newGoogle(t))
	if err != nil {
		t.Fatal(err)
	}
	decoded, delivered := 0, 0
	e := Events{
		Decode: func(http.Header, []byte) (delivery.Snapshot, bool, error) {
			decoded++
			return delivery.Snapshot{}, true, errors.New("ce-type is missing")
		},
		Deliver: func(context.Context, delivery.Snapshot) error { delivered++; return nil },
	}
	post(e, body(strings.Repeat("x", MaxEvent+1)))
	e.Caller = caller
	post(e, body("event"))
	if decoded != 0 {
		t.Errorf("decoded %d times what was refused before", decoded)
	}
	e.Caller = nil
	post(e, body("event"))
	if decoded != 1 || delivered != 0 {
		t.Errorf("decoded %d times, delivered %d times", decoded, delivered)
	}
}

func TestEventsAreHandedOnAsTheyCame(t *testing.T) {
	r := body("the event")
	r.Header.Set("Ce-Type", "kind")
	want := delivery.Snapshot{ID: "m1", Size: 7}
	post(Events{
		Decode: func(h http.Header, body []byte) (delivery.Snapshot, bool, error) {
			if h.Get("Ce-Type") != "kind" || string(body) != "the event" {
				t.Errorf("got %v, %q", h, body)
			}
			return want, true, nil
		},
		Deliver: func(_ context.Context, s delivery.Snapshot) error {
			if s.ID != want.ID || s.Size != want.Size {
				t.Errorf("got %+v", s)
			}
			return nil
		},
	}, r)
}

// Over a real connection: the answer comes after Deliver, not before, and a
// caller that hangs up ends Deliver's context.
func TestAnswersWaitForDeliver(t *testing.T) {
	entered, leave := make(chan struct{}), make(chan error)
	counted := make(chan string, 1)
	server := httptest.NewServer(Events{
		Decode: func(http.Header, []byte) (delivery.Snapshot, bool, error) { return delivery.Snapshot{}, true, nil },
		Deliver: func(ctx context.Context, _ delivery.Snapshot) error {
			entered <- struct{}{}
			select {
			case err := <-leave:
				return err
			case <-ctx.Done():
				return ctx.Err()
			}
		},
		Count: func(result string) { counted <- result },
		Log:   zerolog.Nop(),
	})
	defer server.Close()
	answered := make(chan int, 1)
	go func() {
		res, err := server.Client().Post(server.URL, "text/plain", strings.NewReader("event"))
		if err != nil {
			answered <- 0
			return
		}
		_ = res.Body.Close()
		answered <- res.StatusCode
	}()
	<-entered
	select {
	case code := <-answered:
		t.Fatalf("answered %d while the document was in hand", code)
	default:
	}
	leave <- nil
	if code := <-answered; code != http.StatusNoContent || <-counted != EventDone {
		t.Errorf("answered %d", code)
	}

	connection, err := net.Dial("tcp", server.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	fmt.Fprint(connection, "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nevent")
	<-entered
	_ = connection.Close()
	if result := <-counted; result != EventFailed {
		t.Errorf("counted %q after the caller hung up", result)
	}
}

// pipes is a listener with one connection in memory.
type pipes struct {
	conn   chan net.Conn
	closed chan struct{}
}

func (p pipes) Accept() (net.Conn, error) {
	select {
	case c := <-p.conn:
		return c, nil
	case <-p.closed:
		return nil, net.ErrClosed
	}
}

func (p pipes) Close() error   { close(p.closed); return nil }
func (p pipes) Addr() net.Addr { return &net.TCPAddr{} }

func TestTheBodyHasADeadlineAndTheAttemptHasNot(t *testing.T) {
	caller, err := NewCaller(t.Context(), testAudience, testAccount, newGoogle(t))
	if err != nil {
		t.Fatal(err)
	}
	cases := map[string]struct {
		caller *Caller
		sent   string
		took   time.Duration
		code   int
	}{
		"a long attempt":                  {nil, "event", 10 * bodyTime, http.StatusNoContent},
		"a body that never arrives":       {nil, "ev", bodyTime, http.StatusRequestTimeout},
		"a stranger's that never arrives": {caller, "ev", bodyTime, http.StatusUnauthorized},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				code, took := talk(t, c.sent, Events{
					Decode: func(http.Header, []byte) (delivery.Snapshot, bool, error) { return delivery.Snapshot{}, true, nil },
					Deliver: func(ctx context.Context, _ delivery.Snapshot) error {
						time.Sleep(10 * bodyTime)
						return ctx.Err()
					},
					Caller: c.caller,
					Count:  func(string) {},
				})
				if code != c.code || took != c.took {
					t.Errorf("answered %d after %v", code, took)
				}
			})
		})
	}
}

// talk sends a request with a body of five bytes, of which those in sent come,
// over a connection in memory. It returns the answer's code and how long it took.
func talk(t *testing.T, sent string, h http.Handler) (int, time.Duration) {
	t.Helper()
	server := &http.Server{Handler: h}
	listener, ended := pipes{make(chan net.Conn, 1), make(chan struct{})}, make(chan error)
	near, far := net.Pipe()
	listener.conn <- far
	go func() { ended <- server.Serve(listener) }()
	defer func() {
		_ = near.Close()
		_ = server.Close()
		<-ended
	}()
	began := time.Now()
	fmt.Fprint(near, "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\n"+sent)
	res, err := http.ReadResponse(bufio.NewReader(near), nil)
	if err != nil {
		t.Fatal(err)
	}
	return res.StatusCode, time.Since(began)
}
