package corpus

import (
	"encoding/json"
	"fmt"
	"strings"

	"postrider/smtp/smtptest"
)

// behaviour reads a case's description of the SMTP server.
func (r *running) behaviour(o object) (smtptest.Behaviour, error) {
	var b smtptest.Behaviour
	if err := json.Unmarshal([]byte(compact(each(o, r.places.put))), &b); err != nil {
		return b, fmt.Errorf("read the SMTP server's behaviour: %w", err)
	}
	return b, nil
}

// behave makes the SMTP server do something else from now on.
func (r *running) behave(o object) error {
	b, err := r.behaviour(o)
	if err != nil {
		return err
	}
	return r.sink.SetBehaviour(b)
}

// messages is how many the SMTP server has received in full.
func (r *running) messages() int { return int(r.sink.Stats().Messages) }

// received describes what came to the SMTP server, in the shape of a case's
// expectation: transactions and, if there was one, the first login.
func (r *running) received() object {
	out := object{}
	transactions := list{}
	for _, session := range r.sink.Sessions() {
		if a := session.Auth; a != nil && out["auth"] == nil {
			out["auth"] = object{"user": a.User, "pass": a.Pass}
		}
		for _, t := range session.Transactions {
			transactions = append(transactions, r.transaction(t))
		}
	}
	out["transactions"] = transactions
	return out
}

func (r *running) transaction(t smtptest.Transaction) object {
	rcpt := list{}
	for _, to := range t.Rcpt {
		if strings.HasPrefix(to.Reply, "2") {
			rcpt = append(rcpt, to.To)
		} else {
			rcpt = append(rcpt, list{to.To, to.Reply})
		}
	}
	out := object{"mailFrom": t.Mail, "rcptTo": rcpt, "reply": nil}
	if t.Data == nil {
		return out
	}
	headers, root := normalise(t.Data)
	out["reply"] = t.DataReply
	out["headers"] = each(headers, r.places.take)
	out["root"] = each(root, r.places.take)
	return out
}
