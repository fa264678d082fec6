package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// skewVariable tells a worker how wrong its clock is, in seconds.
const skewVariable = "CRASH_SKEW"

// patch is a change of one source file, by exact text: where a text is not found
// exactly once, the file is no longer what the patch was written for, and nothing
// is built.
type patch struct {
	file    string // from the module's root, or from Go's where it begins with src/
	changes []change
	added   string // at the end of the file
}

// change has a text in place of another.
type change struct{ old, text string }

// apply returns the patched text.
func (p patch) apply(text string) (string, error) {
	for _, c := range p.changes {
		if n := strings.Count(text, c.old); n != 1 {
			return "", fmt.Errorf("patch %s: the text to replace is there %d times, not once: %q", p.file, n, c.old)
		}
		text = strings.Replace(text, c.old, c.text, 1)
	}
	return text + p.added, nil
}

// build builds the workers' program, patched, in dir, and returns its path.
func build(ctx context.Context, dir string, patches []patch) (string, error) {
	root, std, err := roots(ctx)
	if err != nil {
		return "", err
	}
	overlay, err := lay(dir, root, std, patches)
	if err != nil {
		return "", err
	}
	binary := filepath.Join(dir, "postrider")
	command := exec.CommandContext(ctx, "go", "build", "-trimpath", "-overlay", overlay, "-o", binary, "./cmd/postrider") //nolint:gosec // our own program, in our own folder
	command.Dir = root
	command.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := command.CombinedOutput(); err != nil {
		return "", fmt.Errorf("build the workers' program: %w\n%s", err, out)
	}
	return binary, nil
}

// roots returns the folders of the module and of Go.
func roots(ctx context.Context) (module, std string, err error) {
	out, err := exec.CommandContext(ctx, "go", "env", "GOMOD", "GOROOT").Output()
	if err != nil {
		return "", "", fmt.Errorf("ask go where it is: %w", err)
	}
	lines := strings.Split(string(bytes.TrimSpace(out)), "\n")
	if len(lines) != 2 || filepath.Base(lines[0]) != "go.mod" {
		return "", "", errors.New("this is to be run in the module's folder")
	}
	return filepath.Dir(lines[0]), lines[1], nil
}

// lay writes the patched files to dir, and returns the path of the file that has
// go build take them.
func lay(dir, root, std string, patches []patch) (string, error) {
	replace := map[string]string{}
	for i, p := range patches {
		path := filepath.Join(root, p.file)
		if strings.HasPrefix(p.file, "src/") {
			path = filepath.Join(std, p.file)
		}
		text, err := os.ReadFile(path)
		if err != nil {
			return "", fmt.Errorf("read what is to be patched: %w", err)
		}
		patched, err := p.apply(string(text))
		if err != nil {
			return "", err
		}
		copied := filepath.Join(dir, fmt.Sprintf("patched%d.go", i))
		if err := os.WriteFile(copied, []byte(patched), 0o600); err != nil { //nolint:gosec // in a folder of our own
			return "", fmt.Errorf("write a patched file: %w", err)
		}
		replace[path] = copied
	}
	text, err := json.Marshal(map[string]any{"Replace": replace})
	if err != nil {
		return "", err
	}
	name := filepath.Join(dir, "overlay.json")
	return name, os.WriteFile(name, text, 0o600)
}
