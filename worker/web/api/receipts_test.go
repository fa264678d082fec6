package api

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/rs/zerolog"

	"postrider/delivery"
	"postrider/delivery/receipt"
)

// diary is mails and who has read them, in memory.
type diary struct {
	*shelf
	kept   map[string]map[string]delivery.Fields // by mail, then by ID
	writes int
	err    error // that everything is answered with; nil for none
}

// diaryOf returns a diary of one mail, m1, that went to ada and Bob.
func diaryOf() *diary {
	return &diary{
		shelf: &shelf{docs: map[string]delivery.Fields{"m1": sentAs("<x@y.test>", "ada@rcpt.test", "Bob@rcpt.test")}},
		kept:  map[string]map[string]delivery.Fields{},
	}
}

// sentAs returns a document that was delivered.
func sentAs(id string, to ...any) delivery.Fields {
	return delivery.Fields{"delivery": delivery.Fields{
		"state": "SUCCESS", "startTime": noon.Add(-time.Hour + time.Millisecond),
		"info": delivery.Fields{"messageId": id, "accepted": to, "rejected": []any{"no@rcpt.test"}},
	}}
}

func (d *diary) AddReceipt(ctx context.Context, mail, id string, f delivery.Fields) error {
	if err := cmp.Or(d.err, ctx.Err()); err != nil {
		return err
	}
	d.writes++
	if d.kept[mail] == nil {
		d.kept[mail] = map[string]delivery.Fields{}
	}
	if d.kept[mail][id] == nil {
		d.kept[mail][id] = f
	}
	return nil
}

func (d *diary) Receipts(_ context.Context, mail string, skip, limit int) ([]delivery.Fields, bool, error) {
	var all []delivery.Fields
	for _, f := range d.kept[mail] {
		all = append(all, f)
	}
	slices.SortFunc(all, func(a, b delivery.Fields) int { return a["readOn"].(time.Time).Compare(b["readOn"].(time.Time)) })
	all = all[min(skip, len(all)):]
	return all[:min(limit, len(all))], len(all) > limit, d.err
}

func (d *diary) ByMessageID(_ context.Context, id string) ([]delivery.Snapshot, error) {
	var found []delivery.Snapshot
	for name, f := range d.docs {
		if delivery.ReadProgress(f).MessageID == id {
			found = append(found, delivery.Snapshot{ID: name, Fields: f})
		}
	}
	if found == nil {
		return nil, cmp.Or(d.err, delivery.ErrGone)
	}
	return found, d.err
}

// keeping returns an API that keeps receipts in a diary, and how often it has
// answered what.
func keeping(t testing.TB, d *diary) (*API, map[string]int) {
	t.Helper()
	tokens, err := receipt.NewPixels("https://mail.test", [][]byte{[]byte("0123456789abcdef0123456789abcdef")})
	if err != nil {
		t.Fatal(err)
	}
	counted := map[string]int{}
	return New(Options{
		Mails: d, Receipts: d, Pixels: NewPixels(tokens), Log: zerolog.Nop(),
		Count: func(route string, status int) { counted[fmt.Sprint(route, " ", status)]++ },
	}), counted
}

// receiptsOf asks who has read a mail.
func receiptsOf(t testing.TB, a *API, id, query string) (reply, error) {
	t.Helper()
	r := httptest.NewRequest(http.MethodGet, "/chat/threads/x/readReceipts?api-version="+chat2025+query, nil)
	return a.readReceipts(t.Context(), &call{
		request: r, args: map[string]string{"id": id}, version: chat2025, base: "https://mail.test", dialect: chat,
	})
}

func TestReceiptsAreWhatTheChatClientReads(t *testing.T) {
	d := diaryOf()
	a, _ := keeping(t, d)
	for _, r := range []receipt.Receipt{
		{Kind: receipt.MDN, Recipient: "ada@rcpt.test", ReadOn: noon, MessageID: "<before@y.test>"},
		{Kind: receipt.Open, ReadOn: noon.Add(1500 * time.Microsecond)},
	} {
		if err := d.AddReceipt(t.Context(), "m1", r.ID(), r.Fields()); err != nil {
			t.Fatal(err)
		}
	}
	d.kept["m1"]["foreign"] = delivery.Fields{"readOn": noon.Add(time.Hour)}
	answer, err := receiptsOf(t, a, "m1", "")
	if err != nil {
		t.Fatal(err)
	}
	got, err := json.Marshal(answer.body)
	want := `{"value":[` +
		`{"senderCommunicationIdentifier":{"rawId":"mailto:ada@rcpt.test","communicationUser":{"id":"mailto:ada@rcpt.test"}},` +
		`"chatMessageId":"<before@y.test>","readOn":"2026-03-04T12:00:00.000Z","evidence":"mdn"},` +
		`{"senderCommunicationIdentifier":{"rawId":"mailto:","communicationUser":{"id":"mailto:"}},` +
		`"chatMessageId":"<x@y.test>","readOn":"2026-03-04T12:00:00.001Z","evidence":"open"}]}`
	text := strings.NewReplacer(`\u003c`, "<", `\u003e`, ">").Replace(string(got))
	if err != nil || text != want || answer.status != http.StatusOK {
		t.Errorf("got  %s\nwant %s", text, want)
	}
}

