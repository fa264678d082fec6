package compose

import (
	"context"
	"slices"
	"strings"
	"testing"

	"postrider/delivery"
	"postrider/delivery/render"
)

func TestMailGoesToAllowedDomainsOnly(t *testing.T) {
	c := New(Options{RecipientDomains: []string{"example.com", "*.example.org", "xn--bcher-kva.test", "*.Grün.test"}}, nil, nil)
	for address, want := range map[string]bool{
		"ada@example.com":                  true,
		"ada@EXAMPLE.Com":                  true,
		"ada@example.com.":                 true,
		"ada@a.example.com":                false,
		"ada@anexample.com":                false,
		"ada@example.com.evil.test":        false,
		"ada@example.org":                  false,
		"ada@a.example.org":                true,
		"ada@a.b.Example.ORG":              true,
		"ada@anexample.org":                false,
		"ada@.example.org":                 false,
		"ada@b\u00fccher.test":             true,
		"ada@B\u00dcCHER.test":             true,
		"ada@bu\u0308cher.test":            false, // decomposed: another name in punycode
		"ad\u00e4@b\u00fccher.test":        true,
		"ad\u00e4@xn--bcher-kva.test":      true,
		"ada@a.gr\u00fcn.test":             true,
		"ada@a.xn--grn-ioa.test":           true,
		"ada@\uff45xample.com":             false, // a wide e
		"\"a b\"@example.com":              true,
		"a@evil.test@example.com":          false,
		"ada@[192.0.2.1]":                  false,
		"<ada@evil.test> x.example.org":    false,
		"Ada <ada@evil.test .example.org>": false,
		"x@evil.test\u3002example.com":     false,
	} {
		m, err := c.Compose(context.Background(), with(func(d *delivery.Document) { d.To = []string{address} }), testClaim())
		if got := err == nil; got != want {
			t.Errorf("%s: %v %q, want %v", address, err, m.To, want)
		}
	}
}

// One recipient elsewhere keeps the mail from all, and no address gets into the
// error.
func TestOneRecipientElsewhereRefusesTheMail(t *testing.T) {
	c := New(Options{RecipientDomains: []string{"rcpt.test"}}, usersFunc(func([]string) (map[string]any, error) {
		return map[string]any{"u": "Eve <eve@evil.test>"}, nil
	}), nil)
	doc := with(func(d *delivery.Document) {
		d.Cc, d.Bcc, d.ToUIDs = []string{"Team: ben@rcpt.test, mallory@evil.test;"}, []string{"cy@rcpt.test"}, []string{"u"}
	})
	f := mustFail(t, c, doc)
	want := "Error: The mail has recipients in domains that are not allowed: 2 of 5 (RECIPIENT_DOMAINS)"
	if f.Message != want || f.Class != delivery.Permanent || f.Phase != delivery.PhaseCompose || !strings.Contains(f.Explain, "RECIPIENT_DOMAINS") {
		t.Errorf("got %+v, want %s", f, want)
	}
	if strings.Contains(f.Message+f.Explain, "@") {
		t.Errorf("an address is in %+v", f)
	}
}

// What is no domain must not switch the check off.
func TestADomainThatIsNoneAllowsNobody(t *testing.T) {
	mustFail(t, New(Options{RecipientDomains: []string{"not a domain"}}, nil, nil), simple())
}

func templated(change func(*delivery.Document)) delivery.Document {
	d := delivery.Document{To: []string{"ada@rcpt.test"}, Template: &delivery.Template{Name: "t"}}
	if change != nil {
		change(&d)
	}
	return d
}

func templateOnly() *Composer {
	return New(Options{TemplateOnly: true, DefaultFrom: "Shop <shop@sender.test>"}, nil, templateFunc(func(string, delivery.Fields) (render.Rendered, error) {
		return render.Rendered{Subject: text("of the template"), Text: text("text")}, nil
	}))
}

