package compose

import (
	"fmt"
	"strings"
	"time"

	"postrider/delivery"
)

// maxLine is how long a line of a message may be, without its CRLF (RFC 5322
// §2.1.1); maxFolded is how long we let one get.
const (
	maxLine   = 998
	maxFolded = 76
)

// header is what the message's own header says, values not yet encoded.
type header struct {
	from, replyTo, to, cc []mailbox
	notify                []mailbox // who wants to know of its reading

	subject   string
	custom    []delivery.Header // names normalized, those removed that are set above
	date      string
	sender    string // MAIL FROM
	messageID string // as for info.messageId
}

// header gathers the header: what the document's own fields say comes before
// what its headers say.
func (c *Composer) header(doc delivery.Document, m content, r recipients, claim Claim) (header, error) {
	h := header{
		to: r.to, cc: r.cc, subject: m.Subject,
		date: claim.Time.UTC().Format(time.RFC1123Z),
	}
	custom, err := normalizeHeaders(doc.Headers)
	if err != nil {
		return header{}, err
	}
	if err := c.readFrom(&h, doc.From, take(custom, "From")); err != nil {
		return header{}, err
	}
	hasReplyTo, err := c.readReplyTo(&h, doc.ReplyTo)
	if err != nil {
		return header{}, err
	}
	if h.subject == "" {
		h.subject = take(custom, "Subject")
	}
	if date := take(custom, "Date"); date != "" {
		h.date = date
	}
	if err := h.readMessageID(m.MessageID, take(custom, "Message-ID"), claim); err != nil {
		return header{}, err
	}
	h.notify = h.notified(doc, custom)
	h.custom = custom[:0]
	for _, f := range custom {
		if isOwn(f.Name) || f.Name == "Reply-To" && hasReplyTo {
			continue
		}
		if isAddressField(f.Name) && hasInjectedLine(trimSpace(f.Value)) {
			return header{}, controlFailure("headers." + f.Name)
		}
		h.custom = append(h.custom, f)
	}
	return h, nil
}

// isOwn reports whether a header field is ours to write, so that a document's
// headers cannot: the envelope's fields because the document has fields of its
// own for them, the others because they say how the message is to be read.
func isOwn(name string) bool {
	switch name {
	case "From", "To", "Cc", "Bcc", "Subject", "Date", "Message-ID",
		"MIME-Version", "Content-Type", "Content-Transfer-Encoding":
		return true
	}
	return false
}

// take returns the first value of a field that is not blank.
func take(fields []delivery.Header, name string) string {
	for _, f := range fields {
		if f.Name == name && trimSpace(f.Value) != "" {
			return f.Value
		}
	}
	return ""
}

func (c *Composer) readFrom(h *header, from, headerFrom string) error {
	field := "from"
	if from == "" {
		field, from = "DEFAULT_FROM", c.options.DefaultFrom
	}
	if from == "" && headerFrom != "" {
		field, from = "headers.From", headerFrom
	}
	if err := readAddresses(&h.from, field, from); err != nil {
		return err
	}
	senders := envelope(h.from)
	if len(senders) > 0 {
		h.sender = senders[0]
		return nil
	}
	if from == "" {
		return refuse(delivery.PhaseCompose, "from is missing and DEFAULT_FROM is not set",
			"A mail needs an address it comes from. Set DEFAULT_FROM, or give the document a from field.")
	}
	return refuse(delivery.PhaseCompose, field+" has no e-mail address in it",
		fmt.Sprintf("A mail needs an address it comes from, and %s is %q. Correct it; a document without from uses DEFAULT_FROM.", field, from))
}

// readReplyTo reports whether document or settings name a Reply-To, which then
// comes before one in the document's headers.
func (c *Composer) readReplyTo(h *header, replyTo string) (bool, error) {
	field := "replyTo"
	if replyTo == "" {
		field, replyTo = "DEFAULT_REPLY_TO", c.options.DefaultReplyTo
	}
	return replyTo != "", readAddresses(&h.replyTo, field, replyTo)
}

// readMessageID chooses the Message-ID: message.messageId, the document's
// header, or one made of the claim and the sender's domain.
func (h *header) readMessageID(own, inHeader string, claim Claim) error {
	field := "message.messageId"
	switch {
	case own != "":
		h.messageID = bracketed(own)
		if strings.ContainsAny(h.messageID, " \t") || !strings.Contains(h.messageID, "@") || strings.ContainsAny(h.messageID[1:len(h.messageID)-1], "<>") {
			return badMessageID(field)
		}
	case inHeader != "":
		field = "headers.Message-ID"
		h.messageID = inHeader
	default:
		h.messageID = "<" + idToken(claim.ID) + "@" + domainOf(h.sender) + ">"
		return nil
	}
	id := oneLine(h.messageID)
	if len(id) > maxLine-100 || hasControl(id) || !isASCII(id) {
		return badMessageID(field)
	}
	return nil
}

