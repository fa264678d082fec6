package api

import (
	"bytes"
	"io"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/getkin/kin-openapi/openapi3"
	"github.com/getkin/kin-openapi/openapi3filter"
	"github.com/getkin/kin-openapi/routers"
)

// description is deploy/openapi.yaml.
var description = sync.OnceValues(func() (*openapi3.T, error) {
	d, err := openapi3.NewLoader().LoadFromFile("../../../deploy/openapi.yaml")
	if err != nil {
		return nil, err
	}
	return d, d.Validate(openapi3.NewLoader().Context)
})

// described returns the path of a route in the description, and what is said
// there of its method.
func described(t testing.TB, d *openapi3.T, r *route) (string, *openapi3.Operation) {
	t.Helper()
	braces := regexp.MustCompile(`\{[^}]*\}`)
	for path, item := range d.Paths.Map() {
		if strings.TrimSuffix(braces.ReplaceAllString(path, "{}"), ".gif") == "/"+braces.ReplaceAllString(r.pattern, "{}") {
			return path, item.GetOperation(methodOf(r))
		}
	}
	return "", nil
}

func methodOf(r *route) string {
	if r.method == "" {
		return http.MethodGet // of the picture
	}
	return r.method
}

func TestDescriptionHasTheRoutes(t *testing.T) {
	d, err := description()
	if err != nil {
		t.Fatal(err)
	}
	o, known := newOffice(), map[string]bool{}
	for i := range o.routes {
		r := &o.routes[i]
		path, operation := described(t, d, r)
		if operation == nil {
			t.Errorf("%s %s is not described", r.method, r.pattern)
			continue
		}
		known[path] = true
		if operation.OperationID != r.name {
			t.Errorf("%s is called %s there, %s here", r.pattern, operation.OperationID, r.name)
		}
		if p := operation.Parameters.GetByInAndName("query", "api-version"); (p == nil) != (r.versions == nil) {
			t.Errorf("%s: api-version", r.pattern)
		} else if p != nil {
			for _, v := range r.versions {
				if !slices.Contains(p.Schema.Value.Enum, any(v)) || len(p.Schema.Value.Enum) != len(r.versions) {
					t.Errorf("%s: %v there, %v here", r.pattern, p.Schema.Value.Enum, r.versions)
				}
			}
		}
		if r.method == http.MethodPost {
			for status, want := range map[string]bool{"401": true, "403": r.scope != "", "405": true, "408": true, "413": true, "429": true, "503": true} {
				if there := operation.Responses.Value(status) != nil; there != want {
					t.Errorf("%s: that it answers %s is %v there", r.pattern, status, there)
				}
			}
		}
		token := operation.Security != nil && len(*operation.Security) == 1 && (*operation.Security)[0]["token"] != nil
		if open := operation.Security != nil && len(*operation.Security) == 0; token != (r.scope != "") || open != (r.public != nil) {
			t.Errorf("%s: who may ask is another thing there", r.pattern)
		}
	}
	for path := range d.Paths.Map() {
		if !known[path] {
			t.Errorf("%s is described, and not there", path)
		}
	}
}

// asDescribed compares an answer with the description.
func (o *office) asDescribed(t testing.TB, r *http.Request, res *http.Response, body []byte) {
	t.Helper()
	d, err := description()
	if err != nil {
		t.Fatal(err)
	}
	found, _ := o.find(r)
	if found == nil || r.Method != methodOf(found) {
		return
	}
	path, operation := described(t, d, found)
	input := &openapi3filter.ResponseValidationInput{
		RequestValidationInput: &openapi3filter.RequestValidationInput{
			Request: r, Route: &routers.Route{Spec: d, Path: path, PathItem: d.Paths.Find(path), Method: r.Method, Operation: operation},
		},
		Status: res.StatusCode, Header: res.Header, Body: io.NopCloser(bytes.NewReader(body)),
		Options: &openapi3filter.Options{IncludeResponseStatus: true},
	}
	empty := len(body) == 0 && (res.StatusCode == http.StatusNoContent || found.name == "send" && res.StatusCode == http.StatusAccepted)
	input.Options.ExcludeResponseBody = empty
	if err := openapi3filter.ValidateResponse(t.Context(), input); err != nil {
		t.Errorf("%s %s: %d is not as described: %v\n%s", r.Method, r.URL, res.StatusCode, err, body)
	}
}
