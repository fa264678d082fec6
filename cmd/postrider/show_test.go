package main

import (
	"context"
	"encoding/json"
	"math"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode"

	"cloud.google.com/go/firestore"

	"postrider/delivery"
	"postrider/delivery/firestored"
)

// shelf is a mail collection in a Firestore server in memory, for the commands
// that read.
type shelf struct {
	t    *testing.T
	host string
	mail *firestore.CollectionRef
}

func newShelf(t *testing.T) *shelf {
	t.Helper()
	listener, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	served := make(chan error, 1)
	go func() { served <- firestored.New(firestored.Options{}).Serve(ctx, listener) }()
	s := &shelf{t: t, host: listener.Addr().String()}
	t.Setenv("FIRESTORE_EMULATOR_HOST", s.host) // the client follows it, whatever else it is told
	client, err := firestore.NewClient(t.Context(), "demo-shelf")
	if err != nil {
		t.Fatal(err)
	}
	s.mail = client.Collection("mail")
	t.Cleanup(func() {
		_ = client.Close()
		stop()
		if err := <-served; err != nil {
			t.Error(err)
		}
	})
	return s
}

func (s *shelf) put(id string, record any) {
	s.t.Helper()
	doc := map[string]any{"to": "ada@rcpt.test", "cc": []any{"ben@rcpt.test", "cy\x1b@rcpt.test\n  state"}, "bccUids": []any{"u1"}}
	if record != nil {
		doc["delivery"] = record
	}
	if _, err := s.mail.Doc(id).Set(s.t.Context(), doc); err != nil {
		s.t.Fatal(err)
	}
}

// run runs a command and returns its exit code and what it printed.
func (s *shelf) run(args ...string) (code int, out, errors string) {
	s.t.Helper()
	var o, e strings.Builder
	settings := map[string]string{"FIRESTORE_EMULATOR_HOST": s.host, "GOOGLE_CLOUD_PROJECT": "demo-shelf"}
	p := program{out: &o, err: &e, lookup: func(name string) (string, bool) {
		v, ok := settings[name]
		return v, ok
	}}
	code = p.main(s.t.Context(), args)
	return code, o.String(), e.String()
}

// golden compares with a file of testdata.
func golden(t *testing.T, name, got string) {
	t.Helper()
	file := filepath.Join("testdata", name+".golden")
	if *update {
		if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Errorf("%s differs; run with -update if that is meant:\n%s", file, got)
	}
}

func at(second int) time.Time { return time.Date(2026, 7, 1, 12, 0, second, 250_000_000, time.UTC) }

// far is after whenever the tests run.
func far(second int) time.Time { return at(second).AddDate(100, 0, 0) }

func recipient(address, status string, attempt int64, reply string) delivery.Fields {
	return delivery.Fields{"address": address, "status": status, "code": int64(250), "enhancedCode": "", "reply": reply, "attempt": attempt}
}

