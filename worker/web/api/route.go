package api

import (
	"context"
	"net/http"
	"net/url"
	"slices"
	"strings"
)

// dialect is whose errors and names a route speaks.
type dialect int

const (
	plain dialect = iota // our own
	email
	phone
	chat
	arm
)

// Scopes that a bearer token may have.
const (
	scopeChat       = "chat"
	scopeManagement = "management"
)

// route is one row of the table.
type route struct {
	name     string // for metrics
	method   string
	pattern  string // segments; one in braces is an argument
	dialect  dialect
	scope    string   // of the bearer token that is asked for; "" for a signature
	versions []string // of api-version; nil if any will do, none too
	handle   func(context.Context, *call) (reply, error)

	// public answers without asking who it is, and returns the status.
	public func(w http.ResponseWriter, r *http.Request, args map[string]string) int
}

// call is a request that may be answered.
type call struct {
	request *http.Request
	args    map[string]string // of the route's pattern
	version string            // api-version; "" if the route needs none
	body    []byte
	base    string // what the API's URLs begin with, as "https://mail.example.com"
	dialect dialect
}

// reply is an answer that is no error.
type reply struct {
	status int
	header http.Header // nil for none
	body   any         // as JSON; nil for none
}

// Published versions (Azure REST API reference). Those of the e-mail dialect
// differ in what they send.
const (
	email2021     = "2021-10-01-preview"
	email2023     = "2023-01-15-preview"
	emailGA       = "2023-03-31"
	email2025     = "2025-09-01"
	phoneVersion  = "2022-12-01"
	armVersion    = "2024-05-01"
	chat2024      = "2024-03-07"
	chatPreview   = "2024-03-15-preview"
	chat2025      = "2025-03-15"
	armOperations = "subscriptions/{subscription}/providers/Microsoft.ApiManagement/locations/{location}/operationStatuses/{id}"
)

// maxTarget is how long a target may be, in bytes. The longest ID takes 4,500, all
// of it escaped.
const maxTarget = 8 << 10

// table returns the routes. Of those that match a path, the first counts that
// knows the request's version.
func (a *API) table() []route {
	get, post := http.MethodGet, http.MethodPost
	operations := []string{email2023, emailGA, email2025}
	return []route{
		{name: "send", method: post, pattern: "emails:send", dialect: email, versions: append([]string{email2021}, operations...), handle: a.send},
		{name: "retry", method: post, pattern: "emails:retry", handle: a.retry},
		{name: "emailOperation", method: get, pattern: "emails/operations/{id}", dialect: email, versions: operations, handle: a.emailOperation},
		{name: "emailStatus", method: get, pattern: "emails/{id}/status", dialect: email, versions: []string{email2021}, handle: a.emailStatus},
		{name: "operation", method: get, pattern: "operations/{id}", handle: a.phoneOperation},
		{name: "phoneOperation", method: get, pattern: "phoneNumbers/operations/{id}", dialect: phone, versions: []string{phoneVersion}, handle: a.phoneOperation},
		{name: "operationStatus", method: get, pattern: armOperations, dialect: arm, scope: scopeManagement, versions: []string{armVersion}, handle: a.operationStatus},
		{name: "readReceipts", method: get, pattern: "chat/threads/{id}/readReceipts", dialect: chat, scope: scopeChat, versions: []string{chat2024, chatPreview, chat2025}, handle: a.readReceipts},
		{name: "mdn", method: post, pattern: "receipts/mdn", handle: a.takeMDN},
		{name: "mail", method: get, pattern: "mail/{id}", handle: a.record},
		{name: "pixel", method: get, pattern: "o/{token}", public: a.pixel},
	}
}

// find returns the route of a request and its arguments, unescaped; nil if there
// is none.
func (a *API) find(r *http.Request) (found *route, args map[string]string) {
	if len(r.RequestURI) > maxTarget {
		return nil, nil // anybody may ask, and to compare it takes room
	}
	path := strings.TrimLeft(r.URL.EscapedPath(), "/")
	version := r.URL.Query().Get("api-version")
	for i := range a.routes {
		here, ok := match(a.routes[i].pattern, path)
		switch {
		case !ok:
		case slices.Contains(a.routes[i].versions, version):
			return &a.routes[i], here
		case found == nil:
			found, args = &a.routes[i], here
		}
	}
	return found, args
}

// match compares an escaped path with a pattern, without regard to case but in
// arguments (Resource Manager's paths are written in any).
func match(pattern, path string) (map[string]string, bool) {
	wanted, given := strings.Split(pattern, "/"), strings.Split(path, "/")
	if len(wanted) != len(given) {
		return nil, false
	}
	args := map[string]string{}
	for i, segment := range given {
		text, err := url.PathUnescape(segment)
		if err != nil || text == "" {
			return nil, false
		}
		if name, ok := strings.CutPrefix(wanted[i], "{"); ok {
			args[strings.TrimSuffix(name, "}")] = text
		} else if !strings.EqualFold(wanted[i], text) {
			return nil, false
		}
	}
	return args, true
}

// version returns a request's api-version if the route knows it.
func (r *route) version(query url.Values) (string, error) {
	version := query.Get("api-version")
	known := strings.Join(r.versions, ", ")
	switch {
	case r.versions == nil || slices.Contains(r.versions, version):
		return version, nil
	case version == "":
		return "", &problem{
			status: http.StatusBadRequest, Code: "MissingApiVersionParameter", Target: "api-version",
			Message: "the parameter api-version is required; supported are " + known,
		}
	}
	return "", &problem{
		status: http.StatusBadRequest, Code: "UnsupportedApiVersionValue", Target: "api-version",
		Message: "this api-version is not supported; supported are " + known,
	}
}

// base returns what URLs of the API begin with: the public one if it is set, else
// as the request came, through a proxy that ends TLS, too.
func (a *API) base(r *http.Request) string {
	if a.PublicURL != "" {
		return a.PublicURL
	}
	scheme := "http"
	first, _, _ := strings.Cut(r.Header.Get("X-Forwarded-Proto"), ",")
	if r.TLS != nil || strings.EqualFold(strings.TrimSpace(first), "https") {
		scheme = "https"
	}
	return scheme + "://" + r.Host
}
