package worker

import (
	"errors"

	"postrider/delivery"
	"postrider/smtp"
)

// verdictOf returns what a mail that the server did not take means for the
// document: the failure, in the extension's words where it has some, and what
// was said about each recipient.
func verdictOf(err error) (*delivery.Failure, []delivery.Recipient) {
	e, ok := errors.AsType[*smtp.Error](err)
	if !ok {
		return failureOf(err), nil
	}
	f := &delivery.Failure{
		Class:        classOf(e),
		Phase:        delivery.Phase(e.Stage),
		Code:         e.Reply.Code,
		EnhancedCode: e.Reply.Enhanced,
		Message:      "Error: " + sentence(e),
		Err:          e,
	}
	f.Explain = explain(e, f.Class)
	f.Conversation = e.Conversation
	return f, unsent(e, f.Class)
}

// unsent returns what became of each address of a mail that the server did not
// take: who was accepted did not get it either. What is said of recipients after
// MAIL was refused says nothing about them.
func unsent(e *smtp.Error, class delivery.Class) []delivery.Recipient {
	list := recipientsOf(e.Recipients)
	for i := range list {
		r := &list[i]
		if r.Status != delivery.Accepted && e.Stage != smtp.StageMail {
			continue
		}
		r.Status = delivery.Deferred
		switch class {
		case delivery.Unknown:
			r.Status = delivery.Unsure
		case delivery.Permanent:
			r.Status = delivery.Rejected
		}
		r.Code, r.EnhancedCode, r.Reply = e.Reply.Code, e.Reply.Enhanced, e.Reply.String()
	}
	return list
}

func classOf(e *smtp.Error) delivery.Class {
	switch {
	case e.PossiblyAccepted:
		return delivery.Unknown
	case e.Temporary(), e.Unreachable():
		return delivery.Transient // what is wrong with a server, or with the settings, is no fault of the mail
	default:
		return delivery.Permanent
	}
}

// recipientsOf returns the server's verdict on each address. One that was never
// answered is still owed.
func recipientsOf(list []smtp.Recipient) []delivery.Recipient {
	out := make([]delivery.Recipient, len(list))
	for i, r := range list {
		status := delivery.Rejected
		switch {
		case r.Reply.Positive():
			status = delivery.Accepted
		case r.Temporary() || r.Reply.IsZero():
			status = delivery.Deferred
		}
		out[i] = delivery.Recipient{Address: r.Address, Status: status, Code: r.Reply.Code, EnhancedCode: r.Reply.Enhanced, Reply: r.Reply.String()}
	}
	return out
}

// sentence returns delivery.error without its "Error: ": nodemailer's words for
// what a server refused or left unanswered, and a sentence of our own where
// nodemailer passes on a system's code.
func sentence(e *smtp.Error) string {
	if cause := e.Cause(); cause == smtp.CauseReply || cause == smtp.CauseProtocol && len(e.Reply.Lines) > 0 {
		return refusal(e)
	}
	switch e.Cause() {
	case smtp.CauseTimeout:
		return timeout(e)
	case smtp.CauseClosed:
		if e.Stage == smtp.StageGreeting {
			return "Unexpected socket close"
		}
		return "Connection closed unexpectedly"
	case smtp.CauseRefused:
		return "Can't connect to the mail server: connection refused"
	case smtp.CauseLookup:
		return "Can't find the mail server: its name does not resolve"
	case smtp.CauseTLS:
		return "Can't encrypt the connection to the mail server: " + e.Err.Error()
	case smtp.CauseProtocol:
		return "The mail server's answer makes no sense: " + e.Err.Error()
	case smtp.CauseCancelled:
		return "Stopped before the mail was sent"
	case smtp.CauseToken:
		return "Can't get an OAuth2 access token: " + e.Err.Error()
	}
	if errors.Is(e.Err, smtp.ErrMissingCredentials) {
		return `Missing credentials for "PLAIN"`
	}
	if errors.Is(e.Err, smtp.ErrNoRecipients) {
		return "No recipients defined"
	}
	return "Mail was not sent: " + e.Err.Error()
}

