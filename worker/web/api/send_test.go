package api

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"reflect"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/rs/zerolog"

	"postrider/delivery"
)

// shelf is a mail collection whose writes may fail, or be applied without an
// answer.
type shelf struct {
	mu      sync.Mutex
	docs    map[string]delivery.Fields
	creates int
	reads   int
	fail    error // instead of a write
	mute    error // after a write
	blind   error // instead of a read
}

func (s *shelf) Now() time.Time { return noon }

func (s *shelf) Create(_ context.Context, id string, f delivery.Fields) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.creates++
	switch {
	case s.fail != nil:
		return s.fail
	case s.docs[id] != nil:
		return fmt.Errorf("add document: %w", delivery.ErrConflict)
	case s.docs == nil:
		s.docs = map[string]delivery.Fields{}
	}
	s.docs[id] = f
	return s.mute
}

func (s *shelf) Status(_ context.Context, id string) (delivery.Snapshot, time.Time, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.reads++
	switch {
	case s.blind != nil:
		return delivery.Snapshot{}, time.Time{}, s.blind
	case s.docs[id] == nil:
		return delivery.Snapshot{}, time.Time{}, delivery.ErrGone
	}
	return delivery.Snapshot{ID: id, Fields: s.docs[id], UpdateTime: noon}, noon, nil
}

// sending returns an API that adds mails to a shelf.
func sending(s *shelf) *API {
	return &API{Options: Options{
		Mails: s, Senders: []string{"news@example.com", "example.net"}, Log: zerolog.Nop(),
		Pace: func() time.Duration { return 3 * time.Second },
	}}
}

// post hands in a body, with headers in pairs, and returns the answer as a client
// sees it.
func post(t testing.TB, a *API, version, body string, headers ...string) (*http.Response, map[string]any) {
	t.Helper()
	r := httptest.NewRequest(http.MethodPost, "/emails:send?api-version="+version, nil)
	for i := 0; i < len(headers); i += 2 {
		r.Header.Add(headers[i], headers[i+1])
	}
	found := &route{name: "send", dialect: email}
	answer, err := a.send(t.Context(), &call{request: r, version: version, body: []byte(body), base: "https://mail.example.com", dialect: email})
	w := httptest.NewRecorder()
	a.write(w, found, answer, err)
	var v map[string]any
	if w.Body.Len() > 0 {
		if err := json.Unmarshal(w.Body.Bytes(), &v); err != nil {
			t.Errorf("the answer %q: %v", w.Body, err)
		}
	}
	return w.Result(), v
}

// only returns the one document there is, and its ID.
func (s *shelf) only(t testing.TB) (string, delivery.Fields) {
	t.Helper()
	for id, f := range s.docs {
		if len(s.docs) == 1 {
			return id, f
		}
	}
	t.Fatalf("there are %d documents", len(s.docs))
	return "", nil
}

