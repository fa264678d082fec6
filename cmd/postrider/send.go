package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"strings"
	"time"
	"unicode"

	"postrider/config"
	"postrider/delivery"
	"postrider/delivery/queue"
)

// send is the command that adds a mail document, as an application does, and
// follows it to its end.
func (p program) send(ctx context.Context, args []string) error {
	var m mailFlags
	set := p.flags("send", "postrider send adds a mail document, as an application does, and follows it to its end.", nil)
	m.define(set)
	wait := set.Duration("wait", 2*time.Minute, "how long to follow the document")
	if err := parse(set, args); err != nil {
		return err
	}
	fields, err := m.document()
	if err != nil {
		return err
	}
	c, err := config.LoadFirestore(p.collectionDefault)
	if err != nil {
		return err
	}
	q, err := openQueue(ctx, c, newLogger(p.err, c.LogLevel))
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, *wait)
	defer cancel()
	return errors.Join(p.follow(ctx, q, c.MailCollection, fields), q.Close())
}

// collectionDefault is the environment, in which the mail collection is "mail"
// unless it says otherwise.
func (p program) collectionDefault(name string) (string, bool) {
	value, ok := p.lookup(name)
	if name == "MAIL_COLLECTION" && value == "" {
		return "mail", true
	}
	return value, ok
}

// follow adds the document and prints what becomes of it.
func (p program) follow(ctx context.Context, q *queue.Queue, collection string, fields delivery.Fields) error {
	id, err := q.Add(ctx, fields)
	if err != nil {
		return err
	}
	fmt.Fprintf(p.out, "added %s/%s\n", collection, id)
	var state delivery.State
	var last delivery.Fields
	err = q.Follow(ctx, id, func(s delivery.Snapshot) bool {
		r := delivery.ReadRecord(s.Fields)
		if r.State != state {
			state = r.State
			fmt.Fprintln(p.out, state)
		}
		last, _ = s.Fields["delivery"].(delivery.Fields)
		return !state.Final()
	})
	if errors.Is(err, context.DeadlineExceeded) {
		return fmt.Errorf("%s/%s is still %s: is a worker running on this collection? See postrider dev, or postrider run", collection, id, orNew(state))
	}
	if err != nil {
		return err
	}
	p.printRecord(last)
	if state != delivery.Success {
		return errFailed
	}
	return nil
}

// printRecord prints what the document says about its mail.
func (p program) printRecord(record delivery.Fields) {
	info, _ := record["info"].(delivery.Fields)
	if record["state"] == string(delivery.Success) {
		for _, name := range []string{"accepted", "rejected", "pending"} {
			if list, _ := info[name].([]any); len(list) > 0 {
				fmt.Fprintf(p.out, "%s: %s\n", name, listed(list))
			}
		}
		fmt.Fprintf(p.out, "response: %s\nMessage-ID: %s\n", plain(info["response"]), plain(info["messageId"]))
		return
	}
	outcome, _ := record["outcome"].(delivery.Fields)
	fmt.Fprintf(p.out, "error: %s\nexplanation: %s\n", plain(record["error"]), plain(outcome["explain"]))
}

// listed returns a list's elements with commas between.
func listed(list []any) string {
	words := make([]string, len(list))
	for i, e := range list {
		words[i] = plain(e)
	}
	return strings.Join(words, ", ")
}

// plain returns a value without what a terminal would obey: it may be what a
// server said.
func plain(v any) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsControl(r) && r != '\n' {
			return -1
		}
		return r
	}, fmt.Sprint(v))
}

func orNew(s delivery.State) string {
	if s == delivery.None {
		return "new"
	}
	return string(s)
}

// mailFlags are the flags that describe a mail.
type mailFlags struct {
	to, cc, bcc, from, replyTo, subject, text, html, template, data string
}

func (m *mailFlags) define(set *flag.FlagSet) {
	set.StringVar(&m.to, "to", "", "recipients, separated by commas")
	set.StringVar(&m.cc, "cc", "", "recipients of a copy")
	set.StringVar(&m.bcc, "bcc", "", "recipients of a blind copy")
	set.StringVar(&m.from, "from", "", "sender; the default is DEFAULT_FROM")
	set.StringVar(&m.replyTo, "reply-to", "", "address for replies")
	set.StringVar(&m.subject, "subject", "", "subject")
	set.StringVar(&m.text, "text", "", "plain text body")
	set.StringVar(&m.html, "html", "", "HTML body")
	set.StringVar(&m.template, "template", "", "document of the templates collection to render")
	set.StringVar(&m.data, "data", "", "JSON object with the template's data")
}

// document returns the mail document that the flags describe.
func (m *mailFlags) document() (delivery.Fields, error) {
	if m.to == "" && m.cc == "" && m.bcc == "" {
		return nil, &usageError{"postrider send: --to is missing: nobody would get the mail"}
	}
	f := delivery.Fields{}
	put(f, "to", m.to)
	put(f, "cc", m.cc)
	put(f, "bcc", m.bcc)
	put(f, "from", m.from)
	put(f, "replyTo", m.replyTo)
	message := delivery.Fields{}
	put(message, "subject", m.subject)
	put(message, "text", m.text)
	put(message, "html", m.html)
	switch {
	case m.template != "":
		template := delivery.Fields{"name": m.template}
		if m.data != "" {
			data := delivery.Fields{}
			if err := json.Unmarshal([]byte(m.data), &data); err != nil {
				return nil, &usageError{fmt.Sprintf("postrider send: --data is not a JSON object: %v", err)}
			}
			template["data"] = data
		}
		f["template"] = template
	case m.text == "" && m.html == "":
		return nil, &usageError{"postrider send: --text, --html or --template is missing: there is nothing to send"}
	default:
		message["subject"] = m.subject
	}
	if len(message) > 0 {
		f["message"] = message
	}
	return f, nil
}

// put sets a field, unless it is empty.
func put(f delivery.Fields, name, value string) {
	if value != "" {
		f[name] = value
	}
}
