package main

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"postrider/delivery/queue/emulator"
)

func TestCommandsExitCodeIsPassedOn(t *testing.T) {
	for want, script := range map[int]string{0: "exit 0", 1: "exit 1", 7: "exit 7"} {
		if got, err := execute(t.Context(), []string{"sh", "-c", script}, os.Environ()); got != want || err != nil {
			t.Errorf("%s: got %d, %v", script, got, err)
		}
	}
	if got, err := execute(t.Context(), []string{"no-such-command-here"}, nil); got != exitFailed || err == nil {
		t.Errorf("a command that is not there: got %d, %v", got, err)
	}
}

func TestCommandSeesTheEnvironment(t *testing.T) {
	t.Setenv("PATH", "/bin:/usr/bin")
	env := environment([]string{"A=b"})
	if !slices.Contains(env, "A=b") || !slices.Contains(env, "PATH=/bin:/usr/bin:/usr/local/sbin:/usr/sbin:/sbin") {
		t.Errorf("got %v", env)
	}
}

func TestASignalEndsTheCommand(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	ready := filepath.Join(t.TempDir(), "ready")
	done := make(chan int)
	go func() {
		code, _ := execute(ctx, []string{"sh", "-c", "trap 'exit 9' TERM; : > " + ready + "; while :; do sleep 0.05; done"}, os.Environ())
		done <- code
	}()
	for {
		if _, err := os.Stat(ready); err == nil {
			break
		}
	}
	cancel()
	if code := <-done; code != 9 {
		t.Errorf("got exit code %d, want that of the trap", code)
	}
}

func TestMissingPiecesAreInstalledOrNamed(t *testing.T) {
	there := map[string]bool{"here": true}
	lookup := func(name string) func(context.Context) error {
		return func(context.Context) error {
			if there[name] {
				return nil
			}
			return errors.New("no " + name)
		}
	}
	all := []piece{{name: "here", find: lookup("here")}, {name: "to be had", find: lookup("to be had")}, {name: "not to be had", find: lookup("not to be had")}}
	var installed []string
	brings := func(_ context.Context, p piece) error {
		installed = append(installed, p.name)
		if p.name == "not to be had" {
			return errors.New("unable to locate package")
		}
		there[p.name] = true
		return nil
	}
	var log strings.Builder
	refuses := func(context.Context, piece) error { return errors.New("only root may") }
	if got := provide(t.Context(), all, refuses, &log); len(got) != 2 {
		t.Errorf("where nothing can be installed: %v", got)
	}
	got := provide(t.Context(), all, brings, &log)
	if len(got) != 1 || got[0].Error() != "no not to be had" {
		t.Errorf("got %v", got)
	}
	if !slices.Equal(installed, []string{"to be had", "not to be had"}) {
		t.Errorf("installed %v", installed)
	}
	if !strings.Contains(log.String(), "unable to locate package") {
		t.Errorf("the log does not say why: %s", log.String())
	}
}

// A piece that no package brings is brought by its command, if that is there.
func TestPieceComesByItsCommandWhereNoPackageHasIt(t *testing.T) {
	brought := filepath.Join(t.TempDir(), "brought")
	none := func(context.Context, piece) error { return errors.New("unable to locate package") }
	if err := orByCommand(none)(t.Context(), piece{command: []string{"touch", brought}}); err != nil {
		t.Error(err)
	}
	if _, err := os.Stat(brought); err != nil {
		t.Error(err)
	}
	for _, p := range []piece{{}, {command: []string{"false"}}, {command: []string{"no-such-command"}}} {
		if err := orByCommand(none)(t.Context(), p); err == nil {
			t.Errorf("%v was installed", p.command)
		}
	}
}

func TestEmulatorIsNoPieceWhereOneRuns(t *testing.T) {
	names := func(host string) (out []string) {
		for _, p := range pieces(func(string) string { return host }) {
			out = append(out, p.name)
		}
		return out
	}
	if got := names("127.0.0.1:1"); slices.Contains(got, "emulator") {
		t.Errorf("got %v", got)
	}
	if got := names(""); !slices.Contains(got, "emulator") || !slices.Contains(got, "java") {
		t.Errorf("got %v", got)
	}
}

func TestEachPieceOfTheEmulatorIsToldApart(t *testing.T) {
	java := &emulator.MissingError{Piece: emulator.Java}
	both := errors.Join(java, &emulator.MissingError{Piece: emulator.Jar})
	for name, tt := range map[string]struct {
		err       error
		java, jar bool
	}{
		"nothing is missing": {nil, false, false},
		"java alone":         {errors.Join(java), true, false},
		"both":               {both, true, true},
		"something else":     {errors.New("x"), false, false},
	} {
		if got := onlyPiece(tt.err, emulator.Java) != nil; got != tt.java {
			t.Errorf("%s: java missing: %v", name, got)
		}
		if got := onlyPiece(tt.err, emulator.Jar) != nil; got != tt.jar {
			t.Errorf("%s: emulator missing: %v", name, got)
		}
	}
}

func TestReportsArePrinted(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "corpus.txt"), []byte("corpus: 1 match\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	var out strings.Builder
	if err := printReports(&out, dir); err != nil || out.String() != "\ncorpus: 1 match\n" {
		t.Errorf("got %q, %v", out.String(), err)
	}
}
