package api

import (
	"strings"
)

// message is what a request asks to be sent, whatever its version calls it.
type message struct {
	from        string
	to, cc, bcc []string // mailboxes, as [mailbox] writes them
	replyTo     []string
	headers     []field
	subject     string
	text, html  string // at least one is not empty
	attachments []attachment
	importance  string // of 2021-10-01-preview: high, low, or "" for neither
}

// field is a header field of a message.
type field struct{ name, value string }

// attachment is a file of a message.
type attachment struct {
	name, contentType string
	content           string // base64
	cid               string // by which the HTML shows it; "" for a file beside it
}

// spelling is what a version calls what they all have.
type spelling struct {
	sender, address string
	attachment      func(*body, node) attachment
	headers         func(*body, node) []field
	anyCase         bool // of cc and bcc
}

// spellingOf returns the spelling of an api-version.
func spellingOf(version string) spelling {
	s := spelling{sender: "senderAddress", address: "address", attachment: (*body).attachment, headers: (*body).headers}
	switch version {
	case email2021:
		s = spelling{sender: "sender", address: "email", attachment: (*body).attachment2021, headers: (*body).headers2021, anyCase: true}
	case email2025:
		s.attachment = (*body).attachment2025
	}
	return s
}

// readMessage returns the message that a body describes (EmailMessage of a
// version), or its first fault. It must be from one of the senders.
func readMessage(version string, text []byte, senders []string) (message, *problem) {
	var b body
	s, root := spellingOf(version), b.object(text)
	m := message{from: b.sender(root.at(s.sender), senders)}
	b.recipients(&m, root.at("recipients"), s)
	b.content(&m, root.at("content"))
	m.replyTo = b.mailboxes(root.at("replyTo"), s.address)
	m.headers = s.headers(&b, root.at("headers"))
	if version == email2021 {
		m.importance = b.importance(root.at("importance"))
	}
	for n := range b.elements(root.at("attachments")) {
		m.attachments = append(m.attachments, s.attachment(&b, n))
	}
	return m, b.fault
}

// recipients reads who is to get a message.
func (b *body) recipients(m *message, n node, s spelling) {
	for _, list := range b.members(n) {
		name := list.name
		if s.anyCase && (strings.EqualFold(name, "cc") || strings.EqualFold(name, "bcc")) {
			name = strings.ToLower(name)
		}
		switch name {
		case "to":
			m.to = b.mailboxes(list, s.address)
		case "cc":
			m.cc = append(m.cc, b.mailboxes(list, s.address)...)
		case "bcc":
			m.bcc = append(m.bcc, b.mailboxes(list, s.address)...)
		}
	}
	if len(m.to)+len(m.cc)+len(m.bcc) == 0 {
		b.wrong(n.path, n.path+" must have an address in to, cc or bcc")
	}
}

// content reads what a message says.
func (b *body) content(m *message, n node) {
	b.members(n)
	m.subject = b.required(n.at("subject"))
	if hasControl(m.subject) {
		b.wrong(n.at("subject").path, "content.subject must be one line without control characters")
	}
	m.text, m.html = b.text(n.at("plainText")), b.text(n.at("html"))
	if m.text == "" && m.html == "" {
		b.wrong(n.path, "content must have a plainText or an html that is not empty")
	}
}
