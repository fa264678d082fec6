package config

import (
	"errors"
	"net"
	"net/netip"
	"net/url"
	"strconv"
	"strings"

	"golang.org/x/net/idna"
)

// uri is an SMTP connection URI taken apart.
type uri struct {
	secure         bool // smtps
	user, password string
	host           string // in punycode if need be; an IPv6 address without brackets
	port           int    // the scheme's if the URI has none
	options        url.Values
}

// What may be wrong with the form of a URI. None of the texts shows the URI: it
// may hold a password.
var (
	errNotURI   = errors.New("is not an SMTP connection URI")
	errScheme   = errors.New("is a URI of another kind than smtp:// and smtps://")
	errNoHost   = errors.New("names no host")
	errHost     = errors.New("has a host that cannot be one; special characters in user and password must be percent-encoded (# is %23, / is %2F, ? is %3F)")
	errPort     = errors.New("has a port that is not from 1 to 65535; special characters in user and password must be percent-encoded (# is %23, / is %2F, ? is %3F)")
	errQuery    = errors.New("has options that cannot be read")
	errImplicit = errors.New("has the port for TLS from the first byte, 465, and the scheme smtp")
	errControl  = errors.New("has an encoded line break or NUL in user or password")
)

// parseURI reads smtp://user:password@host:port/?options. User and password
// are decoded once: the extension encodes the password a second time, so that
// one with an encoded character in it never works there.
func parseURI(s string) (uri, error) {
	scheme, rest, ok := strings.Cut(strings.TrimSpace(s), "://")
	if !ok || scheme == "" || strings.ContainsAny(scheme, " /?#@") {
		return uri{}, errNotURI
	}
	var u uri
	switch strings.ToLower(scheme) {
	case "smtp":
	case "smtps":
		u.secure = true
	default:
		return uri{}, errScheme
	}
	rest, fragment, _ := strings.Cut(rest, "#")
	rest, query, _ := strings.Cut(rest, "?")
	authority, path, _ := strings.Cut(rest, "/")
	login, address := "", authority
	if i := strings.LastIndex(authority, "@"); i >= 0 {
		login, address = authority[:i], authority[i+1:]
	}
	if err := u.setAddress(address); err != nil {
		return uri{}, err
	}
	if strings.Contains(path+fragment, "@") {
		return uri{}, errHost // what is meant to be before the @ is taken for the host
	}
	user, password, _ := strings.Cut(login, ":")
	u.user, u.password = unescape(user), unescape(password)
	if strings.ContainsAny(u.user+u.password, "\r\n\x00") {
		return uri{}, errControl
	}
	var err error
	if u.options, err = url.ParseQuery(query); err != nil {
		return uri{}, errQuery
	}
	return u, nil
}

// unescape decodes each %xx once. A percent sign that begins none stands for
// itself, as by the extension.
func unescape(s string) string {
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] == '%' && i+2 < len(s) {
			if n, err := strconv.ParseUint(s[i+1:i+3], 16, 8); err == nil {
				b.WriteByte(byte(n))
				i += 2
				continue
			}
		}
		b.WriteByte(s[i])
	}
	return b.String()
}

// defaultPort is the port for submission (RFC 8314 §3.3, RFC 6409).
func defaultPort(secure bool) int {
	if secure {
		return 465
	}
	return 587
}

func (u *uri) setAddress(address string) error {
	host, port := address, ""
	if i := strings.LastIndex(address, ":"); i >= 0 && !strings.HasSuffix(address, "]") {
		host, port = address[:i], address[i+1:]
	}
	u.port = defaultPort(u.secure)
	if port != "" {
		n, err := strconv.ParseUint(port, 10, 16)
		if err != nil || n == 0 {
			return errPort
		}
		u.port = int(n)
	}
	if u.port == 465 && !u.secure {
		return errImplicit
	}
	var err error
	u.host, err = hostName(host)
	return err
}

// hostName checks a host as it stands in a URI, and returns it as it is looked
// up.
func hostName(host string) (string, error) {
	if host == "" {
		return "", errNoHost
	}
	if inner, ok := strings.CutPrefix(host, "["); ok {
		inner, ok = strings.CutSuffix(inner, "]")
		if addr, err := netip.ParseAddr(inner); !ok || err != nil || !addr.Is6() {
			return "", errHost
		}
		return inner, nil
	}
	if net.ParseIP(host) != nil {
		if strings.Contains(host, ":") {
			return "", errHost
		}
		return host, nil
	}
	ascii, err := idna.Lookup.ToASCII(host)
	if err != nil {
		// Names of containers may have underscores, which names of hosts may not.
		ascii = strings.ToLower(host)
	}
	for _, c := range ascii {
		if (c < 'a' || c > 'z') && (c < '0' || c > '9') && c != '-' && c != '.' && c != '_' {
			return "", errHost
		}
	}
	if ascii == "" || strings.HasPrefix(ascii, ".") || strings.Contains(ascii, "..") || len(ascii) > 254 {
		return "", errHost
	}
	return ascii, nil
}
