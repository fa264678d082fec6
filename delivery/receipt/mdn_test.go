package receipt

import (
	"bytes"
	"errors"
	"reflect"
	"strings"
	"testing"
	"time"
	"unicode"
)

// crlf writes a text as mail has it.
func crlf(s string) []byte { return []byte(strings.ReplaceAll(s, "\n", "\r\n")) }

const part = `Reporting-UA: joes-pc.cs.example.com; Foomail 97.1
Original-Recipient: rfc822;Joe_Recipient@Example.COM
Final-Recipient: rfc822;joe@inner.Example.com
Original-Message-ID: <199509192301.23456@example.org>
Disposition: manual-action/MDN-sent-manually; displayed
`

// report is RFC 8098's own example (§7).
const report = `Date: Wed, 20 Sep 1995 00:19:00 +0100
From: Joe Recipient <Joe_Recipient@example.com>
Message-Id: <199509200019.12345@example.com>
Subject: Re: First draft of report
To: Jane Sender <Jane_Sender@example.org>
MIME-Version: 1.0
Content-Type: multipart/report; report-type=disposition-notification;
 boundary="RAA14128.773615765/example.com"

` + reportBody

const reportBody = `--RAA14128.773615765/example.com
Content-type: text/plain; charset=x-unknown

The message sent on 1995 Sep 19 was displayed on the screen of Joe.

--RAA14128.773615765/example.com
content-type: message/disposition-notification

` + part + `
--RAA14128.773615765/example.com
content-type: message/rfc822

Original-Message-ID: <not-this@example.org>
Disposition: x/y; deleted

--RAA14128.773615765/example.com--
`

func read() Notification {
	return Notification{
		OriginalMessageID: "<199509192301.23456@example.org>",
		FinalRecipient:    "joe@inner.example.com",
		OriginalRecipient: "Joe_Recipient@example.com",
	}
}

func TestNotificationsAreReadInEachOfTheirForms(t *testing.T) {
	dated := read()
	dated.Date = time.Date(1995, 9, 19, 23, 19, 0, 0, time.UTC)
	for name, c := range map[string]struct {
		contentType string
		body        string
		want        Notification
	}{
		"the part's body":             {"message/disposition-notification", part, read()},
		"with an empty line before":   {"message/disposition-notification", "\n" + part + "\n", read()},
		"without its last line's end": {"", strings.TrimSpace(part), read()},
		"the part with its header":    {"", "Content-Type: message/disposition-notification\n\n" + part, read()},
		"the part in base64": {
			"", "Content-Type: message/disposition-notification\nContent-Transfer-Encoding: base64\n\nRmluYWwtUmVjaXBpZW50OiBhQGIuYwpPcmlnaW5hbC1NZXNzYWdlLUlEOiA8eEB5Pg0KRGlzcG9z\naXRpb246IGF1dG9tYXRpYy1hY3Rpb24vTUROLXNlbnQtYXV0b21hdGljYWxseTsgZGlzcGxheWVkCg==\n",
			Notification{OriginalMessageID: "<x@y>", FinalRecipient: "a@b.c"},
		},
		"a whole report":         {"message/rfc822", report, dated},
		"a report called a form": {"application/x-www-form-urlencoded", report, dated},
		"a report's body":        {`multipart/report; report-type=Disposition-Notification; boundary="RAA14128.773615765/example.com"`, reportBody, read()},
	} {
		for lines, body := range map[string][]byte{"CRLF": crlf(c.body), "LF": []byte(c.body)} {
			got, err := Parse(c.contentType, body)
			if err != nil || !reflect.DeepEqual(got, c.want) {
				t.Errorf("%s, %s: got %+v, %v", name, lines, got, err)
			}
		}
	}
}

// with returns the example with a field replaced.
func with(name, value string) string {
	var out strings.Builder
	for line := range strings.Lines(part) {
		if strings.HasPrefix(line, name+":") {
			line = value
		}
		out.WriteString(line)
	}
	return out.String()
}

func TestFieldsAreReadAsProgramsWriteThem(t *testing.T) {
	for name, c := range map[string]struct {
		field, line string
		want        func(*Notification)
	}{
		"of Exchange": {"Disposition", "Disposition: automatic-action/MDN-sent-automatically; displayed\n", func(*Notification) {}},
		"in any case": {"Disposition", "DISPOSITION: Manual-Action / MDN-Sent-Manually ; DISPLAYED / Expired , x-y\n", func(*Notification) {}},
		"folded":      {"Final-Recipient", "Final-Recipient: rfc822;\n\tjoe@inner.example.com\n", func(*Notification) {}},
		"in brackets": {"Final-Recipient", "Final-Recipient: RFC822; <joe@inner.example.com>\n", func(*Notification) {}},
		"beyond ASCII": {"Final-Recipient", "Final-Recipient: utf-8; j\\x{F6}e\\x{zz@b\\x{E4}r.example\n", func(n *Notification) {
			n.FinalRecipient = `jöe\x{zz@bär.example`
		}},
		"an ID without brackets":          {"Original-Message-ID", "Original-Message-ID: 199509192301.23456@example.org\n", func(*Notification) {}},
		"an ID with a comment":            {"Original-Message-ID", "Original-Message-ID: (c) <199509192301.23456@example.org> (d)\n", func(*Notification) {}},
		"no original recipient":           {"Original-Recipient", "", func(n *Notification) { n.OriginalRecipient = "" }},
		"an original recipient elsewhere": {"Original-Recipient", "Original-Recipient: x400; c=us\n", func(n *Notification) { n.OriginalRecipient = "" }},
	} {
		want := read()
		c.want(&want)
		got, err := Parse("", []byte(with(c.field, c.line)))
		if err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("%s: got %+v, %v", name, got, err)
		}
	}
}

