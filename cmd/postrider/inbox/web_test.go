package inbox_test

import (
	"bufio"
	"encoding/json"
	"io"
	"net/http"
	"strings"
	"testing"

	"postrider/cmd/postrider/inbox"
)

// hostile tries to run a script from every place a page shows.
const hostile = `From: "<script>alert('from')</script>" <a@b.test>
To: "<img src=x onerror=alert('to')>" <x@y.test>
Subject: </title><script>alert('subject')</script>
X-Evil: <script>alert('header')</script>
MIME-Version: 1.0
Content-Type: multipart/mixed; boundary="b"

--b
Content-Type: text/html; charset=utf-8

<meta http-equiv="refresh" content="0;url=https://evil.test/">
<link rel="preconnect" href="https://evil.test">
<script>document.title = "owned"; top.document.title = "owned"</script>
<img src="x" onerror="document.title = 'owned'"><a href="javascript:alert('link')">x</a>
<form action="https://evil.test/"><input name="a"></form><p id="seen">shown</p>
--b
Content-Type: text/plain

</pre><script>alert('text')</script>
--b
Content-Type: image/svg+xml
Content-ID: <"><script>alert('cid')</script>>
Content-Disposition: attachment; filename="../../<script>alert('file')</script>\"\u202Egnp.exe"

<svg xmlns="http://www.w3.org/2000/svg"><script>alert('svg')</script></svg>
--b--
`

// get returns a response of the page and its body.
func (r running) get(t *testing.T, path string) (*http.Response, string) {
	t.Helper()
	resp, err := http.Get(r.page + path)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp, string(body)
}

func TestListShowsAndSearches(t *testing.T) {
	box := run(t, inbox.Options{})
	if _, body := box.get(t, "/"); !strings.Contains(body, "No mail yet") || !strings.Contains(body, "smtp://"+box.smtp) {
		t.Errorf("empty inbox: %s", body)
	}
	box.send(t, "a@b.test", []string{"bob@rcpt.test"}, plain)
	box.send(t, "a@b.test", []string{"bob@rcpt.test"}, rich)
	box.send(t, "odd@b.test", []string{"bob@rcpt.test"}, "not a mail at all\n\nx\n")
	_, body := box.get(t, "/")
	for _, want := range []string{"3 mails", "<bdi>Ann</bdi>", "Grüße", "Your order", "1 file", "broken", "odd@b.test", "Hello Bob."} {
		if !strings.Contains(body, want) {
			t.Errorf("list lacks %q", want)
		}
	}
	for query, want := range map[string]string{
		"order+caf%C3%A9": "1 of 3 mails", "GR%C3%9C%C3%9FE": "2 of 3 mails", "nowhere": "0 of 3 mails", "bob": "3 of 3 mails",
	} {
		if _, body := box.get(t, "/?q="+query); !strings.Contains(body, want) {
			t.Errorf("search %q: want %q", query, want)
		}
	}
}

func TestMailShowsItsParts(t *testing.T) {
	box := run(t, inbox.Options{})
	box.send(t, "bounce@b.test", []string{"bob@rcpt.test", "carol@müller.test", "hidden@rcpt.test"}, rich)
	for path, wants := range map[string][]string{
		"/mails/1":              {`sandbox=""`, `src="/mails/1/html"`, "bounce@b.test", "hidden@rcpt.test", "in the envelope only", "https://example.test/track"},
		"/mails/1?view=text":    {"Grüße, see", `aria-current="page">Text`},
		"/mails/1?view=amp":     {"&lt;html amp4email&gt;"},
		"/mails/1?view=headers": {"Message-ID", "Café"},
		"/mails/1?view=files":   {"Rechnung €.pdf", "/mails/1/files/4", `src="/mails/1/inline/3"`},
		"/mails/1?view=source":  {"boundary=mixed", "--alt--"},
		"/mails/1/html":         {`src="/mails/1/inline/3"`, "url(/mails/1/inline/3)"},
		"/mails/1/raw":          {"From: =?utf-8?q?Caf=C3=A9?="},
	} {
		_, body := box.get(t, path)
		for _, want := range wants {
			if !strings.Contains(body, want) {
				t.Errorf("%s lacks %q", path, want)
			}
		}
	}
	if _, body := box.get(t, "/mails/1"); strings.Contains(body, "carol@müller.test</bdi>") {
		t.Error("a Cc recipient is shown as Bcc because of the domain's spelling")
	}
	if resp, _ := box.get(t, "/mails/1/inline/4"); resp.StatusCode != http.StatusNotFound {
		t.Errorf("a PDF is served inline: %s", resp.Status)
	}
	if resp, body := box.get(t, "/mails/77"); resp.StatusCode != http.StatusNotFound || !strings.Contains(body, "Mail <bdi>77</bdi> is not here") {
		t.Errorf("unknown mail: %s", resp.Status)
	}
}

