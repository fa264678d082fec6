package compose

import (
	"fmt"
	"strings"

	"postrider/delivery"
)

// encoding is how a part's body travels (RFC 2045 §6).
type encoding int

const (
	unencoded       encoding = iota // no body, and no Content-Transfer-Encoding
	sevenBit                        // lines of ASCII
	eightBit                        // lines with bytes beyond it
	quotedPrintable                 // text
	inBase64                        // anything
	entity                          // a whole part, header included, lines normalized
)

// node is a part of a message: a multipart with children, or a leaf with text
// or data.
type node struct {
	contentType string // type and parameters, as written; no boundary, no name
	filename    string
	disposition string // without filename; empty means no such field
	cid         string
	custom      []delivery.Header // a caller's, names normalized

	encoding encoding
	text     string // the body, if data is nil
	data     []byte
	file     *file // if not nil, the body, yet to be fetched; inBase64
	wireSize int   // at least what a body takes that is here and not inBase64

	multipart bool
	children  []*node
}

// size is about how much the part takes.
func (n *node) size() int {
	size := 256 + 3*len(n.filename) + len(n.contentType) + len(n.cid)
	for _, f := range n.custom {
		size += 16 + len(f.Name) + 2*len(f.Value)
	}
	if n.encoding == inBase64 {
		size += base64Size(len(n.text) + len(n.data))
	} else {
		size += n.wireSize
	}
	for _, c := range n.children {
		size += c.size() + 80
	}
	return size
}

// writer writes a message into out. The first field that cannot be written in
// lines of a legal length is remembered in err.
type writer struct {
	out      []byte
	scratch  []byte // the value being written, before folding
	boundary string
	parts    int // multiparts so far
	gaps     []gap
	err      error
}

// gap is a place in a message where a file belongs.
type gap struct {
	at   int
	file *file
}

// boundaryOf returns what the boundaries of a message begin with. It has a "="
// followed by no hexadecimal digit, so that no body in base64 or
// quoted-printable can have it (RFC 2045 §6.7), and the claim's ID, which
// nobody knew when the document was written.
func boundaryOf(claimID string) string {
	return "=_" + idToken(claimID) + "_"
}

// message writes the whole message, with gaps for files.
func (w *writer) message(h header, root *node) {
	w.mailboxes("From", h.from)
	w.mailboxes("Reply-To", h.replyTo)
	w.mailboxes("To", h.to)
	w.mailboxes("Cc", h.cc)
	w.field("Subject", h.subject)
	for _, f := range h.custom {
		if root.disposition == "" || f.Name != "Content-Disposition" {
			w.field(f.Name, f.Value)
		}
	}
	w.mailboxes("Disposition-Notification-To", h.notify)
	w.field("Message-ID", h.messageID)
	w.field("Date", h.date)
	w.field("MIME-Version", "1.0")
	w.node(root)
}

// node writes a part: its own header fields, an empty line, its body.
func (w *writer) node(n *node) {
	if n.encoding == entity {
		w.out = appendLines(w.out, n.text)
		return
	}
	boundary := ""
	if n.multipart {
		w.parts++
		boundary = w.boundary + string(appendInt(nil, w.parts))
	}
	w.partHeader(n, boundary)
	w.out = append(w.out, '\r', '\n')
	for i, c := range n.children {
		if i > 0 {
			w.out = append(w.out, '\r', '\n')
		}
		w.out = append(w.out, '-', '-')
		w.out = append(w.out, boundary...)
		w.out = append(w.out, '\r', '\n')
		w.node(c)
	}
	if n.multipart {
		w.out = append(w.out, "\r\n--"...)
		w.out = append(w.out, boundary...)
		w.out = append(w.out, "--\r\n"...)
		return
	}
	w.body(n)
}

func (w *writer) partHeader(n *node, boundary string) {
	v := append(w.scratch[:0], n.contentType...)
	if n.filename != "" {
		v = appendNameParam(v, n.filename)
	}
	if n.multipart {
		v = append(v, "; boundary=\""...)
		v = append(v, boundary...)
		v = append(v, '"')
	}
	w.fold("Content-Type", v)
	for _, f := range n.custom {
		w.field(f.Name, f.Value)
	}
	if n.cid != "" {
		w.contentID(bracketed(n.cid))
	}
	if cte := n.encoding.name(); cte != "" {
		w.fold("Content-Transfer-Encoding", append(w.scratch[:0], cte...))
	}
	if n.disposition != "" {
		v := append(w.scratch[:0], n.disposition...)
		if n.filename != "" {
			v = appendParam(v, "filename", n.filename)
		}
		w.fold("Content-Disposition", v)
	}
}

