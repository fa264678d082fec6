package compose

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"postrider/delivery"
	"postrider/delivery/render"
)

var update = flag.Bool("update", false, "rewrite the golden files")

func text(s string) *string { return &s }

func goldenDocuments() map[string]delivery.Document {
	logo := delivery.Attachment{Filename: "logo.png", Content: []byte{0x89, 'P', 'N', 'G'}, CID: "logo@x"}
	note := delivery.Attachment{Filename: "Grüße 1.txt", Content: "hallo Welt: ü\n"}
	return map[string]delivery.Document{
		"text": simple(),
		"unicode": with(func(d *delivery.Document) {
			d.To = []string{"山田太郎 <taro@bücher.test>", "Team: a@rcpt.test, B <b@rcpt.test>;"}
			d.Cc = []string{"Lovelace, Ada <ada@RCPT.test>"}
			d.Bcc = []string{"hidden@rcpt.test"}
			d.ReplyTo = "Reply <reply@sender.test>"
			d.Message = delivery.Message{Subject: "Überraschung: Ihre Bestellung für Äpfel wurde heute verschickt 🎉", Text: "Ça va?\n\tgut \n", HTML: "<p>你好</p>"}
			d.Headers = []delivery.Header{{Name: "x-campaign", Value: strings.Repeat("long value ", 20)}, {Name: "List-Unsubscribe", Value: "<mailto:u@sender.test>, <https://sender.test/u?id=1>"}}
		}),
		"everything": with(func(d *delivery.Document) {
			d.Message = delivery.Message{
				Subject: "All of it", Text: "text", AMP: "<html amp4email></html>", HTML: `<img src="cid:logo@x">`,
				Attachments: []delivery.Attachment{logo, note, {Raw: "Content-Type: text/plain\n\nraw entity\n"}, {Filename: "old.eml", Content: "Subject: old\n\nold mail\n"}},
			}
		}),
		"empty": with(func(d *delivery.Document) { d.Message = delivery.Message{} }),
		"lone-attachment": with(func(d *delivery.Document) {
			d.Message = delivery.Message{Subject: "S", Attachments: []delivery.Attachment{note}}
		}),
	}
}

