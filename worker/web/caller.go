package web

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"time"

	"google.golang.org/api/idtoken"
	"google.golang.org/api/option"
)

// issuer is Google's, of the tokens that it makes for service accounts.
const issuer = "https://accounts.google.com"

// removed is what Cloud Run puts in the place of a token's signature once it has
// checked it itself (Cloud Run documentation, "Troubleshooting").
const removed = "SIGNATURE_REMOVED_BY_GOOGLE"

// keysTime bounds a fetch of Google's public keys.
const keysTime = 10 * time.Second

// Why a caller is refused.
var (
	errToken   = errors.New("token is not valid")
	errAccount = errors.New("token is of another account")
	errKeys    = errors.New("the keys to check tokens with could not be fetched")
)

// Caller knows who may call: one service account of Google Cloud, by the OpenID
// Connect token that Eventarc and Pub/Sub send in its name.
type Caller struct {
	validator *idtoken.Validator
	audience  string
	account   string
}

// NewCaller returns a check for tokens that are made for audience, by Eventarc
// the URL it calls, in the name of the service account with the e-mail address
// account. Keys fetches Google's public keys; nil means over HTTPS, from Google.
func NewCaller(ctx context.Context, audience, account string, keys http.RoundTripper) (*Caller, error) {
	if audience == "" || account == "" {
		return nil, errors.New("check callers: audience and service account are both needed")
	}
	if keys == nil {
		keys = http.DefaultTransport
	}
	client := &http.Client{Transport: keySource{keys}, Timeout: keysTime}
	validator, err := idtoken.NewValidator(ctx, option.WithHTTPClient(client))
	if err != nil {
		return nil, fmt.Errorf("check callers: %w", err)
	}
	return &Caller{validator: validator, audience: audience, account: account}, nil
}

// Check returns nil if a request brings a token (RFC 6750 §2.1) of the account
// for the audience that Google has signed and that is in force. Keys are fetched
// when they are first needed, and again when they are out of date.
func (c *Caller) Check(r *http.Request) error {
	token, err := bearer(r.Header)
	if err != nil {
		return err
	}
	payload, err := c.validator.Validate(r.Context(), token, c.audience)
	if _, unreachable := errors.AsType[*url.Error](err); unreachable {
		return fmt.Errorf("%w: %w", errKeys, err)
	}
	if err != nil {
		return fmt.Errorf("%w: %w", errToken, err)
	}
	if payload.Issuer != issuer {
		return fmt.Errorf("%w: it is not Google's for a service account", errToken)
	}
	if payload.Claims["email"] != c.account || payload.Claims["email_verified"] != true {
		return errAccount
	}
	return nil
}

// bearer returns the token that a request brings, if it says that it is signed
// by RSA with SHA-256. The library takes another algorithm too, that of tokens
// which are not for us, and stumbles there over a signature that is too short.
func bearer(h http.Header) (string, error) {
	scheme, token, _ := strings.Cut(h.Get("Authorization"), " ")
	if !strings.EqualFold(scheme, "Bearer") || token == "" {
		return "", fmt.Errorf("%w: there is none", errToken)
	}
	if strings.HasSuffix(token, "."+removed) {
		return "", fmt.Errorf("%w: Cloud Run has checked it and removed the signature; unset EVENTS_AUDIENCE and EVENTS_SERVICE_ACCOUNT", errToken)
	}
	var header struct {
		Algorithm string `json:"alg"`
	}
	first, _, _ := strings.Cut(token, ".")
	text, err := base64.RawURLEncoding.DecodeString(first)
	if err != nil || json.Unmarshal(text, &header) != nil || header.Algorithm != "RS256" {
		return "", fmt.Errorf("%w: its algorithm is not RS256", errToken)
	}
	return token, nil
}

// keySource fetches keys. An answer without any is a failure to fetch them, so
// that it does not pass for a wrong token.
type keySource struct{ next http.RoundTripper }

func (k keySource) RoundTrip(r *http.Request) (*http.Response, error) {
	res, err := k.next.RoundTrip(r)
	if err != nil || res.StatusCode == http.StatusOK {
		return res, err
	}
	_ = res.Body.Close()
	return nil, fmt.Errorf("status %d", res.StatusCode)
}
