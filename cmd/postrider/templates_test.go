package main

import (
	"errors"
	"testing"

	"github.com/rs/zerolog"

	"postrider/config"
	"postrider/delivery"
	"postrider/delivery/render"
)

// A template that the stream has not told of yet is found all the same.
func TestTemplateIsLookedUpBeforeItsMailFails(t *testing.T) {
	project := newProject()
	c := config.Config{Project: project, EmulatorHost: emulatorHost(t), MailCollection: "mail", TemplatesCollection: "templates"}
	q, err := openQueue(t.Context(), c, zerolog.Nop())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = q.Close() }()
	renderer, err := render.New(render.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer renderer.Close()
	known := &templates{Templates: renderer, queue: q}
	known.Replace(map[string]delivery.Fields{"old": {"text": "old"}})
	if _, err := sdk(t, project).Collection("templates").Doc("new").Set(t.Context(), map[string]any{"text": "Dear {{name}}"}); err != nil {
		t.Fatal(err)
	}
	r, err := known.Render(t.Context(), "new", delivery.Fields{"name": "Ada"})
	if err != nil || *r.Text != "Dear Ada" {
		t.Errorf("%+v, %v", r, err)
	}
	if r, err := known.Render(t.Context(), "old", nil); err != nil || *r.Text != "old" {
		t.Errorf("%+v, %v", r, err)
	}
	for _, name := range []string{"none", "a/b", "__x__", ".."} {
		if _, err := known.Render(t.Context(), name, nil); !errors.Is(err, render.ErrMissing) {
			t.Errorf("%s: %v", name, err)
		}
	}
}
