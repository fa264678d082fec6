package config

import (
	"net"
	"strings"

	"golang.org/x/net/idna"
	"golang.org/x/text/cases"
	"golang.org/x/text/language"
)

// content reads what limits whom mails go to and what they say.
func (r *reader) content(c *Config) {
	c.RecipientDomains = r.domains("RECIPIENT_DOMAINS")
	c.TemplateOnly = r.boolean("TEMPLATE_ONLY")
	if !c.TemplateOnly {
		return
	}
	if !r.isSet("TEMPLATES_COLLECTION") {
		r.fault("TEMPLATES_COLLECTION", "is not set, and TEMPLATE_ONLY is true, so that no document could be sent",
			"set it to the path of the collection of templates, as templates, or TEMPLATE_ONLY to false")
	}
	if !r.isSet("DEFAULT_FROM") {
		r.fault("DEFAULT_FROM", "is not set, and TEMPLATE_ONLY is true, so that no mail would have a sender",
			"set it, as Shop <shop@example.com>, or TEMPLATE_ONLY to false")
	}
}

// domains reads a list of domains, *. before those whose subdomains are meant,
// and returns them in ASCII and lower case; nil for all. A list without any
// would allow nobody, or everybody: it is a fault.
func (r *reader) domains(name string) []string {
	v := r.text(name)
	if v == "" {
		return nil
	}
	list := r.list(name)
	if len(list) == 0 {
		r.fault(name, "is "+quote(v)+", which has no domain in it", "name the domains, as example.com,*.example.org, or unset it to allow all")
	}
	var out []string
	for _, entry := range list {
		domain, ok := asciiDomain(entry)
		if !ok {
			r.fault(name, "has "+quote(entry)+" in it, which is not a domain", "write domains, as example.com for the domain itself and *.example.com for those below it")
			continue
		}
		out = append(out, domain)
	}
	return out
}

// asciiDomain returns an entry of a list of domains in ASCII and lower case, and
// without a dot at the end. Its letters are read as delivery/compose, which config
// does not import, reads those of an address: what is written alike is alike.
// Beyond that it refuses IP addresses, and what is too long for the DNS (RFC 1035
// §2.3.4): no mail could be meant.
func asciiDomain(entry string) (string, bool) {
	domain, below := strings.CutPrefix(cases.Lower(language.Und).String(entry), "*.")
	// What stands for a dot in East Asian scripts (RFC 3490 §3.1).
	domain = strings.NewReplacer("\u3002", ".", "\uff0e", ".", "\uff61", ".").Replace(domain)
	domain, err := idna.Punycode.ToASCII(domain)
	domain = strings.TrimSuffix(domain, ".")
	if err != nil || domain == "" || len(domain) > 253 || net.ParseIP(domain) != nil {
		return "", false
	}
	for label := range strings.SplitSeq(domain, ".") {
		if label == "" || len(label) > 63 || strings.Trim(label, "abcdefghijklmnopqrstuvwxyz0123456789-_") != "" {
			return "", false
		}
	}
	if below {
		domain = "*." + domain
	}
	return domain, true
}
