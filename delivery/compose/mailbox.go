package compose

import (
	"strings"
	"unicode/utf8"

	"golang.org/x/net/idna"
	"golang.org/x/text/cases"
	"golang.org/x/text/language"
)

// envelope returns the addresses of the lists, each once, in order. Addresses
// are compared exactly: the left part's case may matter to its host.
func envelope(lists ...[]mailbox) []string {
	n := 0
	for _, l := range lists {
		n += len(l)
	}
	to := make([]string, 0, n)
	var seen map[string]bool
	if n > 8 {
		seen = make(map[string]bool, n)
	}
	known := func(address string) bool {
		if seen != nil {
			known := seen[address]
			seen[address] = true
			return known
		}
		for _, t := range to {
			if t == address {
				return true
			}
		}
		return false
	}
	var add func(list []mailbox)
	add = func(list []mailbox) {
		for i := range list {
			if list[i].group {
				add(list[i].members)
				continue
			}
			if a := normalizeAddress(list[i].address); a != "" && !known(a) {
				to = append(to, a)
			}
		}
	}
	for _, l := range lists {
		add(l)
	}
	return to
}

// normalizeAddress makes of what was read an address for the envelope and the
// header: domain in lower case and, where the local part is ASCII, in
// punycode; a local part with spaces in quotes. An address with a local part
// beyond ASCII needs SMTPUTF8 in any case, and keeps its domain as Unicode.
func normalizeAddress(address string) string {
	if isPlainAddress(address) {
		return address
	}
	if len(address) > maxAddress {
		return ""
	}
	address = trimSpace(replaceUnaddressable(address))
	at := strings.LastIndexByte(address, '@')
	if at < 0 {
		return address
	}
	user, domain := address[:at], address[at+1:]
	convert := toASCII
	if !isASCII(user) {
		convert = idna.Punycode.ToUnicode
	}
	if d, err := convert(lowerDomain(domain)); err == nil {
		domain = d
	}
	if strings.Contains(user, " ") {
		if !strings.HasPrefix(user, `"`) {
			user = `"` + user
		}
		if !strings.HasSuffix(user, `"`) {
			user += `"`
		}
	}
	return user + "@" + domain
}

// maxAddress is the length of an address, in bytes, above which it is none: far
// more than RFC 5321 §4.5.3.1 allows, and little enough for the punycode of a
// domain, which takes time by the square of its length.
const maxAddress = 998

// isPlainAddress reports whether an address is already as it should be: one
// word of ASCII with its domain in lower case.
func isPlainAddress(s string) bool {
	at := strings.LastIndexByte(s, '@')
	for i := 0; i < len(s); i++ {
		b := s[i]
		if b <= ' ' || b >= 0x7f || b == '<' || b == '>' || i > at && 'A' <= b && b <= 'Z' {
			return false
		}
	}
	return true
}

// lowerDomain is strings.ToLower with the special cases of Unicode, without
// which a few domains would become others.
func lowerDomain(domain string) string {
	if isASCII(domain) {
		return strings.ToLower(domain)
	}
	return cases.Lower(language.Und).String(domain)
}

func toASCII(domain string) (string, error) {
	if isASCII(domain) {
		return domain, nil
	}
	// What stands for a dot in East Asian scripts (RFC 3490 §3.1).
	domain = strings.NewReplacer("\u3002", ".", "\uff0e", ".", "\uff61", ".").Replace(domain)
	return idna.Punycode.ToASCII(domain)
}

// replaceUnaddressable puts one space for each run of control characters and
// angle brackets.
func replaceUnaddressable(s string) string {
	bad := func(r rune) bool { return r < ' ' || r == '<' || r == '>' }
	if strings.IndexFunc(s, bad) < 0 {
		return s
	}
	var b strings.Builder
	in := false
	for _, r := range s {
		if bad(r) {
			if !in {
				b.WriteByte(' ')
			}
			in = true
			continue
		}
		in = false
		b.WriteRune(r)
	}
	return b.String()
}

// appendMailboxes writes an address list as the value of a header field, not
// yet folded. Elements without an address are left out.
func appendMailboxes(dst []byte, list []mailbox) []byte {
	first := true
	for i := range list {
		m := &list[i]
		var address string
		if !m.group {
			if address = normalizeAddress(m.address); address == "" {
				continue
			}
		}
		if !first {
			dst = append(dst, ", "...)
		}
		first = false
		switch {
		case m.group:
			dst = appendName(dst, m.name)
			dst = append(dst, ':')
			dst = appendMailboxes(dst, m.members)
			dst = append(dst, ';')
		case m.name != "":
			dst = appendName(dst, m.name)
			dst = append(dst, " <"...)
			dst = append(dst, address...)
			dst = append(dst, '>')
		case strings.Contains(address, " "):
			dst = append(dst, '<')
			dst = append(dst, address...)
			dst = append(dst, '>')
		default:
			dst = append(dst, address...)
		}
	}
	return dst
}

// appendName writes a display name as a phrase (RFC 5322 §3.2.5): bare, quoted
// or in encoded words.
func appendName(dst []byte, name string) []byte {
	bare, printable := true, true
	for i := 0; i < len(name); i++ {
		b := name[i]
		bare = bare && (isAlphanumeric(b) || b == '_' || b == ' ')
		printable = printable && ' ' <= b && b < 0x7f
	}
	switch {
	case bare:
		return append(dst, name...)
	case printable:
		return appendQuoted(dst, name)
	}
	return appendEncodedWords(dst, name)
}

// appendQuoted writes a quoted string (RFC 5322 §3.2.4).
func appendQuoted(dst []byte, s string) []byte {
	dst = append(dst, '"')
	for i := 0; i < len(s); i++ {
		if s[i] == '"' || s[i] == '\\' {
			dst = append(dst, '\\')
		}
		dst = append(dst, s[i])
	}
	return append(dst, '"')
}

func isAlphanumeric(b byte) bool {
	return 'a' <= b && b <= 'z' || 'A' <= b && b <= 'Z' || '0' <= b && b <= '9'
}

func isASCII(s string) bool {
	for i := 0; i < len(s); i++ {
		if s[i] >= utf8.RuneSelf {
			return false
		}
	}
	return true
}
