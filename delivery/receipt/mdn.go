package receipt

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/mail"
	"strings"
	"time"

	"github.com/emersion/go-message"
	"github.com/emersion/go-message/textproto"
)

// MaxBytes is the size of what Parse reads, in bytes. A report may bring along the
// mail that it is about (RFC 8098 §3); what counts comes before that.
const MaxBytes = 64 << 10

const (
	maxFields = 100 // of a header, or of a notification
	maxParts  = 10  // of a report; it has three (RFC 6522 §3)
)

// Notification is a message disposition notification (RFC 8098 §3.2) that says a
// mail was displayed. No text in it has line breaks or other control characters.
type Notification struct {
	OriginalMessageID string    // of the mail, in angle brackets
	FinalRecipient    string    // who has read it: an address, its domain in lower case
	OriginalRecipient string    // whom the sender wrote to, likewise; "" if it does not say
	Date              time.Time // of the report it came in, UTC; zero if not known
}

// Parse reads a notification: the part message/disposition-notification by itself,
// with or without a header of its own, or the whole report it is in (RFC 8098 §3),
// as a message or, with its boundary in contentType, as its body alone. What
// contentType does not tell the body does. The error is a [*Fault]; only a
// disposition of displayed is none.
func Parse(contentType string, body []byte) (Notification, error) {
	if len(body) > MaxBytes {
		return Notification{}, &Fault{"body", fmt.Sprintf("has more than %d bytes; hand in only the part message/disposition-notification", MaxBytes)}
	}
	media, params, err := mime.ParseMediaType(contentType)
	if err != nil && !errors.Is(err, mime.ErrInvalidMediaParameter) || !strings.HasPrefix(media, "multipart/") {
		return parseMessage(body)
	}
	var h message.Header
	h.SetContentType(media, params)
	e, err := message.New(h, bytes.NewReader(body))
	if err != nil {
		return Notification{}, errUnreadable
	}
	return parseReport(e)
}

// errUnreadable hides what a parser says, which would quote the body.
var errUnreadable = &Fault{"body", "is no disposition notification; hand in the part message/disposition-notification, or the whole report as it came"}

// parseMessage reads what begins with fields: a notification's, or a header's.
func parseMessage(body []byte) (Notification, error) {
	fields, rest, err := readFields(body)
	if err != nil {
		return Notification{}, err
	}
	if fields.Has("Disposition") || fields.Has("Final-Recipient") {
		return notification(fields)
	}
	e, err := message.New(message.Header{Header: fields}, rest)
	if err != nil {
		return Notification{}, errUnreadable
	}
	var n Notification
	if media, _, _ := e.Header.ContentType(); isNotification(media) {
		n, err = parsePart(e.Body)
	} else {
		n, err = parseReport(e)
	}
	if err != nil {
		return Notification{}, err
	}
	if date, err := mail.ParseDate(fields.Get("Date")); err == nil {
		n.Date = date.UTC()
	}
	return n, nil
}

// readFields reads the fields that a text begins with, and returns what is after
// the empty line that ends them.
func readFields(text []byte) (textproto.Header, io.Reader, error) {
	text = bytes.TrimLeft(text, "\r\n")
	r := bufio.NewReader(io.MultiReader(bytes.NewReader(text), strings.NewReader("\r\n\r\n"))) // it may end with its last field
	h, err := textproto.ReadHeader(r)
	switch {
	case err != nil || h.Len() == 0:
		return h, nil, errUnreadable
	case h.Len() > maxFields:
		return h, nil, &Fault{"body", fmt.Sprintf("has more than %d fields; hand in only the part message/disposition-notification", maxFields)}
	}
	return h, r, nil
}

// isNotification reports whether a media type is a notification's; the global one
// may have addresses beyond ASCII (RFC 6533 §5).
func isNotification(media string) bool {
	return media == "message/disposition-notification" || media == "message/global-disposition-notification"
}

// parseReport reads the notification in a report.
func parseReport(e *message.Entity) (Notification, error) {
	media, params, _ := e.Header.ContentType()
	kind := strings.ToLower(params["report-type"])
	if media != "multipart/report" || kind != "" && kind != "disposition-notification" {
		return Notification{}, &Fault{"Content-Type", "is not that of a disposition notification; " +
			"hand in a message of type multipart/report; report-type=disposition-notification, or its part message/disposition-notification"}
	}
	parts := e.MultipartReader()
	for range maxParts {
		part, err := parts.NextPart()
		if err != nil && !message.IsUnknownCharset(err) && !message.IsUnknownEncoding(err) {
			break
		}
		if media, _, _ := part.Header.ContentType(); isNotification(media) {
			return parsePart(part.Body)
		}
	}
	return Notification{}, &Fault{"body", "has no part message/disposition-notification that can be read; hand in the report as it came"}
}

// parsePart reads the body of a part that is a notification.
func parsePart(r io.Reader) (Notification, error) {
	text, err := io.ReadAll(io.LimitReader(r, MaxBytes))
	if err != nil {
		return Notification{}, errUnreadable
	}
	fields, _, err := readFields(text)
	if err != nil {
		return Notification{}, err
	}
	return notification(fields)
}
