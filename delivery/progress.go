package delivery

import "time"

// Progress is how a mail fares, as its record tells: the [Record] and what only
// somebody who asks wants to know.
type Progress struct {
	Record
	End       time.Time // of the last attempt (delivery.endTime); zero if none has ended
	MessageID string    // delivery.info.messageId; empty if no mail was accepted
	Outcome   Failure   // delivery.outcome, and delivery.error as its Message; the zero Failure if there is none

	// Recipients is what has become of each address. Where only delivery.info
	// tells, as in a record of the extension's, it has the status alone. Those
	// who are to get the mail once more, because an operator wants it again, are
	// [Deferred], whatever was said to them before.
	Recipients []Recipient
}

// ReadProgress reads the record of a document; what has the wrong type counts as
// absent.
func ReadProgress(doc Fields) Progress {
	p := Progress{Record: ReadRecord(doc)}
	f, _ := doc["delivery"].(Fields)
	info, _ := f[fieldInfo].(Fields)
	p.End, p.MessageID = moment(f[fieldEndTime]), text(info["messageId"])
	if o, ok := f[fieldOutcome].(Fields); ok {
		p.Outcome = Failure{
			Class: Class(text(o["class"])), Phase: Phase(text(o["phase"])), Code: int(number(o["code"])),
			EnhancedCode: text(o["enhancedCode"]), Explain: text(o["explain"]),
		}
	}
	p.Outcome.Message = p.Error
	list, _ := f[fieldRecipients].([]any)
	p.Recipients = readRecipients(list)
	if len(list) == 0 {
		p.Recipients = listed(info)
	}
	if !p.State.Final() && !p.Series.Open() && p.NextAttempt.IsZero() {
		for i := range p.Recipients {
			p.Recipients[i] = Recipient{Address: p.Recipients[i].Address, Status: Deferred}
		}
	}
	return p
}

// Lapsed reports whether the mail was claimed and its lease has ended at now.
func (p Progress) Lapsed(now time.Time) bool {
	return p.State == Processing && !now.Before(p.Lease.Expires)
}

// listed returns the recipients of delivery.info.
func listed(info Fields) []Recipient {
	var all []Recipient
	for _, status := range [...]Status{Accepted, Rejected, Deferred} {
		list, _ := info[string(status)].([]any)
		for _, v := range list {
			all = append(all, Recipient{Address: text(v), Status: status})
		}
	}
	return all
}