func TestMailThatNobodyHasReadHasAnEmptyPage(t *testing.T) {
	d := diaryOf()
	d.docs["new"] = delivery.Fields{}
	a, _ := keeping(t, d)
	for _, id := range []string{"m1", "new"} {
		answer, err := receiptsOf(t, a, id, "")
		if got, _ := json.Marshal(answer.body); err != nil || string(got) != `{"value":[]}` {
			t.Errorf("%s: %s, %v", id, got, err)
		}
	}
	if _, err := receiptsOf(t, a, "absent", ""); !errors.Is(err, delivery.ErrGone) {
		t.Errorf("a mail that is not there: %v", err)
	}
}

// Who follows the links comes by each receipt once.
func TestPagesLeadToEachOther(t *testing.T) {
	d := diaryOf()
	const id = "a mail/of?mine&all=1"
	d.docs[id] = sentAs("<z@y.test>")
	a, _ := keeping(t, d)
	for i := range 7 {
		r := receipt.Receipt{Kind: receipt.MDN, Recipient: fmt.Sprintf("r%d@rcpt.test", i), ReadOn: noon.Add(time.Duration(i) * time.Second)}
		if err := d.AddReceipt(t.Context(), id, r.ID(), r.Fields()); err != nil {
			t.Fatal(err)
		}
	}
	var got, lengths []string
	for query := "&maxPageSize=3&skip=1"; query != ""; {
		answer, err := receiptsOf(t, a, id, query)
		if err != nil {
			t.Fatal(err)
		}
		page := answer.body.(receiptPage)
		for _, r := range page.Value {
			got = append(got, r.Sender.RawID)
		}
		lengths = append(lengths, fmt.Sprint(len(page.Value)))
		query = ""
		if page.Next != "" {
			rest, ok := strings.CutPrefix(page.Next, "https://mail.test/chat/threads/a%20mail%2Fof%3Fmine&all=1/readReceipts?api-version="+chat2025)
			if !ok {
				t.Fatalf("the link %s", page.Next)
			}
			found, args := a.find(httptest.NewRequest(http.MethodGet, page.Next, nil))
			if found == nil || found.name != "readReceipts" || args["id"] != id {
				t.Errorf("%s leads to %+v, %v", page.Next, found, args)
			}
			query = rest
		}
	}
	if strings.Join(lengths, " ") != "3 3" || len(got) != 6 || got[0] != "mailto:r1@rcpt.test" || got[5] != "mailto:r6@rcpt.test" {
		t.Errorf("pages of %v: %v", lengths, got)
	}
}

func TestPagingThatIsNoneIsRefused(t *testing.T) {
	a, _ := keeping(t, diaryOf())
	for query, target := range map[string]string{
		"&maxPageSize=0": "maxPageSize", "&maxPageSize=2147483648": "maxPageSize", "&maxPageSize=": "maxPageSize", "&maxPageSize=1.5": "maxPageSize",
		"&skip=-1": "skip", "&skip=x": "skip", "&skip=99999999999999999999": "skip", "&skip=2147483647": "skip",
	} {
		_, err := receiptsOf(t, a, "absent", query)
		p, ok := errors.AsType[*problem](err)
		if !ok || p.status != http.StatusBadRequest || p.Target != target || !strings.Contains(p.Message, "leave it out") {
			t.Errorf("%s: %v", query, err)
		}
	}
	for _, query := range []string{"&maxPageSize=1", "&maxPageSize=100&skip=0", "&maxPageSize=2147483647", "&skip=1000000000"} {
		if _, err := receiptsOf(t, a, "m1", query); err != nil {
			t.Errorf("%s: %v", query, err)
		}
	}
}

// notice returns a notification.
func notice(id, final, disposition string) string {
	return "Final-Recipient: rfc822; " + final + "\r\nOriginal-Message-ID: " + id +
		"\r\nDisposition: manual-action/MDN-sent-manually; " + disposition + "\r\n"
}

// handIn hands in a notification.
func handIn(t testing.TB, a *API, body string) (reply, error) {
	t.Helper()
	r := httptest.NewRequest(http.MethodPost, "/receipts/mdn", nil)
	r.Header.Set("Content-Type", "message/disposition-notification")
	return a.takeMDN(t.Context(), &call{request: r, body: []byte(body)})
}

