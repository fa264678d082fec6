package api

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"

	"postrider/delivery"
)

// send takes a mail in: it adds a document, whose ID is the mail's in every
// dialect. It answers 202 with a messageId or an EmailSendResult (Azure Communication Services Email, "Email - Send").
//
// With a key (see [keyOf]) a request that is sent again is answered as it was at
// first, and adds nothing, whichever instance gets it; one with the same key that
// asks for something else is refused. Without one, what a caller asks twice is sent
// twice.
func (a *API) send(ctx context.Context, c *call) (reply, error) {
	k, fault := keyOf(c)
	if fault != nil {
		return k.refusal(c, fault), nil
	}
	m, fault := readMessage(c.version, c.body, a.Senders)
	if fault != nil {
		return k.refusal(c, fault), nil
	}
	f := m.document()
	digest := digestOf(f)
	if k.given {
		f[fieldRequest] = delivery.Fields{fieldDigest: digest}
	}
	if n := sizeOf(f); n > maxDocument {
		return k.refusal(c, tooMuch(n)), nil
	}
	switch err := a.Mails.Create(ctx, k.id, f); {
	case errors.Is(err, delivery.ErrConflict):
		same, err := a.same(ctx, k, digest)
		if err != nil {
			return reply{}, err
		}
		if !same {
			return k.refusal(c, k.conflict()), nil
		}
	case errors.Is(err, delivery.ErrRefused):
		a.Log.Warn().Err(err).Msg("Firestore does not take a mail as it was handed in")
		return k.refusal(c, refusedDocument()), nil
	case errors.Is(err, context.DeadlineExceeded) && !k.given:
		a.Log.Warn().Err(err).Msg("whether a mail was taken in is not known")
		return k.refusal(c, unsure(k.id)), nil
	case err != nil:
		return reply{}, err
	}
	return a.taken(c, k), nil
}

// The field in which a document keeps what it was asked for by, if that may be
// asked again.
const (
	fieldRequest = "request"
	fieldDigest  = "digest" // SHA-256 of what the document says, hex
)

// digestOf returns the digest of a document: two requests that ask for the same
// mail have the same, whatever their version.
func digestOf(f delivery.Fields) string {
	text, _ := json.Marshal(f) // of strings in maps and lists; maps are sorted
	sum := sha256.Sum256(text)
	return hex.EncodeToString(sum[:])
}

// same reports whether the document that has the ID already is what is asked for.
// An ID that was made up for this request can only be its own, by a write that was
// not answered, or when it came before.
func (a *API) same(ctx context.Context, k key, digest string) (bool, error) {
	s, _, err := a.Mails.Status(ctx, k.id)
	if errors.Is(err, delivery.ErrGone) { // which must not be told as that there is no such address
		return false, errors.New("the document that had a mail's ID was deleted at the same time")
	}
	if err != nil {
		return false, fmt.Errorf("read what has a mail's ID: %w", err)
	}
	request, _ := s.Fields[fieldRequest].(delivery.Fields)
	return !k.given || request[fieldDigest] == digest, nil
}

// taken answers that a mail was taken in. It says the same whenever the same is
// asked: how the mail fares is another question.
func (a *API) taken(c *call, k key) reply {
	r := reply{status: http.StatusAccepted, header: http.Header{"Retry-After": {seconds(a.Pace())}}}
	path := "/emails/operations/" + url.PathEscape(k.id)
	if c.version == email2021 {
		path = "/emails/" + url.PathEscape(k.id) + "/status"
		r.header.Set("X-Ms-Request-Id", k.id)
	} else {
		r.body = accepted{ID: k.id, Status: operationWord(waiting)}
	}
	r.header.Set("Operation-Location", c.base+path+"?api-version="+url.QueryEscape(c.version))
	k.result(r.header, "accepted")
	return r
}

// conflict returns the problem of a key that another request had.
func (k key) conflict() *problem {
	return &problem{
		status: http.StatusConflict, Code: "IdempotencyKeyConflict", Target: k.header,
		Message: "a mail has this ID that was not asked for by the same request; give each mail a key of its own, and repeat a request as it was",
	}
}

// unsure returns the problem of a mail without a key, of which Firestore has not said
// whether it took it: nobody could tell when it comes again. Azure's clients repeat a request by themselves that is
// answered 408, 429 or 5xx, and would so send the mail twice: this status they
// hand on (RFC 4918 §11.4).
func unsure(id string) *problem {
	return &problem{
		status: http.StatusFailedDependency, Code: "OutcomeUnknown",
		Message: "Firestore did not answer whether it took the mail, whose ID would be " + id +
			"; send it again only if there is nothing with this ID in a minute. With an Operation-Id a request may be repeated at once",
	}
}
