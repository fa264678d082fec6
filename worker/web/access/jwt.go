package access

import (
	"encoding/json"
	"errors"
	"net/http"
	"strings"
	"time"

	"github.com/golang-jwt/jwt/v5"
)

const (
	// maxToken is the longest token that is looked at, in bytes.
	maxToken = 8 << 10

	// leeway is how far the clock of who makes tokens may be from the server's.
	leeway = time.Minute
)

// Bearer returns the caller of a request with a token: one signed with HS256 and
// nothing else, which has a sub and an exp that is not over, no nbf and iat that
// are to come, a minute given or taken, and the scopes in scope or scp.
//
// The error is a [*Denied].
func (k *Keys) Bearer(r *http.Request, now time.Time) (Caller, error) {
	text, err := credentials(r.Header, "Bearer")
	if err != nil {
		return Caller{}, err
	}
	if len(text) > maxToken {
		return Caller{}, denied("the token is longer than %d bytes", maxToken)
	}
	var c claims
	token, parts, err := jwt.NewParser(jwt.WithStrictDecoding()).ParseUnverified(text, &c)
	if token == nil || errors.Is(err, jwt.ErrTokenMalformed) {
		return Caller{}, denied("the token is not a JSON Web Token with the claims sub, exp and scope")
	}
	if err != nil || token.Method != jwt.SigningMethodHS256 {
		return Caller{}, denied("the token is not signed with HS256")
	}
	// RFC 7515 §4.1.11: who does not know an extension must refuse the token.
	if _, critical := token.Header["crit"]; critical {
		return Caller{}, denied("the token has extensions that must be understood (crit), and are not")
	}
	found := k.signer(parts[0]+"."+parts[1], token.Signature)
	if found < 0 {
		return Caller{}, denied("the token's signature does not match: sign it with a key of this server, decoded from base64")
	}
	if err := c.check(now); err != nil {
		return Caller{}, err
	}
	return Caller{Key: found, Subject: c.Subject, Scopes: append(c.Scope, c.SCP...)}, nil
}

// claims are those of a token that are read.
type claims struct {
	jwt.RegisteredClaims
	Scope words `json:"scope"` // RFC 8693 §4.2
	SCP   words `json:"scp"`   // as Microsoft calls it
}

// check returns why a token whose signature is right is not accepted.
func (c *claims) check(now time.Time) error {
	err := jwt.NewValidator(
		jwt.WithTimeFunc(func() time.Time { return now }),
		jwt.WithLeeway(leeway),
		jwt.WithExpirationRequired(),
		jwt.WithIssuedAt(),
	).Validate(c)
	const at = ": the server's time is %s"
	clock := now.UTC().Format(http.TimeFormat)
	switch {
	case c.Subject == "":
		return denied("the token has no sub")
	case errors.Is(err, jwt.ErrTokenRequiredClaimMissing):
		return denied("the token has no exp")
	case errors.Is(err, jwt.ErrTokenExpired):
		return denied("the token has expired"+at, clock)
	case errors.Is(err, jwt.ErrTokenNotValidYet):
		return denied("the token is not valid yet"+at, clock)
	case errors.Is(err, jwt.ErrTokenUsedBeforeIssued):
		return denied("the token was issued in the future"+at, clock)
	case err != nil:
		return denied("the token's claims are not valid")
	}
	return nil
}

// words are a list in JSON, or a string with spaces between them.
type words []string

func (w *words) UnmarshalJSON(b []byte) error {
	var text string
	if json.Unmarshal(b, &text) == nil {
		*w = strings.Fields(text)
		return nil
	}
	var list []string
	if err := json.Unmarshal(b, &list); err != nil {
		return err
	}
	*w = list
	return nil
}
