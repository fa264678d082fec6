package compose

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"

	"postrider/delivery"
)

// plainFields is the header of the simple document.
var plainFields = []string{"Cc", "Content-Disposition", "Content-Transfer-Encoding", "Content-Type", "Content-Id", "Date", "Disposition-Notification-To", "From", "MIME-Version", "Message-ID", "Reply-To", "Subject", "To", "X-Fuzz"}

// checkFuzzed composes and checks that no field could write another: either
// the document is refused, or the header has the fields it should have.
func checkFuzzed(t *testing.T, doc delivery.Document) (Mail, bool) {
	t.Helper()
	m, err := New(Options{}, nil, nil).Compose(context.Background(), doc, testClaim())
	if err != nil {
		var f *delivery.Failure
		if !errors.As(err, &f) || f.Explain == "" {
			t.Fatalf("not a failure that explains itself: %#v", err)
		}
		return Mail{}, false
	}
	checkWire(t, m.Message)
	for _, name := range headerNames(m.Message) {
		if !slices.Contains(plainFields, name) {
			t.Fatalf("a field was injected: %q in %q", name, m.Message)
		}
	}
	for _, address := range append([]string{m.From}, m.To...) {
		if address == "" || hasControl(address) || strings.ContainsAny(address, "<>") {
			t.Fatalf("an address for the envelope: %q", address)
		}
	}
	readBack(t, m.Message)
	return m, true
}

func FuzzAddresses(f *testing.F) {
	for _, s := range []string{"ada@rcpt.test", "Lovelace, Ada <ada@rcpt.test>", "Team: a@x.test, b@x.test;", "\"a\\\"b\" <a@b.test>", "a@b.test\r\nBcc: c@d.test", "(c) <a@b>", "jörg@bücher.test", "a:b:c:d@e", "\"a\"\"b\"c@d", "a@b,\n c@d"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		m, ok := checkFuzzed(t, with(func(d *delivery.Document) {
			d.To = append(d.To, s)
			d.Cc, d.Bcc, d.ReplyTo = []string{s}, []string{s}, s
			d.Receipts.Read = true
		}))
		if !ok {
			return
		}
		if !slices.Contains(m.To, "ada@rcpt.test") {
			t.Fatalf("a recipient was lost: %q", m.To)
		}
		checkFuzzed(t, with(func(d *delivery.Document) { d.From = s }))
	})
}

func FuzzHeaderValues(f *testing.F) {
	for _, s := range []string{"plain", "Grüße 🎉", "a\r\nX-Evil: 1", "\r\n\r\nbody", strings.Repeat("x", 1100), strings.Repeat(" ", 1100) + "x", "=?UTF-8?Q?x?=", "a\x00b", "\xff\xfe", "  x  ", "<a@b> <c@d>", "\u2028"} {
		f.Add(s, "X-Fuzz")
	}
	f.Add("v", "X-A: 1\r\nX-Evil")
	f.Fuzz(func(t *testing.T, value, name string) {
		doc := with(func(d *delivery.Document) {
			d.Message.Subject, d.Message.Text = value, value
			d.Headers = []delivery.Header{{Name: "X-Fuzz", Value: value}}
		})
		if m, ok := checkFuzzed(t, doc); ok && utf8.ValidString(value) && !strings.Contains(value, "=?") {
			want := strings.Join(strings.FieldsFunc(value, isSpace), " ")
			if got := strings.Join(strings.FieldsFunc(headerOf(t, m.Message, "X-Fuzz"), isSpace), " "); got != want {
				t.Fatalf("X-Fuzz: %q became %q in %q", value, got, m.Message)
			}
		}
		for _, known := range []string{"Sender", "References", "In-Reply-To", "Message-ID", "Date"} {
			doc.Headers = []delivery.Header{{Name: known, Value: value}}
			if m, err := New(Options{}, nil, nil).Compose(context.Background(), doc, testClaim()); err == nil {
				checkWire(t, m.Message)
			}
		}
		doc.Headers = []delivery.Header{{Name: name, Value: "v"}}
		if m, err := New(Options{}, nil, nil).Compose(context.Background(), doc, testClaim()); err == nil {
			checkWire(t, m.Message)
			if n := len(headerNames(m.Message)); n > 9 {
				t.Fatalf("%q wrote %d fields: %q", name, n, m.Message)
			}
		}
	})
}

func FuzzAttachments(f *testing.F) {
	f.Add("a.txt", "text/plain", "inline", "cid", "base64", "data:text/plain,x")
	f.Add("a\r\nX: 1", "text/plain\r\nX: 1", "inline\r\nX: 1", "c\r\nX: 1", "hex", "data:x;base64,!!!")
	f.Add(strings.Repeat("ü", 200), "a/b; c=\"d\r\ne\"", "x; filename*0*=utf-8''%0D%0A", "<>", "utf16le", "data:\r\n\r\n,x")
	f.Fuzz(func(t *testing.T, name, contentType, disposition, cid, encoding, uri string) {
		a := delivery.Attachment{
			Filename: name, ContentType: contentType, Disposition: disposition, CID: cid, Encoding: encoding, Content: uri, TransferEncoding: encoding,
			Headers: []delivery.Header{{Name: "X-Fuzz", Value: cid}},
		}
		doc := attached(a)
		checkFuzzed(t, doc)
		doc.Message.Text, doc.Message.HTML = "", "<p>"
		checkFuzzed(t, doc)
		doc.Message.HTML = ""
		checkFuzzed(t, doc)
		if strings.HasPrefix(uri, "data:") {
			checkFuzzed(t, attached(delivery.Attachment{Path: uri, Filename: name}))
		}
		checkFuzzed(t, attached(delivery.Attachment{Raw: "X-Fuzz: 1\n\n" + uri}))
	})
}

func FuzzDataURI(f *testing.F) {
	for _, s := range []string{"data:,x", "data:text/plain;base64,AAEC", "data:a;b=c;utf8,%C3%BC", "data:", "data:;;;,,,"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		d, ok := parseDataURI(s)
		if ok != strings.Contains(s, ",") || ok && d.contentType == "" || len(d.data) > len(s) {
			t.Fatalf("%q: %+v %v", s, d, ok)
		}
	})
}

// Lists that would take quadratic time if names were joined one by one.
func TestHugeAddressListsAreRead(t *testing.T) {
	const size = 200_000
	for _, list := range []string{
		strings.Repeat("a,", size/2) + "b <c@rcpt.test>",
		strings.Repeat(`"a"`, size/3) + " <c@rcpt.test>",
		strings.Repeat("a:", size/2) + "c@rcpt.test",
		strings.Repeat("(a)", size/3) + " c@rcpt.test",
		strings.Repeat("a <", size/3) + "c@rcpt.test",
		strings.Repeat("<a>", size/3) + ", c@rcpt.test",
		strings.Repeat("x", size) + ", c@rcpt.test",
	} {
		var all []mailbox
		if err := readAddresses(&all, "to", list); err != nil || len(all) == 0 {
			t.Errorf("%.20q: %d, %v", list, len(all), err)
		}
		appendMailboxes(nil, all)
		envelope(all)
	}
}
