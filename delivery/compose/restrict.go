package compose

import (
	"fmt"
	"strings"

	"postrider/delivery"
)

// What a stranger who may add documents can do with the mails is limited by two
// settings.
//
// RECIPIENT_DOMAINS says where they go. One recipient elsewhere refuses the whole
// mail: to leave it out silently would look like a delivery.
//
// TEMPLATE_ONLY says what they say: what a template makes of the document's data,
// which is the template's to put in its place. Of the document itself only
// addresses, template, message.messageId (one word that no reader is shown),
// receipts (whose picture and address are not the document's) and categories (which
// have no effect) are left. From and replyTo are refused with
// their addresses, since what a mail says is believed for who says it and answered
// where it asks for answers; headers are, as some of them are shown (Subject,
// Comments) and others acted on (List-Unsubscribe). The names beside recipients'
// addresses are left out of the header: they can hold any text.

// checkTemplateOnly refuses a document that TEMPLATE_ONLY does not allow.
func (c *Composer) checkTemplateOnly(doc delivery.Document) error {
	if !c.options.TemplateOnly {
		return nil
	}
	if own := ownContent(doc); len(own) > 0 {
		return refuse(delivery.PhaseCompose,
			"Only what a template makes is sent (TEMPLATE_ONLY), and the document has content of its own: "+strings.Join(own, ", "),
			"TEMPLATE_ONLY is set: a mail says what its template says, and comes from DEFAULT_FROM. Remove these fields, or put what they say into the template or its data, or unset TEMPLATE_ONLY; then set delivery.state to RETRY.")
	}
	if doc.Template == nil {
		return refuse(delivery.PhaseCompose,
			"Only what a template makes is sent (TEMPLATE_ONLY), and the document names no template",
			"TEMPLATE_ONLY is set. Give the document a template with the name of one in TEMPLATES_COLLECTION, or unset TEMPLATE_ONLY; then set delivery.state to RETRY.")
	}
	return nil
}

// ownContent returns the fields by which a document adds to what a mail says.
func ownContent(doc delivery.Document) []string {
	var own []string
	for _, f := range []struct {
		name  string
		there bool
	}{
		{"message.subject", doc.Message.Subject != ""},
		{"message.text", doc.Message.Text != ""},
		{"message.html", doc.Message.HTML != ""},
		{"message.amp", doc.Message.AMP != ""},
		{"message.attachments", len(doc.Message.Attachments) > 0},
		{"sendGrid", doc.SendGrid != nil},
		{"headers", len(doc.Headers) > 0},
		{"from", doc.From != ""},
		{"replyTo", doc.ReplyTo != ""},
	} {
		if f.there {
			own = append(own, f.name)
		}
	}
	return own
}

// nameless returns the addresses of a list, groups resolved, without the names
// beside them.
func nameless(list []mailbox) []mailbox {
	var out []mailbox
	for _, m := range list {
		if m.group {
			out = append(out, nameless(m.members)...)
			continue
		}
		out = append(out, mailbox{address: m.address})
	}
	return out
}

// checkDomains refuses a mail that has a recipient whose domain is not allowed.
func (c *Composer) checkDomains(to []string) error {
	if len(c.domains) == 0 {
		return nil
	}
	outside := 0
	for _, address := range to {
		if !c.mayReach(address) {
			outside++
		}
	}
	if outside == 0 {
		return nil
	}
	return refuse(delivery.PhaseCompose,
		fmt.Sprintf("The mail has recipients in domains that are not allowed: %d of %d (RECIPIENT_DOMAINS)", outside, len(to)),
		"RECIPIENT_DOMAINS lists the domains that mail may be sent to, and this mail was sent to nobody. Remove the other recipients, or add their domains to the setting; then set delivery.state to RETRY.")
}

// mayReach reports whether an address of the envelope is in an allowed domain. An
// address with a second @ is in none: servers disagree on where it leads (RFC
// 5321 §4.1.2 wants such a local part in quotes, and old ones route by it).
func (c *Composer) mayReach(address string) bool {
	local, domain, ok := strings.Cut(address, "@")
	if !ok || local == "" {
		return false
	}
	domain, ok = asciiDomain(domain)
	if !ok {
		return false
	}
	for _, allowed := range c.domains {
		if below, wildcard := strings.CutPrefix(allowed, "*"); wildcard && strings.HasSuffix(domain, below) || domain == allowed {
			return true
		}
	}
	return false
}

// asciiDomains returns the entries of a list of domains as they are compared.
// What can't be one allows nothing.
func asciiDomains(list []string) []string {
	var out []string
	for _, entry := range list {
		domain, below := strings.CutPrefix(entry, "*.")
		domain, ok := asciiDomain(domain)
		switch {
		case !ok:
			domain = "@"
		case below:
			domain = "*." + domain
		}
		out = append(out, domain)
	}
	return out
}

// asciiDomain returns a domain in ASCII and lower case, without a dot at the end.
// Labels are letters, digits, hyphens and underscores, or it is none.
func asciiDomain(domain string) (string, bool) {
	domain, err := toASCII(lowerDomain(domain))
	domain = strings.TrimSuffix(domain, ".")
	if err != nil || domain == "" {
		return "", false
	}
	for label := range strings.SplitSeq(domain, ".") {
		if label == "" || strings.Trim(label, "abcdefghijklmnopqrstuvwxyz0123456789-_") != "" {
			return "", false
		}
	}
	return domain, true
}
