package api

import (
	"context"
	"fmt"
	"math"
	"net/http"
	"net/url"
	"strconv"

	"postrider/delivery"
	"postrider/delivery/receipt"
)

// Receipts is where it is kept who has read which mail.
type Receipts interface {
	// AddReceipt puts down a receipt of the mail called mail, unless there is one
	// with this ID already, which is no error. It costs one write.
	AddReceipt(ctx context.Context, mail, id string, f delivery.Fields) error
	// Receipts returns a mail's receipts in the order of reading without the first
	// skip, limit at most, and whether there are more.
	Receipts(ctx context.Context, mail string, skip, limit int) (list []delivery.Fields, more bool, err error)
	// ByMessageID returns the mails that have gone out with a Message-ID, of their
	// fields delivery alone; delivery.ErrGone if there is none.
	ByMessageID(ctx context.Context, id string) ([]delivery.Snapshot, error)
}

// maxPage is how many receipts a page has at most, and if nobody says how many.
const maxPage = 100

// readReceipt is a ChatMessageReadReceipt (Azure Communication Services Chat,
// 2025-03-15), with a field of our own.
type readReceipt struct {
	Sender    identifier `json:"senderCommunicationIdentifier"`
	MessageID string     `json:"chatMessageId"`
	ReadOn    string     `json:"readOn"`

	// Evidence says how it is known: mdn, the reader's program has sent a
	// notification; open, it has loaded a picture.
	Evidence receipt.Kind `json:"evidence"`
}

// identifier is a CommunicationIdentifierModel.
type identifier struct {
	RawID string `json:"rawId"`
	User  struct {
		ID string `json:"id"`
	} `json:"communicationUser"`
}

// receiptPage is a ChatMessageReadReceiptsCollection.
type receiptPage struct {
	Value []readReceipt `json:"value"`
	Next  string        `json:"nextLink,omitempty"`
}

// readReceipts answers with who has read a mail, as far as somebody has said so: a
// thread is a mail. An open of a mail with several recipients is anybody's, so it
// has no address. It costs a read for the mail, and one for each receipt up to the
// last of the page.
func (a *API) readReceipts(ctx context.Context, c *call) (reply, error) {
	query := c.request.URL.Query()
	limit, err := whole(query, "maxPageSize", maxPage, 1, math.MaxInt32)
	if err != nil {
		return reply{}, err
	}
	limit = min(limit, maxPage) // the size is the most that is wanted
	skip, err := whole(query, "skip", 0, 0, 1<<30)
	if err != nil {
		return reply{}, err
	}
	id := c.args["id"]
	mail, _, err := a.Mails.Status(ctx, id)
	if err != nil {
		return reply{}, err
	}
	list, more, err := a.Receipts.Receipts(ctx, id, skip, limit)
	if err != nil {
		return reply{}, err
	}
	page := receiptPage{Value: []readReceipt{}}
	last := delivery.ReadProgress(mail.Fields).MessageID
	for _, f := range list {
		if r, ok := receipt.Stored(f); ok {
			page.Value = append(page.Value, readReceiptOf(r, last))
		}
	}
	if more {
		page.Next = fmt.Sprintf("%s/chat/threads/%s/readReceipts?api-version=%s&maxPageSize=%d&skip=%d",
			c.base, url.PathEscape(id), c.version, limit, skip+limit)
	}
	return reply{status: http.StatusOK, body: page}, nil
}

// readReceiptOf returns a receipt as it is answered. One that does not say by what
// Message-ID the mail was known is of the mail's last.
func readReceiptOf(r receipt.Receipt, last string) readReceipt {
	out := readReceipt{MessageID: last, ReadOn: written(r.ReadOn), Evidence: r.Kind}
	if r.MessageID != "" {
		out.MessageID = r.MessageID
	}
	out.Sender.RawID = "mailto:" + r.Recipient
	out.Sender.User.ID = out.Sender.RawID
	return out
}

// whole returns a parameter that is a whole number within bounds, or usual if it is
// not there.
func whole(query url.Values, name string, usual, least, most int) (int, error) {
	if !query.Has(name) {
		return usual, nil
	}
	n, err := strconv.Atoi(query.Get(name))
	if err != nil || n < least || n > most {
		return 0, bad(name, fmt.Sprintf("%s is not a whole number from %d to %d; leave it out for %d", name, least, most, usual))
	}
	return n, nil
}
