package compose

import (
	"encoding/base64"
	"strings"
	"unicode/utf8"
)

const upperHex = "0123456789ABCDEF"

// An encoded word holds at most this much, so that it is 52 characters long at
// most and fits in a line with the name of its field (RFC 2047 §2).
const (
	maxWordText  = 40
	maxWordBytes = maxWordText / 4 * 3
)

// prefersQ reports whether text is better read, and shorter, in
// quoted-printable (or Q) than in base64 (or B): it has more Latin letters than
// characters to encode.
func prefersQ(text string) bool {
	latin, other := 0, 0
	for _, r := range text {
		switch {
		case 'a' <= r && r <= 'z' || 'A' <= r && r <= 'Z':
			latin++
		case r >= 0x10000:
			other += 2
		case r >= utf8.RuneSelf, r < ' ' && r != '\t' && r != '\n' && r != '\r':
			other++
		}
	}
	return other < latin
}

// appendEncodedWords writes text as encoded words (RFC 2047) with a space
// between them, none of them cut within a character. Line breaks become
// spaces.
func appendEncodedWords(dst []byte, text string) []byte {
	if prefersQ(text) {
		return appendQWords(dst, text)
	}
	return appendBWords(dst, text)
}

func appendQWords(dst []byte, text string) []byte {
	dst = append(dst, "=?UTF-8?Q?"...)
	used := 0
	for len(text) > 0 {
		_, size := utf8.DecodeRuneInString(text)
		width := size * 3
		if size == 1 && isQSafe(text[0]) {
			width = 1
		}
		if used+width > maxWordText {
			dst = append(dst, "?= =?UTF-8?Q?"...)
			used = 0
		}
		for i := range size {
			switch b := text[i]; {
			case b == ' ' || b == '\r' || b == '\n':
				dst = append(dst, '_')
			case width == 1:
				dst = append(dst, b)
			default:
				dst = append(dst, '=', upperHex[b>>4], upperHex[b&15])
			}
		}
		used += width
		text = text[size:]
	}
	return append(dst, "?="...)
}

// isQSafe reports whether a byte takes one character in a word that may stand
// in a phrase (RFC 2047 §5 (3)).
func isQSafe(b byte) bool {
	return isAlphanumeric(b) || strings.IndexByte("!*+-/ \r\n", b) >= 0
}

func appendBWords(dst []byte, text string) []byte {
	var word [maxWordBytes]byte
	n := 0
	flush := func() {
		dst = append(dst, "=?UTF-8?B?"...)
		dst = base64.StdEncoding.AppendEncode(dst, word[:n])
		dst = append(dst, "?="...)
		n = 0
	}
	for len(text) > 0 {
		_, size := utf8.DecodeRuneInString(text)
		if n+size > len(word) {
			flush()
			dst = append(dst, ' ')
		}
		n += copy(word[n:], text[:size])
		if size == 1 && (text[0] == '\r' || text[0] == '\n') {
			word[n-1] = ' '
		}
		text = text[size:]
	}
	flush()
	return dst
}

// appendQuotedPrintable writes text in quoted-printable (RFC 2045 §6.7): lines
// end where they end in the text, with LF or CRLF, and are 76 characters long
// at most. A lone CR is a character like others.
func appendQuotedPrintable(dst []byte, text string) []byte {
	column := 0
	for i := 0; i < len(text); i++ {
		b := text[i]
		if b == '\n' || b == '\r' && i+1 < len(text) && text[i+1] == '\n' {
			if b == '\r' {
				i++
			}
			dst = append(dst, '\r', '\n')
			column = 0
			continue
		}
		plain := '!' <= b && b <= '~' && b != '=' || (b == ' ' || b == '\t') && !endsLine(text[i+1:])
		width := 1
		if !plain {
			width = 3
		}
		if column+width > 75 {
			dst = append(dst, '=', '\r', '\n')
			column = 0
		}
		if plain {
			dst = append(dst, b)
		} else {
			dst = append(dst, '=', upperHex[b>>4], upperHex[b&15])
		}
		column += width
	}
	return dst
}

func endsLine(rest string) bool {
	return rest == "" || rest[0] == '\n' || strings.HasPrefix(rest, "\r\n")
}

// appendBase64 writes data in base64, in lines of 76 characters without a line
// end after the last.
func appendBase64[T string | []byte](dst []byte, data T) []byte {
	var line [57]byte
	for i := 0; i < len(data); i += len(line) {
		if i > 0 {
			dst = append(dst, '\r', '\n')
		}
		n := copy(line[:], data[i:])
		dst = base64.StdEncoding.AppendEncode(dst, line[:n])
	}
	return dst
}

// base64Size is what appendBase64 writes for n bytes.
func base64Size(n int) int {
	return (n+2)/3*4 + n/57*2
}

// appendLines writes text with every line end, of whatever kind, as CRLF.
func appendLines[T string | []byte](dst []byte, text T) []byte {
	for i := 0; i < len(text); i++ {
		switch b := text[i]; {
		case b == '\r' && i+1 < len(text) && text[i+1] == '\n':
		case b == '\r' || b == '\n':
			dst = append(dst, '\r', '\n')
		default:
			dst = append(dst, b)
		}
	}
	return dst
}

// lineFacts is what decides how text may travel.
type lineFacts struct {
	longest int  // bytes of the longest line
	eight   bool // has bytes beyond ASCII
	control bool // has control characters other than tabs and line ends
	bareCR  bool
}

func factsOf[T string | []byte](text T) lineFacts {
	var f lineFacts
	start := 0
	for i := 0; i < len(text); i++ {
		switch b := text[i]; {
		case b == '\n' || b == '\r':
			f.longest = max(f.longest, i-start)
			start = i + 1
			f.bareCR = f.bareCR || b == '\r' && (i+1 == len(text) || text[i+1] != '\n')
		case b >= utf8.RuneSelf:
			f.eight = true
		case b < ' ' && b != '\t' || b == 0x7f:
			f.control = true
		}
	}
	f.longest = max(f.longest, len(text)-start)
	return f
}
