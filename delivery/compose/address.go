package compose

import (
	"regexp"
	"slices"
	"strings"
	"unicode/utf8"

	"postrider/delivery"
)

// maxGroupDepth bounds groups within groups, which RFC 5322 does not have.
const maxGroupDepth = 50

// space is what JavaScript takes for white space in a pattern.
const space = `\t\n\v\f\r \x{00a0}\x{1680}\x{2000}-\x{200a}\x{2028}\x{2029}\x{202f}\x{205f}\x{3000}\x{feff}`

// embedded finds an address in the midst of other text.
var embedded = regexp.MustCompile(`[` + space + `]*\b[^@` + space + `]+@[^` + space + `]+\b[` + space + `]*`)

// mailbox is an element of an address list: a mailbox, or a group of them.
// One with neither address nor group is text without an address in it.
type mailbox struct {
	name    string
	address string
	group   bool
	members []mailbox // of a group; may be empty
}

// readAddresses appends what an address list names to into. The list comes
// from the named field of the document; a line in it that was smuggled in
// refuses the document. Other control characters are left out, and line breaks
// read as spaces, as by the extension's mail library, but DEL, which it sends.
func readAddresses(into *[]mailbox, field, list string) error {
	list = trimSpace(list)
	if hasInjectedLine(list) || strings.Contains(list, "\x7f") {
		return controlFailure(field)
	}
	*into = append(*into, parseAddresses(strings.ToValidUTF8(list, "\uFFFD"), 0)...)
	return nil
}

func controlFailure(field string) error {
	return refuse(delivery.PhaseCompose,
		field+" has a line break or another control character in an address",
		"An address is a single line of text; a line break in one is how header fields are smuggled into mails. Put commas between addresses, remove the line break, and check where the value came from.")
}

// hasControl reports whether s has a control character other than a tab.
func hasControl(s string) bool {
	for i := 0; i < len(s); i++ {
		if s[i] < ' ' && s[i] != '\t' || s[i] == 0x7f {
			return true
		}
	}
	return false
}

// hasInjectedLine reports whether a line of an address list, after the first,
// looks like a header field, or has another address where the line before,
// of the same element, has one: that would become a name, or a group's.
func hasInjectedLine(list string) bool {
	if !strings.ContainsAny(list, "\r\n") {
		return false
	}
	for _, e := range strings.FieldsFunc(list, func(r rune) bool { return r == ',' || r == ';' }) {
		addressed := false
		for i, line := range strings.Split(strings.ReplaceAll(e, "\r", "\n"), "\n") {
			name, _, ok := strings.Cut(line, ":")
			hasAddress := strings.Contains(line, "@")
			if i > 0 && (ok && isFieldName(trimSpace(name)) || hasAddress && addressed) {
				return true
			}
			addressed = addressed || hasAddress
		}
	}
	return false
}

// parseAddresses reads an address list with the tolerance, and the results, of
// the extension's mail library: commas or semicolons between elements, commas
// in unquoted names, groups, comments as names, addresses without brackets
// next to names. It never fails; text without an address is a mailbox without
// one.
func parseAddresses(list string, depth int) []mailbox {
	if depth > maxGroupDepth {
		return nil
	}
	if m, ok := parsePlain(list); ok {
		return []mailbox{m}
	}
	var all []mailbox
	tokens := scanAddresses(list)
	start := 0
	for i := 0; i <= len(tokens); i++ {
		if i < len(tokens) && tokens[i].op != ',' && tokens[i].op != ';' {
			continue
		}
		if i > start {
			all = append(all, readMailbox(tokens[start:i], depth))
		}
		start = i + 1
	}
	return joinSplitNames(all)
}

// parsePlain reads what most lists are: an address, or a name without anything
// special in it and an address in angle brackets.
func parsePlain(list string) (mailbox, bool) {
	name, address := "", list
	if inside, ok := strings.CutSuffix(list, ">"); ok {
		name, address, _ = strings.Cut(inside, "<")
		if name = trimSpace(name); name == "" || hasControl(name) || strings.ContainsAny(name, "\t@"+specials) {
			return mailbox{}, false
		}
	}
	ok := isPlainAddress(address) && isAddress(address) && !strings.ContainsAny(address, specials)
	return mailbox{name: name, address: address}, ok
}

// specials are the characters that mean something in an address list.
const specials = `"(),:;\>`

// joinSplitNames puts "Lovelace, Ada <ada@...>" together again: names without
// an address belong to the named mailbox that follows them.
func joinSplitNames(all []mailbox) []mailbox {
	out := all[:0]
	var names []string // waiting for their mailbox
	flush := func() {
		for _, n := range names {
			out = append(out, mailbox{name: n})
		}
		names = names[:0]
	}
	for _, m := range all {
		switch {
		case m.address == "" && !m.group && m.name != "":
			names = append(names, m.name)
			continue
		case m.address != "" && m.name != "" && len(names) > 0:
			m.name = strings.Join(append(names, m.name), ", ")
			names = names[:0]
		default:
			flush()
		}
		out = append(out, m)
	}
	flush()
	return out
}

// token is an operator or a piece of text of an address list.
type token struct {
	op    byte // 0 for text; else one of " ( ) < > , : ;
	text  string
	glued bool // an operator with text right behind it
}

