package delivery

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"math"
	"os"
	"reflect"
	"strings"
	"testing"
	"time"
)

// fromJSON turns what encoding/json made of a test document into Fields. A map
// with one key that starts with a dollar sign stands for a value JSON has not.
func fromJSON(t *testing.T, v any) any {
	t.Helper()
	switch v := v.(type) {
	case json.Number:
		if n, err := v.Int64(); err == nil {
			return n
		}
		f, err := v.Float64()
		if err != nil {
			t.Fatalf("number %s: %v", v, err)
		}
		return f
	case []any:
		list := make([]any, len(v))
		for i := range v {
			list[i] = fromJSON(t, v[i])
		}
		return list
	case map[string]any:
		if typed, ok := typedJSON(t, v); ok {
			return typed
		}
		f := Fields{}
		for name := range v {
			f[name] = fromJSON(t, v[name])
		}
		return f
	}
	return v
}

func typedJSON(t *testing.T, v map[string]any) (any, bool) {
	t.Helper()
	if s, ok := v["$ts"].(string); ok {
		at, err := time.Parse(time.RFC3339, s)
		if err != nil {
			t.Fatal(err)
		}
		return at.UTC(), true
	}
	if s, ok := v["$bytes"].(string); ok {
		b, err := base64.StdEncoding.DecodeString(s)
		if err != nil {
			t.Fatal(err)
		}
		return b, true
	}
	if l, ok := v["$geo"].([]any); ok {
		lat, _ := l[0].(json.Number).Float64()
		lon, _ := l[1].(json.Number).Float64()
		return GeoPoint{lat, lon}, true
	}
	if s, ok := v["$ref"].(string); ok {
		return Reference{Path: s}, true
	}
	if _, ok := v["$nan"]; ok {
		return math.NaN(), true
	}
	return nil, false
}

func readJSON(t *testing.T, name string, into any) {
	t.Helper()
	b, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	d := json.NewDecoder(strings.NewReader(string(b)))
	d.UseNumber()
	if err := d.Decode(into); err != nil {
		t.Fatalf("%s: %v", name, err)
	}
}

// testdata/validate.json holds what the extension's own checks, run in Node,
// say about some two thousand documents: every field with every type of value,
// and combinations of them.
func TestDecodeRefusesWhatTheExtensionRefusesInItsWords(t *testing.T) {
	var cases []struct {
		Mail     map[string]any
		Complete bool
		Error    *string
	}
	readJSON(t, "testdata/validate.json", &cases)
	if len(cases) < 1500 {
		t.Fatalf("only %d cases", len(cases))
	}
	for _, c := range cases {
		mail := fromJSON(t, c.Mail).(Fields)
		text, _ := json.Marshal(c.Mail)
		if got := Complete(mail); got != c.Complete {
			t.Errorf("Complete(%s) = %v, want %v", text, got, c.Complete)
		}
		_, err := Decode(mail)
		var fault *Failure
		switch {
		case c.Error == nil && err != nil:
			if isDepartingHeaders(mail["headers"]) {
				continue
			}
			t.Errorf("%s:\n got %q\nwant no error", text, err)
		case c.Error != nil && (err == nil || err.Error() != *c.Error):
			t.Errorf("%s:\n got %v\nwant %s", text, err, *c.Error)
		case err != nil && !errors.As(err, &fault):
			t.Errorf("%s: a %T", text, err)
		case err != nil && (fault.Class != Permanent || fault.Phase != PhaseDecode || fault.Explain == ""):
			t.Errorf("%s: %+v", text, fault)
		}
	}
}

// Headers with a null among maps, and bytes as headers: the extension has a
// TypeError for the one and headers named by numbers for the other.
func isDepartingHeaders(v any) bool {
	if _, ok := v.([]byte); ok {
		return true
	}
	list, ok := v.([]any)
	if !ok {
		return false
	}
	for _, e := range list {
		if e == nil {
			return true
		}
	}
	return false
}

// testdata/headers.json holds the headers nodemailer writes for what a
// document may have in its headers field.
func TestHeadersAreReadAsByNodemailer(t *testing.T) {
	var cases []struct {
		Headers any
		Want    [][2]string
		Error   *string
	}
	readJSON(t, "testdata/headers.json", &cases)
	for _, c := range cases {
		text, _ := json.Marshal(c.Headers)
		in := fromJSON(t, c.Headers)
		got, fault := headersOf(in)
		if _, bytes := in.([]byte); bytes || c.Error != nil {
			if fault == nil {
				t.Errorf("%s: no fault", text)
			}
			continue
		}
		var lines [][2]string
		for _, h := range got {
			value := strings.ReplaceAll(h.Value, "\r\n", " ")
			lines = append(lines, [2]string{strings.ToLower(h.Name), value})
		}
		var want [][2]string
		for _, w := range c.Want {
			want = append(want, [2]string{strings.ToLower(w[0]), w[1]})
		}
		if fault != nil || !reflect.DeepEqual(lines, want) {
			t.Errorf("%s:\n got %v, %v\nwant %v", text, lines, fault, want)
		}
	}
}
