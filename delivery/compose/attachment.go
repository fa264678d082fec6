package compose

import (
	"context"
	"fmt"
	"strconv"
	"strings"

	"postrider/delivery"
)

// body is what an attachment contains: text of the document's own, bytes, or a
// file elsewhere.
type body struct {
	text   string
	data   []byte
	file   *file
	isText bool
}

func (b body) size() int64 { return int64(len(b.text) + len(b.data)) }

func (b body) facts() lineFacts {
	if b.data != nil {
		return factsOf(b.data)
	}
	return factsOf(b.text)
}

// attachments makes a part of each attachment.
func (l *loader) attachments(ctx context.Context, m content) ([]*node, error) {
	if len(m.Attachments) == 0 {
		return nil, nil
	}
	if n := len(m.Attachments); n > l.options.MaxAttachments {
		return nil, refuse(delivery.PhaseAttachment,
			fmt.Sprintf("%s has %d elements, at most %d are allowed (ATTACHMENT_MAX_COUNT)", m.where, n, l.options.MaxAttachments),
			"The limit is ATTACHMENT_MAX_COUNT. Send fewer attachments, or raise it.")
	}
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
		n := &node{text: a.Raw, cid: cleanCID(a.CID)}
		f := factsOf(a.Raw)
		n.encode(entity, f)
		return n, l.checkEntity("raw", f)
	}
	b, err := l.read(&a)
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
	if err := l.fill(ctx, n, a, b); err != nil {
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

// fill gives the part its body, in an encoding that brings it over unharmed. Only
// what base64 will not do for has to be looked at, and a file for it fetched.
func (l *loader) fill(ctx context.Context, n *node, a delivery.Attachment, b body) error {
	isMessage := hasPrefixFold(n.contentType, "message/")
	wanted := strings.ToLower(trimSpace(a.TransferEncoding))
	inText := wanted != "" && wanted != "base64" && hasPrefixFold(n.contentType, "text/")
	if hasPrefixFold(n.contentType, "multipart/") {
		return l.refuse("contentType", "is a multipart type, which an attachment cannot have",
			"An attachment is one file. Give it the type of that file, or the whole entity, header included, as raw.")
	}
	if b.file != nil && (isMessage || inText) {
		data, err := l.fetchWhole(ctx, b.file)
		if err != nil {
			return err
		}
		b = body{data: data}
	}
	n.text, n.data, n.file, n.encoding = b.text, b.data, b.file, inBase64
	if isMessage {
		return l.fillMessage(n, b)
	}
	if b.isText && !isASCII(b.text) && isPlainText(n.contentType) {
		n.contentType = string(appendStructured(nil, n.contentType, "text/plain", "charset"))
		n.contentType += "; charset=utf-8"
	}
	if inText && b.size() > 0 {
		f := b.facts()
		n.encode(f.encoding(), f)
		if wanted == "quoted-printable" {
			n.encode(quotedPrintable, f)
		}
	}
	return nil
}

// fillMessage gives a message/* part its encoding, which may be none (RFC 2046
// §5.2.1).
func (l *loader) fillMessage(n *node, b body) error {
	f := b.facts()
	n.encode(sevenBit, f)
	if f.eight {
		n.encode(eightBit, f)
	}
	return l.checkEntity("content", f)
}

// checkEntity refuses an entity that cannot travel as it is.
func (l *loader) checkEntity(field string, f lineFacts) error {
	if f.longest <= maxLine && !f.nul {
		return nil
	}
	return l.refuse(field, "has a line of more than 998 bytes or a NUL in it",
		"A mail within a mail, and a raw entity, travel as they are, in lines that mail servers take (RFC 5321 §4.5.3.1.6). Attach it with contentType application/octet-stream, or encode it.")
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
