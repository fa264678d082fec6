package main

import (
	"os"
	"strings"
	"testing"
)

func TestAPatchIsAppliedOnceOrNotAtAll(t *testing.T) {
	for name, c := range map[string]struct {
		text, want string
		fails      bool
	}{
		"the text is there":     {"a old b", "a new b!", false},
		"the text is not there": {"a b", "", true},
		"it is there twice":     {"old old", "", true},
	} {
		got, err := patch{file: "f.go", changes: []change{{"old", "new"}}, added: "!"}.apply(c.text)
		if got != c.want || (err != nil) != c.fails {
			t.Errorf("%s: got %q, %v", name, got, err)
		}
	}
}

// What the mutations take out is in the program as it is.
func TestEveryPatchFitsTheProgram(t *testing.T) {
	root, std, err := roots(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range append(mutations(), mutation{name: "clocks", patches: []patch{skewed()}}) {
		overlay, err := lay(t.TempDir(), root, std, m.patches)
		if err != nil {
			t.Errorf("%s: %v", m.name, err)
			continue
		}
		if text, err := os.ReadFile(overlay); err != nil || !strings.Contains(string(text), m.patches[0].file) {
			t.Errorf("%s: overlay %s, %v", m.name, text, err)
		}
	}
}

func TestEveryMutationHasAPlan(t *testing.T) {
	for _, m := range mutations() {
		if p, err := planFor(m.name); err != nil || p.docs == 0 || len(m.noticed) == 0 {
			t.Errorf("%s: %+v, %v", m.name, p, err)
		}
	}
	if _, err := planFor("nonsense"); err == nil {
		t.Error("there is a plan for what is no mutation")
	}
}
