package api

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"
	"github.com/rs/zerolog"

	"postrider/delivery"
	"postrider/delivery/bulk"
	"postrider/worker/web/access"
)

const testKey = "0123456789abcdef0123456789abcdef"

// ledger is the bulk retries.
type ledger struct {
	docs   map[string]delivery.Fields
	wishes []bulk.Request
	fail   error
}

func (l *ledger) Accept(_ context.Context, r bulk.Request) (string, error) {
	l.wishes = append(l.wishes, r)
	return "abcdefghij0123456789", l.fail
}

func (l *ledger) Operation(_ context.Context, id string) (delivery.Snapshot, error) {
	if l.docs[id] == nil {
		return delivery.Snapshot{}, delivery.ErrGone
	}
	return delivery.Snapshot{ID: id, Fields: l.docs[id], UpdateTime: noon}, nil
}

// office is a whole API over collections in memory.
type office struct {
	*API
	shelf  *shelf
	ledger *ledger
	counts map[string]int
}

func newOffice() *office {
	o := &office{shelf: &shelf{docs: map[string]delivery.Fields{}}, ledger: &ledger{docs: map[string]delivery.Fields{}}, counts: map[string]int{}}
	o.API = New(Options{
		Keys: access.New([][]byte{[]byte(testKey)}), Rate: access.NewRate(1, 0, 0),
		Mails: o.shelf, Bulk: o.ledger, Receipts: diaryOf(), Senders: []string{"news@example.com"},
		Lease: time.Minute, Pace: func() time.Duration { return 3 * time.Second },
		Count: func(route string, status int) { o.counts[fmt.Sprint(route, " ", status)]++ }, Log: zerolog.Nop(),
	})
	return o
}

// request returns a request as it comes off the wire, its target untouched.
func request(t testing.TB, method, target, body string) *http.Request {
	t.Helper()
	r := httptest.NewRequest(method, "http://mail.example.com/", strings.NewReader(body))
	u, err := r.URL.Parse("http://mail.example.com" + target)
	if err != nil {
		t.Fatal(err)
	}
	r.URL, r.RequestURI, r.Host = u, target, "mail.example.com"
	return r
}

// signed returns a request that is signed with the key.
func signed(t testing.TB, method, target, body string) *http.Request {
	t.Helper()
	r := request(t, method, target, body)
	sum := sha256.Sum256([]byte(body))
	date, hash := time.Now().UTC().Format(http.TimeFormat), base64.StdEncoding.EncodeToString(sum[:])
	mac := hmac.New(sha256.New, []byte(testKey))
	io.WriteString(mac, method+"\n"+target+"\n"+date+";mail.example.com;"+hash)
	r.Header.Set("x-ms-date", date)
	r.Header.Set("x-ms-content-sha256", hash)
	r.Header.Set("Authorization", "HMAC-SHA256 SignedHeaders=x-ms-date;host;x-ms-content-sha256&Signature="+base64.StdEncoding.EncodeToString(mac.Sum(nil)))
	return r
}

// borne returns a request with a token of some scopes.
func borne(t testing.TB, method, target, scopes string) *http.Request {
	t.Helper()
	r := request(t, method, target, "")
	token, err := jwt.NewWithClaims(jwt.SigningMethodHS256, jwt.MapClaims{
		"sub": "tester", "scope": scopes, "exp": time.Now().Add(time.Hour).Unix(),
	}).SignedString([]byte(testKey))
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Authorization", "Bearer "+token)
	return r
}

// ask returns the answer to a request: the body decoded, nil if there is none.
func (o *office) ask(t testing.TB, r *http.Request) (*http.Response, map[string]any) {
	t.Helper()
	w := httptest.NewRecorder()
	o.ServeHTTP(w, r)
	o.asDescribed(t, r, w.Result(), w.Body.Bytes())
	var v map[string]any
	if w.Body.Len() > 0 && strings.HasPrefix(w.Header().Get("Content-Type"), "application/json") {
		if err := json.Unmarshal(w.Body.Bytes(), &v); err != nil {
			t.Errorf("the answer %q: %v", w.Body, err)
		}
	}
	return w.Result(), v
}

