package config

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"math/big"
	"slices"
	"strings"
	"testing"
	"time"
)

// pair returns a certificate and its key in PEM.
func pair(t *testing.T) (cert, key string) {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour)}
	certDER, err := x509.CreateCertificate(rand.Reader, template, template, private.Public(), private)
	if err != nil {
		t.Fatal(err)
	}
	keyDER, err := x509.MarshalECPrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: certDER})),
		string(pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: keyDER}))
}

func tlsJSON(t *testing.T, options map[string]any) string {
	t.Helper()
	b, err := json.Marshal(options)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func TestTLSOptionsTakeEffect(t *testing.T) {
	cert, key := pair(t)
	c, err := load(env("TLS_OPTIONS", tlsJSON(t, map[string]any{
		"rejectUnauthorized": false, "servername": "a.test", "minVersion": "TLSv1", "maxVersion": "TLSv1.2",
		"ca": []string{cert, cert}, "cert": cert, "key": key,
	})))
	if err != nil {
		t.Fatal(err)
	}
	got := c.SMTP.TLS
	if !got.InsecureSkipVerify || got.ServerName != "a.test" || got.MinVersion != tls.VersionTLS10 ||
		got.MaxVersion != tls.VersionTLS12 || got.RootCAs == nil || len(got.Certificates) != 1 {
		t.Errorf("got %+v", got)
	}
}

func TestCertificatesAreVerifiedUnlessSaidOtherwise(t *testing.T) {
	for in, insecure := range map[string]bool{
		`{"rejectUnauthorized":true}`:  false,
		`{"minVersion":"TLSv1.3"}`:     false,
		`{"rejectUnauthorized":false}`: true,
	} {
		c, err := load(env("TLS_OPTIONS", in))
		if err != nil || c.SMTP.TLS.InsecureSkipVerify != insecure {
			t.Errorf("%s: got %+v, %v", in, c.SMTP.TLS, err)
		}
	}
	for _, in := range []string{"", " ", "{}"} {
		if c, err := load(env("TLS_OPTIONS", in)); err != nil || c.SMTP.TLS != nil {
			t.Errorf("%q: got %+v, %v", in, c.SMTP.TLS, err)
		}
	}
	c, err := load(env("SMTP_CONNECTION_URI", "smtp://h/?tls.rejectUnauthorized=false"))
	if err != nil || !c.SMTP.TLS.InsecureSkipVerify {
		t.Errorf("in the URI: got %+v, %v", c.SMTP.TLS, err)
	}
}

func TestWrongTLSOptionsStopTheStart(t *testing.T) {
	cert, key := pair(t)
	_, other := pair(t)
	for in, want := range map[string]string{
		"rejectUnauthorized: false":      "is not a JSON object",
		"[]":                             "is not a JSON object",
		`{"rejectUnauthorized":"false"}`: `has a wrong "rejectUnauthorized": write true or false, without`,
		`{"servername":""}`:              `has a wrong "servername"`,
		`{"minVersion":"1.2"}`:           `has a wrong "minVersion"`,
		`{"maxVersion":"TLSv1"}`:         "cannot be used: maxVersion is below TLSv1.2",
		`{"minVersion":"TLSv1.3","maxVersion":"TLSv1.2"}`: "cannot be used: maxVersion is below minVersion",
		`{"ca":"ca.pem"}`:                                      `has a wrong "ca": write PEM`,
		`{"ca":"-----BEGIN CERTIFICATE-----"}`:                 `has a wrong "ca": use certificates`,
		tlsJSON(t, map[string]any{"cert": cert}):               "cannot be used: cert and key are no pair",
		tlsJSON(t, map[string]any{"key": key}):                 "cannot be used: cert and key are no pair",
		tlsJSON(t, map[string]any{"cert": cert, "key": other}): "cannot be used: cert and key are no pair",
	} {
		_, err := load(env("TLS_OPTIONS", in))
		got := faults(t, err)
		if !slices.ContainsFunc(got, func(f string) bool { return strings.HasPrefix(f, "TLS_OPTIONS "+want) }) {
			t.Errorf("%s: got %q, want %s …", in, got, want)
		}
		if strings.Contains(strings.Join(got, ""), "PRIVATE KEY-----\n") {
			t.Errorf("shows a key: %q", got)
		}
	}
}
