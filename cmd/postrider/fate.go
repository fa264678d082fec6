package main

import (
	"fmt"
	"regexp"
	"time"

	"postrider/delivery"
)

// unknown shows what is known of a mail whose fate is not, and what to do.
func (p page) unknown(doc, record, outcome delivery.Fields) {
	lapsed := outcome["phase"] == string(delivery.PhaseLease)
	why := "the whole message was sent, and the server's answer never came."
	if lapsed {
		why = "its worker ended, or lost Firestore, before it could record what became of it."
	}
	fmt.Fprintf(p.out, "\nWHETHER THIS MAIL WAS DELIVERED IS UNKNOWN: %s\n", why)
	id, known := sought(outcome)
	p.line("Message-ID", id)
	p.conversation(outcome)
	about := "about when the attempt ended"
	if lapsed {
		p.addressees(doc)
		about = p.between(record)
	}
	switch record["state"] {
	case string(delivery.Error):
		key := "this Message-ID"
		if !known {
			key = "a mail to these recipients"
		}
		p.line("what to do", "Look for "+key+" in the mail server's log, "+about+".\n"+
			"If the server has taken the mail, leave the document as it is.\n"+
			"Only if it has not, set delivery.state to RETRY: the mail is sent again, to all recipients.")
	case string(delivery.Retry), string(delivery.Pending), string(delivery.Processing):
		p.line("what to do", "Nothing: somebody has asked for the mail to be sent again. It may arrive twice.")
	}
}

// beginning is how the explanation of a lapsed lease tells of the Message-ID.
var beginning = regexp.MustCompile(`begins with (<[^<>@\s]+@)`)

// sought returns by which Message-ID to look for a mail, as far as it is known.
func sought(outcome delivery.Fields) (text string, known bool) {
	if id := shown(outcome["messageId"]); id != "" {
		return id, true
	}
	if m := beginning.FindStringSubmatch(shown(outcome["explain"])); m != nil {
		return "begins with " + m[1] + ", unless the document sets message.messageId", true
	}
	return "not recorded", false
}

// addressees shows whom the document names: nobody wrote down whom the mail was
// sent to.
func (p page) addressees(doc delivery.Fields) {
	for _, name := range [...]string{"to", "cc", "bcc", "toUids", "ccUids", "bccUids"} {
		text := shown(doc[name])
		if list, ok := doc[name].([]any); ok {
			text = listed(list)
		}
		p.line(name, oneLine(text))
	}
}

// longestLease is more than any attempt lasts: neither LEASE_DURATION nor
// ATTEMPT_TIMEOUT is above an hour.
const longestLease = 2 * time.Hour

// between says when an attempt was made whose lease lapsed. When it began is not
// recorded: after the document was first seen, and after the attempt before it.
func (p page) between(record delivery.Fields) string {
	ended, ok := record["leaseExpireTime"].(time.Time)
	if !ok {
		return "about when its lease ended"
	}
	began := ended.Add(-longestLease)
	for _, name := range [...]string{"startTime", "endTime"} {
		if t, ok := record[name].(time.Time); ok && t.After(began) && t.Before(ended) {
			began = t
		}
	}
	return fmt.Sprintf("between %s and %s, when its lease ended", shown(began), shown(ended))
}

// due shows what a document waits for that could be sent at once.
func (p page) due(s delivery.Snapshot) {
	r := delivery.ReadRecord(s.Fields)
	if r.Malformed {
		return
	}
	switch r.State {
	case delivery.None, delivery.Pending, delivery.Retry:
		if delivery.Decide(r, true, p.now) == delivery.Claim {
			p.line("due", "it waits for a sweep, or for the mail server; see /readyz")
		}
	}
}

// earlier returns of which attempt the recipients and the info in a record are,
// where they are not of the one that the outcome tells of: it said nothing about
// them. A refusal is no attempt, and a lease that lapsed is not counted as one.
func earlier(record, outcome, info delivery.Fields) (recipients, last string) {
	class := shown(outcome["class"])
	if class == "" || class == string(delivery.Delivered) {
		return "", ""
	}
	n, attempts, accepted, unsure := int64(0), wholeNumber(record["attempts"]), false, false
	list, _ := record["recipients"].([]any)
	for _, v := range list {
		r, _ := v.(delivery.Fields)
		n = max(n, wholeNumber(r["attempt"]))
		accepted = accepted || r["status"] == string(delivery.Accepted)
		unsure = unsure || r["status"] == string(delivery.Unsure)
	}
	lapsed := outcome["phase"] == string(delivery.PhaseLease)
	uncounted := outcome["phase"] == string(delivery.PhaseDecode) || lapsed
	switch {
	case n == 0 || lapsed && unsure: // which the lapse may have made of others
	case n < attempts, uncounted && n == attempts:
		recipients = fmt.Sprintf("attempt %d", n)
	}
	switch {
	case len(info) == 0 || accepted && recipients == "":
	case accepted:
		last = recipients
	default:
		last = "an earlier attempt"
	}
	return recipients, last
}

func wholeNumber(v any) int64 {
	n, _ := v.(int64)
	return n
}
