package render

import (
	"encoding/json"
	"fmt"
	"testing"
	"time"

	"postrider/delivery"
)

// testLimits leave room for a slow machine under the race detector.
var testLimits = limits{timeout: time.Minute, memory: maxMemoryBytes, output: maxOutputLength}

// handlebarsCase is one template, and what handlebars.js makes of it in Node.
type handlebarsCase struct {
	ID       string
	Template string
	Data     json.RawMessage
	Partials map[string]string
	Options  options
	Expect   struct{ Output, Error *string }
}

// render renders c as Handlebars does it in Node: data in the order it is
// written, nothing added. The result is the output, or the error's text; it is the
// same when the template is rendered again, which is set up otherwise.
func (c handlebarsCase) render(t *testing.T, e *engine, id uint64) string {
	t.Helper()
	partials := make(map[string]string)
	for name, source := range c.Partials {
		partials[name] = encode(source)
	}
	field := fmt.Sprint(c.Options) // partials keep the options they were first compiled with
	if err := e.setPartials(map[string]map[string]string{field: partials}); err != nil {
		t.Fatal(err)
	}
	if err := e.compile(id, []part{{Field: field, Source: encode(c.Template), Options: c.Options}}); err != nil {
		t.Fatal(err)
	}
	data := ""
	if c.Data != nil {
		data = "[" + string(c.Data) + "]"
	}
	var results [2]string
	for i := range results {
		out, err := e.renderCompiled(id, data)
		if err != nil {
			t.Fatalf("%s: %v", c.Template, err)
		}
		results[i] = out.Fields[field]
		if out.Failed != "" {
			results[i] = out.Error.v8()
		}
	}
	if results[0] != results[1] {
		t.Errorf("%s: rendered again it is %s, not %s", c.Template, results[1], results[0])
	}
	return results[0]
}

func startEngine(t testing.TB) *engine {
	t.Helper()
	e, err := newEngine(new(program), testLimits)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(e.close)
	return e
}

// TestHandlebarsCases renders the recorded cases of every feature.
func TestHandlebarsCases(t *testing.T) {
	var cases []handlebarsCase
	readJSON(t, "testdata/cases.json", &cases)
	if len(cases) != 131 {
		t.Errorf("%d cases", len(cases))
	}
	e := startEngine(t)
	for i, c := range cases {
		got, want := c.render(t, e, uint64(i)), ""
		if c.Expect.Error != nil {
			want = "Error: " + *c.Expect.Error
		} else {
			want = *c.Expect.Output
		}
		if got != want {
			t.Errorf("%s: %s\n got %s\nwant %s", c.ID, c.Template, got, want)
		}
	}
}

// TestAgreesWithNode renders templates that go wrong in every way a template
// can, most of them with an error of the language and not of Handlebars, and
// random templates of all features, against recordings of Node 20.
func TestAgreesWithNode(t *testing.T) {
	e := startEngine(t)
	var id uint64
	for _, file := range []string{"testdata/errors.json", "testdata/mixed.json"} {
		var cases []handlebarsCase
		readJSON(t, file, &cases)
		for _, c := range cases {
			id++
			got, want := c.render(t, e, id), ""
			if c.Expect.Error != nil {
				want = *c.Expect.Error
			} else {
				want = *c.Expect.Output
			}
			if got != want {
				t.Errorf("%s %v %s\n got %s\nwant %s", c.Template, c.Options, c.Data, got, want)
			}
		}
	}
}

// BenchmarkRender renders an order confirmation of usual size, compiled
// before, in one engine; BenchmarkFirstRender compiles it each time.
func BenchmarkRender(b *testing.B) {
	tpl := openBenchmark(b)
	data := benchmarkData()
	if _, err := tpl.Render(b.Context(), "order", data); err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		if _, err := tpl.Render(b.Context(), "order", data); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkRenderAtOnce renders in as many engines as there are CPUs: it takes the
// share of BenchmarkRender's time that is to be expected, as long as no render waits
// for another.
func BenchmarkRenderAtOnce(b *testing.B) {
	tpl, err := New(Options{})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(tpl.Close)
	tpl.Replace(benchmarkDocs())
	data := benchmarkData()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			if _, err := tpl.Render(b.Context(), "order", data); err != nil {
				b.Error(err)
			}
		}
	})
}

func BenchmarkFirstRender(b *testing.B) {
	tpl := openBenchmark(b)
	data := benchmarkData()
	for b.Loop() {
		b.StopTimer()
		tpl.Replace(nil)
		tpl.Replace(benchmarkDocs())
		b.StartTimer()
		if _, err := tpl.Render(b.Context(), "order", data); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkNewEngine starts one engine after the first, which has compiled
// handlebars.js for all.
func BenchmarkNewEngine(b *testing.B) {
	p := new(program)
	for b.Loop() {
		e, err := newEngine(p, testLimits)
		if err != nil {
			b.Fatal(err)
		}
		e.close()
	}
}

func openBenchmark(b *testing.B) *Templates {
	b.Helper()
	tpl, err := New(Options{Instances: 1})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(tpl.Close)
	tpl.Replace(benchmarkDocs())
	return tpl
}

func benchmarkDocs() map[string]delivery.Fields {
	return map[string]delivery.Fields{
		"order": {
			"subject": "Your order {{number}}, {{customer.name}}",
			"text":    "{{#each items}}{{n}} x {{name}}: {{price}}\n{{/each}}Total {{total}}",
			"html": "{{> head}}<p>Dear {{customer.name}},</p><table>{{#each items}}<tr><td>{{n}}</td><td>{{name}}</td>" +
				"<td>{{#if price}}{{price}} {{../currency}}{{else}}free{{/if}}</td></tr>{{/each}}</table><p>Total {{total}}</p>",
		},
		"head": {"partial": true, "html": "<h1>{{shop}}</h1>"},
	}
}

func benchmarkData() delivery.Fields {
	var items []any
	for i := range 5 {
		items = append(items, delivery.Fields{"n": int64(i), "name": "An <item>", "price": float64(i) * 1.5})
	}
	return delivery.Fields{
		"number": int64(4711), "customer": delivery.Fields{"name": "Ada Lovelace"}, "items": items,
		"total": 15.0, "currency": "€", "shop": "Shop & Co",
	}
}
