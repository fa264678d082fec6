package api

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"time"

	"github.com/rs/zerolog"
	"golang.org/x/sync/semaphore"

	"postrider/delivery"
	"postrider/worker/web/access"
)

// maxBody bounds the body of a request, in bytes: a document of Firestore's has
// 1 MiB at most, and attachments come in base64.
const maxBody = 2 << 20

// How large the bodies may be that are worked on at a time, in bytes, and how long
// one waits for room. Each takes four or five times its size until it is stored.
const (
	maxBodies = 16 << 20
	roomTime  = 10 * time.Second
)

// Mails is the mail collection as the API sees it.
type Mails interface {
	// Now is the time by the clock that leases are reckoned by, UTC.
	Now() time.Time
	// Status returns a document's fields delivery and request, and when it was
	// added; delivery.ErrGone if there is none. It costs one read.
	Status(ctx context.Context, id string) (s delivery.Snapshot, added time.Time, err error)
	// Create adds a document; delivery.ErrConflict says that there is one with
	// that ID, delivery.ErrRefused that Firestore does not take it as it is.
	Create(ctx context.Context, id string, f delivery.Fields) error
}

// Options are the API's settings and what it works on. All are set.
type Options struct {
	Keys      *access.Keys
	Rate      *access.Rate
	Mails     Mails
	Bulk      Bulk
	Receipts  Receipts
	Senders   []string             // who mails may be from; see [allowed]
	PublicURL string               // as in "https://mail.example.com"; "" for what requests say
	Lease     time.Duration        // of a claim
	Policy    delivery.Policy      // of retries
	Pace      func() time.Duration // how long a document waits that is found now
	Pixels    Pixels
	Count     func(route string, status int) // is told of every answer
	Log       zerolog.Logger
}

// API answers requests. Make it with [New].
type API struct {
	Options
	routes []route
	bodies *semaphore.Weighted // by size
}

// New returns an API with all its routes.
func New(o Options) *API {
	a := &API{Options: o, bodies: semaphore.NewWeighted(maxBodies)}
	a.routes = a.table()
	return a
}

// ServeHTTP answers a request; one for no route of the API's with 404.
func (a *API) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	found, args := a.find(r)
	if found == nil {
		a.Count("none", a.write(w, &route{dialect: email}, reply{}, &problem{
			status: http.StatusNotFound, Code: "NotFound", Message: "there is nothing at this address; deploy/openapi.yaml lists what there is",
		}))
		return
	}
	if found.public != nil {
		a.Count(found.name, found.public(w, r, args))
		return
	}
	c, free, err := a.admit(w, r, found, args)
	defer free()
	var answer reply
	if err == nil {
		answer, err = found.handle(r.Context(), c)
	}
	a.Count(found.name, a.write(w, found, answer, err))
}

// admit checks who asks, and reads what is asked. Free gives back the room that it
// takes.
func (a *API) admit(w http.ResponseWriter, r *http.Request, found *route, args map[string]string) (c *call, free func(), err error) {
	now, free := time.Now(), func() {}
	caller, err := a.caller(found, r, now)
	if err != nil {
		discard(w, r)
		return nil, free, denied(found.dialect, err)
	}
	if free, err = a.room(r); err != nil {
		discard(w, r)
		return nil, free, err
	}
	body, fault := a.body(w, r)
	if fault == nil && found.scope == "" {
		if err = access.Whole(r, body); err != nil {
			return nil, free, denied(found.dialect, err)
		}
	}
	if err = a.permit(found, r, caller, now); err != nil {
		return nil, free, err
	}
	c = &call{request: r, args: args, body: body, base: a.base(r), dialect: found.dialect}
	if c.version, err = found.version(r.URL.Query()); err != nil {
		return nil, free, err
	}
	return c, free, fault
}

// permit checks whether a caller may ask this, now, and in this way.
func (a *API) permit(found *route, r *http.Request, caller access.Caller, now time.Time) error {
	if found.scope != "" && !caller.Has(found.scope) {
		return &problem{
			status: http.StatusForbidden, Code: "Forbidden",
			Message: "the token does not have the scope " + found.scope + "; ask for one that has",
		}
	}
	if wait, ok := a.Rate.Allow(caller.Key, now); !ok {
		return &problem{
			status: http.StatusTooManyRequests, Code: "TooManyRequests", retry: max(wait, time.Second),
			Message: "this key has asked more often than API_RATE allows; wait as Retry-After says",
		}
	}
	if r.Method != found.method {
		return &problem{
			status: http.StatusMethodNotAllowed, Code: "MethodNotAllowed", allow: found.method,
			Message: "this is asked for by " + found.method,
		}
	}
	return nil
}

// room waits for room for a request's body. Free gives it back.
func (a *API) room(r *http.Request) (free func(), err error) {
	n := r.ContentLength
	if n < 0 || n > maxBody {
		n = maxBody
	}
	if n == 0 {
		return func() {}, nil
	}
	ctx, cancel := context.WithTimeout(r.Context(), roomTime)
	defer cancel()
	if a.bodies.Acquire(ctx, n) != nil {
		return func() {}, &problem{
			status: http.StatusServiceUnavailable, Code: "ServiceUnavailable", retry: retryLater,
			Message: "more is being handed in than can be stored; try again as Retry-After says",
		}
	}
	return func() { a.bodies.Release(n) }, nil
}

// caller says who asks. Its signature or its token is in the header: nothing of a
// stranger's body is kept.
func (a *API) caller(found *route, r *http.Request, now time.Time) (access.Caller, error) {
	if found.scope != "" {
		return a.Keys.Bearer(r, now)
	}
	return a.Keys.Signed(r, now)
}

// discard throws a body away as it comes: who is cut off while it sends does not get
// to read why.
func discard(w http.ResponseWriter, r *http.Request) {
	_, _ = io.Copy(io.Discard, http.MaxBytesReader(w, r.Body, maxBody)) // what is too large cuts itself off
}

// body reads a request's. The server has set how long it may take to arrive.
func (a *API) body(w http.ResponseWriter, r *http.Request) ([]byte, error) {
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxBody))
	if _, large := errors.AsType[*http.MaxBytesError](err); large {
		return nil, tooLarge(maxBody, "a mail has to fit into a document of Firestore's, of 1 MiB: send links to large files")
	}
	if err != nil {
		return nil, &problem{status: http.StatusRequestTimeout, Code: "RequestTimeout", Message: "the body did not arrive in full"}
	}
	// A deadline that passes from here on would look as if the caller had hung up.
	_ = http.NewResponseController(w).SetReadDeadline(time.Time{}) // only a test's has none
	return body, nil
}

// write answers, and returns the status.
func (a *API) write(w http.ResponseWriter, found *route, answer reply, err error) int {
	h := w.Header()
	h.Set("Cache-Control", "no-store")
	h.Set("X-Content-Type-Options", "nosniff")
	if err != nil {
		p := a.problem(found, err)
		p.headers(h, found.dialect)
		answer = reply{status: p.status, body: map[string]*problem{"error": p}}
	}
	for name, values := range answer.header {
		h[name] = values
	}
	if answer.body == nil {
		w.WriteHeader(answer.status)
		return answer.status
	}
	h.Set("Content-Type", "application/json; charset=utf-8")
	w.WriteHeader(answer.status)
	e := json.NewEncoder(w)
	e.SetEscapeHTML(false)    // it is no page, and nosniff keeps it from becoming one
	_ = e.Encode(answer.body) // the client may be gone
	return answer.status
}
