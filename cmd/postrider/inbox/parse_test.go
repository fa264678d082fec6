package inbox_test

import (
	"bytes"
	"encoding/base64"
	"strings"
	"testing"
	"unicode/utf8"

	"postrider/cmd/postrider/inbox"
)

// pixel is a PNG of one pixel.
const pixel = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="

// rich is a mail with a part of every kind.
const rich = `From: =?utf-8?q?Caf=C3=A9?= <shop@sender.test>
To: bob@rcpt.test
Cc: carol@xn--mller-kva.test
Subject: Your order
Message-ID: <order@sender.test>
MIME-Version: 1.0
Content-Type: multipart/mixed; boundary=mixed

--mixed
Content-Type: multipart/alternative; boundary=alt

--alt
Content-Type: text/plain; charset=iso-8859-1
Content-Transfer-Encoding: quoted-printable

Gr=FC=DFe, see https://example.test/order?id=1&x=2.
--alt
Content-Type: text/x-amp-html; charset=utf-8

<!doctype html><html amp4email><body>amp</body></html>
--alt
Content-Type: multipart/related; boundary=rel

--rel
Content-Type: text/html; charset=utf-8

<style>p{background:url(cid:logo@x)}</style><p>Thanks! <img src="cid:logo@x" alt="logo"> <a href="https://example.test/track">Track <b>it</b></a></p>
--rel
Content-Type: image/png
Content-Transfer-Encoding: base64
Content-ID: <logo@x>
Content-Disposition: inline; filename="logo.png"

` + pixel + `
--rel--
--alt--
--mixed
Content-Type: application/pdf; name="=?utf-8?q?Rechnung_=E2=82=AC.pdf?="
Content-Transfer-Encoding: base64
Content-Disposition: attachment

UERG
--mixed--
`

func TestParseFindsEveryPart(t *testing.T) {
	m := inbox.Parse(crlf(rich))
	if len(m.Problems) > 0 {
		t.Errorf("problems: %q", m.Problems)
	}
	if got, want := m.Header("from"), "Café <shop@sender.test>"; got != want {
		t.Errorf("From %q, want %q", got, want)
	}
	if m.Headers[4].Name != "Message-ID" {
		t.Errorf("header name %q not as spelled", m.Headers[4].Name)
	}
	if got := strings.TrimSpace(m.Text); got != "Grüße, see https://example.test/order?id=1&x=2." {
		t.Errorf("text %q", got)
	}
	if !strings.Contains(m.HTML, "Thanks!") || !strings.Contains(m.AMP, "amp4email") {
		t.Errorf("HTML %q, AMP %q", m.HTML, m.AMP)
	}
	if len(m.Parts) != 5 {
		t.Fatalf("%d parts, want 5", len(m.Parts))
	}
	logo, pdf := m.Parts[3], m.Parts[4]
	png, _ := base64.StdEncoding.DecodeString(pixel)
	if !logo.Inline || logo.CID != "logo@x" || logo.Filename != "logo.png" || !bytes.Equal(logo.Content, png) {
		t.Errorf("logo: %+v", logo)
	}
	if pdf.Inline || pdf.Filename != "Rechnung €.pdf" || string(pdf.Content) != "PDF" || pdf.Kind != inbox.File {
		t.Errorf("pdf: %+v", pdf)
	}
	want := []inbox.Link{{URL: "https://example.test/track", Text: "Track it"}}
	if got := m.Links(); len(got) != 1 || got[0] != want[0] {
		t.Errorf("links %+v, want %+v", got, want)
	}
	m.HTML = ""
	if got := m.Links(); len(got) != 1 || got[0].URL != "https://example.test/order?id=1&x=2" {
		t.Errorf("links of the text: %+v", got)
	}
}

