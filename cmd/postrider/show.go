package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"strings"
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
	page{p.out}.document(path, s)
	return nil
}

// page is where a record is shown for people.
type page struct{ out io.Writer }

// document shows everything that the program writes into a record.
func (p page) document(path string, s delivery.Snapshot) {
	fmt.Fprintln(p.out, oneLine(path))
	record, ok := s.Fields["delivery"].(delivery.Fields)
	switch {
	case !delivery.Truthy(s.Fields["delivery"]):
		p.line("state", "none: no worker has claimed it yet")
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
	p.tried("retry", record["retry"])
	p.tried("of late", record["recent"])
	p.lease(record)
	p.line("deletable", record["expireAt"])
	p.line("error", record["error"])
	p.line("outcome", verdict(outcome))
	p.line("explanation", outcome["explain"])
	if outcome["class"] == string(delivery.Unknown) {
		p.unknown(record, outcome)
	} else {
		p.line("Message-ID", or(outcome["messageId"], info["messageId"]))
		p.line("response", info["response"])
		p.conversation(outcome)
	}
	p.recipients(record, info)
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
func (p page) tried(name string, v any) {
	if f, ok := v.(delivery.Fields); ok {
		p.line(name, fmt.Sprintf("attempts since %s: %s", orHyphen(f["since"]), orHyphen(f["attempts"])))
	}
}

// lease shows whose the document is, if it is somebody's.
func (p page) lease(record delivery.Fields) {
	if shown(record["leaseExpireTime"]) == "" {
		return
	}
	text := "until " + shown(record["leaseExpireTime"])
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

// unknown shows what is known of a mail whose fate is not, and what to do.
func (p page) unknown(record, outcome delivery.Fields) {
	why := "the whole message was sent, and the server's answer never came."
	if outcome["phase"] == string(delivery.PhaseLease) {
		why = "its worker ended, or lost Firestore, before it could record what became of it."
	}
	fmt.Fprintf(p.out, "\nWHETHER THIS MAIL WAS DELIVERED IS UNKNOWN: %s\n", why)
	id := shown(outcome["messageId"])
	p.line("Message-ID", or(id, "not recorded"))
	p.conversation(outcome)
	key := "this Message-ID"
	if id == "" {
		key = "a mail to these recipients"
	}
	switch record["state"] {
	case string(delivery.Error):
		p.line("what to do", "Look for "+key+" in the mail server's log, about the time of the attempt.\n"+
			"If the server has taken the mail, leave the document as it is.\n"+
			"If it has not, set delivery.state to RETRY: the mail is sent again, to all recipients.")
	case string(delivery.Retry), string(delivery.Pending), string(delivery.Processing):
		p.line("what to do", "Nothing: somebody has asked for the mail to be sent again. It may arrive twice.")
	}
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

// recipients shows what was said about each address. What the extension wrote
// has lists only.
func (p page) recipients(record, info delivery.Fields) {
	list, _ := record["recipients"].([]any)
	if len(list) == 0 {
		for _, name := range [...]string{"accepted", "rejected", "pending"} {
			if addresses, _ := info[name].([]any); len(addresses) > 0 {
				p.line(name, oneLine(listed(addresses)))
			}
		}
		return
	}
	fmt.Fprintln(p.out, "\nrecipients")
	for _, v := range list {
		r, _ := v.(delivery.Fields)
		reply := or(r["reply"], r["code"])
		fmt.Fprintf(p.out, "  %-9s attempt %-3s %s  %s\n",
			orHyphen(r["status"]), orHyphen(r["attempt"]), orHyphen(r["address"]), orHyphen(reply))
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
	if err := e.Encode(encodable(v)); err != nil {
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

// encodable returns a value with words for the numbers that JSON has not got.
func encodable(v any) any {
	switch v := v.(type) {
	case float64:
		if math.IsNaN(v) || math.IsInf(v, 0) {
			return fmt.Sprint(v)
		}
	case []any:
		out := make([]any, len(v))
		for i, e := range v {
			out[i] = encodable(e)
		}
		return out
	case delivery.Fields:
		out := make(delivery.Fields, len(v))
		for name, e := range v {
			out[name] = encodable(e)
		}
		return out
	}
	return v
}
