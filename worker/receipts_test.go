package worker

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"postrider/delivery"
)

// A mail's picture says whose opening it tells, so who makes the mail must know
// which document it is of.
func TestComposerKnowsTheDocument(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := newOffice(nil)
		var made delivery.Document
		o.Worker.composer = composeFunc(func(ctx context.Context, doc delivery.Document, id string, now time.Time) (Mail, error) {
			made = doc
			return plain(ctx, doc, id, now)
		})
		o.Put("m1", delivery.Fields{
			"to": "ada@rcpt.test", "message": delivery.Fields{"subject": "S", "text": "t"}, "receipts": delivery.Fields{"open": true},
		})
		o.open(t)()
		if made.ID != "m1" || made.Receipts != (delivery.Receipts{Open: true}) {
			t.Errorf("made a mail of %+v", made)
		}
	})
}
