package access

import (
	"crypto/hmac"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/base64"
	"errors"
	"fmt"
	"hash"
	"net/http"
	"reflect"
	"strings"
	"testing"
	"time"
)

const hs256 = `{"alg":"HS256","typ":"JWT"}`

// token makes one by hand, signed with the key of the vectors.
func token(t testing.TB, header, payload string) string {
	t.Helper()
	return tokenWith(sha256.New, decode(t, testKey), header, payload)
}

func tokenWith(h func() hash.Hash, key []byte, header, payload string) string {
	enc := base64.RawURLEncoding
	text := enc.EncodeToString([]byte(header)) + "." + enc.EncodeToString([]byte(payload))
	mac := hmac.New(h, key)
	mac.Write([]byte(text))
	return text + "." + enc.EncodeToString(mac.Sum(nil))
}

// payload are claims that are in order, and more of them.
func payload(more string) string {
	return fmt.Sprintf(`{"sub":"me","exp":%d%s}`, testNow.Add(time.Hour).Unix(), more)
}

func bearer(tokens ...string) *http.Request {
	r := &http.Request{Header: http.Header{}}
	for _, t := range tokens {
		r.Header.Add("Authorization", "Bearer "+t)
	}
	return r
}

func TestATokenTellsWhoCallsAndWhatFor(t *testing.T) {
	for more, want := range map[string][]string{
		``:                                 nil,
		`,"scope":"chat"`:                  {"chat"},
		`,"scope":" chat  management "`:    {"chat", "management"},
		`,"scope":["chat","management"]`:   {"chat", "management"},
		`,"scp":"chat"`:                    {"chat"},
		`,"scope":"chat","scp":["x"]`:      {"chat", "x"},
		`,"scope":""`:                      {},
		`,"scope":null`:                    {},
		`,"iss":"a","aud":["b"],"jti":"c"`: nil,
	} {
		got, err := testKeys(t).Bearer(bearer(token(t, hs256, payload(more))), testNow)
		if err != nil || got.Key != 1 || got.Subject != "me" || len(got.Scopes) != len(want) || len(want) > 0 && !reflect.DeepEqual(got.Scopes, want) {
			t.Errorf("%s: %+v, %v", more, got, err)
		}
	}
	c := Caller{Scopes: []string{"chat"}}
	if !c.Has("chat") || c.Has("management") || c.Has("") || c.Has("cha") || (Caller{}).Has("") {
		t.Error("scopes")
	}
}

func TestTokensHoldForTheirTime(t *testing.T) {
	for name, c := range map[string]struct {
		claims string
		from   time.Duration // from testNow
		want   string        // what the reason begins with; empty if the token holds
	}{
		"no exp":                {`"iat":1666668087`, 0, "the token has no exp"},
		"exp is null":           {`"exp":null`, 0, "the token has no exp"},
		"before exp":            {`"exp":1666668087`, -time.Second, ""},
		"within the leeway":     {`"exp":1666668087`, time.Minute - time.Second, ""},
		"after exp":             {`"exp":1666668087`, time.Minute, "the token has expired: the server's time is Tue, 25 Oct 2022 03:22:27 GMT"},
		"exp long ago":          {`"exp":0`, 0, "the token has expired"},
		"exp before the epoch":  {`"exp":-1`, 0, "the token has expired"},
		"exp as text":           {`"exp":"tomorrow"`, 0, "the token is not a JSON Web Token"},
		"nbf within the leeway": {`"exp":1666671687,"nbf":1666668087`, -time.Minute, ""},
		"before nbf":            {`"exp":1666671687,"nbf":1666668087`, -time.Minute - time.Second, "the token is not valid yet: the server's time is"},
		"iat within the leeway": {`"exp":1666671687,"iat":1666668087`, -time.Minute, ""},
		"before iat":            {`"exp":1666671687,"iat":1666668087`, -time.Minute - time.Second, "the token was issued in the future: the server's time is"},
	} {
		got, err := testKeys(t).Bearer(bearer(token(t, hs256, `{"sub":"me",`+c.claims+`}`)), testNow.Add(c.from))
		if c.want == "" && err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if c.want != "" {
			refused(t, name, got, err, c.want)
		}
	}
}

