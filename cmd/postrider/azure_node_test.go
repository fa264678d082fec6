package main

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"net/mail"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"cloud.google.com/go/firestore"

	"postrider/smtp/smtptest"
)

// operationResult is what a client's poller returns of the e-mail dialect.
type operationResult struct{ ID, Status string }

// uuidOf returns an operation's ID: the clients want a UUID.
func uuidOf(n int) string { return fmt.Sprintf("8540c0de-899f-4cce-acb5-%012d", n) }

// mixed refuses some recipients for good, and puts others off.
func mixed() smtptest.Behaviour {
	return smtptest.Behaviour{Rcpt: map[string]smtptest.Replies{
		"bad@rcpt.test":   {"550 5.1.1 no such user"},
		"worse@rcpt.test": {"550 5.7.1 not from you"},
		"busy@rcpt.test":  {"451 4.3.2 try again later"},
	}}
}

// betaMessage is a mail as 2021-10-01-preview has it.
func betaMessage(subject string, to ...string) map[string]any {
	var list []any
	for _, address := range to {
		list = append(list, map[string]any{"email": address, "displayName": "Ada"})
	}
	return map[string]any{
		"sender":        "shop@sender.test",
		"content":       map[string]any{"subject": subject, "plainText": "Your order.", "html": "<p>Your order.</p>"},
		"recipients":    map[string]any{"to": list, "cC": []any{map[string]any{"email": "cc@rcpt.test"}}, "bCC": []any{map[string]any{"email": "bcc@rcpt.test"}}},
		"replyTo":       []any{map[string]any{"email": "reply@sender.test"}},
		"customHeaders": []any{map[string]any{"name": "X-Order", "value": "1024"}},
		"attachments":   []any{map[string]any{"name": "order.txt", "attachmentType": "txt", "contentBytesBase64": base64.StdEncoding.EncodeToString([]byte(attached))}},
	}
}

// message2023 is a mail as 2023-03-31 and later versions have it.
func message2023(subject string, to ...string) map[string]any {
	var list []any
	for _, address := range to {
		list = append(list, map[string]any{"address": address, "displayName": "Ada"})
	}
	return map[string]any{
		"senderAddress": "shop@sender.test",
		"content":       map[string]any{"subject": subject, "plainText": "Your order.", "html": "<p>Your order.</p>"},
		"recipients":    map[string]any{"to": list, "cc": []any{map[string]any{"address": "cc@rcpt.test"}}, "bcc": []any{map[string]any{"address": "bcc@rcpt.test"}}},
		"replyTo":       []any{map[string]any{"address": "reply@sender.test"}},
		"headers":       map[string]any{"X-Order": "1024"},
		"attachments":   []any{map[string]any{"name": "order.txt", "contentType": "text/plain", "contentInBase64": base64.StdEncoding.EncodeToString([]byte(attached))}},
	}
}

// attached is longer than a line of base64 has room for.
const attached = "an order of 1024 bolts, and of as many nuts, to be there by Monday"

// only takes the copies off a message: a mail with them reaches somebody.
func only(message map[string]any) map[string]any {
	r := message["recipients"].(map[string]any)
	message["recipients"] = map[string]any{"to": r["to"]}
	return message
}

// mails returns the messages with a subject that the mail server took.
func (az *azure) mails(subject string) []smtptest.Transaction {
	return slices.DeleteFunc(az.server.Transactions(), func(x smtptest.Transaction) bool {
		return !strings.Contains(string(x.Data), "Subject: "+subject+"\r\n")
	})
}

// delivered checks the one mail with a subject as it arrived.
func (az *azure) delivered(t *testing.T, subject string) {
	t.Helper()
	mails := az.mails(subject)
	if len(mails) != 1 {
		t.Fatalf("%q arrived %d times", subject, len(mails))
	}
	var to []string
	for _, r := range mails[0].Rcpt {
		to = append(to, r.To)
	}
	if want := []string{"<ada@rcpt.test>", "<cc@rcpt.test>", "<bcc@rcpt.test>"}; !slices.Equal(to, want) {
		t.Errorf("the envelope has %v, want %v", to, want)
	}
	m, err := mail.ReadMessage(strings.NewReader(string(mails[0].Data)))
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{
		"From": "shop@sender.test", "To": "ada@rcpt.test", "Cc": "cc@rcpt.test", "Bcc": "", "Reply-To": "reply@sender.test", "X-Order": "1024",
	} {
		if got := m.Header.Get(name); !strings.Contains(got, want) || want == "" && got != "" {
			t.Errorf("%s is %q, want %q", name, got, want)
		}
	}
	if to := m.Header.Get("To"); !strings.Contains(to, "Ada") {
		t.Errorf("To is %q, without the name", to)
	}
	text := strings.ReplaceAll(string(mails[0].Data), "\r\n", "")
	for _, part := range []string{"order.txt", "Your order.", "<p>Your order.</p>", base64.StdEncoding.EncodeToString([]byte(attached))} {
		if !strings.Contains(text, part) {
			t.Errorf("%q is not in the mail\n%s", part, mails[0].Data)
		}
	}
}

