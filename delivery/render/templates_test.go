package render_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"postrider/delivery"
	"postrider/delivery/render"
)

// open returns Templates that hold docs.
func open(t testing.TB, o render.Options, docs map[string]delivery.Fields) *render.Templates {
	t.Helper()
	tpl, err := render.New(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(tpl.Close)
	tpl.Replace(docs)
	return tpl
}

// text renders name and returns its text, or the error's.
func text(tpl *render.Templates, name string, data delivery.Fields) string {
	r, err := tpl.Render(context.Background(), name, data)
	switch {
	case err != nil:
		return err.Error()
	case r.Text == nil:
		return "<no text>"
	}
	return *r.Text
}

func deref(s *string) string {
	if s == nil {
		return "<nil>"
	}
	return *s
}

func TestEachFieldIsRenderedAndEscapedItsOwnWay(t *testing.T) {
	const source = `{{v}}`
	const raw, escaped = "a<b>&\"c'd`e=f", "a&lt;b&gt;&amp;&quot;c&#x27;d&#x60;e&#x3D;f"
	tpl := open(t, render.Options{}, map[string]delivery.Fields{
		"all":  {"subject": source, "text": source, "html": source, "amp": source, "attachments": []any{delivery.Fields{"content": source}}},
		"none": {"subject": "", "text": nil, "html": false, "amp": int64(0)},
		"void": {"subject": "{{nope}}", "text": "{{nope}}"},
	})
	data := delivery.Fields{"v": raw}
	r, err := tpl.Render(t.Context(), "all", data)
	if err != nil {
		t.Fatal(err)
	}
	for what, c := range map[string]struct{ got, want string }{
		"subject":    {deref(r.Subject), raw},
		"text":       {deref(r.Text), raw},
		"html":       {deref(r.HTML), escaped},
		"amp":        {deref(r.AMP), escaped},
		"attachment": {r.Attachments[0].(delivery.Fields)["content"].(string), escaped},
	} {
		if c.got != c.want {
			t.Errorf("%s: got %s, want %s", what, c.got, c.want)
		}
	}
	if r, err = tpl.Render(t.Context(), "none", data); err != nil || r.Subject != nil || r.Text != nil || r.HTML != nil || r.AMP != nil || r.Attachments != nil {
		t.Errorf("falsy fields: got %+v, %v", r, err)
	}
	if r, err = tpl.Render(t.Context(), "void", data); err != nil || deref(r.Subject) != "" || deref(r.Text) != "" {
		t.Errorf("fields that render to nothing: got %q %q, %v", deref(r.Subject), deref(r.Text), err)
	}
}

func TestTemplatesThatCannotBeSent(t *testing.T) {
	tpl := open(t, render.Options{}, map[string]delivery.Fields{
		"good":    {"subject": "S", "text": "fine"},
		"map":     {"subject": delivery.Fields{"a": int64(1)}, "text": "x"},
		"number":  {"html": int64(5)},
		"syntax":  {"subject": "{{#if", "text": "x"},
		"part":    {"partial": true, "text": "p"},
		"said":    {"partial": "false", "text": "p"},
		"t":       {"name": "alias", "text": "via alias"},
		"integer": {"name": int64(7), "text": "seven"},
		"odd":     {"name": delivery.Fields{}, "text": "odd"},
		"nothing": {"name": nil, "text": "named null"},
		"broken":  {"partial": true, "text": "{{#if"},
		"objects": {"partial": true, "text": delivery.Fields{"type": "Program", "body": []any{}}},
		"uses":    {"text": "{{> objects}}"},
	})
	for name, want := range map[string]string{
		"good":           "fine",
		"map":            "Error: Field 'subject' of template 'map' must be a string.",
		"number":         "Error: Field 'html' of template 'number' must be a string.",
		"syntax":         "Error: Parse error on line 1:\n{{#if\n---^\nExpecting 'ID', 'STRING', 'NUMBER', 'BOOLEAN', 'UNDEFINED', 'NULL', 'DATA', got 'INVALID'",
		"part":           "Error: Template 'part' is a partial and can't be sent by itself.",
		"said":           "Error: Template 'said' is a partial and can't be sent by itself.",
		"t":              "Error: Template 't' can only be used as 'alias': its field 'name' takes the place of its ID.",
		"alias":          "via alias",
		"7":              "seven",
		"odd":            "odd",
		"null":           "named null",
		"nothing":        "Error: Template 'nothing' can only be used as 'null': its field 'name' takes the place of its ID.",
		"nope":           "Error: Template 'nope' does not exist in the templates collection.",
		"constructor":    "Error: Template 'constructor' does not exist in the templates collection.",
		"__proto__":      "Error: Template '__proto__' does not exist in the templates collection.",
		"hasOwnProperty": "Error: Template 'hasOwnProperty' does not exist in the templates collection.",
		"uses":           "Error: The partial objects could not be compiled: partials must be strings or functions returning strings",
	} {
		if got := text(tpl, name, delivery.Fields{}); got != want {
			t.Errorf("%s: got %s, want %s", name, got, want)
		}
	}
	_, err := tpl.Render(t.Context(), "nope", nil)
	var f *delivery.Failure
	if !errors.As(err, &f) || f.Class != delivery.Permanent || f.Phase != delivery.PhaseTemplate || f.Explain == "" {
		t.Errorf("got %#v", err)
	}
}

func TestHandlebarsErrorsComeThroughToTheLetter(t *testing.T) {
	data := delivery.Fields{"a": "str", "b": "x", "o": delivery.Fields{"toString": "x"}}
	docs := map[string]delivery.Fields{"p": {"partial": true, "html": "only html"}, "é": {"partial": true, "text": "é\u2028{{a b}}"}}
	want := map[string]string{
		"{{upper name}}":      `Error: Missing helper: "upper"`,
		"{{#eq a b}}{{/eq}}":  `Error: Missing helper: "eq"`,
		"{{a b}}":             "TypeError: (lookupProperty(...) || (depth0 && lookupProperty(...)) || container.hooks.helperMissing).call is not a function",
		"é€😀 {{a b}} {{b a}}": "TypeError: (lookupProperty(...) || (depth0 && lookupProperty(...)) || alias2).call is not a function",
		"{{> é}}":             "TypeError: (lookupProperty(...) || (depth0 && lookupProperty(...)) || container.hooks.helperMissing).call is not a function",
		"{{if a}}":            "TypeError: options.fn is not a function",
		"{{lookup a}}":        "TypeError: Cannot read properties of undefined (reading 'lookupProperty')",
		"{{o}}":               "TypeError: Cannot convert object to primitive value",
		"{{> p}}":             "Error: The partial p could not be found",
		"{{> text}}":          "RangeError: Maximum call stack size exceeded",
	}
	for source := range want {
		docs["t "+source] = delivery.Fields{"text": source}
	}
	docs["text"] = delivery.Fields{"partial": true, "text": "{{> text}}"}
	tpl := open(t, render.Options{Instances: 1}, docs)
	for source, want := range want {
		if got := text(tpl, "t "+source, data); got != want {
			t.Errorf("%s:\n got %s\nwant %s", source, got, want)
		}
	}
}

func TestPartialsBelongToOneField(t *testing.T) {
	tpl := open(t, render.Options{}, map[string]delivery.Fields{
		"t":    {"subject": "{{> s}}", "html": "{{> head}}|{{x}}", "text": "{{> head}}|{{#each xs}}{{> (lookup .. 'which')}}{{/each}}{{#> lay}}body {{x}}{{/lay}}"},
		"head": {"partial": true, "html": "<h1>{{t}}</h1>", "text": "# {{t}}"},
		"s":    {"partial": true, "subject": "[{{t}}]", "attachments": []any{"dropped"}},
		"row":  {"partial": int64(1), "text": "({{n}}{{@index}})"},
		"lay":  {"partial": true, "text": "<{{> @partial-block}}>"},
	})
	r, err := tpl.Render(t.Context(), "t", delivery.Fields{
		"t": "<T>", "x": int64(1), "which": "row",
		"xs": []any{delivery.Fields{"n": int64(1)}, delivery.Fields{"n": int64(2)}},
	})
	if err != nil {
		t.Fatal(err)
	}
	if got, want := deref(r.Subject), "[<T>]"; got != want {
		t.Errorf("subject: got %s, want %s", got, want)
	}
	if got, want := deref(r.HTML), "<h1>&lt;T&gt;</h1>|1"; got != want {
		t.Errorf("html: got %s, want %s", got, want)
	}
	if got, want := deref(r.Text), "# <T>|(10)(21)<body 1>"; got != want {
		t.Errorf("text: got %s, want %s", got, want)
	}
}

func TestAFailedRenderLeavesNoInlinePartialBehind(t *testing.T) {
	tpl := open(t, render.Options{Instances: 1}, map[string]delivery.Fields{
		"p": {"partial": true, "text": "outer"},
		"t": {"text": `{{> p}}{{#each list}}{{#*inline "p"}}inner{{/inline}}{{> p}}{{> (lookup this "none")}}{{/each}}`},
	})
	if _, err := tpl.Render(t.Context(), "t", delivery.Fields{"list": []any{delivery.Fields{"none": "none"}}}); err == nil {
		t.Error("the template must fail with an element in the list")
	}
	r, err := tpl.Render(t.Context(), "t", delivery.Fields{})
	if err != nil || *r.Text != "outer" {
		t.Errorf("got %v, %v, want the partial as it is registered", r.Text, err)
	}
}

func TestEditsAndDeletionsTakeEffect(t *testing.T) {
	const lost = "Error: The partial p could not be found"
	docs := map[string]delivery.Fields{
		"t": {"text": "old {{> p}}"},
		"u": {"text": "same {{> p}}"},
		"p": {"partial": true, "text": "part one {{> q}}"},
		"q": {"partial": true, "text": "q1"},
	}
	tpl := open(t, render.Options{Instances: 1}, docs)
	for _, step := range []struct {
		what   string
		change func()
		want   map[string]string
	}{
		{"at first", func() {}, map[string]string{"t": "old part one q1", "u": "same part one q1"}},
		{"template edited", func() {
			docs["t"] = delivery.Fields{"text": "new {{> p}}"}
		}, map[string]string{"t": "new part one q1", "u": "same part one q1"}},
		{"inner partial edited", func() {
			docs["q"] = delivery.Fields{"partial": true, "text": "q2"}
		}, map[string]string{"t": "new part one q2", "u": "same part one q2"}},
		{"partial deleted", func() { delete(docs, "p") }, map[string]string{"t": lost, "u": lost}},
		{"partial back, template deleted", func() {
			docs["p"] = delivery.Fields{"partial": true, "text": "back"}
			delete(docs, "t")
		}, map[string]string{"t": "Error: Template 't' does not exist in the templates collection.", "u": "same back"}},
		{"partial made a template", func() {
			docs["p"] = delivery.Fields{"text": "now a template"}
		}, map[string]string{"p": "now a template", "u": lost}},
		{"emptied", func() { clear(docs) }, map[string]string{"u": "Error: Template 'u' does not exist in the templates collection."}},
	} {
		step.change()
		tpl.Replace(docs)
		for name, want := range step.want {
			if got := text(tpl, name, nil); got != want {
				t.Errorf("%s: %s: got %s, want %s", step.what, name, got, want)
			}
		}
	}
}

func TestReplaceKeepsNothingOfItsArgument(t *testing.T) {
	docs := map[string]delivery.Fields{"t": {"text": "as it was"}}
	tpl := open(t, render.Options{Instances: 1}, docs)
	docs["t"]["text"] = "changed afterwards"
	if got := text(tpl, "t", nil); got != "as it was" {
		t.Errorf("got %s", got)
	}
}

func TestNoDataIsNotAnEmptyMap(t *testing.T) {
	tpl := open(t, render.Options{}, map[string]delivery.Fields{
		"t": {"text": "[{{name}}]"},
		"a": {"text": "t", "attachments": []any{delivery.Fields{"filename": "{{nope}}.txt", "content": "x"}}},
	})
	if got := text(tpl, "t", nil); got != "[]" {
		t.Errorf("got %s", got)
	}
	if got, want := text(tpl, "a", nil), `Error: "nope" not defined in undefined - 1:16`; got != want {
		t.Errorf("no data: got %s, want %s", got, want)
	}
	if got, want := text(tpl, "a", delivery.Fields{}), `Error: "nope" not defined in [object Object] - 1:16`; got != want {
		t.Errorf("empty data: got %s, want %s", got, want)
	}
}

func TestTheLogHelperPrintsNothing(t *testing.T) {
	tpl := open(t, render.Options{}, map[string]delivery.Fields{"t": {"text": `a{{log "hi" level="error"}}b`}})
	if got := text(tpl, "t", nil); got != "ab" {
		t.Errorf("got %s", got)
	}
}

func TestALargeTemplateAndLargeData(t *testing.T) {
	plain := strings.Repeat("<p>hello</p>\n", 80_000)
	tpl := open(t, render.Options{Timeout: time.Minute}, map[string]delivery.Fields{
		"plain": {"text": plain},
		"data":  {"text": "{{#each l}}{{this}}{{/each}}{{s}}"},
	})
	if got := text(tpl, "plain", nil); got != plain {
		t.Errorf("got %d bytes", len(got))
	}
	list := make([]any, 10_000)
	for i := range list {
		list[i] = "é\n"
	}
	s := strings.Repeat("x", 900_000)
	if got := text(tpl, "data", delivery.Fields{"l": list, "s": s}); got != strings.Repeat("é\n", len(list))+s {
		t.Errorf("got %d bytes", len(got))
	}
}
