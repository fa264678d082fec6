package api

import (
	"crypto/rand"
	"crypto/sha256"
	"fmt"
	"net/http"
	"regexp"
	"strings"
)

// Headers that make a request repeatable. Operation-Id is the e-mail API's own;
// the pair is of OASIS Repeatable Requests 1.0.
const (
	headerOperation = "Operation-Id"
	headerRequest   = "Repeatability-Request-ID"
	headerFirst     = "Repeatability-First-Sent"
	headerResult    = "Repeatability-Result"

	headerTracking = "X-Ms-Client-Request-Id" // differs from call to call of a client, but not from try to try
)

var (
	operationID = regexp.MustCompile(`^[0-9A-Za-z._~-]{1,128}$`)
	uuid        = regexp.MustCompile(`^[0-9A-Fa-f]{8}(-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12}$`)
)

// key is what a request may be known by when it comes again, and what the ID of
// its document is.
type key struct {
	id         string
	given      bool   // and not made up here
	header     string // that it was given in
	repeatable bool   // the caller wants to know what came of the key (Repeatability-Result)
}

// keyOf returns a request's key. Operation-Id comes first, in the versions that
// have it. Without either, the ID is a UUID made of how the request is signed, if
// it says which it is, else a random one.
func keyOf(c *call) (key, *problem) {
	h := c.request.Header
	k := key{repeatable: h.Get(headerRequest) != "" || h.Get(headerFirst) != ""}
	if k.repeatable {
		if fault := checkRepeatable(h); fault != nil {
			return k, fault
		}
		k.id, k.given, k.header = h.Get(headerRequest), true, headerRequest
	}
	if values := h.Values(headerOperation); len(values) > 0 && c.version != email2021 {
		if id := values[0]; len(values) > 1 || !isOperationID(id) {
			return k, bad(headerOperation, "it must be one ID of 1 to 128 letters, digits and - _ . ~ that is not . or .. and does not begin and end with __; use a UUID")
		}
		k.id, k.given, k.header = values[0], true, headerOperation
	}
	switch {
	case k.given:
	case h.Get(headerTracking) != "":
		k.id = signedUUID(h)
	default:
		k.id = randomUUID()
	}
	return k, nil
}

// checkRepeatable returns what is wrong with the pair of headers, of which one at
// least is there. Azure wants a UUID, and so do we. It forgets a key after five
// minutes, and refuses older ones (412): here it is known as long as its document is there.
func checkRepeatable(h http.Header) *problem {
	switch {
	case h.Get(headerFirst) == "":
		return bad(headerFirst, "it must be there with "+headerRequest+": when the request was sent first, as in Tue, 26 Mar 2019 16:06:51 GMT")
	case h.Get(headerRequest) == "":
		return bad(headerRequest, "it must be there with "+headerFirst+": a UUID")
	case len(h.Values(headerRequest)) > 1 || !uuid.MatchString(h.Get(headerRequest)):
		return bad(headerRequest, "it must be one UUID, as in 1b671a64-40d5-491e-99b0-da01ff1f3341")
	}
	if _, err := http.ParseTime(h.Get(headerFirst)); err != nil {
		return bad(headerFirst, "it must be a date as HTTP writes it, as in Tue, 26 Mar 2019 16:06:51 GMT")
	}
	return nil
}

// isOperationID reports whether an ID may be given: a document can be called so,
// and it needs no escaping in a URL.
func isOperationID(id string) bool {
	reserved := strings.HasPrefix(id, "__") && strings.HasSuffix(id, "__")
	return operationID.MatchString(id) && id != "." && id != ".." && !reserved
}

// signedUUID returns a UUID (RFC 9562 §5.8) of a signature, which covers the body and
// the second in which it was made, and of the client's name for the request: Azure's
// clients for JavaScript sign once, and try again by themselves with what they have.
func signedUUID(h http.Header) string {
	sum := sha256.Sum256([]byte(h.Get("Authorization") + "\n" + h.Get(headerTracking)))
	return formatUUID([16]byte(sum[:16]), 8)
}

// randomUUID returns a random UUID (RFC 9562 §5.4).
func randomUUID() string {
	var b [16]byte
	_, _ = rand.Read(b[:]) // never fails
	return formatUUID(b, 4)
}

// formatUUID returns a UUID of the given version with the bits of b.
func formatUUID(b [16]byte, version byte) string {
	b[6], b[8] = b[6]&0x0f|version<<4, b[8]&0x3f|0x80
	return fmt.Sprintf("%x-%x-%x-%x-%x", b[:4], b[4:6], b[6:8], b[8:10], b[10:])
}

// result says what came of a repeatable request (OASIS Repeatable Requests 1.0
// §3.2), if it was one.
func (k key) result(h http.Header, result string) {
	if k.repeatable {
		h.Set(headerResult, result)
	}
}

// refusal answers with a problem: nothing was sent under the key.
func (k key) refusal(c *call, p *problem) reply {
	r := reply{status: p.status, header: http.Header{}, body: map[string]*problem{"error": p}}
	p.headers(r.header, c.dialect)
	k.result(r.header, "rejected")
	return r
}