func TestAzureClients(t *testing.T) {
	az := newAzure(t, azureScripts(t))
	az.start(t, mixed(), "MAX_ATTEMPTS=3")
	az.double(t)
	t.Run("at once", func(t *testing.T) {
		for name, test := range map[string]func(*testing.T){
			"email 1.0.0-beta.1":       az.betaClient,
			"email 1.0.0":              func(t *testing.T) { az.emailClient(t, "email-1.0.0", 10) },
			"email 1.1.0":              func(t *testing.T) { az.emailClient(t, "email-1.1.0", 20) },
			"the same operation twice": az.sameOperation,
			"the same request twice":   az.sameRequest,
			"wrong keys":               az.wrongKeys,
			"wrong scopes":             az.wrongScopes,
			"phone numbers":            az.phoneClient,
			"waiting":                  az.waitingPoller,
			"claimed by the dead":      az.claimedPoller,
			"arm":                      az.armClient,
			"chat":                     az.chatClient,
		} {
			t.Run(name, func(t *testing.T) {
				t.Parallel()
				test(t)
			})
		}
	})
	t.Run("lost answers", az.lostAnswers)
	t.Run("running", az.runningPoller)
	t.Run("bulk retry", az.bulkRetry)
	az.paced(t)
}

func (az *azure) betaClient(t *testing.T) {
	seen := script[operationResult](t, az, "email-beta.mjs", map[string]any{"message": betaMessage("beta", "ada@rcpt.test")})
	if seen.Error != nil || seen.Sent == "" || seen.Result != (operationResult{seen.Sent, "outForDelivery"}) {
		t.Errorf("sent %q: %+v, %+v", seen.Sent, seen.Result, seen.Error)
	}
	az.delivered(t, "beta")

	dropped := script[operationResult](t, az, "email-beta.mjs", map[string]any{"message": only(betaMessage("beta dropped", "bad@rcpt.test"))})
	if dropped.Error != nil || dropped.Result != (operationResult{dropped.Sent, "dropped"}) {
		t.Errorf("to nobody: %+v, %+v", dropped.Result, dropped.Error)
	}

	unknown := script[operationResult](t, az, "email-beta.mjs", map[string]any{"id": "nobody/knows me"})
	if e := unknown.Error; e == nil || e.Name != "RestError" || e.StatusCode != 404 || e.Code != "NotFound" {
		t.Errorf("of an unknown mail: %+v", e)
	}
	foreign := betaMessage("foreign", "ada@rcpt.test")
	foreign["sender"] = "shop@elsewhere.test"
	refused := script[operationResult](t, az, "email-beta.mjs", map[string]any{"message": foreign})
	if e := refused.Error; e == nil || e.StatusCode != 400 && e.StatusCode != 403 || e.Code == "" || e.Target != "sender" {
		t.Errorf("for another sender: %+v", e)
	}
}

