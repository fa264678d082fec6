package receipt

import "errors"

// Pixels makes the URLs of pixels, and reads them. It is safe for concurrent use.
type Pixels struct {
	base string
	keys []tokenKey
}

// NewPixels returns the pixels below a public URL without a slash at its end, as in
// "https://mail.example.com". Their tokens are made with the first of the access
// keys, of which there is one at least, and read with all: a pixel lives as long as
// the key it was made with is configured.
func NewPixels(base string, access [][]byte) (*Pixels, error) {
	p := &Pixels{base: base}
	for _, secret := range access {
		key, err := deriveKey(secret)
		if err != nil {
			return nil, err
		}
		p.keys = append(p.keys, key)
	}
	if len(p.keys) == 0 {
		return nil, errors.New("pixels need an access key, to sign with")
	}
	return p, nil
}

// URL returns the URL of the pixel of a document's mail with a Message-ID; "" if the
// document's ID is none. Only a mail to a single recipient says in it whose it is.
func (p *Pixels) URL(document, messageID string, recipients []string) string {
	t := Token{Document: document, MessageID: messageID}
	if len(recipients) == 1 {
		t.Recipient = recipients[0]
	}
	token := sign(p.keys[0], t)
	if token == "" {
		return ""
	}
	return p.base + "/o/" + token + ".gif"
}

// Verify returns what the token in a URL says, if it is one of these pixels'.
func (p *Pixels) Verify(token string) (Token, bool) { return verify(p.keys, token) }
