package smtp

import (
	"cmp"
	"encoding/base64"
	"strings"
)

// pieceLen is how many bytes of a secret are taken out of a reply even where
// the rest is missing: servers cut or wrap what they repeat.
const pieceLen = 8

// redactor takes what was sent as credentials out of replies. The zero value
// knows no secrets.
type redactor struct {
	mark   string          // stands for a secret; empty for hidden
	fold   bool            // ASCII letters match in either case; whole is in lower case then
	whole  []string        // taken out where they are complete
	pieces map[string]bool // every pieceLen bytes of the secrets that are longer
}

// add takes out secret and its base64 forms from now on.
func (rd *redactor) add(secret string) {
	rd.addText(secret)
	if latin := latin1(secret); latin != secret {
		rd.addText(latin) // as readReply shows it in a reply that is not UTF-8
	}
	rd.addText(base64.StdEncoding.EncodeToString([]byte(secret)))
	rd.addText(base64.RawStdEncoding.EncodeToString([]byte(secret)))
	rd.addText(base64.URLEncoding.EncodeToString([]byte(secret)))
	rd.addText(base64.RawURLEncoding.EncodeToString([]byte(secret)))
}

func (rd *redactor) addText(s string) {
	if len(s) < pieceLen {
		if s != "" {
			rd.whole = append(rd.whole, s)
		}
		return
	}
	if rd.pieces == nil {
		rd.pieces = make(map[string]bool)
	}
	for i := range len(s) - pieceLen + 1 {
		rd.pieces[s[i:i+pieceLen]] = true
	}
}

// encode returns resp in base64, to be taken out of replies from now on, as
// resp itself where it is complete: a piece of it may be the user's name. An
// empty one is "=" only as an initial response, which no mechanism here has.
func (rd *redactor) encode(resp []byte) string {
	b64 := base64.StdEncoding.EncodeToString(resp)
	if len(resp) > 0 {
		rd.whole = append(rd.whole, string(resp))
	}
	rd.addText(b64)
	rd.addText(strings.TrimRight(b64, "="))
	return b64
}

// redact returns r with every secret in its text replaced, those that go from
// one line into the next included.
func (rd *redactor) redact(r Reply) Reply {
	if r.Code == 334 || r.IsZero() {
		return r // a challenge is answered, not shown
	}
	texts := make([]string, len(r.Lines))
	for i := range r.Lines {
		texts[i] = r.text(i)
	}
	for i, shown := range rd.hide(texts) {
		l := r.Lines[i]
		r.Lines[i] = l[:len(l)-len(texts[i])] + shown
	}
	r.Enhanced = enhancedCode(r.text(0))
	return r
}

// hide returns texts with every secret replaced, those that go from one into
// the next included.
func (rd *redactor) hide(texts []string) []string {
	secret := rd.find(strings.Join(texts, ""))
	out := make([]string, len(texts))
	for i, text := range texts {
		var shown strings.Builder
		for j := range len(text) {
			switch {
			case !secret[j]:
				shown.WriteByte(text[j])
			case j == 0 || !secret[j-1]:
				shown.WriteString(cmp.Or(rd.mark, hidden))
			}
		}
		secret = secret[len(text):]
		out[i] = strings.ToValidUTF8(shown.String(), "\uFFFD")
	}
	return out
}

// find says of each byte of text whether it belongs to a secret.
func (rd *redactor) find(text string) []bool {
	if rd.fold {
		text = lower(text)
	}
	found := make([]bool, len(text))
	mark := func(from, n int) {
		for i := from; i < from+n; i++ {
			found[i] = true
		}
	}
	for _, s := range rd.whole {
		for from := 0; ; from += len(s) {
			i := strings.Index(text[from:], s)
			if i < 0 {
				break
			}
			from += i
			mark(from, len(s))
		}
	}
	for i := range len(text) - pieceLen + 1 {
		if rd.pieces[text[i:i+pieceLen]] {
			mark(i, pieceLen)
		}
	}
	return found
}
