package compose

import (
	"context"
	"fmt"
	"strconv"
	"strings"

	"postrider/delivery"
)

// loader reads the attachments of one document.
type loader struct {
	*Composer

	where  string // the attachment's path in the document, for errors
	budget int64  // bytes that may still be read for this document
}

// body is what an attachment contains: text of the document's own, or bytes.
type body struct {
	text   string
	data   []byte
	isText bool
}

func (b body) size() int64 { return int64(len(b.text) + len(b.data)) }

// attachments makes a part of each attachment.
func (c *Composer) attachments(ctx context.Context, m content) ([]*node, error) {
	if len(m.Attachments) == 0 {
		return nil, nil
	}
	if n := len(m.Attachments); n > c.options.MaxAttachments {
		return nil, refuse(delivery.PhaseAttachment,
			fmt.Sprintf("%s has %d elements, at most %d are allowed (ATTACHMENT_MAX_COUNT)", m.where, n, c.options.MaxAttachments),
			"The limit is ATTACHMENT_MAX_COUNT. Send fewer attachments, or raise it.")
	}
	ctx, cancel := context.WithTimeout(ctx, c.options.FetchTimeout)
	defer cancel()
	l := loader{Composer: c, budget: c.options.MaxMessageBytes}
	nodes := make([]*node, len(m.Attachments))
	for i, a := range m.Attachments {
		l.where = m.where + "[" + strconv.Itoa(i) + "]"
		n, err := l.node(ctx, a, i)
		if err != nil {
			return nil, err
		}
		nodes[i] = n
	}
	return nodes, nil
}

// node makes a part of the attachment with the given index in its list.
func (l *loader) node(ctx context.Context, a delivery.Attachment, index int) (*node, error) {
	if a.Raw != "" {
		text, err := l.entity("raw", a.Raw)
		return &node{encoding: entity, text: text, cid: cleanCID(a.CID)}, err
	}
	b, err := l.read(ctx, &a)
	if err != nil {
		return nil, err
	}
	if l.budget -= b.size(); l.budget < 0 {
		return nil, tooLarge(l.options.MaxMessageBytes-l.budget, l.options.MaxMessageBytes)
	}
	n := &node{cid: cleanCID(a.CID)}
	if n.custom, err = l.headers(a); err != nil {
		return nil, err
	}
	l.describe(n, a, index)
	if err := l.fill(n, a, b); err != nil {
		return nil, err
	}
	return n, nil
}

// describe sets type, name and disposition.
func (l *loader) describe(n *node, a delivery.Attachment, index int) {
	source := firstOf(a.Path, a.Href)
	contentType := firstOf(a.ContentType, l.types.byName(firstOf(a.Filename, source, "bin")))
	isMessage := hasPrefixFold(contentType, "message/")

	n.filename = strings.ToValidUTF8(a.Filename, "\uFFFD")
	if n.filename == "" && !isMessage {
		n.filename = l.nameOf(source, contentType, index)
	}
	n.disposition = "attachment"
	if isMessage || n.cid != "" && hasPrefixFold(contentType, "image/") {
		n.disposition = "inline"
	}
	own := "boundary" // parameters that are ours to write
	if n.filename != "" {
		own += " name filename"
	}
	if a.Disposition != "" {
		n.disposition = string(appendStructured(nil, a.Disposition, "attachment", own))
	}
	n.contentType = contentType
	if a.ContentType != "" {
		n.contentType = string(appendStructured(nil, contentType, "application/octet-stream", own))
	}
}

// nameOf makes a name for an attachment without one: the last segment of its
// address, or its number, with an extension for its type.
func (l *loader) nameOf(source, contentType string, index int) string {
	name := source[strings.LastIndexByte(source, '/')+1:]
	name, _, _ = strings.Cut(name, "?")
	if name == "" {
		name = "attachment-" + strconv.Itoa(index+1)
	}
	if !strings.Contains(name, ".") {
		name += "." + l.types.extension(contentType)
	}
	return strings.ToValidUTF8(name, "\uFFFD")
}

