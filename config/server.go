package config

import (
	"errors"
	"fmt"
	"net"
	"net/url"
	"slices"
	"strings"
	"time"

	"postrider/smtp"
)

// The values of AUTH_TYPE.
const (
	authPassword = "UsernamePassword"
	authAPIKey   = "ApiKey"
	authOAuth2   = "OAuth2"
)

const exampleURI = "smtp://user@smtp.example.com:587 or smtps://user@smtp.example.com:465"

// smtp reads how to reach the server.
func (r *reader) smtp() smtp.Options {
	o := smtp.Options{
		AllowPlaintextAuth: r.boolean("SMTP_ALLOW_PLAINTEXT_AUTH"),
		MaxConnections:     int(r.number("SMTP_MAX_CONNECTIONS", 1, 1000)),
		MaxMessages:        int(r.number("SMTP_MAX_MESSAGES_PER_CONNECTION", 0, 1_000_000)),
		ConnectTimeout:     r.duration("SMTP_CONNECT_TIMEOUT", time.Millisecond, 10*time.Minute),
		GreetingTimeout:    r.duration("SMTP_GREETING_TIMEOUT", time.Millisecond, 10*time.Minute),
		SocketTimeout:      r.duration("SMTP_SOCKET_TIMEOUT", time.Millisecond, 10*time.Minute),
		Pipelining:         r.pipelining(),
	}
	t := r.tlsJSON()
	if r.authType() == authOAuth2 {
		r.oauth2(&o)
	} else {
		r.uri(&o, t)
	}
	var err error
	if o.TLS, err = t.config(); err != nil {
		r.fault("TLS_OPTIONS", "cannot be used", err.Error())
	}
	return o
}

func (r *reader) pipelining() smtp.Pipelining {
	switch r.choice("SMTP_PIPELINING", "lookahead", "envelope", "off") {
	case "envelope":
		return smtp.EnvelopeOnly
	case "off":
		return smtp.NoPipelining
	}
	return smtp.Lookahead
}

// authType reads AUTH_TYPE. For the extension any value but OAuth2 means the
// URI; where there is no URI, such a value is a fault.
func (r *reader) authType() string {
	const name = "AUTH_TYPE"
	types := []string{authPassword, authAPIKey, authOAuth2}
	if v := r.text(name); r.isSet("SMTP_CONNECTION_URI") && !slices.Contains(types, v) {
		r.warn(name, "is "+quote(v)+" and counts as "+authPassword, "use one of "+strings.Join(types, ", "))
		return authPassword
	}
	return r.choice(name, types...)
}

// uri reads SMTP_CONNECTION_URI and SMTP_PASSWORD.
//
// Departure: for a host whose name has outlook, office365 or hotmail in it the
// extension puts a server of its own choice; the URI's is used here. As by the
// extension, smtp.sendgrid.net needs no user, its name being apikey always.
func (r *reader) uri(o *smtp.Options, t *tlsSettings) {
	const name = "SMTP_CONNECTION_URI"
	password := r.secret("SMTP_PASSWORD")
	text := r.required(name, exampleURI)
	if text == "" {
		return
	}
	u, err := parseURI(text)
	if err != nil {
		r.fault(name, err.Error(), "write it as "+exampleURI)
		return
	}
	o.Host, o.Port, o.Secure = u.host, u.port, u.secure
	o.Username, o.Password = u.user, smtp.Secret(u.password)
	if password != "" {
		o.Password = smtp.Secret(password)
	}
	if o.Username == "" && o.Password != "" && o.Host == "smtp.sendgrid.net" {
		o.Username = "apikey"
	}
	r.uriOptions(o, t, u)
}

// oauth2 reads the variables for AUTH_TYPE=OAuth2. The URI is not used then.
func (r *reader) oauth2(o *smtp.Options) {
	o.Secure = r.boolean("OAUTH_SECURE")
	o.Port = int(r.number("OAUTH_PORT", 1, 65535))
	if o.Port == 0 {
		o.Port = defaultPort(o.Secure)
	}
	if o.Port == 465 && !o.Secure {
		r.fault("OAUTH_SECURE", "is false, and OAUTH_PORT is 465, the port for TLS from the first byte", "set it to true, or the port to 587")
	}
	host := r.required("HOST", "smtp.gmail.com")
	if host != "" {
		var err error
		if o.Host, err = hostName(host); err != nil {
			r.fault("HOST", "is "+quote(host), "write the server's name alone, as smtp.gmail.com")
		}
	}
	o.OAuth2 = &smtp.OAuth2{
		User:         r.required("USER", "the account to send as, me@example.com"),
		ClientID:     r.required("CLIENT_ID", "the OAuth client's ID"),
		ClientSecret: smtp.Secret(r.required("CLIENT_SECRET", "the OAuth client's secret")),
		RefreshToken: smtp.Secret(r.required("REFRESH_TOKEN", "the refresh token of that account")),
		TokenURL:     r.tokenURL(),
	}
}

// tokenURL must be https, since secrets are sent there, but on this machine.
func (r *reader) tokenURL() string {
	v := r.text("OAUTH_TOKEN_URL")
	u, err := url.Parse(v)
	ip := net.IP(nil)
	if err == nil {
		ip = net.ParseIP(u.Hostname())
	}
	local := err == nil && u.Scheme == "http" && (u.Hostname() == "localhost" || ip.IsLoopback())
	if err != nil || u.Host == "" || u.Scheme != "https" && !local {
		r.fault("OAUTH_TOKEN_URL", "is "+quote(v), "write an https URL, or unset it for Google's")
	}
	return v
}