func (az *azure) emailClient(t *testing.T, client string, n int) {
	id := uuidOf(n)
	seen := script[operationResult](t, az, "email.mjs", map[string]any{"client": client, "operation": id, "message": message2023(client, "ada@rcpt.test")})
	if seen.Error != nil || seen.Result != (operationResult{id, "Succeeded"}) {
		t.Errorf("%+v, %+v", seen.Result, seen.Error)
	}
	if want := az.plain.URL + "/emails/operations/" + id; !strings.HasPrefix(seen.Location, want) {
		t.Errorf("the operation is at %s, want %s", seen.Location, want)
	}
	az.delivered(t, client)

	id = uuidOf(n + 1)
	failed := script[operationResult](t, az, "email.mjs", map[string]any{
		"client": client, "operation": id, "message": only(message2023(client+" refused", "bad@rcpt.test", "worse@rcpt.test")),
	})
	record := az.as(t).await(id)
	want := fmt.Sprint("The long-running operation has failed. EmailDropped. ", record["error"])
	if failed.Error == nil || failed.Error.Message != want || record["state"] != "ERROR" {
		t.Errorf("to nobody: %+v, %+v, want %q", failed.Result, failed.Error, want)
	}

	large := script[operationResult](t, az, "email.mjs", map[string]any{"client": client, "message": message2023(client+" large", "ada@rcpt.test"), "attachedBytes": 3 << 20})
	if e := large.Error; e == nil || e.Name != "RestError" || e.StatusCode != 413 || e.Code == "" {
		t.Errorf("with an attachment of 3 MiB: %+v", e)
	}
	for _, subject := range []string{client + " traced", client + " traced, too"} { // an ID that tells which mails belong together
		traced := script[operationResult](t, az, "email.mjs", map[string]any{"client": client, "request": uuidOf(n + 3), "message": message2023(subject, "ada@rcpt.test")})
		if traced.Error != nil || traced.Result.Status != "Succeeded" {
			t.Errorf("%s: %+v, %+v", subject, traced.Result, traced.Error)
		}
		az.delivered(t, subject)
	}
	empty := message2023(client+" to nobody", "ada@rcpt.test")
	delete(empty, "recipients")
	bad := script[operationResult](t, az, "email.mjs", map[string]any{"client": client, "message": empty})
	if e := bad.Error; e == nil || e.Name != "RestError" || e.StatusCode != 400 || !strings.HasPrefix(e.Target, "recipients") || e.Code == "" {
		t.Errorf("without recipients: %+v", e)
	}
	lost := script[operationResult](t, az, "email.mjs", map[string]any{"client": client, "location": "/emails/operations/" + uuidOf(n+2)})
	if e := lost.Error; e == nil || e.StatusCode != 404 || e.Code != "NotFound" {
		t.Errorf("of an unknown operation: %+v", e)
	}
	other := script[operationResult](t, az, "email.mjs", map[string]any{
		"client": client, "message": message2023("other version", "ada@rcpt.test"), "options": map[string]any{"apiVersion": "2020-01-01"},
	})
	if e := other.Error; e == nil || e.StatusCode != 400 || e.Code != "UnsupportedApiVersionValue" || !strings.Contains(e.Message, "2023-03-31") {
		t.Errorf("of another version: %+v", e)
	}
}

// One key, one mail, whichever of the versions asks, and whichever instance; another
// mail under the same key is refused.
func (az *azure) sameOperation(t *testing.T) {
	id := uuidOf(100)
	for range 2 {
		for _, client := range []string{"email-1.0.0", "email-1.1.0"} {
			seen := script[operationResult](t, az, "email.mjs", map[string]any{"client": client, "operation": id, "message": message2023("once", "ada@rcpt.test")})
			if seen.Error != nil || seen.Result != (operationResult{id, "Succeeded"}) {
				t.Errorf("%s: %+v, %+v", client, seen.Result, seen.Error)
			}
		}
	}
	az.delivered(t, "once")
	other := script[operationResult](t, az, "email.mjs", map[string]any{"client": "email-1.1.0", "operation": id, "message": message2023("twice", "ada@rcpt.test")})
	if other.Error == nil || other.Error.StatusCode != 409 || other.Error.Code == "" {
		t.Errorf("another mail under the same key: %+v, %+v", other.Result, other.Error)
	}
	if n := len(az.mails("twice")); n > 0 {
		t.Errorf("the other mail arrived %d times", n)
	}
}

// Requests of 2021-10-01-preview are repeatable, too (OASIS Repeatable Requests
// 1.0). Its client makes up a key for each; so these are made without.
func (az *azure) sameRequest(t *testing.T) {
	send := func(message map[string]any) plainAnswer {
		message["headers"] = message["customHeaders"] // as the client sends them
		delete(message, "customHeaders")
		body, _ := json.Marshal(message)
		got := script[plainAnswer](t, az, "plain.mjs", map[string]any{
			"method": "POST", "path": "/emails:send?api-version=2021-10-01-preview", "body": string(body),
			"headers": map[string]string{"Repeatability-Request-ID": uuidOf(200), "Repeatability-First-Sent": "Tue, 26 Mar 2019 16:06:51 GMT"},
		})
		if got.Error != nil {
			t.Fatalf("%+v", got.Error)
		}
		return got.Result
	}
	for range 2 {
		got := send(betaMessage("once in 2021", "ada@rcpt.test"))
		if got.Status != 202 || got.Body != "" || got.Headers["repeatability-result"] != "accepted" || got.Headers["x-ms-request-id"] != uuidOf(200) {
			t.Errorf("%+v", got)
		}
		az.as(t).await(uuidOf(200))
	}
	az.delivered(t, "once in 2021")
	if other := send(betaMessage("twice in 2021", "ada@rcpt.test")); other.Status != 409 || other.Headers["repeatability-result"] != "rejected" {
		t.Errorf("another mail under the same key: %+v", other)
	}
}

// A client whose answer is lost asks again, and sends nothing twice.
func (az *azure) lostAnswers(t *testing.T) {
	for n, client := range []string{"email-1.0.0", "email-1.1.0"} {
		az.mu.Lock()
		az.lose = 2
		az.mu.Unlock()
		subject, input := client+" lost", map[string]any{
			"client": client, "options": map[string]any{"apiVersion": "2023-01-15-preview", "retryOptions": map[string]any{"retryDelayInMs": 1}},
		}
		input["message"] = message2023(subject, "ada@rcpt.test")
		if n == 0 {
			input["operation"] = uuidOf(300)
		} // else only what the client makes up for all its attempts tells that they are one request
		seen := script[operationResult](t, az, "email.mjs", input)
		if seen.Error != nil || seen.Result.Status != "Succeeded" {
			t.Errorf("%s: %+v, %+v", client, seen.Result, seen.Error)
		}
		az.delivered(t, subject)
	}
}