// refusal returns nodemailer's words for a reply that refuses.
func refusal(e *smtp.Error) string {
	reply := e.Reply.String()
	switch e.Stage {
	case smtp.StageGreeting:
		return "Invalid greeting. response=" + reply + ": " + reply
	case smtp.StageHello:
		if e.Reply.Code == 421 {
			return "Server terminates connection. response=" + reply + ": " + reply
		}
	case smtp.StageTLS:
		return "Error upgrading connection with STARTTLS: " + reply
	case smtp.StageAuth:
		return "Invalid login: " + reply
	case smtp.StageMail:
		return "Mail command failed: " + reply
	case smtp.StageRcpt:
		return "Can't send mail - all recipients were rejected: " + reply
	case smtp.StageData:
		return "Data command failed: " + reply
	case smtp.StageMessage:
		return "Message failed: " + reply
	}
	return "Invalid response from the mail server: " + reply
}

// timeout returns nodemailer's words for a server that does not answer.
func timeout(e *smtp.Error) string {
	switch e.Stage {
	case smtp.StageConnect:
		return "Connection timeout"
	case smtp.StageGreeting:
		return "Greeting never received"
	}
	return "Timeout"
}

// explain returns cause and remedy for whoever reads the document.
func explain(e *smtp.Error, class delivery.Class) string {
	if class == delivery.Unknown {
		return "the whole message was sent but the server's answer never came, so it may have been delivered; " +
			"look for the Message-ID in the mail server's log before setting delivery.state to RETRY, which sends it again"
	}
	if local := explainLocal(e); local != "" {
		return local
	}
	if text := explainSession(e); text != "" {
		return text
	}
	if class == delivery.Transient {
		if e.Stage == smtp.StageRcpt {
			return "the mail server takes no mail for these recipients for now; its replies, see delivery.recipients, say why"
		}
		return "the mail server could not take the mail for now"
	}
	switch e.Stage {
	case smtp.StageMail:
		return "the mail server refused the sender; check 'from', or DEFAULT_FROM, and what this login may send as"
	case smtp.StageRcpt:
		return "the mail server refused every recipient, see delivery.recipients; correct the addresses"
	}
	return "the mail server refused the message; its reply says why; change the message or ask the server's operator"
}

// explainSession returns the explanation of a session that could not be had; ""
// for others.
func explainSession(e *smtp.Error) string {
	switch e.Stage {
	case smtp.StageConnect, smtp.StageGreeting, smtp.StageHello:
		return "the mail server could not be used; check host and port in SMTP_CONNECTION_URI and whether the server is up"
	case smtp.StageTLS:
		return "the mail server's encryption could not be used; check its certificate and the port, or TLS_OPTIONS"
	case smtp.StageAuth:
		return "the mail server refused the login; check the user in SMTP_CONNECTION_URI and SMTP_PASSWORD, or the OAuth2 settings"
	}
	return ""
}

// explainLocal returns the explanation of a mail that was refused here, before
// the server was asked; "" for others.
func explainLocal(e *smtp.Error) string {
	switch {
	case errors.Is(e.Err, smtp.ErrMissingCredentials):
		return "SMTP_CONNECTION_URI names a user without a password, or SMTP_PASSWORD is set without a user; set both or neither"
	case errors.Is(e.Err, smtp.ErrPlaintextAuth):
		return "the server offers no encryption; use smtps:// or a server with STARTTLS, or set SMTP_ALLOW_PLAINTEXT_AUTH=true on a network you trust"
	case errors.Is(e.Err, smtp.ErrNoStartTLS):
		return "requireTLS is set in SMTP_CONNECTION_URI but the server offers no STARTTLS; use smtps:// or another port"
	case errors.Is(e.Err, smtp.ErrInvalidAddress):
		return "an address is too long, or has a control character or an angle bracket in it; correct it"
	}
	return ""
}
