package compose

import (
	"bytes"
	"context"
	"errors"
	"io"
	"mime"
	"net/mail"
	"strings"
	"testing"
	"time"

	"github.com/emersion/go-message"
	_ "github.com/emersion/go-message/charset"

	"postrider/delivery"
	"postrider/delivery/render"
)

func testClaim() Claim {
	return Claim{
		ID:   "01234567-89ab-4def-8123-456789abcdef",
		Time: time.Date(2024, 2, 29, 23, 59, 58, 0, time.FixedZone("", 3600)),
	}
}

// simple is a document with nothing special in it.
func simple() delivery.Document {
	return delivery.Document{
		To:      []string{"ada@rcpt.test"},
		From:    "Sender <sender@sender.test>",
		Message: delivery.Message{Subject: "Subject line", Text: "Plain body"},
	}
}

func with(change func(*delivery.Document)) delivery.Document {
	d := simple()
	change(&d)
	return d
}

func attached(list ...delivery.Attachment) delivery.Document {
	return with(func(d *delivery.Document) { d.Message.Attachments = list })
}

// mustCompose composes, checks what holds for every message, and reads it back.
func mustCompose(t testing.TB, c *Composer, doc delivery.Document) (Mail, part) {
	t.Helper()
	m, err := c.Compose(context.Background(), doc, testClaim())
	if err != nil {
		t.Fatalf("Compose: %v", err)
	}
	checkWire(t, m.Message)
	return m, readBack(t, m.Message)
}

// mustFail composes and returns the failure.
func mustFail(t testing.TB, c *Composer, doc delivery.Document) *delivery.Failure {
	t.Helper()
	_, err := c.Compose(context.Background(), doc, testClaim())
	var f *delivery.Failure
	if !errors.As(err, &f) {
		t.Fatalf("Compose: %v, want a *delivery.Failure", err)
	}
	if !strings.HasPrefix(f.Message, "Error: ") || f.Explain == "" || f.Phase == "" || f.Class == "" {
		t.Errorf("an incomplete failure: %+v", f)
	}
	return f
}

// checkWire checks what holds for every message: lines of legal length that end
// in CRLF, and nothing else that is one.
func checkWire(t testing.TB, msg []byte) {
	t.Helper()
	if !bytes.HasSuffix(msg, []byte("\r\n")) {
		t.Errorf("the message does not end with CRLF: %q", msg[max(0, len(msg)-20):])
	}
	for line := range bytes.SplitSeq(bytes.TrimSuffix(msg, []byte("\r\n")), []byte("\r\n")) {
		if bytes.ContainsAny(line, "\r\n\x00") {
			t.Fatalf("a line has a bare CR or LF, or a NUL: %q", line)
		}
		if len(line) > maxLine {
			t.Fatalf("a line has %d bytes: %.80q", len(line), line)
		}
	}
}

// headerNames returns the names of the message's own header fields, one for
// each line that is not a continuation.
func headerNames(msg []byte) []string {
	head, _, _ := bytes.Cut(msg, []byte("\r\n\r\n"))
	var names []string
	for line := range strings.SplitSeq(string(head), "\r\n") {
		if line != "" && line[0] != ' ' && line[0] != '\t' {
			name, _, _ := strings.Cut(line, ":")
			names = append(names, name)
		}
	}
	return names
}

func headerOf(t testing.TB, msg []byte, name string) string {
	t.Helper()
	m, err := mail.ReadMessage(bytes.NewReader(msg))
	if err != nil {
		t.Fatal(err)
	}
	return decodeWords(m.Header.Get(name))
}

func decodeWords(s string) string {
	d := mime.WordDecoder{}
	if out, err := d.DecodeHeader(s); err == nil {
		return out
	}
	return s
}

// part is a part of a message as a reader sees it.
type part struct {
	Type, Disposition, CID string
	Params, DParams        map[string]string
	Other                  map[string]string // other header fields, of parts below the root
	Body                   string
	Parts                  []part
}

func readBack(t testing.TB, msg []byte) part {
	t.Helper()
	e, err := message.Read(bytes.NewReader(msg))
	if err != nil {
		t.Fatalf("read the message back: %v", err)
	}
	return readPart(t, e, true)
}

func readPart(t testing.TB, e *message.Entity, root bool) part {
	t.Helper()
	var p part
	p.Type, p.Params, _ = e.Header.ContentType()
	for name, value := range p.Params {
		p.Params[name] = strings.Join(strings.Fields(decodeWords(value)), " ")
	}
	delete(p.Params, "boundary")
	if e.Header.Has("Content-Disposition") {
		p.Disposition, p.DParams, _ = e.Header.ContentDisposition()
	}
	p.CID = e.Header.Get("Content-Id")
	if !root {
		p.Other = map[string]string{}
		for f := e.Header.Fields(); f.Next(); {
			switch f.Key() {
			case "Content-Type", "Content-Transfer-Encoding", "Content-Disposition", "Content-Id":
			default:
				text, _ := f.Text()
				p.Other[f.Key()] = strings.Join(strings.Fields(text), " ")
			}
		}
	}
	if parts := e.MultipartReader(); parts != nil {
		for {
			child, err := parts.NextPart()
			if errors.Is(err, io.EOF) {
				return p
			}
			if err != nil && !message.IsUnknownCharset(err) {
				t.Fatalf("read a part: %v", err)
			}
			p.Parts = append(p.Parts, readPart(t, child, false))
		}
	}
	body, err := io.ReadAll(e.Body)
	if err != nil {
		t.Fatalf("read a body: %v", err)
	}
	p.Body = string(body)
	if strings.HasPrefix(p.Type, "text/") || strings.HasPrefix(p.Type, "message/") {
		p.Body = strings.ReplaceAll(p.Body, "\r\n", "\n")
	}
	return p
}

// usersFunc and templateFunc are the consumer's interfaces as functions.
type usersFunc func(uids []string) (map[string]any, error)

func (f usersFunc) Emails(_ context.Context, uids []string) (map[string]any, error) { return f(uids) }

type templateFunc func(name string, data delivery.Fields) (render.Rendered, error)

func (f templateFunc) Render(_ context.Context, name string, data delivery.Fields) (render.Rendered, error) {
	return f(name, data)
}
