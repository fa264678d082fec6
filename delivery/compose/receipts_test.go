package compose

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"

	"postrider/delivery"
	"postrider/delivery/render"
)

// asking is a document that asks for both receipts.
func asking(change func(*delivery.Document)) delivery.Document {
	return with(func(d *delivery.Document) {
		d.ID = "m1"
		d.Message.HTML = "<p>Hi</p>"
		d.Receipts = delivery.Receipts{Open: true, Read: true}
		change(d)
	})
}

// pixelled composes for a world that is reached at https://mail.test.
func pixelled(templates Templates) *Composer {
	return New(Options{Pixel: func(document, _ string, recipients []string) string {
		return fmt.Sprintf("https://mail.test/%s?n=%d&to=%s", document, len(recipients), recipients[0])
	}}, nil, templates)
}

func TestReadingIsToldToWhoGetsTheAnswers(t *testing.T) {
	for name, c := range map[string]struct {
		change func(*delivery.Document)
		want   string
	}{
		"the sender":          {func(*delivery.Document) {}, "sender@sender.test"},
		"replyTo":             {func(d *delivery.Document) { d.ReplyTo = "Ans <a@sender.test>, G: b@sender.test;" }, "a@sender.test, b@sender.test"},
		"replyTo, no address": {func(d *delivery.Document) { d.ReplyTo = "nobody" }, "sender@sender.test"},
		"the header Reply-To": {func(d *delivery.Document) {
			d.Headers = []delivery.Header{{Name: "reply-to", Value: "<h@sender.test>"}}
		}, "h@sender.test"},
		"the document's choice": {func(d *delivery.Document) {
			d.Headers = []delivery.Header{{Name: "disposition-notification-to", Value: "own@sender.test"}}
		}, "own@sender.test"},
		"nobody": {func(d *delivery.Document) { d.Receipts.Read = false }, ""},
	} {
		m, _ := mustCompose(t, pixelled(nil), asking(c.change))
		if got := headerOf(t, m.Message, "Disposition-Notification-To"); strings.NewReplacer("<", "", ">", "").Replace(got) != c.want {
			t.Errorf("%s: %q, want %q", name, got, c.want)
		}
		if n := len(slices.DeleteFunc(headerNames(m.Message), func(n string) bool { return n != "Disposition-Notification-To" })); n > 1 {
			t.Errorf("%s: the field is there %d times", name, n)
		}
	}
}

func TestPixelIsAtTheEndOfTheHTML(t *testing.T) {
	const img = `<img src="https://mail.test/m1?n=1&amp;to=ada@rcpt.test" alt="" width="1" height="1">`
	for name, c := range map[string]struct{ html, want string }{
		"a part of a page":      {"<p>Hi</p>", "<p>Hi</p>" + img},
		"a page":                {"<html><body>Hi</body></html>", "<html><body>Hi" + img + "</body></html>"},
		"a page in capitals":    {"<BODY>İ</BODY >\n", "<BODY>İ" + img + "</BODY >\n"},
		"a page within a page":  {"<body></body><body>Hi</body>", "<body></body><body>Hi" + img + "</body>"},
		"a page that ends here": {"Hi</body", "Hi" + img + "</body"},
		"one character":         {"<", "<" + img},
	} {
		got, err := pixelled(nil).withPixel(c.html, asking(func(*delivery.Document) {}), "<m@x.test>", []string{"ada@rcpt.test"})
		if err != nil || got != c.want {
			t.Errorf("%s: %q, %v", name, got, err)
		}
	}
}

// The mail tells what its template has made, and the text beside it tells nothing.
func TestPixelIsInTheHTMLPartOnly(t *testing.T) {
	amp, html := "<html amp4email><body></body>", "<body>Rendered</body>"
	templates := templateFunc(func(string, delivery.Fields) (render.Rendered, error) {
		return render.Rendered{HTML: &html, AMP: &amp}, nil
	})
	m, root := mustCompose(t, pixelled(templates), asking(func(d *delivery.Document) {
		d.Template = &delivery.Template{Name: "t"}
		d.Bcc = []string{"bob@rcpt.test"}
	}))
	if len(m.To) != 2 || len(root.Parts) != 3 {
		t.Fatalf("%+v", root)
	}
	for i, want := range []bool{false, false, true} {
		if got := strings.Contains(root.Parts[i].Body, "<img"); got != want {
			t.Errorf("part %d: %q", i, root.Parts[i].Body)
		}
	}
	if got := root.Parts[2].Body; !strings.Contains(got, "Rendered<img") || !strings.Contains(got, "m1?n=2&amp;to=") {
		t.Errorf("%q", got)
	}
	for name, change := range map[string]func(*delivery.Document){
		"not asked for":    func(d *delivery.Document) { d.Receipts.Open = false },
		"nothing but text": func(d *delivery.Document) { d.Message.HTML = "" },
	} {
		m, _ := mustCompose(t, pixelled(nil), asking(change))
		if strings.Contains(string(m.Message), "mail.test") {
			t.Errorf("%s: %q", name, m.Message)
		}
	}
}

// A mail that was to tell of its opening, and can't, is not sent as one that nobody
// opens.
func TestPixelThatCanNotBeRefusesTheMail(t *testing.T) {
	if f := mustFail(t, New(Options{}, nil, nil), asking(func(*delivery.Document) {})); !strings.Contains(f.Message, "receipts.open needs API_PUBLIC_URL and API_ACCESS_KEYS") {
		t.Error(f.Message)
	}
	none := New(Options{Pixel: func(string, string, []string) string { return "" }}, nil, nil)
	if f := mustFail(t, none, asking(func(*delivery.Document) {})); !strings.Contains(f.Message, "receipts.open is not possible") {
		t.Error(f.Message)
	}
	for name, change := range map[string]func(*delivery.Document){
		"not asked for":    func(d *delivery.Document) { d.Receipts.Open = false },
		"nothing but text": func(d *delivery.Document) { d.Message.HTML = "" },
	} {
		if _, err := New(Options{}, nil, nil).Compose(context.Background(), asking(change), testClaim()); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// What a template is allowed to say does not change for who asks for receipts.
func TestReceiptsAreAllowedWithTemplateOnly(t *testing.T) {
	html := "<p>Rendered</p>"
	c := New(Options{
		TemplateOnly: true, DefaultFrom: "us@sender.test",
		Pixel: func(string, string, []string) string { return "https://mail.test/o" },
	}, nil, templateFunc(func(string, delivery.Fields) (render.Rendered, error) { return render.Rendered{HTML: &html}, nil }))
	m, _ := mustCompose(t, c, delivery.Document{
		ID: "m1", To: []string{"ada@rcpt.test"}, Template: &delivery.Template{Name: "t"}, Receipts: delivery.Receipts{Open: true, Read: true},
	})
	if got := headerOf(t, m.Message, "Disposition-Notification-To"); got != "us@sender.test" || !strings.Contains(string(m.Message), "https://mail.test/o") {
		t.Errorf("%s: %s", got, m.Message)
	}
}
