package main

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"net"
	"os"
	"strconv"
	"strings"
	"time"

	"postrider/config"
	"postrider/delivery"
	"postrider/delivery/compose"
	"postrider/smtp"
)

// settings is the environment. The name of the mail collection matters little,
// and a dry run needs no mail server.
func (b *bench) settings(name string) (string, bool) {
	value, ok := b.collectionDefault(name)
	if auth, _ := b.lookup("AUTH_TYPE"); b.dry && name == "SMTP_CONNECTION_URI" && value == "" && auth != "OAuth2" {
		return "smtp://127.0.0.1", true
	}
	return value, ok
}

// apart returns settings for collections that nobody else knows: below a document
// beside the mail collection. They have its name, so that the indexes and
// exemptions that are deployed for it count here too.
func apart(c config.Config) config.Config {
	above, name := "", c.MailCollection
	if i := strings.LastIndexByte(name, '/'); i >= 0 {
		above, name = name[:i+1], name[i+1:]
	}
	place := above + "postrider-bench/" + strings.ToLower(rand.Text()[:10]) + "/"
	c.MailCollection, c.StateCollection = place+name, place+"state"
	c.Push = false
	c.Policy.PerRecipient = delivery.Rate{} // all mails go to the same one
	return c
}

// within returns settings whose mail server is on a port of this machine, takes
// mail to anywhere, and as much of it as comes. How it is used stays as it is.
func within(c config.Config, port int) config.Config {
	c.SMTP.Host, c.SMTP.Port = "127.0.0.1", port
	c.SMTP.Secure, c.SMTP.StartTLS, c.SMTP.TLS = false, smtp.Ignore, nil
	c.SMTP.Username, c.SMTP.Password, c.SMTP.Mechanism, c.SMTP.OAuth2 = "", "", "", nil
	c.SMTP.LocalAddress = ""
	c.RecipientDomains = nil
	c.SMTPRate = delivery.Rate{}
	return c
}

// benchDocument returns the document of a file, or one that makes a mail of 2 KB,
// with one recipient.
func benchDocument(file, to string) (delivery.Fields, error) {
	if file == "" {
		return delivery.Fields{"to": to, "message": benchMessage()}, nil
	}
	text, err := os.ReadFile(file)
	if err != nil {
		return nil, &usageError{fmt.Sprintf("postrider bench: --document: %v", err)}
	}
	f := delivery.Fields{}
	if err := json.Unmarshal(text, &f); err != nil {
		return nil, &usageError{fmt.Sprintf("postrider bench: --document is not a JSON object: %v", err)}
	}
	for _, name := range []string{"cc", "bcc", "toUids", "ccUids", "bccUids", "delivery"} {
		delete(f, name)
	}
	f["to"] = to
	return f, nil
}

func benchMessage() delivery.Fields {
	const line = "This mail measures how fast Postrider sends; it may be deleted."
	var text, html strings.Builder
	for range 10 {
		text.WriteString(line + "\n")
		html.WriteString("<p style=\"margin: 0 0 12px\">" + line + "</p>\n")
	}
	return delivery.Fields{
		"subject": "Postrider bench",
		"text":    text.String(),
		"html":    "<html><body>\n" + html.String() + "</body></html>\n",
	}
}

// rehearse makes the mail once, before anything is written: what is wrong with
// the document or the settings shows here. It returns the mail's size.
func (b *bench) rehearse(ctx context.Context, s *service) (bytes int, err error) {
	doc, err := delivery.Decode(b.document)
	if err != nil {
		return 0, err
	}
	m, err := s.composer.Compose(ctx, doc, compose.Claim{ID: "rehearsal", Time: time.Now()})
	return len(m.Message), err
}

// announce says what is going to happen, and what it costs.
func (b *bench) announce(s *service, bytes int) {
	c, n := s.config, int64(b.mails)
	where := fmt.Sprintf("to %s through %s", b.to, net.JoinHostPort(c.SMTP.Host, strconv.Itoa(c.SMTP.Port)))
	if b.dry {
		where = "to a mail server within this program: no mail leaves this machine"
	}
	writes, deletes := 3*n, n
	if c.Policy.RetryLapsed {
		writes += n // how far each has come
	}
	if b.keep {
		deletes = 0
	}
	b.screen.say("%s mails of %s (%s in all), %s", grouped(n), sized(float64(bytes)), sized(float64(bytes)*float64(n)), where)
	b.screen.say("collection %s, project %s, database %s", c.MailCollection, c.Project, c.Database)
	b.screen.say("Firestore: about %s reads, %s writes, %s deletes", grouped(n), grouped(writes), grouped(deletes))
	b.screen.say("settings: CONCURRENCY=%d SMTP_MAX_CONNECTIONS=%d", c.Concurrency, c.SMTP.MaxConnections)
}

// deletion returns the command of the Firebase CLI that deletes all that a
// measurement has written.
func deletion(c config.Config) string {
	place := c.MailCollection[:strings.LastIndexByte(c.MailCollection, '/')]
	return fmt.Sprintf("firebase firestore:delete --recursive --project %s --database '%s' %s", c.Project, c.Database, place)
}
