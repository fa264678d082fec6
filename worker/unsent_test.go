package worker

import (
	"testing"

	"postrider/delivery"
	"postrider/smtp"
)

// What a mail that was not taken means for each of its recipients: who is still
// owed it, who will not get it, and of whom nobody knows.
func TestMailThatWasNotTakenLeavesRecipientsOwedRejectedOrUnsure(t *testing.T) {
	pair := func(a, b smtp.Reply) []smtp.Recipient {
		return []smtp.Recipient{{Address: "a@y.test", Reply: a}, {Address: "b@y.test", Reply: b}}
	}
	none, bad, later := smtp.Reply{}, said(503, "503 need MAIL first"), said(450, "450 busy")
	gone := said(550, "550 gone")
	owed, no, unsure := delivery.Deferred, delivery.Rejected, delivery.Unsure
	cases := map[string]struct {
		err  smtp.Error
		a, b delivery.Status
	}{
		"sender deferred, 503 to the others": {smtp.Error{Stage: smtp.StageMail, Reply: said(451, "451 later"), Recipients: pair(bad, bad)}, owed, owed},
		"sender deferred, nobody answered":   {smtp.Error{Stage: smtp.StageMail, Reply: said(451, "451 later"), Recipients: pair(none, none)}, owed, owed},
		"sender refused":                     {smtp.Error{Stage: smtp.StageMail, Reply: said(553, "553 no"), Recipients: pair(bad, none)}, no, no},
		"lost before MAIL was answered":      {smtp.Error{Stage: smtp.StageMail, Err: smtp.ErrClosed, Recipients: pair(none, none)}, owed, owed},
		"all refused, one for now":           {smtp.Error{Stage: smtp.StageRcpt, Reply: gone, Recipients: pair(later, gone)}, owed, no},
		"lost among the recipients":          {smtp.Error{Stage: smtp.StageRcpt, Err: smtp.ErrClosed, Recipients: pair(ok, none)}, owed, owed},
		"DATA deferred":                      {smtp.Error{Stage: smtp.StageData, Reply: said(451, "451 later"), Recipients: pair(ok, gone)}, owed, no},
		"DATA refused":                       {smtp.Error{Stage: smtp.StageData, Reply: said(554, "554 no"), Recipients: pair(ok, ok)}, no, no},
		"lost before the dot":                {smtp.Error{Stage: smtp.StageMessage, Err: smtp.ErrClosed, Recipients: pair(ok, gone)}, owed, no},
		"deferred after the dot":             {smtp.Error{Stage: smtp.StageMessage, Reply: said(451, "451 later"), Recipients: pair(ok, later)}, owed, owed},
		"refused after the dot":              {smtp.Error{Stage: smtp.StageMessage, Reply: said(554, "554 spam"), Recipients: pair(ok, gone)}, no, no},
		"nobody knows":                       {smtp.Error{Stage: smtp.StageMessage, Err: smtp.ErrClosed, PossiblyAccepted: true, Recipients: pair(ok, gone)}, unsure, no},
		"nobody knows, one deferred":         {smtp.Error{Stage: smtp.StageMessage, Err: smtp.ErrClosed, PossiblyAccepted: true, Recipients: pair(ok, later)}, unsure, owed},
	}
	for name, c := range cases {
		_, list := verdictOf(&c.err)
		if len(list) != 2 || list[0].Status != c.a || list[1].Status != c.b {
			t.Errorf("%s: %+v, want %s and %s", name, list, c.a, c.b)
			continue
		}
		if list[0].Address != "a@y.test" || list[1].Address != "b@y.test" {
			t.Errorf("%s: the order has changed: %+v", name, list)
		}
		if c.err.Stage == smtp.StageMail && list[0].Reply != c.err.Reply.String() {
			t.Errorf("%s: says %q of a recipient", name, list[0].Reply)
		}
	}
	if _, list := verdictOf(refused); len(list) > 0 {
		t.Errorf("without a session: %+v", list)
	}
}
