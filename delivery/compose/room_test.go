package compose

import (
	"bytes"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"postrider/delivery"
)

// serveBytes serves a file of as many bytes as its path says, with its length or
// (below /unknown/) without, or cut off in the middle (/cut/, /cutunknown/).
func serveBytes(t testing.TB) *httptest.Server {
	all := fileOf(20 * megabyte)
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		path := strings.Split(strings.TrimPrefix(r.URL.Path, "/storage/v1/b/bucket/o"), "/")
		size, _ := strconv.Atoi(path[2])
		content := all[:size]
		switch path[1] {
		case "known":
			w.Header().Set("Content-Length", strconv.Itoa(size))
		case "unknown":
			_, _ = w.Write(content[:size/2])
			w.(http.Flusher).Flush()
			content = content[size/2:]
		case "cut":
			w.Header().Set("Content-Length", strconv.Itoa(size))
			content = content[:size/2]
		case "cutunknown":
			_, _ = w.Write(content[:size/2])
			w.(http.Flusher).Flush()
			panic(http.ErrAbortHandler)
		}
		_, _ = w.Write(content)
	}))
	t.Cleanup(srv.Close)
	return srv
}

func fileOf(size int) []byte {
	return bytes.Repeat([]byte("0123456789abcdef0123456789abcdef0123456789abcdef0123456789\n"), size/59+1)[:size]
}

func localComposer(t testing.TB, srv *httptest.Server, o Options) *Composer {
	o.AllowHosts = []string{"127.0.0.1"}
	o.Storage = Storage{Client: srv.Client(), BaseURL: srv.URL, Buckets: []string{"bucket"}}
	c := New(o, nil, nil)
	t.Cleanup(c.Close)
	return c
}

const megabyte = 1 << 20

func TestAFileIsInMemoryOnce(t *testing.T) {
	srv := serveBytes(t)
	c := localComposer(t, srv, Options{})
	at := func(path string, more ...string) delivery.Document {
		var list []delivery.Attachment
		for _, p := range append([]string{path}, more...) {
			if !strings.HasPrefix(p, "gs:") {
				p = srv.URL + p
			}
			list = append(list, delivery.Attachment{Filename: "file.bin", Href: p})
		}
		return attached(list...)
	}
	data := base64.StdEncoding.EncodeToString(fileOf(4 * megabyte))
	typed := func(contentType, encoding, path string) delivery.Document {
		return attached(delivery.Attachment{Filename: "f", ContentType: contentType, TransferEncoding: encoding, Href: srv.URL + path})
	}
	// Bytes allocated to compose a mail, as a share of its files: 1.37 is its message.
	for name, tc := range map[string]struct {
		doc  delivery.Document
		size int
		want float64
	}{
		"of known size":          {at("/known/20971520"), 20 * megabyte, 1.45},
		"of unknown size":        {at("/unknown/20971520"), 20 * megabyte, 2.45},
		"in Cloud Storage":       {at("gs://bucket/known/20971520"), 20 * megabyte, 1.45},
		"two":                    {at("/known/10485760", "/known/10485760"), 20 * megabyte, 1.45},
		"twenty":                 {at("/known/1048576", slices.Repeat([]string{"/known/1048576"}, 19)...), 20 * megabyte, 1.5},
		"as the whole mail":      {with(func(d *delivery.Document) { d.Message = at("/known/20971520").Message; d.Message.Text = "" }), 20 * megabyte, 1.45},
		"data URI":               {attached(delivery.Attachment{Href: "data:image/png;base64," + data}), 4 * megabyte, 2.45},
		"bytes in the document":  {attached(delivery.Attachment{Content: fileOf(4 * megabyte)}), 4 * megabyte, 1.45},
		"text in the document":   {attached(delivery.Attachment{Content: string(fileOf(4 * megabyte))}), 4 * megabyte, 1.45},
		"base64 in the document": {attached(delivery.Attachment{Content: data, Encoding: "base64"}), 4 * megabyte, 2.45},
		"a message":              {typed("message/rfc822", "", "/known/20971520"), 20 * megabyte, 2.2},
		"in quoted-printable":    {typed("text/plain", "quoted-printable", "/known/20971520"), 20 * megabyte, 2.45},
	} {
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		m, err := c.Compose(t.Context(), tc.doc, testClaim())
		runtime.ReadMemStats(&after)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if got := float64(after.TotalAlloc-before.TotalAlloc) / float64(tc.size); got > tc.want || got < 1 {
			t.Errorf("%s: %.2f times its size allocated, want %.2f at most; the message has %d bytes", name, got, tc.want, len(m.Message))
		}
	}
}

