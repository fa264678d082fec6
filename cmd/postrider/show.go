package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"
	"unicode"
	"unicode/utf16"
	"unicode/utf8"

	"postrider/delivery"
	"postrider/delivery/queue"
)

// show is the command that prints what has become of one document's mail, and
// what is to be done about it.
func (p program) show(ctx context.Context, args []string) error {
	set := p.flags("show", "postrider show ID prints what has become of a document's mail. The ID may have its\ncollection before it, as mail/1bNCht8xrcSme2bcRG7o.", nil)
	asJSON := set.Bool("json", false, "print the delivery field as JSON; null if there is none")
	rest, err := operands(set, args)
	if err != nil {
		return err
	}
	if len(rest) != 1 {
		return &usageError{"postrider show: name one document by its ID, as postrider show 1bNCht8xrcSme2bcRG7o"}
	}
	c, q, err := p.openToRead(ctx)
	if err != nil {
		return err
	}
	id := strings.TrimPrefix(rest[0], c.MailCollection+"/")
	if id == "" || strings.Contains(id, "/") {
		err = &usageError{fmt.Sprintf("postrider show: %q is not the ID of a document in %s", rest[0], c.MailCollection)}
	} else {
		err = p.showDocument(ctx, q, c.MailCollection+"/"+id, id, *asJSON)
	}
	return errors.Join(err, q.Close())
}

// missingError says that there is no such document.
type missingError struct{ path string }

func (e *missingError) Error() string { return "there is no document " + oneLine(e.path) }

func (p program) showDocument(ctx context.Context, q *queue.Queue, path, id string, asJSON bool) error {
	s, err := q.Lookup(ctx, id)
	switch {
	case errors.Is(err, delivery.ErrGone):
		return &missingError{path}
	case err != nil:
		return err
	case asJSON:
		return p.printJSON(s.Fields["delivery"], "  ")
	}
	page{p.out, q.Now()}.document(path, s)
	return nil
}

// page is where a record is shown for people.
type page struct {
	out io.Writer
	now time.Time // by Firestore's clock
}

// document shows everything that the program writes into a record.
func (p page) document(path string, s delivery.Snapshot) {
	fmt.Fprintln(p.out, oneLine(path))
	record, ok := s.Fields["delivery"].(delivery.Fields)
	switch {
	case !delivery.Truthy(s.Fields["delivery"]):
		p.line("state", "none: no worker has claimed it yet")
		p.due(s)
		return
	case !ok:
		p.line("state", "none: the delivery field is not a map, but "+shown(s.Fields["delivery"]))
		return
	}
	outcome, _ := record["outcome"].(delivery.Fields)
	info, _ := record["info"].(delivery.Fields)
	p.line("state", record["state"])
	p.line("attempts", record["attempts"])
	p.line("first seen", record["startTime"])
	p.line("last ended", record["endTime"])
	p.line("next attempt", record["nextAttemptTime"])
	p.due(s)
	p.tried("this series", "%[1]s attempts since %[2]s", record["retry"])
	p.tried("counted", "by MAX_PER_DOCUMENT: %[1]s since %[2]s", record["recent"])
	p.lease(record)
	p.line("deletable", record["expireAt"])
	p.line("error", record["error"])
	p.line("outcome", verdict(outcome))
	p.line("explanation", outcome["explain"])
	of, last := earlier(record, outcome, info)
	if outcome["class"] == string(delivery.Unknown) {
		p.unknown(s.Fields, record, outcome)
		if record["recipients"] == nil {
			p.line("as of", last)
		}
	} else {
		p.line("as of", last)
		p.line("Message-ID", or(outcome["messageId"], info["messageId"]))
		p.line("response", info["response"])
		p.conversation(outcome)
	}
	p.recipients(record, info, of)
}

// line shows a value beside its name, unless there is none. Each of its further
// lines is set in as far, so that none passes for another value's.
func (p page) line(name string, v any) {
	text := strings.TrimRight(shown(v), "\r\n ")
	if text == "" {
		return
	}
	for line := range strings.SplitSeq(text, "\n") {
		fmt.Fprintf(p.out, "  %-13s %s\n", name, oneLine(line))
		name = ""
	}
}

func or(a, b any) any {
	if shown(a) != "" {
		return a
	}
	return b
}

