package main

import (
	"os"
	"strings"
	"testing"
)

// The test binary plays the helpers.
func TestMain(m *testing.M) {
	if role := os.Getenv(roleVariable); role != "" {
		main()
	}
	os.Exit(m.Run())
}

// A run in small, of which only the figures that do not depend on the machine are
// judged. It is not compared with nodemailer: no test needs npm's registry.
func TestEverythingIsMeasured(t *testing.T) {
	var out, log strings.Builder
	if code := (program{out: &out, err: &log}).main(t.Context(), []string{"-quick", "-seed", "7"}); code != exitDone {
		t.Fatalf("exit code %d\n%s\n%s", code, out.String(), log.String())
	}
	for _, want := range []string{
		"seed 7",
		"200 documents, listen, in-process server, from the process's start",
		"go-mail", "push, in-process server: writes of the mail's document", "after 2000 mails, to that after 500", "at most, 200 documents, listen",
		"listen: document added → SUCCESS visible, p99 of 10", "first 200 of /readyz", "size of the program",
	} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("nothing is said of %q", want)
		}
	}
	var numbers string
	for line := range strings.Lines(out.String()) {
		if len(line) > 2 && line[1:3] == ". " {
			numbers += line[:1]
		}
		name, rest, _ := strings.Cut(line, ": ")
		switch {
		case strings.HasPrefix(rest, "NOT MEASURED") && os.Getenv("CI") != "":
			t.Errorf("in CI nothing may be missing: %s", line)
		case strings.HasPrefix(rest, "writes of the mail's document") && !strings.HasSuffix(line, " ok\n"):
			t.Errorf("%s: %s", name, line)
		}
	}
	if numbers != "1234567" {
		t.Errorf("the sections are %s", numbers)
	}
	if t.Failed() {
		t.Log(out.String())
	}
}

func TestUsage(t *testing.T) {
	for name, c := range map[string]struct {
		args []string
		code int
	}{
		"help":            {[]string{"-h"}, exitDone},
		"no such flag":    {[]string{"-nonsense"}, exitUsage},
		"no flag":         {[]string{"nonsense"}, exitUsage},
		"no such section": {[]string{"-only", "drain,nonsense"}, exitUsage},
	} {
		var out strings.Builder
		if got := (program{out: &out, err: &out}).main(t.Context(), c.args); got != c.code || out.Len() == 0 {
			t.Errorf("%s: exit code %d, %s", name, got, out.String())
		}
	}
}

func TestOnlyPicksSectionsInTheirOrder(t *testing.T) {
	var out strings.Builder
	plan, err := program{err: &out}.parse([]string{"-only", "start,smtp", "-quick"})
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, s := range plan.sections {
		names = append(names, s.name)
	}
	if got := strings.Join(names, ","); got != "smtp,start" || !plan.quick || plan.seed == 0 {
		t.Errorf("%s, quick %v, seed %d", got, plan.quick, plan.seed)
	}
}
