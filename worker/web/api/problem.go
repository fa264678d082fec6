package api

import (
	"context"
	"errors"
	"math"
	"net/http"
	"strconv"
	"time"

	"postrider/delivery"
)

// problem is an error as it is answered: Azure's error object (Microsoft REST API
// Guidelines, "Error condition responses").
type problem struct {
	Code    string    `json:"code"`
	Message string    `json:"message"`
	Target  string    `json:"target,omitempty"` // the field or parameter
	Details []problem `json:"details,omitempty"`

	status int
	retry  time.Duration // 0 if it makes no sense
	allow  string        // the method that is allowed, with 405
}

// Error returns the message.
func (p *problem) Error() string { return p.Message }

// bad returns the problem of a request whose field or parameter is wrong; message
// says what, and the remedy.
func bad(target, message string) *problem {
	return &problem{status: http.StatusBadRequest, Code: "InvalidRequest", Message: message, Target: target}
}

// denied returns the problem of a caller who is not known.
func denied(d dialect, cause error) *problem {
	p := &problem{status: http.StatusUnauthorized, Code: "Denied", Message: cause.Error()}
	if d == arm {
		p.Code = "InvalidAuthenticationToken"
	}
	return p
}

// missing returns the problem of an ID that nothing has.
func missing(d dialect) *problem {
	p := &problem{status: http.StatusNotFound, Code: "NotFound", Message: "there is nothing with this ID; it is the document's, which may have been deleted"}
	if d == arm {
		p.Code = "ResourceNotFound"
	}
	return p
}

// tooLarge returns the problem of a body of more than max bytes.
func tooLarge(max int, remedy string) *problem {
	return &problem{
		status: http.StatusRequestEntityTooLarge, Code: "RequestBodyTooLarge",
		Message: "the body has more than " + strconv.Itoa(max) + " bytes; " + remedy,
	}
}

// retryLater is when Firestore may answer again.
const retryLater = 10 * time.Second

// problem returns an error as it is answered. What the store says is logged, and
// not told: it names what is none of the caller's business.
func (a *API) problem(found *route, err error) *problem {
	if p, ok := errors.AsType[*problem](err); ok {
		return p
	}
	switch {
	case errors.Is(err, delivery.ErrGone):
		return missing(found.dialect)
	case errors.Is(err, context.Canceled): // the caller has hung up
	default:
		a.Log.Warn().Err(err).Str("route", found.name).Msg("a request could not be answered")
	}
	return &problem{
		status: http.StatusServiceUnavailable, Code: "ServiceUnavailable", retry: retryLater,
		Message: "Firestore did not answer; try again as Retry-After says",
	}
}

// headers sets what goes with a problem.
func (p *problem) headers(h http.Header, d dialect) {
	if d == email {
		h.Set("X-Ms-Error-Code", p.Code)
	}
	if p.retry > 0 {
		h.Set("Retry-After", seconds(p.retry))
	}
	if p.allow != "" {
		h.Set("Allow", p.allow)
	}
	if p.status == http.StatusUnauthorized {
		h.Set("Www-Authenticate", challenge(d, p.Code))
	}
}

// challenge says how to ask (RFC 9110 §11.6.1, RFC 6750 §3).
func challenge(d dialect, code string) string {
	if d == arm || d == chat {
		return `Bearer error="invalid_token", error_description="` + code + `"`
	}
	return "HMAC-SHA256"
}

// seconds returns a Retry-After (RFC 9110 §10.2.3): whole seconds, one at least.
func seconds(d time.Duration) string {
	return strconv.FormatInt(max(1, int64(math.Ceil(d.Seconds()))), 10)
}
