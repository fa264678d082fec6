package web

import (
	"context"
	"errors"
	"io"
	"net/http"
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/rs/zerolog"

	"postrider/delivery"
)

// MaxEvent bounds the body of an event, in bytes: a document before and after a
// change, each of Firestore's 1 MiB at most, in base64 or as JSON.
const MaxEvent = 4 << 20

// bodyTime bounds how long the body of an event may take to arrive.
const bodyTime = 30 * time.Second

// Events answers POST requests that tell of changed documents, as Eventarc
// sends them: once the document is taken care of, so that what failed is told
// again. All fields but Caller are set.
//
//	204  the mail's attempt has ended and is recorded, or nothing was to be done
//	400  the event can't be read, 413 it is too large
//	401  the caller has no valid token, 403 the token is another account's
//	405  the method is not POST
//	429  no hand is free
//	503  stopping, claimed by another instance, or Firestore or Google's keys
//	     did not answer
//
// 429 and 503 come with Retry-After. Eventarc sends an event again whatever the
// code, unless it is a success (Pub/Sub: 102, 200, 201, 202 or 204), for a day;
// it waits by its own rules, not by Retry-After. An event that can't be read
// therefore comes, and is logged as an error, many times: its document is left to
// an audit, and its trigger wants correcting.
type Events struct {
	// Decode reads an event, and says whether there may be something to do about
	// its document. Its error names the wrong field, and no content.
	Decode func(http.Header, []byte) (s delivery.Snapshot, found bool, err error)

	// Deliver returns once a document is taken care of. When ctx ends, as it does
	// when the caller hangs up, Deliver may return but an attempt goes on.
	// Its errors are delivery.ErrFull, ErrStopping, ErrElsewhere, or say why what
	// became of the document could not be recorded.
	Deliver func(ctx context.Context, s delivery.Snapshot) error

	// Caller checks who calls; nil lets everybody. An event is believed, its mail
	// is sent: without a Caller the platform has to let nobody else in.
	Caller *Caller

	// Count is told of every request how it was answered: EventDone and so on.
	Count func(result string)

	Log zerolog.Logger
}

// What Events.Count is told.
const (
	EventDone    = "done"    // taken care of
	EventIgnored = "ignored" // nothing to do by the event alone
	EventRefused = "refused" // by its caller, method, size or content
	EventFull    = "full"    // no hand free, or stopping
	EventFailed  = "failed"  // elsewhere, not recorded, or not waited for
)

// verdict is how a request is answered.
type verdict struct {
	code   int
	result string
	retry  time.Duration // 0 if it makes no sense
	err    error         // nil for 204
}

// How long to wait before another try, for who asks: a hand is free soon, a
// restart or an outage takes longer.
const (
	retrySoon  = time.Second
	retryLater = 10 * time.Second
)

// ServeHTTP takes one event.
func (e Events) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	v := e.take(w, r)
	e.Count(v.result)
	if v.err == nil {
		w.WriteHeader(v.code)
		return
	}
	e.Log.WithLevel(v.level()).Int("status", v.code).Err(v.err).Msg("event not taken")
	switch v.code {
	case http.StatusUnauthorized:
		w.Header().Set("WWW-Authenticate", "Bearer") // RFC 6750 §3
	case http.StatusMethodNotAllowed:
		w.Header().Set("Allow", http.MethodPost)
	}
	if v.retry > 0 {
		w.Header().Set("Retry-After", strconv.Itoa(int(v.retry/time.Second)))
	}
	answer(w, v.code, map[string]string{"error": v.err.Error()})
}

// level returns how much it matters that an event was not taken: one that can't
// be read never will be, a stranger is to be expected, and what is told again
// has its own lines.
func (v verdict) level() zerolog.Level {
	switch v.code {
	case http.StatusBadRequest, http.StatusRequestEntityTooLarge:
		return zerolog.ErrorLevel
	case http.StatusUnauthorized, http.StatusForbidden:
		return zerolog.WarnLevel
	}
	return zerolog.DebugLevel
}

// take does everything but the answer.
func (e Events) take(w http.ResponseWriter, r *http.Request) verdict {
	// Before it answers, the server reads what is left of a body that was refused.
	connection := http.NewResponseController(w)
	_ = connection.SetReadDeadline(time.Now().Add(bodyTime)) // only a test's has none
	if r.Method != http.MethodPost {
		return verdict{code: http.StatusMethodNotAllowed, result: EventRefused, err: errors.New("method is not POST")}
	}
	if e.Caller != nil {
		if err := e.Caller.Check(r); err != nil {
			return judgeCaller(err)
		}
	}
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, MaxEvent))
	if err != nil {
		return judgeBody(err)
	}
	// A deadline that passes from here on would look as if the caller had hung up.
	_ = connection.SetReadDeadline(time.Time{})
	s, found, err := e.Decode(r.Header, body)
	if err != nil {
		return verdict{code: http.StatusBadRequest, result: EventRefused, err: err}
	}
	if !found {
		return verdict{code: http.StatusNoContent, result: EventIgnored}
	}
	return judge(e.Deliver(r.Context(), s))
}

// judge returns what is answered after Deliver.
func judge(err error) verdict {
	switch {
	case err == nil:
		return verdict{code: http.StatusNoContent, result: EventDone}
	case errors.Is(err, delivery.ErrFull):
		return verdict{code: http.StatusTooManyRequests, result: EventFull, retry: retrySoon, err: err}
	case errors.Is(err, delivery.ErrStopping), errors.Is(err, delivery.ErrUnavailable):
		return verdict{code: http.StatusServiceUnavailable, result: EventFull, retry: retryLater, err: err}
	}
	return verdict{code: http.StatusServiceUnavailable, result: EventFailed, retry: retryLater, err: err}
}

// judgeCaller returns what is answered to who may not call.
func judgeCaller(err error) verdict {
	switch {
	case errors.Is(err, errKeys):
		return verdict{code: http.StatusServiceUnavailable, result: EventFailed, retry: retryLater, err: err}
	case errors.Is(err, errAccount):
		return verdict{code: http.StatusForbidden, result: EventRefused, err: err}
	}
	return verdict{code: http.StatusUnauthorized, result: EventRefused, err: err}
}

// judgeBody returns what is answered to a body that was not read.
func judgeBody(err error) verdict {
	if _, large := errors.AsType[*http.MaxBytesError](err); large {
		return verdict{code: http.StatusRequestEntityTooLarge, result: EventRefused, err: err}
	}
	return verdict{code: http.StatusRequestTimeout, result: EventFailed, err: err}
}

// NewCount returns what Events.Count may be: a metric registered with r.
func NewCount(r prometheus.Registerer) func(result string) {
	events := prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "postrider_events_total", Help: "Events that were answered, by result: done, ignored, refused, full, failed.",
	}, []string{"result"})
	r.MustRegister(events)
	return func(result string) { events.WithLabelValues(result).Inc() }
}
