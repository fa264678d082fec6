package compose

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"

	"code.dny.dev/ssrf"
	"golang.org/x/net/http/httpguts"

	"postrider/delivery"
)

const maxRedirects = 5

// fetcher reads attachments over HTTP. Hosts that are not allowed by name are
// reached only at public addresses: the check is made on the address of each
// connection, after the name has been looked up, so that no name, redirect or
// change of DNS gets round it.
type fetcher struct {
	allowed map[string]bool
	public  *http.Transport // to public addresses only
	named   *http.Transport // to allowed hosts
}

func newFetcher(allowHosts []string) *fetcher {
	f := &fetcher{allowed: make(map[string]bool, len(allowHosts))}
	for _, h := range allowHosts {
		f.allowed[hostKey(h)] = true
	}
	guard := ssrf.New(ssrf.WithAnyPort())
	f.public = newTransport(&net.Dialer{Timeout: 10 * time.Second, Control: guard.Safe})
	f.named = newTransport(&net.Dialer{Timeout: 10 * time.Second})
	return f
}

// newTransport has no proxy: a proxy would make the connection that the dialer
// is to check.
func newTransport(d *net.Dialer) *http.Transport {
	return &http.Transport{
		DialContext:            d.DialContext,
		TLSHandshakeTimeout:    10 * time.Second,
		ResponseHeaderTimeout:  30 * time.Second,
		IdleConnTimeout:        30 * time.Second,
		MaxIdleConnsPerHost:    4,
		MaxResponseHeaderBytes: 64 << 10,
		ForceAttemptHTTP2:      true,
	}
}

func hostKey(host string) string {
	return strings.ToLower(strings.Trim(strings.TrimSuffix(trimSpace(host), "."), "[]"))
}

func (f *fetcher) close() {
	f.public.CloseIdleConnections()
	f.named.CloseIdleConnections()
}

// Why a fetch came to nothing, beyond what net and http say.
var (
	errStatus    = errors.New("invalid status code")
	errTooLarge  = errors.New("too large")
	errRedirects = errors.New("maximum redirect count exceeded")
	errAddress   = errors.New("not an address that can be fetched")
	errHeaders   = errors.New("invalid httpHeaders")
)

// statusError is an answer that is not the file.
type statusError struct {
	code int
}

func (e *statusError) Error() string { return fmt.Sprintf("Invalid status code %d", e.code) }
func (e *statusError) Unwrap() error { return errStatus }

// open asks for a file. The caller's headers go to its own address only, and only if
// its host is allowed by name.
func (f *fetcher) open(ctx context.Context, wanted *file) (*http.Response, error) {
	headers := wanted.headers
	u, err := url.Parse(wanted.source)
	if err != nil {
		return nil, errAddress
	}
	if !f.allowed[hostKey(u.Hostname())] {
		headers = nil
	}
	for range maxRedirects + 1 {
		resp, err := f.get(ctx, u, headers)
		if err != nil {
			return nil, err
		}
		location := resp.Header.Get("Location")
		if !isRedirect(resp.StatusCode) || location == "" {
			return resp, nil
		}
		_ = resp.Body.Close()
		next, err := u.Parse(location)
		if err != nil {
			return nil, errAddress
		}
		if next.Scheme != u.Scheme || !strings.EqualFold(next.Host, u.Host) {
			headers = nil
		}
		u = next
	}
	return nil, errRedirects
}

func (f *fetcher) get(ctx context.Context, u *url.URL, headers []delivery.Header) (*http.Response, error) {
	if u.Scheme != "http" && u.Scheme != "https" || u.Hostname() == "" {
		return nil, errAddress
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, u.String(), nil)
	if err != nil {
		return nil, errAddress
	}
	req.Header.Set("User-Agent", "postrider")
	if u.User != nil {
		password, _ := u.User.Password()
		req.SetBasicAuth(u.User.Username(), password)
	}
	for _, h := range headers {
		if !httpguts.ValidHeaderFieldName(h.Name) || !httpguts.ValidHeaderFieldValue(h.Value) {
			return nil, errHeaders
		}
		if !strings.EqualFold(h.Name, "Accept-Encoding") { // the transport's, which undoes it
			req.Header.Set(h.Name, h.Value)
		}
	}
	transport := f.public
	if f.allowed[hostKey(u.Hostname())] {
		transport = f.named
	}
	return transport.RoundTrip(req)
}

