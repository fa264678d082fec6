package config

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
)

// tlsSettings are the TLS options of TLS_OPTIONS and of the URI, by the names
// of Node's tls.connect. The extension drops the former; here both take effect.
type tlsSettings struct {
	insecure               bool
	serverName             string
	minVersion, maxVersion uint16
	ca                     []string // PEM
	cert, key              string   // PEM
	given                  map[string]bool
}

// tlsJSON reads TLS_OPTIONS.
func (r *reader) tlsJSON() *tlsSettings {
	t := &tlsSettings{given: map[string]bool{}}
	text, _ := r.lookup("TLS_OPTIONS")
	if strings.TrimSpace(text) == "" {
		return t
	}
	const example = `write a JSON object, as {"minVersion":"TLSv1.3"}, or unset it`
	var options map[string]any
	if err := json.Unmarshal([]byte(text), &options); err != nil {
		r.fault("TLS_OPTIONS", "is not a JSON object", example)
		return t
	}
	for _, name := range slices.Sorted(maps.Keys(options)) {
		if !slices.Contains(tlsNames(), name) {
			r.warn("TLS_OPTIONS", "has "+quote(name)+", which has no effect", "remove it; there are "+strings.Join(tlsNames(), ", ")+", and only TLS's secure cipher suites are used")
			continue
		}
		if err := t.set(name, options[name]); err != nil {
			r.fault("TLS_OPTIONS", "has a wrong "+quote(name), err.Error())
		}
	}
	return t
}

// tlsNames lists the options that take effect.
func tlsNames() []string {
	return []string{"rejectUnauthorized", "servername", "minVersion", "maxVersion", "ca", "cert", "key"}
}

// set takes in one option of tlsNames. The error says what to write instead.
func (t *tlsSettings) set(name string, v any) error {
	if t.given[name] {
		return errors.New("give it once, in TLS_OPTIONS or in SMTP_CONNECTION_URI")
	}
	t.given[name] = true
	var ok bool
	switch name {
	case "rejectUnauthorized":
		var reject bool
		if reject, ok = v.(bool); !ok {
			return errors.New("write true or false, without quotation marks")
		}
		t.insecure = !reject
	case "servername":
		if t.serverName, ok = v.(string); !ok || t.serverName == "" {
			return errors.New("write the name in the server's certificate, as a string")
		}
	case "minVersion":
		return tlsVersion(&t.minVersion, v)
	case "maxVersion":
		return tlsVersion(&t.maxVersion, v)
	case "ca":
		return t.setCA(v)
	case "cert":
		return setPEM(&t.cert, v)
	case "key":
		return setPEM(&t.key, v)
	}
	return nil
}

func setPEM(into *string, v any) error {
	s, ok := v.(string)
	if !ok || !strings.Contains(s, "-----BEGIN ") {
		return errors.New(`write PEM as a string, as "-----BEGIN …", its line breaks as \n`)
	}
	*into = s
	return nil
}

func (t *tlsSettings) setCA(v any) error {
	list, ok := v.([]any)
	if !ok {
		list = []any{v}
	}
	for _, v := range list {
		var pem string
		if err := setPEM(&pem, v); err != nil {
			return err
		}
		if !x509.NewCertPool().AppendCertsFromPEM([]byte(pem)) {
			return errors.New("use certificates in PEM: this holds none that can be read")
		}
		t.ca = append(t.ca, pem)
	}
	return nil
}

func tlsVersion(into *uint16, v any) error {
	versions := map[string]uint16{
		"TLSv1": tls.VersionTLS10, "TLSv1.1": tls.VersionTLS11, "TLSv1.2": tls.VersionTLS12, "TLSv1.3": tls.VersionTLS13,
	}
	s, _ := v.(string)
	version, ok := versions[s]
	if !ok {
		return errors.New("write TLSv1, TLSv1.1, TLSv1.2 or TLSv1.3, as a string")
	}
	*into = version
	return nil
}

// config returns what the options come to; nil if there are none.
func (t *tlsSettings) config() (*tls.Config, error) {
	if len(t.given) == 0 {
		return nil, nil
	}
	c := &tls.Config{
		ServerName:         t.serverName,
		InsecureSkipVerify: t.insecure, //nolint:gosec // only where rejectUnauthorized is set to false
		MinVersion:         t.minVersion,
		MaxVersion:         t.maxVersion,
	}
	if t.maxVersion != 0 && t.maxVersion < max(t.minVersion, tls.VersionTLS12) {
		if t.minVersion == 0 {
			return nil, errors.New("maxVersion is below TLSv1.2, the lowest without a minVersion: set minVersion, too")
		}
		if t.maxVersion < t.minVersion {
			return nil, errors.New("maxVersion is below minVersion: swap them")
		}
	}
	if len(t.ca) > 0 {
		c.RootCAs = x509.NewCertPool()
		for _, pem := range t.ca {
			c.RootCAs.AppendCertsFromPEM([]byte(pem))
		}
	}
	if t.cert == "" && t.key == "" {
		return c, nil
	}
	pair, err := tls.X509KeyPair([]byte(t.cert), []byte(t.key))
	if err != nil {
		return nil, fmt.Errorf("cert and key are no pair of certificate and private key in PEM (%w): give both", err)
	}
	c.Certificates = []tls.Certificate{pair}
	return c, nil
}