// A mail in the hands of the mail server is running, and then has succeeded.
func (az *azure) runningPoller(t *testing.T) {
	hold := make(chan struct{})
	if err := az.server.SetBehaviour(smtptest.Behaviour{Hold: hold}); err != nil {
		t.Fatal(err)
	}
	id := uuidOf(400)
	az.at(2, "/emails/operations/"+id, "Running", func() { close(hold) })
	seen := script[operationResult](t, az, "email.mjs", map[string]any{"client": "email-1.1.0", "operation": id, "message": message2023("held", "ada@rcpt.test")})
	if seen.Error != nil || seen.Result != (operationResult{id, "Succeeded"}) {
		t.Errorf("%+v, %+v", seen.Result, seen.Error)
	}
	az.fewPolls(t, "/emails/operations/"+id, 20)
	if err := az.server.SetBehaviour(mixed()); err != nil {
		t.Fatal(err)
	}
}

func (az *azure) wrongKeys(t *testing.T) {
	wrong := credentials{key: randomKey(), token: az.token("chat")[:60] + "." + "AAAA"}
	for name, c := range map[string]struct {
		input map[string]any
		code  string
	}{
		"email-beta.mjs": {map[string]any{"id": "a"}, "Denied"},
		"email.mjs":      {map[string]any{"client": "email-1.1.0", "message": message2023("denied", "ada@rcpt.test")}, "Denied"},
		"phone.mjs":      {map[string]any{"id": "a"}, "Denied"},
		"chat.mjs":       {map[string]any{"id": "a"}, "Denied"},
		"arm.mjs":        {map[string]any{"id": "a"}, "InvalidAuthenticationToken"},
	} {
		with := wrong
		if name == "chat.mjs" || name == "arm.mjs" {
			stranger := &azure{key: wrong.key}
			with.token = stranger.token(map[string]string{"chat.mjs": "chat", "arm.mjs": "management"}[name])
		}
		seen := script[any](t, az, name, c.input, with)
		if e := seen.Error; e == nil || e.Name != "RestError" || e.StatusCode != 401 || e.Code != c.code {
			t.Errorf("%s: %+v", name, e)
		}
	}
	if n := len(az.mails("denied")); n > 0 {
		t.Errorf("a mail of somebody without the key arrived %d times", n)
	}
}

func (az *azure) wrongScopes(t *testing.T) {
	for name, scope := range map[string]string{"chat.mjs": "management", "arm.mjs": "chat"} {
		seen := script[any](t, az, name, map[string]any{"id": "a"}, credentials{az.key, az.token(scope)})
		if e := seen.Error; e == nil || e.StatusCode != 403 || e.Code != "Forbidden" {
			t.Errorf("%s with the scope %s: %+v", name, scope, e)
		}
	}
}

// phoneOperation is an operation as the client of phone numbers returns it, with
// dates that it has understood.
type phoneOperation struct {
	ID, Status, OperationType, ResourceLocation, Location string
	CreatedDateTime, LastActionDateTime                   time.Time
	Error                                                 *azureFault
}

