package compose

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"postrider/delivery"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// files is a server of attachments that remembers what it was asked.
type files struct {
	*httptest.Server

	mu   sync.Mutex
	seen []http.Header
}

func serveFiles(t *testing.T) *files {
	f := &files{}
	mux := http.NewServeMux()
	mux.HandleFunc("/doc.txt", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "remote text\n") })
	mux.HandleFunc("/redirect", func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, "/doc.txt", http.StatusFound) })
	mux.HandleFunc("/loop", func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, "/loop", http.StatusFound) })
	mux.HandleFunc("/to", func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Location", r.URL.Query().Get("u"))
		w.WriteHeader(http.StatusTemporaryRedirect)
	})
	mux.HandleFunc("/big", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, strings.Repeat("x", 5000)) })
	mux.HandleFunc("/endless", func(w http.ResponseWriter, r *http.Request) {
		for r.Context().Err() == nil {
			if _, err := fmt.Fprint(w, strings.Repeat("x", 5000)); err != nil {
				return
			}
		}
	})
	mux.HandleFunc("/busy", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusServiceUnavailable) })
	mux.HandleFunc("/hang", func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() })
	f.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		f.mu.Lock()
		f.seen = append(f.seen, r.Header)
		f.mu.Unlock()
		mux.ServeHTTP(w, r)
	}))
	t.Cleanup(f.Close)
	return f
}

func (f *files) last() http.Header {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.seen[len(f.seen)-1]
}

func newComposer(t *testing.T, o Options) *Composer {
	c := New(o, nil, nil)
	t.Cleanup(c.Close)
	return c
}

func TestFetch(t *testing.T) {
	srv := serveFiles(t)
	c := newComposer(t, Options{AllowHosts: []string{"127.0.0.1"}, MaxAttachmentBytes: 4000})
	for name, a := range map[string]delivery.Attachment{
		"path":     {Path: srv.URL + "/doc.txt?x=1"},
		"href":     {Href: srv.URL + "/doc.txt", Filename: "doc.txt"},
		"content":  {Content: delivery.Fields{"href": srv.URL + "/doc.txt"}, Filename: "doc.txt"},
		"redirect": {Href: srv.URL + "/redirect", Filename: "doc.txt"},
		"scheme":   {Href: " HTTP" + strings.TrimPrefix(srv.URL, "http") + "/doc.txt", Filename: "doc.txt"},
	} {
		_, root := mustCompose(t, c, attached(a))
		if got := root.Parts[1]; got.Body != "remote text\n" || got.DParams["filename"] != "doc.txt" || got.Type != "text/plain" {
			t.Errorf("%s: %+v", name, got)
		}
	}
	for path, want := range map[string]struct {
		message string
		class   delivery.Class
	}{
		"/missing":                 {"Error: Invalid status code 404", delivery.Permanent},
		"/busy":                    {"Error: Invalid status code 503", delivery.Transient},
		"/loop":                    {"Error: Maximum redirect count exceeded", delivery.Permanent},
		"/big":                     {"Error: message.attachments[0].href is larger than allowed: more than 4000 bytes (ATTACHMENT_MAX_BYTES)", delivery.Permanent},
		"/endless":                 {"Error: message.attachments[0].href is larger than allowed: more than 4000 bytes (ATTACHMENT_MAX_BYTES)", delivery.Permanent},
		"/to?u=file:///etc/passwd": {"Error: message.attachments[0].href is not an address that can be fetched", delivery.Permanent},
		"/to?u=http://%5B::1":      {"Error: message.attachments[0].href is not an address that can be fetched", delivery.Permanent},
	} {
		f := mustFail(t, c, attached(delivery.Attachment{Href: srv.URL + path}))
		if f.Message != want.message || f.Class != want.class || f.Phase != delivery.PhaseAttachment {
			t.Errorf("%s: %+v", path, f)
		}
	}
}

func TestOnlyPublicAddressesAreFetched(t *testing.T) {
	srv := serveFiles(t)
	port := srv.URL[strings.LastIndex(srv.URL, ":"):]
	guarded := newComposer(t, Options{})
	for _, host := range []string{"127.0.0.1", "localhost", "[::1]", "0.0.0.0", "169.254.169.254", "10.0.0.1", "[::ffff:127.0.0.1]", "[64:ff9b::7f00:1]", "[fd00:ec2::254]"} {
		f := mustFail(t, guarded, attached(delivery.Attachment{Href: "http://" + host + port + "/doc.txt", HTTPHeaders: []delivery.Header{{Name: "Metadata-Flavor", Value: "Google"}}}))
		if f.Message != "Error: message.attachments[0].href is not at a public address" || f.Class != delivery.Permanent || !strings.Contains(f.Explain, "ATTACHMENT_ALLOW_HOSTS") {
			t.Errorf("%s: %+v", host, f)
		}
	}
	// An allowed host does not vouch for where it redirects to.
	allowed := newComposer(t, Options{AllowHosts: []string{"127.0.0.1"}})
	f := mustFail(t, allowed, attached(delivery.Attachment{Href: srv.URL + "/to?u=http://localhost" + port + "/doc.txt"}))
	if f.Message != "Error: message.attachments[0].href is not at a public address" {
		t.Errorf("a redirect went round the guard: %+v", f)
	}
	if len(srv.seen) != 1 {
		t.Errorf("%d requests reached the server, want the one to the allowed host", len(srv.seen))
	}
}