func TestUnreadableMailShowsItsSource(t *testing.T) {
	box := run(t, inbox.Options{})
	box.send(t, "odd@b.test", []string{"bob@rcpt.test"}, "not a mail <b>at all\n\nx\n")
	_, body := box.get(t, "/mails/1")
	for _, want := range []string{"not quite in order", "read the header", "not a mail &lt;b&gt;at all", `aria-current="page">Source`} {
		if !strings.Contains(body, want) {
			t.Errorf("page lacks %q", want)
		}
	}
}

func TestNothingInAMailEscapesIntoThePage(t *testing.T) {
	box := run(t, inbox.Options{})
	box.send(t, "a@b.test", []string{"x@y.test"}, hostile)
	for _, path := range []string{
		"/", "/?q=%3Cscript%3Ealert(1)%3C/script%3E", "/mails/1", "/mails/1?view=text", "/mails/1?view=headers",
		"/mails/1?view=files", "/mails/1?view=source", "/mails/%3Cscript%3Ealert(1)",
	} {
		resp, body := box.get(t, path)
		for _, bad := range []string{"<script>", "<img src=x", "javascript:alert"} {
			if strings.Contains(body, bad) && !strings.Contains(path, "source") || strings.Contains(body, "<script>alert") {
				t.Errorf("%s holds %q", path, bad)
			}
		}
		policy := resp.Header.Get("Content-Security-Policy")
		if !strings.Contains(policy, "default-src 'none'") || strings.Contains(policy, "unsafe") {
			t.Errorf("%s: policy %q", path, policy)
		}
		if resp.Header.Get("X-Content-Type-Options") != "nosniff" {
			t.Errorf("%s may be sniffed", path)
		}
	}
}

func TestHTMLOfAMailIsHarmlessOnItsOwn(t *testing.T) {
	box := run(t, inbox.Options{})
	box.send(t, "a@b.test", []string{"x@y.test"}, hostile)
	resp, body := box.get(t, "/mails/1/html")
	policy := resp.Header.Get("Content-Security-Policy")
	for _, want := range []string{"sandbox;", "default-src 'none'", "form-action 'none'", "base-uri 'none'"} {
		if !strings.Contains(policy, want) {
			t.Errorf("policy %q lacks %q", policy, want)
		}
	}
	if strings.Contains(policy, "https:") || strings.Contains(policy, "script") || strings.Contains(policy, "allow-") {
		t.Errorf("policy %q allows too much", policy)
	}
	if strings.Contains(body, "preconnect") {
		t.Error("a link that would connect is still there")
	}
	resp, _ = box.get(t, "/mails/1/html?images=remote")
	if policy := resp.Header.Get("Content-Security-Policy"); !strings.HasSuffix(policy, "img-src 'self' data: https: http:") {
		t.Errorf("with remote images: %q", policy)
	}
	resp, _ = box.get(t, "/mails/1/inline/2")
	if policy := resp.Header.Get("Content-Security-Policy"); !strings.HasPrefix(policy, "sandbox; default-src 'none'") {
		t.Errorf("SVG: %q", policy)
	}
}

func TestFilesAreDownloadsUnderSafeNames(t *testing.T) {
	box := run(t, inbox.Options{})
	name := func(header string) string {
		box.Clear()
		box.send(t, "a@b.test", []string{"x@y.test"}, "Subject: a\n"+header+"\n\nx\n")
		resp, _ := box.get(t, "/mails/"+box.Mails()[0].ID+"/files/0")
		if got := resp.Header.Get("Content-Type"); got != "application/octet-stream" {
			t.Errorf("%s: served as %s", header, got)
		}
		return resp.Header.Get("Content-Disposition")
	}
	for header, want := range map[string]string{
		`Content-Disposition: attachment; filename="a b.txt"`:                        `attachment; filename="a b.txt"`,
		`Content-Disposition: attachment; filename="../../etc/passwd"`:               `attachment; filename=passwd`,
		`Content-Disposition: attachment; filename="..\\..\\boot.ini"`:               `attachment; filename=boot.ini`,
		`Content-Disposition: attachment; filename=".bashrc"`:                        `attachment; filename=bashrc`,
		`Content-Disposition: attachment; filename="=?utf-8?q?=E2=80=AEgnp.exe?="`:   `attachment; filename=gnp.exe`,
		`Content-Disposition: attachment; filename="=?utf-8?q?a=0D=0AX-Evil:_1?="`:   `attachment; filename="aX-Evil 1"`,
		`Content-Disposition: attachment; filename*=utf-8''%E2%82%AC.pdf`:            `attachment; filename*=utf-8''%E2%82%AC.pdf`,
		`Content-Disposition: attachment; filename="/"`:                              `attachment; filename=part-0.txt`,
		"Content-Type: message/rfc822\nContent-Disposition: attachment":              `attachment; filename=part-0.eml`,
		"Content-Type: application/x-unheard-of\nContent-Disposition: attachment":    `attachment; filename=part-0.bin`,
		`Content-Disposition: attachment; filename="<script>alert(1)</script>.html"`: `attachment; filename=script.html`,
	} {
		if got := name(header); got != want {
			t.Errorf("%s: got %s, want %s", header, got, want)
		}
	}
}

