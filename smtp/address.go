package smtp

import (
	"fmt"
	"strings"
	"unicode"

	"golang.org/x/net/idna"
)

// Envelope is who a message is from and who it is for: bare addresses, without
// names or angle brackets. It need not agree with the message's header.
type Envelope struct {
	From string   // empty for the null sender <> (RFC 5321 §4.5.5)
	To   []string // at least one
}

// wire returns e as it goes into commands: checked, and with domains in
// ASCII.
func (e Envelope) wire() (from string, to []string, err *Error) {
	from, bad := wireAddress(e.From)
	if bad != nil {
		return "", nil, &Error{Stage: StageMail, Err: fmt.Errorf("sender %.320q: %w", e.From, bad)}
	}
	if len(e.To) == 0 {
		return "", nil, &Error{Stage: StageRcpt, Err: ErrNoRecipients}
	}
	to = make([]string, len(e.To))
	for i, a := range e.To {
		if to[i], bad = wireAddress(a); bad == nil && a == "" {
			bad = ErrInvalidAddress
		}
		if bad != nil {
			return "", nil, &Error{Stage: StageRcpt, Err: fmt.Errorf("recipient %.320q: %w", a, bad)}
		}
	}
	return from, to, nil
}

// What an address may be long, in bytes. Servers take less (RFC 5321 §4.5.3.1),
// and say so; beyond it the work of IDNA, which grows with the square of a
// domain's length, is not worth doing.
const (
	maxAddress = 998 // a line of a message (RFC 5322 §2.1.1)
	maxDomain  = 255 // RFC 5321 §4.5.3.1.2
)

// wireAddress refuses what is too long or could end a command or its path
// early, and turns an internationalized domain into its ASCII form (RFC 5890).
// A domain that has none goes as it is: the server knows best. So does one
// behind a local part that needs SMTPUTF8 anyway.
func wireAddress(a string) (string, error) {
	at := strings.LastIndexByte(a, '@')
	switch {
	case len(a) > maxAddress, at >= 0 && len(a)-at-1 > maxDomain,
		strings.ContainsFunc(a, unicode.IsControl), strings.ContainsAny(a, "<>"):
		return "", ErrInvalidAddress
	case at < 0, isASCII(a[at:]), !isASCII(a[:at]):
		return a, nil
	}
	for _, p := range []*idna.Profile{idna.Lookup, idna.Punycode} {
		domain, err := p.ToASCII(a[at+1:])
		if err == nil && !hasControl(domain) && !strings.ContainsAny(domain, "<>") {
			return a[:at+1] + domain, nil
		}
	}
	return a, nil
}

// hasControl finds CR, LF, NUL and their like: nothing that belongs into a
// command's argument.
func hasControl(s string) bool {
	for i := range len(s) {
		if s[i] < ' ' || s[i] == 0x7f {
			return true
		}
	}
	return false
}

func isASCII(s string) bool {
	for i := range len(s) {
		if s[i] >= 0x80 {
			return false
		}
	}
	return true
}
