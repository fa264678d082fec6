package api

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"regexp"
	"strings"
	"sync"
	"testing"

	"postrider/delivery"
)

const (
	aKey  = "1b671a64-40d5-491e-99b0-da01ff1f3341"
	aDate = "Tue, 26 Mar 2019 16:06:51 GMT"
)

func TestBadKeysAreRefused(t *testing.T) {
	operation := func(id string) []string { return []string{headerOperation, id} }
	pair := func(id, first string) []string { return []string{headerRequest, id, headerFirst, first} }
	for name, c := range map[string]struct {
		headers []string
		target  string // "" if it is taken
	}{
		"an operation's ID":          {operation("A1-_.~z"), ""},
		"a reserved beginning":       {operation("__a"), ""},
		"as long as may be":          {operation(strings.Repeat("a", 128)), ""},
		"too long":                   {operation(strings.Repeat("a", 129)), headerOperation},
		"empty":                      {operation(""), headerOperation},
		"a dot":                      {operation("."), headerOperation},
		"two dots":                   {operation(".."), headerOperation},
		"reserved":                   {operation("__a__"), headerOperation},
		"of a bulk retry":            {operation("__retry-abcdefghij0123456789__"), headerOperation},
		"underscores":                {operation("__"), headerOperation},
		"a slash":                    {operation("a/b"), headerOperation},
		"an escape":                  {operation("a%2Fb"), headerOperation},
		"a space":                    {operation("a b"), headerOperation},
		"beyond ASCII":               {operation("ä"), headerOperation},
		"two of them":                {append(operation("a"), operation("b")...), headerOperation},
		"a pair":                     {pair(aKey, aDate), ""},
		"a pair without a UUID":      {pair("mail-1", aDate), headerRequest},
		"a UUID in braces":           {pair("{"+aKey+"}", aDate), headerRequest},
		"a pair without a date":      {pair(aKey, "2019-03-26T16:06:51Z"), headerFirst},
		"a request ID alone":         {[]string{headerRequest, aKey}, headerFirst},
		"a date alone":               {[]string{headerFirst, aDate}, headerRequest},
		"an ID beside half a pair":   {append(operation("a"), headerRequest, aKey), headerFirst},
		"an ID beside a pair":        {append(operation("a"), pair(aKey, aDate)...), ""},
		"two requests in one header": {append(pair(aKey, aDate), pair(aKey, aDate)...), headerRequest},
	} {
		var s shelf
		answer, body := post(t, sending(&s), emailGA, read(t, "2023-least"), c.headers...)
		fault, _ := body["error"].(map[string]any)
		target, _ := fault["target"].(string)
		want := http.StatusAccepted
		if c.target != "" {
			want = http.StatusBadRequest
		}
		if answer.StatusCode != want || target != c.target {
			t.Errorf("%s: %d %v", name, answer.StatusCode, body)
		}
		if asked := strings.Contains(strings.Join(c.headers, " "), "Repeatability-"); asked != (answer.Header.Get(headerResult) != "") {
			t.Errorf("%s: %s is %q", name, headerResult, answer.Header.Get(headerResult))
		}
	}
}

func TestOperationIDComesBeforeTheRequestID(t *testing.T) {
	headers := []string{headerOperation, "mine", headerRequest, aKey, headerFirst, aDate}
	for version, want := range map[string]string{email2021: aKey, emailGA: "mine"} {
		var s shelf
		name := map[string]string{email2021: "2021-least", emailGA: "2023-least"}[version]
		post(t, sending(&s), version, read(t, name), headers...)
		if id, _ := s.only(t); id != want {
			t.Errorf("%s: the document is %s", version, id)
		}
	}
}

func TestKeysBelongToOneRequest(t *testing.T) {
	changed := strings.Replace(read(t, "2023-least"), "Hi", "Ho", 1)
	sent := delivery.Fields{"from": "news@example.com", "message": delivery.Fields{"subject": "Hi"}, "delivery": delivery.Fields{"state": "SUCCESS"}}
	for name, c := range map[string]struct {
		prepare    func(s *shelf)
		body       string
		want       int
		repeatable string
	}{
		"the same again":        {func(*shelf) {}, read(t, "2023-least"), http.StatusAccepted, "accepted"},
		"something else":        {func(*shelf) {}, changed, http.StatusConflict, "rejected"},
		"somebody else's":       {func(s *shelf) { s.docs[aKey] = sent }, read(t, "2023-least"), http.StatusConflict, "rejected"},
		"gone in the meantime":  {func(s *shelf) { s.blind = delivery.ErrGone }, read(t, "2023-least"), http.StatusServiceUnavailable, ""},
		"nobody can say":        {func(s *shelf) { s.blind = errors.New("away") }, read(t, "2023-least"), http.StatusServiceUnavailable, ""},
		"the same, sent by now": {func(s *shelf) { s.docs[aKey]["delivery"] = sent["delivery"] }, read(t, "2023-least"), http.StatusAccepted, "accepted"},
	} {
		var s shelf
		if answer, body := post(t, sending(&s), emailGA, read(t, "2023-least"), headerRequest, aKey, headerFirst, aDate); answer.StatusCode != http.StatusAccepted {
			t.Fatal(body)
		}
		c.prepare(&s)
		answer, body := post(t, sending(&s), emailGA, c.body, headerRequest, aKey, headerFirst, aDate)
		if answer.StatusCode != c.want || answer.Header.Get(headerResult) != c.repeatable || len(s.docs) != 1 {
			t.Errorf("%s: %d %q %v", name, answer.StatusCode, answer.Header.Get(headerResult), body)
		}
	}
}

