package render

import (
	"context"
	"errors"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"postrider/delivery"
)

// openLimited returns Templates with one engine and limits of its own.
func openLimited(t *testing.T, l limits, docs map[string]delivery.Fields) *Templates {
	t.Helper()
	tpl, err := New(Options{Instances: 1, Timeout: l.timeout})
	if err != nil {
		t.Fatal(err)
	}
	tpl.pool = newPool(1, l)
	t.Cleanup(tpl.Close)
	tpl.Replace(docs)
	return tpl
}

// thousand is data with a list long enough for loops that don't end in a
// lifetime.
func thousand() delivery.Fields {
	list := make([]any, 1000)
	for i := range list {
		list[i] = int64(i)
	}
	return delivery.Fields{"l": list}
}

const endless = "{{#each l}}{{#each @root.l}}{{#each @root.l}}{{#each @root.l}}{{#if @root.nope}}x{{/if}}{{/each}}{{/each}}{{/each}}{{/each}}"

func wantFailure(t *testing.T, err error, class delivery.Class, message string) {
	t.Helper()
	var f *delivery.Failure
	if !errors.As(err, &f) {
		t.Errorf("got %v, want %s", err, message)
		return
	}
	if f.Class != class || f.Phase != delivery.PhaseTemplate || f.Message != message || f.Explain == "" {
		t.Errorf("got %s %s %q (%s), want %s %q", f.Class, f.Phase, f.Message, f.Explain, class, message)
	}
}

func wantText(t *testing.T, tpl *Templates, name, want string) {
	t.Helper()
	r, err := tpl.Render(t.Context(), name, nil)
	if err != nil || r.Text == nil || *r.Text != want {
		t.Errorf("%s: got %v, %v, want %s", name, r.Text, err, want)
	}
}

func TestAnEndlessTemplateIsStoppedAndHarmsNoOther(t *testing.T) {
	tpl := openLimited(t, limits{timeout: 3 * time.Second, memory: maxMemoryBytes, output: maxOutputLength}, map[string]delivery.Fields{
		"endless": {"text": endless},
		"good":    {"text": "fine"},
	})
	wantText(t, tpl, "good", "fine")
	_, err := tpl.Render(t.Context(), "endless", thousand())
	wantFailure(t, err, delivery.Permanent, "Error: Template 'endless' takes longer to render than the limit of 3s.")
	wantText(t, tpl, "good", "fine")
}

func TestAnEndedContextStopsARenderInProgress(t *testing.T) {
	tpl := openLimited(t, testLimits, map[string]delivery.Fields{
		"endless": {"text": endless},
		"good":    {"text": "fine"},
	})
	wantText(t, tpl, "good", "fine")
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	_, err := tpl.Render(ctx, "endless", thousand())
	wantFailure(t, err, delivery.Transient, "Error: Rendering of template 'endless' was cut short.")
	if !errors.Is(err, context.DeadlineExceeded) && !errors.Is(err, errInterrupted) {
		t.Errorf("cause: %v", errors.Unwrap(err))
	}
	wantText(t, tpl, "good", "fine")
}

// TestRendersDoNotWaitForEachOther hangs if they do.
func TestRendersDoNotWaitForEachOther(t *testing.T) {
	l := limits{timeout: 24 * time.Hour, memory: maxMemoryBytes, output: maxOutputLength}
	tpl := openLimited(t, l, map[string]delivery.Fields{
		"endless": {"text": endless},
		"good":    {"text": "fine"},
	})
	tpl.pool = newPool(2, l)
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error)
	go func() {
		_, err := tpl.Render(ctx, "endless", thousand())
		ended <- err
	}()
	for len(tpl.pool.slots) == 0 {
		runtime.Gosched()
	}
	for range 20 {
		wantText(t, tpl, "good", "fine")
	}
	cancel() // without it the other would go on for a day
	wantFailure(t, <-ended, delivery.Transient, "Error: Rendering of template 'endless' was cut short.")
}

func TestRecursionIsAnErrorOfThatTemplate(t *testing.T) {
	tpl := openLimited(t, testLimits, map[string]delivery.Fields{
		"loop": {"text": "{{> self}}"},
		"self": {"partial": true, "text": "{{> self}}"},
		"deep": {"text": strings.Repeat("{{#with .}}", 80) + "ok" + strings.Repeat("{{/with}}", 80)},
		"good": {"text": "fine"},
	})
	_, err := tpl.Render(t.Context(), "loop", nil)
	wantFailure(t, err, delivery.Permanent, "RangeError: Maximum call stack size exceeded")
	wantText(t, tpl, "good", "fine")
	r, err := tpl.Render(t.Context(), "deep", delivery.Fields{})
	if err != nil || *r.Text != "ok" {
		t.Errorf("eighty levels: %v", err)
	}
}

func TestPartialsMayNestAHundredLevels(t *testing.T) {
	data := delivery.Fields{}
	for range 100 {
		data = delivery.Fields{"next": data}
	}
	tpl := openLimited(t, testLimits, map[string]delivery.Fields{
		"t": {"text": "{{> p}}"},
		"p": {"partial": true, "text": "{{#if next}}.{{> p next}}{{/if}}"},
	})
	r, err := tpl.Render(t.Context(), "t", data)
	if err != nil || *r.Text != strings.Repeat(".", 100) {
		t.Errorf("got %v, %v", r.Text, err)
	}
}

