package api

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"image/gif"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"postrider/delivery/receipt"
)

// load loads a pixel as a mail program does, one that hangs up once it has it.
func load(t testing.TB, a *API, method, url string) *httptest.ResponseRecorder {
	t.Helper()
	w := httptest.NewRecorder()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	a.ServeHTTP(w, httptest.NewRequestWithContext(ctx, method, url, nil))
	return w
}

func TestPixelIsAPictureThatNobodyKeeps(t *testing.T) {
	d := diaryOf()
	a, counted := keeping(t, d)
	w := load(t, a, http.MethodGet, a.Pixels.tokens.URL("m1", "<x@y.test>", []string{"ada@rcpt.test"}))
	for name, want := range map[string]string{
		"Content-Type": "image/gif", "Content-Length": "43", "Cache-Control": "no-store", "X-Content-Type-Options": "nosniff",
	} {
		if got := w.Header().Get(name); got != want {
			t.Errorf("%s: %q", name, got)
		}
	}
	if w.Code != http.StatusOK || w.Body.Len() != 43 {
		t.Fatalf("%d, %d bytes", w.Code, w.Body.Len())
	}
	picture, err := gif.Decode(bytes.NewReader(w.Body.Bytes()))
	if err != nil || picture.Bounds().Dx() != 1 || picture.Bounds().Dy() != 1 {
		t.Fatal(picture, err)
	}
	if _, _, _, alpha := picture.At(0, 0).RGBA(); alpha != 0 {
		t.Error("the picture can be seen")
	}
	if counted["pixel 200"] != 1 || counted["open 204"] != 1 {
		t.Errorf("counted %v", counted)
	}
}

// Of many loads of one pixel the first is the open, and the others cost nothing.
func TestFirstOpenIsTheReceipt(t *testing.T) {
	d := diaryOf()
	a, counted := keeping(t, d)
	one, several := a.Pixels.tokens.URL("m1", "<x@y.test>", []string{"ada@rcpt.test"}), a.Pixels.tokens.URL("m1", "<x@y.test>", []string{"ada@rcpt.test", "bob@rcpt.test"})
	for range 3 {
		load(t, a, http.MethodGet, one)
		load(t, a, http.MethodGet, several)
	}
	if d.writes != 2 || counted["pixel 200"] != 6 || counted["open 204"] != 2 {
		t.Errorf("%d writes, counted %v", d.writes, counted)
	}
	for _, who := range []string{"ada@rcpt.test", ""} {
		want := receipt.Receipt{Kind: receipt.Open, Recipient: who, MessageID: "<x@y.test>", ReadOn: noon}
		if got, ok := receipt.Stored(d.kept["m1"][want.ID()]); !ok || got != want {
			t.Errorf("kept %v", d.kept)
		}
	}
	// The document was sent again, with a Message-ID of its own.
	if load(t, a, http.MethodGet, a.Pixels.tokens.URL("m1", "<z@y.test>", []string{"ada@rcpt.test"})); len(d.kept["m1"]) != 3 {
		t.Errorf("kept %v", d.kept)
	}
}

func TestOnlyAGETOfAValidTokenIsAnOpen(t *testing.T) {
	d := diaryOf()
	a, _ := keeping(t, d)
	url := a.Pixels.tokens.URL("m1", "<x@y.test>", []string{"ada@rcpt.test"})
	for name, c := range map[string]struct {
		method, url string
		status      int
	}{
		"asked about":    {http.MethodHead, url, http.StatusOK},
		"posted":         {http.MethodPost, url, http.StatusMethodNotAllowed},
		"changed":        {http.MethodGet, strings.Replace(url, "/o/", "/o/A", 1), http.StatusNotFound},
		"cut":            {http.MethodGet, url[:len(url)-6] + ".gif", http.StatusNotFound},
		"not a GIF":      {http.MethodGet, strings.TrimSuffix(url, ".gif"), http.StatusNotFound},
		"posted, no GIF": {http.MethodPost, "https://mail.test/o/x.gif", http.StatusNotFound},
		"endless":        {http.MethodGet, "https://mail.test/o/" + strings.Repeat("A", 10_000) + ".gif", http.StatusNotFound},
	} {
		if w := load(t, a, c.method, c.url); w.Code != c.status || w.Code != http.StatusOK && w.Header().Get("Content-Type") == "image/gif" {
			t.Errorf("%s: %d, %v", name, w.Code, w.Header())
		}
	}
	if d.writes != 0 {
		t.Errorf("kept %v", d.kept)
	}
	a.Pixels = NewPixels(nil)
	if w := load(t, a, http.MethodGet, url); w.Code != http.StatusNotFound {
		t.Errorf("without tokens: %d", w.Code)
	}
	if a.Pixels = (Pixels{}); load(t, a, http.MethodGet, url).Code != http.StatusNotFound {
		t.Error("the zero value knows a token")
	}
}

// Who looks at a mail sees nothing of it that Firestore is in trouble; the next look
// is put down again.
func TestOpenThatIsNotRecordedIsAnsweredAllTheSame(t *testing.T) {
	d := diaryOf()
	a, counted := keeping(t, d)
	url := a.Pixels.tokens.URL("m1", "<x@y.test>", []string{"ada@rcpt.test"})
	d.err = errors.New("no")
	if w := load(t, a, http.MethodGet, url); w.Code != http.StatusOK || counted["open 503"] != 1 {
		t.Errorf("%d, counted %v", w.Code, counted)
	}
	d.err = nil
	if load(t, a, http.MethodGet, url); d.writes != 1 {
		t.Errorf("kept %v", d.kept)
	}
}

// Strangers who have got many mails can't have more put down than so many a second.
func TestOpensAreBounded(t *testing.T) {
	d := diaryOf()
	a, counted := keeping(t, d)
	a.Pixels.opens.limit.SetLimit(0) // no second passes
	for i := range maxOpens + 7 {
		if w := load(t, a, http.MethodGet, a.Pixels.tokens.URL(fmt.Sprint("m", i), "", nil)); w.Code != http.StatusOK {
			t.Errorf("%d", w.Code)
		}
	}
	if d.writes != maxOpens || counted["open 429"] != 7 {
		t.Errorf("%d writes, counted %v", d.writes, counted)
	}
}

func TestKnownOpensAreBounded(t *testing.T) {
	o := NewPixels(nil).opens
	o.limit.SetBurst(3 * maxKnown)
	o.limit.SetLimit(1e9)
	for i := range 2*maxKnown + 5 {
		o.begin(fmt.Sprint(i))
	}
	if len(o.known) > maxKnown {
		t.Errorf("%d are remembered", len(o.known))
	}
}