// code returns an answer's status and the code of its error.
func (o *office) code(t testing.TB, r *http.Request) string {
	t.Helper()
	res, v := o.ask(t, r)
	e, _ := v["error"].(map[string]any)
	return strings.TrimSpace(fmt.Sprint(res.StatusCode, " ", e["code"]))
}

const (
	armPath  = "/subscriptions/3f2504e0-4f89-11d3-9a0c-0305e82c3301/providers/Microsoft.ApiManagement/locations/westeurope/operationStatuses/"
	armQuery = "?api-version=2024-05-01"
)

func TestChecksComeInOrder(t *testing.T) {
	for name, c := range map[string]struct {
		request *http.Request
		want    string
	}{
		"not signed":              {request(t, "GET", "/emails/m1/status?api-version="+email2021, ""), "401 Denied"},
		"not signed, no version":  {request(t, "POST", "/emails/m1/status", ""), "401 Denied"},
		"token for a signature":   {borne(t, "GET", "/emails/m1/status?api-version="+email2021, "chat management"), "401 Denied"},
		"signature for a token":   {signed(t, "GET", armPath+"m1"+armQuery, ""), "401 InvalidAuthenticationToken"},
		"no token for chat":       {request(t, "GET", "/chat/threads/m1/readReceipts?api-version="+chat2024, ""), "401 Denied"},
		"other scope":             {borne(t, "GET", armPath+"m1"+armQuery, "chat"), "403 Forbidden"},
		"other scope, unknown":    {borne(t, "GET", armPath+"no"+armQuery, "chat"), "403 Forbidden"},
		"other scope for chat":    {borne(t, "GET", "/chat/threads/m1/readReceipts", "management"), "403 Forbidden"},
		"other method":            {signed(t, "POST", "/emails/m1/status", ""), "405 MethodNotAllowed"},
		"no version":              {signed(t, "GET", "/emails/m1/status", ""), "400 MissingApiVersionParameter"},
		"empty version":           {signed(t, "GET", "/emails/m1/status?api-version=", ""), "400 MissingApiVersionParameter"},
		"version of another time": {signed(t, "GET", "/emails/m1/status?api-version=2020-01-01", ""), "400 UnsupportedApiVersionValue"},
		"version of another":      {signed(t, "GET", "/phoneNumbers/operations/m1?api-version="+email2021, ""), "400 UnsupportedApiVersionValue"},
		"body too large":          {signed(t, "POST", "/emails:send?api-version="+email2021, strings.Repeat("x", maxBody+1)), "413 RequestBodyTooLarge"},
		"forged and too large":    {request(t, "POST", "/emails:send?api-version="+email2021, strings.Repeat("x", maxBody+1)), "401 Denied"},
		"unknown":                 {signed(t, "GET", "/emails/no/status?api-version="+email2021, ""), "404 NotFound"},
		"unknown to ARM":          {borne(t, "GET", armPath+"no"+armQuery, "management"), "404 ResourceNotFound"},
		"no such route":           {signed(t, "GET", "/emails/m1", ""), "404 NotFound"},
		"all is well":             {signed(t, "GET", "/emails/m1/status?api-version="+email2021, ""), "200 <nil>"},
	} {
		o := newOffice()
		o.shelf.docs["m1"] = delivery.Fields{}
		if got := o.code(t, c.request); got != c.want {
			t.Errorf("%s: %s, want %s", name, got, c.want)
		}
		if looked := o.shelf.reads + o.shelf.creates; looked > 0 && c.want[0] == '4' && c.want[:3] != "404" {
			t.Errorf("%s: the documents were looked at", name)
		}
	}
}

func TestProblemsSayWhatToDo(t *testing.T) {
	o := newOffice()
	res, v := o.ask(t, signed(t, "GET", "/emails/m1/status?api-version=2020-01-01", ""))
	e := v["error"].(map[string]any)
	if !strings.Contains(e["message"].(string), email2021) || e["target"] != "api-version" || res.Header.Get("x-ms-error-code") != "UnsupportedApiVersionValue" {
		t.Errorf("of a version: %v %v", res.Header, e)
	}
	if res, _ = o.ask(t, request(t, "GET", armPath+"m1"+armQuery, "")); !strings.HasPrefix(res.Header.Get("WWW-Authenticate"), "Bearer ") {
		t.Errorf("of a token: %v", res.Header)
	}
	if res, _ = o.ask(t, signed(t, "DELETE", "/mail/m1", "")); res.Header.Get("Allow") != "GET" {
		t.Errorf("of a method: %v", res.Header)
	}
}

