package main

import (
	"context"
	"errors"
	"maps"
	"strings"
	"sync"

	"postrider/delivery"
	"postrider/delivery/queue"
	"postrider/delivery/render"
)

// templates renders from the templates collection as the stream has told it. A
// mail may come sooner than the stream's news of its template: one that seems to
// be missing is looked up before its mail fails.
type templates struct {
	*render.Templates
	queue *queue.Queue

	mu   sync.Mutex
	docs map[string]delivery.Fields // the content; never changed once it is set
}

// Replace takes the whole content of the collection.
func (t *templates) Replace(docs map[string]delivery.Fields) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.docs = docs
	t.Templates.Replace(docs)
}

// Render is render.Templates', with that look-up.
func (t *templates) Render(ctx context.Context, name string, data delivery.Fields) (render.Rendered, error) {
	r, err := t.Templates.Render(ctx, name, data)
	if !errors.Is(err, render.ErrMissing) || strings.Contains(name, "/") {
		return r, err
	}
	doc, found, readErr := t.queue.Template(ctx, name)
	if readErr != nil || !found {
		return r, err
	}
	t.add(name, doc)
	return t.Templates.Render(ctx, name, data)
}

func (t *templates) add(id string, doc delivery.Fields) {
	t.mu.Lock()
	defer t.mu.Unlock()
	docs := maps.Clone(t.docs)
	docs[id] = doc
	t.docs = docs
	t.Templates.Replace(docs)
}
