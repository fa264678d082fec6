package compose

import (
	"context"
	"slices"
	"strings"
	"unicode/utf8"
)

// maxPlainText is up to which size text is looked at whether it can travel as
// it is; beyond, it is encoded.
const maxPlainText = 128 << 10

// tree makes the tree of parts of a message:
//
//	mixed
//	├── alternative
//	│   ├── text
//	│   ├── amp
//	│   └── related
//	│       ├── html
//	│       └── attachments with a cid
//	└── other attachments
//
// Multiparts with only one child are left out, and with no HTML there is
// nothing a cid could belong to. A lone attachment is the whole message; a
// message with nothing in it is an empty text.
func (l *loader) tree(ctx context.Context, m content) (*node, error) {
	attachments, err := l.attachments(ctx, m)
	if err != nil {
		return nil, err
	}
	attached := attachments
	var related []*node
	if m.HTML != "" {
		attached = nil
		for _, a := range attachments {
			if a.cid != "" {
				related = append(related, a)
			} else {
				attached = append(attached, a)
			}
		}
	}
	var alternatives []*node
	if m.Text != "" {
		alternatives = append(alternatives, textNode("text/plain; charset=utf-8", m.Text))
	}
	if m.AMP != "" {
		alternatives = append(alternatives, textNode("text/x-amp-html; charset=utf-8", m.AMP))
	}
	if m.HTML != "" {
		html := textNode("text/html; charset=utf-8", m.HTML)
		if len(related) > 0 {
			html = multipart(`multipart/related; type="text/html"`, append([]*node{html}, related...))
		}
		alternatives = append(alternatives, html)
	}
	return assemble(alternatives, attached), nil
}

func assemble(alternatives, attached []*node) *node {
	if len(alternatives) > 1 {
		alternatives = []*node{multipart("multipart/alternative", alternatives)}
	}
	all := slices.Concat(alternatives, attached)
	switch {
	case len(all) == 0:
		return &node{contentType: "text/plain"}
	case len(all) == 1 && all[0].encoding != entity:
		return all[0]
	}
	// An entity brings its own header, which must not become the message's.
	return multipart("multipart/mixed", all)
}

func multipart(contentType string, children []*node) *node {
	return &node{contentType: contentType, multipart: true, children: children}
}

// textNode makes a part of a text.
func textNode(contentType, text string) *node {
	f := factsOf(text)
	if f.eight && !utf8.ValidString(text) {
		text = strings.ToValidUTF8(text, "\uFFFD")
		f = factsOf(text)
	}
	n := &node{contentType: contentType, text: text}
	n.encode(f.encoding(), f)
	return n
}

// encode sets the encoding of a body of these lines.
func (n *node) encode(e encoding, f lineFacts) {
	n.encoding, n.wireSize = e, f.wireSize(e)
}

// encoding is how text travels: as it is if its lines are short and ASCII, else in
// the encoding that suits it better.
func (f *lineFacts) encoding() encoding {
	switch {
	case !f.eight && !f.control && !f.bareCR && f.longest <= maxFolded && f.size <= maxPlainText:
		return sevenBit
	case f.prefersQ() || f.bareCR:
		return quotedPrintable
	}
	return inBase64
}