// records are what a document's delivery field may be.
func records() map[string]any {
	return map[string]any{
		"new": nil,
		"delivered": delivery.Fields{
			"state": "SUCCESS", "attempts": int64(2), "startTime": at(0), "endTime": at(9), "error": nil, "leaseExpireTime": nil, "leaseId": "l-1",
			"expireAt": time.Date(2026, 7, 31, 12, 0, 0, 0, time.UTC),
			"outcome":  delivery.Fields{"class": "delivered", "phase": "message", "code": int64(250)},
			"info":     delivery.Fields{"messageId": "<l-1@sender.test>", "response": "250-2.0.0 Ok\n250 queued as 1", "accepted": []any{"ada@rcpt.test"}},
			"recipients": []any{
				recipient("ada@rcpt.test", "accepted", 1, "250 2.1.5 Ok"),
				recipient("ben@rcpt.test", "rejected", 2, "550-5.1.1 no such\n550 5.1.1 user"),
			},
		},
		"waiting": delivery.Fields{
			"state": "PENDING", "attempts": int64(1), "startTime": at(0), "endTime": at(9), "nextAttemptTime": far(59), "leaseExpireTime": nil,
			"error":      "Error: Can't send mail - all recipients were rejected: 451 4.3.0 later",
			"outcome":    delivery.Fields{"class": "transient", "phase": "rcpt", "code": int64(451), "enhancedCode": "4.3.0", "explain": "the server is busy; it is tried again"},
			"retry":      delivery.Fields{"attempts": int64(1), "since": at(9), "id": "l-1"},
			"recent":     delivery.Fields{"attempts": int64(7), "since": at(3)},
			"recipients": []any{recipient("ada@rcpt.test", "pending", 1, "451 4.3.0 later")},
		},
		"processing": delivery.Fields{
			"state": "PROCESSING", "attempts": int64(0), "startTime": at(0), "leaseExpireTime": far(59), "leaseId": "l-2", "leasePhase": "sending", "error": nil,
		},
		"unknown": delivery.Fields{
			"state": "ERROR", "attempts": int64(1), "startTime": at(0), "endTime": at(9), "error": "Error: Connection closed unexpectedly", "leaseExpireTime": nil,
			"outcome": delivery.Fields{
				"class": "unknown", "phase": "message", "code": int64(0), "enhancedCode": "", "messageId": "<l-1@sender.test>",
				"explain": "the whole message was sent but the server's answer never came",
				"conversation": []any{
					"C: DATA", "S: 354 go on", "C: (message, 812 bytes) .", "(the connection was lost)",
				},
			},
			"recipients": []any{recipient("ada@rcpt.test", "unknown", 1, "250 2.1.5 Ok")},
		},
		"lapsed": delivery.Fields{
			"state": "ERROR", "attempts": int64(0), "startTime": at(0), "error": delivery.LeaseExpired, "leaseExpireTime": at(59),
			"outcome": delivery.Fields{"class": "unknown", "phase": "lease", "code": int64(0), "explain": "the worker that had claimed this document ended"},
		},
		"lapsed later": delivery.Fields{
			"state": "ERROR", "attempts": int64(1), "startTime": at(0), "endTime": at(9), "leaseExpireTime": at(59),
			"outcome": delivery.Fields{
				"class": "unknown", "phase": "lease", "code": int64(0),
				"explain": "ask the mail server's log (a Message-ID that is not the document's own begins with <LEASE-2@), then set delivery.state to RETRY to send it again",
			},
			"info":       delivery.Fields{"messageId": "<l-1@sender.test>", "response": "250 queued", "accepted": []any{"ada@rcpt.test"}},
			"recipients": []any{recipient("ada@rcpt.test", "accepted", 1, "250 2.1.5 Ok")},
		},
		"lapsed unlisted": delivery.Fields{
			"state": "ERROR", "attempts": int64(0), "error": delivery.LeaseExpired, "leaseExpireTime": at(59),
			"outcome": delivery.Fields{"class": "unknown", "phase": "lease"},
			"info":    delivery.Fields{"messageId": "<a@b.test>", "accepted": []any{"ada@rcpt.test"}},
		},
		"lapsed unseen": delivery.Fields{"state": "PROCESSING", "leaseExpireTime": at(59), "leaseId": "l-2"},
		"due":           delivery.Fields{"state": "PENDING", "attempts": int64(1), "nextAttemptTime": at(59)},
		"due at once":   delivery.Fields{"state": "RETRY", "nextAttemptTime": far(0)},
		"unanswered": delivery.Fields{
			"state": "ERROR", "attempts": int64(1), "outcome": delivery.Fields{"class": "unknown", "phase": "message"},
			"recipients": []any{delivery.Fields{"address": "ada@rcpt.test", "status": "unknown", "code": int64(0), "reply": "", "attempt": int64(1)}},
		},
		"refused": delivery.Fields{
			"state": "ERROR", "attempts": int64(3), "endTime": at(9), "error": "Error: Document was attempted too often (MAX_PER_DOCUMENT)",
			"outcome":    delivery.Fields{"class": "permanent", "phase": "decode", "code": int64(0), "explain": "stop it"},
			"recent":     delivery.Fields{"attempts": int64(3), "since": at(3)},
			"info":       delivery.Fields{"messageId": "<l-1@sender.test>", "response": "250 queued", "accepted": []any{"ada@rcpt.test"}},
			"recipients": []any{recipient("ada@rcpt.test", "accepted", 2, "250 2.1.5 Ok"), recipient("ben@rcpt.test", "rejected", 3, "550 no")},
		},
		"failed again": delivery.Fields{
			"state": "ERROR", "attempts": int64(2), "outcome": delivery.Fields{"class": "permanent", "phase": "rcpt", "code": int64(550)},
			"info":       delivery.Fields{"messageId": "<l-1@sender.test>", "response": "250 queued", "accepted": []any{"ada@rcpt.test"}},
			"recipients": []any{recipient("ada@rcpt.test", "rejected", 2, "550 no")},
		},
		"again": delivery.Fields{
			"state": "RETRY", "attempts": int64(1), "outcome": delivery.Fields{"class": "unknown", "phase": "message", "messageId": "<l-1@sender.test>"},
		},
		"extension": delivery.Fields{
			"state": "SUCCESS", "attempts": int64(1), "info": delivery.Fields{
				"messageId": "<a@b.test>", "response": "250 Ok", "accepted": []any{"ada@rcpt.test", "ben@rcpt.test"}, "rejected": []any{"cy@rcpt.test"}, "pending": []any{},
			},
		},
		"no map": "SUCCESS",
		"strange": delivery.Fields{
			"state": []any{"x"}, "attempts": math.NaN(), "startTime": "yesterday", "outcome": "x", "info": int64(1), "recipients": []any{"x", nil, delivery.Fields{}},
			"retry": delivery.Fields{}, "leaseExpireTime": true,
		},
		"hostile": delivery.Fields{
			"state": "ERROR\x1b[2J", "error": "Error: \x1b]0;title\x07one\r\n  state         SUCCESS\u202e\u2066", "attempts": int64(1),
			"outcome": delivery.Fields{
				"class": "permanent", "phase": "da\x1b[31mta", "explain": "a\u009b31mb\u2028c\x7f", "messageId": "<a\nstate>",
				"conversation": []any{"S: 550 \x1b[1A\nforged"},
			},
			"recipients": []any{recipient("ada@rcpt.test\nben@rcpt.test", "accepted\x00", 1, "250 \x1bok\r\n250 two\U000e0041")},
		},
	}
}