func TestKeysHaveTheirRate(t *testing.T) {
	o := newOffice()
	o.Rate = access.NewRate(1, 2, time.Hour)
	o.shelf.docs["m1"] = delivery.Fields{}
	for _, want := range []string{"200 <nil>", "200 <nil>", "429 TooManyRequests"} {
		if got := o.code(t, signed(t, "GET", "/mail/m1", "")); got != want {
			t.Errorf("%s, want %s", got, want)
		}
	}
	if res, _ := o.ask(t, signed(t, "GET", "/mail/m1", "")); res.Header.Get("Retry-After") == "" {
		t.Error("who asks too often is not told when to come again")
	}
	if o.shelf.reads != 2 {
		t.Errorf("%d reads", o.shelf.reads)
	}
}

func TestStoreThatDoesNotAnswerIsToldWithoutItsWords(t *testing.T) {
	o := newOffice()
	o.shelf.blind = errors.New("projects/secret-project is unavailable")
	res, v := o.ask(t, signed(t, "GET", "/mail/m1", ""))
	if res.StatusCode != http.StatusServiceUnavailable || res.Header.Get("Retry-After") == "" || strings.Contains(fmt.Sprint(v), "secret-project") {
		t.Errorf("%d %v %v", res.StatusCode, res.Header, v)
	}
	if o.counts["mail 503"] != 1 {
		t.Errorf("it is not counted: %v", o.counts)
	}
}

