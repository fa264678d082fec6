package config

import (
	"strings"
	"testing"
	"unicode/utf8"
)

func TestTheTableIsWhole(t *testing.T) {
	seen, groups, last := map[string]bool{}, map[string]bool{}, ""
	for _, v := range Table() {
		if v.Name == "" || v.Group == "" || !strings.HasSuffix(v.Meaning, ".") {
			t.Errorf("%+v lacks something", v)
		}
		if seen[v.Name] {
			t.Errorf("%s is there twice", v.Name)
		}
		if v.Group != last && groups[v.Group] {
			t.Errorf("%s is not beside its group", v.Name)
		}
		if v.Secret && v.Default != "" {
			t.Errorf("%s is secret and has a default", v.Name)
		}
		seen[v.Name], groups[v.Group], last = true, true, v.Group
	}
}

func TestUsageAndMarkdownShowEveryVariable(t *testing.T) {
	var b strings.Builder
	if err := Usage(&b); err != nil {
		t.Fatal(err)
	}
	usage, markdown := b.String(), Markdown()
	for _, v := range Table() {
		head := "\n  " + v.Name + "\n"
		row := "| `" + v.Name + "` |  | "
		if v.Default != "" {
			head = "\n  " + v.Name + "=" + v.Default + "\n"
			row = "| `" + v.Name + "` | `" + v.Default + "` | "
		}
		if !strings.Contains(usage, head) {
			t.Errorf("usage lacks %q", head)
		}
		if !strings.Contains(markdown, row) {
			t.Errorf("markdown lacks %q", row)
		}
	}
	for line := range strings.Lines(usage) {
		if utf8.RuneCountInString(strings.TrimSuffix(line, "\n")) > 80 {
			t.Errorf("too wide: %s", line)
		}
	}
}
