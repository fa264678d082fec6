package receipt

import (
	"crypto/sha256"
	"encoding/hex"
	"time"
)

// Kind is how it showed that a mail was read, in its stored spelling.
type Kind string

// The kinds there are.
const (
	MDN  Kind = "mdn"  // a disposition notification was handed in
	Open Kind = "open" // the mail's pixel was loaded
)

// Receipt says that somebody has read a mail.
type Receipt struct {
	Kind      Kind
	Recipient string    // the address, as the mail's envelope has it; "" if the mail has several and nobody can tell
	ReadOn    time.Time // UTC, microseconds; when it was read, by what is known
	MessageID string    // of the mail, in angle brackets, if the receipt tells; else ""
}

// Names of the stored fields.
const (
	fieldKind      = "kind"
	fieldRecipient = "recipient"
	fieldReadOn    = "readOn"
	fieldMessageID = "messageId"
)

// ID returns the receipt's document ID: the same for each of a kind from the same
// recipient about the same message, so that of several the first counts. It is of 32
// characters.
func (r Receipt) ID() string {
	sum := sha256.Sum256([]byte(string(r.Kind) + "\x00" + r.Recipient + "\x00" + r.MessageID))
	return hex.EncodeToString(sum[:16])
}

// Fields returns the receipt as it is stored.
func (r Receipt) Fields() map[string]any {
	f := map[string]any{
		fieldKind:      string(r.Kind),
		fieldRecipient: r.Recipient,
		fieldReadOn:    r.ReadOn.UTC().Truncate(time.Microsecond),
	}
	if r.MessageID != "" {
		f[fieldMessageID] = r.MessageID
	}
	return f
}

// Stored reads a receipt from what [Receipt.Fields] has stored. What somebody else
// has written and says neither how nor when the mail was read is none.
func Stored(f map[string]any) (Receipt, bool) {
	kind, _ := f[fieldKind].(string)
	r := Receipt{Kind: Kind(kind)}
	r.Recipient, _ = f[fieldRecipient].(string)
	r.ReadOn, _ = f[fieldReadOn].(time.Time)
	r.MessageID, _ = f[fieldMessageID].(string)
	return r, (r.Kind == MDN || r.Kind == Open) && !r.ReadOn.IsZero()
}
