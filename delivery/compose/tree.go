package compose

import (
	"context"
	"slices"
	"strings"
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
func (c *Composer) tree(ctx context.Context, m content) (*node, error) {
	attachments, err := c.attachments(ctx, m)
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

// textNode makes a part of a text: as it is if its lines are short and ASCII,
// else in the encoding that suits it better.
func textNode(contentType, text string) *node {
	text = strings.ToValidUTF8(text, "\uFFFD")
	return &node{contentType: contentType, text: text, encoding: textEncoding(text)}
}

func textEncoding(text string) encoding {
	f := factsOf(text)
	switch {
	case !f.eight && !f.control && !f.bareCR && f.longest <= maxFolded && len(text) <= maxPlainText:
		return sevenBit
	case prefersQ(text) || f.bareCR:
		return quotedPrintable
	}
	return inBase64
}
