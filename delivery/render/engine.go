package render

import (
	"context"
	_ "embed"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"modernc.org/quickjs"
)

// maxStackSlots bounds how deep JavaScript calls may nest: enough for some
// hundred levels of partials, and small beside what a goroutine's stack may
// grow to. The engine counts calls here, not bytes, and neither its memory
// limit nor its time limit stops a recursion in time.
const maxStackSlots = 4096

var (
	//go:embed handlebars/handlebars.js
	handlebarsSource string

	//go:embed glue.js
	glueSource string
)

// limits bounds one engine.
type limits struct {
	timeout time.Duration // for each render
	memory  uintptr       // bytes
	output  int           // UTF-16 code units
}

// output is what a render gives.
type output struct {
	Fields   map[string]string `json:"fields"` // as far as rendering came
	Failed   string            `json:"failed"` // the field that didn't render; empty if all did
	TooLarge bool              `json:"tooLarge"`
	Error    thrown            `json:"error"`
}

func (o output) field(name string) *string {
	text, ok := o.Fields[name]
	if !ok {
		return nil
	}
	return &text
}

// options are Handlebars' own compile options.
type options struct {
	NoEscape bool `json:"noEscape,omitempty"`
	Strict   bool `json:"strict,omitempty"`
}

// part is one field of a template on its way into an engine.
type part struct {
	Field   string  `json:"field"`
	Source  string  `json:"source"` // encoded
	JSON    bool    `json:"json"`   // the source is the value's JSON text
	Options options `json:"options"`
}

func (t *template) parts() []part {
	var parts []part
	for _, field := range renderedFields() {
		source, ok := t.fields[field]
		if !ok {
			continue
		}
		parts = append(parts, part{
			Field:  field,
			Source: source,
			JSON:   field == fieldAttachments,
			Options: options{
				NoEscape: field == fieldSubject || field == fieldText,
				Strict:   field == fieldAttachments,
			},
		})
	}
	return parts
}

// program is Handlebars and the glue, compiled once for all engines.
type program struct {
	once     sync.Once
	bytecode []byte
	err      error
}

// script is the program's source: what line numbers in stack traces refer to.
// Four expressions of handlebars.js are replaced, three so that errors can be
// worded as in Node and one for speed; glue.js has the functions and the reasons.
func script() string {
	return strings.NewReplacer(
		"!(name in obj)", "!postriderIn(name, obj)",
		"var result = parent[propertyName];", "var result = postriderGet(parent, propertyName);",
		"var SourceNode = undefined;", "var SourceNode = postriderSourceNode;",
		"if (!options.partial) {", "if (postriderAgain(options, container, env)) return; if (!options.partial) {",
	).Replace(handlebarsSource) + "\n" + glueSource
}

func (p *program) load(vm *quickjs.VM) error {
	p.once.Do(func() { p.bytecode, p.err = vm.Compile(script(), quickjs.EvalGlobal) })
	if p.err != nil {
		return fmt.Errorf("compile handlebars.js: %w", p.err)
	}
	if _, err := vm.EvalBytecode(p.bytecode); err != nil {
		return fmt.Errorf("load handlebars.js: %w", err)
	}
	return nil
}

// engine is one JavaScript engine with Handlebars in it. It serves one
// goroutine at a time and shares nothing with others, so it has to compile a
// template itself, when it is first asked for it. That takes some milliseconds,
// once for each template and engine, beside the tenths of one that rendering takes.
type engine struct {
	vm     *quickjs.VM
	limits limits
	calls  map[string]quickjs.Value

	content  *content        // that compiled was last held against
	partials uint64          // the version registered; 0 is none
	compiled map[uint64]bool // by template ID

	spent bool // must not be used again
}

func newEngine(p *program, l limits) (*engine, error) {
	vm, err := quickjs.NewVM()
	if err != nil {
		return nil, fmt.Errorf("start JavaScript engine: %w", err)
	}
	e := &engine{vm: vm, limits: l, calls: make(map[string]quickjs.Value), compiled: make(map[uint64]bool)}
	vm.SetMaxStackSize(maxStackSlots)
	vm.SetMemoryLimit(l.memory)
	if err := p.load(vm); err != nil {
		e.close()
		return nil, err
	}
	for _, name := range []string{"partials", "compile", "forget", "render"} {
		f, err := vm.EvalValue("postrider."+name, quickjs.EvalGlobal)
		if err != nil {
			e.close()
			return nil, fmt.Errorf("load glue: %w", err)
		}
		e.calls[name] = f
	}
	if err := vm.SetEvalTimeout(l.timeout); err != nil {
		e.close()
		return nil, fmt.Errorf("limit rendering time: %w", err)
	}
	return e, nil
}

