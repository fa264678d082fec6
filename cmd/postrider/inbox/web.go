package inbox

import (
	"bytes"
	"context"
	"embed"
	"errors"
	"fmt"
	"html/template"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"time"
)

//go:embed page
var assets embed.FS

// pagePolicy is the Content-Security-Policy of everything but a mail's own HTML.
const pagePolicy = "default-src 'none'; style-src 'self'; script-src 'self'; connect-src 'self'; img-src 'self'; " +
	"frame-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"

const (
	headerTimeout   = 10 * time.Second
	shutdownTimeout = 2 * time.Second
)

// ServePage serves [Inbox.Handler] on l until ctx ends, then ends the pages'
// event streams, lets the other requests finish for at most two seconds, and
// returns nil once everything it started is done. It fails if l is reachable
// from other machines, or breaks.
func (b *Inbox) ServePage(ctx context.Context, l net.Listener) error {
	if err := requireLoopback(l); err != nil {
		return err
	}
	server := &http.Server{
		Handler:           b.Handler(),
		ReadHeaderTimeout: headerTimeout,
		BaseContext:       func(net.Listener) context.Context { return ctx },
	}
	stopped := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		defer close(stopped)
		patience, cancel := context.WithTimeout(context.WithoutCancel(ctx), shutdownTimeout)
		defer cancel()
		if server.Shutdown(patience) != nil {
			_ = server.Close()
		}
	})
	err := server.Serve(l)
	if stop() {
		return fmt.Errorf("serve the inbox's page on %s: %w", l.Addr(), err)
	}
	<-stopped
	if errors.Is(err, http.ErrServerClosed) {
		return nil
	}
	return fmt.Errorf("serve the inbox's page on %s: %w", l.Addr(), err)
}

// Handler returns the page and the JSON API, to be mounted at the root:
//
//	GET    /                        the list; ?q= searches
//	GET    /mails/{id}              one mail; ?view= html, text, amp, headers, files or source
//	GET    /mails/{id}/html         its HTML for the sandboxed frame; ?images=remote lets remote images load
//	GET    /mails/{id}/raw          its source as text; ?download=1 as a file
//	GET    /mails/{id}/inline/{n}   part n, if it is an image
//	GET    /mails/{id}/files/{n}    part n as a download
//	POST   /delete                  deletes all mails
//	GET    /events                  an event stream: the list's version whenever it changes
//	GET    /api/mails               the list as JSON; ?q= searches
//	GET    /api/mails/{id}          one mail as JSON
//	DELETE /api/mails               deletes all mails
//
// Event streams end with their request's context.
func (b *Inbox) Handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /{$}", b.showList)
	mux.HandleFunc("GET /mails/{id}", b.withMail(b.showMail))
	mux.HandleFunc("GET /mails/{id}/html", b.withMail(serveHTML))
	mux.HandleFunc("GET /mails/{id}/raw", b.withMail(serveRaw))
	mux.HandleFunc("GET /mails/{id}/inline/{n}", b.withMail(serveInline))
	mux.HandleFunc("GET /mails/{id}/files/{n}", b.withMail(serveFile))
	mux.HandleFunc("POST /delete", b.deleteAll)
	mux.HandleFunc("GET /events", b.serveEvents)
	mux.HandleFunc("GET /api/mails", b.apiList)
	mux.HandleFunc("GET /api/mails/{id}", b.apiMail)
	mux.HandleFunc("DELETE /api/mails", b.apiDelete)
	mux.HandleFunc("GET /style.css", serveAsset("style.css", "text/css; charset=utf-8"))
	mux.HandleFunc("GET /live.js", serveAsset("live.js", "text/javascript; charset=utf-8"))
	mux.HandleFunc("GET /icon.svg", serveAsset("icon.svg", "image/svg+xml"))
	return secure(http.NewCrossOriginProtection().Handler(mux))
}

// secure sets the headers that every response has, and refuses requests for a
// host name that is not this machine's: by pointing a name of their own at
// 127.0.0.1, other sites could read the mails (DNS rebinding).
func secure(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h.Set("Content-Security-Policy", pagePolicy)
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("X-Frame-Options", "SAMEORIGIN") // for the mail's HTML; the policy says 'none' for the rest
		h.Set("Referrer-Policy", "no-referrer")
		h.Set("Cross-Origin-Opener-Policy", "same-origin")
		h.Set("X-DNS-Prefetch-Control", "off")
		h.Set("Cache-Control", "no-store")
		if !localHost(r.Host) {
			http.Error(w, "This inbox answers to localhost only.", http.StatusForbidden)
			return
		}
		next.ServeHTTP(w, r)
	})
}

// localHost reports whether a Host header names localhost, one of its
// subdomains (RFC 6761 §6.3) or an address, which no other site can own.
func localHost(host string) bool {
	if name, _, err := net.SplitHostPort(host); err == nil {
		host = name
	}
	host = strings.ToLower(strings.Trim(host, "[]"))
	if _, err := netip.ParseAddr(host); err == nil {
		return true
	}
	return host == "localhost" || strings.HasSuffix(host, ".localhost")
}

// withMail looks up the request's mail; a page says so if it is gone.
func (b *Inbox) withMail(next func(http.ResponseWriter, *http.Request, Mail)) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		m, ok := b.Mail(r.PathValue("id"))
		if !ok {
			b.render(w, http.StatusNotFound, "gone.html", goneView{ID: r.PathValue("id")})
			return
		}
		next(w, r, m)
	}
}

// render executes a page in full before a byte of it is sent, so that an error
// is a 500 and not half a page.
func (b *Inbox) render(w http.ResponseWriter, status int, name string, data any) {
	var page bytes.Buffer
	if err := b.pages.ExecuteTemplate(&page, name, data); err != nil {
		b.options.Log.Error().AnErr("err", err).Msg("inbox page not rendered")
		http.Error(w, "The page could not be rendered; see the log.", http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.WriteHeader(status)
	_, _ = w.Write(page.Bytes())
}

// deleteAll empties the inbox and leads back to it.
func (b *Inbox) deleteAll(w http.ResponseWriter, r *http.Request) {
	b.Clear()
	http.Redirect(w, r, "/", http.StatusSeeOther)
}

// serveEvents sends the version of the list, now and at every change, as
// server-sent events. Changes that come faster than the reader takes them are
// one event.
func (b *Inbox) serveEvents(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", "text/event-stream")
	flush := http.NewResponseController(w)
	for {
		version, changed := b.watch()
		if _, err := fmt.Fprintf(w, "data: %s\n\n", version); err != nil {
			return
		}
		if err := flush.Flush(); err != nil {
			return
		}
		select {
		case <-changed:
		case <-r.Context().Done():
			return
		}
	}
}

// serveAsset serves an embedded file.
func serveAsset(name, contentType string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		content, err := assets.ReadFile("page/" + name)
		if err != nil {
			http.Error(w, "not found", http.StatusNotFound)
			return
		}
		w.Header().Set("Content-Type", contentType)
		_, _ = w.Write(content)
	}
}

// parsePages reads the embedded templates.
func parsePages() (*template.Template, error) {
	return template.New("").Funcs(template.FuncMap{
		"size":    formatSize,
		"shorten": shorten,
	}).ParseFS(assets, "page/*.html")
}
