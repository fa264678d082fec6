package smtp

import (
	"fmt"
	"strings"
	"unicode"
)

// Bounds of [Error.Conversation]. MAIL, so many recipients, DATA and the
// message make a command and a reply each: 12 lines.
const (
	shownRecipients = 3
	shownLine       = 500 // bytes
)

// concealed stands for an address.
const concealed = "…"

// conversation returns what was said of m, up to e, for [Error.Conversation].
func (s *session) conversation(m *outgoing, d dialogue, e *Error) []string {
	rd := addressesOf(m)
	var lines []string
	say := func(command, reply string) {
		lines = append(lines, oneLine("C: "+command), oneLine("S: "+reply))
	}
	from := *m
	if m.from != "" {
		from.from = concealed
	}
	say(string(s.appendCommand(nil, &from, 0)), rd.shown(d.mail))
	n := len(d.rcpts)
	for i := max(0, n-shownRecipients); i < n; i++ {
		command := "RCPT TO:<" + concealed + ">"
		if n > 1 {
			command += fmt.Sprintf(" (%d of %d)", i+1, n)
		}
		say(command, rd.shown(d.rcpts[i]))
	}
	say("DATA", rd.shown(d.data))
	answer := rd.shown(e.Reply)
	if answer == "" {
		answer = fmt.Sprintf("(no answer: %s)", rd.hide([]string{e.Err.Error()})[0])
	}
	say(fmt.Sprintf("(message of %d bytes, final dot)", m.size), answer)
	return lines
}

// oneLine bounds what is shown as one line, and sees to it that it is one.
func oneLine(s string) string {
	s = strings.TrimSpace(strings.Map(func(r rune) rune {
		if unicode.IsControl(r) {
			return ' '
		}
		return r
	}, s))
	if len(s) > shownLine {
		s = strings.ToValidUTF8(s[:shownLine-len(cutMark)], "") + cutMark
	}
	return s
}

// addressesOf returns a redactor of m's addresses, as they were given and as
// they were sent. One without a domain may be part of other words; if it is
// short it is taken out between angle brackets only.
func addressesOf(m *outgoing) *redactor {
	rd := &redactor{mark: "<" + concealed + ">", fold: true}
	add := func(a string) {
		if a == "" {
			return
		}
		a = lower(a)
		rd.whole = append(rd.whole, "<"+a+">")
		if strings.Contains(a, "@") || len(a) >= partLen {
			rd.whole = append(rd.whole, a)
		}
		if !isASCII(a) {
			rd.whole = append(rd.whole, lower(latin1(a)))
		}
	}
	add(m.from)
	for i, a := range m.to {
		add(a)
		if m.addresses[i] != a {
			add(m.addresses[i])
		}
	}
	return rd
}

// partLen is how many bytes of an address are too many to be shown, in a text
// that was cut within the address.
const partLen = 4

// shown returns r on one line, without what rd knows; "" if there is nothing to
// show.
func (rd *redactor) shown(r Reply) string {
	texts, codes := make([]string, len(r.Lines)), make([]string, len(r.Lines))
	for i, l := range r.Lines {
		if texts[i] = l; !r.IsZero() {
			texts[i] = r.text(i)
			codes[i] = l[:len(l)-len(texts[i])]
		}
	}
	if last := len(texts) - 1; last >= 0 {
		if whole, cut := strings.CutSuffix(texts[last], cutMark); cut || r.IsZero() {
			texts[last] = rd.trim(whole)
			if cut {
				texts[last] += cutMark
			}
		}
	}
	for i, t := range rd.hide(texts) {
		texts[i] = codes[i] + t
	}
	return strings.Join(texts, " / ")
}

// trim takes the beginning of a secret off the end of a text that was cut.
func (rd *redactor) trim(text string) string {
	folded := lower(text)
	for _, w := range rd.whole {
		for n := min(len(w)-1, len(folded)); n >= partLen; n-- {
			if strings.HasSuffix(folded, w[:n]) {
				return text[:len(text)-n] + rd.mark
			}
		}
	}
	return text
}

// lower turns ASCII letters into lower case, and leaves the length alone.
func lower(s string) string {
	b := []byte(s)
	for i, c := range b {
		if 'A' <= c && c <= 'Z' {
			b[i] = c + 'a' - 'A'
		}
	}
	return string(b)
}
