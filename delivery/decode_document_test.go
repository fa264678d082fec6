package delivery

import (
	"errors"
	"fmt"
	"reflect"
	"strings"
	"testing"
	"time"
	"unicode/utf8"
)

// everything returns a document with every field.
func everything() Fields {
	return Fields{
		"to":      "ada@rcpt.test, bob@rcpt.test",
		"cc":      []any{"cara@rcpt.test"},
		"bcc":     []any{},
		"toUids":  []any{"u1", "u2"},
		"ccUids":  []any{},
		"from":    "Me <me@sender.test>",
		"replyTo": "r@sender.test",
		"headers": Fields{"X-B": int64(5), "X-A": []any{"1", true}, "X-None": nil},
		"message": Fields{
			"subject": "S", "text": nil, "html": "<p>h</p>", "amp": "<html amp4email>", "messageId": "<id@sender.test>",
			"attachments": []any{
				Fields{
					"filename": "a.txt", "content": []byte("abc"), "encoding": nil, "cid": "c", "contentType": "text/x",
					"contentDisposition": "inline", "contentTransferEncoding": "7bit", "headers": Fields{"X-Att": "1"},
				},
				Fields{"path": "https://a.test/x", "href": "h", "httpHeaders": Fields{"B": "2", "A": ""}, "raw": "r"},
				Fields{"foo": "bar"},
			},
		},
		"sendGrid":   Fields{"templateId": "d-1"},
		"categories": []any{"c"},
		"receipts":   Fields{"open": true, "read": true},
		"delivery":   Fields{"state": "PENDING"},
		"foo":        int64(1),
	}
}

func TestDecodeReadsEveryField(t *testing.T) {
	got, err := Decode(everything())
	if err != nil {
		t.Fatal(err)
	}
	want := Document{
		To:       []string{"ada@rcpt.test, bob@rcpt.test"},
		Cc:       []string{"cara@rcpt.test"},
		Bcc:      []string{},
		ToUIDs:   []string{"u1", "u2"},
		CcUIDs:   []string{},
		From:     "Me <me@sender.test>",
		ReplyTo:  "r@sender.test",
		Headers:  []Header{{"X-A", "1"}, {"X-A", "true"}, {"X-B", "5"}},
		SendGrid: &SendGrid{TemplateID: "d-1"},
		Receipts: Receipts{Open: true, Read: true},
		Message: Message{
			Subject: "S", HTML: "<p>h</p>", AMP: "<html amp4email>", MessageID: "<id@sender.test>",
			Attachments: []Attachment{
				{
					Filename: "a.txt", Content: []byte("abc"), CID: "c", ContentType: "text/x", Disposition: "inline",
					TransferEncoding: "7bit", Headers: []Header{{"X-Att", "1"}},
				},
				{Path: "https://a.test/x", Href: "h", HTTPHeaders: []Header{{"A", ""}, {"B", "2"}}, Raw: "r"},
				{},
			},
		},
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got  %+v\nwant %+v", got, want)
	}
}

func TestDecodeReadsTemplates(t *testing.T) {
	at := time.Date(2024, 1, 1, 0, 0, 0, 5, time.UTC)
	for name, c := range map[string]struct {
		template Fields
		want     Template
	}{
		"with data":                {Fields{"name": "t", "data": Fields{"a": int64(1)}}, Template{"t", Fields{"a": int64(1)}}},
		"with empty data":          {Fields{"name": "t", "data": Fields{}}, Template{"t", Fields{}}},
		"without data":             {Fields{"name": "t"}, Template{"t", nil}},
		"with a timestamp as data": {Fields{"name": "t", "data": at}, Template{"t", Fields{"_seconds": at.Unix(), "_nanoseconds": int64(5)}}},
	} {
		got, err := Decode(Fields{"to": "ada@rcpt.test", "template": c.template})
		if err != nil || got.Template == nil || !reflect.DeepEqual(*got.Template, c.want) {
			t.Errorf("%s: got %+v, %v, want %+v", name, got.Template, err, c.want)
		}
	}
}

// The extension sends the attachments of a message through the same sieve as
// a template's if there is a template.
func TestAttachmentsBesideATemplateLoseUnknownFields(t *testing.T) {
	got, err := Decode(Fields{
		"to":       "ada@rcpt.test",
		"template": Fields{"name": "t"},
		"message": Fields{"attachments": []any{
			Fields{"foo": "bar"},
			Fields{},
			Fields{"filename": nil},
			Fields{"content": "c", "contentTransferEncoding": "7bit"},
		}},
	})
	want := []Attachment{{}, {Content: "c"}}
	if err != nil || !reflect.DeepEqual(got.Message.Attachments, want) {
		t.Errorf("got %+v, %v, want %+v", got.Message.Attachments, err, want)
	}
}