// fill gives the part its body, in an encoding that brings it over unharmed.
func (l *loader) fill(n *node, a delivery.Attachment, b body) error {
	switch {
	case hasPrefixFold(n.contentType, "multipart/"):
		return l.refuse("contentType", "is a multipart type, which an attachment cannot have",
			"An attachment is one file. Give it the type of that file, or the whole entity, header included, as raw.")
	case hasPrefixFold(n.contentType, "message/"):
		return l.fillMessage(n, b)
	}
	n.text, n.data, n.encoding = b.text, b.data, inBase64
	if b.isText && !isASCII(b.text) && isPlainText(n.contentType) {
		n.contentType = string(appendStructured(nil, n.contentType, "text/plain", "charset"))
		n.contentType += "; charset=utf-8"
	}
	wanted := strings.ToLower(trimSpace(a.TransferEncoding))
	if wanted == "" || wanted == "base64" || b.size() == 0 || !hasPrefixFold(n.contentType, "text/") {
		return nil
	}
	text := b.text + string(b.data)
	n.encoding = quotedPrintable
	if wanted != "quoted-printable" {
		n.encoding = textEncoding(text)
	}
	if n.encoding != inBase64 {
		n.text, n.data = text, nil
	}
	return nil
}

// fillMessage gives a message/* part its body, which may not be encoded (RFC
// 2046 §5.2.1).
func (l *loader) fillMessage(n *node, b body) error {
	text := b.text
	if !b.isText {
		text = string(b.data)
	}
	text, err := l.entity("content", text)
	n.text, n.encoding = text, sevenBit
	if !isASCII(text) {
		n.encoding = eightBit
	}
	return err
}

// entity gives lines of an entity that travels as it is their CRLF, and
// refuses what cannot travel so.
func (l *loader) entity(field, text string) (string, error) {
	f := factsOf(text)
	if f.longest > maxLine || strings.IndexByte(text, 0) >= 0 {
		return "", l.refuse(field, "has a line of more than 998 bytes or a NUL in it",
			"A mail within a mail, and a raw entity, travel as they are, in lines that mail servers take (RFC 5321 §4.5.3.1.6). Attach it with contentType application/octet-stream, or encode it.")
	}
	return string(appendLines(make([]byte, 0, len(text)+len(text)/32+2), text)), nil
}

// headers returns an attachment's own header fields, without those that are
// ours to write.
func (l *loader) headers(a delivery.Attachment) ([]delivery.Header, error) {
	fields, err := normalizeHeaders(a.Headers)
	if err != nil {
		return nil, l.refuse("headers", "has an invalid name",
			"The name of a header field is one word of printable ASCII without a colon (RFC 5322 §2.2). Correct it.")
	}
	kept := fields[:0]
	for _, f := range fields {
		switch f.Name {
		case "Content-Type", "Content-Transfer-Encoding", "Content-Disposition":
			continue
		case "Content-ID":
			if a.CID != "" {
				continue
			}
		}
		if isAddressField(f.Name) && hasInjectedLine(f.Value) {
			return nil, controlFailure(l.where + ".headers." + f.Name)
		}
		kept = append(kept, f)
	}
	return kept, nil
}

// refuse is a failure of the field of the attachment at hand.
func (l *loader) refuse(field, fault, explain string) error {
	return refuse(delivery.PhaseAttachment, l.where+"."+field+" "+fault, explain)
}

// cleanCID keeps of a content ID what may stand between angle brackets.
func cleanCID(cid string) string {
	return strings.Map(func(r rune) rune {
		switch {
		case r == '<' || r == '>':
			return -1
		case r < ' ' || r == 0x7f:
			return ' '
		}
		return r
	}, strings.ToValidUTF8(strings.ReplaceAll(cid, "\r\n", "\n"), "\uFFFD"))
}

func isPlainText(contentType string) bool {
	return contentType == "text/plain" || strings.HasPrefix(contentType, "text/plain;")
}

func hasPrefixFold(s, prefix string) bool {
	return len(s) >= len(prefix) && strings.EqualFold(s[:len(prefix)], prefix)
}

func firstOf(values ...string) string {
	for _, v := range values {
		if v != "" {
			return v
		}
	}
	return ""
}
