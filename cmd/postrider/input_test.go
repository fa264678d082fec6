package main

import (
	"bytes"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"postrider/smtp/smtptest"
)

func message(subject, text string) map[string]any {
	return map[string]any{"subject": subject, "text": text}
}

// What a sender may get wrong ends on the document in a sentence, and harms no
// other mail.
func TestBadDocumentsEndInAClearError(t *testing.T) {
	tr := try(t, build(t), smtptest.Behaviour{}, "TEMPLATE_TIMEOUT=500ms", "ATTACHMENT_ALLOW_HOSTS=127.0.0.1", "ATTACHMENT_MAX_BYTES=1000")
	template := func(name string, fields map[string]any) {
		if _, err := tr.client.Collection("templates").Doc(name).Set(t.Context(), fields); err != nil {
			t.Fatal(err)
		}
	}
	template("endless", map[string]any{"subject": "s", "text": "{{#each a}}{{#each ../a}}{{#each ../../a}}{{#each ../../../a}}x{{/each}}{{/each}}{{/each}}{{/each}}"})
	template("itself", map[string]any{"partial": true, "text": "{{> itself}}"})
	template("recursive", map[string]any{"subject": "s", "text": "{{> itself}}"})
	template("broken", map[string]any{"subject": map[string]any{"a": 1}})
	large := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(make([]byte, 2000)) }))
	defer large.Close()
	many := make([]any, 300)

	cases := map[string]struct {
		document map[string]any
		says     string
	}{
		"nothing to send":      {map[string]any{"to": "a@b.test"}, "Document is incomplete"},
		"nobody to send to":    {map[string]any{"to": "", "message": message("s", "t")}, "Email must have at least one recipient"},
		"no such address":      {map[string]any{"to": "nonsense", "message": message("s", "t")}, "No recipients defined"},
		"a subject of bytes":   {map[string]any{"to": "a@b.test", "message": map[string]any{"subject": []byte{0xff}, "text": "t"}}, "Field 'message.subject' must be a string"},
		"no room for a record": {map[string]any{"to": "a@b.test", "message": message("s", strings.Repeat("x", 1<<20-5000))}, "Document is too large"},
		"a template that would run for hours": {
			map[string]any{"to": "a@b.test", "template": map[string]any{"name": "endless", "data": map[string]any{"a": many}}}, "endless",
		},
		"a template that calls itself": {map[string]any{"to": "a@b.test", "template": map[string]any{"name": "recursive"}}, "Error"},
		"a template of another type":   {map[string]any{"to": "a@b.test", "template": map[string]any{"name": "broken"}}, "broken"},
		"a template that is missing":   {map[string]any{"to": "a@b.test", "template": map[string]any{"name": "none"}}, "Template 'none' does not exist"},
		"a line too many in an address": {
			map[string]any{"to": "a@b.test\r\nBcc: x@b.test", "message": message("s", "t")}, "line break",
		},
		"a local file": {
			map[string]any{"to": "a@b.test", "message": map[string]any{"subject": "s", "text": "t", "attachments": []any{map[string]any{"path": "/etc/passwd"}}}}, "local file",
		},
		"an address within the network": {
			map[string]any{"to": "a@b.test", "message": map[string]any{"subject": "s", "text": "t", "attachments": []any{map[string]any{"path": "http://169.254.169.254/computeMetadata/v1/"}}}}, "message.attachments[0]",
		},
		"an attachment too large": {
			map[string]any{"to": "a@b.test", "message": map[string]any{"subject": "s", "text": "t", "attachments": []any{map[string]any{"path": large.URL}}}}, "larger than allowed",
		},
		"a delivery field without a state": {map[string]any{"to": "a@b.test", "message": message("s", "t"), "delivery": "PENDING"}, "Field 'delivery' must be a map"},
	}
	ids := map[string]string{}
	for name, c := range cases {
		ids[name] = fmt.Sprintf("bad%d", len(ids))
		tr.add(ids[name], c.document)
	}
	tr.add("good", map[string]any{"to": "good@b.test", "message": message("s", "t")})
	if got := tr.await("good")["state"]; got != "SUCCESS" {
		t.Errorf("a good mail among them ended in %v", got)
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			record := tr.await(ids[name])
			outcome, _ := record["outcome"].(map[string]any)
			if record["state"] != "ERROR" || !strings.Contains(fmt.Sprint(record["error"]), c.says) {
				t.Errorf("got %v, want an error with %q", record, c.says)
			}
			if outcome["explain"] == "" || outcome["class"] == "" || outcome["phase"] == "" {
				t.Errorf("outcome %v", outcome)
			}
		})
	}
	if n := len(tr.server.Transactions()); n != 1 {
		t.Errorf("%d mails were sent", n)
	}
}