func TestGolden(t *testing.T) {
	c := New(Options{}, nil, nil)
	for name, doc := range goldenDocuments() {
		t.Run(name, func(t *testing.T) {
			m, _ := mustCompose(t, c, doc)
			file := filepath.Join("testdata", name+".eml")
			if *update {
				if err := os.WriteFile(file, m.Message, 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			if !bytes.Equal(m.Message, want) {
				t.Errorf("%s differs; run with -update if that is meant:\n%s", file, m.Message)
			}
		})
	}
}

func TestEnvelopeHasEachRecipientOnceInOrder(t *testing.T) {
	m, _ := mustCompose(t, New(Options{}, nil, nil), with(func(d *delivery.Document) {
		d.To = []string{"Ada@Rcpt.TEST, ada@rcpt.test", "nonsense", "Ada@rcpt.test"}
		d.Cc = []string{"cy@rcpt.test"}
		d.Bcc = []string{"cy@rcpt.test; ben@rcpt.test"}
	}))
	if want := []string{"Ada@rcpt.test", "ada@rcpt.test", "cy@rcpt.test", "ben@rcpt.test"}; !slices.Equal(m.To, want) {
		t.Errorf("recipients %q, want %q", m.To, want)
	}
	if got, want := headerOf(t, m.Message, "To"), "Ada@rcpt.test, ada@rcpt.test, Ada@rcpt.test"; got != want {
		t.Errorf("To: %q, want %q", got, want)
	}
	if bytes.Contains(m.Message, []byte("ben@rcpt.test")) {
		t.Error("a bcc recipient is in the message")
	}
}

func TestMessageIDAndDateAreTheClaims(t *testing.T) {
	c := New(Options{}, nil, nil)
	m, _ := mustCompose(t, c, with(func(d *delivery.Document) { d.From = "A <a@BÜCHER.test>, b@other.test" }))
	if want := "<01234567-89ab-4def-8123-456789abcdef@xn--bcher-kva.test>"; m.MessageID != want || headerOf(t, m.Message, "Message-ID") != want {
		t.Errorf("Message-ID %q, want %q", m.MessageID, want)
	}
	if got, want := headerOf(t, m.Message, "Date"), "Thu, 29 Feb 2024 22:59:58 +0000"; got != want {
		t.Errorf("Date %q, want %q", got, want)
	}
	again, _ := mustCompose(t, c, with(func(d *delivery.Document) { d.From = "A <a@BÜCHER.test>, b@other.test" }))
	if !bytes.Equal(m.Message, again.Message) {
		t.Error("the same claim made two different messages")
	}
}

func TestNoMailWithoutASender(t *testing.T) {
	for name, tc := range map[string]struct {
		from, fallback, message string
	}{
		"neither":         {"", "", "Error: from is missing and DEFAULT_FROM is not set"},
		"no address":      {"not an address", "d@sender.test", "Error: from has no e-mail address in it"},
		"blank":           {" ", "d@sender.test", "Error: from has no e-mail address in it"},
		"null sender":     {"<>", "d@sender.test", "Error: from has no e-mail address in it"},
		"bad default":     {"", "nobody", "Error: DEFAULT_FROM has no e-mail address in it"},
		"header injected": {"x@sender.test\r\nX-Evil: 1", "d@sender.test", "Error: from has a line break or another control character in an address"},
	} {
		f := mustFail(t, New(Options{DefaultFrom: tc.fallback}, nil, nil), with(func(d *delivery.Document) { d.From = tc.from }))
		if f.Message != tc.message || f.Class != delivery.Permanent || f.Phase != delivery.PhaseCompose {
			t.Errorf("%s: %+v, want %q", name, f, tc.message)
		}
	}
	m, _ := mustCompose(t, New(Options{DefaultFrom: "d@sender.test", DefaultReplyTo: "r@sender.test"}, nil, nil), with(func(d *delivery.Document) { d.From = "" }))
	if m.From != "d@sender.test" || headerOf(t, m.Message, "Reply-To") != "r@sender.test" {
		t.Errorf("the defaults are not used: %s %s", m.From, m.Message)
	}
}

func TestNoMailWithoutARecipient(t *testing.T) {
	f := mustFail(t, New(Options{}, nil, nil), with(func(d *delivery.Document) { d.To = []string{"nonsense", "", "Team:;"} }))
	if f.Message != "Error: No recipients defined" {
		t.Errorf("%q", f.Message)
	}
}

func TestTemplateWinsAndMessageFillsIn(t *testing.T) {
	doc := with(func(d *delivery.Document) {
		d.Template = &delivery.Template{Name: "t", Data: delivery.Fields{"x": int64(1)}}
		d.Message = delivery.Message{Subject: "M", Text: "m text", HTML: "m html", Attachments: []delivery.Attachment{{Filename: "m.txt", Content: "m"}}}
	})
	for name, tc := range map[string]struct {
		rendered render.Rendered
		subject  string
		types    []string
	}{
		"nothing":        {render.Rendered{}, "M", []string{"multipart/alternative", "text/plain"}},
		"subject":        {render.Rendered{Subject: text("T")}, "T", []string{"multipart/alternative", "text/plain"}},
		"empty wins":     {render.Rendered{Subject: text(""), HTML: text("")}, "", []string{"text/plain", "text/plain"}},
		"no attachments": {render.Rendered{Attachments: []any{}}, "M", []string{"text/plain", "text/html"}},
		"attachment":     {render.Rendered{HTML: text(""), Attachments: []any{delivery.Fields{"filename": "t.pdf", "content": "t"}}}, "M", []string{"text/plain", "application/pdf"}},
	} {
		c := New(Options{}, nil, templateFunc(func(name string, data delivery.Fields) (render.Rendered, error) {
			if name != "t" || data["x"] != int64(1) {
				t.Errorf("rendered %q with %v", name, data)
			}
			return tc.rendered, nil
		}))
		m, root := mustCompose(t, c, doc)
		var types []string
		for _, p := range root.Parts {
			types = append(types, p.Type)
		}
		if got := headerOf(t, m.Message, "Subject"); got != tc.subject || !slices.Equal(types, tc.types) {
			t.Errorf("%s: subject %q, parts %q; want %q, %q", name, got, types, tc.subject, tc.types)
		}
	}
}

func TestTemplateFailures(t *testing.T) {
	doc := with(func(d *delivery.Document) { d.Template = &delivery.Template{Name: "t"} })
	own := &delivery.Failure{Class: delivery.Transient, Phase: delivery.PhaseTemplate, Message: "Error: own", Explain: "x"}
	for name, tc := range map[string]struct {
		err   error
		class delivery.Class
		text  string
	}{
		"a failure":     {own, delivery.Transient, "Error: own"},
		"another error": {errors.New("bad"), delivery.Permanent, "Error: bad"},
	} {
		f := mustFail(t, New(Options{}, nil, templateFunc(func(string, delivery.Fields) (render.Rendered, error) {
			return render.Rendered{}, tc.err
		})), doc)
		if f.Class != tc.class || f.Message != tc.text || f.Phase != delivery.PhaseTemplate {
			t.Errorf("%s: %+v", name, f)
		}
	}
	c := New(Options{}, nil, templateFunc(func(string, delivery.Fields) (render.Rendered, error) {
		return render.Rendered{Attachments: []any{"no map"}}, nil
	}))
	if _, err := c.Compose(context.Background(), doc, testClaim()); err == nil {
		t.Error("attachments that are no maps were taken")
	}
	if _, root := mustCompose(t, New(Options{}, nil, nil), doc); root.Body != "Plain body\n" {
		t.Errorf("without a templates collection the template is not ignored: %+v", root)
	}
}

func TestMessageSizeIsLimited(t *testing.T) {
	f := mustFail(t, New(Options{MaxMessageBytes: 2000}, nil, nil), with(func(d *delivery.Document) { d.Message.Text = strings.Repeat("x", 3000) }))
	if !strings.Contains(f.Explain, "MAX_MESSAGE_BYTES") || f.Class != delivery.Permanent {
		t.Errorf("%+v", f)
	}
}

func TestTextSurvivesWhateverItIs(t *testing.T) {
	c := New(Options{}, nil, nil)
	for _, s := range []string{
		"a", ".\n..\n.dot", "From here", "sig\n-- \nAda  \n", strings.Repeat("x", 77), strings.Repeat("x", 5000), strings.Repeat("word ", 400),
		"tab\there\x00nul\x07bell\x7f", "a\rb", "a\r\nb\nc\r\n", "\n\n", "ü", strings.Repeat("ü", 600), strings.Repeat("🎉", 100), "= =3D a=", "trailing \t",
		strings.Repeat("a\n", 100_000),
	} {
		_, root := mustCompose(t, c, with(func(d *delivery.Document) { d.Message.Text = s }))
		want := strings.ReplaceAll(s, "\r\n", "\n")
		if got := strings.TrimSuffix(root.Body, "\n"); got != strings.TrimSuffix(want, "\n") {
			t.Errorf("%.60q became %.60q", s, got)
		}
	}
	if _, root := mustCompose(t, c, with(func(d *delivery.Document) { d.Message.Text = "a\xff b" })); root.Body != "a\uFFFD b\n" && root.Body != "a\uFFFD b" {
		t.Errorf("invalid UTF-8 became %q", root.Body)
	}
}
