package inbox

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/emersion/go-message"
	_ "github.com/emersion/go-message/charset" // teaches go-message the charsets beyond UTF-8
)

const (
	maxDepth    = 30    // multiparts within multiparts
	maxParts    = 1_000 // leaves of the MIME tree
	maxBoundary = 1_000 // bytes; RFC 2046 §5.1.1 allows 70
	maxProblems = 20
)

// Kind says what a part is to the reader of the mail.
type Kind string

// The kinds. Of the texts, only the first of each that is no attachment is the
// body; everything else is a file.
const (
	Text Kind = "text"
	HTML Kind = "html"
	AMP  Kind = "amp"
	File Kind = "file"
)

// Header is one header field.
type Header struct {
	Name  string `json:"name"`  // as spelled in the mail
	Value string `json:"value"` // unfolded, RFC 2047 words decoded, valid UTF-8
}

// Part is a leaf of the MIME tree.
type Part struct {
	Index    int // position among the leaves, from 0
	Kind     Kind
	Type     string // media type in lower case without parameters; empty if unreadable
	Filename string // as the mail gives it, decoded; never a safe path
	CID      string // Content-ID without angle brackets
	Inline   bool   // has a Content-ID and is not marked as an attachment
	Content  []byte // transfer encoding undone; texts in UTF-8
}

// Message is what could be read of a mail. Every string is valid UTF-8.
type Message struct {
	Headers         []Header
	Text, HTML, AMP string // empty if there is no such part
	Parts           []Part // every leaf, the bodies included
	Problems        []string
}

// Parse reads a mail as far as it can. What it could not read, or had to guess,
// is in Problems.
func Parse(raw []byte) Message {
	var m Message
	root, err := message.Read(bytes.NewReader(raw))
	if root == nil {
		m.problem("read the header: %v", err)
		return m
	}
	m.readHeaders(&root.Header)
	m.walk(root, err, 0)
	return m
}

// Header returns the value of the first field of that name, in any case, or "".
func (m Message) Header(name string) string {
	for _, h := range m.Headers {
		if strings.EqualFold(h.Name, name) {
			return h.Value
		}
	}
	return ""
}

// Part returns the leaf with that index, and whether there is one.
func (m Message) Part(index int) (Part, bool) {
	if index < 0 || index >= len(m.Parts) {
		return Part{}, false
	}
	return m.Parts[index], true
}

func (m *Message) problem(format string, args ...any) {
	if len(m.Problems) < maxProblems {
		m.Problems = append(m.Problems, clean(fmt.Sprintf(format, args...)))
	}
}

func (m *Message) readHeaders(h *message.Header) {
	for fields := h.Fields(); fields.Next(); {
		name := fields.Key()
		if raw, err := fields.Raw(); err == nil {
			if colon := bytes.IndexByte(raw, ':'); colon > 0 {
				name = string(bytes.TrimSpace(raw[:colon]))
			}
		}
		value, err := fields.Text()
		if err != nil {
			value = fields.Value()
			m.problem("decode header %s: %v", name, err)
		}
		m.Headers = append(m.Headers, Header{Name: clean(name), Value: clean(value)})
	}
}

// walk reads an entity and what it contains. err is what go-message said about
// the entity: an unknown charset or transfer encoding.
func (m *Message) walk(e *message.Entity, err error, depth int) {
	if err != nil {
		m.problem("decode part %d: %v", len(m.Parts), err)
	}
	mediaType, params, err := e.Header.ContentType()
	if err != nil {
		m.problem("read the content type of part %d: %v", len(m.Parts), err)
	}
	boundary := params["boundary"]
	if strings.HasPrefix(mediaType, "multipart/") && depth < maxDepth && boundary != "" && len(boundary) <= maxBoundary {
		m.walkMultipart(e, depth)
		return
	}
	if strings.HasPrefix(mediaType, "multipart/") {
		m.problem("part %d is a multipart without a usable boundary, or too deep", len(m.Parts))
	}
	m.leaf(e, strings.ToLower(mediaType))
}

func (m *Message) walkMultipart(e *message.Entity, depth int) {
	reader := e.MultipartReader()
	before := len(m.Parts)
	for len(m.Parts) < maxParts {
		part, err := reader.NextPart()
		if errors.Is(err, io.EOF) {
			if len(m.Parts) == before {
				m.problem("a multipart has no parts")
			}
			return
		}
		if part == nil {
			m.problem("read a multipart after part %d: %v", len(m.Parts), err)
			return
		}
		m.walk(part, err, depth+1)
	}
	m.problem("only the first %d parts are shown", maxParts)
}

func (m *Message) leaf(e *message.Entity, mediaType string) {
	content, err := io.ReadAll(e.Body)
	if err != nil {
		m.problem("read part %d: %v", len(m.Parts), err)
	}
	disposition, params, _ := e.Header.ContentDisposition()
	p := Part{
		Index:    len(m.Parts),
		Kind:     File,
		Type:     clean(mediaType),
		Filename: clean(filename(&e.Header, params)),
		CID:      clean(strings.Trim(strings.TrimSpace(e.Header.Get("Content-Id")), "<>")),
		Content:  content,
	}
	attached := strings.EqualFold(disposition, "attachment")
	p.Inline = p.CID != "" && !attached
	if !attached {
		m.body(&p)
	}
	m.Parts = append(m.Parts, p)
}

// body makes the first part of each text type the mail's body of that type.
func (m *Message) body(p *Part) {
	var kind Kind
	var into *string
	switch p.Type {
	case "text/plain", "":
		kind, into = Text, &m.Text
	case "text/html":
		kind, into = HTML, &m.HTML
	case "text/x-amp-html":
		kind, into = AMP, &m.AMP
	default:
		return
	}
	for _, earlier := range m.Parts {
		if earlier.Kind == kind {
			return
		}
	}
	if p.Filename != "" {
		return // a text file sent along without a disposition
	}
	p.Kind, p.Inline = kind, false
	*into = clean(string(p.Content))
}

// filename returns what a part is to be called: the disposition's file name or
// else the type's name (RFC 2183 §2.3). go-message decodes both.
func filename(h *message.Header, disposition map[string]string) string {
	name := disposition["filename"]
	if name == "" {
		_, params, _ := h.ContentType()
		name = params["name"]
	}
	return name
}

// clean makes s valid UTF-8.
func clean(s string) string { return strings.ToValidUTF8(s, "\uFFFD") }