func TestNotificationIsARecipientsReceipt(t *testing.T) {
	for name, c := range map[string]struct {
		body string
		want receipt.Receipt
	}{
		"as the mail was sent":          {notice("<x@y.test>", "ada@rcpt.test", "displayed"), receipt.Receipt{Recipient: "ada@rcpt.test", ReadOn: noon}},
		"in another case":               {notice("<x@y.test>", "BOB@RCPT.TEST", "displayed"), receipt.Receipt{Recipient: "Bob@rcpt.test", ReadOn: noon}},
		"passed on":                     {"Original-Recipient: rfc822; ada@rcpt.test\r\n" + notice("<x@y.test>", "else@where.test", "displayed"), receipt.Receipt{Recipient: "ada@rcpt.test", ReadOn: noon}},
		"passed on within":              {"Original-Recipient: rfc822; list@rcpt.test\r\n" + notice("<x@y.test>", "ada@rcpt.test", "displayed"), receipt.Receipt{Recipient: "ada@rcpt.test", ReadOn: noon}},
		"reported a while ago":          {dated(noon.Add(-time.Minute)), receipt.Receipt{Recipient: "ada@rcpt.test", ReadOn: noon.Add(-time.Minute)}},
		"reported in the mail's second": {dated(noon.Add(-time.Hour)), receipt.Receipt{Recipient: "ada@rcpt.test", ReadOn: noon.Add(-time.Hour)}},
		"reported before the mail":      {dated(noon.Add(-time.Hour - time.Second)), receipt.Receipt{Recipient: "ada@rcpt.test", ReadOn: noon}},
		"reported in the future":        {dated(noon.Add(time.Second)), receipt.Receipt{Recipient: "ada@rcpt.test", ReadOn: noon}},
	} {
		d := diaryOf()
		a, _ := keeping(t, d)
		for range 2 {
			if answer, err := handIn(t, a, c.body); err != nil || answer.status != http.StatusNoContent || answer.body != nil {
				t.Errorf("%s: %+v, %v", name, answer, err)
			}
		}
		c.want.Kind, c.want.MessageID = receipt.MDN, "<x@y.test>"
		got, ok := receipt.Stored(d.kept["m1"][c.want.ID()])
		if !ok || !reflect.DeepEqual(got, c.want) || len(d.kept) != 1 || len(d.kept["m1"]) != 1 {
			t.Errorf("%s: kept %v", name, d.kept)
		}
	}
}

// dated returns a report that was written at a time.
func dated(at time.Time) string {
	return "Date: " + at.Format(time.RFC1123Z) + "\r\nContent-Type: message/disposition-notification\r\n\r\n" + notice("<x@y.test>", "ada@rcpt.test", "displayed")
}

// Several documents may bring the same Message-ID of their own.
func TestRecipientTellsMailsOfOneMessageIDApart(t *testing.T) {
	d := diaryOf()
	d.docs["m2"] = sentAs("<x@y.test>", "cara@rcpt.test")
	a, _ := keeping(t, d)
	if _, err := handIn(t, a, notice("<x@y.test>", "cara@rcpt.test", "displayed")); err != nil || len(d.kept["m2"]) != 1 || len(d.kept) != 1 {
		t.Errorf("kept %v, %v", d.kept, err)
	}
}

// Nobody learns from the answer which mails there are, or to whom.
func TestUnknownMailAndRecipientAreAnsweredAlike(t *testing.T) {
	d, said := diaryOf(), map[string]bool{}
	a, _ := keeping(t, d)
	for name, body := range map[string]string{
		"another mail":        notice("<z@y.test>", "ada@rcpt.test", "displayed"),
		"another recipient":   notice("<x@y.test>", "eve@rcpt.test", "displayed"),
		"one who was refused": notice("<x@y.test>", "no@rcpt.test", "displayed"),
	} {
		_, err := handIn(t, a, body)
		p := a.problem(&route{}, err)
		if p.status != http.StatusNotFound || p.Target != "Original-Message-ID" {
			t.Errorf("%s: %+v", name, p)
		}
		said[p.Message] = true
	}
	if d.writes != 0 || len(said) != 1 {
		t.Errorf("kept %v, said %v", d.kept, said)
	}
}

func TestWhatIsNoReceiptIsRefused(t *testing.T) {
	d := diaryOf()
	a, _ := keeping(t, d)
	for body, want := range map[string]problem{
		notice("<x@y.test>", "ada@rcpt.test", "deleted"): {status: http.StatusBadRequest, Target: "Disposition"},
		notice("x", "ada@rcpt.test", "displayed"):        {status: http.StatusBadRequest, Target: "Original-Message-ID"},
		notice("<x@y.test>", "ada", "displayed"):         {status: http.StatusBadRequest, Target: "Final-Recipient"},
		"":                                               {status: http.StatusBadRequest, Target: "body"},
		notice("<x@y.test>", "ada@rcpt.test", "displayed") + strings.Repeat("x", 64<<10): {status: http.StatusRequestEntityTooLarge, Target: "body"},
	} {
		_, err := handIn(t, a, body)
		if p, ok := errors.AsType[*problem](err); !ok || p.status != want.status || p.Target != want.Target || strings.Contains(p.Message, "rcpt.test") {
			t.Errorf("%.80q: %v", body, err)
		}
	}
	d.err = errors.New("no")
	if _, err := handIn(t, a, notice("<x@y.test>", "ada@rcpt.test", "displayed")); err == nil {
		t.Error("Firestore did not take it, and nobody says so")
	}
}