// scanAddresses cuts an address list into tokens. Within quotes, comments,
// angle brackets and groups only their end counts.
func scanAddresses(list string) []token {
	var tokens []token
	var text []byte
	flush := func() {
		if t := trimSpace(string(text)); t != "" {
			tokens = append(tokens, token{text: t})
		}
		text = text[:0]
	}
	var until byte
	escaped := false
	for i := 0; i < len(list); i++ {
		b := list[i]
		switch {
		case escaped:
			escaped = false
		case until != 0 && b == until:
			flush()
			tokens = append(tokens, token{op: b, glued: i+1 < len(list) && strings.IndexByte(" \t\r\n,;", list[i+1]) < 0})
			until = 0
			continue
		case until == 0 && strings.IndexByte(`"(<,:;`, b) >= 0:
			flush()
			tokens = append(tokens, token{op: b})
			until = closing(b)
			continue
		case until == '"' && b == '\\':
			escaped = true
			continue
		}
		if b == '\n' {
			b = ' '
		}
		if b >= ' ' || b == '\t' {
			text = append(text, b)
		}
	}
	flush()
	return tokens
}

func closing(op byte) byte {
	switch op {
	case '"':
		return '"'
	case '(':
		return ')'
	case '<':
		return '>'
	case ':':
		return ';'
	}
	return 0
}

// piece is text that became one from tokens without space between them.
type piece struct {
	text   []byte
	quoted bool // some of it was in quotes
}

// element has the pieces of one element of a list by what they are.
type element struct {
	address, comment, members, text []piece

	group bool
}

func gather(tokens []token) element {
	var e element
	into := &e.text
	inQuotes := false
	for i, t := range tokens {
		switch {
		case t.op == 0:
			if into == &e.address {
				t.text = afterBracket(t.text)
			}
			if n := len(*into); i > 0 && tokens[i-1].glued && n > 0 {
				last := &(*into)[n-1]
				last.text = append(last.text, t.text...)
				last.quoted = last.quoted || inQuotes
				continue
			}
			*into = append(*into, piece{[]byte(t.text), inQuotes})
		case t.op == '"':
			into, inQuotes = &e.text, !inQuotes
		default:
			inQuotes = false
			switch t.op {
			case '<':
				into = &e.address
			case '(':
				into = &e.comment
			case ':':
				into, e.group = &e.members, true
			default:
				into = &e.text
			}
		}
	}
	return e
}

// afterBracket drops what stands before a second "<".
func afterBracket(s string) string {
	if _, after, ok := strings.Cut(s, "<"); ok {
		return strings.TrimLeftFunc(after, isSpace)
	}
	return s
}

func readMailbox(tokens []token, depth int) mailbox {
	e := gather(tokens)
	if len(e.text) == 0 {
		e.text, e.comment = e.comment, nil
	}
	if e.group {
		m := mailbox{name: join(e.text, " "), group: true}
		if len(e.members) > 0 {
			for _, member := range parseAddresses(join(e.members, ","), depth+1) {
				if member.group {
					m.members = append(m.members, member.members...)
				} else {
					m.members = append(m.members, member)
				}
			}
		}
		return m
	}
	if len(e.address) == 0 {
		e.findAddress()
	}
	if len(e.text) == 0 {
		e.text = e.comment
	}
	if len(e.address) > 1 {
		e.text = append(e.text, e.address[1:]...)
		e.address = e.address[:1]
	}
	return nameAndAddress(join(e.text, " "), join(e.address, " "))
}

func join(pieces []piece, separator string) string {
	if len(pieces) == 1 {
		return string(pieces[0].text)
	}
	var b strings.Builder
	for i, p := range pieces {
		if i > 0 {
			b.WriteString(separator)
		}
		b.Write(p.text)
	}
	return b.String()
}

// findAddress takes an address out of text that has no angle brackets, the
// last one first. Text in quotes is left alone: an address in a display name
// is none (RFC 5321 §4.1.2).
func (e *element) findAddress() {
	for i := len(e.text) - 1; i >= 0; i-- {
		if !e.text[i].quoted && isAddress(string(e.text[i].text)) {
			e.address = []piece{e.text[i]}
			e.text = slices.Delete(e.text, i, i+1)
			return
		}
	}
	for i := len(e.text) - 1; i >= 0; i-- {
		if e.text[i].quoted {
			continue
		}
		s := trimSpace(string(e.text[i].text))
		e.text[i].text = []byte(s)
		if at := embedded.FindStringIndex(s); at != nil {
			e.address = []piece{{text: []byte(trimSpace(s[at[0]:at[1]]))}}
			e.text[i].text = []byte(trimSpace(s[:at[0]] + " " + s[at[1]:]))
			return
		}
	}
}

// isAddress reports whether s is one word with exactly one @ inside.
func isAddress(s string) bool {
	local, domain, ok := strings.Cut(s, "@")
	return ok && local != "" && domain != "" && !strings.Contains(domain, "@") && strings.IndexFunc(s, isSpace) < 0
}

func nameAndAddress(text, address string) mailbox {
	m := mailbox{name: text, address: address}
	if address == "" {
		m.address = text
	}
	if text == "" {
		m.name = address
	}
	if m.name == m.address {
		if strings.Contains(m.address, "@") {
			m.name = ""
		} else {
			m.address = ""
		}
	}
	return m
}

func isSpace(r rune) bool {
	switch r {
	case '\t', '\n', '\v', '\f', '\r', ' ', 0xa0, 0x1680, 0x2028, 0x2029, 0x202f, 0x205f, 0x3000, 0xfeff:
		return true
	}
	return 0x2000 <= r && r <= 0x200a
}

// trimSpace trims what JavaScript's trim does.
func trimSpace(s string) string {
	if s == "" || s[0] > ' ' && s[0] < utf8.RuneSelf && s[len(s)-1] > ' ' && s[len(s)-1] < utf8.RuneSelf {
		return s
	}
	return strings.TrimFunc(s, isSpace)
}
