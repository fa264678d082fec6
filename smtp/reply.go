package smtp

import (
	"bufio"
	"errors"
	"fmt"
	"strings"
	"unicode/utf8"
)

// What a server may send. RFC 5321 §4.5.3.1.5 allows 512 bytes a line; servers
// exceed that in good faith, but not without end.
const (
	maxReplyLine  = 4096 // bytes, line end included
	maxReplyLines = 256
)

// How much of a reply is kept, in bytes of [Reply.String]. A mail holds one
// reply for each recipient until it is done.
const (
	keepReply = 16 << 10
	keepRcpt  = 2 << 10
)

// cutMark is what a reply that was not kept whole ends in.
const cutMark = "…"

// errMalformed is a reply that cannot be read as one.
var errMalformed = errors.New("malformed reply")

// Reply is a server's answer to one command (RFC 5321 §4.2). The zero value is
// no reply.
type Reply struct {
	Code     int    // 200 to 599
	Enhanced string // enhanced status code, as in "5.1.1" (RFC 3463); empty if none

	// Lines are the lines as they came, code included, line end not, in valid
	// UTF-8. What is beyond 2 KiB of a reply to RCPT, and beyond 16 KiB of any
	// other, is left out; "…" stands for it.
	Lines []string
}

// String returns the whole reply as the server sent it, the lines separated by
// a line feed: "250-first line\n250 second line".
func (r Reply) String() string { return strings.Join(r.Lines, "\n") }

// IsZero says that there is no reply.
func (r Reply) IsZero() bool { return r.Code == 0 }

// Positive says that the command was accepted (2yz).
func (r Reply) Positive() bool { return r.Code/100 == 2 }

// Temporary says that the refusal may pass (4yz).
func (r Reply) Temporary() bool { return r.Code/100 == 4 }

// Permanent says that the refusal will be repeated (5yz).
func (r Reply) Permanent() bool { return r.Code/100 == 5 }

// closing says that the server ends the session with this reply, whatever it
// was asked (RFC 5321 §3.8).
func (r Reply) closing() bool { return r.Code == 421 }

// text returns line i without its code and separator.
func (r Reply) text(i int) string {
	if len(r.Lines[i]) < 4 {
		return ""
	}
	return r.Lines[i][4:]
}

// readReply reads one reply. Lines may end in a bare LF. All lines of a reply
// must bear the same code (RFC 5321 §4.2.1); what does not look like that, is
// too long or has too many lines is errMalformed, and leaves the connection
// useless; a line that is no reply at all is returned without a code. What is beyond the first keep bytes is read and forgotten.
func readReply(br *bufio.Reader, keep int) (Reply, error) {
	var r Reply
	valid := true
	n, size := 0, 0 // lines and bytes so far
	for {
		line, err := br.ReadSlice('\n')
		switch {
		case errors.Is(err, bufio.ErrBufferFull), len(line) > maxReplyLine:
			return Reply{}, fmt.Errorf("%w: a line of more than %d bytes", errMalformed, maxReplyLine)
		case err != nil:
			return Reply{}, err
		}
		code, last, ok := parseLine(trimEOL(line))
		switch {
		case !ok, r.Code != 0 && code != r.Code:
			return Reply{Lines: []string{readable(trimEOL(line))}}, fmt.Errorf("%w: %.80q", errMalformed, trimEOL(line))
		case n == maxReplyLines:
			return Reply{}, fmt.Errorf("%w: more than %d lines", errMalformed, maxReplyLines)
		}
		r.Code = code
		if size <= keep+1 {
			r.Lines = append(r.Lines, string(trimEOL(line)))
		}
		n, size = n+1, size+len(trimEOL(line))+1
		valid = valid && utf8.Valid(trimEOL(line))
		if last {
			break
		}
	}
	if !valid {
		for i, l := range r.Lines {
			r.Lines[i] = latin1(l)
		}
	}
	r.Lines = shorten(r.Lines, keep)
	r.Enhanced = enhancedCode(r.text(0))
	return r, nil
}

// shorten returns lines as far as they fit into keep bytes, a line feed between
// them, and cutMark for the rest.
func shorten(lines []string, keep int) []string {
	size := -1
	for _, l := range lines {
		size += len(l) + 1
	}
	if size <= keep {
		return lines
	}
	room, i := keep-len(cutMark), 0
	for len(lines[i]) < room {
		room -= len(lines[i]) + 1
		i++
	}
	const code = 4 // with its separator
	if room < code && i > 0 {
		i--
		room = len(lines[i])
	}
	l := lines[i]
	for room < len(l) && room > 0 && !utf8.RuneStart(l[room]) {
		room--
	}
	lines[i] = l[:room] + cutMark
	clear(lines[i+1:]) // or they would stay in memory
	return lines[:i+1]
}

// parseLine splits off a reply line's code and says whether the line is the
// reply's last.
func parseLine(line []byte) (code int, last, ok bool) {
	if len(line) < 3 || line[0] < '2' || line[0] > '5' {
		return 0, false, false
	}
	for _, b := range line[:3] {
		if b < '0' || b > '9' {
			return 0, false, false
		}
		code = 10*code + int(b-'0')
	}
	if len(line) == 3 {
		return code, true, true // RFC 5321 §4.2: the text may be missing altogether
	}
	return code, line[3] == ' ', line[3] == ' ' || line[3] == '-'
}

func trimEOL(line []byte) []byte {
	n := len(line)
	if n > 0 && line[n-1] == '\n' {
		n--
	}
	if n > 0 && line[n-1] == '\r' {
		n--
	}
	return line[:n]
}

// enhancedCode returns the enhanced status code a reply's text begins with
// (RFC 2034 §4), or nothing.
func enhancedCode(text string) string {
	word, _, _ := strings.Cut(text, " ")
	if len(word) > 9 || strings.Count(word, ".") != 2 || strings.Trim(word, "0123456789.") != "" {
		return ""
	}
	class, rest, _ := strings.Cut(word, ".")
	subject, detail, _ := strings.Cut(rest, ".")
	if class != "2" && class != "4" && class != "5" || !upTo3Digits(subject) || !upTo3Digits(detail) {
		return ""
	}
	return word
}

func upTo3Digits(s string) bool { return len(s) >= 1 && len(s) <= 3 }

// readable returns the beginning of a line as text.
func readable(line []byte) string {
	if !utf8.Valid(line) {
		return fmt.Sprintf("%.500s", latin1(string(line)))
	}
	return fmt.Sprintf("%.500s", line)
}

// latin1 reads each byte as the character of its number. Replies that are not
// UTF-8 are shown that way, as nodemailer does.
func latin1(s string) string {
	runes := make([]rune, len(s))
	for i := range len(s) {
		runes[i] = rune(s[i])
	}
	return string(runes)
}