func TestMemoryIsLimited(t *testing.T) {
	l := testLimits
	l.memory = 4 << 20
	tpl := openLimited(t, l, map[string]delivery.Fields{
		"big":  {"text": "{{#each l}}{{#each @root.l}}{{this}}{{this}}{{this}} and so on and on and on{{/each}}{{/each}}"},
		"good": {"text": "fine"},
	})
	wantText(t, tpl, "good", "fine")
	_, err := tpl.Render(t.Context(), "big", thousand())
	wantFailure(t, err, delivery.Permanent, "Error: Template 'big' needs more memory to render than the limit of 96 MB.")
	wantText(t, tpl, "good", "fine")
}

// TestAFullEngineIsReplaced takes the memory from an engine that has served, as
// if other templates had used it up: the next one is not to blame.
func TestAFullEngineIsReplaced(t *testing.T) {
	tpl := openLimited(t, testLimits, map[string]delivery.Fields{
		"first": {"text": "1"},
		"next":  {"text": "{{#each this}}{{this}}{{/each}}2"},
	})
	wantText(t, tpl, "first", "1")
	full := tpl.pool.idle[0]
	full.vm.SetMemoryLimit(1)
	wantText(t, tpl, "next", "2")
	if len(tpl.pool.idle) != 1 || tpl.pool.idle[0] == full {
		t.Error("the full engine is still in use")
	}
	wantText(t, tpl, "first", "1")
}

func TestOutputIsLimited(t *testing.T) {
	l := testLimits
	l.output = 10
	tpl := openLimited(t, l, map[string]delivery.Fields{
		"big":  {"subject": "123456", "text": "78901"},
		"good": {"subject": "123456", "text": "7890"},
	})
	_, err := tpl.Render(t.Context(), "big", nil)
	wantFailure(t, err, delivery.Permanent, "Error: Template 'big' renders to more than 8 MB.")
	wantText(t, tpl, "good", "7890")
}

func TestRenderWaitsForTheFirstContent(t *testing.T) {
	tpl, err := New(Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer tpl.Close()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err = tpl.Render(ctx, "t", nil)
	wantFailure(t, err, delivery.Transient, "Error: Template 't' could not be rendered: the templates collection has not been read yet.")

	done := make(chan error)
	go func() {
		_, err := tpl.Render(t.Context(), "t", nil)
		done <- err
	}()
	tpl.Replace(map[string]delivery.Fields{"t": {"text": "x"}})
	if err := <-done; err != nil {
		t.Error(err)
	}
}

func TestAClosedTemplatesFails(t *testing.T) {
	tpl := openLimited(t, testLimits, map[string]delivery.Fields{"t": {"text": "x"}})
	wantText(t, tpl, "t", "x")
	tpl.Close()
	tpl.Close()
	_, err := tpl.Render(t.Context(), "t", nil)
	wantFailure(t, err, delivery.Transient, "Error: Rendering of template 't' was cut short.")
}

func TestBadOptionsAreRefused(t *testing.T) {
	for _, o := range []Options{{Instances: -1}, {Timeout: -1}} {
		if _, err := New(o); err == nil {
			t.Errorf("%+v: no error", o)
		}
	}
}

// TestRendersAndReplacesMayRunAtOnce asks for templates while they change.
// Whatever a render began with, it gives one version, whole.
func TestRendersAndReplacesMayRunAtOnce(t *testing.T) {
	version := func(v string) map[string]delivery.Fields {
		return map[string]delivery.Fields{
			"t": {"text": v + "{{> p}}" + v},
			"p": {"partial": true, "text": v},
		}
	}
	tpl, err := New(Options{Instances: 3})
	if err != nil {
		t.Fatal(err)
	}
	defer tpl.Close()
	tpl.Replace(version("0"))
	var wg sync.WaitGroup
	for range 6 {
		wg.Go(func() {
			for range 20 {
				r, err := tpl.Render(t.Context(), "t", nil)
				if err != nil {
					t.Error(err)
					return
				}
				if s := *r.Text; len(s) != 3 || s[0] != s[1] || s[1] != s[2] {
					t.Errorf("got %s", s)
				}
			}
		})
	}
	for _, v := range "123456789" {
		tpl.Replace(version(string(v)))
	}
	wg.Wait()
}

// TestTheEngineHasNoWayOut looks for anything that reaches beyond the engine.
func TestTheEngineHasNoWayOut(t *testing.T) {
	e := startEngine(t)
	for _, name := range []string{"std", "os", "print", "console", "require", "process", "fetch", "scriptArgs", "bjson", "XMLHttpRequest", "setTimeout"} {
		if got, err := e.vm.Eval("typeof "+name, 0); err != nil || got != "undefined" {
			t.Errorf("%s: %v %v", name, got, err)
		}
	}
}

// TestScriptFitsHandlebars fails when a newer handlebars.js no longer has the
// expressions that are replaced.
func TestScriptFitsHandlebars(t *testing.T) {
	for _, expression := range []string{"!(name in obj)", "var SourceNode = undefined;", "var result = parent[propertyName];", "if (!options.partial) {"} {
		if n := strings.Count(handlebarsSource, expression); n != 1 {
			t.Errorf("%d times %s", n, expression)
		}
	}
	for _, name := range []string{"postriderIn(", "postriderGet(", "postriderSourceNode;", "if (postriderAgain(options, container, env))"} {
		if !strings.Contains(script(), name) {
			t.Errorf("no %s", name)
		}
	}
}