// What is asked counts, not how: another version of the API may ask again.
func TestVersionsShareKeys(t *testing.T) {
	var s shelf
	a := sending(&s)
	body2021 := `{"sender":"news@EXAMPLE.com","importance":"normal","content":{"html":"<b>Hello</b>","subject":"Hi"},"recipients":{"to":[{"email":"ada@example.org","displayName":" "}],"bCC":[]}}`
	post(t, a, emailGA, read(t, "2023-least"), headerOperation, aKey)
	if answer, body := post(t, a, email2021, body2021, headerRequest, aKey, headerFirst, aDate); answer.StatusCode != http.StatusAccepted {
		t.Error(body)
	}
}

// Two instances share nothing but the store.
func TestInstancesAddOneMailForOneKey(t *testing.T) {
	var s shelf
	var asking sync.WaitGroup
	instances := []*API{sending(&s), sending(&s)}
	statuses := make([]int, 40)
	for i := range statuses {
		body := read(t, "2023-least")
		if i%4 == 3 {
			body = strings.Replace(body, "Hi", "Ho", 1)
		}
		asking.Go(func() {
			answer, _ := post(t, instances[i%2], emailGA, body, headerOperation, "one")
			statuses[i] = answer.StatusCode
		})
	}
	asking.Wait()
	_, f := s.only(t)
	first := f["message"].(delivery.Fields)["subject"]
	for i, status := range statuses {
		want := http.StatusAccepted
		if (i%4 == 3) != (first == "Ho") {
			want = http.StatusConflict
		}
		if status != want {
			t.Errorf("request %d, with %v first: %d", i, first, status)
		}
	}
}

func TestMailsWithoutAKeyAreTwo(t *testing.T) {
	var s shelf
	for range 2 {
		post(t, sending(&s), emailGA, read(t, "2023-least"), "Authorization", "HMAC-SHA256 Signature=a")
	}
	form := regexp.MustCompile(`^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$`)
	for id, f := range s.docs {
		if !form.MatchString(id) || f[fieldRequest] != nil {
			t.Errorf("the document %s has %v", id, f[fieldRequest])
		}
	}
	if len(s.docs) != 2 {
		t.Errorf("there are %d documents", len(s.docs))
	}
}

// Azure's clients for JavaScript try again with the signature that they have, and
// the name that the request has.
func TestAClientsOwnTriesAreOneMail(t *testing.T) {
	var s shelf
	a := sending(&s)
	try := func(signature, name string) {
		t.Helper()
		if answer, body := post(t, a, emailGA, read(t, "2023-least"), "Authorization", signature, headerTracking, name); answer.StatusCode != http.StatusAccepted {
			t.Error(body)
		}
	}
	for i, c := range []struct{ signature, name string }{{"a", "1"}, {"b", "1"}, {"a", "2"}} {
		try(c.signature, c.name)
		try(c.signature, c.name)
		if len(s.docs) != i+1 {
			t.Errorf("after %v there are %d documents", c, len(s.docs))
		}
	}
}

func TestTroubleWithTheStore(t *testing.T) {
	unanswered := fmt.Errorf("add document: %w", context.DeadlineExceeded)
	for name, c := range map[string]struct {
		store   *shelf
		headers []string
		want    int
		code    string
	}{
		"away":                        {&shelf{fail: errors.New("away")}, nil, http.StatusServiceUnavailable, "ServiceUnavailable"},
		"no answer, and a key":        {&shelf{mute: unanswered}, []string{headerOperation, "a"}, http.StatusServiceUnavailable, "ServiceUnavailable"},
		"no answer, and a request ID": {&shelf{mute: unanswered}, []string{headerTracking, "a"}, http.StatusFailedDependency, "OutcomeUnknown"}, // it may be signed anew
		"no answer, and no key":       {&shelf{mute: unanswered}, nil, http.StatusFailedDependency, "OutcomeUnknown"},
		"own earlier write":           {&shelf{mute: delivery.ErrConflict}, nil, http.StatusAccepted, ""},
		"refused":                     {&shelf{fail: errors.Join(delivery.ErrRefused, errors.New("index"))}, nil, http.StatusBadRequest, "InvalidRequest"},
	} {
		answer, body := post(t, sending(c.store), emailGA, read(t, "2023-least"), c.headers...)
		fault, _ := body["error"].(map[string]any)
		code, _ := fault["code"].(string)
		if answer.StatusCode != c.want || code != c.code {
			t.Errorf("%s: %d %v", name, answer.StatusCode, body)
		}
		if c.want == http.StatusServiceUnavailable && answer.Header.Get("Retry-After") == "" {
			t.Errorf("%s: no Retry-After", name)
		}
	}
}