// Each dialect tells of the same mails in its words, for one read.
func TestDialectsTellTheSame(t *testing.T) {
	now := delivery.Fields{"state": "PROCESSING", "leaseExpireTime": noon.Add(45 * time.Second), "startTime": noon}
	sent := delivery.Fields{
		"state": "SUCCESS", "attempts": int64(2), "startTime": noon, "endTime": noon.Add(1500 * time.Millisecond),
		"info": delivery.Fields{"accepted": []any{"ada@rcpt.test"}, "rejected": []any{"bob@rcpt.test"}},
	}
	dropped := delivery.Fields{"state": "ERROR", "attempts": int64(1), "startTime": noon, "endTime": noon, "error": "Error: no"}
	const created, changed = `"createdDateTime":"2026-03-04T12:00:00.000Z"`, `"lastActionDateTime":"2026-03-04T12:00:00.000Z"`
	arm := func(rest string) string { return `{"id":"` + armPath + `m%201","name":"m 1",` + rest }
	for name, c := range map[string]struct {
		record any
		retry  string
		want   map[string]string // by the route's name
	}{
		"new": {nil, "3", map[string]string{
			"emailStatus":     `{"messageId":"m 1","status":"queued"}`,
			"emailOperation":  `{"id":"m 1","status":"NotStarted"}`,
			"phoneOperation":  `{"id":"m 1","status":"notStarted","operationType":"sendMail",` + created + `,` + changed + `}`,
			"operationStatus": arm(`"status":"InProgress","percentComplete":0}`),
			"mail":            `{"id":"m 1"}`,
		}},
		"being sent": {now, "15", map[string]string{
			"emailStatus":     `{"messageId":"m 1","status":"queued"}`,
			"emailOperation":  `{"id":"m 1","status":"Running"}`,
			"phoneOperation":  `{"id":"m 1","status":"running","operationType":"sendMail",` + created + `,` + changed + `}`,
			"operationStatus": arm(`"status":"InProgress","percentComplete":0,"startTime":"2026-03-04T12:00:00.000Z"}`),
			"mail":            `{"id":"m 1","leaseExpireTime":"2026-03-04T12:00:45Z","startTime":"2026-03-04T12:00:00Z","state":"PROCESSING"}`,
		}},
		"sent": {sent, "", map[string]string{
			"emailStatus":    `{"messageId":"m 1","status":"outForDelivery"}`,
			"emailOperation": `{"id":"m 1","status":"Succeeded"}`,
			"phoneOperation": `{"id":"m 1","status":"succeeded","operationType":"sendMail",` + created + `,` + changed + `,"resourceLocation":"http://mail.example.com/mail/m%201"}`,
			"operationStatus": arm(`"status":"Succeeded","percentComplete":100,"startTime":"2026-03-04T12:00:00.000Z","endTime":"2026-03-04T12:00:01.500Z","operations":[` +
				`{"id":"` + armPath + `m%201/operations/ada@rcpt.test","name":"ada@rcpt.test","status":"Succeeded"},` +
				`{"id":"` + armPath + `m%201/operations/bob@rcpt.test","name":"bob@rcpt.test","status":"Failed","error":` +
				`{"code":"RecipientRejected","message":"the mail server refused this recipient","target":"bob@rcpt.test"}}]}`),
		}},
		"dropped": {dropped, "", map[string]string{
			"emailStatus":    `{"messageId":"m 1","status":"dropped"}`,
			"emailOperation": `{"id":"m 1","status":"Failed","error":{"code":"EmailDropped","message":"Error: no"}}`,
			"phoneOperation": `{"id":"m 1","status":"failed","operationType":"sendMail",` + created + `,` + changed + `,"error":{"code":"EmailDropped","message":"Error: no"}}`,
			"operationStatus": arm(`"status":"Failed","percentComplete":100,"startTime":"2026-03-04T12:00:00.000Z","endTime":"2026-03-04T12:00:00.000Z",` +
				`"error":{"code":"EmailDropped","message":"Error: no","additionalInfo":[{"type":"Attempts","info":{"attempts":1}}]}}`),
		}},
	} {
		o := newOffice()
		o.shelf.docs["m 1"] = delivery.Fields{"delivery": c.record}
		for route, want := range c.want {
			o.shelf.reads = 0
			w := httptest.NewRecorder()
			r := asking(t, route, "m%201")
			o.ServeHTTP(w, r)
			o.asDescribed(t, r, w.Result(), w.Body.Bytes())
			if got := strings.TrimSpace(w.Body.String()); got != want || o.shelf.reads != 1 {
				t.Errorf("%s, %s: %d reads\n got %s\nwant %s", name, route, o.shelf.reads, got, want)
			}
			if got := w.Header().Get("Retry-After"); got != c.retry && route != "mail" {
				t.Errorf("%s, %s: Retry-After %q, want %q", name, route, got, c.retry)
			}
			if got := w.Header().Get("Location"); got != "" && (route != "phoneOperation" || name != "sent") {
				t.Errorf("%s, %s: Location %q", name, route, got)
			}
		}
	}
}

// asking returns a good request for a route of one mail or operation.
func asking(t testing.TB, route, id string) *http.Request {
	switch route {
	case "emailStatus":
		return signed(t, "GET", "/emails/"+id+"/status?api-version="+email2021, "")
	case "emailOperation":
		return signed(t, "GET", "/emails/operations/"+id+"?api-version="+emailGA, "")
	case "phoneOperation":
		return signed(t, "GET", "//phoneNumbers/operations/"+id+"?api-version="+phoneVersion, "")
	case "operation":
		return signed(t, "GET", "/operations/"+id, "")
	case "operationStatus":
		return borne(t, "GET", armPath+id+armQuery, "management")
	}
	return signed(t, "GET", "/mail/"+id+"?api-version="+phoneVersion, "")
}

func TestAwkwardIDs(t *testing.T) {
	for _, c := range []struct{ path, id string }{
		{"a%2Fb", "a/b"},
		{"a+b", "a+b"},
		{"a%20b", "a b"},
		{"a%25b", "a%b"},
		{"%C3%A4", "ä"},
		{"status", "status"},
		{"operations", "operations"},
		{"a%3Fb", "a?b"},
		{"a:b", "a:b"},
		{"a@b.test", "a@b.test"},
		{"%2E%2E", ".."},
		{"A", "A"},
		{"__x__", "__x__"},
		{"%F0%9F%93%A7", "📧"},
	} {
		for _, route := range []string{"emailStatus", "emailOperation", "phoneOperation", "operation", "operationStatus", "mail"} {
			o := newOffice()
			o.shelf.docs[c.id] = delivery.Fields{}
			if got := o.code(t, asking(t, route, c.path)); got != "200 <nil>" {
				t.Errorf("%s of %s: %s", route, c.path, got)
			}
		}
	}
}