func (e *engine) close() {
	for _, f := range e.calls {
		f.Free()
	}
	e.calls = nil
	_ = e.vm.Close() // frees memory; nothing to be done if it can't
}

// render renders t, of c, with encoded data. After an error the engine is
// spent: it was stopped in the middle of something.
func (e *engine) render(ctx context.Context, c *content, t *template, data string) (output, error) {
	over, quiet := make(chan struct{}), make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		defer close(quiet)
		e.interrupt(over)
	})
	out, err := e.renderUntilStopped(c, t, data)
	close(over)
	interrupted := !stop()
	if interrupted {
		<-quiet
	}
	e.spent = e.spent || interrupted || err != nil
	return out, err
}

// interrupt stops the engine, and again until over is closed: a call that begins
// only then knows nothing of it.
func (e *engine) interrupt(over <-chan struct{}) {
	again := time.NewTicker(time.Millisecond)
	defer again.Stop()
	for {
		e.vm.Interrupt()
		select {
		case <-over:
			return
		case <-again.C:
		}
	}
}

func (e *engine) renderUntilStopped(c *content, t *template, data string) (output, error) {
	if err := e.follow(c, t); err != nil {
		return output{}, err
	}
	return e.renderCompiled(t.id, data)
}

func (e *engine) renderCompiled(id uint64, data string) (output, error) {
	if data == "" {
		data = "null"
	}
	answer, err := e.call("render", fmt.Sprintf(`{"id":%d,"limit":%d,"data":%s}`, id, e.limits.output, data))
	if err != nil {
		return output{}, err
	}
	var out output
	if err := json.Unmarshal([]byte(answer), &out); err != nil {
		return output{}, fmt.Errorf("read engine's answer: %w", err)
	}
	if out.Error.isOutOfMemory() {
		return output{}, errOutOfMemory
	}
	return out, nil
}

// follow brings the engine to c's partials, and t into the engine.
func (e *engine) follow(c *content, t *template) error {
	if e.content != c {
		if err := e.forget(c); err != nil {
			return err
		}
		e.content = c
	}
	if e.partials != c.partialsVersion {
		if err := e.setPartials(c.partials); err != nil {
			return err
		}
		e.partials = c.partialsVersion
	}
	if e.compiled[t.id] {
		return nil
	}
	return e.compile(t.id, t.parts())
}

// forget drops compiled templates that c doesn't have.
func (e *engine) forget(c *content) error {
	live := make(map[uint64]bool, len(c.templates))
	for _, t := range c.templates {
		live[t.id] = true
	}
	gone := []uint64{}
	for id := range e.compiled {
		if !live[id] {
			gone = append(gone, id)
			delete(e.compiled, id)
		}
	}
	if len(gone) == 0 {
		return nil
	}
	return e.send("forget", gone)
}

func (e *engine) setPartials(partials map[string]map[string]string) error {
	return e.send("partials", partials)
}

func (e *engine) compile(id uint64, parts []part) error {
	e.compiled[id] = true
	if parts == nil {
		parts = []part{}
	}
	return e.send("compile", struct {
		ID    uint64 `json:"id"`
		Parts []part `json:"parts"`
	}{id, parts})
}

func (e *engine) send(function string, request any) error {
	text, err := json.Marshal(request)
	if err != nil {
		return fmt.Errorf("encode request: %w", err)
	}
	_, err = e.call(function, string(text))
	return err
}

func (e *engine) call(function, request string) (string, error) {
	answer, err := e.calls[function].Call(quickjs.UndefinedValue, request)
	if err != nil {
		return "", stopReason(err)
	}
	text, ok := answer.(string)
	if !ok {
		return "", fmt.Errorf("engine answered a %T", answer)
	}
	return text, nil
}

// stopReason tells why the engine left a call: the only errors that get past
// the glue are the engine's own. They have no other mark than their text, and
// where even the error found no memory there is none.
func stopReason(err error) error {
	var e *quickjs.Error
	switch {
	case !errors.As(err, &e):
		return err
	case e.Name == "InternalError" && e.Message == "interrupted":
		return errInterrupted
	case e.Name == "InternalError" && e.Message == "out of memory", e.Name == "" && e.Message == "":
		return errOutOfMemory
	}
	return err
}
