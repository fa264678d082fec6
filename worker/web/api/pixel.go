package api

import (
	"context"
	"crypto/sha256"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"

	"golang.org/x/time/rate"

	"postrider/delivery/receipt"
)

// pixel is a GIF of one transparent pixel (GIF89a).
const pixel = "GIF89a\x01\x00\x01\x00\x80\x00\x00\x00\x00\x00\xff\xff\xff" +
	"!\xf9\x04\x01\x00\x00\x00\x00,\x00\x00\x00\x00\x01\x00\x01\x00\x00\x02\x02D\x01\x00;"

// What strangers may cost: anybody who has got a mail can load its pixel, as often
// as they like. An open that was put down is not put down again while it is
// remembered, and of others so many in a second; what comes beyond is not counted.
const (
	maxOpens   = 100    // that are put down in a second
	maxKnown   = 10_000 // that are remembered
	recordTime = 5 * time.Second
)

// Pixels is what opens are told by. The zero value has none: each is answered with
// 404. It is safe for concurrent use.
type Pixels struct {
	tokens *receipt.Pixels
	opens  *opens
}

// NewPixels returns the pixels with some tokens.
func NewPixels(tokens *receipt.Pixels) Pixels {
	return Pixels{tokens: tokens, opens: &opens{limit: rate.NewLimiter(maxOpens, maxOpens), known: map[[sha256.Size]byte]bool{}}}
}

// pixel answers with a picture, and puts down that its mail was opened. It is
// public: the token says of which mail, and nobody can make one. That the open could
// not be put down is nothing that who looks at a mail should wait for, or see.
func (a *API) pixel(w http.ResponseWriter, r *http.Request, args map[string]string) int {
	name, gif := strings.CutSuffix(args["token"], ".gif")
	token, ok := a.Pixels.read(name)
	switch {
	case !gif || !ok:
		return a.write(w, &route{name: "pixel"}, reply{}, missing(plain))
	case r.Method != http.MethodGet && r.Method != http.MethodHead:
		return a.write(w, &route{name: "pixel"}, reply{}, &problem{
			status: http.StatusMethodNotAllowed, Code: "MethodNotAllowed", allow: "GET, HEAD", Message: "the method is not GET",
		})
	}
	h := w.Header()
	h.Set("Content-Type", "image/gif")
	h.Set("Content-Length", strconv.Itoa(len(pixel)))
	h.Set("Cache-Control", "no-store") // the next reader is another one
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Cross-Origin-Resource-Policy", "cross-origin")
	w.WriteHeader(http.StatusOK)
	if r.Method == http.MethodHead {
		return http.StatusOK // nobody looks at it
	}
	_, _ = w.Write([]byte(pixel)) // the client may be gone
	_ = http.NewResponseController(w).Flush()
	a.opened(r.Context(), name, token)
	return http.StatusOK
}

// opened puts down that a mail was opened. The client need not wait for it. What
// could not be put down is counted as the answer 503 on a route of its own, and what
// came beyond the bound as 429.
func (a *API) opened(ctx context.Context, name string, token receipt.Token) {
	switch known, allowed := a.Pixels.opens.begin(name); {
	case known:
		return
	case !allowed:
		a.Count("open", http.StatusTooManyRequests)
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), recordTime)
	defer cancel()
	r := receipt.Receipt{Kind: receipt.Open, Recipient: token.Recipient, MessageID: token.MessageID, ReadOn: a.Mails.Now()}
	if err := a.Receipts.AddReceipt(ctx, token.Document, r.ID(), r.Fields()); err != nil {
		a.Pixels.opens.forget(name)
		a.Count("open", http.StatusServiceUnavailable)
		a.Log.Warn().Str("doc", token.Document).Err(err).Msg("that a mail was opened could not be recorded")
		return
	}
	a.Count("open", http.StatusNoContent)
}

// read returns what a token says.
func (p Pixels) read(name string) (receipt.Token, bool) {
	if p.tokens == nil {
		return receipt.Token{}, false
	}
	return p.tokens.Verify(name)
}

// opens bounds how many opens are put down, and remembers the latest.
type opens struct {
	limit *rate.Limiter

	mu    sync.Mutex
	known map[[sha256.Size]byte]bool // by token
}

// begin reports whether an open is known already, and else whether it may be put
// down, as which it is known then.
func (o *opens) begin(name string) (known, allowed bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	key := sha256.Sum256([]byte(name))
	if o.known[key] {
		return true, false
	}
	if !o.limit.Allow() {
		return false, false
	}
	if len(o.known) >= maxKnown {
		clear(o.known)
	}
	o.known[key] = true
	return false, true
}

// forget forgets an open that could not be put down: the next time it may be.
func (o *opens) forget(name string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	delete(o.known, sha256.Sum256([]byte(name)))
}