func TestPathsOfNoRoute(t *testing.T) {
	o := newOffice()
	for _, path := range []string{
		"/", "//", "/emails", "/emails:send/", "/emails//status", "/emails/a/b/status", "/emails/a%2Fb", "/operations/", "/operations", "/mail", "/o/", "/healthz", "/emails/../mail/m1", "/%zz",
	} {
		r := httptest.NewRequest("GET", "http://mail.example.com/", nil)
		r.URL.RawPath, r.URL.Path = path, path
		if found, _ := o.find(r); found != nil {
			t.Errorf("%s is the API's", path)
		}
	}
	for _, path := range []string{"///phoneNumbers/operations/m1", "/Subscriptions/s/Providers/microsoft.apimanagement/locations/l/operationstatuses/m1"} {
		if found, _ := o.find(request(t, "GET", path, "")); found == nil {
			t.Errorf("%s is not found", path)
		}
	}
}

func TestLinksLeadBackTheWayTheRequestCame(t *testing.T) {
	for name, c := range map[string]struct {
		public, proto, want string
	}{
		"plain":                {"", "", "http://mail.example.com/"},
		"behind TLS":           {"", "https", "https://mail.example.com/"},
		"behind two proxies":   {"", "HTTPS, http", "https://mail.example.com/"},
		"as the setting says":  {"https://api.example.org", "", "https://api.example.org/"},
		"whatever the proxies": {"https://api.example.org", "http", "https://api.example.org/"},
		"a scheme of nobody's": {"", "javascript", "http://mail.example.com/"},
	} {
		o := newOffice()
		o.PublicURL = c.public
		r := signed(t, "POST", "/emails:retry", `{"messageIds":["a"]}`)
		r.Header.Set("X-Forwarded-Proto", c.proto)
		res, v := o.ask(t, r)
		want := c.want + "operations/__retry-abcdefghij0123456789__"
		if got := res.Header.Get("Operation-Location"); res.StatusCode != http.StatusAccepted || got != want || v["id"] != "__retry-abcdefghij0123456789__" {
			t.Errorf("%s: %d %s %v, want %s", name, res.StatusCode, got, v, want)
		}
	}
}

func TestBulkRetryIsAcceptedAndFollowed(t *testing.T) {
	o := newOffice()
	if got := o.code(t, signed(t, "POST", "/emails:retry", `{"messageIds":"a"}`)); got != "400 InvalidRequest" || len(o.ledger.wishes) != 0 {
		t.Errorf("of a wrong type: %s, %v", got, o.ledger.wishes)
	}
	o.ask(t, signed(t, "POST", "/emails:retry", `{"messageIds":["a"],"dryRun":true}`))
	if len(o.ledger.wishes) != 1 || !o.ledger.wishes[0].DryRun {
		t.Fatalf("accepted: %v", o.ledger.wishes)
	}
	const id = "abcdefghij0123456789"
	o.ledger.docs[id] = bulk.New(id, o.ledger.wishes[0], noon).Fields()
	for _, route := range []string{"emailOperation", "phoneOperation", "operation", "operationStatus", "mail"} {
		res, v := o.ask(t, asking(t, route, bulk.OperationID(id)))
		if res.StatusCode != http.StatusOK || res.Header.Get("Retry-After") == "" && route != "mail" {
			t.Errorf("%s: %d %v %v", route, res.StatusCode, res.Header, v)
		}
	}
	if o.shelf.reads != 0 {
		t.Error("a bulk retry is looked for among the mails")
	}
	if got := o.code(t, asking(t, "operation", bulk.OperationID("bbbbbbbbbb0123456789"))); got != "404 NotFound" {
		t.Errorf("of an unknown one: %s", got)
	}
}