func read(t testing.TB, name string) string {
	t.Helper()
	text, err := os.ReadFile("testdata/send/" + name + ".json")
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// The bodies are what Azure's clients for JavaScript send: @azure/communication-email
// 1.0.0-beta.1, 1.0.0 and 1.1.0.
func TestDocumentsAreWhatTheClientsAskFor(t *testing.T) {
	for name, version := range map[string]string{
		"2021-least": email2021, "2021-all": email2021,
		"2023-least": emailGA, "2023-all": email2023,
		"2025-least": email2025, "2025-all": email2025,
	} {
		var s shelf
		if answer, body := post(t, sending(&s), version, read(t, name)); answer.StatusCode != http.StatusAccepted {
			t.Errorf("%s: %d, %v", name, answer.StatusCode, body)
			continue
		}
		_, f := s.only(t)
		var got, want any
		text, _ := json.MarshalIndent(f, "", "  ")
		if err := errors.Join(json.Unmarshal(text, &got), json.Unmarshal([]byte(read(t, name+".document")), &want)); err != nil {
			t.Fatal(err)
		}
		if !reflect.DeepEqual(got, want) {
			t.Errorf("%s: the document is\n%s", name, text)
		}
		if _, err := delivery.Decode(f); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestAnswersOfTheVersions(t *testing.T) {
	var s shelf
	a := sending(&s)
	const id = "8c1a1b2e-6a0d-4d3c-9d7e-0f6f3b2a1c00"
	for range 2 { // the same answer when the same is asked again
		answer, body := post(t, a, email2021, read(t, "2021-least"), headerRequest, id, headerFirst, "Tue, 26 Mar 2019 16:06:51 GMT")
		want := http.Header{
			"X-Ms-Request-Id": {id}, "Repeatability-Result": {"accepted"}, "Retry-After": {"3"},
			"Operation-Location": {"https://mail.example.com/emails/" + id + "/status?api-version=2021-10-01-preview"},
		}
		for name := range want {
			if got := answer.Header.Values(name); !reflect.DeepEqual(got, want[name]) {
				t.Errorf("2021: %s is %q", name, got)
			}
		}
		if answer.StatusCode != http.StatusAccepted || body != nil {
			t.Errorf("2021: %d %v", answer.StatusCode, body)
		}
		answer, body = post(t, a, emailGA, read(t, "2023-least"), headerOperation, "my-mail.1~_")
		if got := answer.Header.Get("Operation-Location"); got != "https://mail.example.com/emails/operations/my-mail.1~_?api-version=2023-03-31" {
			t.Errorf("2023: Operation-Location is %q", got)
		}
		if answer.StatusCode != http.StatusAccepted || !reflect.DeepEqual(body, map[string]any{"id": "my-mail.1~_", "status": "NotStarted"}) {
			t.Errorf("2023: %d %v", answer.StatusCode, body)
		}
		if answer.Header.Get("Retry-After") != "3" || answer.Header.Get(headerResult) != "" {
			t.Errorf("2023: %v", answer.Header)
		}
	}
	if len(s.docs) != 2 {
		t.Errorf("there are %d documents", len(s.docs))
	}
}

// mails returns a body of 2023-03-31 after an edit.
func mails(edit func(m map[string]any)) string {
	m := map[string]any{
		"senderAddress": "news@example.com",
		"content":       map[string]any{"subject": "Hi", "plainText": "Hello"},
		"recipients":    map[string]any{"to": []any{map[string]any{"address": "ada@example.org"}}},
	}
	edit(m)
	text, _ := json.Marshal(m)
	return string(text)
}

// to returns recipients with one address and its display name.
func to(address, name any) map[string]any {
	return map[string]any{"to": []any{map[string]any{"address": address, "displayName": name}}}
}

func files(file map[string]any) []any {
	all := map[string]any{"name": "a", "contentType": "text/plain", "contentInBase64": "QQ=="}
	maps.Copy(all, file)
	return []any{all}
}

func TestRefusalsNameTheField(t *testing.T) {
	with := func(name string, v any) string { return mails(func(m map[string]any) { m[name] = v }) }
	without := func(name string) string { return mails(func(m map[string]any) { delete(m, name) }) }
	content := func(c map[string]any) string { return with("content", c) }
	for name, c := range map[string]struct{ body, target string }{
		"nothing":                    {"", ""},
		"no JSON":                    {"{", ""},
		"an array":                   {"[]", ""},
		"null":                       {"null", ""},
		"more than an object":        {mails(func(map[string]any) {}) + "{}", ""},
		"no sender":                  {without("senderAddress"), "senderAddress"},
		"sender of the wrong type":   {with("senderAddress", 1), "senderAddress"},
		"sender with a name":         {with("senderAddress", "News <news@example.com>"), "senderAddress"},
		"sender not allowed":         {with("senderAddress", "boss@example.com"), "senderAddress"},
		"no recipients":              {without("recipients"), "recipients"},
		"recipients in a list":       {with("recipients", []any{}), "recipients"},
		"empty recipients":           {with("recipients", map[string]any{"to": []any{}, "cc": nil}), "recipients"},
		"CC is of 2021 alone":        {with("recipients", map[string]any{"CC": []any{map[string]any{"address": "a@b.test"}}}), "recipients"},
		"to no list":                 {with("recipients", map[string]any{"to": "ada@example.org"}), "recipients.to"},
		"to a list of strings":       {with("recipients", map[string]any{"to": []any{"ada@example.org"}}), "recipients.to[0]"},
		"email is of 2021":           {with("recipients", map[string]any{"to": []any{map[string]any{"email": "a@b.test"}}}), "recipients.to[0].address"},
		"address of the wrong type":  {with("recipients", to(true, nil)), "recipients.to[0].address"},
		"empty address":              {with("recipients", to("", nil)), "recipients.to[0].address"},
		"name in address":            {with("recipients", to("Ada <ada@example.org>", nil)), "recipients.to[0].address"},
		"brackets in address":        {with("recipients", to("<ada@example.org>", nil)), "recipients.to[0].address"},
		"two addresses":              {with("recipients", to("a@b.test,c@d.test", nil)), "recipients.to[0].address"},
		"two addresses in lines":     {with("recipients", to("a@b.test\nc@d.test", nil)), "recipients.to[0].address"},
		"address with a space":       {with("recipients", to(" a@b.test", nil)), "recipients.to[0].address"},
		"address with a wide space":  {with("recipients", to("a\u3000b@b.test", nil)), "recipients.to[0].address"},
		"address without a width":    {with("recipients", to("a\ufeff@b.test", nil)), "recipients.to[0].address"},
		"address with a comment":     {with("recipients", to("a@b.test (x)", nil)), "recipients.to[0].address"},
		"quoted address":             {with("recipients", to(`"a b"@b.test`, nil)), "recipients.to[0].address"},
		"address of a group":         {with("recipients", to("all:a@b.test;", nil)), "recipients.to[0].address"},
		"address that is encoded":    {with("recipients", to("=?utf-8?q?x=40evil.test=3E?=@b.test", nil)), "recipients.to[0].address"},
		"address at a number":        {with("recipients", to("a@[127.0.0.1]", nil)), "recipients.to[0].address"},
		"address at no domain":       {with("recipients", to("a@b!c", nil)), "recipients.to[0].address"},
		"long local part":            {with("recipients", to(strings.Repeat("a", 65)+"@b.test", nil)), "recipients.to[0].address"},
		"long domain":                {with("recipients", to("a@"+strings.Repeat("b.", 130)+"test", nil)), "recipients.to[0].address"},
		"header in a name":           {with("recipients", to("a@b.test", "Ada\r\nBcc: x@y.test")), "recipients.to[0].displayName"},
		"line separator in a name":   {with("recipients", to("a@b.test", "Ada\u2028x")), "recipients.to[0].displayName"},
		"name of the wrong type":     {with("recipients", to("a@b.test", 1)), "recipients.to[0].displayName"},
		"bad reply address":          {with("replyTo", []any{map[string]any{"address": "help"}}), "replyTo[0].address"},
		"no content":                 {without("content"), "content.subject"},
		"content of the wrong type":  {with("content", "Hello"), "content"},
		"no subject":                 {content(map[string]any{"html": "x"}), "content.subject"},
		"subject of two lines":       {content(map[string]any{"subject": "a\nBcc: x@y.test", "html": "x"}), "content.subject"},
		"neither text nor html":      {content(map[string]any{"subject": "a", "plainText": "", "html": nil}), "content"},
		"html of the wrong type":     {content(map[string]any{"subject": "a", "html": 1}), "content.html"},
		"headers in a list":          {with("headers", []any{}), "headers"},
		"header of the wrong type":   {with("headers", map[string]any{"X-A": 1}), "headers.X-A"},
		"header without a value":     {with("headers", map[string]any{"X-A": nil}), "headers.X-A"},
		"header with two lines":      {with("headers", map[string]any{"X-A": "a\r\nBcc: x@y.test"}), "headers.X-A"},
		"header with a colon":        {with("headers", map[string]any{"X-A: b\r\nX-B": "c"}), "headers.X-A: b\r\nX-B"},
		"header that is a recipient": {with("headers", map[string]any{"bCC": "x@y.test"}), "headers.bCC"},
		"header of a second sender":  {with("headers", map[string]any{"Resent-From": "x@y.test"}), "headers.Resent-From"},
		"header that is a sender":    {with("headers", map[string]any{"Sender": "x@y.test"}), "headers.Sender"},
		"header that is no ID":       {with("headers", map[string]any{"Message-Id": "x"}), "headers.Message-Id"},
		"attachments in a map":       {with("attachments", map[string]any{}), "attachments"},
		"attachment without a name":  {with("attachments", files(map[string]any{"name": nil})), "attachments[0].name"},
		"name of two lines":          {with("attachments", files(map[string]any{"name": "a\nb"})), "attachments[0].name"},
		"attachment without content": {with("attachments", files(map[string]any{"contentInBase64": nil})), "attachments[0].contentInBase64"},
		"content without padding":    {with("attachments", files(map[string]any{"contentInBase64": "QQ"})), "attachments[0].contentInBase64"},
		"content of base64url":       {with("attachments", files(map[string]any{"contentInBase64": "_-8="})), "attachments[0].contentInBase64"},
		"content with loose bits":    {with("attachments", files(map[string]any{"contentInBase64": "QR=="})), "attachments[0].contentInBase64"},
		"type that is none":          {with("attachments", files(map[string]any{"contentType": "pdf"})), "attachments[0].contentType"},
		"type with a header":         {with("attachments", files(map[string]any{"contentType": "text/plain\r\nX-A: b"})), "attachments[0].contentType"},
		"type of two lines":          {with("attachments", files(map[string]any{"contentType": "text/plain;\r\n\r\nx=y"})), "attachments[0].contentType"},
		"type of several files":      {with("attachments", files(map[string]any{"contentType": "Multipart/mixed"})), "attachments[0].contentType"},
		"content ID with brackets":   {with("attachments", files(map[string]any{"contentId": "<a>"})), "attachments[0].contentId"},
	} {
		var s shelf
		answer, body := post(t, sending(&s), email2025, c.body)
		fault, _ := body["error"].(map[string]any)
		target, _ := fault["target"].(string)
		if answer.StatusCode != http.StatusBadRequest || target != c.target || fault["message"] == "" || s.creates > 0 {
			t.Errorf("%s: %d %v", name, answer.StatusCode, body)
		}
		if answer.Header.Get("X-Ms-Error-Code") != fault["code"] {
			t.Errorf("%s: x-ms-error-code is %q", name, answer.Header.Get("X-Ms-Error-Code"))
		}
	}
}

func TestRefusalsOf2021NameTheField(t *testing.T) {
	file := func(kind string) string {
		return strings.TrimSuffix(read(t, "2021-least"), "}") + `,"attachments":[{"name":"a","contentBytesBase64":"QQ==","attachmentType":` + kind + `}]}`
	}
	for name, c := range map[string]struct{ body, target string }{
		"senderAddress is of 2023":  {strings.Replace(read(t, "2021-least"), "sender", "senderAddress", 1), "sender"},
		"address is of 2023":        {strings.Replace(read(t, "2021-least"), "email", "address", 1), "recipients.to[0].email"},
		"importance of no kind":     {strings.Replace(read(t, "2021-all"), `"high"`, `"urgent"`, 1), "importance"},
		"header without a name":     {strings.Replace(read(t, "2021-all"), `"name":"X-Campaign"`, `"name":""`, 1), "headers[0].name"},
		"header that is a sender":   {strings.Replace(read(t, "2021-all"), `"name":"X-Campaign"`, `"name":"from"`, 1), "headers[0]"},
		"attachment of no kind":     {file(`"exe"`), "attachments[0].attachmentType"},
		"attachment of a bad type":  {file(`"text/"`), "attachments[0].attachmentType"},
		"attachment without a type": {file(`null`), "attachments[0].attachmentType"},
	} {
		var s shelf
		answer, body := post(t, sending(&s), email2021, c.body)
		fault, _ := body["error"].(map[string]any)
		if answer.StatusCode != http.StatusBadRequest || fault["target"] != c.target || s.creates > 0 {
			t.Errorf("%s: %d %v", name, answer.StatusCode, body)
		}
	}
}

func TestTooLargeAMailIsRefused(t *testing.T) {
	for name, c := range map[string]struct {
		length int
		want   int
	}{
		"fits":         {maxDocument - 1<<10, http.StatusAccepted},
		"is too large": {maxDocument, http.StatusRequestEntityTooLarge},
	} {
		var s shelf
		body := mails(func(m map[string]any) {
			m["content"] = map[string]any{"subject": "", "plainText": strings.Repeat("x", c.length)}
		})
		if answer, _ := post(t, sending(&s), emailGA, body); answer.StatusCode != c.want {
			t.Errorf("%s: %d", name, answer.StatusCode)
		}
	}
}

func TestCopiesOf2021InAnyCase(t *testing.T) {
	var s shelf
	body := `{"sender":"news@example.com","content":{"subject":"","html":"x"},"recipients":{"CC":[{"email":"a@b.test"}],"cc":[{"email":"c@d.test"}],"Bcc":[{"email":"e@f.test"}]}}`
	if answer, refusal := post(t, sending(&s), email2021, body); answer.StatusCode != http.StatusAccepted {
		t.Fatal(refusal)
	}
	_, f := s.only(t)
	if !reflect.DeepEqual(f["cc"], []any{"a@b.test", "c@d.test"}) || !reflect.DeepEqual(f["bcc"], []any{"e@f.test"}) || f["to"] != nil {
		t.Error(f)
	}
}

func TestWhoMayBeASender(t *testing.T) {
	senders := []string{"news@example.com", "äsk@example.com", "example.net", "xn--mller-kva.example", "*.example.org"}
	for address, want := range map[string]bool{
		"news@example.com":           true,
		"NEWS@EXAMPLE.COM":           true,
		"boss@example.com":           false,
		"news@mail.example.com":      false,
		"news@example.com.evil.test": false,
		"anybody@example.net":        true,
		"anybody@EXAMPLE.net":        true,
		"anybody@sub.example.net":    false,
		"anybody@evilexample.net":    false,
		"a@müller.example":           true,
		"a@MÜLLER.example":           true,
		"a@xn--mller-kva.example":    true,
		"example.net":                false,
		"@example.net":               false,
		"a@example.net@evil.test":    false,
		"new\u017f@example.com":      false, // a long s, whose upper case is S
		"Äsk@example.com":            true,
		"äs\u212a@example.com":       false, // the sign of the Kelvin, whose lower case is k
		"a@mail.example.org":         true,
		"a@a.mail.Example.org":       true,
		"a@example.org":              false,
		"a@evilexample.org":          false,
		"a@*.example.org":            false,
		"a@.example.org":             false,
		"a@example\u3002net":         false,
		"a@\u212aexample.net":        false,
		"":                           false,
		"news@example.com\n":         false,
		"a@example.net.":             false,
	} {
		if got := allowed(senders, address); got != want {
			t.Errorf("%q: %v", address, got)
		}
	}
	if allowed(nil, "news@example.com") {
		t.Error("without senders anybody may be one")
	}
}

func TestPriorityIsTheDocumentsOwnFirst(t *testing.T) {
	own := []field{{"importance", "low"}}
	for name, c := range map[string]struct {
		m    message
		want []field
	}{
		"normal": {message{}, nil},
		"high":   {message{importance: "high"}, []field{{"Importance", "high"}, {"X-Priority", "1"}}},
		"low":    {message{importance: "low"}, []field{{"Importance", "low"}, {"X-Priority", "5"}}},
		"own":    {message{importance: "high", headers: own}, nil},
	} {
		if got := c.m.priority(); !reflect.DeepEqual(got, c.want) {
			t.Errorf("%s: %v", name, got)
		}
	}
}
