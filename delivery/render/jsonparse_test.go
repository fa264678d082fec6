package render

import (
	"encoding/json"
	"math"
	"os"
	"strings"
	"testing"

	"postrider/delivery"
)

// TestJSONParseAgreesWithNode holds parseJSON against a recording of Node 20's
// JSON.parse.
func TestJSONParseAgreesWithNode(t *testing.T) {
	var cases []struct{ JSON, Value, Error string }
	readJSON(t, "testdata/jsonparse.json", &cases)
	for _, c := range cases {
		got, err := parseJSON(c.JSON)
		if c.Error != "" {
			if err == nil || err.Error() != c.Error {
				t.Errorf("%q: got %v, want %s", c.JSON, err, c.Error)
			}
			continue
		}
		if err != nil {
			t.Errorf("%q: %v", c.JSON, err)
			continue
		}
		if again, want := jsonRoundTrip(t, got), unmarshal(t, c.Value); again != want {
			t.Errorf("%q: got %s, want %s", c.JSON, again, want)
		}
	}
}

// TestAttachmentsAreCounted gives text that would take far more memory parsed.
func TestAttachmentsAreCounted(t *testing.T) {
	list := func(element string, n int) string { return "[" + strings.Repeat(element+",", n-1) + element + "]" }
	if got, err := parseAttachments("t", list("{}", maxAttachments)); err != nil || len(got) != maxAttachments {
		t.Errorf("%d attachments, %v", len(got), err)
	}
	for _, text := range []string{
		list("{}", maxAttachments+1),
		list("1", 4_000_000),
		`[{"content":` + list(`{"":0}`, maxAttachmentValues/2) + `}]`,
		list("["+list("null", 1000)+"]", 500),
	} {
		_, err := parseAttachments("t", text)
		wantFailure(t, err, delivery.Permanent,
			"Error: Field 'attachments' of template 't' renders to more than 1000 attachments or 100000 values.")
	}
}

func readJSON(t testing.TB, file string, into any) {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(text, into); err != nil {
		t.Fatal(err)
	}
}

// jsonRoundTrip and unmarshal give both sides Go's own spelling.
func jsonRoundTrip(t *testing.T, v any) string {
	t.Helper()
	if list, ok := v.([]any); ok && len(list) == 1 {
		if f, ok := list[0].(float64); ok && math.IsInf(f, 0) {
			v = []any{nil} // as JSON.stringify writes it
		}
	}
	text, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return unmarshal(t, string(text))
}

func unmarshal(t *testing.T, text string) string {
	t.Helper()
	var v any
	if err := json.Unmarshal([]byte(text), &v); err != nil {
		t.Fatal(err)
	}
	out, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return string(out)
}