func (az *azure) phoneClient(t *testing.T) {
	const awkward = "Größe 1024: a~b'c(d)e*f@g+h%2Fi;j,k=l&m?n#o😀.."
	az.as(t).add(awkward, map[string]any{"to": "ada@rcpt.test", "message": message("phone", "t")})
	az.as(t).add("phone refused", map[string]any{"to": "bad@rcpt.test", "message": message("phone refused", "t")})
	done, dropped := az.as(t).await(awkward), az.as(t).await("phone refused")

	seen := script[phoneOperation](t, az, "phone.mjs", map[string]any{"id": awkward})
	o := seen.Result
	if seen.Error != nil || o.ID != awkward || o.Status != "succeeded" || o.OperationType == "" || o.Location == "" || o.Location != o.ResourceLocation || o.Error != nil {
		t.Errorf("sent: %+v, %+v", o, seen.Error)
	}
	if o.CreatedDateTime.IsZero() || o.LastActionDateTime.Before(o.CreatedDateTime) {
		t.Errorf("created %v, last action %v", o.CreatedDateTime, o.LastActionDateTime)
	}
	seen = script[phoneOperation](t, az, "phone.mjs", map[string]any{"id": "phone refused"})
	o = seen.Result
	if seen.Error != nil || o.Status != "failed" || o.Location != "" || o.ResourceLocation != "" || o.Error == nil || o.Error.Code != "EmailDropped" || o.Error.Message != dropped["error"] {
		t.Errorf("dropped: %+v, %+v, %+v", o, o.Error, seen.Error)
	}

	// The poller's way, with the two slashes of other versions' clients, which it
	// has signed.
	for _, prefix := range []string{"/phoneNumbers/operations/", az.plain.URL + "//phoneNumbers/operations/", "/operations/"} {
		got := script[map[string]any](t, az, "phone.mjs", map[string]any{"location": prefix + percentEncoded(awkward)})
		if got.Error != nil || got.Result["state"] != "SUCCESS" || got.Result["attempts"] != float64(1) || done["state"] != "SUCCESS" {
			t.Errorf("%s: %v, %+v", prefix, got.Result, got.Error)
		}
	}
	failed := script[any](t, az, "phone.mjs", map[string]any{"location": "/phoneNumbers/operations/phone%20refused"})
	if want := fmt.Sprint("The long-running operation has failed. EmailDropped. ", dropped["error"]); failed.Error == nil || failed.Error.Message != want {
		t.Errorf("dropped: %+v, want %q", failed.Error, want)
	}
	for _, e := range az.about("phoneNumbers") {
		if e.status >= 300 && e.status < 400 {
			t.Errorf("%s was redirected", e.uri)
		}
	}
}

// percentEncoded encodes all that may be encoded in a segment of a path.
func percentEncoded(id string) string {
	var b strings.Builder
	for _, c := range []byte(id) {
		fmt.Fprintf(&b, "%%%02X", c)
	}
	return b.String()
}

// A poller that asks every hundredth of a second, unless it is told, is told: of a
// mail that waits, when it is due.
func (az *azure) waitingPoller(t *testing.T) {
	az.as(t).add("soon", map[string]any{
		"to": "ada@rcpt.test", "message": message("due soon", "t"),
		"delivery": map[string]any{"state": "PENDING", "attempts": 0, "startTime": time.Now(), "nextAttemptTime": time.Now().Add(time.Hour)},
	})
	az.at(1, "/phoneNumbers/operations/soon", "notStarted", func() { az.expect(t, "soon", "nextAttemptTime", 4*time.Second) })
	seen := script[map[string]any](t, az, "phone.mjs", map[string]any{"location": "/phoneNumbers/operations/soon"})
	if seen.Error != nil || seen.Result["state"] != "SUCCESS" {
		t.Errorf("%v, %+v", seen.Result, seen.Error)
	}
	az.fewPolls(t, "/phoneNumbers/operations/soon", 20)
}

// Of a mail that is being sent the poller is told by its lease, and that it has
// failed once that has lapsed: its worker, none of this program's, has died.
func (az *azure) claimedPoller(t *testing.T) {
	az.as(t).add("lost", map[string]any{
		"to": "ada@rcpt.test", "message": message("never sent", "t"),
		"delivery": map[string]any{
			"state": "PROCESSING", "attempts": 0, "startTime": time.Now(), "leaseId": "else", "leaseExpireTime": time.Now().Add(time.Hour),
		},
	})
	az.at(1, "/emails/operations/lost", "Running", func() { az.expect(t, "lost", "leaseExpireTime", 4*time.Second) })
	got := script[operationResult](t, az, "email.mjs", map[string]any{"client": "email-1.1.0", "location": "/emails/operations/lost"})
	if e := got.Error; e == nil || !strings.HasPrefix(e.Message, "The long-running operation has failed. EmailDropped. ") {
		t.Errorf("%+v, %+v", got.Result, e)
	}
	az.fewPolls(t, "/emails/operations/lost", 20)
}

// expect sets a time of a document's record.
func (az *azure) expect(t *testing.T, id, field string, from time.Duration) {
	_, err := az.client.Collection("mail").Doc(id).Update(t.Context(), []firestore.Update{{Path: "delivery." + field, Value: time.Now().Add(from)}})
	if err != nil {
		t.Error(err)
	}
}

// fewPolls checks that an operation was asked about more than once, but seldom, and
// told each time when to ask again, until it was final.
func (az *azure) fewPolls(t *testing.T, uri string, most int) {
	t.Helper()
	polls := az.about(uri)
	if len(polls) < 2 || len(polls) > most {
		t.Errorf("%s was asked for %d times, want 2 to %d", uri, len(polls), most)
		return
	}
	for i, e := range polls {
		if final := i == len(polls)-1; final == (e.retryAfter != "") || e.status != 200 || strings.HasPrefix(e.retryAfter, "0") {
			t.Errorf("poll %d of %d: %d with Retry-After %q", i+1, len(polls), e.status, e.retryAfter)
		}
	}
}