func TestParseReadsBrokenMailAsFarAsItGoes(t *testing.T) {
	for name, c := range map[string]struct {
		raw           string
		subject, text string
		clean         bool // no problem is reported
	}{
		"empty":                    {raw: "", clean: true},
		"no header":                {raw: "\n\njust text\n", text: "just text", clean: true},
		"no colon":                 {raw: "this is no header\n\ntext\n"},
		"body without header":      {raw: "Subject: a\n\nb\n", subject: "a", text: "b", clean: true},
		"cut multipart":            {raw: "Subject: a\nContent-Type: multipart/mixed; boundary=x\n\n--x\n\nb\n", subject: "a", text: "b"},
		"multipart, no boundary":   {raw: "Subject: a\nContent-Type: multipart/mixed\n\nb\n", subject: "a"},
		"multipart, no parts":      {raw: "Subject: a\nContent-Type: multipart/mixed; boundary=x\n\nnothing\n", subject: "a"},
		"huge boundary":            {raw: "Subject: a\nContent-Type: multipart/mixed; boundary=" + strings.Repeat("x", 9000) + "\n\n--x\n\nb\n", subject: "a"},
		"bad content type":         {raw: "Subject: a\nContent-Type: ;;;\n\nb\n", subject: "a"},
		"unknown charset":          {raw: "Subject: a\nContent-Type: text/plain; charset=klingon\n\nb\n", subject: "a", text: "b"},
		"unknown encoding":         {raw: "Subject: a\nContent-Transfer-Encoding: x-none\n\nb\n", subject: "a", text: "b"},
		"bad base64":               {raw: "Subject: a\nContent-Transfer-Encoding: base64\n\nYg==!!!!\n", subject: "a", text: "b"},
		"invalid UTF-8":            {raw: "Subject: \xff\n\n\xfe\n", subject: "\uFFFD", text: "\uFFFD", clean: true},
		"unknown charset in words": {raw: "Subject: =?klingon?q?a?=\n\nb\n", subject: "=?klingon?q?a?=", text: "b"},
	} {
		m := inbox.Parse(crlf(c.raw))
		if got := m.Header("Subject"); got != c.subject {
			t.Errorf("%s: subject %q, want %q", name, got, c.subject)
		}
		if got := strings.TrimSpace(m.Text); got != c.text {
			t.Errorf("%s: text %q, want %q", name, got, c.text)
		}
		if (len(m.Problems) == 0) != c.clean {
			t.Errorf("%s: problems %q", name, m.Problems)
		}
	}
}

func TestParseBoundsDepthAndNumberOfParts(t *testing.T) {
	var deep strings.Builder
	for range 500 {
		deep.WriteString("Content-Type: multipart/mixed; boundary=x\n\n--x\n")
	}
	many := "Content-Type: multipart/mixed; boundary=x\n\n" + strings.Repeat("--x\n\na\n", 5000) + "--x--\n"
	for name, raw := range map[string]string{"deep": deep.String(), "many": many} {
		if m := inbox.Parse(crlf(raw)); len(m.Problems) == 0 || len(m.Parts) > 1000 {
			t.Errorf("%s: %d parts, problems %q", name, len(m.Parts), m.Problems)
		}
	}
}

// Whatever arrives, the pages get valid UTF-8 and parts in order.
func FuzzParse(f *testing.F) {
	f.Add(crlf(rich))
	f.Add(crlf(plain))
	f.Add(crlf(hostile))
	f.Add([]byte("Content-Type: multipart/mixed; boundary=\"\"\r\n\r\n--\r\n\r\n"))
	f.Fuzz(func(t *testing.T, raw []byte) {
		m := inbox.Parse(raw)
		for _, s := range append([]string{m.Text, m.HTML, m.AMP}, m.Problems...) {
			if !utf8.ValidString(s) {
				t.Errorf("invalid UTF-8: %q", s)
			}
		}
		for i, p := range m.Parts {
			if p.Index != i || !utf8.ValidString(p.Filename+p.CID+p.Type) {
				t.Errorf("part %d: %+v", i, p)
			}
		}
		for _, l := range m.Links() {
			if !utf8.ValidString(l.URL + l.Text) {
				t.Errorf("link %+v", l)
			}
		}
	})
}

func crlf(s string) []byte { return []byte(strings.ReplaceAll(s, "\n", "\r\n")) }
