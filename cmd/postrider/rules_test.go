package main_test

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"
)

// client speaks Firestore's REST API to the emulator as a browser would, bound
// by the security rules.
type client struct {
	root  string // of the documents
	token string // empty for somebody who has not signed in
}

// signedIn returns the client as a user. The emulator takes unsigned tokens.
func (c client) signedIn(uid string) client {
	part := func(v any) string {
		content, _ := json.Marshal(v)
		return base64.RawURLEncoding.EncodeToString(content)
	}
	now := time.Now().Unix()
	c.token = part(map[string]string{"alg": "none", "typ": "JWT"}) + "." +
		part(map[string]any{"sub": uid, "user_id": uid, "iat": now, "exp": now + 3600}) + "."
	return c
}

// admin returns the client as a server, whom rules do not bind.
func (c client) admin() client {
	c.token = "owner"
	return c
}

// do returns the HTTP status of a request.
func (c client) do(t *testing.T, method, path, body string) int {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, c.root+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	if c.token != "" {
		req.Header.Set("Authorization", "Bearer "+c.token)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	content, _ := io.ReadAll(resp.Body)
	if resp.StatusCode >= 500 || resp.StatusCode == http.StatusBadRequest {
		t.Errorf("%s %s: %s %s", method, path, resp.Status, content)
	}
	return resp.StatusCode
}

// guarded returns a client of a fresh project with our rules.
func guarded(t *testing.T) client {
	t.Helper()
	host := os.Getenv("FIRESTORE_EMULATOR_HOST")
	if host == "" {
		if os.Getenv("CI") != "" {
			t.Fatal("FIRESTORE_EMULATOR_HOST is not set, and CI is: the security rules must be tested")
		}
		t.Skip("SKIPPED: the security rules are not tested; set FIRESTORE_EMULATOR_HOST")
	}
	project := fmt.Sprintf("demo-rules-%d", time.Now().UnixNano())
	rules, err := json.Marshal(map[string]any{"rules": map[string]any{
		"files": []any{map[string]string{"name": "firestore.rules", "content": deployed(t, "firestore.rules")}},
	}})
	if err != nil {
		t.Fatal(err)
	}
	url := "http://" + host + "/emulator/v1/projects/" + project + ":securityRules"
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPut, url, bytes.NewReader(rules))
	if err != nil {
		t.Fatal(err)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	if content, _ := io.ReadAll(resp.Body); resp.StatusCode != http.StatusOK || bytes.Contains(content, []byte("issues")) {
		t.Fatalf("the rules don't compile: %s %s", resp.Status, content)
	}
	return client{root: "http://" + host + "/v1/projects/" + project + "/databases/(default)/documents"}
}

// What the emulator answers to a request that the rules allow, and to others.
const yes, no = http.StatusOK, http.StatusForbidden

// fields spells a document as the REST API wants it.
func fields(pairs ...string) string { return `{"fields":{` + strings.Join(pairs, ",") + `}}` }

const (
	to       = `"to":{"stringValue":"a@b.test"}`
	message  = `"message":{"mapValue":{"fields":{"subject":{"stringValue":"s"},"text":{"stringValue":"t"}}}}`
	record   = `"delivery":{"mapValue":{"fields":{"state":{"stringValue":"SUCCESS"}}}}`
	template = `"template":{"mapValue":{"fields":{"name":{"stringValue":"hello"},"data":{"mapValue":{}}}}}`
	byAnn    = `"createdBy":{"stringValue":"ann"}`
)

func TestRulesLetClientsAddMailOnly(t *testing.T) {
	anybody := guarded(t)
	ann, bob, server := anybody.signedIn("ann"), anybody.signedIn("bob"), anybody.admin()
	big := `"to":{"stringValue":"` + strings.Repeat("a", 3000) + `"}`
	for name, c := range map[string]struct {
		who  client
		mail string
		want int
	}{
		"a message":                      {ann, fields(to, message), yes},
		"a template":                     {ann, fields(to, template), yes},
		"a list of recipients":           {ann, fields(`"toUids":{"arrayValue":{"values":[{"stringValue":"u"}]}}`, message), yes},
		"in one's own name":              {ann, fields(to, message, byAnn), yes},
		"to users, in one's own name":    {ann, fields(`"toUids":{"arrayValue":{"values":[{"stringValue":"u"}]}}`, message, byAnn), no},
		"a list of very many":            {ann, fields(`"to":{"arrayValue":{"values":[{"stringValue":"`+strings.Repeat("a@b.test,", 1000)+`"}]}}`, message), no},
		"in another's name":              {bob, fields(to, message, byAnn), no},
		"not signed in":                  {anybody, fields(to, message), no},
		"with a record":                  {ann, fields(to, message, record), no},
		"with an empty record":           {ann, fields(to, message, `"delivery":{"nullValue":null}`), no},
		"from somebody else":             {ann, fields(to, message, `"from":{"stringValue":"ceo@b.test"}`), no},
		"to nobody":                      {ann, fields(message), no},
		"without content":                {ann, fields(to), no},
		"to a number":                    {ann, fields(`"to":{"integerValue":"1"}`, message), no},
		"to very many":                   {ann, fields(big, message), no},
		"a message that is a text":       {ann, fields(to, `"message":{"stringValue":"t"}`), no},
		"a message that has attachments": {ann, fields(to, `"message":{"mapValue":{"fields":{"attachments":{"arrayValue":{}}}}}`), no},
		"a template without a name":      {ann, fields(to, `"template":{"mapValue":{"fields":{"data":{"mapValue":{}}}}}`), no},
		"a server's, with everything":    {server, fields(to, message, record), yes},
	} {
		if got := c.who.do(t, http.MethodPost, "/mail", c.mail); got != c.want {
			t.Errorf("create %s: %d, want %d", name, got, c.want)
		}
	}
}

func TestRulesKeepClientsFromEverythingElse(t *testing.T) {
	anybody := guarded(t)
	ann, bob, server := anybody.signedIn("ann"), anybody.signedIn("bob"), anybody.admin()
	server.do(t, http.MethodPost, "/mail?documentId=hers", fields(to, message, record, byAnn))
	server.do(t, http.MethodPost, "/mail?documentId=nobodys", fields(to, message))
	server.do(t, http.MethodPost, "/templates?documentId=hello", fields(message))
	server.do(t, http.MethodPost, "/users?documentId=ann", fields(to))
	for name, c := range map[string]struct {
		who          client
		method, path string
		want         int
	}{
		"read one's own":             {ann, "GET", "/mail/hers", yes},
		"read another's":             {bob, "GET", "/mail/hers", no},
		"read nobody's":              {bob, "GET", "/mail/nobodys", no},
		"read, not signed in":        {anybody, "GET", "/mail/hers", no},
		"list all":                   {ann, "GET", "/mail", no},
		"change the record":          {ann, "PATCH", "/mail/hers?updateMask.fieldPaths=delivery.state", no},
		"change the message":         {ann, "PATCH", "/mail/hers?updateMask.fieldPaths=message", no},
		"add a record":               {ann, "PATCH", "/mail/nobodys?updateMask.fieldPaths=delivery", no},
		"delete":                     {ann, "DELETE", "/mail/hers", no},
		"read a template":            {ann, "GET", "/templates/hello", no},
		"write a template":           {ann, "PATCH", "/templates/hello", no},
		"read a user":                {ann, "GET", "/users/ann", no},
		"read something else":        {ann, "GET", "/other/x", no},
		"a server changes a record":  {server, "PATCH", "/mail/nobodys?updateMask.fieldPaths=delivery", yes},
		"a server reads a user's to": {server, "GET", "/users/ann", yes},
	} {
		body := ""
		if c.method == "PATCH" {
			body = fields(message, record)
		}
		if got := c.who.do(t, c.method, c.path, body); got != c.want {
			t.Errorf("%s: %d, want %d", name, got, c.want)
		}
	}
}

func TestRulesLetClientsQueryTheirOwnMail(t *testing.T) {
	anybody := guarded(t)
	query := func(by string) string {
		return `{"structuredQuery":{"from":[{"collectionId":"mail"}],"where":{"fieldFilter":{` +
			`"field":{"fieldPath":"createdBy"},"op":"EQUAL","value":{"stringValue":"` + by + `"}}}}}`
	}
	for who, want := range map[string]int{"ann": yes, "bob": no} {
		if got := anybody.signedIn("ann").do(t, http.MethodPost, ":runQuery", query(who)); got != want {
			t.Errorf("ann asks for the mails of %s: %d, want %d", who, got, want)
		}
	}
}