// armOperation is an operation's status as the client of API Management returns
// it, with dates that it has understood.
type armOperation struct {
	ID, Name, Status   string
	PercentComplete    float64
	StartTime, EndTime *time.Time
	Operations         []armOperation
	Error              *armFault
}

type armFault struct {
	Code, Message, Target string
	Details               []armFault
	AdditionalInfo        []struct {
		Type string
		Info map[string]any
	}
}

// parts returns the statuses of what an operation consists of, by name, with the
// code of what failed.
func (o armOperation) parts() map[string]string {
	parts := map[string]string{}
	for _, p := range o.Operations {
		parts[p.Name] = p.Status
		if p.Error != nil {
			parts[p.Name] += " " + p.Error.Code
		}
	}
	return parts
}

func (az *azure) armClient(t *testing.T) {
	az.plantForArm(t)
	for id, c := range armCases {
		seen := script[armOperation](t, az, "arm.mjs", map[string]any{"id": id})
		if seen.Error != nil {
			t.Errorf("%s: %+v", id, seen.Error)
			continue
		}
		c.check(t, id, seen.Result)
	}
	unknown := script[any](t, az, "arm.mjs", map[string]any{"id": "nobody"})
	if e := unknown.Error; e == nil || e.StatusCode != 404 || e.Code != "ResourceNotFound" {
		t.Errorf("unknown: %+v", e)
	}
	location := fmt.Sprintf("%s/subscriptions/%s/providers/Microsoft.ApiManagement/locations/northeurope/operationStatuses/", az.secure.URL, azureSubscription)
	done := script[armOperation](t, az, "arm.mjs", map[string]any{"location": location + "arm-sent?api-version=2024-05-01"})
	if done.Error != nil || done.Result.Name != "arm-sent" {
		t.Errorf("a poller: %+v, %+v", done.Result, done.Error)
	}
	failed := script[any](t, az, "arm.mjs", map[string]any{"location": location + "arm-refused?api-version=2024-05-01"})
	if e := failed.Error; e == nil || !strings.HasPrefix(e.Message, "The long-running operation has failed. EmailDropped. ") {
		t.Errorf("a poller of what failed: %+v", e)
	}
}

// readReceipt is who has read a mail, as the chat client returns it.
type readReceipt struct {
	Sender        struct{ Kind, CommunicationUserID string }
	ChatMessageID string
	ReadOn        time.Time
	Evidence      string // ours; the client passes it on
}

func (az *azure) chatClient(t *testing.T) {
	const thread = "who reads: it?"
	az.as(t).add(thread, map[string]any{
		"to": []string{"ada@rcpt.test", "bob@rcpt.test", "eve@rcpt.test", "dan@rcpt.test"}, "message": message("read me", "t"), "receipts": map[string]any{"read": true},
	})
	az.as(t).await(thread)
	sent, err := mail.ReadMessage(strings.NewReader(string(az.mails("read me")[0].Data)))
	if err != nil {
		t.Fatal(err)
	}
	if to := sent.Header.Get("Disposition-Notification-To"); !strings.Contains(to, "shop@sender.test") {
		t.Errorf("Disposition-Notification-To is %q", to)
	}
	none := script[[][]readReceipt](t, az, "chat.mjs", map[string]any{"id": thread})
	if none.Error != nil || len(slices.Concat(none.Result...)) > 0 {
		t.Errorf("before anybody has read it: %+v, %+v", none.Result, none.Error)
	}
	before := time.Now().Add(-time.Minute)
	readers := []string{"ada", "bob", "eve"}
	for _, who := range append(readers, "ada") { // a notification may come twice
		notification := "Reporting-UA: test\r\nFinal-Recipient: rfc822;" + who + "@rcpt.test\r\nOriginal-Message-ID: " + sent.Header.Get("Message-Id") +
			"\r\nDisposition: manual-action/MDN-sent-manually; displayed\r\n"
		got := script[plainAnswer](t, az, "plain.mjs", map[string]any{"method": "POST", "path": "/receipts/mdn", "type": "message/disposition-notification", "body": notification})
		if got.Error != nil || got.Result.Status/100 != 2 {
			t.Fatalf("a notification: %+v, %+v", got.Result, got.Error)
		}
	}
	for name, c := range map[string]struct {
		paging  map[string]any
		options map[string]any
		pages   []int
	}{
		"all":             {nil, nil, []int{3}},
		"pages of two":    {map[string]any{"maxPageSize": 2}, nil, []int{2, 1}},
		"one is skipped":  {map[string]any{"maxPageSize": 1, "skip": 1}, nil, []int{1, 1}},
		"another version": {map[string]any{"maxPageSize": 2}, map[string]any{"apiVersion": "2024-03-15-preview"}, []int{2, 1}},
	} {
		seen := script[[][]readReceipt](t, az, "chat.mjs", map[string]any{"id": thread, "paging": c.paging, "options": c.options})
		if seen.Error != nil {
			t.Errorf("%s: %+v", name, seen.Error)
			continue
		}
		az.checkReceipts(t, name, seen.Result, c.pages, readers, sent.Header.Get("Message-Id"), before)
	}
	unknown := script[any](t, az, "chat.mjs", map[string]any{"id": "nobody"})
	if e := unknown.Error; e == nil || e.StatusCode != 404 || e.Code == "" {
		t.Errorf("of an unknown mail: %+v", e)
	}
	bad := script[any](t, az, "chat.mjs", map[string]any{"id": thread, "paging": map[string]any{"maxPageSize": -1}})
	if e := bad.Error; e == nil || e.StatusCode != 400 || e.Code == "" {
		t.Errorf("of pages of -1: %+v", e)
	}
}

