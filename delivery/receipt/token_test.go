package receipt

import (
	"encoding/base64"
	"fmt"
	"net/url"
	"reflect"
	"strings"
	"testing"
	"time"
)

func keyOf(t testing.TB, secret string) tokenKey {
	t.Helper()
	k, err := deriveKey([]byte(secret))
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func TestTokensComeBackAsTheyWere(t *testing.T) {
	k := keyOf(t, "0123456789abcdef0123456789abcdef")
	for _, want := range []Token{
		{"m1", "<x@y.test>", "ada@rcpt.test"},
		{"m1", "<x@y.test>", ""},
		{"m1", "", "ada@rcpt.test"},
		{"straße/\x00\xff?#", "x y", "jöe@bär.test"},
		{strings.Repeat("€", 500), strings.Repeat("m", maxText), strings.Repeat("a", maxText)},
	} {
		s := sign(k, want)
		got, ok := verify([]tokenKey{keyOf(t, "another"), k}, s)
		if !ok || got != want {
			t.Errorf("%.40q: got %+v, %v", want, got, ok)
		}
		if url.PathEscape(s) != s || len(s) > maxToken {
			t.Errorf("%q does not go into a URL as it is", s)
		}
		if s != sign(k, want) {
			t.Error("the same token is not the same text")
		}
	}
}

// The URL is seen by whoever keeps a log on the way.
func TestTokenTellsNobodyWhoReads(t *testing.T) {
	raw, err := base64.RawURLEncoding.DecodeString(sign(keyOf(t, "k"), Token{"m1", "<x@y.test>", "ada@rcpt.test"}))
	if err != nil || strings.Contains(string(raw), "ada") || strings.Contains(string(raw), "m1") {
		t.Errorf("%q, %v", raw, err)
	}
}

func TestAnythingElseIsNoToken(t *testing.T) {
	k := keyOf(t, "k")
	s := sign(k, Token{"m1", "<x@y.test>", "ada@rcpt.test"})
	if _, ok := verify([]tokenKey{keyOf(t, "K")}, s); ok {
		t.Error("made with another key")
	}
	if _, ok := verify(nil, s); ok {
		t.Error("no keys")
	}
	for i := range s {
		for _, c := range []byte("AQgw_") {
			other := s[:i] + string(c) + s[i+1:]
			if _, ok := verify([]tokenKey{k}, other); ok && other != s {
				t.Errorf("changed at %d", i)
			}
		}
		if _, ok := verify([]tokenKey{k}, s[:i]); ok {
			t.Errorf("cut at %d", i)
		}
	}
	for _, other := range []string{s + "A", s + "=", s + "\n", s[:8] + "\n" + s[8:], strings.Repeat("A", maxToken+1)} {
		if _, ok := verify([]tokenKey{k}, other); ok {
			t.Errorf("%.60q", other)
		}
	}
	for _, none := range []Token{{}, {"", "", "a@b.c"}, {strings.Repeat("m", 1501), "", ""}, {"m", "", strings.Repeat("a", maxText+1)}, {"m", strings.Repeat("a", maxText+1), ""}} {
		if got := sign(k, none); got != "" {
			t.Errorf("%.40q: %q", none, got)
		}
	}
}

func FuzzVerify(f *testing.F) {
	f.Add("m1", "<x@y.test>", "ada@rcpt.test", "")
	f.Fuzz(func(t *testing.T, document, message, recipient, foreign string) {
		k := keyOf(t, "k")
		if s := sign(k, Token{document, message, recipient}); s != "" {
			if got, ok := verify([]tokenKey{k}, s); !ok || got != (Token{document, message, recipient}) {
				t.Errorf("%q, %q: %+v", document, recipient, got)
			}
		}
		if got, ok := verify([]tokenKey{k}, foreign); ok && sign(k, got) != foreign {
			t.Errorf("%q is a second text for %+v", foreign, got)
		}
	})
}

func TestKeysAreNotPrinted(t *testing.T) {
	k := keyOf(t, "k")
	if got := fmt.Sprintf("%v %+v %#v %x %d", k, k, []tokenKey{k}, k, &k); strings.Count(got, "[secret]") != 5 || len(got) > 80 {
		t.Error(got)
	}
}

// Only of a mail to one recipient can anybody tell who has opened it.
func TestPixelNamesTheOnlyRecipient(t *testing.T) {
	old, err := NewPixels("https://mail.test", [][]byte{[]byte("old")})
	if err != nil {
		t.Fatal(err)
	}
	both, err := NewPixels("https://mail.test", [][]byte{[]byte("new"), []byte("old")})
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		to   []string
		want string
	}{{[]string{"a@b.c"}, "a@b.c"}, {[]string{"a@b.c", "d@e.f"}, ""}} {
		s := old.URL("m1", "<x@y.test>", c.to)
		token, ok := strings.CutPrefix(strings.TrimSuffix(s, ".gif"), "https://mail.test/o/")
		if !ok || !strings.HasSuffix(s, ".gif") {
			t.Fatal(s)
		}
		if got, ok := both.Verify(token); !ok || got != (Token{"m1", "<x@y.test>", c.want}) {
			t.Errorf("%v: %+v, %v", c.to, got, ok)
		}
	}
	if got, ok := old.Verify(sign(both.keys[0], Token{"m1", "", ""})); ok {
		t.Errorf("a token of a key that is not configured: %+v", got)
	}
	if got := old.URL("", "", nil); got != "" {
		t.Error(got)
	}
	if _, err := NewPixels("https://mail.test", nil); err == nil {
		t.Error("pixels without a key")
	}
}

func TestReceiptsAreStoredAsTheyAre(t *testing.T) {
	at := time.Date(2026, 1, 2, 3, 4, 5, 6789, time.FixedZone("", 3600))
	for _, r := range []Receipt{{MDN, "ada@rcpt.test", at, "<a@b>"}, {Open, "", at, ""}} {
		want := r
		want.ReadOn = at.UTC().Truncate(time.Microsecond)
		if got, ok := Stored(r.Fields()); !ok || !reflect.DeepEqual(got, want) {
			t.Errorf("got %+v, %v", got, ok)
		}
	}
	for _, f := range []map[string]any{nil, {"kind": "mdn"}, {"kind": "read", "readOn": at}, {"kind": 5, "readOn": at}, {"kind": "open", "readOn": "now"}} {
		if got, ok := Stored(f); ok {
			t.Errorf("%v: %+v", f, got)
		}
	}
}

// A second receipt of a kind from the same recipient about a message is the first,
// any other is not.
func TestReceiptIDTellsKindRecipientAndMessage(t *testing.T) {
	first := Receipt{Kind: MDN, Recipient: "ada@rcpt.test", ReadOn: time.Unix(1, 0), MessageID: "<a@b>"}
	again := Receipt{Kind: MDN, Recipient: "ada@rcpt.test", ReadOn: time.Unix(2, 0), MessageID: "<a@b>"}
	if first.ID() != again.ID() || len(first.ID()) != 32 {
		t.Errorf("%s, %s", first.ID(), again.ID())
	}
	for _, other := range []Receipt{
		{Kind: Open, Recipient: "ada@rcpt.test", MessageID: "<a@b>"},
		{Kind: MDN, Recipient: "bob@rcpt.test", MessageID: "<a@b>"},
		{Kind: MDN, MessageID: "<a@b>"},
		{Kind: MDN, Recipient: "ada@rcpt.test", MessageID: "<c@b>"},
	} {
		if other.ID() == first.ID() {
			t.Errorf("%+v has the same ID", other)
		}
	}
}
