package compose

import (
	"maps"
	"mime"
	"slices"
	"strings"
	"unicode/utf8"
)

// maxParam is how long a parameter's value may be before it is cut into
// sections, and maxSection how long those are (RFC 2231 §3).
const (
	maxParam   = 75
	maxSection = 50
)

// appendParam writes "; name=value": bare, quoted, or, where it is long or has
// quotes or characters beyond ASCII, as RFC 2231 has it.
func appendParam(dst []byte, name, value string) []byte {
	value = oneLineParam(value)
	plain, special := len(value) < maxParam, value == ""
	for i := 0; i < len(value); i++ {
		b := value[i]
		plain = plain && b != '"' && (b >= ' ' || b == '\t') && b < 0x7f
		special = special || strings.IndexByte(" \t'\\;:/=(),<>@[]?", b) >= 0 || i == 0 && b == '-'
	}
	if !plain {
		return appendSections(dst, name, value)
	}
	dst = append(dst, "; "...)
	dst = append(dst, name...)
	dst = append(dst, '=')
	if special {
		return appendQuoted(dst, value)
	}
	return append(dst, value...)
}

// oneLineParam shows line ends and tabs as \r, \n and \t.
func oneLineParam(value string) string {
	if !strings.ContainsAny(value, "\r\n\t") {
		return value
	}
	return strings.NewReplacer("\r", `\r`, "\n", `\n`, "\t", `\t`).Replace(value)
}

// appendSections writes a parameter in percent-encoded sections (RFC 2231 §4.1),
// none of them cut within a character.
func appendSections(dst []byte, name, value string) []byte {
	section := 0
	used := 0
	open := func() {
		dst = append(dst, "; "...)
		dst = append(dst, name...)
		dst = append(dst, '*')
		dst = appendInt(dst, section)
		dst = append(dst, "*="...)
		if used = 0; section == 0 {
			dst = append(dst, "utf-8''"...)
			used = len("utf-8''")
		}
		section++
	}
	open()
	for len(value) > 0 {
		_, size := utf8.DecodeRuneInString(value)
		width := size * 3
		if size == 1 && isAttributeChar(value[0]) {
			width = 1
		}
		if used+width >= maxSection {
			open()
		}
		for i := range size {
			if b := value[i]; width == 1 {
				dst = append(dst, b)
			} else {
				dst = append(dst, '%', upperHex[b>>4], upperHex[b&15])
			}
		}
		used += width
		value = value[size:]
	}
	return dst
}

func appendInt(dst []byte, n int) []byte {
	if n >= 10 {
		dst = appendInt(dst, n/10)
	}
	return append(dst, byte('0'+n%10))
}

func isAttributeChar(b byte) bool {
	return isAlphanumeric(b) || strings.IndexByte("-_.!~", b) >= 0
}

// appendNameParam writes the file name as the old parameter name of
// Content-Type: in encoded words where it needs them, which is no standard but
// what old clients read.
func appendNameParam(dst []byte, filename string) []byte {
	dst = append(dst, "; name="...)
	encode, quote := len(filename) > 500, filename == ""
	for i := 0; i < len(filename); i++ {
		b := filename[i]
		encode = encode || b == '"' || b >= 0x7f || b < ' ' && b != '\t' && b != '\r' && b != '\n'
		quote = quote || strings.IndexByte(" \t\r\n'\\;:/=(),<>@[]?", b) >= 0 || i == 0 && b == '-'
	}
	switch {
	case encode:
		dst = append(dst, '"')
		dst = appendEncodedWords(dst, filename)
		return append(dst, '"')
	case quote:
		return appendQuoted(dst, strings.NewReplacer("\r\n", " ", "\r", " ", "\n", " ", "\t", " ").Replace(filename))
	}
	return append(dst, filename...)
}

// appendStructured writes a caller's Content-Type or Content-Disposition:
// its leading token in place of what cannot be read, parameters written anew,
// except those in drop, which has spaces between names.
func appendStructured(dst []byte, value, fallback, drop string) []byte {
	value = printable(value)
	kind, params, err := mime.ParseMediaType(value)
	if err != nil {
		if kind == "" {
			kind = leadingToken(value)
		}
		params = nil
	}
	if kind == "" {
		kind = fallback
	}
	dst = append(dst, kind...)
	dropped := strings.Fields(drop)
	for _, name := range slices.Sorted(maps.Keys(params)) {
		if !slices.Contains(dropped, name) {
			dst = appendParam(dst, name, params[name])
		}
	}
	return dst
}

// leadingToken returns the token, or token/token, at the start of s.
func leadingToken(s string) string {
	s = strings.TrimLeft(s, " ")
	end, slash := 0, false
	for end < len(s) && (isToken(s[end]) || s[end] == '/' && !slash) {
		slash = slash || s[end] == '/'
		end++
	}
	return strings.ToLower(strings.TrimSuffix(s[:end], "/"))
}

// isToken reports whether a byte may be in a token of MIME (RFC 2045 §5.1).
func isToken(b byte) bool {
	return b > ' ' && b < 0x7f && strings.IndexByte(`()<>@,;:\"/[]?=`, b) < 0
}

// printable replaces every byte that is not printable ASCII by a space.
func printable(s string) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' || r >= 0x7f {
			return ' '
		}
		return r
	}, s)
}