// twisted returns a body that is JSON still, with something else in the place of one
// of its values, or with a member twice.
func twisted(random *rand.Rand, body string) string {
	values := []string{`null`, `0`, `-1e300`, `true`, `""`, `"x"`, `"\u0000\ud800"`, `[]`, `[null]`, `{}`, `{"a":{"a":[]}}`, `"0001-01-01T00:00:00Z"`}
	value := values[random.IntN(len(values))]
	places := regexp.MustCompile(`"[^"]*":`).FindAllStringIndex(body, -1)
	if len(places) == 0 {
		return value
	}
	at := places[random.IntN(len(places))]
	if random.IntN(2) == 0 {
		return body[:at[1]] + value + `,` + body[at[0]:]
	}
	return body[:at[1]] + value + `,"instead":` + body[at[1]:]
}

// Whatever comes, signed or not, the answer is no 5xx.
func TestRandomRequestsAreAnswered(t *testing.T) {
	const seed = 20261122
	random := rand.New(rand.NewPCG(seed, seed))
	pick := func(list ...string) string { return list[random.IntN(len(list))] }
	junk := func() string {
		b := make([]byte, random.IntN(12))
		for i := range b {
			b[i] = byte(random.IntN(256))
		}
		return string(b)
	}
	o := newOffice()
	o.shelf.docs["m1"] = delivery.Fields{"delivery": delivery.Fields{"state": "ERROR", "recipients": "x", "attempts": "y"}}
	bodies := []string{
		`{"senderAddress":"news@example.com","content":{"subject":"s","plainText":"t"},"recipients":{"to":[{"address":"a@rcpt.test"}]}}`,
		`{"sender":"news@example.com","content":{"subject":"s","html":"t"},"recipients":{"to":[{"email":"a@rcpt.test"}]}}`,
		`{"messageIds":["m1"]}`, `{"filter":{"state":"ERROR","since":"2026-01-01T00:00:00Z"}}`, `[]`, `null`, `{}`, ``,
	}
	statuses := map[int]int{}
	for range 10_000 {
		target := "/" + pick("", "/") + pick("emails:send", "emails:retry", "emails/m1/status", "emails/operations/m1", "operations/m1", "phoneNumbers/operations/m1",
			armPath[1:]+"m1", "chat/threads/m1/readReceipts", "receipts/mdn", "mail/m1", "o/abc.gif", "emails/%00/status", "mail/__retry-x__", "operations/%2F")
		target += "?api-version=" + pick(email2021, email2023, emailGA, phoneVersion, armVersion, chat2024, "", "x") + pick("", "&maxPageSize=-1", "&skip=99999999999999999999", "&maxPageSize=2&skip=1", "&%ff", "&a;b")
		body := pick(bodies...)
		switch n := len(body); {
		case n > 0 && random.IntN(3) == 0:
			at := random.IntN(n)
			body = body[:at] + junk() + body[min(n, at+random.IntN(4)):]
		case random.IntN(2) == 0:
			body = twisted(random, body)
		}
		var r *http.Request
		switch random.IntN(3) {
		case 0:
			r = signed(t, pick("GET", "POST", "HEAD", "PUT"), target, body)
		case 1:
			r = borne(t, pick("GET", "POST"), target, pick("chat", "management", ""))
		default:
			r = request(t, pick("GET", "POST"), target, body)
			r.Header["Authorization"] = []string{pick("HMAC-SHA256 ", "Bearer ") + junk()}
		}
		for range random.IntN(3) {
			r.Header[pick("Operation-Id", "Repeatability-Request-Id", "Repeatability-First-Sent", "X-Forwarded-Proto", "Content-Type", "Content-Length")] = []string{junk()}
		}
		res, _ := o.ask(t, r)
		if statuses[res.StatusCode]++; res.StatusCode >= 500 {
			t.Fatalf("%s %s %q: %d (seed %d)", r.Method, target, body, res.StatusCode, seed)
		}
	}
	for _, code := range []int{200, 202, 400, 401, 403, 404, 405} {
		if statuses[code] == 0 {
			t.Errorf("no request came so far as %d: %v", code, statuses)
		}
	}
}

func TestEveryRouteHasItsOwnName(t *testing.T) {
	names := map[string]string{}
	for _, r := range newOffice().routes {
		if names[r.name] != "" || r.name == "" {
			t.Errorf("%s and %s are both called %q", names[r.name], r.pattern, r.name)
		}
		names[r.name] = r.pattern
	}
}