func badMessageID(field string) error {
	return refuse(delivery.PhaseCompose, field+" is not a Message-ID",
		"A Message-ID is one word in ASCII like <left@right> (RFC 5322 §3.6.4). Correct it, or leave it out: every mail gets one.")
}

// domainOf returns the domain of an address, for a Message-ID.
func domainOf(address string) string {
	domain := address[strings.LastIndexByte(address, '@')+1:]
	if domain == "" || len(domain) > 255 || strings.ContainsFunc(domain, func(r rune) bool {
		return r <= ' ' || r == 0x7f || strings.ContainsRune(`<>@,;:"()\`, r)
	}) {
		return "localhost"
	}
	return domain
}

// idToken keeps of a claim's ID what may stand in a Message-ID and a boundary.
func idToken(id string) string {
	return strings.Map(func(r rune) rune {
		if r < 0x7f && (isAlphanumeric(byte(r)) || r == '-') {
			return r
		}
		return -1
	}, id[:min(len(id), 40)])
}

// bracketed puts a value into angle brackets, as far as it isn't.
func bracketed(s string) string {
	s = trimSpace(oneLine(s))
	if !strings.HasPrefix(s, "<") {
		s = "<" + s
	}
	if !strings.HasSuffix(s, ">") {
		s += ">"
	}
	return s
}

// oneLine puts a space for every line end, so that no value adds a line.
func oneLine(s string) string {
	if !strings.ContainsAny(s, "\r\n") {
		return s
	}
	return strings.NewReplacer("\r\n", " ", "\r", " ", "\n", " ").Replace(s)
}

// normalizeHeaders gives the names of a document's headers their usual case
// and drops blank values. A name that is none refuses the document: it could
// only be a mistake, or an attempt to write a second line.
func normalizeHeaders(fields []delivery.Header) ([]delivery.Header, error) {
	if len(fields) == 0 {
		return nil, nil
	}
	out := make([]delivery.Header, 0, len(fields))
	for _, f := range fields {
		name := trimSpace(f.Name)
		if !isFieldName(name) {
			return nil, refuse(delivery.PhaseCompose, fmt.Sprintf("headers has an invalid name: %.80q", f.Name),
				"The name of a header field is one word of printable ASCII without a colon (RFC 5322 §2.2). Correct it; a line break in it is how fields are smuggled into mails.")
		}
		if trimSpace(f.Value) == "" {
			continue
		}
		out = append(out, delivery.Header{Name: fieldName(name), Value: f.Value})
	}
	return out, nil
}

func isFieldName(name string) bool {
	if name == "" || len(name) > 200 {
		return false
	}
	for i := 0; i < len(name); i++ {
		if name[i] <= ' ' || name[i] >= 0x7f || name[i] == ':' {
			return false
		}
	}
	return true
}

// fieldName writes a field's name as it is usually written: each word after a
// hyphen with a capital, and a few abbreviations in capitals.
func fieldName(name string) string {
	lower := strings.ToLower(name)
	switch lower {
	case "x-smtpapi":
		return "X-SMTPAPI"
	case "content-features":
		return "Content-features"
	}
	b := []byte(lower)
	for i := range b {
		if (i == 0 || b[i-1] == '-') && 'a' <= b[i] && b[i] <= 'z' {
			b[i] -= 'a' - 'A'
		}
	}
	upper := func(from, to int) { copy(b[from:to], strings.ToUpper(lower[from:to])) }
	for _, prefix := range []string{"mime", "dkim", "arc", "bimi"} {
		if n := len(prefix); strings.HasPrefix(lower, prefix) && (len(b) == n || !isAlphanumeric(b[n]) && b[n] != '_') {
			upper(0, n)
		}
	}
	for _, suffix := range []string{"-spf", "-fbl", "-id", "-md5"} {
		if strings.HasSuffix(lower, suffix) {
			upper(len(b)-len(suffix), len(b))
		}
	}
	return string(b)
}

func isAddressField(name string) bool {
	switch name {
	case "From", "Sender", "To", "Cc", "Bcc", "Reply-To":
		return true
	}
	return false
}

// size is about how much the header takes.
func (h *header) size() int {
	n := 512 + 2*len(h.subject) + 40*(len(h.to)+len(h.cc)+len(h.from)+len(h.replyTo)+len(h.notify))
	for _, l := range [][]mailbox{h.to, h.cc, h.from, h.replyTo, h.notify} {
		for i := range l {
			n += len(l[i].name) + len(l[i].address)
		}
	}
	for _, f := range h.custom {
		n += 16 + len(f.Name) + 2*len(f.Value)
	}
	return n
}
