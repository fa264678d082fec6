package compose

import (
	"bufio"
	"encoding/hex"
	"encoding/json"
	"os"
	"strings"
	"testing"
	"time"

	"postrider/delivery"
)

func TestMediaTypesAreTheMailLibrarys(t *testing.T) {
	file, err := os.ReadFile("testdata/mediatypes.json")
	if err != nil {
		t.Fatal(err)
	}
	var want struct{ ByName, Extension map[string]string }
	if err := json.Unmarshal(file, &want); err != nil {
		t.Fatal(err)
	}
	types := parseMediaTypes(mediaTypesFile)
	for name, want := range want.ByName {
		if got := types.byName(name); got != want {
			t.Errorf("%q: %s, want %s", name, got, want)
		}
	}
	for contentType, want := range want.Extension {
		if got := types.extension(contentType); got != want {
			t.Errorf("%q: .%s, want .%s", contentType, got, want)
		}
	}
}

func TestContentIsDecodedAsByNode(t *testing.T) {
	f, err := os.Open("testdata/encodings.jsonl")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	l := loader{Composer: New(Options{}, nil, nil)}
	for lines := bufio.NewScanner(f); lines.Scan(); {
		var c struct{ Encoding, In, Hex string }
		if err := json.Unmarshal(lines.Bytes(), &c); err != nil {
			t.Fatal(err)
		}
		b, err := l.decode(c.In, c.Encoding)
		if err != nil || b.isText || hex.EncodeToString(b.data) != c.Hex {
			t.Errorf("%s of %q: %x, want %s (%v)", c.Encoding, c.In, b.data, c.Hex, err)
		}
	}
}

func TestAttachments(t *testing.T) {
	for name, tc := range map[string]struct {
		a    delivery.Attachment
		want part
	}{
		"text": {
			delivery.Attachment{Filename: "a.txt", Content: "hello\n"},
			part{Type: "text/plain", Params: m("name", "a.txt"), Disposition: "attachment", DParams: m("filename", "a.txt"), Body: "hello\n"},
		},
		"unicode text": {
			delivery.Attachment{Filename: "a.txt", Content: "grüße", Encoding: "ascii"},
			part{Type: "text/plain", Params: m("name", "a.txt", "charset", "utf-8"), Disposition: "attachment", DParams: m("filename", "a.txt"), Body: "grüße"},
		},
		"unicode csv": {
			delivery.Attachment{Filename: "a.csv", Content: "ü"},
			part{Type: "text/csv", Params: m("name", "a.csv"), Disposition: "attachment", DParams: m("filename", "a.csv"), Body: "ü"},
		},
		"no name": {
			delivery.Attachment{Content: []byte("x")},
			part{Type: "application/octet-stream", Params: m("name", "attachment-1.*"), Disposition: "attachment", DParams: m("filename", "attachment-1.*"), Body: "x"},
		},
		"name from type": {
			delivery.Attachment{Content: nil, ContentType: "image/png", CID: "<l>"},
			part{Type: "image/png", Params: m("name", "attachment-1.png"), Disposition: "inline", DParams: m("filename", "attachment-1.png"), CID: "<l>"},
		},
		"data URI": {
			delivery.Attachment{Path: "data:image/svg+xml;charset=x;base64,PGI+", Disposition: "INLINE"},
			part{Type: "image/svg+xml", Params: m("name", "attachment-1.svg"), Disposition: "inline", DParams: m("filename", "attachment-1.svg"), Body: "<b>"},
		},
		"calendar": {
			delivery.Attachment{Filename: "i.ics", Content: "BEGIN\r\n", ContentType: "text/calendar; method=REQUEST; name=x", TransferEncoding: "quoted-printable"},
			part{Type: "text/calendar", Params: m("method", "REQUEST", "name", "i.ics"), Disposition: "attachment", DParams: m("filename", "i.ics"), Body: "BEGIN\n"},
		},
		"injections": {
			delivery.Attachment{
				Filename: "a\r\nX-Evil: 1.txt", Content: "x", ContentType: "text/plain\r\nX-Evil: 1", Disposition: "inline\r\nX-Evil: 1",
				CID: "c\r\nX-Evil: 1", TransferEncoding: "8bit\r\nX-Evil: 1",
				Headers: []delivery.Header{{Name: "X-A", Value: "1\r\nX-Evil: 1"}, {Name: "Content-Type", Value: "text/x"}, {Name: "Content-ID", Value: "<x>"}},
			},
			part{
				Type: "text/plain", Params: m("name", "a X-Evil: 1.txt"), Disposition: "inline", DParams: m("filename", `a\r\nX-Evil: 1.txt`),
				CID: "<c X-Evil: 1>", Other: m("X-A", "1 X-Evil: 1"), Body: "x",
			},
		},
		"content ID beyond ASCII": {
			delivery.Attachment{Filename: "a.txt", Content: "x", CID: "lögo"},
			part{Type: "text/plain", Params: m("name", "a.txt"), Disposition: "attachment", DParams: m("filename", "a.txt"), CID: "=?UTF-8?Q?=3Cl=C3=B6go=3E?=", Body: "x"},
		},
		"message": {
			delivery.Attachment{Filename: "old.eml", Content: "Subject: ü\n\nbody\r\n", TransferEncoding: "base64"},
			part{Type: "message/rfc822", Params: m("name", "old.eml"), Disposition: "inline", DParams: m("filename", "old.eml"), Body: "Subject: ü\n\nbody\n"},
		},
		"raw": {
			delivery.Attachment{Raw: "Content-Type: text/x\nX-Y: z\n\nraw\n", Content: "no", Path: "/no"},
			part{Type: "text/x", Other: m("X-Y", "z"), Body: "raw\n"},
		},
	} {
		_, root := mustCompose(t, New(Options{}, nil, nil), attached(tc.a))
		if root.Type != "multipart/mixed" || len(root.Parts) != 2 {
			t.Fatalf("%s: %+v", name, root)
		}
		if got, _ := json.Marshal(root.Parts[1]); string(got) != expected(tc.want) {
			t.Errorf("%s:\ngot  %s\nwant %s", name, got, expected(tc.want))
		}
	}
}