func TestDecodeAttachments(t *testing.T) {
	got, err := DecodeAttachments("attachments", []any{
		Fields{"filename": "a.txt", "content": int64(5), "foo": true}, Fields{"foo": "bar"},
	})
	if want := []Attachment{{Filename: "a.txt", Content: int64(5)}}; err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v, %v, want %+v", got, err, want)
	}
	_, err = DecodeAttachments("attachments", []any{"x", Fields{"filename": 5.5, "headers": Fields{"a": nil}}})
	want := "ValidationError: Invalid template attachments: Field 'attachments.0' must be a map. " +
		"Field 'attachments.1.filename' must be a string. Field 'attachments.1.headers.a' must be a string"
	if err == nil || err.Error() != want {
		t.Errorf("got  %v\nwant %s", err, want)
	}
	var fault *Failure
	if !errors.As(err, &fault) || fault.Phase != PhaseTemplate || !strings.Contains(fault.Explain, "attachments.1.filename is a number") {
		t.Errorf("got %+v", fault)
	}
}

func TestExplanationsNameFieldTypeAndRemedy(t *testing.T) {
	for want, in := range map[string]Fields{
		"The document cannot be read: message.subject is missing; it must be a string. Correct it, then set delivery.state to RETRY.":                                                                 {"to": "a@b.test", "message": Fields{"text": "x"}},
		"The document cannot be read: to has elements that are not strings; it must be one or more addresses in a string, or an array of such strings. Correct it, then set delivery.state to RETRY.": {"to": []any{nil}, "message": Fields{"subject": "S", "text": "x"}},
	} {
		_, err := Decode(in)
		var fault *Failure
		if !errors.As(err, &fault) || fault.Explain != want {
			t.Errorf("got  %+v\nwant %s", fault, want)
		}
	}
}

// What is wrong with a document must fit into it.
func TestFaultsOfAHugeDocumentAreCutShort(t *testing.T) {
	many := make([]any, 100_000)
	long := Fields{}
	for _, r := range "abcdefghijklmnopqrstuvwxyz" {
		long[strings.Repeat(string(r)+"ö", 750)] = int64(1)
	}
	for name, in := range map[string]Fields{
		"many": {"to": "a@b.test", "message": Fields{"subject": "S", "text": "x"}, "categories": many},
		"long": {"to": "a@b.test", "sendGrid": Fields{"customArgs": long}},
		"giant name": {"to": "a@b.test", "sendGrid": Fields{
			"customArgs": Fields{strings.Repeat("ö", 1<<19): int64(1)},
		}},
	} {
		_, err := Decode(in)
		var fault *Failure
		if !errors.As(err, &fault) {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if n := len(fault.Message) + len(fault.Explain); n > 2*maxFaultBytes {
			t.Errorf("%s: %d bytes", name, n)
		}
		if !utf8.ValidString(fault.Message) || !utf8.ValidString(fault.Explain) {
			t.Errorf("%s: invalid UTF-8", name)
		}
	}
}

func TestOnlySoManyFaultsAreKept(t *testing.T) {
	const n = 250_000
	var c checker
	c.document(value{v: Fields{"categories": make([]any, n), "from": nil, "toUids": []any{"", ""}}, present: true})
	if len(c.faults) != maxFaults || c.faults[0].text != "Field 'toUids.0' cannot be empty" {
		t.Errorf("%d faults, the first: %+v", len(c.faults), c.faults[0])
	}
	message := c.failure("email configuration").Message
	if want := fmt.Sprintf(". And %d elements that were not checked", n-maxFaults+3); !strings.HasSuffix(message, want) {
		t.Errorf("got %s, want it to end in %s", message, want)
	}

	c = checker{}
	c.document(value{v: Fields{"toUids": make([]any, n), "from": nil, "replyTo": nil}, present: true})
	message = c.failure("email configuration").Message
	if want := fmt.Sprintf(". And 2 more. And %d elements that were not checked", n-maxFaults); !strings.HasSuffix(message, want) {
		t.Errorf("got %s, want it to end in %s", message, want)
	}
}
