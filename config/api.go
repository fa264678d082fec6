package config

import (
	"encoding/base64"
	"fmt"
	"net/mail"
	"net/url"
	"strconv"
	"strings"

	"postrider/delivery"
	"postrider/smtp"
)

const (
	minKeyBytes = 16 // decoded
	maxKeys     = 16
)

// API says who may use the status API, and for what.
type API struct {
	// Keys are what callers sign with, decoded, in the order of API_ACCESS_KEYS.
	// Without any the API is off.
	Keys []smtp.Secret

	// Senders are whom mails may be handed in for: addresses as shop@example.com,
	// domains as example.com, and *.example.com for the domains below one. All are
	// in lower case, and the domains in ASCII. Nil allows none.
	Senders []string

	Rate      delivery.Rate // of requests signed with one key; the zero Rate for no limit
	PublicURL string        // scheme and host that clients call, as https://mail.example.com; empty for those of the request
}

// On reports whether there is an API.
func (a API) On() bool { return len(a.Keys) > 0 }

// api reads who may use the status API.
func (r *reader) api(c *Config) {
	c.API = API{
		Keys:      r.accessKeys("API_ACCESS_KEYS"),
		Senders:   r.senders("API_SENDERS"),
		Rate:      r.rate("API_RATE"),
		PublicURL: r.baseURL("API_PUBLIC_URL"),
	}
	if r.isSet("API_ACCESS_KEYS") {
		r.defaultSender(c)
		if c.TemplateOnly {
			r.warn("TEMPLATE_ONLY", "is true, and every mail that is handed in to the API ends in ERROR: it brings its own content", "set it to false to have them sent")
		}
		return
	}
	for _, name := range [...]string{"API_SENDERS", "API_RATE", "API_PUBLIC_URL"} {
		if r.isSet(name) {
			r.warn(name, "has no effect", "set API_ACCESS_KEYS, or unset it")
		}
	}
}

// accessKeys reads keys in base64. A fault says which key it is by its place.
func (r *reader) accessKeys(name string) []smtp.Secret {
	list := r.list(name)
	if r.isSet(name) && len(list) == 0 {
		r.fault(name, "has no key in it", "set it to the base64 of a random key, as `openssl rand -base64 32` prints it, or unset it to turn the API off")
	}
	if len(list) > maxKeys {
		r.fault(name, fmt.Sprintf("has %d keys in it", len(list)), fmt.Sprintf("keep those in use, %d at most", maxKeys))
		return nil
	}
	var keys []smtp.Secret
	place := map[smtp.Secret]int{}
	for i, entry := range list {
		b, err := base64.StdEncoding.Strict().DecodeString(entry)
		key, which := smtp.Secret(b), fmt.Sprintf("key %d of %d", i+1, len(list))
		switch {
		case err != nil || strings.ContainsAny(entry, "\r\n"):
			r.fault(name, "has something else than base64 as "+which, "write keys in base64 (RFC 4648 §4) with its padding, separated by commas, as `openssl rand -base64 32` prints them")
		case len(b) < minKeyBytes:
			r.fault(name, fmt.Sprintf("has a key of %d bytes as %s", len(b), which), fmt.Sprintf("use keys of at least %d bytes before base64, as `openssl rand -base64 32` makes them", minKeyBytes))
		case place[key] > 0:
			r.fault(name, fmt.Sprintf("has the same key as %s and as key %d", which, place[key]), "write each key once")
		default:
			keys = append(keys, key)
			place[key] = i + 1
		}
	}
	return keys
}

// senders reads a list of addresses and domains, in lower case and ASCII; nil if
// it is not set. A list without any would allow nobody, or everybody: it is a
// fault.
func (r *reader) senders(name string) []string {
	list := r.list(name)
	if r.isSet(name) && len(list) == 0 {
		r.fault(name, "is "+quote(r.text(name))+", which has no sender in it", "name the senders, as shop@example.com,example.org, or unset it for the address of DEFAULT_FROM")
	}
	var out []string
	for _, entry := range list {
		sender, ok := asciiSender(entry)
		if !ok {
			r.fault(name, "has "+quote(entry)+" in it, which is neither an address nor a domain",
				"write shop@example.com for one address, example.com for all of a domain, and *.example.com for those of the domains below it")
			continue
		}
		out = append(out, sender)
	}
	return out
}

// asciiSender returns an address or a domain in lower case, the domain in ASCII.
// A local part is taken without quotes, a name or comments.
func asciiSender(entry string) (string, bool) {
	at := strings.LastIndexByte(entry, '@')
	domain, ok := asciiDomain(entry[at+1:])
	if at < 0 || !ok {
		return domain, ok
	}
	local := strings.ToLower(entry[:at])
	if local == "" || len(local) > 64 || strings.ContainsAny(local, " \t\"(),:;<>@[\\]*") || strings.HasPrefix(domain, "*") {
		return "", false
	}
	return local + "@" + domain, true
}

// defaultSender lets mails be handed in for the sender of mails without one, if
// nothing else is said.
func (r *reader) defaultSender(c *Config) {
	if r.isSet("API_SENDERS") {
		return
	}
	from, err := mail.ParseAddressList(c.DefaultFrom)
	if err == nil {
		if sender, ok := asciiSender(from[0].Address); ok {
			c.API.Senders = []string{sender}
			return
		}
	}
	problem := "is not set, and DEFAULT_FROM has no address to take its place"
	if c.DefaultFrom == "" {
		problem = "is not set, nor is DEFAULT_FROM"
	}
	r.warn("API_SENDERS", problem+": no mail can be handed in to the API", "set it to the senders that mails may have, as shop@example.com")
}

// baseURL reads a scheme and a host. It has no path: what is signed begins with the
// path that the client calls, and this server would see another.
func (r *reader) baseURL(name string) string {
	const remedy = "write scheme and host without a path, as https://mail.example.com"
	v := r.text(name)
	if v == "" {
		return ""
	}
	u, err := url.Parse(v)
	if strings.Contains(v, "@") {
		r.fault(name, "has a user in it, which may be a secret", remedy)
		return ""
	}
	if err != nil || u.Scheme != "https" && u.Scheme != "http" || strings.Trim(u.Path, "/") != "" || strings.ContainsAny(v, "?#%") {
		r.fault(name, "is "+quote(v), remedy)
		return ""
	}
	port := ""
	if u.Port() != "" {
		port = ":" + u.Port()
	}
	host, err := hostName(strings.TrimSuffix(u.Host, port))
	if _, portErr := strconv.ParseUint(u.Port(), 10, 16); err != nil || port != "" && portErr != nil {
		r.fault(name, "is "+quote(v)+", whose host is none", remedy)
		return ""
	}
	if strings.Contains(host, ":") {
		host = "[" + host + "]"
	}
	return u.Scheme + "://" + host + port
}