func (w *writer) body(n *node) {
	switch {
	case n.file != nil:
		w.gaps = append(w.gaps, gap{len(w.out), n.file})
	case n.encoding == inBase64 && n.data != nil:
		w.out = appendBase64(w.out, n.data)
	case n.encoding == inBase64:
		w.out = appendBase64(w.out, n.text)
	case n.encoding == quotedPrintable && n.data != nil:
		w.out = appendQuotedPrintable(w.out, n.data)
	case n.encoding == quotedPrintable:
		w.out = appendQuotedPrintable(w.out, n.text)
	case n.data != nil:
		w.out = appendLines(w.out, n.data)
	default:
		w.out = appendLines(w.out, n.text)
	}
}

func (e encoding) name() string {
	switch e {
	case sevenBit:
		return "7bit"
	case eightBit:
		return "8bit"
	case quotedPrintable:
		return "quoted-printable"
	case inBase64:
		return "base64"
	}
	return ""
}

// mailboxes writes an address field, if there is an address to write.
func (w *writer) mailboxes(name string, list []mailbox) {
	w.fold(name, appendMailboxes(w.scratch[:0], list))
}

// field writes a field with a value as the document has it. What the value
// is made of depends on the name; a blank one is left out.
func (w *writer) field(name, value string) {
	switch name {
	case "Bcc":
		return
	case "From", "Sender", "To", "Cc", "Reply-To":
		w.mailboxes(name, parseAddresses(strings.ToValidUTF8(value, "\uFFFD"), 0))
		return
	case "Message-ID", "In-Reply-To":
		value = bracketed(value)
	case "References":
		value = references(value)
	}
	value = strings.ToValidUTF8(oneLine(value), "\uFFFD")
	v := w.scratch[:0]
	switch {
	case trimSpace(value) == "":
	case needsWords(value), strings.Contains(value, `"`) && trimSpace(value) != value:
		// The extension's library writes quotes, too, in encoded words, which
		// bring white space at the ends along.
		v = appendEncodedWords(v, value)
	default:
		v = append(v, trimSpace(value)...)
	}
	w.fold(name, v)
}

// contentID writes the field by which HTML finds a part. The HTML has the
// content ID as it is; where it goes beyond ASCII, the header can't.
func (w *writer) contentID(id string) {
	v := w.scratch[:0]
	if isASCII(id) {
		v = append(v, id...)
	} else {
		v = appendEncodedWords(v, id)
	}
	w.fold("Content-Id", v)
}

// references puts each Message-ID of a list into angle brackets.
func references(value string) string {
	ids := strings.FieldsFunc(oneLine(value), isSpace)
	for i, id := range ids {
		ids[i] = bracketed(id)
	}
	return strings.Join(ids, " ")
}

// needsWords reports whether a value must be written in encoded words: it has
// other characters than printable ASCII and tabs, or no place to fold it.
func needsWords(value string) bool {
	run := 0
	space := false
	for i := 0; i < len(value); i++ {
		b := value[i]
		if b >= 0x7f || b < ' ' && b != '\t' {
			return true
		}
		if blank := b == ' ' || b == '\t'; blank != space {
			run, space = 0, blank
		}
		if run++; run > maxLine-100 {
			return true
		}
	}
	return false
}

// fold writes a field, broken before white space where a line would get longer
// than maxFolded. v may use w.scratch.
func (w *writer) fold(name string, v []byte) {
	w.scratch = v[:0]
	if len(v) == 0 {
		return
	}
	start := len(w.out)
	w.out = append(w.out, name...)
	w.out = append(w.out, ": "...)
	line := start // where the current line began
	for i := 0; i < len(v); {
		end := i
		for end < len(v) && isBlank(v[end]) {
			end++
		}
		for end < len(v) && !isBlank(v[end]) {
			end++
		}
		if i > 0 && len(w.out)-line+end-i > maxFolded {
			w.out = append(w.out, '\r', '\n')
			line = len(w.out)
		}
		w.out = append(w.out, v[i:end]...)
		if len(w.out)-line > maxLine && w.err == nil {
			w.err = refuse(delivery.PhaseCompose, fmt.Sprintf("%s has a word of more than %d characters", name, maxLine),
				"A line of a mail has 998 characters at most (RFC 5322 §2.1.1), and this field cannot be broken. Shorten it.")
		}
		i = end
	}
	w.out = append(w.out, '\r', '\n')
}

func isBlank(b byte) bool { return b == ' ' || b == '\t' }
