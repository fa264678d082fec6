package api

import (
	"context"
	"errors"
	"net/http"
	"strconv"
	"strings"
	"time"

	"postrider/delivery"
	"postrider/delivery/receipt"
)

// takeMDN takes a disposition notification (RFC 8098), and puts down that its
// recipient has read the mail that it names. Of several from the same recipient the
// first counts; each is answered alike. A mail that is not known and a recipient who
// has not got it are answered alike, too.
func (a *API) takeMDN(ctx context.Context, c *call) (reply, error) {
	if len(c.body) > receipt.MaxBytes {
		return reply{}, &problem{
			status: http.StatusRequestEntityTooLarge, Code: "RequestBodyTooLarge", Target: "body",
			Message: "the notification has more than " + strconv.Itoa(receipt.MaxBytes) + " bytes; hand in only its part message/disposition-notification",
		}
	}
	n, err := receipt.Parse(c.request.Header.Get("Content-Type"), c.body)
	if fault, ok := errors.AsType[*receipt.Fault](err); ok {
		return reply{}, bad(fault.Field, fault.Error())
	}
	if err != nil {
		return reply{}, err
	}
	mails, err := a.Receipts.ByMessageID(ctx, n.OriginalMessageID)
	if err != nil && !errors.Is(err, delivery.ErrGone) {
		return reply{}, err
	}
	mail, address, ok := reader(mails, n)
	if !ok {
		return reply{}, &problem{
			status: http.StatusNotFound, Code: "NotFound", Target: "Original-Message-ID",
			Message: "no mail with this Message-ID was sent to this recipient, or it was sent again since, with another",
		}
	}
	r := receipt.Receipt{
		Kind: receipt.MDN, Recipient: address, MessageID: n.OriginalMessageID,
		ReadOn: readOn(n.Date, delivery.ReadRecord(mail.Fields).Start, a.Mails.Now()),
	}
	if err := a.Receipts.AddReceipt(ctx, mail.ID, r.ID(), r.Fields()); err != nil {
		return reply{}, err
	}
	return reply{status: http.StatusNoContent}, nil
}

// reader returns which of some mails a notification is about, and its recipient as
// the mail's envelope has it: somebody whom the mail server has taken it for. Where
// a mail was passed on, who it was sent to is the original recipient, if the
// notification tells. Servers write addresses in any case.
func reader(mails []delivery.Snapshot, n receipt.Notification) (delivery.Snapshot, string, bool) {
	for _, named := range []string{n.OriginalRecipient, n.FinalRecipient} {
		for _, mail := range mails {
			for _, address := range receivers(mail) {
				if named != "" && strings.EqualFold(address, named) {
					return mail, address, true
				}
			}
		}
	}
	return delivery.Snapshot{}, "", false
}

// receivers returns whom a mail was accepted for. It stays true while an operator
// has it sent once more, so delivery.info tells, and not how the mail fares.
func receivers(mail delivery.Snapshot) []string {
	record, _ := mail.Fields["delivery"].(delivery.Fields)
	info, _ := record["info"].(delivery.Fields)
	list, _ := info["accepted"].([]any)
	var all []string
	for _, v := range list {
		if address, ok := v.(string); ok {
			all = append(all, address)
		}
	}
	return all
}

// readOn returns when a mail was read: when the report about it was written, unless
// that can't be, for it is not known, or before the mail, or in the future; then,
// now. Reports tell whole seconds.
func readOn(reported, added, now time.Time) time.Time {
	if reported.IsZero() || reported.Before(added.Truncate(time.Second)) || reported.After(now) {
		return now
	}
	return reported
}
