package inbox

import (
	"errors"
	"fmt"
	"html/template"
	"strconv"
	"sync"
	"time"

	"github.com/rs/zerolog"
)

const (
	defaultMaxMails        = 500
	defaultMaxBytes        = 256 << 20
	defaultMaxMessageBytes = 50 << 20
)

// Options bound what an inbox keeps. The zero value is what `postrider dev`
// uses.
type Options struct {
	MaxMails        int   // mails kept, the oldest are dropped first; 0 means 500
	MaxBytes        int64 // bytes of raw mail kept, likewise; 0 means 256 MiB
	MaxMessageBytes int64 // bytes of one mail, larger ones are refused with 552; 0 means 50 MiB

	// Log receives what the servers have to say, at debug level. The zero value
	// discards it.
	Log zerolog.Logger
}

// Inbox keeps the newest mails in memory. Make one with [New]. All methods are
// safe for concurrent use.
type Inbox struct {
	options Options
	pages   *template.Template
	epoch   string // tells this inbox's versions from those of an earlier program

	mu      sync.Mutex
	mails   []Mail        // oldest first
	bytes   int64         // sum of len(Raw) over mails
	last    uint64        // the newest mail's number; never reused
	version uint64        // counts the changes of mails
	changed chan struct{} // closed at the next change
	address string        // where ServeSMTP listens, for the page; empty if it does not
}

// New returns an empty inbox. It fails if the options contradict each other.
func New(o Options) (*Inbox, error) {
	if o.MaxMails == 0 {
		o.MaxMails = defaultMaxMails
	}
	if o.MaxBytes == 0 {
		o.MaxBytes = defaultMaxBytes
	}
	if o.MaxMessageBytes == 0 {
		o.MaxMessageBytes = min(defaultMaxMessageBytes, o.MaxBytes)
	}
	if o.MaxMails < 0 || o.MaxBytes < 0 || o.MaxMessageBytes < 0 {
		return nil, errors.New("inbox limits must not be negative")
	}
	if o.MaxMessageBytes > o.MaxBytes {
		return nil, fmt.Errorf("a mail may have %d bytes but the inbox keeps only %d", o.MaxMessageBytes, o.MaxBytes)
	}
	pages, err := parsePages()
	if err != nil {
		return nil, fmt.Errorf("read the inbox's page templates: %w", err)
	}
	return &Inbox{
		options: o,
		pages:   pages,
		epoch:   strconv.FormatInt(time.Now().UnixNano(), 36),
		changed: make(chan struct{}),
	}, nil
}

// Mails returns what the inbox holds, newest first. The mails' slices are
// shared and must not be changed.
func (b *Inbox) Mails() []Mail {
	mails, _ := b.snapshot()
	return mails
}

// Mail returns the mail with that ID, and whether the inbox (still) has it.
func (b *Inbox) Mail(id string) (Mail, bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, m := range b.mails {
		if m.ID == id {
			return m, true
		}
	}
	return Mail{}, false
}

// Clear removes every mail. Numbering goes on where it was.
func (b *Inbox) Clear() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.mails, b.bytes = nil, 0
	b.touch()
}

// add keeps a mail and drops the oldest ones beyond the limits. It returns the
// mail's ID.
func (b *Inbox) add(e Envelope, raw []byte, now time.Time) string {
	m := Mail{Received: now.UTC(), Envelope: e, Raw: raw}
	m.summarise()

	b.mu.Lock()
	defer b.mu.Unlock()
	b.last++
	m.ID = strconv.FormatUint(b.last, 10)
	b.mails = append(b.mails, m)
	b.bytes += int64(len(raw))
	drop := 0
	for len(b.mails)-drop > b.options.MaxMails || b.bytes > b.options.MaxBytes {
		b.bytes -= int64(len(b.mails[drop].Raw))
		b.mails[drop] = Mail{} // lets go of its bytes
		drop++
	}
	b.mails = b.mails[drop:]
	b.touch()
	return m.ID
}

// touch tells whoever waits that the mails have changed. The caller holds mu.
func (b *Inbox) touch() {
	b.version++
	close(b.changed)
	b.changed = make(chan struct{})
}

// snapshot returns the mails, newest first, and the version they are of.
func (b *Inbox) snapshot() ([]Mail, string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	mails := make([]Mail, len(b.mails))
	for i, m := range b.mails {
		mails[len(mails)-1-i] = m
	}
	return mails, b.versionName()
}

// watch returns the current version and a channel that is closed when there is
// a newer one.
func (b *Inbox) watch() (string, <-chan struct{}) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.versionName(), b.changed
}

func (b *Inbox) versionName() string {
	return b.epoch + "-" + strconv.FormatUint(b.version, 10)
}

func (b *Inbox) smtpAddress() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.address
}
