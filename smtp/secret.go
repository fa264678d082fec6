package smtp

import (
	"fmt"
	"io"
	"log/slog"
)

const hidden = "[secret]"

// Secret is a password, token or key. Whatever prints it, through fmt with any
// verb, as JSON, as text or by a logger, prints [secret]; an empty one prints
// nothing, so that a missing one can be told.
type Secret string

// Reveal returns the secret itself, for the one place that sends it.
func (s Secret) Reveal() string { return string(s) }

// String returns [secret], or nothing if s is empty.
func (s Secret) String() string {
	if s == "" {
		return ""
	}
	return hidden
}

// Format prints String for every verb: without it, a verb that does not suit a
// string would print the value in its complaint.
func (s Secret) Format(f fmt.State, _ rune) {
	_, _ = io.WriteString(f, s.String())
}

// MarshalText returns String; encoding/json and zerolog use it.
func (s Secret) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// LogValue returns String for log/slog.
func (s Secret) LogValue() slog.Value { return slog.StringValue(s.String()) }
