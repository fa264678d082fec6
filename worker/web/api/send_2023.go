package api

import (
	"encoding/base64"
	"mime"
	"regexp"
	"strings"
)

var (
	headerName = regexp.MustCompile(`^[!-9;-~]{1,200}$`)           // RFC 5322 §2.2
	messageID  = regexp.MustCompile(`^<[!-;=?A-~]+@[!-;=?A-~]+>$`) // RFC 5322 §3.6.4
	contentID  = regexp.MustCompile(`^[!-;=?-~]{1,250}$`)          // of RFC 2392, without its brackets
)

// maxMessageID is how long a Message-ID may be that fits on a line.
const maxMessageID = 898

// headers reads custom headers: an object of values by name.
func (b *body) headers(n node) []field {
	var all []field
	for _, m := range b.members(n) {
		f := field{m.name, b.required(m)}
		b.checkHeader(m.path, f)
		all = append(all, f)
	}
	return all
}

// checkHeader checks a header field: that it is one field, and none that the
// message has from elsewhere.
func (b *body) checkHeader(path string, f field) {
	switch strings.ToLower(f.name) {
	case "from", "sender", "resent-from", "resent-sender":
		b.wrong(path, path+" can't be "+f.name+"; the sender has a property of its own")
	case "to", "cc", "bcc":
		b.wrong(path, path+" can't be "+f.name+"; use recipients")
	case "reply-to", "subject":
		b.wrong(path, path+" can't be "+f.name+"; use replyTo or content.subject")
	case "mime-version", "content-type", "content-transfer-encoding", "return-path":
		b.wrong(path, path+" can't be "+f.name+"; it is written for you")
	case "message-id":
		if len(f.value) > maxMessageID || !messageID.MatchString(f.value) {
			b.wrong(path, path+" must be a Message-ID as in <1234@example.com>; leave it out to get one")
		}
	}
	if !headerName.MatchString(f.name) {
		b.wrong(path, path+" must have a name of 1 to 200 printable ASCII characters without a colon or a space")
	}
	if hasControl(strings.ReplaceAll(f.value, "\t", " ")) {
		b.wrong(path, path+" must have a value of one line without control characters")
	}
}

// attachment reads a file.
func (b *body) attachment(n node) attachment {
	return attachment{
		name:        b.fileName(n.at("name")),
		contentType: b.mediaType(n.at("contentType")),
		content:     b.base64(n.at("contentInBase64")),
	}
}

// attachment2025 reads a file that the HTML may show.
func (b *body) attachment2025(n node) attachment {
	a, cid := b.attachment(n), n.at("contentId")
	if a.cid = b.text(cid); a.cid != "" && !contentID.MatchString(a.cid) {
		b.wrong(cid.path, cid.path+" must be 1 to 250 printable ASCII characters without a space or angle brackets")
	}
	return a
}

// fileName reads the name of a file.
func (b *body) fileName(n node) string {
	s := b.filled(n)
	if hasControl(s) {
		b.wrong(n.path, n.path+" must be one line without control characters")
	}
	return s
}

// mediaType reads the type of a file, with parameters or without.
func (b *body) mediaType(n node) string {
	s := b.filled(n)
	kind, _, err := mime.ParseMediaType(s)
	switch {
	case err != nil || !strings.Contains(kind, "/") || hasControl(s):
		b.wrong(n.path, n.path+" must be a media type as in application/pdf")
	case strings.HasPrefix(kind, "multipart/"):
		b.wrong(n.path, n.path+" is a multipart type, which a file can't have; use the file's own")
	}
	return s
}

// base64 reads the content of a file (RFC 4648 §4): with padding, and, as MIME
// writes it, with line breaks or without.
func (b *body) base64(n node) string {
	s := strings.NewReplacer("\r", "", "\n", "").Replace(b.required(n))
	if _, err := base64.StdEncoding.Strict().DecodeString(s); err != nil {
		b.wrong(n.path, n.path+" must be base64 with padding (RFC 4648 §4)")
	}
	return s
}
