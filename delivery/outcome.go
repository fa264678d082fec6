package delivery

import (
	"fmt"
	"strconv"
	"time"
)

// Status is what became of one recipient.
type Status string

const (
	Accepted Status = "accepted" // 2xx
	Rejected Status = "rejected" // 5xx
	Deferred Status = "pending"  // 4xx, or never answered: the address is still owed
	Unsure   Status = "unknown"  // the message was sent, and its reply never came
)

// Recipient is one address of the envelope and the server's verdict on it.
type Recipient struct {
	Address      string
	Status       Status
	Code         int    // reply code to RCPT TO
	EnhancedCode string // as in "5.1.1"; empty if none
	Reply        string // all lines, code included
	Attempt      int64  // on which it was said, counted from 1
}

// info returns delivery.info. Rejected holds 5xx and pending 4xx: a departure
// from the extension, whose library puts both in rejected, and what the
// documentation of the field has always promised.
func info(messageID, response string, recipients []Recipient) Fields {
	by := map[Status][]any{Accepted: {}, Rejected: {}, Deferred: {}}
	for _, r := range recipients {
		by[r.Status] = append(by[r.Status], r.Address)
	}
	return Fields{
		"messageId":       messageID,
		"accepted":        by[Accepted],
		"rejected":        by[Rejected],
		"pending":         by[Deferred],
		"response":        response,
		"sendgridQueueId": nil,
	}
}

// recipientFields returns delivery.recipients: who got which reply on which
// attempt.
func recipientFields(recipients []Recipient) []any {
	list := make([]any, len(recipients))
	for i, r := range recipients {
		list[i] = Fields{
			"address":      r.Address,
			"status":       string(r.Status),
			"code":         int64(r.Code),
			"enhancedCode": r.EnhancedCode,
			"reply":        r.Reply,
			"attempt":      r.Attempt,
		}
	}
	return list
}

// outcome returns delivery.outcome.
func outcome(f *Failure) Fields {
	o := Fields{"class": string(f.Class), "phase": string(f.Phase), "code": int64(f.Code)}
	if f.Class != Delivered || f.Explain != "" {
		o["enhancedCode"], o["explain"] = f.EnhancedCode, f.Explain
	}
	if f.MessageID != "" {
		o["messageId"] = f.MessageID
	}
	if len(f.Conversation) > 0 {
		lines := make([]any, len(f.Conversation))
		for i, line := range f.Conversation {
			lines[i] = line
		}
		o["conversation"] = lines
	}
	return o
}

// expired is the failure of a lapsed lease; message is what its Message-ID is made
// of. Unsent says that the mail provably never came to DATA.
func expired(message string, unsent bool) *Failure {
	f := &Failure{Class: Unknown, Phase: PhaseLease, Message: LeaseExpired, Explain: "the worker that had claimed this document ended, " +
		"or lost Firestore, before it could record what became of the mail, which may or may not have been sent; " +
		"look into the mail server's log"}
	if message != "" {
		f.Explain += " (a Message-ID that is not the document's own begins with <" + message + "@)"
	}
	f.Explain += ", and only if it has not taken the mail set delivery.state to RETRY, which sends it again"
	if unsent {
		f.Class = Transient
		f.Explain = "the worker that had claimed this document ended before it sent anything; " +
			"look into its log, then set delivery.state to RETRY to send the mail"
	}
	return f
}

func tooOften(limit Rate, until time.Time) *Failure {
	return &Failure{
		Class: Permanent, Phase: PhaseDecode,
		Message: fmt.Sprintf("Error: Document was attempted too often: %v are allowed (MAX_PER_DOCUMENT)", limit),
		Explain: fmt.Sprintf("something has set delivery.state to RETRY or PENDING again and again; stop it, and if the mail is still wanted set RETRY after %s, "+
			"or raise MAX_PER_DOCUMENT", until.UTC().Format(time.RFC3339)),
	}
}

func incomplete() *Failure {
	return &Failure{
		Class: Incomplete, Phase: PhaseDecode,
		Message: "Document is incomplete: it has no message, template or sendGrid to send.",
		Explain: "the field 'message' must be a map, 'template' a map with a 'name', or 'sendGrid' a map; " +
			"as soon as a write to this document brings one of them the mail is sent, delivery.state need not be set",
	}
}

func malformed() *Failure {
	return &Failure{
		Class: Permanent, Phase: PhaseDecode,
		Message: "Field 'delivery' must be a map with a 'state', or be left out.",
		Explain: "whoever added this document wrote a delivery field without a state, so nobody can tell whether the mail was sent; " +
			"remove the field, or set delivery.state to PENDING, to have it sent",
	}
}

func tooLarge(size int) *Failure {
	return &Failure{
		Class: Permanent, Phase: PhaseDecode,
		Message: fmt.Sprintf("Document is too large: %d bytes leave no room for the delivery record.", size),
		Explain: fmt.Sprintf("Firestore takes documents of at most 1,048,576 bytes, and this one may have %d; "+
			"give attachments as links, or shorten the message, then set delivery.state to RETRY", MaxSize),
	}
}

// replyCode returns the code that a reply's text starts with; 0 if none.
func replyCode(reply string) int64 {
	if len(reply) < 3 {
		return 0
	}
	code, err := strconv.Atoi(reply[:3])
	if err != nil {
		return 0
	}
	return int64(code)
}
