package api

import (
	"fmt"
	"net/http"
	"strings"

	"postrider/delivery"
)

// maxDocument is how large a document may be that is added, in bytes: what is
// still sent, less the room that the names of documents and their collections take.
const maxDocument = delivery.MaxSize - 6<<10

// document returns the document that asks for a message: what the extension's
// format has for it, and nothing that is empty.
func (m message) document() delivery.Fields {
	content := delivery.Fields{"subject": m.subject}
	set(content, "text", m.text)
	set(content, "html", m.html)
	var files, headers []any
	for _, a := range m.attachments {
		file := delivery.Fields{"filename": a.name, "content": a.content, "encoding": "base64", "contentType": a.contentType}
		set(file, "cid", a.cid)
		files = append(files, file)
	}
	if files != nil {
		content["attachments"] = files
	}
	// A list, because a map with headers called key and value would be read as one.
	for _, h := range append(m.headers, m.priority()...) {
		headers = append(headers, delivery.Fields{"key": h.name, "value": h.value})
	}
	f := delivery.Fields{"from": m.from, "message": content}
	if headers != nil {
		f["headers"] = headers
	}
	for name, addresses := range map[string][]string{"to": m.to, "cc": m.cc, "bcc": m.bcc} {
		var list []any
		for _, a := range addresses {
			list = append(list, a)
		}
		if list != nil {
			f[name] = list
		}
	}
	set(f, "replyTo", strings.Join(m.replyTo, ", "))
	return f
}

// set sets a text unless it is empty.
func set(f delivery.Fields, name, text string) {
	if text != "" {
		f[name] = text
	}
}

// priority returns the header fields that say how important a message is, unless
// it has one of them itself (RFC 4021 §2.1.54; X-Priority is what mail programs
// look at).
func (m message) priority() []field {
	for _, h := range m.headers {
		if strings.EqualFold(h.name, "Importance") || strings.EqualFold(h.name, "X-Priority") {
			return nil
		}
	}
	switch m.importance {
	case "high":
		return []field{{"Importance", "high"}, {"X-Priority", "1"}}
	case "low":
		return []field{{"Importance", "low"}, {"X-Priority", "5"}}
	}
	return nil
}

// overhead is what a value takes besides its text, in bytes: more than either
// Firestore counts or its protocol needs, which gives each length up to three.
const overhead = 16

// sizeOf returns how large a value is in a document, in bytes, or a little more
// (https://firebase.google.com/docs/firestore/storage-size).
func sizeOf(v any) int {
	n := overhead
	switch v := v.(type) {
	case string:
		n += len(v)
	case []any:
		for _, e := range v {
			n += sizeOf(e)
		}
	case delivery.Fields:
		for name, e := range v {
			n += len(name) + sizeOf(e)
		}
	}
	return n
}

// tooMuch returns the problem of a message that makes a document of n bytes.
func tooMuch(n int) *problem {
	return &problem{
		status: http.StatusRequestEntityTooLarge, Code: "RequestBodyTooLarge",
		Message: fmt.Sprintf("the mail would take %d bytes as a document of Firestore's, which holds %d; send links to large files", n, maxDocument),
	}
}

// refusedDocument returns the problem of a message that Firestore does not take,
// though it is not too large: its indexes have limits, too.
func refusedDocument() *problem {
	return bad("", "Firestore does not hold such a mail; send it to fewer recipients, or in several mails")
}