func TestFilesArriveWhole(t *testing.T) {
	srv := serveBytes(t)
	c := localComposer(t, srv, Options{})
	for _, size := range []int{0, 1, 57, 58, base64Piece - 1, base64Piece, base64Piece + 1, 2 * base64Piece, 300_000} {
		for _, kind := range []string{"known", "unknown"} {
			path := fmt.Sprintf("%s/%s/%d", srv.URL, kind, size)
			_, root := mustCompose(t, c, attached(
				delivery.Attachment{Filename: "a.bin", Href: path},
				delivery.Attachment{Filename: "b.bin", Content: "between"},
				delivery.Attachment{Filename: "c.bin", Href: path},
			))
			if got := root.Parts; got[1].Body != string(fileOf(size)) || got[2].Body != "between" || got[3].Body != got[1].Body || got[3].DParams["filename"] != "c.bin" {
				t.Errorf("%s: parts of %d, %d and %d bytes", path, len(got[1].Body), len(got[2].Body), len(got[3].Body))
			}
			alone := attached(delivery.Attachment{Filename: "a.bin", Href: path})
			alone.Message.Text = ""
			if _, root = mustCompose(t, c, alone); strings.TrimSuffix(root.Body, "\r\n") != string(fileOf(size)) {
				t.Errorf("%s as the whole mail: %d bytes", path, len(root.Body))
			}
		}
	}
	for _, kind := range []string{"cut", "cutunknown"} {
		for _, contentType := range []string{"", "message/rfc822"} {
			f := mustFail(t, c, attached(delivery.Attachment{Href: srv.URL + "/" + kind + "/300000", ContentType: contentType}))
			if f.Class != delivery.Transient || f.Message != "Error: message.attachments[0].href could not be fetched" {
				t.Errorf("a file that breaks off (%s): %+v", kind, f)
			}
		}
	}
}

func TestFilesOfOneMailAreLimitedTogether(t *testing.T) {
	srv := serveBytes(t)
	c := localComposer(t, srv, Options{MaxMessageBytes: 100_000})
	for _, kind := range []string{"known", "unknown"} {
		a := delivery.Attachment{Href: srv.URL + "/" + kind + "/60000"}
		mustCompose(t, c, attached(a))
		f := mustFail(t, c, attached(a, a))
		if want := "Error: message.attachments[1].href is larger than allowed: more than 40000 bytes (MAX_MESSAGE_BYTES)"; f.Message != want || f.Class != delivery.Permanent {
			t.Errorf("%s: %+v, want %q", kind, f, want)
		}
		a.Href = srv.URL + "/" + kind + "/80000"
		f = mustFail(t, c, attached(a))
		if !strings.HasPrefix(f.Message, "Error: The message is larger than allowed: ") || f.Class != delivery.Permanent {
			t.Errorf("%s: %+v", kind, f)
		}
	}
}