func TestTemplateOnlyRefusesContentOfTheDocuments(t *testing.T) {
	for field, change := range map[string]func(*delivery.Document){
		"message.subject":     func(d *delivery.Document) { d.Message.Subject = "s" },
		"message.text":        func(d *delivery.Document) { d.Message.Text = "t" },
		"message.html":        func(d *delivery.Document) { d.Message.HTML = "h" },
		"message.amp":         func(d *delivery.Document) { d.Message.AMP = "a" },
		"message.attachments": func(d *delivery.Document) { d.Message.Attachments = []delivery.Attachment{{Content: "x"}} },
		"sendGrid":            func(d *delivery.Document) { d.SendGrid = &delivery.SendGrid{} },
		"headers":             func(d *delivery.Document) { d.Headers = []delivery.Header{{Name: "Comments", Value: "x"}} },
		"from":                func(d *delivery.Document) { d.From = "ceo@sender.test" },
		"replyTo":             func(d *delivery.Document) { d.ReplyTo = "eve@evil.test" },
	} {
		f := mustFail(t, templateOnly(), templated(change))
		if want := "has content of its own: " + field; !strings.HasSuffix(f.Message, want) || !strings.Contains(f.Message, "(TEMPLATE_ONLY)") || f.Class != delivery.Permanent || f.Phase != delivery.PhaseCompose {
			t.Errorf("%s: %+v", field, f)
		}
	}
	if f := mustFail(t, templateOnly(), simple()); !strings.HasSuffix(f.Message, ": message.subject, message.text, from") {
		t.Errorf("%+v", f)
	}
	f := mustFail(t, templateOnly(), delivery.Document{To: []string{"ada@rcpt.test"}})
	if want := "names no template"; !strings.HasSuffix(f.Message, want) || !strings.Contains(f.Explain, "TEMPLATE_ONLY") {
		t.Errorf("%+v", f)
	}
}

func TestTemplateOnlyLeavesOutNames(t *testing.T) {
	m, _ := mustCompose(t, templateOnly(), templated(func(d *delivery.Document) {
		d.To = []string{"You have won <ada@rcpt.test>, See evil.test: ben@rcpt.test, Ceo <cy@rcpt.test>;"}
		d.Cc = []string{`"Call 555" <dee@rcpt.test>`, "nonsense"}
		d.Message.MessageID = "<a@sender.test>"
	}))
	if to, cc := headerOf(t, m.Message, "To"), headerOf(t, m.Message, "Cc"); to != "ada@rcpt.test, ben@rcpt.test, cy@rcpt.test" || cc != "dee@rcpt.test" {
		t.Errorf("to %q, cc %q", to, cc)
	}
	if want := []string{"ada@rcpt.test", "ben@rcpt.test", "cy@rcpt.test", "dee@rcpt.test"}; !slices.Equal(m.To, want) {
		t.Errorf("recipients %q", m.To)
	}
	if from, id := headerOf(t, m.Message, "From"), m.MessageID; from != "Shop <shop@sender.test>" || id != "<a@sender.test>" {
		t.Errorf("from %q, %s", from, id)
	}
}

func TestLimitsNameTheirSettingInTheError(t *testing.T) {
	many := func(d *delivery.Document) { d.To = []string{"a@rcpt.test, b@rcpt.test, c@rcpt.test"} }
	long := func(d *delivery.Document) { d.Message.Text = strings.Repeat("x", 3000) }
	two := []delivery.Attachment{{Content: "xx"}, {Content: "xx"}}
	for name, c := range map[string]struct {
		o       Options
		doc     delivery.Document
		setting string
	}{
		"recipients":  {Options{MaxRecipients: 2}, with(many), "3, at most 2 (MAX_RECIPIENTS)"},
		"message":     {Options{MaxMessageBytes: 2000}, with(long), "at most 2000 bytes (MAX_MESSAGE_BYTES)"},
		"attachments": {Options{MaxAttachments: 1}, attached(two...), "at most 1 are allowed (ATTACHMENT_MAX_COUNT)"},
		"attachment":  {Options{MaxAttachmentBytes: 1}, attached(two...), "at most 1 bytes (ATTACHMENT_MAX_BYTES)"},
	} {
		if f := mustFail(t, New(c.o, nil, nil), c.doc); !strings.HasSuffix(f.Message, c.setting) || f.Class != delivery.Permanent {
			t.Errorf("%s: %+v", name, f)
		}
	}
}
