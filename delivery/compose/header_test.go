package compose

import (
	"slices"
	"strings"
	"testing"

	"postrider/delivery"
)

func headers(pairs ...string) delivery.Document {
	return with(func(d *delivery.Document) {
		for i := 0; i < len(pairs); i += 2 {
			d.Headers = append(d.Headers, delivery.Header{Name: pairs[i], Value: pairs[i+1]})
		}
	})
}

func TestHeaderNamesHaveTheirUsualCase(t *testing.T) {
	for name, want := range map[string]string{
		"x-lower": "X-Lower", "X-CAMPAIGN": "X-Campaign", "x_custom_ID": "X_custom_id", "message-id": "Message-ID", "mime-version": "MIME-Version",
		"dkim-signature": "DKIM-Signature", "arc-seal": "ARC-Seal", "archived-at": "Archived-At", "bimi-selector": "BIMI-Selector", "list-id": "List-ID",
		"content-md5": "Content-MD5", "received-spf": "Received-SPF", "x-smtpapi": "X-SMTPAPI", "x-smtpapi-2": "X-Smtpapi-2", "content-features": "Content-features",
		"feedback-id": "Feedback-ID", "x-fbl": "X-FBL", "1-a": "1-A", "mime": "MIME", "mimeo": "Mimeo", "mime_x": "Mime_x", "a--b": "A--B",
	} {
		if got := fieldName(name); got != want {
			t.Errorf("%s: %s, want %s", name, got, want)
		}
	}
}

func TestHeadersGoOutInOrder(t *testing.T) {
	m, _ := mustCompose(t, New(Options{}, nil, nil), headers(
		"X-One", "1", "x-one", "2", "X-Blank", "  ", "X-Uni", "Grüße aus München 🎉", "References", "a@x.test <b@x.test>", "In-Reply-To", "c@x.test",
		"Sender", "Jörg <s@BÜCHER.test>", "Date", "Mon, 01 Jan 2001 00:00:00 +0000", "X-Many", strings.Repeat("x", 2000),
	))
	names := headerNames(m.Message)
	want := []string{"From", "To", "Subject", "X-One", "X-One", "X-Uni", "References", "In-Reply-To", "Sender", "X-Many", "Message-ID", "Date", "MIME-Version", "Content-Type", "Content-Transfer-Encoding"}
	if !slices.Equal(names, want) {
		t.Errorf("fields %q, want %q", names, want)
	}
	for name, want := range map[string]string{
		"X-Uni": "Grüße aus München 🎉", "References": "<a@x.test> <b@x.test>", "In-Reply-To": "<c@x.test>", "Sender": "Jörg <s@xn--bcher-kva.test>",
		"Date": "Mon, 01 Jan 2001 00:00:00 +0000", "X-Many": strings.Repeat("x", 2000),
	} {
		if got := headerOf(t, m.Message, name); got != want {
			t.Errorf("%s: %q, want %q", name, got, want)
		}
	}
}

func TestHeadersCannotReplaceWhatIsOurs(t *testing.T) {
	m, root := mustCompose(t, New(Options{}, nil, nil), headers(
		"Content-Type", "text/x-evil", "MIME-Version", "9", "content-transfer-encoding", "base64", "Bcc", "h@rcpt.test", "Cc", "c@rcpt.test",
		"To", "t@rcpt.test", "From", "f@sender.test", "Subject", "other", "Message-ID", "own-1@sender.test", "Reply-To", "hdr@sender.test",
	))
	if want := []string{"From", "To", "Subject", "Reply-To", "Message-ID", "Date", "MIME-Version", "Content-Type", "Content-Transfer-Encoding"}; !slices.Equal(headerNames(m.Message), want) {
		t.Errorf("fields %q, want %q", headerNames(m.Message), want)
	}
	if root.Type != "text/plain" || root.Body != "Plain body\n" || headerOf(t, m.Message, "From") != "Sender <sender@sender.test>" || len(m.To) != 1 {
		t.Errorf("%q %+v", m.Message, root)
	}
	if m.MessageID != "own-1@sender.test" || headerOf(t, m.Message, "Message-ID") != "<own-1@sender.test>" {
		t.Errorf("Message-ID %q in %q", m.MessageID, m.Message)
	}
	m, _ = mustCompose(t, New(Options{}, nil, nil), with(func(d *delivery.Document) {
		d.From, d.Message.Subject, d.ReplyTo = "", "", "doc@sender.test"
		d.Headers = []delivery.Header{{Name: "From", Value: "f@sender.test"}, {Name: "Subject", Value: "from headers"}, {Name: "Reply-To", Value: "hdr@sender.test"}}
	}))
	if m.From != "f@sender.test" || headerOf(t, m.Message, "Subject") != "from headers" || headerOf(t, m.Message, "Reply-To") != "doc@sender.test" {
		t.Errorf("headers do not fill in: %q", m.Message)
	}
}

