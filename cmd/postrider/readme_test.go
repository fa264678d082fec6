package main

import (
	"flag"
	"os"
	"strings"
	"testing"

	"postrider/config"
)

var update = flag.Bool("update", false, "rewrite what tests compare with")

// The README's table of settings is the program's.
func TestREADMEHasTheTableOfSettings(t *testing.T) {
	const path, end = "../../README.md", "<!-- end of settings -->"
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	before, rest, ok1 := strings.Cut(string(b), "<!-- settings:")
	comment, rest, ok2 := strings.Cut(rest, "-->\n")
	table, after, ok3 := strings.Cut(rest, end)
	if !ok1 || !ok2 || !ok3 {
		t.Fatal("the README does not mark where the table of settings is")
	}
	want := "\n" + config.Markdown()
	if *update {
		text := before + "<!-- settings:" + comment + "-->\n" + want + end + after
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	if table != want {
		t.Error("the README's table of settings is not the program's: run go test ./cmd/postrider -run README -update")
	}
}

func TestHelpPrintsEverySetting(t *testing.T) {
	var out strings.Builder
	p := program{lookup: func(string) (string, bool) { return "", false }, out: &out, err: &out}
	if code := p.main(t.Context(), []string{"run", "--help"}); code != exitDone {
		t.Errorf("exit %d", code)
	}
	for _, v := range config.Table() {
		if !strings.Contains(out.String(), v.Name) {
			t.Errorf("%s is missing", v.Name)
		}
	}
}