func TestShowPrintsTheRecord(t *testing.T) {
	s := newShelf(t)
	all := records()
	names := make([]string, 0, len(all))
	for name := range all {
		names = append(names, name)
	}
	slices.Sort(names)
	var pages, asJSON strings.Builder
	for _, name := range names {
		s.put(name, all[name])
		code, out, errors := s.run("show", "mail/"+name)
		if code != exitDone || errors != "" {
			t.Errorf("%s: exit %d, %s", name, code, errors)
		}
		pages.WriteString(out + "\n")
		code, out, errors = s.run("show", name, "--json")
		if code != exitDone || errors != "" {
			t.Errorf("%s --json: exit %d, %s", name, code, errors)
		}
		var v any
		if err := json.Unmarshal([]byte(out), &v); err != nil {
			t.Errorf("%s: %v in %s", name, err, out)
		}
		if record, ok := all[name].(delivery.Fields); ok && name == "hostile" && v.(map[string]any)["error"] != record["error"] {
			t.Errorf("JSON changes %q to %q", record["error"], v)
		}
		asJSON.WriteString(out)
	}
	golden(t, "show", pages.String())
	golden(t, "show-json", asJSON.String())
	for _, r := range pages.String() + asJSON.String() {
		if r != '\n' && (unicode.IsControl(r) || unicode.In(r, unicode.Cf, unicode.Zl, unicode.Zp)) {
			t.Errorf("%U gets to the terminal", r)
		}
	}
}

// No line that a stranger smuggles in begins like one of the program's own.
func TestShowSetsInForgedLines(t *testing.T) {
	var out strings.Builder
	page{&out, far(0)}.document("mail/a\n  state         SUCCESS", delivery.Snapshot{Fields: delivery.Fields{"delivery": records()["hostile"]}})
	if strings.Contains(out.String(), "\n  state         SUCCESS") {
		t.Errorf("%s", out.String())
	}
}

func TestShowTellsWhatIsMissing(t *testing.T) {
	s := newShelf(t)
	s.put("-a", nil)
	for name, c := range map[string]struct {
		args []string
		code int
		says string
	}{
		"no such document":       {[]string{"show", "b"}, exitNotFound, "postrider: there is no document mail/b\n"},
		"no such one, as JSON":   {[]string{"show", "--json", "b"}, exitNotFound, "there is no document mail/b"},
		"not an ID":              {[]string{"show", "__b__"}, exitNotFound, "there is no document"},
		"another collection":     {[]string{"show", "outbox/b"}, exitUsage, "not the ID of a document in mail"},
		"the collection":         {[]string{"show", "mail/"}, exitUsage, "not the ID"},
		"nothing":                {[]string{"show"}, exitUsage, "name one document"},
		"two":                    {[]string{"show", "a", "b"}, exitUsage, "name one document"},
		"unknown flag":           {[]string{"show", "a", "--jsn"}, exitUsage, "-jsn"},
		"an ID that is a flag":   {[]string{"show", "-a"}, exitUsage, "-a"},
		"an ID after two dashes": {[]string{"show", "--", "-a"}, exitDone, ""},
	} {
		code, out, errors := s.run(c.args...)
		if code != c.code || !strings.Contains(errors, c.says) || (code != exitDone) != (out == "") {
			t.Errorf("%s: exit %d, %q, %q", name, code, out, errors)
		}
	}
	s.host = "nonsense"
	if code, _, errors := s.run("show", "a"); code != exitUsage || !strings.Contains(errors, "FIRESTORE_EMULATOR_HOST") {
		t.Errorf("wrong settings: exit %d, %s", code, errors)
	}
}

func TestHelpOfACommandListsItsFlags(t *testing.T) {
	s := &shelf{t: t}
	for _, name := range []string{"show", "list", "send"} {
		code, out, _ := s.run(name, "--help")
		if code != exitDone || !strings.Contains(out, "\nFlags:\n  -") && name != "list" || name == "list" && !strings.Contains(out, "-class") {
			t.Errorf("%s: exit %d\n%s", name, code, out)
		}
	}
}