func TestLineBreaksInValuesBecomeSpaces(t *testing.T) {
	m, _ := mustCompose(t, New(Options{}, nil, nil), with(func(d *delivery.Document) {
		d.Message.Subject = "hello\r\nBcc: evil@rcpt.test\r\n\r\nbody"
		d.Headers = []delivery.Header{{Name: "X-A", Value: "1\nX-Evil: 1\r2"}, {Name: "Message-ID", Value: "<a@b>\r\nX-Evil: 1"}}
	}))
	for name, want := range map[string]string{"Subject": "hello Bcc: evil@rcpt.test  body", "X-A": "1 X-Evil: 1 2", "Message-ID": "<a@b> X-Evil: 1>"} {
		if got := headerOf(t, m.Message, name); got != want {
			t.Errorf("%s: %q, want %q", name, got, want)
		}
	}
	if slices.Contains(headerNames(m.Message), "X-Evil") || slices.Contains(headerNames(m.Message), "Bcc") {
		t.Errorf("a field was injected: %q", m.Message)
	}
	if m, _ = mustCompose(t, New(Options{}, nil, nil), with(func(d *delivery.Document) { d.Message.Subject = "a\x00b\x07c" })); headerOf(t, m.Message, "Subject") != "a\x00b\x07c" {
		t.Errorf("control characters are not encoded: %q", m.Message)
	}
}

func TestInjectionsAreRefused(t *testing.T) {
	address := "x@rcpt.test\r\nBcc: evil@rcpt.test"
	for field, doc := range map[string]delivery.Document{
		"to ":                     with(func(d *delivery.Document) { d.To = []string{address} }),
		"cc ":                     with(func(d *delivery.Document) { d.Cc = []string{"a@b.test,\nBcc: evil@rcpt.test"} }),
		"bcc ":                    with(func(d *delivery.Document) { d.Bcc = []string{"a@b.test\x7f"} }),
		"from ":                   with(func(d *delivery.Document) { d.From = address }),
		"replyTo ":                with(func(d *delivery.Document) { d.ReplyTo = "a@b.test\nb@b.test" }),
		"headers.Sender ":         headers("Sender", address),
		"headers.Reply-To ":       headers("reply-to", "A\nX-Evil : <a@b.test>"),
		"headers has":             headers("X-A: 1\r\nX-Evil", "v"),
		"headers has an invalid":  headers("X A", "v"),
		"headers has an invalid ": headers("", "v"),
		"message.messageId ":      with(func(d *delivery.Document) { d.Message.MessageID = "a@b>\r\nX-Evil: 1" }),
		"headers.Message-ID ":     headers("Message-ID", "<ü@b.test>"),
		"message.attachments[0].": attached(delivery.Attachment{Content: "x", Headers: []delivery.Header{{Name: "X\r\nY", Value: "v"}}}),
	} {
		f := mustFail(t, New(Options{}, nil, nil), doc)
		if !strings.HasPrefix(f.Message, "Error: "+field) || f.Class != delivery.Permanent {
			t.Errorf("%s: %+v", field, f)
		}
	}
}

