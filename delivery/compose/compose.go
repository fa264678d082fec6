package compose

import (
	"context"
	"fmt"
	"net/http"
	"time"

	"postrider/delivery"
	"postrider/delivery/render"
)

// What Options' zero values stand for.
const (
	DefaultMaxAttachmentBytes = 25 << 20
	DefaultMaxAttachments     = 100
	DefaultMaxMessageBytes    = 35 << 20
	DefaultFetchTimeout       = 20 * time.Second
	DefaultMaxRecipients      = 1000
)

// Options are the settings of a Composer. Zero numbers and durations stand for
// the defaults above.
type Options struct {
	DefaultFrom    string // DEFAULT_FROM: one or more addresses; used where a document has no from
	DefaultReplyTo string // DEFAULT_REPLY_TO: used where a document has no replyTo

	// AllowHosts (ATTACHMENT_ALLOW_HOSTS) are host names and IP addresses,
	// without port, that attachments may be fetched from whatever network they
	// are in, and that a document's httpHeaders are sent to.
	AllowHosts []string

	MaxAttachmentBytes int64         // ATTACHMENT_MAX_BYTES: decoded size of one attachment
	MaxAttachments     int           // ATTACHMENT_MAX_COUNT: attachments of one document
	MaxMessageBytes    int64         // MAX_MESSAGE_BYTES: the whole message as it goes out
	FetchTimeout       time.Duration // time for all fetches of one document together, without waiting in Claim.Hold
	MaxRecipients      int           // MAX_RECIPIENTS: addresses in one envelope, and UIDs of one document

	// RecipientDomains (RECIPIENT_DOMAINS) are the domains that mail may be sent
	// to: "example.com" is that domain itself, "*.example.org" every one below
	// example.org. Empty allows all.
	RecipientDomains []string

	// TemplateOnly (TEMPLATE_ONLY) refuses documents without a template, and those
	// that bring something of their own for the mail to say; see restrict.go.
	TemplateOnly bool

	Storage Storage // how gs:// attachments are read; the zero value is Google's service

	// Pixel returns the URL of the picture by which a document's mail tells that it
	// has been opened (receipts.open), the recipients being all of its envelope; ""
	// if there can be none. Nil means that there is no URL that the world reaches
	// (API_PUBLIC_URL): a document that wants one fails.
	Pixel func(document, messageID string, recipients []string) string
}

// Storage says how gs:// attachments are read.
type Storage struct {
	// Buckets (ATTACHMENT_ALLOW_BUCKETS) are those that attachments may come from.
	Buckets []string
	// Client adds the credentials to a request. Nil means the service's own
	// identity (Application Default Credentials), found at the first use.
	Client *http.Client
	// BaseURL is the Cloud Storage JSON API's, without a slash at the end; empty
	// means https://storage.googleapis.com.
	BaseURL string
}

// Users finds addresses in the users collection.
type Users interface {
	// Emails returns the value of the email field by UID, as it is stored;
	// a user that is missing, or has no such field, is absent from the map. No
	// UID is empty, repeated, or has a slash in it. An error that is a
	// *delivery.Failure is handed on as it is, any other counts as transient.
	Emails(ctx context.Context, uids []string) (map[string]any, error)
}

// Templates renders a template by its name. Errors should be
// *delivery.Failure; any other counts as permanent.
type Templates interface {
	Render(ctx context.Context, name string, data delivery.Fields) (render.Rendered, error)
}

// Claim is what makes one attempt's message its own, and who grants it memory.
type Claim struct {
	ID   string    // the lease ID, a UUID: the left part of the Message-ID
	Time time.Time // for the Date field

	// Hold is told how many bytes of memory the mail needs in all, the document
	// itself left out: attachments that had to be fetched whole, and the message
	// that is being written. It is called before they are taken, with a larger
	// number each time the mail grows, and at last with what Mail.Message takes. It
	// may wait until there is room, and its error ends the composing. A mail that
	// needs less than 64 KiB is not worth a call. It is never called twice at once.
	// Nil grants all.
	Hold func(ctx context.Context, bytes int) error
}

// Mail is a message ready to be sent.
type Mail struct {
	From      string   // MAIL FROM: a bare address, never empty
	To        []string // RCPT TO: bare addresses without repetitions, at least one
	MessageID string   // for delivery.info.messageId: as the document wrote it, else in angle brackets
	Message   []byte   // header and body in CRLF lines of at most 998 bytes, not dot-stuffed
}

// Composer makes messages of documents. It is safe for concurrent use.
type Composer struct {
	options   Options
	domains   []string // of options.RecipientDomains, in ASCII and lower case
	users     Users
	templates Templates
	types     mediaTypes
	fetcher   *fetcher
	storage   *storage
}