// uriOptions takes in the options of the URI.
func (r *reader) uriOptions(o *smtp.Options, t *tlsSettings, u uri) {
	const name = "SMTP_CONNECTION_URI"
	known := map[string]uriOption{}
	for _, option := range uriOptions() {
		known[option.name] = option
	}
	for _, name := range [...]string{"lmtp", "proxy", "service", "sendmail", "streamTransport", "jsonTransport"} {
		known[name] = uriOption{name, unsupported}
	}
	for _, key := range sortedKeys(u.options) {
		option, ok := known[key]
		switch {
		case !ok && (strings.Contains(key, "@") || slices.ContainsFunc(uriOptions(), func(o uriOption) bool { return strings.EqualFold(o.name, key) })):
			r.fault(name, "has the unknown option "+quote(key), "remove it, or use one of "+uriOptionNames())
		case !ok:
			r.warn(name, "has the option "+quote(key)+", which has no effect", "remove it, or use one of "+uriOptionNames())
		case len(u.options[key]) > 1:
			r.fault(name, "has the option "+key+" more than once", "give it once")
		default:
			target := uriTarget{Options: o, tls: t, uri: u, reader: r}
			if err := option.set(target, u.options.Get(key)); err != nil {
				r.fault(name, "has a wrong "+key, err.Error())
			}
		}
	}
	if truth(u.options.Get("requireTLS")) && truth(u.options.Get("ignoreTLS")) {
		r.fault(name, "has both requireTLS and ignoreTLS", "remove one of them")
	}
}

// uriTarget is what an option of the URI has its effect on.
type uriTarget struct {
	*smtp.Options
	tls    *tlsSettings
	uri    uri
	reader *reader
}

// uriOption is one option of the URI. The error of set says what to write.
type uriOption struct {
	name string
	set  func(t uriTarget, value string) error
}

// uriOptions lists the options of nodemailer's URIs that take effect, or are
// without meaning here.
func uriOptions() []uriOption {
	return []uriOption{
		{"authMethod", setMechanism},
		{"connectionTimeout", func(t uriTarget, v string) error {
			return t.timeout(&t.ConnectTimeout, "SMTP_CONNECT_TIMEOUT", v)
		}},
		{"debug", ignoreFlag},
		{"dnsTimeout", func(t uriTarget, v string) error {
			var within time.Duration // of the connection's
			return t.timeout(&within, "", v)
		}},
		{"greetingTimeout", func(t uriTarget, v string) error {
			return t.timeout(&t.GreetingTimeout, "SMTP_GREETING_TIMEOUT", v)
		}},
		{"ignoreTLS", func(t uriTarget, v string) error { return t.startTLS(smtp.Ignore, v) }},
		{"localAddress", setLocalAddress},
		{"logger", ignoreFlag},
		{"maxConnections", func(t uriTarget, v string) error {
			return t.count(&t.MaxConnections, "SMTP_MAX_CONNECTIONS", 1000, v)
		}},
		{"maxMessages", func(t uriTarget, v string) error {
			return t.count(&t.MaxMessages, "SMTP_MAX_MESSAGES_PER_CONNECTION", 1_000_000, v)
		}},
		{"name", setName},
		{"opportunisticTLS", func(t uriTarget, v string) error { return t.startTLS(t.StartTLS, v) }},
		{"pool", setPool},
		{"requireTLS", func(t uriTarget, v string) error { return t.startTLS(smtp.Required, v) }},
		{"secure", setSecure},
		{"socketTimeout", func(t uriTarget, v string) error {
			return t.timeout(&t.SocketTimeout, "SMTP_SOCKET_TIMEOUT", v)
		}},
		{"tls.maxVersion", func(t uriTarget, v string) error { return t.tls.set("maxVersion", v) }},
		{"tls.minVersion", func(t uriTarget, v string) error { return t.tls.set("minVersion", v) }},
		{"tls.rejectUnauthorized", setReject},
		{"tls.servername", func(t uriTarget, v string) error { return t.tls.set("servername", v) }},
	}
}

func uriOptionNames() string {
	var names []string
	for _, o := range uriOptions() {
		names = append(names, o.name)
	}
	return strings.Join(names, ", ")
}

// timeout and count read numbers. As for nodemailer, 0 stands for the default.
func (t uriTarget) timeout(into *time.Duration, variable, v string) error {
	n, err := wholeNumber(v, 0, 86_400_000)
	if err != nil {
		return fmt.Errorf("%w of milliseconds", err)
	}
	if variable != "" && t.reader.isSet(variable) {
		return errors.New("remove it from the URI: " + variable + " sets it, too")
	}
	if n > 0 {
		*into = time.Duration(n) * time.Millisecond
	}
	return nil
}

func (t uriTarget) count(into *int, variable string, high int, v string) error {
	n, err := wholeNumber(v, 0, high)
	if err != nil {
		return err
	}
	if t.reader.isSet(variable) {
		return errors.New("remove it from the URI: " + variable + " sets it, too")
	}
	if n > 0 {
		*into = n
	}
	return nil
}

func (t uriTarget) startTLS(policy smtp.StartTLS, v string) error {
	on, err := flag(v)
	if err == nil && on {
		t.StartTLS = policy
	}
	return err
}
