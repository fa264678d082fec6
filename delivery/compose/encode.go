package compose

import (
	"encoding/base64"
	"errors"
	"io"
	"slices"
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

// appendEncodedWords writes text as encoded words (RFC 2047) with a space
// between them, none of them cut within a character. Line breaks become
// spaces.
func appendEncodedWords(dst []byte, text string) []byte {
	if f := factsOf(text); f.prefersQ() {
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

// maxQuoted is how long a line of quoted-printable gets, without the "=" that breaks
// it (RFC 2045 §6.7 (5)).
const maxQuoted = 75

// appendQuotedPrintable writes text in quoted-printable (RFC 2045 §6.7): lines
// end where they end in the text, with LF or CRLF, and are 76 characters long
// at most. A lone CR is a character like others.
func appendQuotedPrintable[T string | []byte](dst []byte, text T) []byte {
	column := 0
	for i := 0; i < len(text); {
		end := plainRun(text, i, min(len(text), i+maxQuoted-column))
		dst = append(dst, text[i:end]...)
		column += end - i
		if i = end; i == len(text) {
			break
		}
		b := text[i]
		width := 3
		switch {
		case b == '\n' || b == '\r' && i+1 < len(text) && text[i+1] == '\n':
			dst = append(dst, '\r', '\n')
			column = 0
			if i++; b == '\r' {
				i++
			}
			continue
		case isPlain(b) && (!isBlank(b) || !endsLine(text, i+1)):
			width = 1
		}
		if column+width > maxQuoted {
			dst = append(dst, '=', '\r', '\n')
			column = 0
		}
		if width == 3 {
			dst = append(dst, '=', upperHex[b>>4], upperHex[b&15])
			column += width
			i++
		}
	}
	return dst
}

// plainRun returns where the run of bytes ends that begins at from and stands for
// itself, or to if that comes first.
func plainRun[T string | []byte](text T, from, to int) int {
	i := from
	for i < to && isPlain(text[i]) {
		i++
	}
	if i > from && isBlank(text[i-1]) && endsLine(text, i) {
		i--
	}
	return i
}

// isPlain reports whether a byte may stand for itself in quoted-printable. A blank
// may not at the end of a line.
func isPlain(b byte) bool { return ' ' <= b && b <= '~' && b != '=' || b == '\t' }

func endsLine[T string | []byte](text T, i int) bool {
	return i == len(text) || text[i] == '\n' || text[i] == '\r' && i+1 < len(text) && text[i+1] == '\n'
}

// appendBase64 writes data in base64, in lines of 76 characters without a line
// end after the last.
func appendBase64[T string | []byte](dst []byte, data T) []byte {
	var line [57]byte
	dst = slices.Grow(dst, base64Size(len(data)))
	for i := 0; i < len(data); i += len(line) {
		if i > 0 {
			dst = append(dst, '\r', '\n')
		}
		n := copy(line[:], data[i:])
		end := len(dst) + (n+2)/3*4
		base64.StdEncoding.Encode(dst[len(dst):end], line[:n])
		dst = dst[:end]
	}
	return dst
}

// appendBase64From writes what r has left in base64, like appendBase64.
func appendBase64From(dst []byte, r io.Reader) ([]byte, error) {
	piece := make([]byte, base64Piece)
	for first, last := true, false; !last; first = false {
		n, err := readFull(r, piece)
		last = errors.Is(err, io.EOF)
		if err != nil && !last {
			return nil, err
		}
		if n > 0 && !first {
			dst = append(dst, '\r', '\n')
		}
		dst = appendBase64(dst, piece[:n])
	}
	return dst, nil
}

// base64Piece is how many bytes are read at once: whole lines.
const base64Piece = 57 * 512

// base64Size is what appendBase64 writes for n bytes.
func base64Size(n int) int {
	return (n+2)/3*4 + n/57*2
}

// appendLines writes text with every line end, of whatever kind, as CRLF.
func appendLines[T string | []byte](dst []byte, text T) []byte {
	done := 0
	for i := 0; i < len(text); i++ {
		b := text[i]
		if b != '\n' && b != '\r' {
			continue
		}
		dst = append(dst, text[done:i]...)
		dst = append(dst, '\r', '\n')
		if b == '\r' && i+1 < len(text) && text[i+1] == '\n' {
			i++
		}
		done = i + 1
	}
	return append(dst, text[done:]...)
}

// lineFacts is what decides how text may travel, and how much it takes.
type lineFacts struct {
	size    int  // bytes of the text
	longest int  // bytes of the longest line
	ends    int  // line ends of one character
	quoted  int  // bytes that quoted-printable writes in three
	latin   int  // Latin letters
	other   int  // characters to encode, in UTF-16 units
	eight   bool // has bytes beyond ASCII
	control bool // has control characters other than tabs and line ends
	bareCR  bool
	nul     bool
}

func factsOf[T string | []byte](text T) lineFacts {
	f := lineFacts{size: len(text)}
	start, latin, equals := 0, 0, 0
	for i := 0; i < len(text); i++ {
		b := text[i]
		if b|0x20-'a' < 26 {
			latin++
		}
		if b == '=' {
			equals++
		}
		if b-' ' < 0x7f-' ' {
			continue // most are
		}
		switch {
		case b == '\t':
		case b == '\n' || b == '\r':
			if i > 0 && isBlank(text[i-1]) {
				f.quoted++
			}
			f.longest = max(f.longest, i-start)
			if b == '\r' && i+1 < len(text) && text[i+1] == '\n' {
				i++
			} else {
				f.ends++
				if b == '\r' {
					f.bareCR = true
					f.quoted++
				}
			}
			start = i + 1
		default:
			f.special(b)
		}
	}
	f.longest = max(f.longest, len(text)-start)
	f.latin = latin
	f.quoted += equals
	return f
}

// special takes in a byte that is no printable ASCII, nor white space.
func (f *lineFacts) special(b byte) {
	f.quoted++
	switch {
	case b >= utf8.RuneSelf:
		f.eight = true
		if b >= 0xc0 { // the first of a character
			f.other++
		}
		if b >= 0xf0 { // one beyond U+FFFF
			f.other++
		}
	case b == 0x7f:
		f.control = true
	default:
		f.control, f.nul = true, f.nul || b == 0
		f.other++
	}
}

// prefersQ reports whether text is better read, and shorter, in quoted-printable
// (or Q) than in base64 (or B): it has more Latin letters than characters to encode.
func (f *lineFacts) prefersQ() bool { return f.other < f.latin }

// wireSize is at least what a body of these lines takes in an encoding.
func (f *lineFacts) wireSize(e encoding) int {
	switch e {
	case inBase64:
		return base64Size(f.size)
	case quotedPrintable:
		n := f.size + f.ends + 2*f.quoted
		return n + n/(maxQuoted-2)*3 + 2 // a blank at the end
	}
	return f.size + f.ends
}