func TestARawEntityWithAContentIDBelongsToTheHTML(t *testing.T) {
	doc := attached(delivery.Attachment{Raw: "Content-Type: image/png\nContent-ID: <a>\n\nraw", CID: "a"})
	doc.Message.HTML = `<img src="cid:a">`
	_, root := mustCompose(t, New(Options{}, nil, nil), doc)
	if len(root.Parts) != 2 || root.Parts[1].Type != "multipart/related" || len(root.Parts[1].Parts) != 2 || root.Parts[1].Parts[1].CID != "<a>" {
		t.Errorf("got %+v", root)
	}
}

func m(pairs ...string) map[string]string {
	out := map[string]string{}
	for i := 0; i < len(pairs); i += 2 {
		out[pairs[i]] = pairs[i+1]
	}
	return out
}

func expected(p part) string {
	if p.Params == nil {
		p.Params = m()
	}
	if p.Other == nil {
		p.Other = m()
	}
	out, _ := json.Marshal(p)
	return string(out)
}

func TestALoneRawEntityDoesNotBecomeTheMessage(t *testing.T) {
	doc := attached(delivery.Attachment{Raw: "From: evil@x.test\nBcc: b@x.test\n\nraw"})
	doc.Message.Text = ""
	msg, root := mustCompose(t, New(Options{}, nil, nil), doc)
	if root.Type != "multipart/mixed" || headerOf(t, msg.Message, "From") != "Sender <sender@sender.test>" {
		t.Errorf("%s", msg.Message)
	}
}

