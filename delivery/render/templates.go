package render

import (
	"context"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"postrider/delivery"
)

const (
	defaultTimeout  = 5 * time.Second
	maxInstances    = 4        // by default; each engine takes about 10 MB once it has compiled something
	maxMemoryBytes  = 96 << 20 // per engine, Handlebars and all compiled templates included
	maxOutputLength = 8 << 20  // UTF-16 code units, all fields of one template together
)

// Options bounds the rendering. The zero value will do.
type Options struct {
	// Instances is how many JavaScript engines there are at most, and so how
	// many templates are rendered at once. They are made when first needed. 0
	// means one for each CPU, but no more than four.
	Instances int

	// Timeout is how long one Render may keep an engine busy, compiling
	// included. 0 means five seconds.
	Timeout time.Duration
}

// Templates holds the templates collection's content and renders from it. It
// is safe for concurrent use. Close it after the last Render.
type Templates struct {
	pool    *pool
	timeout time.Duration

	content atomic.Pointer[content] // nil until the first Replace
	ready   chan struct{}           // closed by the first Replace
	mu      sync.Mutex              // held by Replace, so that contents follow each other
}

// Rendered is what a template made of the data. A nil pointer is a field that
// the template does not have; an empty string is one that rendered to nothing.
type Rendered struct {
	Subject, HTML, Text, AMP *string

	// Attachments is the parsed attachments field: numbers as int64 where they
	// are whole, else float64; maps as delivery.Fields. Nil if the template has
	// none; empty but not nil if it has an empty list, which still takes the
	// place of the message's own. One attachment instead of a list is taken as a
	// list of one.
	Attachments []any
}

// New returns Templates without any content: Render waits for the first
// Replace. It starts no engine and costs next to nothing. The error is about
// the options.
func New(o Options) (*Templates, error) {
	if o.Instances < 0 || o.Timeout < 0 {
		return nil, errBadOptions
	}
	if o.Instances == 0 {
		o.Instances = min(runtime.NumCPU(), maxInstances)
	}
	if o.Timeout == 0 {
		o.Timeout = defaultTimeout
	}
	return &Templates{
		pool:    newPool(o.Instances, limits{timeout: o.Timeout, memory: maxMemoryBytes, output: maxOutputLength}),
		timeout: o.Timeout,
		ready:   make(chan struct{}),
	}, nil
}

// Replace makes docs, by document ID, the whole content of the templates
// collection. Documents that are no longer there are forgotten; those that did
// not change keep what has been compiled of them. Nothing is compiled here, and
// nothing of docs is kept, so the caller may go on using it. Renders in
// progress end with the content they began with.
func (t *Templates) Replace(docs map[string]delivery.Fields) {
	t.mu.Lock()
	defer t.mu.Unlock()
	before := t.content.Load()
	t.content.Store(before.replacedBy(docs))
	if before == nil {
		close(t.ready)
	}
}

// Close waits for the renders in progress and frees the engines. A Render that
// comes later fails.
func (t *Templates) Close() { t.pool.close() }

// Render renders the template called name with data; nil data is none at all,
// which Handlebars tells from an empty map. It waits for the first Replace and
// for a free engine, as long as ctx lives.
//
// Errors are *delivery.Failure of phase template. Message is what the extension
// would have written, to the letter where Handlebars or JSON.parse speak. Their
// class is permanent, but for a ctx that ended and a closed Templates.
func (t *Templates) Render(ctx context.Context, name string, data delivery.Fields) (Rendered, error) {
	select {
	case <-t.ready:
	case <-ctx.Done():
		return Rendered{}, notLoaded(name, ctx.Err())
	}
	c := t.content.Load()
	tpl, err := c.template(name)
	if err != nil {
		return Rendered{}, err
	}
	encoded, err := encodeData(name, data)
	if err != nil {
		return Rendered{}, err
	}
	out, err := t.run(ctx, c, tpl, encoded)
	if err != nil {
		return Rendered{}, t.stopped(ctx, name, err)
	}
	return finish(tpl, out)
}

// run renders tpl in one of the engines. An engine holds what it has compiled,
// so one that ran out of memory may have been filled by other templates: only
// where a new engine has too little as well is this template at fault.
func (t *Templates) run(ctx context.Context, c *content, tpl *template, data string) (output, error) {
	e, used, err := t.pool.acquire(ctx)
	if err != nil {
		return output{}, err
	}
	out, err := e.render(ctx, c, tpl, data)
	if used && isOutOfMemory(err) {
		e.close()
		if e, err = t.pool.newEngine(); err != nil {
			t.pool.release(nil)
			return output{}, err
		}
		out, err = e.render(ctx, c, tpl, data)
	}
	t.pool.release(e)
	return out, err
}

// finish makes the result of what came out of the engine. Attachments come
// first, as in the extension: where they and another field are both faulty,
// their error is the one told.
func finish(tpl *template, out output) (Rendered, error) {
	var r Rendered
	if text, ok := out.Fields[fieldAttachments]; ok {
		list, err := parseAttachments(tpl.name, text)
		if err != nil {
			return Rendered{}, err
		}
		r.Attachments = list
	}
	if out.Failed != "" {
		return Rendered{}, badField(tpl.name, out)
	}
	r.Subject = out.field(fieldSubject)
	r.HTML = out.field(fieldHTML)
	r.Text = out.field(fieldText)
	r.AMP = out.field(fieldAMP)
	return r, nil
}
