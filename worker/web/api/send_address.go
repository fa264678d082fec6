package api

import (
	"net/http"
	"net/mail"
	"regexp"
	"strings"
	"unicode"

	"golang.org/x/net/idna"
)

// How long an address may be, in bytes (RFC 5321 §4.5.3.1).
const (
	maxAddress = 254
	maxLocal   = 64
)

// domainName is a domain in lower-case ASCII; an underscore is somebody's host.
var domainName = regexp.MustCompile(`^[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?(\.[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?)*$`)

// mailboxes reads a list of addresses with their display names.
func (b *body) mailboxes(n node, address string) []string {
	var all []string
	for e := range b.elements(n) {
		all = append(all, mailbox(b.displayName(e.at("displayName")), b.address(e.at(address))))
	}
	return all
}

// address reads one address: no display name, no list, no comment.
func (b *body) address(n node) string {
	s := b.filled(n)
	if !isAddress(s) {
		b.wrong(n.path, n.path+" must be one e-mail address as in ada@example.com; the name belongs into displayName")
	}
	return s
}

// displayName reads a name; "" if there is none.
func (b *body) displayName(n node) string {
	s := b.text(n)
	if hasControl(s) {
		b.wrong(n.path, n.path+" must be one line without control characters")
	}
	return strings.TrimSpace(s)
}

// sender reads whom a message is from, which must be allowed. Its domain comes as
// it was compared, so that nothing else is sent than was allowed.
func (b *body) sender(n node, senders []string) string {
	s := b.address(n)
	local, domain, _ := cutAddress(s)
	if b.fault == nil && !allowed(senders, s) {
		b.fault = &problem{
			status: http.StatusBadRequest, Code: "InvalidSender", Target: n.path,
			Message: n.path + " is not an address that mails may be sent from here; use one that is in API_SENDERS, or have it added there",
		}
	}
	return local + "@" + domain
}

// mailbox writes an address with a display name, which is quoted so that it is
// nothing but a name (RFC 5322 §3.4).
func mailbox(name, address string) string {
	if name == "" {
		return address
	}
	return `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(name) + `" <` + address + `>`
}

// isAddress reports whether s is an address as mail servers take it: a dot-atom,
// beyond ASCII too (RFC 6531 §3.3), at a domain. One with a quoted local part or
// an IP address for a domain is none here, nor one with an encoded word, which no
// address may have (RFC 2047 §5) and many programs decode: into any other address.
func isAddress(s string) bool {
	a, err := mail.ParseAddress(s)
	if err != nil || a.Address != s || len(s) > maxAddress || strings.ContainsAny(s, `"(),:;<>[\]`) || strings.Contains(s, "=?") {
		return false
	}
	for _, r := range s {
		if !unicode.IsGraphic(r) || unicode.IsSpace(r) || r == unicode.ReplacementChar {
			return false
		}
	}
	local, domain, ok := cutAddress(s)
	return ok && len(local) <= maxLocal && domain != ""
}

// cutAddress returns the parts of an address, the domain in lower-case ASCII; not
// ok if that is none.
func cutAddress(s string) (local, domain string, ok bool) {
	at := strings.LastIndexByte(s, '@')
	if at < 1 {
		return "", "", false
	}
	domain, ok = asciiDomain(s[at+1:])
	return s[:at], domain, ok
}

// asciiDomain returns a domain in lower case and punycode (RFC 3492).
func asciiDomain(s string) (string, bool) {
	domain, err := idna.Punycode.ToASCII(strings.ToLower(s))
	return domain, err == nil && len(domain) <= 253 && domainName.MatchString(domain)
}

// allowed reports whether mails may be from an address. Senders are addresses;
// domains as example.com, with all the addresses at them; and *.example.com for
// those at domains below one: in lower case, the domains in punycode. Local parts
// are compared in lower case, too, although a server may tell them apart (RFC 5321
// §2.4): none does that gives them to strangers.
func allowed(senders []string, address string) bool {
	local, domain, ok := cutAddress(address)
	for _, s := range senders {
		at := strings.LastIndexByte(s, '@')
		where := s[at+1:]
		above, below := strings.CutPrefix(where, "*")
		switch {
		case !ok, below && !strings.HasSuffix(domain, above), !below && where != domain:
		case at < 0, sameLocal(local, s[:at]):
			return true
		}
	}
	return false
}

// sameLocal compares a local part with one in lower case. Letters that take another
// number of bytes in lower case are none that somebody writes: the sign of the
// Kelvin becomes a k.
func sameLocal(local, lower string) bool {
	return len(local) == len(lower) && strings.ToLower(local) == lower
}

// hasControl reports whether s has a control character, or a line break of
// Unicode's.
func hasControl(s string) bool {
	return strings.ContainsFunc(s, func(r rune) bool {
		return unicode.IsControl(r) || r == '\u2028' || r == '\u2029'
	})
}