func (az *azure) checkReceipts(t *testing.T, name string, pages [][]readReceipt, sizes []int, readers []string, id string, since time.Time) {
	t.Helper()
	var got []int
	var who []string
	for _, page := range pages {
		if len(page) > 0 {
			got = append(got, len(page))
		}
		for _, r := range page {
			who = append(who, r.Sender.CommunicationUserID)
			if r.Sender.Kind != "communicationUser" || r.Evidence != "mdn" || r.ChatMessageID != id || r.ReadOn.Before(since) || r.ReadOn.After(time.Now().Add(time.Minute)) {
				t.Errorf("%s: %+v", name, r)
			}
		}
	}
	if !slices.Equal(got, sizes) {
		t.Errorf("%s: pages of %v, want %v", name, got, sizes)
	}
	slices.Sort(who)
	for _, w := range slices.Compact(slices.Clone(who)) {
		if !slices.ContainsFunc(readers, func(r string) bool { return w == "mailto:"+r+"@rcpt.test" }) {
			t.Errorf("%s: %s has read it", name, w)
		}
	}
	if len(slices.Compact(slices.Clone(who))) != len(who) {
		t.Errorf("%s: somebody is there twice: %v", name, who)
	}
}

// An open of a signed picture is a receipt of its own kind, and not a notification.
// The links are those of API_PUBLIC_URL, which the clients follow.
func TestAzureChatClientSeesOpens(t *testing.T) {
	az := newAzure(t, azureScripts(t))
	az.start(t, smtptest.Behaviour{}, "API_PUBLIC_URL="+az.secure.URL)
	sent := script[operationResult](t, az, "email.mjs", map[string]any{"client": "email-1.1.0", "operation": uuidOf(1), "message": message2023("public", "ada@rcpt.test")})
	if sent.Error != nil || sent.Result.Status != "Succeeded" || !strings.HasPrefix(sent.Location, az.secure.URL+"/emails/operations/") {
		t.Errorf("%+v at %s, %+v", sent.Result, sent.Location, sent.Error)
	}
	az.as(t).add("opened", map[string]any{
		"to": "ada@rcpt.test", "receipts": map[string]any{"open": true},
		"message": map[string]any{"subject": "open me", "text": "t", "html": "<p>t</p>"},
	})
	az.as(t).await("opened")
	text := strings.NewReplacer("=\r\n", "", "=3D", "=").Replace(string(az.mails("open me")[0].Data))
	pictures := regexp.MustCompile(regexp.QuoteMeta(az.secure.URL)+`/o/[^"]+\.gif`).FindAllString(text, -1)
	if len(pictures) != 1 {
		t.Fatalf("the mail has the pictures %v\n%s", pictures, text)
	}
	request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, pictures[0], nil)
	if err != nil {
		t.Fatal(err)
	}
	response, err := az.secure.Client().Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = response.Body.Close() }()
	if response.StatusCode != http.StatusOK || response.Header.Get("Content-Type") != "image/gif" {
		t.Errorf("%d, %v", response.StatusCode, response.Header)
	}
	seen := script[[][]readReceipt](t, az, "chat.mjs", map[string]any{"id": "opened"})
	all := slices.Concat(seen.Result...)
	if seen.Error != nil || len(all) != 1 || all[0].Evidence != "open" || all[0].Sender.CommunicationUserID != "mailto:ada@rcpt.test" || all[0].ReadOn.IsZero() {
		t.Errorf("%+v, %+v", all, seen.Error)
	}
}

// plainAnswer is what was answered to a request without a client of its own.
type plainAnswer struct {
	Status  int
	Headers map[string]string
	Body    string
}

