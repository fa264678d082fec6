package render

import (
	"encoding/json"
	"fmt"
	"math"
	"strings"
	"testing"
	"time"

	"postrider/delivery"
)

// firestoreValues is the data that testdata/values.json was recorded with, in
// Node with the Admin SDK's own classes.
func firestoreValues() delivery.Fields {
	return delivery.Fields{
		"ts":    time.Unix(1706933106, 789000000).UTC(),
		"old":   time.Date(1, 1, 1, 0, 0, 0, 0, time.UTC),
		"geo":   delivery.GeoPoint{Latitude: 1.5, Longitude: -2},
		"ref":   delivery.Reference{Path: "users/u1"},
		"bytes": []byte("hé€😀"),
		"bad":   []byte("a\xe2\x82b\xff\xc0\x80\xf0\x9f\xed\xa0\x80!"),
		"empty": []byte{},
		"nan":   math.NaN(),
		"inf":   math.Inf(1),
		"ninf":  math.Inf(-1),
		"nz":    math.Copysign(0, -1),
		"big":   int64(9007199254740993),
		"list":  []any{time.Unix(0, 1), []byte("x"), math.NaN(), []any{delivery.GeoPoint{}}},
		"m":     delivery.Fields{"a.b": time.Unix(5, 6), "n": delivery.Fields{"deep": []byte("d")}},
	}
}

func TestFirestoreValuesLookLikeTheAdminSDKs(t *testing.T) {
	var cases []struct {
		Template, Expect string
		NoEscape         bool
	}
	readJSON(t, "testdata/values.json", &cases)
	docs := make(map[string]delivery.Fields)
	for i, c := range cases {
		field := fieldHTML
		if c.NoEscape {
			field = fieldText
		}
		docs[fmt.Sprint(i)] = delivery.Fields{field: c.Template}
	}
	tpl := openLimited(t, testLimits, docs)
	for i, c := range cases {
		r, err := tpl.Render(t.Context(), fmt.Sprint(i), firestoreValues())
		var got string
		switch {
		case err != nil:
			got = err.Error()
		case c.NoEscape:
			got = *r.Text
		default:
			got = *r.HTML
		}
		if got != c.Expect {
			t.Errorf("%s: got %s, want %s", c.Template, got, c.Expect)
		}
	}
}

// TestDataCannotPassForAnEncoding gives names and strings that mean something
// to JavaScript or to the encoding.
func TestDataCannotPassForAnEncoding(t *testing.T) {
	cases := map[string]struct {
		data delivery.Fields
		want string
	}{
		"{{a}}":                            {delivery.Fields{"a": []any{[]any{}, "time", int64(1)}}, ",time,1"},
		"{{#each this}}{{@key}} {{/each}}": {delivery.Fields{"b": time.Unix(0, 0), "a": int64(1), "10": true, "9": "", "": "x"}, "9 10  a b "},
		"{{constructor}} {{[__proto__]}}":  {delivery.Fields{"constructor": time.Unix(0, 0), "__proto__": []byte("p")}, "062135596800.000000000 p"},
		"{{s}}":                            {delivery.Fields{"s": "\x00\"\\\u2028</script>\xff\U0001f600"}, "\x00\"\\\u2028</script>\ufffd\U0001f600"},
		"{{[a\"b\\c]}}":                    {delivery.Fields{"a\"b\\c": []byte("x")}, "x"},
		"{{f}} {{g}} {{h}} {{i}}":          {delivery.Fields{"f": 1e21, "g": 1e-7, "h": 0.1, "i": int64(-5)}, "1e+21 1e-7 0.1 -5"},
		"{{toString}} {{o}}":               {delivery.Fields{"toString": "own", "o": delivery.Fields{"toHTML": "x"}}, "own [object Object]"},
	}
	docs := make(map[string]delivery.Fields)
	for source := range cases {
		docs[source] = delivery.Fields{"text": source}
	}
	tpl := openLimited(t, testLimits, docs)
	for source, c := range cases {
		r, err := tpl.Render(t.Context(), source, c.data)
		if err != nil || *r.Text != c.want {
			t.Errorf("%s: got %v %v, want %q", source, r.Text, err, c.want)
		}
	}
}