func TestWrongTokensAreRefused(t *testing.T) {
	good := token(t, hs256, payload(""))
	unsigned := good[:strings.LastIndex(good, ".")+1]
	const (
		mismatch  = "the token's signature does not match"
		algorithm = "the token is not signed with HS256"
		malformed = "the token is not a JSON Web Token"
	)
	for name, c := range map[string]struct{ token, want string }{
		"none":                {token(t, `{"alg":"none"}`, payload("")), algorithm},
		"none, unsigned":      {tokenWith(sha256.New, nil, `{"alg":"none"}`, payload(""))[:strings.LastIndex(tokenWith(sha256.New, nil, `{"alg":"none"}`, payload("")), ".")+1], algorithm},
		"HS512":               {tokenWith(sha512.New, decode(t, testKey), `{"alg":"HS512"}`, payload("")), algorithm},
		"HS384":               {token(t, `{"alg":"HS384"}`, payload("")), algorithm},
		"RS256":               {token(t, `{"alg":"RS256"}`, payload("")), algorithm},
		"lower case":          {token(t, `{"alg":"hs256"}`, payload("")), algorithm},
		"no algorithm":        {token(t, `{"typ":"JWT"}`, payload("")), algorithm},
		"algorithm no text":   {token(t, `{"alg":["HS256"]}`, payload("")), algorithm},
		"critical extension":  {token(t, `{"alg":"HS256","crit":["b64"],"b64":false}`, payload("")), "the token has extensions"},
		"another key":         {tokenWith(sha256.New, []byte("0123456789abcdef0123456789abcdeg"), hs256, payload("")), mismatch},
		"the key as text":     {tokenWith(sha256.New, []byte(testKey), hs256, payload("")), mismatch},
		"no key":              {tokenWith(sha256.New, nil, hs256, payload("")), mismatch},
		"no signature":        {unsigned, mismatch},
		"part of a signature": {good[:len(good)-4], mismatch},
		"another's signature": {unsigned + token(t, hs256, payload(`,"a":1`))[strings.LastIndex(token(t, hs256, payload(`,"a":1`)), ".")+1:], mismatch},
		"bits left over":      {good[:len(good)-1] + string("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"[strings.IndexByte("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_", good[len(good)-1])+1]), malformed},
		"padded":              {good + "=", malformed},
		"no sub":              {token(t, hs256, `{"exp":1666671687}`), "the token has no sub"},
		"empty sub":           {token(t, hs256, `{"sub":"","exp":1666671687}`), "the token has no sub"},
		"sub no text":         {token(t, hs256, `{"sub":1,"exp":1666671687}`), malformed},
		"scope no text":       {token(t, hs256, payload(`,"scope":1`)), malformed},
		"scopes no text":      {token(t, hs256, payload(`,"scope":["chat",1]`)), malformed},
		"no object":           {token(t, hs256, `[]`), malformed},
		"no JSON":             {token(t, hs256, `{`), malformed},
		"two parts":           {unsigned[:len(unsigned)-1], malformed},
		"four parts":          {good + ".", malformed},
		"empty":               {"", malformed},
		"space in front":      {" " + good, malformed},
		"too long":            {token(t, hs256, payload(`,"a":"`+strings.Repeat("a", maxToken)+`"`)), "the token is longer than 8192 bytes"},
	} {
		got, err := testKeys(t).Bearer(bearer(c.token), testNow)
		refused(t, name, got, err, c.want)
	}
}

func TestATokenComesInTheHeaderAuthorizationOnce(t *testing.T) {
	good := token(t, hs256, payload(""))
	got, err := testKeys(t).Bearer(bearer(), testNow)
	refused(t, "none", got, err, "the header Authorization is missing")
	got, err = testKeys(t).Bearer(bearer(good, good), testNow)
	refused(t, "two", got, err, "the header Authorization is there more than once")
	r := bearer(good)
	r.Header.Set("Authorization", "bearer "+good) // RFC 9110 §11.1
	if _, err := testKeys(t).Bearer(r, testNow); err != nil {
		t.Error(err)
	}
	r.Header.Set("Authorization", good)
	got, err = testKeys(t).Bearer(r, testNow)
	refused(t, "no scheme", got, err, "the header Authorization is not of the scheme Bearer")
	got, err = New(nil).Bearer(bearer(good), testNow)
	refused(t, "no keys", got, err, "the token's signature does not match")
}

// Only tokens that were made with a key are accepted, to the letter.
func FuzzBearer(f *testing.F) {
	known := map[string]bool{}
	for _, header := range []string{hs256, `{"alg":"none"}`, `{"alg":"RS256"}`, `{"alg":1,"crit":[]}`} {
		for _, more := range []string{"", `,"scope":"chat"`, `,"nbf":1e300`, `,"scp":[[]]`} {
			text := token(f, header, payload(more))
			known[text] = true
			f.Add(text)
		}
	}
	keys := testKeys(f)
	f.Fuzz(func(t *testing.T, text string) {
		got, err := keys.Bearer(bearer(text), testNow)
		if _, denied := errors.AsType[*Denied](err); err != nil && !denied {
			t.Fatalf("%T", err)
		}
		if err == nil && (!known[text] || got.Subject == "") {
			t.Errorf("%q is accepted", text)
		}
	})
}