func TestJSONSaysWhatCameIn(t *testing.T) {
	box := run(t, inbox.Options{})
	if _, body := box.get(t, "/api/mails"); body != "{\n  \"mails\": []\n}\n" {
		t.Errorf("empty list: %s", body)
	}
	box.send(t, "bounce@b.test", []string{"bob@rcpt.test", "hidden@rcpt.test"}, rich)
	var all struct{ Mails []map[string]any }
	resp, body := box.get(t, "/api/mails?q=order")
	if err := json.Unmarshal([]byte(body), &all); err != nil || len(all.Mails) != 1 {
		t.Fatalf("list: %v, %s", err, body)
	}
	if got := resp.Header.Get("Content-Type"); got != "application/json" {
		t.Errorf("content type %s", got)
	}
	var one struct {
		ID, Subject, Text, HTML, AMP string
		Envelope                     struct {
			From string
			To   []string
		}
		Bcc     []string
		Headers []inbox.Header
		Parts   []struct{ URL, Filename, CID string }
	}
	_, body = box.get(t, "/api/mails/1")
	if err := json.Unmarshal([]byte(body), &one); err != nil {
		t.Fatal(err)
	}
	if one.ID != "1" || one.Subject != "Your order" || one.Envelope.From != "bounce@b.test" || len(one.Envelope.To) != 2 {
		t.Errorf("mail: %+v", one)
	}
	if len(one.Bcc) != 1 || one.Bcc[0] != "hidden@rcpt.test" || len(one.Parts) != 5 || one.Parts[4].Filename != "Rechnung €.pdf" {
		t.Errorf("mail: %+v", one)
	}
	if _, content := box.get(t, one.Parts[4].URL); content != "PDF" {
		t.Errorf("part's content %q", content)
	}
	if resp, _ := box.get(t, "/api/mails/2"); resp.StatusCode != http.StatusNotFound {
		t.Errorf("unknown mail: %s", resp.Status)
	}
}

func TestOtherSitesCanNeitherReadNorDelete(t *testing.T) {
	box := run(t, inbox.Options{})
	box.send(t, "a@b.test", []string{"x@y.test"}, plain)
	do := func(method, path, host, origin string) int {
		req, err := http.NewRequestWithContext(t.Context(), method, box.page+path, nil)
		if err != nil {
			t.Fatal(err)
		}
		if host != "" {
			req.Host = host
		}
		if origin != "" {
			req.Header.Set("Origin", origin)
			req.Header.Set("Sec-Fetch-Site", "cross-site")
		}
		resp, err := http.DefaultTransport.RoundTrip(req)
		if err != nil {
			t.Fatal(err)
		}
		_ = resp.Body.Close()
		return resp.StatusCode
	}
	for host, want := range map[string]int{
		"evil.test": 403, "evil.test:80": 403, "localhost.evil.test": 403, "": 200, "localhost:1": 200, "inbox.localhost": 200, "[::1]:80": 200, "LOCALHOST": 200,
	} {
		if got := do("GET", "/api/mails", host, ""); got != want {
			t.Errorf("host %q: %d, want %d", host, got, want)
		}
	}
	for path, method := range map[string]string{"/delete": "POST", "/api/mails": "DELETE"} {
		if got := do(method, path, "", "https://evil.test"); got != http.StatusForbidden {
			t.Errorf("%s %s from elsewhere: %d", method, path, got)
		}
	}
	if got := len(box.Mails()); got != 1 {
		t.Fatalf("%d mails left, want 1", got)
	}
	if got := do("POST", "/delete", "", ""); got != http.StatusSeeOther || len(box.Mails()) != 0 {
		t.Errorf("delete all: %d, %d left", got, len(box.Mails()))
	}
	box.send(t, "a@b.test", []string{"x@y.test"}, plain)
	if got := do("DELETE", "/api/mails", "", ""); got != http.StatusNoContent || len(box.Mails()) != 0 {
		t.Errorf("delete by API: %d, %d left", got, len(box.Mails()))
	}
}

func TestEventsTellOfChanges(t *testing.T) {
	box := run(t, inbox.Options{})
	resp, err := http.Get(box.page + "/events")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	events := bufio.NewScanner(resp.Body)
	next := func() string {
		for events.Scan() {
			if data, ok := strings.CutPrefix(events.Text(), "data: "); ok {
				return data
			}
		}
		t.Fatalf("the stream ended: %v", events.Err())
		return ""
	}
	before := next()
	box.send(t, "a@b.test", []string{"x@y.test"}, plain)
	after := next()
	if before == after {
		t.Error("the version stayed the same")
	}
	if _, body := box.get(t, "/"); !strings.Contains(body, `data-version="`+after+`"`) {
		t.Errorf("the list is not of version %s", after)
	}
}
