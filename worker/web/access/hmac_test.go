package access

import (
	"bufio"
	"bytes"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"reflect"
	"strings"
	"testing"
	"time"
)

const (
	testKey  = "MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY="
	testDate = "Tue, 25 Oct 2022 03:21:27 GMT"
	ofEmpty  = "47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=" // SHA-256 of nothing
)

var testNow = time.Date(2022, 10, 25, 3, 21, 27, 0, time.UTC)

func decode(t testing.TB, text string) []byte {
	t.Helper()
	b, err := base64.StdEncoding.DecodeString(text)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// testKeys has the key of the vectors in second place.
func testKeys(t testing.TB) *Keys {
	return New([][]byte{[]byte("another key of 32 bytes, or more"), decode(t, testKey), []byte("and a third one of them, as well")})
}

// wire is a request as it arrives.
type wire struct {
	Client, Method, Target string
	Headers                map[string]string
	Body                   []byte
}

// request reads it as the server does.
func (w wire) request(t testing.TB) *http.Request {
	t.Helper()
	var b bytes.Buffer
	fmt.Fprintf(&b, "%s %s HTTP/1.1\r\n", w.Method, w.Target)
	for name, value := range w.Headers {
		fmt.Fprintf(&b, "%s: %s\r\n", name, value)
	}
	b.WriteString("\r\n")
	r, err := http.ReadRequest(bufio.NewReader(&b))
	if err != nil {
		t.Fatalf("%s %s: %v", w.Method, w.Target, err)
	}
	return r
}

// signed returns a request that is signed as a client signs that sends what it
// signs.
func signed(t testing.TB, method, target, host, body string) wire {
	t.Helper()
	sum := sha256.Sum256([]byte(body))
	hash := base64.StdEncoding.EncodeToString(sum[:])
	return wire{
		Method: method, Target: target, Body: []byte(body),
		Headers: map[string]string{
			"Host": host, "X-Ms-Date": testDate, "X-Ms-Content-Sha256": hash,
			"Authorization": "HMAC-SHA256 SignedHeaders=x-ms-date;host;x-ms-content-sha256&Signature=" +
				sign(t, method+"\n"+target+"\n"+testDate+";"+host+";"+hash),
		},
	}
}

func sign(t testing.TB, text string) string {
	t.Helper()
	mac := hmac.New(sha256.New, decode(t, testKey))
	mac.Write([]byte(text))
	return base64.StdEncoding.EncodeToString(mac.Sum(nil))
}

func TestKnownSignatures(t *testing.T) {
	for signature, r := range map[string][2]string{
		"en3pAWOjCJO/6VkGvEn5RvVFZ/n7E8oqBNWg3rRY+M0=": {"127.0.0.1:27480", "/emails/F9168C5E-CEB2-4faa-B6BF-329BF39FA1E4/status?api-version=2021-10-01-preview"},
		"MaEa8qFrPe2JkXZauoU84DdoAHqNq4Hv/WI4/Xf7mEA=": {"resourcename.communication.azure.com", "//phoneNumbers/operations/search-my-operation-id?api-version=2022-12-01"},
	} {
		w := wire{Method: "GET", Target: r[1], Headers: map[string]string{
			"Host": r[0], "x-ms-date": testDate, "x-ms-content-sha256": ofEmpty,
			"Authorization": "HMAC-SHA256 SignedHeaders=x-ms-date;host;x-ms-content-sha256&Signature=" + signature,
		}}
		got, err := whole(testKeys(t), w.request(t), nil, testNow)
		if err != nil || !reflect.DeepEqual(got, Caller{Key: 1}) {
			t.Errorf("%s: %+v, %v", r[1], got, err)
		}
	}
}

// What the clients of Azure put on the wire is accepted, however they spell what
// they sign: testdata/sign.mjs recorded it.
func TestTheClientsRequestsAreAccepted(t *testing.T) {
	text, err := os.ReadFile("testdata/signed.json")
	if err != nil {
		t.Fatal(err)
	}
	var corpus []wire
	if err := json.Unmarshal(text, &corpus); err != nil {
		t.Fatal(err)
	}
	if len(corpus) < 30 {
		t.Errorf("only %d requests", len(corpus))
	}
	keys := testKeys(t)
	for _, w := range corpus {
		if got, err := whole(keys, w.request(t), w.Body, testNow); err != nil || got.Key != 1 {
			t.Errorf("%s: %s %s of %s: %v", w.Client, w.Method, w.Target, w.Headers["host"], err)
		}
	}
}

func TestTamperedRequestsAreRefused(t *testing.T) {
	const mismatch = "the signature does not match"
	for name, c := range map[string]struct {
		change func(r *http.Request, body *[]byte)
		want   string // what the reason begins with
	}{
		"body":             {func(_ *http.Request, b *[]byte) { *b = append(*b, ' ') }, "the header x-ms-content-sha256 is not"},
		"no body":          {func(_ *http.Request, b *[]byte) { *b = nil }, "the header x-ms-content-sha256 is not"},
		"body and hash":    {func(r *http.Request, b *[]byte) { *b = nil; r.Header.Set("x-ms-content-sha256", ofEmpty) }, mismatch},
		"hash":             {func(r *http.Request, _ *[]byte) { r.Header.Set("x-ms-content-sha256", ofEmpty) }, mismatch},
		"date":             {func(r *http.Request, _ *[]byte) { r.Header.Set("x-ms-date", "Tue, 25 Oct 2022 03:21:28 GMT") }, mismatch},
		"date's spelling":  {func(r *http.Request, _ *[]byte) { r.Header.Set("x-ms-date", "Tuesday, 25-Oct-22 03:21:27 GMT") }, mismatch},
		"path":             {func(r *http.Request, _ *[]byte) { r.RequestURI = "/emails:sent?a=1&b=x+y" }, mismatch},
		"slash":            {func(r *http.Request, _ *[]byte) { r.RequestURI = "/" + r.RequestURI }, mismatch},
		"escape":           {func(r *http.Request, _ *[]byte) { r.RequestURI = "/emails%3Asend?a=1&b=x+y" }, mismatch},
		"query":            {func(r *http.Request, _ *[]byte) { r.RequestURI = "/emails:send?a=2&b=x+y" }, mismatch},
		"query's order":    {func(r *http.Request, _ *[]byte) { r.RequestURI = "/emails:send?b=x+y&a=1" }, mismatch},
		"query's end":      {func(r *http.Request, _ *[]byte) { r.RequestURI += "&c=" }, mismatch},
		"plus as a plus":   {func(r *http.Request, _ *[]byte) { r.RequestURI = "/emails:send?a=1&b=x%2By" }, mismatch},
		"no query":         {func(r *http.Request, _ *[]byte) { r.RequestURI = "/emails:send" }, mismatch},
		"method":           {func(r *http.Request, _ *[]byte) { r.Method = "PUT" }, mismatch},
		"host":             {func(r *http.Request, _ *[]byte) { r.Host = "mail.example.net:8080" }, mismatch},
		"port":             {func(r *http.Request, _ *[]byte) { r.Host = "mail.example.com:8081" }, mismatch},
		"default port":     {func(r *http.Request, _ *[]byte) { r.Host = "mail.example.com" }, mismatch},
		"absolute target":  {func(r *http.Request, _ *[]byte) { r.RequestURI = "http://mail.example.com:8080" + r.RequestURI }, "the request's target is not a path"},
		"no host":          {func(r *http.Request, _ *[]byte) { r.Host = "" }, "the header Host is missing"},
		"signature":        {authorize(func(s string) string { return strings.Replace(s, "Signature=", "Signature=A", 1)[:len(s)] }), ""},
		"other signature":  {authorize(func(string) string { return prefix + ofEmpty }), mismatch},
		"short signature":  {authorize(func(string) string { return prefix + "AAAA" }), "the signature is not the base64"},
		"empty signature":  {authorize(func(string) string { return prefix }), "the signature is not the base64"},
		"hex signature":    {authorize(func(string) string { return prefix + strings.Repeat("0", 64) }), "the signature is not the base64"},
		"line break in it": {authorize(func(s string) string { return s[:len(s)-4] + "\n" + s[len(s)-4:] }), "the signature is not the base64"},
		"something after":  {authorize(func(s string) string { return s + "&a=b" }), "the signature is not the base64"},
		"no signature":     {authorize(func(s string) string { return strings.Split(s, "&")[0] }), "the header Authorization has no signature"},
		"another scheme":   {authorize(func(s string) string { return "Bearer" + strings.TrimPrefix(s, "HMAC-SHA256") }), "the header Authorization is not of the scheme HMAC-SHA256"},
		"only the scheme":  {authorize(func(string) string { return "HMAC-SHA256" }), "the header Authorization is not of the scheme"},
		"fewer headers":    {authorize(func(s string) string { return strings.Replace(s, ";host", "", 1) }), "the header Authorization has other signed headers"},
		"more headers":     {authorize(func(s string) string { return strings.Replace(s, ";host", ";host;accept", 1) }), "the header Authorization has other"},
		"another order":    {authorize(func(s string) string { return strings.Replace(s, "x-ms-date;host", "host;x-ms-date", 1) }), "the header Authorization has other"},
		"date not sent":    {authorize(func(s string) string { return strings.Replace(s, "x-ms-date", "date", 1) }), "the header Date is missing"},
	} {
		w := signed(t, "POST", "/emails:send?a=1&b=x+y", "mail.example.com:8080", `{"a":1}`)
		r, body := w.request(t), w.Body
		if _, err := whole(testKeys(t), r, body, testNow); err != nil {
			t.Fatalf("untouched: %v", err)
		}
		c.change(r, &body)
		got, err := whole(testKeys(t), r, body, testNow)
		refused(t, name, got, err, c.want)
	}
}

func TestSignatureHoldsThoughTheBodyIsNotRead(t *testing.T) {
	w := signed(t, "POST", "/emails:send?a=1", "mail.example.com:8080", `{"a":1}`)
	r := w.request(t)
	if _, err := testKeys(t).Signed(r, testNow); err != nil {
		t.Errorf("untouched: %v", err)
	}
	if _, err := whole(testKeys(t), r, []byte("{"), testNow); err == nil {
		t.Error("a body that was cut is taken for the whole")
	}
	r.Header.Set("x-ms-content-sha256", ofEmpty)
	got, err := testKeys(t).Signed(r, testNow)
	refused(t, "another hash", got, err, "the signature does not match")
}

// whole returns the caller of a request with a body.
func whole(k *Keys, r *http.Request, body []byte, now time.Time) (Caller, error) {
	caller, err := k.Signed(r, now)
	if err == nil {
		err = Whole(r, body)
	}
	if err != nil {
		return Caller{}, err
	}
	return caller, nil
}

const prefix = "HMAC-SHA256 SignedHeaders=x-ms-date;host;x-ms-content-sha256&Signature="

func authorize(change func(string) string) func(*http.Request, *[]byte) {
	return func(r *http.Request, _ *[]byte) { r.Header.Set("Authorization", change(r.Header.Get("Authorization"))) }
}

func refused(t *testing.T, name string, got Caller, err error, want string) {
	t.Helper()
	if d, ok := errors.AsType[*Denied](err); !ok || !strings.HasPrefix(d.Reason, want) || !reflect.DeepEqual(got, Caller{}) {
		t.Errorf("%s: %+v, %v, want %s …", name, got, err, want)
	}
}

func TestAHeaderThatIsMissingOrTwiceIsNamed(t *testing.T) {
	w := signed(t, "GET", "/", "h", "")
	for _, name := range []string{"Authorization", "x-ms-date", "x-ms-content-sha256"} {
		r := w.request(t)
		r.Header.Add(name, r.Header.Get(name))
		got, err := whole(testKeys(t), r, nil, testNow)
		refused(t, name, got, err, "the header "+name+" is there more than once")
		r.Header.Del(name)
		got, err = whole(testKeys(t), r, nil, testNow)
		refused(t, name, got, err, "the header "+name+" is missing")
	}
}

// Older clients for Node.js sign the header Date.
func TestTheHeaderDateMayBeSigned(t *testing.T) {
	w := signed(t, "GET", "/", "h", "")
	r := w.request(t)
	r.Header.Set("Date", testDate)
	r.Header.Set("Authorization", strings.Replace(r.Header.Get("Authorization"), "x-ms-date", "date", 1))
	if _, err := whole(testKeys(t), r, nil, testNow); err != nil {
		t.Error(err)
	}
	r.Header.Set("Date", "Tue, 25 Oct 2022 03:21:28 GMT") // x-ms-date, which is right, is not what is signed
	got, err := whole(testKeys(t), r, nil, testNow)
	refused(t, "another Date", got, err, "the signature does not match")
}

func TestTheDateMayBeFiveMinutesOff(t *testing.T) {
	for name, c := range map[string]struct {
		now time.Time
		ok  bool
	}{
		"late":       {testNow.Add(tolerance), true},
		"too late":   {testNow.Add(tolerance + 1), false},
		"early":      {testNow.Add(-tolerance), true},
		"too early":  {testNow.Add(-tolerance - 1), false},
		"other zone": {testNow.In(time.FixedZone("", 7200)), true},
	} {
		got, err := whole(testKeys(t), signed(t, "GET", "/", "h", "").request(t), nil, c.now)
		if c.ok && err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if !c.ok {
			refused(t, name, got, err, "the header x-ms-date is more than ±5 minutes away from the server's time, which is Tue, 25 Oct 2022 03:")
		}
	}
	for _, date := range []string{"2022-10-25T03:21:27Z", "1666668087", "Tue, 25 Oct 2022 03:21:27 +0000", "now"} {
		r := signed(t, "GET", "/", "h", "").request(t)
		r.Header.Set("x-ms-date", date)
		got, err := whole(testKeys(t), r, nil, testNow)
		refused(t, date, got, err, "the header x-ms-date is not a date")
	}
}

func TestWhatIsHashedIsBounded(t *testing.T) {
	r := signed(t, "GET", "/", strings.Repeat("h", maxHost), "").request(t)
	if _, err := whole(testKeys(t), r, nil, testNow); err != nil {
		t.Errorf("the longest host: %v", err)
	}
	r = signed(t, "GET", "/", strings.Repeat("h", maxHost+1), "").request(t)
	got, err := whole(testKeys(t), r, nil, testNow)
	refused(t, "a longer host", got, err, "the header Host is longer than 259 bytes")
	r = signed(t, "GET", "/", "h", "").request(t)
	r.Header.Set("x-ms-content-sha256", strings.Repeat("A", 1<<10))
	got, err = testKeys(t).Signed(r, testNow)
	refused(t, "a long hash", got, err, "the header x-ms-content-sha256 is not the base64 of a SHA-256")
}

func TestAnyOfTheKeysWillDo(t *testing.T) {
	r := signed(t, "GET", "/", "h", "").request(t)
	right, wrong := decode(t, testKey), []byte("0123456789abcdef0123456789abcdeg")
	for want, keys := range map[int][][]byte{0: {right, wrong}, 1: {wrong, right}, 2: {wrong, wrong, right, wrong}} {
		if got, err := whole(New(keys), r, nil, testNow); err != nil || got.Key != want {
			t.Errorf("%d: %+v, %v", want, got, err)
		}
	}
	for name, keys := range map[string][][]byte{"none": nil, "an empty one": {{}}, "another": {wrong}, "part": {right[:31]}} {
		got, err := whole(New(keys), r, nil, testNow)
		refused(t, name, got, err, "the signature does not match")
	}
}

func TestKeysAreCopiedAndNotShown(t *testing.T) {
	key := decode(t, testKey)
	k := New([][]byte{key})
	key[0]++
	if _, err := whole(k, signed(t, "GET", "/", "h", "").request(t), nil, testNow); err != nil {
		t.Error(err)
	}
	if shown := fmt.Sprintf("%v %+v %#v %s %x %d", k, k, k, k, k, *k); shown != strings.TrimSpace(strings.Repeat("[secret] ", 6)) {
		t.Errorf("shows %s", shown)
	}
}

func TestQueriesAreWrittenAsByURLSearchParams(t *testing.T) {
	for in, want := range map[string]string{
		"/p":                "/p",
		"/p?":               "/p",
		"/p?&&":             "/p",
		"//a%2Fb/../c?d":    "//a%2Fb/../c?d=",
		"/?a=1&&a=2&":       "/?a=1&a=2",
		"/?=&=a&a=":         "/?=&=a&a=",
		"/?a=b=c?d":         "/?a=b%3Dc%3Fd",
		"/?a+b=c%20d%2be":   "/?a+b=c+d%2Be",
		"/?*-._~!'()=%2a":   "/?*-._%7E%21%27%28%29=*",
		"/?a=%zz%4":         "/?a=%25zz%254",
		"/?%=%&%4a%4J":      "/?%25=%25&J%254J=",
		"/?a=%ff%e2%82x":    "/?a=%EF%BF%BD%EF%BF%BDx",
		"/?a=%f0%9f%98":     "/?a=%EF%BF%BD",
		"/?a=%ed%a0%80":     "/?a=%EF%BF%BD%EF%BF%BD%EF%BF%BD",
		"/?a=%ef%bb%bfb%00": "/?a=%EF%BB%BFb%00",
	} {
		if got := reencoded(in); got != want {
			t.Errorf("%s: got %s, want %s", in, got, want)
		}
	}
}

// What strangers send is refused, whatever it is: accepted is only what says the
// same as a request that was signed, in another spelling maybe.
func FuzzSigned(f *testing.F) {
	known := map[string]wire{}
	for _, w := range []wire{
		signed(f, "GET", "/emails/a%27b/status?api-version=1&x=%C3%BC+y", "example.com", ""),
		signed(f, "POST", "//emails:send?a=&a=%EF%BF%BD", "example.com:443", `{"a":1}`),
	} {
		known[w.Headers["Authorization"]] = w
		f.Add(w.Method, w.Target, w.Headers["Host"], w.Headers["Authorization"], w.Headers["X-Ms-Date"], w.Headers["X-Ms-Content-Sha256"], w.Body)
	}
	keys := testKeys(f)
	f.Fuzz(func(t *testing.T, method, target, host, authorization, date, hash string, body []byte) {
		r := &http.Request{Method: method, RequestURI: target, Host: host, Header: http.Header{
			"Authorization": {authorization}, "X-Ms-Date": {date}, "X-Ms-Content-Sha256": {hash},
		}}
		_, err := whole(keys, r, body, testNow)
		if _, denied := errors.AsType[*Denied](err); err != nil && !denied {
			t.Fatalf("%T", err)
		}
		if err != nil {
			return
		}
		_, signature, _ := strings.Cut(authorization, " ")
		w := known["HMAC-SHA256 "+signature]
		if method != w.Method || date != testDate || !bytes.Equal(body, w.Body) || meaning(target) != meaning(w.Target) || bare(host) != bare(w.Headers["Host"]) {
			t.Errorf("accepted %q %q of %q with %q", method, target, host, body)
		}
	})
}

// meaning returns what a target says: its path, and its parameters in their order.
func meaning(target string) string {
	path, query, _ := strings.Cut(target, "?")
	said := strings.ReplaceAll(path, "%27", "'")
	for pair := range strings.SplitSeq(query, "&") {
		name, value, _ := strings.Cut(pair, "=")
		if pair != "" {
			said += "\n" + lenient(name) + "\n" + lenient(value)
		}
	}
	return said
}

func lenient(s string) string {
	text, err := url.QueryUnescape(s)
	if err != nil {
		text = s
	}
	return string([]rune(text)) // U+FFFD for what is not UTF-8
}

func bare(host string) string {
	return strings.TrimSuffix(strings.TrimSuffix(host, ":80"), ":443")
}

// A target that is signed in either spelling is accepted, and no other is.
func FuzzTargets(f *testing.F) {
	for _, s := range []string{"/p?a=b c+%2B&&c", "//x?%zz=%ff&'", "/?=&?", "/%27?%27"} {
		f.Add(s)
	}
	keys := testKeys(f)
	f.Fuzz(func(t *testing.T, target string) {
		target = "/" + target
		again := reencoded(target)
		if reencoded(again) != again {
			t.Errorf("%q: %q, then %q", target, again, reencoded(again))
		}
		_, query, _ := strings.Cut(again, "?")
		if strings.Trim(query, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789*-._+%&=") != "" {
			t.Errorf("%q has more in it than URLSearchParams writes", query)
		}
		for i, signedAs := range []string{target, again, again + "x", "/" + target} {
			want := i < 2
			r := &http.Request{Method: "GET", RequestURI: target, Host: "h", Header: http.Header{
				"Authorization": {prefix + sign(t, "GET\n"+signedAs+"\n"+testDate+";h;"+ofEmpty)},
				"X-Ms-Date":     {testDate}, "X-Ms-Content-Sha256": {ofEmpty},
			}}
			if _, err := whole(keys, r, nil, testNow); (err == nil) != want {
				t.Errorf("%q, signed as %q: %v", target, signedAs, err)
			}
		}
	})
}

func TestADefaultPortMayBeSignedOrSent(t *testing.T) {
	for sent, want := range map[string][]string{
		"h":          {"h", "h:80", "h:443"},
		"h:80":       {"h:80", "h"},
		"h:443":      {"h:443", "h"},
		"h:8443":     {"h:8443"},
		"[::1]":      {"[::1]", "[::1]:80", "[::1]:443"},
		"[::1]:443":  {"[::1]:443", "[::1]"},
		"[::443]:82": {"[::443]:82"},
	} {
		if got := hosts(sent); !reflect.DeepEqual(got, want) {
			t.Errorf("%s: got %q", sent, got)
		}
	}
}
