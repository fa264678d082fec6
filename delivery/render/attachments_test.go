package render_test

import (
	"reflect"
	"testing"
	"time"

	"postrider/delivery"
	"postrider/delivery/render"
)

// attachmentCase is an attachments field, the data it is rendered with, and
// the list that comes of it or the error's text.
type attachmentCase struct {
	source any
	data   delivery.Fields
	want   any
}

func attachmentCases() map[string]attachmentCase {
	one := func(content string) []any {
		return []any{delivery.Fields{"filename": "x.txt", "content": content}}
	}
	return map[string]attachmentCase{
		"values are filled in": {
			[]any{delivery.Fields{"filename": "{{name}}.txt", "content": "Hello {{name}}"}},
			delivery.Fields{"name": "Ada"},
			[]any{delivery.Fields{"filename": "Ada.txt", "content": "Hello Ada"}},
		},
		"quotes are escaped":           {one("{{v}}"), delivery.Fields{"v": `say "hi"`}, one("say &quot;hi&quot;")},
		"unescaped quotes break it":    {one("{{{v}}}"), delivery.Fields{"v": `say "hi"`}, "SyntaxError: Expected ',' or '}' after property value in JSON at position 37"},
		"line breaks break it":         {one("{{v}}"), delivery.Fields{"v": "a\nb"}, "SyntaxError: Bad control character in string literal in JSON at position 33"},
		"backslashes break it":         {one("{{v}}"), delivery.Fields{"v": `C:\dir`}, "SyntaxError: Bad escaped character in JSON at position 35"},
		"variables must be there":      {one("{{nope}}"), delivery.Fields{}, `Error: "nope" not defined in [object Object] - 1:34`},
		"block helpers work":           {one("{{#each xs}}{{this}},{{/each}}"), delivery.Fields{"xs": []any{int64(1), int64(2)}}, one("1,2,")},
		"quotes in helpers are JSON's": {one(`{{#if (lookup o "a")}}x{{/if}}`), delivery.Fields{}, "Error: Parse error on line 1:\n...t\":\"{{#if (lookup o \\\"a\\\")}}x{{/if}}\"}]\n-----------------------^\nExpecting 'CLOSE_RAW_BLOCK', 'CLOSE', 'CLOSE_UNESCAPED', 'OPEN_SEXPR', 'CLOSE_SEXPR', 'ID', 'EQUALS', 'OPEN_BLOCK_PARAMS', 'STRING', 'NUMBER', 'BOOLEAN', 'UNDEFINED', 'NULL', 'DATA', 'SEP', got 'INVALID'"},
		"an empty list is a list":      {[]any{}, nil, []any{}},
		"a map is none":                {delivery.Fields{"filename": "x.txt", "content": "{{v}}"}, delivery.Fields{"v": "1"}, "Error: Field 'attachments' of template 'a map is none' must be a list of attachments."},
		"members of Firestore's values are empty": {
			one("[{{r.id}}{{t.seconds}}{{g.latitude}}]"),
			delivery.Fields{"r": delivery.Reference{Path: "users/u9"}, "t": time.Unix(5, 6), "g": delivery.GeoPoint{Latitude: 1.5}},
			one("[]"),
		},
		"a string is none":        {"{{v}}", delivery.Fields{"v": "x"}, "Error: Field 'attachments' of template 'a string is none' must be a list of attachments."},
		"an empty string is none": {"{{v}}", delivery.Fields{"v": ""}, []any(nil)},
		"numbers, maps and lists are kept": {
			[]any{delivery.Fields{"n": int64(3), "f": 1.5, "b": true, "z": nil, "headers": delivery.Fields{"X-A": "{{v}}"}, "l": []any{int64(1)}}},
			delivery.Fields{"v": "1"},
			[]any{delivery.Fields{"n": int64(3), "f": 1.5, "b": true, "z": nil, "headers": delivery.Fields{"X-A": "1"}, "l": []any{int64(1)}}},
		},
		"Firestore's values as the SDK's JSON": {
			[]any{delivery.Fields{"t": time.Unix(5, 6), "b": []byte("hi"), "g": delivery.GeoPoint{Latitude: 1.5}}},
			nil,
			[]any{delivery.Fields{
				"t": delivery.Fields{"_seconds": int64(5), "_nanoseconds": int64(6)},
				"b": delivery.Fields{"type": "Buffer", "data": []any{int64('h'), int64('i')}},
				"g": delivery.Fields{"_latitude": 1.5, "_longitude": int64(0)},
			}},
		},
	}
}

func TestAttachmentsAreOneStrictTemplate(t *testing.T) {
	cases := attachmentCases()
	docs := make(map[string]delivery.Fields)
	for rule, c := range cases {
		docs[rule] = delivery.Fields{"attachments": c.source}
	}
	tpl := open(t, render.Options{Instances: 1}, docs)
	for rule, c := range cases {
		r, err := tpl.Render(t.Context(), rule, c.data)
		var got any = r.Attachments
		if err != nil {
			got = err.Error()
		}
		if !reflect.DeepEqual(got, c.want) {
			t.Errorf("%s:\n got %#v\nwant %#v", rule, got, c.want)
		}
	}
}

func TestAttachmentErrorsComeFirst(t *testing.T) {
	bad := []any{delivery.Fields{"content": "{{{v}}}"}}
	tpl := open(t, render.Options{}, map[string]delivery.Fields{
		"json":   {"attachments": bad, "subject": "{{upper x}}"},
		"helper": {"attachments": []any{}, "subject": "{{upper x}}", "html": "{{lower x}}"},
	})
	if got, want := text(tpl, "json", delivery.Fields{"v": `"`}), "SyntaxError: Expected ',' or '}' after property value in JSON at position 14"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	if got, want := text(tpl, "helper", nil), `Error: Missing helper: "upper"`; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}