// tried shows how many attempts there were since a time: of a mail that is tried
// again by itself, or of the document.
func (p page) tried(name, text string, v any) {
	f, ok := v.(delivery.Fields)
	if !ok {
		return
	}
	text = fmt.Sprintf(text, orHyphen(f["attempts"]), orHyphen(f["since"]))
	if f["attempts"] == int64(1) {
		text = strings.Replace(text, "1 attempts", "1 attempt", 1)
	}
	p.line(name, text)
}

// lease shows whose the document is, if it is somebody's.
func (p page) lease(record delivery.Fields) {
	if shown(record["leaseExpireTime"]) == "" {
		return
	}
	text := "until " + shown(record["leaseExpireTime"])
	if t, ok := record["leaseExpireTime"].(time.Time); ok && !p.now.Before(t) {
		text = "ended " + shown(t)
	}
	if id := shown(record["leaseId"]); id != "" {
		text += ", ID " + id
	}
	if phase := shown(record["leasePhase"]); phase != "" {
		text += ", phase " + phase
	}
	p.line("lease", oneLine(text))
}

// verdict returns an outcome in a line.
func verdict(outcome delivery.Fields) string {
	text := shown(outcome["class"])
	if phase := shown(outcome["phase"]); phase != "" {
		text += ", in phase " + phase
	}
	if code := shown(outcome["code"]); code != "" && code != "0" {
		text += ", reply " + strings.TrimSpace(code+" "+shown(outcome["enhancedCode"]))
	}
	return oneLine(strings.TrimPrefix(text, ", "))
}

// conversation shows the last lines that were exchanged with the server.
func (p page) conversation(outcome delivery.Fields) {
	list, _ := outcome["conversation"].([]any)
	name := "conversation"
	for _, v := range list {
		p.line(name, oneLine(shown(v)))
		name = ""
	}
}

// recipients shows what was said about each address, and as of which attempt
// unless it is the last one. What the extension wrote has lists only.
func (p page) recipients(record, info delivery.Fields, of string) {
	list, _ := record["recipients"].([]any)
	if len(list) == 0 {
		for _, name := range [...]string{"accepted", "rejected", "pending"} {
			if addresses, _ := info[name].([]any); len(addresses) > 0 {
				p.line(name, oneLine(listed(addresses)))
			}
		}
		return
	}
	heading := "recipients"
	if of != "" {
		heading += ", as of " + of
	}
	fmt.Fprintln(p.out, "\n"+heading)
	for _, v := range list {
		r, _ := v.(delivery.Fields)
		reply := shown(or(r["reply"], r["code"]))
		if reply == "0" { // none
			reply = ""
		}
		line := fmt.Sprintf("  %-9s attempt %-3s %s  %s", orHyphen(r["status"]), orHyphen(r["attempt"]), orHyphen(r["address"]), oneLine(reply))
		fmt.Fprintln(p.out, strings.TrimRight(line, " "))
	}
}

// commands reports whether a terminal may take a character for a command, or for
// an order to show others in another place.
func commands(r rune) bool {
	return unicode.IsControl(r) || unicode.In(r, unicode.Cf, unicode.Zl, unicode.Zp)
}

// oneLine returns text in one line, and without what a terminal would obey:
// documents are written by strangers, replies by servers.
func oneLine(s string) string {
	return strings.Map(func(r rune) rune {
		switch {
		case r == '\n' || r == '\t':
			return ' '
		case commands(r):
			return -1
		}
		return r
	}, s)
}

// printJSON prints a value of a document as JSON; times are in RFC 3339.
func (p program) printJSON(v any, indent string) error {
	b, err := jsonOf(v, indent)
	if err != nil {
		return err
	}
	_, err = p.out.Write(b)
	return err
}

// jsonOf returns a value of a document as JSON that ends in a line break and has
// nothing in it that a terminal would obey.
func jsonOf(v any, indent string) ([]byte, error) {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	e.SetIndent("", indent)
	if err := e.Encode(delivery.JSON(v)); err != nil {
		return nil, fmt.Errorf("write as JSON: %w", err)
	}
	out := make([]byte, 0, b.Len())
	for _, r := range b.String() {
		switch {
		case r == '\n' || !commands(r):
			out = utf8.AppendRune(out, r)
		case r > 0xffff:
			high, low := utf16.EncodeRune(r)
			out = fmt.Appendf(out, `\u%04x\u%04x`, high, low)
		default:
			out = fmt.Appendf(out, `\u%04x`, r)
		}
	}
	return out, nil
}