func TestHoldIsToldWhatAMailTakesBeforeItDoes(t *testing.T) {
	srv := serveBytes(t)
	c := localComposer(t, srv, Options{})
	const size = 3 * megabyte
	encoded := base64Size(size)
	for name, tc := range map[string]struct {
		doc         delivery.Document
		calls       int // at most
		least, most int // of the highest number told
	}{
		"small":       {simple(), 0, 0, 0},
		"small file":  {attached(delivery.Attachment{Href: srv.URL + "/known/30000"}), 0, 0, 0},
		"small spool": {attached(delivery.Attachment{Href: srv.URL + "/unknown/10000"}), 0, 0, 0},
		"large text":  {with(func(d *delivery.Document) { d.Message.Text = strings.Repeat("text\n", 100_000) }), 1, 600_000, 640_000},
		"known":       {attached(delivery.Attachment{Href: srv.URL + "/known/3145728"}), 2, encoded, encoded + 4000},
		"unknown":     {attached(delivery.Attachment{Href: srv.URL + "/unknown/3145728"}), 20, encoded + size, encoded + size + maxPiece},
		"two":         {attached(delivery.Attachment{Href: srv.URL + "/known/3145728"}, delivery.Attachment{Href: srv.URL + "/known/3145728"}), 2, 2 * encoded, 2*encoded + 4000},
		"beside large text": {with(func(d *delivery.Document) {
			d.Message.Text = strings.Repeat("text\n", 100_000)
			d.Message.Attachments = []delivery.Attachment{{Href: srv.URL + "/known/3145728"}}
		}), 3, encoded + 2*600_000, encoded + 2*640_000},
		"after a smaller one": {attached(delivery.Attachment{Href: srv.URL + "/known/100000"}, delivery.Attachment{Href: srv.URL + "/known/3145728"}), 3, encoded + 3*base64Size(100_000), encoded + 3*base64Size(100_000) + 9000},
		"two unknown":         {attached(delivery.Attachment{Href: srv.URL + "/unknown/3145728"}, delivery.Attachment{Href: srv.URL + "/unknown/3145728"}), 40, 2*encoded + size, 2*encoded + size + maxPiece + 9000},
		"a message":           {attached(delivery.Attachment{Href: srv.URL + "/known/3145728", ContentType: "message/rfc822"}), 3, 2 * size, 2*size + size/10},
	} {
		var told []int
		claim := testClaim()
		claim.Hold = func(_ context.Context, bytes int) error {
			told = append(told, bytes)
			return nil
		}
		m, err := c.Compose(t.Context(), tc.doc, claim)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		highest := slices.Max(append([]int{0}, told...))
		if len(told) > tc.calls || highest < tc.least || highest > tc.most {
			t.Errorf("%s: %d calls, the highest %d, want %d calls and %d to %d", name, len(told), highest, tc.calls, tc.least, tc.most)
		}
		if len(told) > 0 && told[len(told)-1] != cap(m.Message) {
			t.Errorf("%s: told %d at last, and the message takes %d", name, told[len(told)-1], cap(m.Message))
		}
	}
}

func TestAnErrorOfHoldEndsTheComposing(t *testing.T) {
	srv := serveBytes(t)
	c := localComposer(t, srv, Options{})
	no := errors.New("no room")
	for name, doc := range map[string]delivery.Document{
		"known":   attached(delivery.Attachment{Href: srv.URL + "/known/100000"}),
		"unknown": attached(delivery.Attachment{Href: srv.URL + "/unknown/100000"}),
		"whole":   attached(delivery.Attachment{Href: srv.URL + "/known/100000", ContentType: "message/rfc822"}),
		"text":    with(func(d *delivery.Document) { d.Message.Text = strings.Repeat("text\n", 100_000) }),
	} {
		claim := testClaim()
		claim.Hold = func(context.Context, int) error { return no }
		_, err := c.Compose(t.Context(), doc, claim)
		var f *delivery.Failure
		if !errors.Is(err, no) || errors.As(err, &f) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestWaitingForRoomIsNoTimeOfFetching(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := New(Options{FetchTimeout: time.Second}, nil, nil)
		claim := testClaim()
		claim.Hold = func(ctx context.Context, _ int) error {
			select {
			case <-ctx.Done():
				return ctx.Err()
			case <-time.After(time.Hour):
				return nil
			}
		}
		ctx, l := c.newLoader(t.Context(), content{Message: delivery.Message{Attachments: make([]delivery.Attachment, 1)}}, claim)
		defer l.close()
		time.Sleep(600 * time.Millisecond)
		if err := l.take(ctx, minRoom); err != nil {
			t.Fatal(err)
		}
		time.Sleep(400*time.Millisecond - time.Nanosecond)
		synctest.Wait()
		if ctx.Err() != nil {
			t.Error("waiting counted")
		}
		time.Sleep(time.Nanosecond)
		synctest.Wait()
		if !errors.Is(context.Cause(ctx), context.DeadlineExceeded) {
			t.Errorf("the time for fetching is over: %v", context.Cause(ctx))
		}
	})
}
