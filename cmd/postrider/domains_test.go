package main

import (
	"testing"
	"time"

	"postrider/config"
	"postrider/delivery"
	"postrider/delivery/compose"
)

// config reads the domains of RECIPIENT_DOMAINS, compose those of addresses: what
// is written alike must be alike.
func TestADomainIsAllowedAsItIsWritten(t *testing.T) {
	for _, domain := range []string{
		"rcpt.test", "RCPT.test", "rcpt.test.", "a_b.test", "bücher.test", "BÜCHER.test", "xn--bcher-kva.test", "bu\u0308cher.test",
		"straße.test", "例え。テスト", "ｆｕｌｌ.test", "ΣΑΣ.test",
	} {
		for entry, address := range map[string]string{domain: "ada@" + domain, "*." + domain: "ada@mx." + domain} {
			settings := map[string]string{
				"GOOGLE_CLOUD_PROJECT": "p", "MAIL_COLLECTION": "mail", "SMTP_CONNECTION_URI": "smtp://127.0.0.1:25", "RECIPIENT_DOMAINS": entry,
			}
			c, err := config.Load(func(name string) (string, bool) { v, ok := settings[name]; return v, ok })
			if err != nil {
				t.Errorf("%s: %v", entry, err)
				continue
			}
			composer := compose.New(compose.Options{DefaultFrom: "shop@sender.test", RecipientDomains: c.RecipientDomains}, nil, nil)
			doc := delivery.Document{To: []string{address}, Message: delivery.Message{Text: "t"}}
			if _, err := composer.Compose(t.Context(), doc, compose.Claim{ID: "a", Time: time.Now()}); err != nil {
				t.Errorf("%s allows %q, not %s: %v", entry, c.RecipientDomains, address, err)
			}
			composer.Close()
		}
	}
}