// What is large or odd, but allowed, arrives as it was written.
func TestLargeAndOddDocumentsAreSent(t *testing.T) {
	file := bytes.Repeat([]byte("0123456789abcdef"), 20<<20/16)
	files := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(file) }))
	defer files.Close()
	tr := try(t, build(t), smtptest.Behaviour{Caps: []string{"PIPELINING", "8BITMIME", "SMTPUTF8"}}, "ATTACHMENT_ALLOW_HOSTS=127.0.0.1")
	var everybody []any
	for i := range 500 {
		everybody = append(everybody, fmt.Sprintf("user%d@rcpt.test", i))
	}
	long := strings.Repeat("x", 900_000)
	tr.add("everybody", map[string]any{"to": everybody, "message": message("s", "t")})
	tr.add("long", map[string]any{"to": "long@rcpt.test", "message": message("s", long)})
	tr.add("nul", map[string]any{"to": "nul@rcpt.test", "message": message("a\x00b", "t\x00t")})
	tr.add("attached", map[string]any{"to": "attached@rcpt.test", "message": map[string]any{
		"subject": "s", "text": "t", "attachments": []any{map[string]any{"filename": "f.bin", "path": files.URL}},
	}})
	for _, id := range []string{"everybody", "long", "nul", "attached"} {
		if record := tr.await(id); record["state"] != "SUCCESS" {
			t.Errorf("%s: %v", id, record["error"])
		}
	}
	if info := tr.await("everybody")["info"].(map[string]any); len(info["accepted"].([]any)) != 500 {
		t.Errorf("%d accepted", len(info["accepted"].([]any)))
	}
	for _, m := range tr.server.Transactions() {
		if head, _, ok := bytes.Cut(m.Data, []byte("\r\n\r\n")); !ok || bytes.ContainsRune(head, 0) {
			t.Errorf("header %q", head)
		}
	}
}

// A server that hangs, closes or talks nonsense, at whichever step, leaves the
// document with an error that says so, and never in PROCESSING.
func TestBadServersEndInAClearError(t *testing.T) {
	bin := build(t)
	servers := map[string]smtptest.Behaviour{
		"nonsense for a greeting": {Greeting: "hello there"},
		"nonsense for EHLO":       {Ehlo: "yes?"},
		"nonsense for MAIL":       {Mail: smtptest.Replies{"2x0 what"}},
		"nonsense for RCPT":       {RcptDefault: smtptest.Replies{"ok then"}},
		"nonsense for DATA":       {Data: smtptest.Replies{"\x00\xff"}},
		"nonsense for the mail":   {DataEnd: smtptest.Replies{"thanks"}},
		"another code for DATA":   {Data: smtptest.Replies{"250 ok"}},
	}
	for _, stage := range []string{"greeting", "ehlo", "mail", "rcpt", "data", "dataEnd"} {
		servers["hangs at "+stage] = smtptest.Behaviour{HangAt: stage}
		servers["closes at "+stage] = smtptest.Behaviour{DropAt: stage}
	}
	for name, b := range servers {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			tr := try(t, bin, b, "SMTP_GREETING_TIMEOUT=1s", "SMTP_SOCKET_TIMEOUT=1s")
			tr.add("a", map[string]any{"to": "a@b.test", "message": message("s", "t")})
			record := tr.await("a")
			outcome, _ := record["outcome"].(map[string]any)
			if record["state"] != "ERROR" || !strings.HasPrefix(fmt.Sprint(record["error"]), "Error: ") || outcome["explain"] == "" {
				t.Errorf("%v", record)
			}
			unanswered := strings.HasSuffix(name, "dataEnd") || name == "nonsense for the mail"
			if (outcome["class"] == "unknown") != unanswered {
				t.Errorf("class %v, error %v", outcome["class"], record["error"])
			}
		})
	}
}

func TestAllFaultsOfTheSettingsAreReportedAtOnce(t *testing.T) {
	cmd := command(t, build(t), "127.0.0.1:1", "p", "127.0.0.1:1", "run")
	cmd.Env = append(cmd.Env, "PORT=http", "TTL_EXPIRE_TYPE=fortnight", "TLS_OPTIONS={", "CONCURRENCY=0", "LEASE_MARGIN=2h", "SMTP_PASSWORD=geheim")
	out, err := cmd.CombinedOutput()
	if err == nil || cmd.ProcessState.ExitCode() != 2 {
		t.Errorf("exit %v", err)
	}
	for _, name := range []string{"PORT", "TTL_EXPIRE_TYPE", "TLS_OPTIONS", "CONCURRENCY", "LEASE_MARGIN"} {
		if !strings.Contains(string(out), name) {
			t.Errorf("%s is not named in\n%s", name, out)
		}
	}
	if strings.Contains(string(out), "geheim") {
		t.Errorf("the password is in\n%s", out)
	}
}
