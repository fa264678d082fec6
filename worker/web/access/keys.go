package access

import (
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
)

// Keys are the secrets that callers sign with. They print as [secret].
type Keys struct{ keys [][]byte }

// New returns checks against decoded keys. Callers may sign with any of them, so
// that one can be replaced without a moment in which nobody may call. Without a
// key everybody is refused.
func New(keys [][]byte) *Keys {
	k := &Keys{}
	for _, key := range keys {
		k.keys = append(k.keys, slices.Clone(key))
	}
	return k
}

// Format prints [secret], whatever the verb.
func (k Keys) Format(w fmt.State, _ rune) { _, _ = io.WriteString(w, "[secret]") }

// Caller is somebody who has proved to know a key.
type Caller struct {
	Key     int      // index of the key among those that New was given
	Subject string   // whom a token is for, its sub; empty for a signed request
	Scopes  []string // of a token; nil for a signed request
}

// Has reports whether a token gives the caller a scope.
func (c Caller) Has(scope string) bool { return slices.Contains(c.Scopes, scope) }

// Denied is why a request is refused. Its text is for the caller, and says what is
// wrong with the request; it has nothing of a key in it, nor anything the caller
// sent.
type Denied struct{ Reason string }

// Error returns the reason.
func (d *Denied) Error() string { return d.Reason }

func denied(format string, args ...any) error {
	return &Denied{Reason: fmt.Sprintf(format, args...)}
}

// one returns the value of a header that must be there once: of two nobody knows
// which one was signed.
func one(h http.Header, name string) (string, error) {
	switch values := h.Values(name); {
	case len(values) > 1:
		return "", denied("the header %s is there more than once", name)
	case len(values) == 0 || values[0] == "":
		return "", denied("the header %s is missing", name)
	default:
		return values[0], nil
	}
}

// credentials returns what the header Authorization has after the name of the
// scheme, which may be written in any case (RFC 9110 §11.1).
func credentials(h http.Header, scheme string) (string, error) {
	value, err := one(h, "Authorization")
	if err != nil {
		return "", denied("%v: send one of the scheme %s", err, scheme)
	}
	name, rest, found := strings.Cut(value, " ")
	if !found || !strings.EqualFold(name, scheme) {
		return "", denied("the header Authorization is not of the scheme %s, which this is asked for with", scheme)
	}
	return rest, nil
}
