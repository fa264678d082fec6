package web

import (
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"io"
	"math/big"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"
)

const (
	testAudience = "https://postrider.example/events"
	testAccount  = "trigger@demo-p.iam.gserviceaccount.com"
)

// google stands for Google's public keys and who signs with them.
type google struct {
	key     *rsa.PrivateKey
	fetches int
	status  int   // of the answer; 0 means 200
	err     error // in place of an answer
}

func newGoogle(t *testing.T) *google {
	t.Helper()
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	return &google{key: key}
}

// RoundTrip serves the keys, with one of another kind before.
func (g *google) RoundTrip(r *http.Request) (*http.Response, error) {
	g.fetches++
	if g.err != nil {
		return nil, g.err
	}
	w := httptest.NewRecorder()
	if g.status != 0 {
		w.WriteHeader(g.status)
		return w.Result(), nil
	}
	if r.URL.String() != "https://www.googleapis.com/oauth2/v3/certs" {
		return nil, errors.New("not Google's keys: " + r.URL.String())
	}
	w.Header().Set("Cache-Control", "public, max-age=3600")
	key := map[string]string{
		"kid": "k1", "kty": "RSA", "alg": "RS256", "use": "sig",
		"n": encode(g.key.N.Bytes()), "e": encode(big.NewInt(int64(g.key.E)).Bytes()),
	}
	_ = json.NewEncoder(w).Encode(map[string]any{"keys": []any{map[string]string{"kid": "k0"}, key}})
	return w.Result(), nil
}

func encode(b []byte) string { return base64.RawURLEncoding.EncodeToString(b) }

// claims are those of a good token, changed by pairs of names and values; nil
// leaves a claim out.
func claims(changes ...any) map[string]any {
	c := map[string]any{
		"iss": "https://accounts.google.com", "aud": testAudience, "azp": "1", "sub": "1",
		"email": testAccount, "email_verified": true,
		"iat": time.Now().Unix(), "exp": time.Now().Add(time.Hour).Unix(),
	}
	for i := 0; i < len(changes); i += 2 {
		c[changes[i].(string)] = changes[i+1]
		if changes[i+1] == nil {
			delete(c, changes[i].(string))
		}
	}
	return c
}

// token returns a token signed with key by RS256, whatever its header says.
func token(t *testing.T, key *rsa.PrivateKey, header string, c map[string]any) string {
	t.Helper()
	payload, err := json.Marshal(c)
	if err != nil {
		t.Fatal(err)
	}
	text := encode([]byte(header)) + "." + encode(payload)
	sum := sha256.Sum256([]byte(text))
	signature, err := rsa.SignPKCS1v15(rand.Reader, key, crypto.SHA256, sum[:])
	if err != nil {
		t.Fatal(err)
	}
	return text + "." + encode(signature)
}

const rs256 = `{"alg":"RS256","kid":"k1","typ":"JWT"}`