func TestCallersHeadersGoToAllowedHostsOnly(t *testing.T) {
	srv := serveFiles(t)
	port := srv.URL[strings.LastIndex(srv.URL, ":"):]
	headers := []delivery.Header{{Name: "Authorization", Value: "Bearer t"}, {Name: "X-H", Value: "v"}}
	c := newComposer(t, Options{AllowHosts: []string{"127.0.0.1", "LOCALHOST."}})
	mustCompose(t, c, attached(delivery.Attachment{Href: srv.URL + "/redirect", HTTPHeaders: headers}))
	if h := srv.last(); h.Get("Authorization") != "Bearer t" || h.Get("X-H") != "v" {
		t.Errorf("headers did not go to an allowed host: %v", h)
	}
	mustCompose(t, c, attached(delivery.Attachment{Href: srv.URL + "/to?u=http://localhost" + port + "/doc.txt", HTTPHeaders: headers}))
	if h := srv.last(); h.Get("Authorization") != "" || h.Get("X-H") != "" {
		t.Errorf("headers followed a redirect to another host: %v", h)
	}
	f := mustFail(t, c, attached(delivery.Attachment{Href: srv.URL + "/doc.txt", HTTPHeaders: []delivery.Header{{Name: "X", Value: "a\r\nB: c"}}}))
	if f.Message != "Error: message.attachments[0].httpHeaders has a name or value that HTTP does not allow" {
		t.Errorf("%+v", f)
	}
}

func TestFetchesEndInTime(t *testing.T) {
	srv := serveFiles(t)
	c := newComposer(t, Options{AllowHosts: []string{"127.0.0.1"}, FetchTimeout: 50 * time.Millisecond})
	f := mustFail(t, c, attached(delivery.Attachment{Href: srv.URL + "/hang"}))
	if f.Class != delivery.Transient || f.Message != "Error: message.attachments[0].href could not be fetched in time" {
		t.Errorf("%+v", f)
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	_, err := c.Compose(ctx, attached(delivery.Attachment{Href: srv.URL + "/hang"}), testClaim())
	if !errors.Is(err, context.Canceled) {
		t.Errorf("a cancelled fetch: %v", err)
	}
	srv.Close()
	f = mustFail(t, c, attached(delivery.Attachment{Href: srv.URL + "/doc.txt"}))
	if f.Class != delivery.Transient || f.Message != "Error: message.attachments[0].href could not be fetched" {
		t.Errorf("%+v", f)
	}
}

func TestCloudStorage(t *testing.T) {
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.EscapedPath() + "?" + r.URL.RawQuery {
		case "/storage/v1/b/bucket/o/dir%2Fa%20b.pdf?alt=media":
			fmt.Fprint(w, "%PDF")
		case "/storage/v1/b/bucket/o/busy?alt=media":
			w.WriteHeader(http.StatusTooManyRequests)
		case "/storage/v1/b/bucket/o/secret?alt=media":
			w.WriteHeader(http.StatusForbidden)
		default:
			w.WriteHeader(http.StatusNotFound)
		}
	}))
	defer srv.Close()
	client := srv.Client()
	c := newComposer(t, Options{Storage: Storage{Client: client, BaseURL: srv.URL, Buckets: []string{"bucket"}}})
	_, root := mustCompose(t, c, attached(delivery.Attachment{Path: "gs://bucket/dir/a b.pdf"}))
	if got := root.Parts[1]; got.Body != "%PDF" || got.Type != "application/pdf" || got.DParams["filename"] != "a b.pdf" {
		t.Errorf("%+v", got)
	}
	for object, want := range map[string]delivery.Failure{
		"secret": {Class: delivery.Permanent, Message: "Error: gs://bucket/secret cannot be read: status 403"},
		"none":   {Class: delivery.Permanent, Message: "Error: gs://bucket/none cannot be read: status 404"},
		"busy":   {Class: delivery.Transient, Message: "Error: Invalid status code 429"},
	} {
		f := mustFail(t, c, attached(delivery.Attachment{Href: "gs://bucket/" + object}))
		if f.Class != want.Class || f.Message != want.Message {
			t.Errorf("%s: %+v", object, f)
		}
	}
	client.CloseIdleConnections()
}
