package receipt

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"io"
)

// Token says whose pixel a URL is.
type Token struct {
	Document  string // ID of the mail document; never empty
	MessageID string // of the mail, in angle brackets: a document that is sent again has another
	Recipient string // the mail's only one; "" if it has several: all get the same message
}

const (
	maxDocument = 1500 // bytes of a document's ID (Firestore's limit)
	maxText     = 998  // bytes of an address or a Message-ID, more than a line of SMTP holds
	tagSize     = 16   // bytes of the MAC that are kept (RFC 2104 §5)
	maxToken    = (tagSize + 2*binary.MaxVarintLen16 + maxDocument + 2*maxText + 2) * 4 / 3
)

// purpose keeps a pixel's key apart from all others derived of an access key.
const purpose = "postrider pixel token v1"

// tokenKey makes and checks tokens. Whatever prints it prints [secret].
type tokenKey struct {
	mac    [sha256.Size]byte
	cipher [32]byte // AES-256
}

// deriveKey returns the key for tokens that belongs to an access key (HKDF-SHA256,
// RFC 5869): who learns one of them does not know the other.
func deriveKey(access []byte) (tokenKey, error) {
	var k tokenKey
	derived, err := hkdf.Key(sha256.New, access, nil, purpose, len(k.mac)+len(k.cipher))
	if err != nil {
		return k, fmt.Errorf("derive the key for pixels: %w", err)
	}
	copy(k.cipher[:], derived[copy(k.mac[:], derived):])
	return k, nil
}

// Format prints [secret] for every verb.
func (tokenKey) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, "[secret]") }

// MarshalText returns [secret]; encoding/json uses it.
func (tokenKey) MarshalText() ([]byte, error) { return []byte("[secret]"), nil }

// sign returns a token in base64url (RFC 4648 §5, no padding): an HMAC-SHA256 of
// what it says, and what it says in AES-CTR with the HMAC for its nonce, as in RFC
// 5297. It is in URLs, which are logged on the way, and an address must not be.
// The same token is always the same text. One without a document, or larger than a
// document's ID and an address can be, has none: "".
func sign(k tokenKey, t Token) string {
	if t.Document == "" || len(t.Document) > maxDocument || len(t.MessageID) > maxText || len(t.Recipient) > maxText {
		return ""
	}
	text := append(binary.AppendUvarint(nil, uint64(len(t.Document))), t.Document...)
	text = append(binary.AppendUvarint(text, uint64(len(t.MessageID))), t.MessageID...)
	text = append(text, t.Recipient...)
	tag := k.tag(text)
	return base64.RawURLEncoding.EncodeToString(append(tag, k.crypt(tag, text)...))
}

// verify returns what a token says if one of the keys has made it. It takes as long
// for a wrong token as for a right one of the same length.
func verify(keys []tokenKey, s string) (Token, bool) {
	if len(s) > maxToken {
		return Token{}, false
	}
	raw, err := base64.RawURLEncoding.DecodeString(s)
	if err != nil || len(raw) <= tagSize || base64.RawURLEncoding.EncodeToString(raw) != s { // one spelling only
		return Token{}, false
	}
	var found []byte
	for _, k := range keys {
		text := k.crypt(raw[:tagSize], raw[tagSize:])
		if hmac.Equal(k.tag(text), raw[:tagSize]) {
			found = text
		}
	}
	document, rest, ok := cutText(found)
	if !ok || document == "" {
		return Token{}, false
	}
	message, rest, ok := cutText(rest)
	if !ok {
		return Token{}, false
	}
	return Token{Document: document, MessageID: message, Recipient: string(rest)}, true
}

// cutText returns the text that b begins with, after its length, and what follows.
func cutText(b []byte) (text string, rest []byte, ok bool) {
	length, n := binary.Uvarint(b)
	if n <= 0 || length > uint64(len(b)-n) {
		return "", nil, false
	}
	b = b[n:]
	return string(b[:length]), b[length:], true
}

func (k tokenKey) tag(text []byte) []byte {
	h := hmac.New(sha256.New, k.mac[:])
	h.Write(text)
	return h.Sum(nil)[:tagSize]
}

// crypt encrypts a text, or decrypts it: CTR mode is the same both ways.
func (k tokenKey) crypt(tag, text []byte) []byte {
	block, err := aes.NewCipher(k.cipher[:])
	if err != nil {
		return nil // never: a key of 32 bytes is always one
	}
	out := make([]byte, len(text))
	cipher.NewCTR(block, tag).XORKeyStream(out, text)
	return out
}