func TestOnlyTheAccountMayCall(t *testing.T) {
	g, stranger := newGoogle(t), newGoogle(t)
	good := token(t, g.key, rs256, claims())
	header, rest, _ := strings.Cut(good, ".")
	payload, signature, _ := strings.Cut(rest, ".")
	for name, c := range map[string]struct {
		authorization string
		want          error
	}{
		"right":                   {"Bearer " + good, nil},
		"scheme in lower case":    {"bearer " + good, nil}, // RFC 9110 §11.1
		"nothing":                 {"", errToken},
		"no token":                {"Bearer ", errToken},
		"another scheme":          {"Basic " + good, errToken},
		"no scheme":               {good, errToken},
		"wrong audience":          {"Bearer " + token(t, g.key, rs256, claims("aud", "https://other.example")), errToken},
		"longer audience":         {"Bearer " + token(t, g.key, rs256, claims("aud", testAudience+"/")), errToken},
		"several audiences":       {"Bearer " + token(t, g.key, rs256, claims("aud", []string{testAudience})), errToken},
		"no audience":             {"Bearer " + token(t, g.key, rs256, claims("aud", nil)), errToken},
		"another account":         {"Bearer " + token(t, g.key, rs256, claims("email", "x"+testAccount)), errAccount},
		"no account":              {"Bearer " + token(t, g.key, rs256, claims("email", nil)), errAccount},
		"account not verified":    {"Bearer " + token(t, g.key, rs256, claims("email_verified", false)), errAccount},
		"verified by a word":      {"Bearer " + token(t, g.key, rs256, claims("email_verified", "true")), errAccount},
		"verified not said":       {"Bearer " + token(t, g.key, rs256, claims("email_verified", nil)), errAccount},
		"another issuer":          {"Bearer " + token(t, g.key, rs256, claims("iss", "https://accounts.google.com.evil.example")), errToken},
		"no issuer":               {"Bearer " + token(t, g.key, rs256, claims("iss", nil)), errToken},
		"expired":                 {"Bearer " + token(t, g.key, rs256, claims("exp", time.Now().Add(-2*time.Second).Unix())), errToken},
		"never expiring":          {"Bearer " + token(t, g.key, rs256, claims("exp", nil)), errToken},
		"signed by a stranger":    {"Bearer " + token(t, stranger.key, rs256, claims()), errToken},
		"unknown key":             {"Bearer " + token(t, g.key, `{"alg":"RS256","kid":"k2"}`, claims()), errToken},
		"key of another kind":     {"Bearer " + token(t, g.key, `{"alg":"RS256","kid":"k0"}`, claims()), errToken},
		"algorithm none":          {"Bearer " + encode([]byte(`{"alg":"none"}`)) + "." + payload + ".", errToken},
		"none, but signed":        {"Bearer " + token(t, g.key, `{"alg":"none","kid":"k1"}`, claims()), errToken},
		"algorithm HS256":         {"Bearer " + token(t, g.key, `{"alg":"HS256","kid":"k1"}`, claims()), errToken},
		"algorithm ES256, short":  {"Bearer " + encode([]byte(`{"alg":"ES256","kid":"k1"}`)) + "." + payload + ".AA", errToken},
		"no algorithm":            {"Bearer " + token(t, g.key, `{"kid":"k1"}`, claims()), errToken},
		"payload changed":         {"Bearer " + header + "." + encode([]byte(strings.Replace(decode(t, payload), `"sub":"1"`, `"sub":"2"`, 1))) + "." + signature, errToken},
		"signature missing":       {"Bearer " + header + "." + payload + ".", errToken},
		"signature cut":           {"Bearer " + good[:len(good)-8], errToken},
		"two parts":               {"Bearer " + header + "." + payload, errToken},
		"four parts":              {"Bearer " + good + ".x", errToken},
		"no base64":               {"Bearer " + header + ".%%." + signature, errToken},
		"header no JSON":          {"Bearer " + encode([]byte("x")) + "." + rest, errToken},
		"signature taken off":     {"Bearer " + header + "." + payload + ".SIGNATURE_REMOVED_BY_GOOGLE", errToken},
		"something in front":      {"Bearer x " + good, errToken},
		"white space at its end":  {"Bearer " + good + " x", errToken},
		"expires at another type": {"Bearer " + token(t, g.key, rs256, claims("exp", "tomorrow")), errToken},
	} {
		t.Run(name, func(t *testing.T) {
			caller, err := NewCaller(t.Context(), testAudience, testAccount, g)
			if err != nil {
				t.Fatal(err)
			}
			r := httptest.NewRequest(http.MethodPost, "/events", nil)
			if c.authorization != "" {
				r.Header.Set("Authorization", c.authorization)
			}
			if err := caller.Check(r); !errors.Is(err, c.want) {
				t.Errorf("got %v, want %v", err, c.want)
			}
		})
	}
}

func decode(t *testing.T, s string) string {
	t.Helper()
	b, err := base64.RawURLEncoding.DecodeString(s)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func TestASignatureTakenOffByCloudRunIsExplained(t *testing.T) {
	caller, err := NewCaller(t.Context(), testAudience, testAccount, newGoogle(t))
	if err != nil {
		t.Fatal(err)
	}
	r := httptest.NewRequest(http.MethodPost, "/events", nil)
	r.Header.Set("Authorization", "Bearer e30.e30.SIGNATURE_REMOVED_BY_GOOGLE")
	if err := caller.Check(r); err == nil || !strings.Contains(err.Error(), "unset EVENTS_AUDIENCE") {
		t.Errorf("got %v", err)
	}
}

func TestKeysAreFetchedOnceAndTheirFailureIsNoVerdict(t *testing.T) {
	g := newGoogle(t)
	caller, err := NewCaller(t.Context(), testAudience, testAccount, g)
	if err != nil {
		t.Fatal(err)
	}
	check := func(token string) error {
		r := httptest.NewRequest(http.MethodPost, "/events", nil)
		r.Header.Set("Authorization", "Bearer "+token)
		return caller.Check(r)
	}
	good := token(t, g.key, rs256, claims())
	for _, wrong := range []string{"x", token(t, g.key, `{"alg":"ES256","kid":"k1"}`, claims()), token(t, g.key, rs256, claims("aud", "x"))} {
		if err := check(wrong); !errors.Is(err, errToken) || g.fetches != 0 {
			t.Errorf("got %v after %d fetches", err, g.fetches)
		}
	}
	g.status = http.StatusInternalServerError
	if err := check(good); !errors.Is(err, errKeys) {
		t.Errorf("keys answered with 500: %v", err)
	}
	g.status, g.err = 0, io.ErrUnexpectedEOF
	if err := check(good); !errors.Is(err, errKeys) || !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("keys cut off: %v", err)
	}
	g.err, g.fetches = nil, 0
	for range 3 {
		if err := check(good); err != nil {
			t.Error(err)
		}
	}
	if g.fetches != 1 {
		t.Errorf("%d fetches for three good tokens", g.fetches)
	}
}

func TestCallerNeedsBothSettings(t *testing.T) {
	for _, c := range [][2]string{{"", testAccount}, {testAudience, ""}, {"", ""}} {
		if _, err := NewCaller(t.Context(), c[0], c[1], nil); err == nil {
			t.Errorf("%q: no error", c)
		}
	}
	if _, err := NewCaller(t.Context(), testAudience, testAccount, nil); err != nil {
		t.Errorf("without a transport: %v", err)
	}
}