func isRedirect(code int) bool {
	switch code {
	case http.StatusMovedPermanently, http.StatusFound, http.StatusSeeOther,
		http.StatusTemporaryRedirect, http.StatusPermanentRedirect:
		return true
	}
	return false
}

// fetchFailure says in a document what became of a fetch, without telling more
// of the network than that.
func (l *loader) fetchFailure(ctx context.Context, from *file, err error) error {
	f := &delivery.Failure{Class: delivery.Permanent, Phase: delivery.PhaseAttachment, Err: err}
	at := from.where + "." + from.field
	var status *statusError
	var dns *net.DNSError
	var known *delivery.Failure
	switch {
	case errors.As(err, &known):
		return known
	case errors.As(err, &status):
		f.Message = "Error: " + status.Error()
		f.Explain = fmt.Sprintf("The server of %s answered with status %d instead of the file. Check the URL, and that it can be read without signing in.", at, status.code)
		if isPassing(status.code) {
			f.Class = delivery.Transient
		}
	case errors.Is(err, errTooLarge):
		f.Message = fmt.Sprintf("Error: %s is larger than allowed: more than %s (%s)", at, megabytes(l.cap()), l.capSetting())
		f.Explain = "The limits are ATTACHMENT_MAX_BYTES for one attachment and MAX_MESSAGE_BYTES for the mail. Send a smaller file, or a link to it, or raise the limit."
	case errors.Is(err, errRedirects):
		f.Message = "Error: Maximum redirect count exceeded"
		f.Explain = fmt.Sprintf("The server of %s redirected more than %d times. Give the URL of the file itself.", at, maxRedirects)
	case errors.Is(err, errAddress):
		f.Message = "Error: " + at + " is not an address that can be fetched"
		f.Explain = "The URL, or one it redirects to, is not a valid https: or http: URL with a host. Correct it."
	case errors.Is(err, errHeaders):
		f.Message = "Error: " + from.where + ".httpHeaders has a name or value that HTTP does not allow"
		f.Explain = "Names are single words of ASCII, values single lines (RFC 9110 §5). Correct them."
	case isGuarded(err):
		f.Message = "Error: " + at + " is not at a public address"
		f.Explain = "The host of the URL, or of one it redirects to, is in a private, loopback, link-local or otherwise reserved network, and attachments are not fetched from there. If it is meant to be, name the host in ATTACHMENT_ALLOW_HOSTS."
	case errors.As(err, &dns):
		f.Class, f.Message = delivery.Transient, "Error: "+at+" has a host that cannot be found"
		f.Explain = fmt.Sprintf("The host name %q could not be resolved. Check the URL.", dns.Name)
	case isTimeout(err), isTimeout(context.Cause(ctx)):
		f.Class, f.Message = delivery.Transient, "Error: "+at+" could not be fetched in time"
		f.Explain = fmt.Sprintf("All attachments of a mail must be fetched within %s (ATTACHMENT_TIMEOUT).", l.options.FetchTimeout)
	default:
		f.Class, f.Message = delivery.Transient, "Error: "+at+" could not be fetched"
		f.Explain = "The connection to the server failed. Check the URL, and that the server is up; https: needs a valid certificate."
	}
	return f
}

func isPassing(code int) bool {
	return code >= 500 || code == http.StatusTooManyRequests || code == http.StatusRequestTimeout
}

func isGuarded(err error) bool {
	return errors.Is(err, ssrf.ErrProhibitedIP) || errors.Is(err, ssrf.ErrProhibitedPort) ||
		errors.Is(err, ssrf.ErrProhibitedNetwork) || errors.Is(err, ssrf.ErrInvalidHostPort)
}

func isTimeout(err error) bool {
	var n net.Error
	return errors.Is(err, context.DeadlineExceeded) || errors.As(err, &n) && n.Timeout()
}