// New returns a Composer. Nil users means that there is no users collection: a
// document with UIDs fails. Nil templates means that there is no templates
// collection: template is then ignored, as it is by the extension.
func New(o Options, users Users, templates Templates) *Composer {
	if o.MaxAttachmentBytes <= 0 {
		o.MaxAttachmentBytes = DefaultMaxAttachmentBytes
	}
	if o.MaxAttachments <= 0 {
		o.MaxAttachments = DefaultMaxAttachments
	}
	if o.MaxMessageBytes <= 0 {
		o.MaxMessageBytes = DefaultMaxMessageBytes
	}
	if o.FetchTimeout <= 0 {
		o.FetchTimeout = DefaultFetchTimeout
	}
	if o.MaxRecipients <= 0 {
		o.MaxRecipients = DefaultMaxRecipients
	}
	return &Composer{
		options:   o,
		domains:   asciiDomains(o.RecipientDomains),
		users:     users,
		templates: templates,
		types:     parseMediaTypes(mediaTypesFile),
		fetcher:   newFetcher(o.AllowHosts),
		storage:   newStorage(o.Storage),
	}
}

// Close lets go of idle connections to the hosts attachments came from. The
// Composer may still be used afterwards.
func (c *Composer) Close() {
	c.fetcher.close()
}

// Compose makes the message that doc asks for. All that it needs from
// elsewhere (users, templates, attachments) it gets within ctx. Errors are
// *delivery.Failure, but for one of claim.Hold, which is wrapped.
func (c *Composer) Compose(ctx context.Context, doc delivery.Document, claim Claim) (Mail, error) {
	if err := c.checkTemplateOnly(doc); err != nil {
		return Mail{}, err
	}
	content, err := c.content(ctx, doc)
	if err != nil {
		return Mail{}, err
	}
	rcpt, err := c.recipients(ctx, doc)
	if err != nil {
		return Mail{}, err
	}
	h, err := c.header(doc, content, rcpt, claim)
	if err != nil {
		return Mail{}, err
	}
	to := envelope(rcpt.to, rcpt.cc, rcpt.bcc)
	if len(to) == 0 {
		return Mail{}, refuse(delivery.PhaseCompose, "No recipients defined",
			"None of the entries in to, cc and bcc (and of the addresses found for UIDs) is an e-mail address. Correct them.")
	}
	if len(to) > c.options.MaxRecipients {
		return Mail{}, c.tooMany(len(to))
	}
	if err := c.checkDomains(to); err != nil {
		return Mail{}, err
	}
	if content.HTML, err = c.withPixel(content.HTML, doc, h.messageID, to); err != nil {
		return Mail{}, err
	}
	message, err := c.message(ctx, h, content, claim)
	if err != nil {
		return Mail{}, err
	}
	return Mail{From: h.sender, To: to, MessageID: h.messageID, Message: message}, nil
}

// message writes the message. Files that it only has to encode are fetched last,
// into their places in it.
func (c *Composer) message(ctx context.Context, h header, m content, claim Claim) ([]byte, error) {
	ctx, l := c.newLoader(ctx, m, claim)
	defer l.close()
	root, err := l.tree(ctx, m)
	if err != nil {
		return nil, err
	}
	size := h.size() + root.size()
	if err := l.take(ctx, size); err != nil {
		return nil, err
	}
	l.written = size
	w := writer{out: make([]byte, 0, size), scratch: make([]byte, 0, 256), boundary: boundaryOf(claim.ID)}
	w.message(h, root)
	if w.err != nil {
		return nil, w.err
	}
	out, err := l.fillGaps(ctx, w.out, w.gaps)
	if err != nil {
		return nil, err
	}
	if out[len(out)-1] != '\n' {
		out = append(out, '\r', '\n')
	}
	if size := int64(len(out)); size > c.options.MaxMessageBytes {
		return nil, tooLarge(size, c.options.MaxMessageBytes)
	}
	l.fetched, l.written = 0, cap(out)
	return out, l.take(ctx, 0)
}

func (c *Composer) tooMany(n int) error {
	return refuse(delivery.PhaseCompose, fmt.Sprintf("The mail has more recipients than allowed: %d, at most %d (MAX_RECIPIENTS)", n, c.options.MaxRecipients),
		"The limit is MAX_RECIPIENTS. Add several documents with fewer recipients each, or raise the limit.")
}

func tooLarge(size, limit int64) error {
	return refuse(delivery.PhaseCompose,
		fmt.Sprintf("The message is larger than allowed: %s, at most %s (MAX_MESSAGE_BYTES)", megabytes(size), megabytes(limit)),
		"The composed message exceeds MAX_MESSAGE_BYTES. Send smaller attachments, or links to them, or raise the setting if the mail server takes more.")
}

// refuse is a failure that lasts until somebody changes document or settings.
func refuse(phase delivery.Phase, message, explain string) *delivery.Failure {
	return &delivery.Failure{Class: delivery.Permanent, Phase: phase, Message: "Error: " + message, Explain: explain}
}

func megabytes(n int64) string {
	if n < 100_000 {
		return fmt.Sprintf("%d bytes", n)
	}
	return fmt.Sprintf("%.1f MB", float64(n)/1e6)
}
