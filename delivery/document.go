package delivery

import "time"

// Fields is the content of a document or of a map in it. Its values are nil,
// bool, int64, float64, string, []byte, time.Time (UTC), [GeoPoint],
// [Reference], []any and Fields, however deep: Firestore's types without its
// SDK.
type Fields = map[string]any

// GeoPoint is Firestore's geographical point, in degrees.
type GeoPoint struct {
	Latitude, Longitude float64
}

// Reference is Firestore's reference to another document.
type Reference struct {
	Path string // relative to the database's root, as in "users/u1"
}

// Snapshot is a mail document as it was at one moment.
type Snapshot struct {
	ID         string    // the document's ID, the last segment of its path
	Fields     Fields    // everything in it, the delivery field included
	UpdateTime time.Time // what a conditional write must find unchanged
	Size       int       // bytes, about as Firestore counts them; 0 if not known
}

// MaxSize is the size of a document above which its mail is not sent, in bytes:
// Firestore's limit, less the room that the record of what happened needs.
const MaxSize = 1<<20 - 8<<10

// Document is what a mail document asks for, once its shape has been checked:
// the fields of the Trigger Email extension, by their own names. Addresses are
// as written; compose reads them.
type Document struct {
	// ID is the document's own, which is not among its fields: who decodes them
	// sets it. Only a mail that is to tell of its opening needs it.
	ID string

	To, Cc, Bcc []string // address lists; each element may hold several addresses

	// UIDs are looked up in the users collection. Nil means the field is absent;
	// an empty one that is there still asks for a users collection, as it does
	// for the extension.
	ToUIDs, CcUIDs, BccUIDs []string

	From    string // empty means DEFAULT_FROM
	ReplyTo string // empty means DEFAULT_REPLY_TO
	Headers []Header

	Message  Message
	Template *Template // nil if the document names none
	SendGrid *SendGrid // nil if the document has none
	Receipts Receipts
}

// Receipts says by what a mail is to tell that somebody has read it.
type Receipts struct {
	Open bool // a picture in its HTML, which mail programs load when they show it
	Read bool // a disposition notification, which it asks its reader's program for (RFC 8098)
}

// Header is one header field of a message, value not yet encoded.
type Header struct {
	Name, Value string
}

// Message is the content a document brings along, or what a template made of
// it. Empty strings are parts that are not there.
type Message struct {
	Subject     string
	Text        string
	HTML        string
	AMP         string // AMP4EMAIL; documented by the extension, dropped by it, honoured here
	MessageID   string // Message-ID to use; documented by the extension, dropped by it, honoured here
	Attachments []Attachment
}

// Template names a document of the templates collection and the data it is
// rendered with.
type Template struct {
	Name string
	Data Fields // nil if the document gives none; Handlebars tells that from an empty map
}

// SendGrid is what the extension hands to SendGrid's own API. Over SMTP it has
// no effect, but that a document may bring a templateId instead of a message.
type SendGrid struct {
	TemplateID string
}

// Attachment is one element of message.attachments. At most one source is
// used, in nodemailer's order: Raw, Path, Href, Content.
type Attachment struct {
	Filename    string
	Content     any // string, []byte, a Fields with path or href, or what a sender wrote by mistake; nil if absent
	Encoding    string
	Path, Href  string
	HTTPHeaders []Header
	Raw         string // a whole MIME entity, header included

	ContentType      string
	Disposition      string
	CID              string
	TransferEncoding string
	Headers          []Header
}