func TestBadAttachmentsAreRefused(t *testing.T) {
	long := strings.Repeat("x", 999)
	for want, a := range map[string]delivery.Attachment{
		".content must be a string or bytes, not a number":               {Content: int64(5)},
		".content must be a string or bytes, not a boolean":              {Content: true},
		".content must be a string or bytes, not an array":               {Content: []any{}},
		".content must be a string or bytes, not what it is":             {Content: time.Time{}},
		".content is a map without path or href":                         {Content: delivery.Fields{}},
		`.encoding is not supported: "rot13"`:                            {Content: "x", Encoding: "rot13"},
		".path names a local file, and those are never read":             {Path: "/etc/passwd"},
		".href names a local file, and those are never read":             {Href: "file:///etc/passwd"},
		".path names a local file, and those are never read ":            {Path: `C:\secret.txt`},
		".content.path names a local file, and those are never read":     {Content: delivery.Fields{"path": "../x"}},
		`.href has the scheme "ftp", which is not supported`:             {Href: "ftp://x.test/d"},
		".path is not a data: URI: it has no comma":                      {Path: "data:text/plain"},
		".contentType is a multipart type, which an attachment cannot":   {Content: "x", ContentType: "Multipart/mixed; boundary=x"},
		".raw has a line of more than 998 bytes or a NUL in it":          {Raw: "A: b\n\n" + long},
		".content has a line of more than 998 bytes or a NUL in it":      {Filename: "a.eml", Content: "A: b\n\n\x00"},
		".content is larger than allowed: 1001 bytes, at most 1000 byte": {Content: strings.Repeat("x", 1001)},
		".path is larger than allowed: 1001 bytes, at most 1000 bytes":   {Path: "data:," + strings.Repeat("x", 1001)},
		".href is not an address that can be fetched":                    {Href: "http://"},
		".href is not an address that can be fetched ":                   {Href: "http://[::1"},
		".path is not an address that can be fetched":                    {Path: "gs://bucket"},
	} {
		f := mustFail(t, New(Options{MaxAttachmentBytes: 1000}, nil, nil), attached(delivery.Attachment{Content: "fine"}, a))
		if want := "Error: message.attachments[1]" + strings.TrimSpace(want); !strings.HasPrefix(f.Message, want) || f.Class != delivery.Permanent || f.Phase != delivery.PhaseAttachment {
			t.Errorf("%+v, want %q", f, want)
		}
	}
	f := mustFail(t, New(Options{MaxAttachments: 1}, nil, nil), attached(delivery.Attachment{}, delivery.Attachment{}))
	if !strings.Contains(f.Explain, "ATTACHMENT_MAX_COUNT") {
		t.Errorf("%+v", f)
	}
	f = mustFail(t, New(Options{MaxMessageBytes: 100}, nil, nil), attached(delivery.Attachment{Content: strings.Repeat("x", 101)}))
	if !strings.Contains(f.Explain, "MAX_MESSAGE_BYTES") {
		t.Errorf("%+v", f)
	}
}

func TestDataURIs(t *testing.T) {
	for uri, want := range map[string]dataURI{
		"data:,hello%20world":                     {"application/octet-stream", []byte("hello world")},
		"data:text/plain;charset=utf-8,a%C3%BC":   {"text/plain", []byte("aü")},
		"data:text/plain;utf8,<svg/>":             {"text/plain", []byte("<svg/>")},
		"data:image/png;base64,AAEC":              {"image/png", []byte{0, 1, 2}},
		"data:image/png; BASE64 ,AA==EC":          {"image/png", []byte{0}},
		"data:x;y=z,%FF":                          {"x", []byte("%FF")},
		"data:text/plain,100%":                    {"text/plain", []byte("100%")},
		"DATA:;base64,AAEC":                       {"application/octet-stream", []byte{0, 1, 2}},
		"data:application/json,%7B%22a%22%3A1%7D": {"application/json", []byte(`{"a":1}`)},
		"data:base64,AAEC":                        {"application/octet-stream", []byte{0, 1, 2}},
		"data:a,b,c":                              {"a", []byte("b,c")},
	} {
		got, ok := parseDataURI(uri)
		if !ok || got.contentType != want.contentType || string(got.data) != string(want.data) {
			t.Errorf("%s: %+v, want %+v", uri, got, want)
		}
	}
}
