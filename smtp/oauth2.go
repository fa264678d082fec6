package smtp

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"

	"golang.org/x/oauth2"
)

// GoogleTokenURL is where access tokens come from if nothing else is set.
const GoogleTokenURL = "https://oauth2.googleapis.com/token"

// tokenTimeout is how long a token may take to come.
const tokenTimeout = 20 * time.Second

// OAuth2 says how to get access tokens for AUTH XOAUTH2, by the refresh token
// flow (RFC 6749 §6).
type OAuth2 struct {
	User         string // whose mailbox
	ClientID     string
	ClientSecret Secret // empty for public clients
	RefreshToken Secret
	TokenURL     string       // empty for GoogleTokenURL
	Client       *http.Client // nil for a plain one; redirects are never followed
}

// Format prints the user alone, for every verb, as [Options.Format] does.
func (o OAuth2) Format(f fmt.State, _ rune) {
	_, _ = fmt.Fprintf(f, "OAuth2 for %s", o.User)
}

func (o *OAuth2) check() error {
	var errs []error
	for _, f := range []struct{ name, value string }{
		{"user", o.User}, {"client ID", o.ClientID}, {"refresh token", o.RefreshToken.Reveal()},
	} {
		if f.value == "" {
			errs = append(errs, fmt.Errorf("smtp: OAuth2 needs a %s", f.name))
		}
	}
	if hasControl(o.User) {
		errs = append(errs, errors.New("smtp: the OAuth2 user has control characters"))
	}
	if u, err := url.Parse(o.TokenURL); o.TokenURL != "" && (err != nil || u.Host == "") {
		errs = append(errs, fmt.Errorf("smtp: token URL %q is not a URL", o.TokenURL))
	}
	return errors.Join(errs...)
}

// TokenError is a refusal or failure to issue an access token.
type TokenError struct {
	Status int    // HTTP status; 0 if there was no answer
	Code   string // OAuth2's error code, as in "invalid_grant"; may be empty
	Err    error  // the cause where there was no answer; nil otherwise
}

// Error says what the token server said, without its words: they may quote the
// request.
func (e *TokenError) Error() string {
	switch {
	case e.Err != nil:
		return fmt.Sprintf("get an OAuth2 access token: %v", e.Err)
	case e.Code != "":
		return fmt.Sprintf("get an OAuth2 access token: %s (HTTP %d)", e.Code, e.Status)
	default:
		return fmt.Sprintf("get an OAuth2 access token: HTTP %d", e.Status)
	}
}

// Unwrap returns the cause.
func (e *TokenError) Unwrap() error { return e.Err }

// Temporary says that asking again later may help.
func (e *TokenError) Temporary() bool {
	return e.Err != nil || e.Status >= 500 || e.Status == http.StatusTooManyRequests
}

// tokens keeps one access token for all connections, until it expires or a
// server refuses it.
type tokens struct {
	o      *OAuth2
	config oauth2.Config
	client *http.Client
	turn   chan struct{} // holds one value while somebody has the token in hand
	kept   *oauth2.Token // guarded by turn
}

func newTokens(o *OAuth2) *tokens {
	if o == nil {
		return nil
	}
	t := &tokens{o: o, turn: make(chan struct{}, 1), client: &http.Client{}}
	t.config = oauth2.Config{ClientID: o.ClientID, ClientSecret: o.ClientSecret.Reveal()}
	t.config.Endpoint = oauth2.Endpoint{TokenURL: o.TokenURL, AuthStyle: oauth2.AuthStyleInParams}
	if o.TokenURL == "" {
		t.config.Endpoint.TokenURL = GoogleTokenURL
	}
	if o.Client != nil {
		c := *o.Client
		t.client = &c
	}
	t.client.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	return t
}

// token returns the kept token, or a new one. One request is under way at a
// time; the others wait for its result.
func (t *tokens) token(ctx context.Context) (string, error) {
	select {
	case t.turn <- struct{}{}:
	case <-ctx.Done():
		return "", ctx.Err()
	}
	defer func() { <-t.turn }()
	if t.kept.Valid() {
		return t.kept.AccessToken, nil
	}
	ctx, stop := context.WithTimeout(ctx, tokenTimeout)
	defer stop()
	ctx = context.WithValue(ctx, oauth2.HTTPClient, t.client)
	refresh := &oauth2.Token{RefreshToken: t.o.RefreshToken.Reveal()}
	token, err := t.config.TokenSource(ctx, refresh).Token()
	if err != nil {
		return "", t.explain(err)
	}
	if token.AccessToken == "" || hasControl(token.AccessToken) {
		return "", &TokenError{Status: http.StatusOK, Code: "unusable access token"}
	}
	t.kept = token
	return token.AccessToken, nil
}

// drop forgets a token that a server refused, unless another one has taken its
// place already.
func (t *tokens) drop(token string) {
	t.turn <- struct{}{}
	defer func() { <-t.turn }()
	if t.kept != nil && t.kept.AccessToken == token {
		t.kept = nil
	}
}

// explain is the error for a request that brought no token. Nothing in it is
// what the server said: an answer that is no JSON, or no HTTP, may hold what was
// sent, and so may a code that is not OAuth2's (RFC 6749 §5.2).
func (t *tokens) explain(err error) error {
	var r *oauth2.RetrieveError
	if !errors.As(err, &r) {
		return &TokenError{Err: networkError(err)}
	}
	e := &TokenError{Code: r.ErrorCode}
	if r.Response != nil {
		e.Status = r.Response.StatusCode
	}
	if len(e.Code) > 64 || strings.Trim(e.Code, "abcdefghijklmnopqrstuvwxyz_") != "" {
		e.Code = ""
	}
	for _, secret := range []Secret{t.o.RefreshToken, t.o.ClientSecret} {
		if secret != "" && strings.Contains(e.Code, secret.Reveal()) {
			e.Code = ""
		}
	}
	return e
}

// networkError returns the part of err that is about the network, and a
// sentence for anything else.
func networkError(err error) error {
	var op *net.OpError
	var verify *tls.CertificateVerificationError
	switch {
	case errors.As(err, &op):
		return op
	case errors.As(err, &verify):
		return verify
	case isTimeout(err):
		return fmt.Errorf("the token server does not answer: %w", context.DeadlineExceeded)
	case isClosed(err):
		return fmt.Errorf("the token server: %w", ErrClosed)
	}
	return errors.New("the token server's answer cannot be read")
}