// TestAnEncodingIsNotMuchLongerThanItsData encodes values that each need a mark,
// below long keys that must not be written for every one of them.
func TestAnEncodingIsNotMuchLongerThanItsData(t *testing.T) {
	for rule, v := range map[string]any{
		"bytes": []byte{}, "filled": []byte("\x00\xff"), "time": time.Unix(-1, 999999999), "point": delivery.GeoPoint{Latitude: math.NaN()},
		"reference": delivery.Reference{Path: "a/b"}, "number": math.Inf(-1),
	} {
		list := make([]any, 130_000)
		for i := range list {
			list[i] = v
		}
		var data any = list
		for range 14 {
			data = delivery.Fields{strings.Repeat("\x01", 100): data}
		}
		encoded, err := encodeData("t", data.(delivery.Fields))
		if limit := maxEncoded(data); err != nil || len(encoded) > limit || !json.Valid([]byte(encoded)) {
			t.Errorf("%s: %d bytes, want at most %d: %v", rule, len(encoded), limit, err)
		}
	}
}

// TestTheEncodingIsBounded gives data that swells by what JSON makes of it, and
// asserts that encoding stops soon after the limit.
func TestTheEncodingIsBounded(t *testing.T) {
	swelling := make([]any, 1000)
	for i := range swelling {
		swelling[i] = strings.Repeat("\x01", 1000)
	}
	data := delivery.Fields{"v": swelling}
	limit := maxEncoded(data)
	e := encoder{limit: limit}
	if n := len(e.encode(data)); n < limit || n > limit+10_000 {
		t.Errorf("%d bytes, limit %d", n, limit)
	}
	tpl := openLimited(t, testLimits, map[string]delivery.Fields{"t": {"text": "x"}})
	_, err := tpl.Render(t.Context(), "t", data)
	wantFailure(t, err, delivery.Permanent, fmt.Sprintf(
		"Error: Field 'template.data' is too large to render template 't': it takes more than %d bytes as JSON.", limit))
}

// TestMarksFindTheirPlace mixes members with and without a mark, on every level.
func TestMarksFindTheirPlace(t *testing.T) {
	data := delivery.Fields{
		"a": int64(1), "b": []any{"x", []byte("y"), []any{}, delivery.Fields{"1": []byte("z"), "0": "0"}, delivery.Fields{}},
		"c": delivery.Fields{"d": delivery.Fields{"e": "f"}}, "g": math.NaN(), "h": []byte{0, 0x1f, '"', '\\', 0x7f},
	}
	want := `[{"a":1,"b":["x","Ź",[],{"0":"0","1":"ź"},{}],"c":{"d":{"e":"f"}},"g":"NaN","h":"ĀğĢŜſ"},` +
		`["b",[1,"bytes",3,["1","bytes"]],"g","number","h","bytes"]]`
	if got, err := encodeData("t", data); err != nil || got != want {
		t.Errorf("got  %s, %v\nwant %s", got, err, want)
	}
	tpl := openLimited(t, testLimits, map[string]delivery.Fields{"t": {"text": "{{b}} {{c.d.e}} {{g}} {{h}} {{#with b.[3]}}{{[0]}}{{[1]}}{{/with}}"}})
	r, err := tpl.Render(t.Context(), "t", data)
	if want := "x,y,,[object Object],[object Object] f NaN \x00\x1f\"\\\x7f 0z"; err != nil || *r.Text != want {
		t.Errorf("got %v %v, want %q", r.Text, err, want)
	}
}

// FuzzRender asserts that whatever template and data do, they do it to
// themselves: the next render of a known template is right.
func FuzzRender(f *testing.F) {
	for _, seed := range []string{
		"{{#each l}}{{this}}{{/each}}", "{{a b}}", "{{> p}}", "{{#if", "{{{{raw}}}}{{x}}{{{{/raw}}}}", "{{* foo}}",
		"{{#*inline \"p\"}}{{> p}}{{/inline}}{{> p}}", "{{lookup (lookup this \"constructor\") \"constructor\"}}",
		"{{#with \"s\" as |x|}}{{x.sub.call}}{{/with}}", "{{" + strings.Repeat("(", 50),
	} {
		f.Add(seed, "data")
	}
	tpl, err := New(Options{Instances: 1})
	if err != nil {
		f.Fatal(err)
	}
	f.Cleanup(tpl.Close)
	f.Fuzz(func(t *testing.T, source, value string) {
		tpl.Replace(map[string]delivery.Fields{
			"fuzzed": {"text": source, "html": source, "attachments": []any{source}},
			"known":  {"text": "[{{v}}{{> p}}]"},
			"p":      {"partial": true, "text": "p{{v}}"},
		})
		data := delivery.Fields{"v": value, value: source, "l": []any{value, source}}
		if _, err := tpl.Render(t.Context(), "fuzzed", data); err != nil && err.Error() == "" {
			t.Error("an error without a text")
		}
		clean := strings.ToValidUTF8(value, "")
		r, err := tpl.Render(t.Context(), "known", delivery.Fields{"v": clean})
		if err != nil || *r.Text != "["+clean+"p"+clean+"]" {
			t.Errorf("afterwards: %v %v", r.Text, err)
		}
	})
}
