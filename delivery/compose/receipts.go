package compose

import (
	"html"
	"strings"

	"postrider/delivery"
)

// notified returns whom a mail asks to be told of its reading (RFC 8098 §2.1):
// those whom it wants answers sent to. Many mail programs ask their user before
// they tell anybody else than who the mail comes from, and some don't tell then. A
// document that wants others to be told names them in its headers, here with
// their names normalized.
func (h *header) notified(doc delivery.Document, custom []delivery.Header) []mailbox {
	if !doc.Receipts.Read || take(custom, "Disposition-Notification-To") != "" {
		return nil
	}
	answers := h.replyTo
	if len(answers) == 0 {
		answers = parseAddresses(strings.ToValidUTF8(take(custom, "Reply-To"), "\uFFFD"), 0)
	}
	for _, list := range [][]mailbox{answers, h.from} {
		if addressed := nameless(list); len(envelope(addressed)) > 0 {
			return addressed
		}
	}
	return nil
}

// withPixel returns the HTML with the picture at its end that tells of its opening,
// if the document wants that. A mail without HTML has no place for one. Text and AMP
// stay as they are: neither can tell.
func (c *Composer) withPixel(body string, doc delivery.Document, messageID string, to []string) (string, error) {
	if !doc.Receipts.Open || body == "" {
		return body, nil
	}
	if c.options.Pixel == nil {
		return "", refuse(delivery.PhaseCompose, "receipts.open needs API_PUBLIC_URL and API_ACCESS_KEYS, of which one is not set",
			"A mail tells of its opening by a picture that the reader's program loads from this service. Set both, or leave receipts.open out; then set delivery.state to RETRY.")
	}
	url := c.options.Pixel(doc.ID, messageID, to)
	if url == "" {
		return "", refuse(delivery.PhaseCompose, "receipts.open is not possible for this document: its ID can't be in a URL",
			"The picture's URL names the document and its recipient, and they are too long. Leave receipts.open out; then set delivery.state to RETRY.")
	}
	end := endOfBody(body)
	return body[:end] + `<img src="` + html.EscapeString(url) + `" alt="" width="1" height="1">` + body[end:], nil
}

// endOfBody returns where the body of an HTML text ends.
func endOfBody(text string) int {
	const tag = "</body"
	for i := len(text) - len(tag); i >= 0; i-- {
		if text[i] == '<' && strings.EqualFold(text[i:i+len(tag)], tag) {
			return i
		}
	}
	return len(text)
}