// An operator's retry is an operation in each dialect, and its pollers see it to
// its end.
func (az *azure) bulkRetry(t *testing.T) {
	names := []string{"again-1", "again-2", "again-3"}
	for _, id := range names {
		az.as(t).add(id, map[string]any{"to": "bad@rcpt.test", "message": message(id, "t")})
	}
	for _, id := range names {
		if record := az.as(t).await(id); record["state"] != "ERROR" {
			t.Fatalf("%s: %v", id, record)
		}
	}
	if err := az.server.SetBehaviour(smtptest.Behaviour{}); err != nil {
		t.Fatal(err)
	}
	body, _ := json.Marshal(map[string]any{"messageIds": append(names, "nobody")})
	asked := script[plainAnswer](t, az, "plain.mjs", map[string]any{"method": "POST", "path": "/emails:retry", "body": string(body)})
	location := asked.Result.Headers["operation-location"]
	if asked.Error != nil || asked.Result.Status != 202 || !strings.HasPrefix(location, az.plain.URL+"/operations/") {
		t.Fatalf("%+v, %+v", asked.Result, asked.Error)
	}
	seen := script[map[string]any](t, az, "phone.mjs", map[string]any{"location": location})
	if seen.Error != nil || len(seen.Result) == 0 {
		t.Errorf("the phone client's poller: %v, %+v", seen.Result, seen.Error)
	}
	for _, id := range names {
		if record := az.as(t).await(id); record["state"] != "SUCCESS" {
			t.Errorf("%s: %v", id, record)
		}
	}
	operation, _, _ := strings.Cut(strings.TrimPrefix(location, az.plain.URL+"/operations/"), "?")
	status := script[armOperation](t, az, "arm.mjs", map[string]any{"id": operation})
	if o := status.Result; status.Error != nil || o.Status != "Succeeded" || o.PercentComplete != 100 || o.Name != operation {
		t.Errorf("%+v, %+v", o, status.Error)
	}
	parts := status.Result.parts()
	for _, id := range names {
		if parts[id] != "Succeeded" {
			t.Errorf("the operation has %v", parts)
		}
	}
	if !strings.HasPrefix(parts["nobody"], "Failed ") {
		t.Errorf("the operation has %v", parts)
	}
	end := fmt.Sprintf("%s/subscriptions/%s/providers/Microsoft.ApiManagement/locations/northeurope/operationStatuses/%s?api-version=2024-05-01", az.secure.URL, azureSubscription, operation)
	if done := script[armOperation](t, az, "arm.mjs", map[string]any{"location": end}); done.Error != nil || done.Result.Name != operation {
		t.Errorf("arm's poller: %+v, %+v", done.Result, done.Error)
	}
}

// Clients that ask too often are told to wait, wait, and come to their end.
func TestAzureClientsSitOutThrottling(t *testing.T) {
	az := newAzure(t, azureScripts(t))
	az.start(t, smtptest.Behaviour{}, "API_RATE=1/second")
	throttled := func() (n int) {
		for _, e := range az.about("") {
			if e.status == 429 {
				n++
				if e.retryAfter == "" || strings.HasPrefix(e.retryAfter, "0") {
					t.Errorf("%s was refused with Retry-After %q", e.uri, e.retryAfter)
				}
			}
		}
		return n
	}
	for n, client := range []string{"email-1.0.0", "email-1.1.0"} {
		before := throttled()
		seen := script[operationResult](t, az, "email.mjs", map[string]any{"client": client, "operation": uuidOf(n), "message": message2023(client, "ada@rcpt.test")})
		if seen.Error != nil || seen.Result != (operationResult{uuidOf(n), "Succeeded"}) {
			t.Errorf("%s: %+v, %+v", client, seen.Result, seen.Error)
		}
		if throttled() == before {
			t.Errorf("%s was never throttled", client)
		}
		az.delivered(t, client)
	}
	beta := script[operationResult](t, az, "email-beta.mjs", map[string]any{"message": betaMessage("beta", "ada@rcpt.test")})
	if beta.Error != nil || beta.Result != (operationResult{beta.Sent, "outForDelivery"}) {
		t.Errorf("beta: %+v, %+v", beta.Result, beta.Error)
	}
	phone := script[map[string]any](t, az, "phone.mjs", map[string]any{"location": "/phoneNumbers/operations/" + beta.Sent})
	if phone.Error != nil || phone.Result["state"] != "SUCCESS" {
		t.Errorf("phone: %v, %+v", phone.Result, phone.Error)
	}
	status := script[armOperation](t, az, "arm.mjs", map[string]any{"id": beta.Sent})
	if status.Error != nil || status.Result.Status != "Succeeded" {
		t.Errorf("arm: %+v, %+v", status.Result, status.Error)
	}
	before := throttled()
	if nobody := script[[][]readReceipt](t, az, "chat.mjs", map[string]any{"id": beta.Sent, "times": 3}); nobody.Error != nil {
		t.Errorf("chat: %+v", nobody.Error)
	}
	if throttled() == before {
		t.Error("the chat client was never throttled")
	}
	az.delivered(t, "beta")
}
