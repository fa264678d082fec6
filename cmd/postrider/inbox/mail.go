package inbox

import (
	"net/mail"
	"strings"
	"time"
	"unicode/utf8"

	"golang.org/x/net/idna"
)

const (
	maxSummaryBytes = 2 << 10  // of a subject or an address list, in lists
	maxPreviewBytes = 200      // of the text, in lists
	maxSearchBytes  = 64 << 10 // of the text that a search looks at
)

// Envelope is what the SMTP client said before the message: bare addresses.
type Envelope struct {
	From string   // MAIL FROM; empty is the null sender <> (RFC 5321 §4.5.5)
	To   []string // RCPT TO in order, Bcc recipients among them
}

// Mail is one received mail. Read its content with [Parse].
type Mail struct {
	ID       string    // a number, counted from 1 and never used again
	Received time.Time // UTC
	Envelope Envelope
	Raw      []byte // as transmitted: CRLF lines, dot-stuffing undone

	// What a list shows, decoded and shortened; empty where the mail has no such
	// header field.
	Subject, From, To string
	Preview           string // the beginning of the text on one line
	Attachments       int    // files that are not shown as part of the HTML
	Problems          []string

	search string // lower case
}

// summarise reads Raw once and fills in what lists and searches need.
func (m *Mail) summarise() {
	p := Parse(m.Raw)
	m.Subject = shorten(p.Header("Subject"), maxSummaryBytes)
	m.From = shorten(p.Header("From"), maxSummaryBytes)
	m.To = shorten(p.Header("To"), maxSummaryBytes)
	m.Problems = p.Problems
	for _, a := range p.Parts {
		if a.Kind == File && !a.Inline {
			m.Attachments++
		}
	}
	text := p.Text
	if text == "" {
		text = visibleText(p.HTML)
	}
	m.Preview = shorten(oneLine(shorten(text, 10*maxPreviewBytes)), maxPreviewBytes)
	m.search = strings.ToLower(strings.Join([]string{
		m.Envelope.From, strings.Join(m.Envelope.To, " "), m.Subject, m.From, m.To,
		p.Header("Cc"), p.Header("Message-Id"), shorten(text, maxSearchBytes),
	}, "\n"))
}

// matches reports whether every word of the query occurs in the mail's
// addresses, subject, Message-ID or the first 64 KiB of its text, in any case.
func (m Mail) matches(query string) bool {
	for word := range strings.FieldsSeq(strings.ToLower(query)) {
		if !strings.Contains(m.search, word) {
			return false
		}
	}
	return true
}

// hidden returns the envelope's recipients that neither To nor Cc names: those
// of Bcc.
func hidden(e Envelope, p Message) []string {
	named := map[string]bool{}
	for _, name := range []string{"To", "Cc"} {
		list, err := mail.ParseAddressList(p.Header(name))
		if err != nil {
			for word := range strings.FieldsFuncSeq(p.Header(name), func(r rune) bool {
				return strings.ContainsRune(" \t,;<>\"'()", r)
			}) {
				named[canonical(word)] = true
			}
		}
		for _, a := range list {
			named[canonical(a.Address)] = true
		}
	}
	var bcc []string
	for _, to := range e.To {
		if !named[canonical(to)] {
			bcc = append(bcc, to)
		}
	}
	return bcc
}

// canonical spells an address so that two spellings of one compare equal: lower
// case, domain in punycode.
func canonical(address string) string {
	address = strings.ToLower(address)
	at := strings.LastIndexByte(address, '@')
	if at < 0 {
		return address
	}
	if ascii, err := idna.ToASCII(address[at+1:]); err == nil {
		return address[:at+1] + ascii
	}
	return address
}

// oneLine joins the words of s by single spaces.
func oneLine(s string) string {
	return strings.Join(strings.Fields(s), " ")
}

// shorten cuts s to at most limit bytes, never inside a character, and marks
// the cut.
func shorten(s string, limit int) string {
	if len(s) <= limit {
		return s
	}
	for limit > 0 && !utf8.RuneStart(s[limit]) {
		limit--
	}
	return s[:limit] + "…"
}