func TestListsWithAnAddressALineAreRead(t *testing.T) {
	m, _ := mustCompose(t, New(Options{}, nil, nil), with(func(d *delivery.Document) {
		d.To = []string{"\r\n ada@rcpt.test,\r\n bob@rcpt.test;\n\n cy@rcpt.test \n"}
	}))
	if want := []string{"ada@rcpt.test", "bob@rcpt.test", "cy@rcpt.test"}; !slices.Equal(m.To, want) {
		t.Errorf("recipients %q", m.To)
	}
}

// What no line can be smuggled in with is read as by the extension's library.
func TestHarmlessControlCharactersAreLeftOut(t *testing.T) {
	for in, want := range map[string]string{
		"ada\x00@rcpt.test":         "ada@rcpt.test",
		"Ada\x07X <ada@rcpt.test>":  "AdaX <ada@rcpt.test>",
		"A\nB <ada@rcpt.test>":      "A B <ada@rcpt.test>",
		"ada\r@rcpt.test":           "ada@rcpt.test",
		"Ada\r\n <ada@rcpt.test>":   "Ada <ada@rcpt.test>",
		"Team:\r\n ada@rcpt.test;":  "Team:ada@rcpt.test;",
		"ada@rcpt.test\r\n\r\nbody": "body <ada@rcpt.test>",
	} {
		m, _ := mustCompose(t, New(Options{}, nil, nil), with(func(d *delivery.Document) { d.To = []string{in} }))
		if got := headerOf(t, m.Message, "To"); got != want || !slices.Equal(m.To, []string{"ada@rcpt.test"}) {
			t.Errorf("%q: To %q for %q, want %q", in, got, m.To, want)
		}
	}
}

// White space at the ends of a value goes along in encoded words only.
func TestWhiteSpaceAtTheEndsOfAValue(t *testing.T) {
	for in, want := range map[string]string{
		"\ufeffx": "\ufeffx", "  ä ": "  ä ", " x  ": "x", " \u00a0 ": "", "  \"a\" ": "  \"a\" ",
	} {
		m, _ := mustCompose(t, New(Options{}, nil, nil), with(func(d *delivery.Document) { d.Message.Subject = in }))
		got := headerOf(t, m.Message, "Subject")
		if got != want {
			t.Errorf("%q: Subject %q, want %q", in, got, want)
		}
	}
}

func TestOwnMessageID(t *testing.T) {
	for given, want := range map[string]string{"a@b.test": "<a@b.test>", "<a@b.test>": "<a@b.test>"} {
		m, _ := mustCompose(t, New(Options{}, nil, nil), with(func(d *delivery.Document) {
			d.Message.MessageID = given
			d.Headers = []delivery.Header{{Name: "Message-ID", Value: "<other@b.test>"}}
		}))
		if m.MessageID != want || headerOf(t, m.Message, "Message-ID") != want {
			t.Errorf("%s: %q", given, m.MessageID)
		}
	}
	for _, given := range []string{"a", "a b@c", "<a@b><c@d>", "<>", " ", "a@" + strings.Repeat("x", 1000)} {
		mustFail(t, New(Options{}, nil, nil), with(func(d *delivery.Document) { d.Message.MessageID = given }))
	}
}

func TestWordsTooLongToFoldAreRefused(t *testing.T) {
	long := strings.Repeat("x", 1200)
	for _, doc := range []delivery.Document{
		with(func(d *delivery.Document) { d.To = []string{long + "@rcpt.test"} }),
		attached(delivery.Attachment{Content: "x", CID: long}),
		attached(delivery.Attachment{Content: "x", ContentType: long + "/x"}),
		attached(delivery.Attachment{Content: "x", Disposition: long}),
	} {
		if f := mustFail(t, New(Options{}, nil, nil), doc); !strings.Contains(f.Message, "998") {
			t.Errorf("%+v", f)
		}
	}
}