func TestRefusalsNameTheField(t *testing.T) {
	refused := func(field, line string) string { return with(field, line) }
	for name, c := range map[string]struct {
		body, field, remedy string
	}{
		"deleted":              {refused("Disposition", "Disposition: manual-action/MDN-sent-manually; deleted\n"), "Disposition", "not displayed"},
		"processed":            {refused("Disposition", "Disposition: automatic-action/MDN-sent-automatically; processed\n"), "Disposition", "not displayed"},
		"dispatched":           {refused("Disposition", "Disposition: a/b; dispatched\n"), "Disposition", "not displayed"},
		"displayed with error": {refused("Disposition", "Disposition: a/b; displayed/Error\n"), "Disposition", "could not be displayed"},
		"no semicolon":         {refused("Disposition", "Disposition: displayed\n"), "Disposition", "of the form"},
		"no disposition":       {refused("Disposition", ""), "Disposition", "missing"},
		"two dispositions":     {part + "Disposition: a/b; displayed\n", "Disposition", "more than once"},
		"no ID":                {refused("Original-Message-ID", ""), "Original-Message-ID", "missing"},
		"an ID that is none":   {refused("Original-Message-ID", "Original-Message-ID: <a b@c>\n"), "Original-Message-ID", "like <left@right>"},
		"no recipient":         {refused("Final-Recipient", ""), "Final-Recipient", "missing"},
		"recipient elsewhere":  {refused("Final-Recipient", "Final-Recipient: x400; c=us\n"), "Final-Recipient", "rfc822; ada@"},
		"recipient no address": {refused("Final-Recipient", "Final-Recipient: rfc822; joe\n"), "Final-Recipient", "rfc822; ada@"},
		"control characters":   {refused("Final-Recipient", "Final-Recipient: rfc822; j\x07oe@b.c\n"), "Final-Recipient", "characters"},
		"endless":              {refused("Final-Recipient", "Final-Recipient: rfc822; "+strings.Repeat("a", 1000)+"@b.c\n"), "Final-Recipient", "too long"},
		"a bounce":             {strings.ReplaceAll(report, "report-type=disposition-notification", "report-type=delivery-status"), "Content-Type", "multipart/report"},
		"a mail":               {"Subject: Hi\n\nDisposition: a/b; displayed\n", "Content-Type", "multipart/report"},
		"a report without one": {strings.ReplaceAll(report, "content-type: message/disposition-notification", "content-type: text/plain"), "body", "no part"},
		"JSON":                 {`{"a":"b"}`, "", ""},
		"nothing":              {"", "", ""},
		"too much":             {part + strings.Repeat("x", MaxBytes), "body", "more than 65536 bytes"},
		"too many fields":      {strings.Repeat("X-A: b\n", 150) + part, "body", "more than 100 fields"},
	} {
		got, err := Parse("", []byte(c.body))
		fault, ok := errors.AsType[*Fault](err)
		if !ok || !strings.Contains(fault.Problem, c.remedy) || c.field != "" && fault.Field != c.field || !reflect.DeepEqual(got, Notification{}) {
			t.Errorf("%s: got %+v, %v", name, got, err)
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add("", []byte(part))
	f.Add("message/rfc822", []byte(report))
	f.Add(`multipart/report; report-type=disposition-notification; boundary="RAA14128.773615765/example.com"`, []byte(reportBody))
	f.Add("", []byte(with("Final-Recipient", "Final-Recipient: utf-8; j\\x{D}\\x{A}@b\n")))
	f.Fuzz(func(t *testing.T, contentType string, body []byte) {
		n, err := Parse(contentType, body)
		if err != nil {
			if fault, ok := errors.AsType[*Fault](err); !ok || fault.Field == "" || fault.Problem == "" {
				t.Errorf("an error without words: %#v", err)
			}
			return
		}
		for _, v := range []string{n.OriginalMessageID, n.FinalRecipient, n.OriginalRecipient} {
			if strings.ContainsFunc(v, unicode.IsControl) || len(v) > maxValue+2 {
				t.Errorf("%q has a control character, or is endless", v)
			}
		}
		if !strings.Contains(n.FinalRecipient, "@") || !strings.Contains(n.OriginalMessageID, "@") {
			t.Errorf("accepted %+v", n)
		}
		if bytes.Count(body, []byte("@")) < 2 && !strings.Contains(strings.ToLower(string(body)), "content-transfer-encoding") {
			t.Errorf("made up an address: %q", body)
		}
	})
}
