package api

import (
	"encoding/json"
	"net/http"
	"slices"
	"strings"
	"testing"

	"postrider/delivery"
)

// Whatever is sent in, the answer is 202 or one that names what is wrong, and what
// is taken in is a document that can be read, with the addresses that were given.
func FuzzSend(f *testing.F) {
	for _, name := range []string{"2021-least", "2021-all", "2023-least", "2023-all", "2025-least", "2025-all"} {
		for _, version := range []string{email2021, emailGA, email2025} {
			f.Add(version, read(f, name), "", "")
		}
	}
	f.Add(email2021, `{"sender":"a@example.net","recipients":{"Cc":[{"email":"ä@b.test","displayName":"\"<x@y.test>,"}]},"content":{"subject":"","html":"x"}}`, aKey, aDate)
	f.Add(emailGA, `{"senderAddress":"a@example.net","recipients":{"bcc":[{"address":"a@ü.test","displayName":"\\"}]},"content":{"subject":"","html":"x"},"headers":{"key":"X","value":"a@b"}}`, "k", "")
	f.Fuzz(func(t *testing.T, version, body, key, first string) {
		if version != email2021 && version != email2025 {
			version = emailGA
		}
		headers := []string{headerOperation, key}
		if version == email2021 {
			headers = []string{headerRequest, key, headerFirst, first}
		}
		checkSend(t, version, body, headers...)
	})
}

// FuzzSendValues is FuzzSend with what stands in the fields.
func FuzzSendValues(f *testing.F) {
	f.Add("ada@example.org", "Lovelace, Ada", "Hi", "X-A", "b", "a.txt", "text/plain; charset=utf-8", "QQ==", "logo")
	f.Add("ä@ü.test", `"\\" <x@y.test>, `, "", "key", "a@b", "ü", "message/rfc822", "", "a@b")
	f.Add("a@b.test\r\nc@d.test", "a\r\nBcc: x@y.test", "a\nb", "X-A: b\r\nX-B", "\t", "\x00", "multipart/mixed", "Q", "<a>")
	f.Fuzz(func(t *testing.T, address, name, subject, header, value, file, kind, content, cid string) {
		for _, version := range []string{email2021, email2025} {
			m := map[string]any{
				"senderAddress": "news@example.com", "sender": "news@example.com",
				"content":     map[string]any{"subject": subject, "plainText": "x" + name},
				"recipients":  map[string]any{"to": []any{map[string]any{"email": address, "address": address, "displayName": name}}},
				"headers":     map[string]any{header: value},
				"replyTo":     []any{map[string]any{"email": address, "address": address, "displayName": name}},
				"attachments": []any{map[string]any{"name": file, "contentType": kind, "attachmentType": kind, "contentInBase64": content, "contentBytesBase64": content, "contentId": cid}},
			}
			if version == email2021 {
				m["headers"] = []any{map[string]any{"name": header, "value": value}}
			}
			body, err := json.Marshal(m)
			if err != nil {
				t.Fatal(err)
			}
			checkSend(t, version, string(body))
		}
	})
}

// checkSend hands in a body.
func checkSend(t *testing.T, version, body string, headers ...string) {
	t.Helper()
	var s shelf
	answer, said := post(t, sending(&s), version, body, headers...)
	fault, _ := said["error"].(map[string]any)
	switch {
	case answer.StatusCode == http.StatusAccepted:
	case answer.StatusCode >= 400 && answer.StatusCode < 500 && fault["code"] != "" && fault["message"] != "" && len(s.docs) == 0:
		return
	default:
		t.Fatalf("%d %v", answer.StatusCode, said)
	}
	_, fields := s.only(t)
	d, err := delivery.Decode(fields)
	if err != nil {
		t.Fatalf("the document %v: %v", fields, err)
	}
	given := map[string]any{}
	if err := json.Unmarshal([]byte(body), &given); err != nil {
		t.Fatal(err)
	}
	for name, list := range map[string][]string{"to": d.To, "cc": d.Cc, "bcc": d.Bcc} {
		if want := addressesIn(given, version, name); !slices.Equal(bare(list), want) {
			t.Fatalf("%s: %q, want %q", name, list, want)
		}
	}
	for _, h := range d.Headers {
		if strings.ContainsAny(h.Name+h.Value, "\r\n") {
			t.Fatalf("a header of two lines: %q", h)
		}
	}
}

// addressesIn returns the addresses of a list in a body.
func addressesIn(body map[string]any, version, list string) []string {
	address := "address"
	if version == email2021 {
		address = "email"
	}
	recipients, _ := body["recipients"].(map[string]any)
	var names, all []string
	for name := range recipients {
		if name == list || version == email2021 && list != "to" && strings.EqualFold(name, list) {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	for _, name := range names {
		list, _ := recipients[name].([]any)
		for _, e := range list {
			all = append(all, e.(map[string]any)[address].(string))
		}
	}
	return all
}

// bare returns what is addressed in mailboxes whose names are quoted.
func bare(mailboxes []string) []string {
	var all []string
	for _, m := range mailboxes {
		if strings.HasPrefix(m, `"`) {
			end := 1
			for ; m[end] != '"'; end++ {
				if m[end] == '\\' {
					end++
				}
			}
			m = strings.TrimSuffix(strings.TrimPrefix(m[end+1:], " <"), ">")
		}
		all = append(all, m)
	}
	return all
}
