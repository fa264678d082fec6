package access

import (
	"crypto/hmac"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"net"
	"net/http"
	"slices"
	"strings"
	"time"
)

// tolerance is how far the date of a signed request may be from the server's time,
// before and after.
const tolerance = 5 * time.Minute

const hashHeader = "x-ms-content-sha256"

// maxHost is how long a host may be, in bytes: a name (RFC 1035 §2.3.4) and a port.
// What anybody may send is hashed several times.
const maxHost = 253 + len(":65535")

// Signed returns the caller of a signed request. Its body may be believed only if it
// is [Whole]. Signed are the method, the request's target as it came (r.RequestURI, by
// which the caller has to route), date, host and the body's hash:
//
//	Authorization: HMAC-SHA256 SignedHeaders=x-ms-date;host;x-ms-content-sha256&Signature=<base64>
//
//	METHOD \n target \n date;host;hash
//
// The header Date in the place of x-ms-date is accepted where the signature says
// so: older clients for Node.js sign it. No client sends another list of headers,
// or another order. Clients sign a target and a host that differ in their spelling
// from what they send; [targets] and [hosts] say how.
//
// The error is a [*Denied].
func (k *Keys) Signed(r *http.Request, now time.Time) (Caller, error) {
	dateHeader, signature, err := authorization(r.Header)
	if err != nil {
		return Caller{}, err
	}
	date, err := dated(r.Header, dateHeader, now)
	if err != nil {
		return Caller{}, err
	}
	hash, err := one(r.Header, hashHeader)
	if err != nil {
		return Caller{}, err
	}
	switch {
	case r.Host == "":
		return Caller{}, denied("the header Host is missing")
	case len(r.Host) > maxHost:
		return Caller{}, denied("the header Host is longer than %d bytes", maxHost)
	case len(hash) != base64.StdEncoding.EncodedLen(sha256.Size):
		return Caller{}, denied("the header %s is not the base64 of a SHA-256", hashHeader)
	case !strings.HasPrefix(r.RequestURI, "/"):
		return Caller{}, denied("the request's target is not a path") // RFC 9112 §3.2.1
	}
	found := -1
	for _, target := range targets(r.RequestURI) {
		for _, host := range hosts(r.Host) {
			text := r.Method + "\n" + target + "\n" + date + ";" + host + ";" + hash
			found = max(found, k.signer(text, signature))
		}
	}
	if found < 0 {
		return Caller{}, denied("the signature does not match: sign method, path with query, %s, host and %s with a key of this server", dateHeader, hashHeader)
	}
	return Caller{Key: found}, nil
}

// Whole returns nil if a body is the one that was signed with its request, as a
// hash in the header. The error is a [*Denied].
func Whole(r *http.Request, body []byte) error {
	sum := sha256.Sum256(body)
	if subtle.ConstantTimeCompare([]byte(r.Header.Get(hashHeader)), []byte(base64.StdEncoding.EncodeToString(sum[:]))) == 0 {
		return denied("the header %s is not the base64 of the SHA-256 of the body", hashHeader)
	}
	return nil
}

// signer returns the index of the key that a text was signed with, -1 for none. It
// takes as long with one as with another.
func (k *Keys) signer(text string, signature []byte) int {
	found := -1
	for i, key := range k.keys {
		mac := hmac.New(sha256.New, key)
		mac.Write([]byte(text))
		found = subtle.ConstantTimeSelect(subtle.ConstantTimeCompare(mac.Sum(nil), signature), i, found)
	}
	return found
}

// authorization returns which header has the date that is signed, and the
// signature.
func authorization(h http.Header) (dateHeader string, signature []byte, err error) {
	value, err := credentials(h, "HMAC-SHA256")
	if err != nil {
		return "", nil, err
	}
	const form = "SignedHeaders=x-ms-date;host;" + hashHeader + "&Signature=<base64>"
	list, encoded, ok := strings.Cut(value, "&Signature=")
	if !ok {
		return "", nil, denied("the header Authorization has no signature: write HMAC-SHA256 %s", form)
	}
	switch list {
	case "SignedHeaders=x-ms-date;host;" + hashHeader:
		dateHeader = "x-ms-date"
	case "SignedHeaders=date;host;" + hashHeader:
		dateHeader = "Date"
	default:
		return "", nil, denied("the header Authorization has other signed headers: write HMAC-SHA256 %s", form)
	}
	signature, err = base64.StdEncoding.Strict().DecodeString(encoded)
	if err != nil || len(encoded) != base64.StdEncoding.EncodedLen(sha256.Size) || len(signature) != sha256.Size {
		return "", nil, denied("the signature is not the base64 of %d bytes", sha256.Size)
	}
	return dateHeader, signature, nil
}

// dated returns the date that was signed, as it is written. It may be as old or as
// early as [tolerance].
func dated(h http.Header, name string, now time.Time) (string, error) {
	value, err := one(h, name)
	if err != nil {
		return "", err
	}
	date, err := http.ParseTime(value)
	if err != nil {
		return "", denied("the header %s is not a date: write it as %s", name, http.TimeFormat)
	}
	if skew := date.Sub(now); skew < -tolerance || skew > tolerance {
		return "", denied("the header %s is more than ±5 minutes away from the server's time, which is %s: set the clock", name, now.UTC().Format(http.TimeFormat))
	}
	return value, nil
}

// targets returns what a client may have signed that sent a target: that itself,
// the same with its query written again by URLSearchParams (communication-common
// 2.4 signs url.searchParams.toString()), or with the apostrophes that
// node-fetch escapes after the signing (communication-email 1.0.0-beta.1).
func targets(sent string) []string {
	all := []string{sent, reencoded(sent), strings.ReplaceAll(sent, "%27", "'")}
	slices.Sort(all)
	return slices.Compact(all)
}

// hosts returns what a client may have signed that sent a host: some leave a
// default port out of what they send, and some out of what they sign.
func hosts(sent string) []string {
	for _, port := range [...]string{":80", ":443"} {
		if bare, ok := strings.CutSuffix(sent, port); ok {
			return []string{sent, bare}
		}
	}
	if _, _, err := net.SplitHostPort(sent); err == nil {
		return []string{sent}
	}
	return []string{sent, sent + ":80", sent + ":443"}
}
