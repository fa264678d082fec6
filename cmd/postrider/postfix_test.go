package main

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"

	"postrider/cmd/postrider/inbox"
	"postrider/smtp/smtptest"
)

// A mail that Postfix has delivered says what the document said, to a parser
// that has nothing to do with how it was made; what Postfix refuses is on the
// document, and what it bounces comes back.
func TestPostfixDeliversWhatTheDocumentSays(t *testing.T) {
	x := smtptest.StartPostfix(t)
	trust, err := json.Marshal(map[string]string{"ca": x.CA})
	if err != nil {
		t.Fatal(err)
	}
	tr := try(t, build(t), smtptest.Behaviour{}, "SMTP_CONNECTION_URI=smtp://"+x.Addr+"/?requireTLS=true", "TLS_OPTIONS="+string(trust))
	file := bytes.Repeat([]byte{0, 1, 254, 255, '\r', '\n', '.'}, 1000)
	text := "Grüße aus München\n.\n..dots\n" + strings.Repeat("a long line ", 200) + "\nFrom the end"
	tr.add("a", map[string]any{
		"to": "Ada Lövelace <ada@rcpt.test>", "cc": []any{"nobody@rcpt.test"}, "from": "Shop <ada@rcpt.test>", "replyTo": "help@sender.test",
		"headers": map[string]any{"X-Campaign": "spring"},
		"message": map[string]any{
			"subject": "Überraschung 🎉", "text": text, "html": "<p>Grüße <img src=\"cid:dot\"></p>",
			"attachments": []any{
				map[string]any{"filename": "Rechnung Nº 1.bin", "content": file},
				map[string]any{"filename": "dot.png", "content": "aGVsbG8=", "encoding": "base64", "cid": "dot"},
			},
		},
	})
	record := tr.await("a")
	info, _ := record["info"].(map[string]any)
	if record["state"] != "SUCCESS" || len(info["accepted"].([]any)) != 1 || len(info["rejected"].([]any)) != 1 {
		t.Fatalf("%v", record)
	}
	got := inbox.Parse(x.Next("Überraschung 🎉"))
	for name, want := range map[string]string{
		"Subject": "Überraschung 🎉", "To": "Ada Lövelace <ada@rcpt.test>", "Reply-To": "help@sender.test",
		"X-Campaign": "spring", "Message-Id": info["messageId"].(string),
	} {
		if value := got.Header(name); value != want {
			t.Errorf("%s: %q, want %q", name, value, want)
		}
	}
	if got.Text != text || got.HTML != "<p>Grüße <img src=\"cid:dot\"></p>" || len(got.Problems) > 0 {
		t.Errorf("text %q\nHTML %q\nproblems %v", got.Text, got.HTML, got.Problems)
	}
	if len(got.Parts) != 4 {
		t.Fatalf("%d parts", len(got.Parts))
	}
	dot, invoice := got.Parts[2], got.Parts[3]
	if dot.CID != "dot" || !dot.Inline || string(dot.Content) != "hello" {
		t.Errorf("%+v", dot)
	}
	if invoice.Filename != "Rechnung Nº 1.bin" || !bytes.Equal(invoice.Content, file) {
		t.Errorf("%q with %d bytes", invoice.Filename, len(invoice.Content))
	}
	tr.add("b", map[string]any{"to": "nobody@rcpt.test", "message": message("s", "t")})
	if record := tr.await("b"); record["state"] != "ERROR" || !strings.Contains(record["error"].(string), "550 5.1.1 <nobody@rcpt.test>") {
		t.Errorf("%v", record)
	}
	tr.add("c", map[string]any{"to": "moved@rcpt.test", "from": "ada@rcpt.test", "message": message("s", "t")})
	if record := tr.await("c"); record["state"] != "SUCCESS" {
		t.Errorf("%v", record)
	}
	if bounce := x.Next("Undelivered Mail Returned to Sender"); !bytes.Contains(bounce, []byte("moved away")) {
		t.Errorf("the bounce: %s", bounce)
	}
}
