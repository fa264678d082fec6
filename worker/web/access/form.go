package access

import (
	"strings"

	"golang.org/x/text/encoding/unicode"
)

// reencoded returns a target with its query as URLSearchParams of JavaScript
// writes it: parsed and serialised as application/x-www-form-urlencoded (WHATWG
// URL §5.1, §5.2). A query with nothing in it is left out, and its question mark.
func reencoded(target string) string {
	path, query, _ := strings.Cut(target, "?")
	var b strings.Builder
	b.WriteString(path)
	separator := byte('?')
	for pair := range strings.SplitSeq(query, "&") {
		if pair == "" {
			continue
		}
		name, value, _ := strings.Cut(pair, "=")
		b.WriteByte(separator)
		encode(&b, decoded(name))
		b.WriteByte('=')
		encode(&b, decoded(value))
		separator = '&'
	}
	return b.String()
}

// decoded returns the text that a part of a query stands for. A percent sign
// without two digits after it stands for itself, and what is not UTF-8 for U+FFFD,
// as many of them as the WHATWG's decoder makes of it.
func decoded(part string) string {
	raw := make([]byte, 0, len(part))
	for i := 0; i < len(part); i++ {
		c := part[i]
		switch {
		case c == '+':
			c = ' '
		case c == '%' && i+2 < len(part) && hex(part[i+1]) >= 0 && hex(part[i+2]) >= 0:
			c = byte(hex(part[i+1])<<4 | hex(part[i+2]))
			i += 2
		}
		raw = append(raw, c)
	}
	text, err := unicode.UTF8.NewDecoder().Bytes(raw)
	if err != nil {
		return part // never: the decoder replaces what it can't read
	}
	return string(text)
}

// hex returns the value of a hexadecimal digit, -1 if it is none.
func hex(c byte) int {
	switch {
	case '0' <= c && c <= '9':
		return int(c - '0')
	case 'a' <= c && c <= 'f':
		return int(c-'a') + 10
	case 'A' <= c && c <= 'F':
		return int(c-'A') + 10
	}
	return -1
}

// encode writes a text in the way of application/x-www-form-urlencoded.
func encode(b *strings.Builder, text string) {
	const digits = "0123456789ABCDEF"
	for i := range len(text) {
		switch c := text[i]; {
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9', strings.IndexByte("*-._", c) >= 0:
			b.WriteByte(c)
		case c == ' ':
			b.WriteByte('+')
		default:
			b.Write([]byte{'%', digits[c>>4], digits[c&15]})
		}
	}
}
