package main_test

import (
	"bytes"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

const (
	module      = "postrider/"
	firestore   = "cloud.google.com/go/firestore"
	maxFile     = 399 // lines
	maxFunction = 44  // lines
)

// arrows says what of ours a package may import. A package that is not here
// needs a place in it; "*" stands for everything but other commands.
var arrows = map[string][]string{
	"delivery":                  {},
	"delivery/compose":          {"delivery", "delivery/render"},
	"delivery/render":           {"delivery"},
	"delivery/queue":            {"delivery"},
	"delivery/queue/emulator":   {},
	"delivery/firestored":       {"delivery/firestored/query"},
	"delivery/firestored/query": {},
	"delivery/deliverytest":     {"delivery"},
	"delivery/bulk":             {"delivery"},
	"delivery/receipt":          {},
	"smtp":                      {},
	"smtp/smtptest":             {"smtp"},
	"config":                    {"delivery", "smtp"},
	"worker":                    {"delivery", "smtp"},
	"worker/retry":              {"delivery", "delivery/bulk"},
	"worker/web":                {"delivery"},
	"worker/web/access":         {},
	"worker/web/api":            {"delivery", "delivery/bulk", "delivery/receipt", "worker/web/access"},
	"cmd/postrider":             {"*", "cmd/postrider/inbox"},
	"cmd/postrider/inbox":       {},
	"cmd/postrider/corpus":      {},
	"cmd/testenv":               {"delivery/queue/emulator"},
	"cmd/bench":                 {"delivery/firestored", "delivery/queue/emulator", "smtp", "smtp/smtptest"},
	"cmd/crash":                 {"delivery/firestored", "smtp/smtptest"},
}

// testOnly may be imported by tests, whatever their package.
var testOnly = []string{"delivery/deliverytest", "delivery/firestored", "delivery/queue/emulator", "smtp/smtptest"}

var skipping = regexp.MustCompile(`\.Skip(f|Now)?\(`)

// source is one parsed file of the module.
type source struct {
	path string // from the module's root
	dir  string
	test bool
	text []byte
	file *ast.File
	set  *token.FileSet
}

func (s source) at(n ast.Node) string {
	return s.path + ":" + strconv.Itoa(s.set.Position(n.Pos()).Line)
}

// sources parses every Go file of the module. The files are read here, and not
// through `go list`, so that the test's result is never one from the cache.
func sources(t *testing.T) []source {
	t.Helper()
	root := os.DirFS("../..")
	var all []source
	err := fs.WalkDir(root, ".", func(p string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() && p != "." && (strings.HasPrefix(d.Name(), ".") || d.Name() == "testdata") {
			return fs.SkipDir
		}
		if d.IsDir() || path.Ext(p) != ".go" {
			return nil
		}
		text, err := fs.ReadFile(root, p)
		if err != nil {
			return err
		}
		set := token.NewFileSet()
		file, err := parser.ParseFile(set, p, text, parser.ParseComments|parser.SkipObjectResolution)
		if err != nil {
			return err
		}
		all = append(all, source{path: p, dir: path.Dir(p), test: strings.HasSuffix(p, "_test.go"), text: text, file: file, set: set})
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if len(all) < 10 {
		t.Fatalf("only %d files were found", len(all))
	}
	return all
}

func (s source) imports() []string {
	var out []string
	for _, i := range s.file.Imports {
		if p, err := strconv.Unquote(i.Path.Value); err == nil {
			out = append(out, p)
		}
	}
	return out
}

func TestImportsFollowTheArrows(t *testing.T) {
	for _, s := range sources(t) {
		allowed, known := arrows[s.dir]
		if !known {
			t.Errorf("%s: give %s a place in the table of arrows", s.path, s.dir)
			continue
		}
		for _, p := range s.imports() {
			if ours, ok := strings.CutPrefix(p, module); ok && !mayImport(s, allowed, ours) {
				t.Errorf("%s imports %s: against the arrows", s.path, ours)
			}
			if strings.HasPrefix(p, firestore) && !s.test && !knowsFirestore(s.dir, p) {
				t.Errorf("%s imports the Firestore SDK: only delivery/queue knows it, and cmd/bench", s.path)
			}
		}
	}
}

// knowsFirestore reports whether a package may import one of the SDK's: the queue
// every one, and who measures what it does with them, the server and who calls it
// directly the messages of the protocol.
func knowsFirestore(dir, imported string) bool {
	return dir == "delivery/queue" || dir == "cmd/bench" ||
		(strings.HasPrefix(dir, "delivery/firestored") || dir == "cmd/crash") && imported == firestore+"/apiv1/firestorepb"
}

func mayImport(s source, allowed []string, ours string) bool {
	if slices.Contains(allowed, ours) {
		return true
	}
	if s.test && (ours == s.dir || slices.Contains(testOnly, ours)) {
		return true
	}
	support := strings.HasSuffix(ours, "test")
	return slices.Contains(allowed, "*") && !strings.HasPrefix(ours, "cmd/") && !support
}

func TestPackagesAreNamedAndDescribed(t *testing.T) {
	described := map[string]bool{}
	for _, s := range sources(t) {
		if s.test {
			continue
		}
		described[s.dir] = described[s.dir] || s.file.Doc != nil
		switch path.Base(s.dir) {
		case "util", "utils", "common", "types", "models", "helpers", "misc":
			t.Errorf("%s: a package is named for its subject", s.dir)
		}
	}
	for dir, ok := range described {
		if !ok {
			t.Errorf("%s has no package comment", dir)
		}
	}
}

func TestFilesAndFunctionsAreShort(t *testing.T) {
	for _, s := range sources(t) {
		if s.test {
			continue
		}
		if n := bytes.Count(s.text, []byte("\n")); n > maxFile {
			t.Errorf("%s has %d lines, more than %d", s.path, n, maxFile)
		}
		for _, d := range s.file.Decls {
			f, ok := d.(*ast.FuncDecl)
			if !ok {
				continue
			}
			if n := s.set.Position(f.End()).Line - s.set.Position(f.Pos()).Line + 1; n > maxFunction {
				t.Errorf("%s: %s has %d lines, more than %d", s.at(f), f.Name.Name, n, maxFunction)
			}
		}
	}
}

// Outside of tests nothing sleeps, panics or runs before main. In tests only
// the faked clock of testing/synctest is slept on.
func TestNothingSleepsPanicsOrRunsBeforeMain(t *testing.T) {
	for _, s := range sources(t) {
		bubble := slices.Contains(s.imports(), "testing/synctest")
		ast.Inspect(s.file, func(n ast.Node) bool {
			switch n := n.(type) {
			case *ast.FuncDecl:
				if n.Recv == nil && n.Name.Name == "init" {
					t.Errorf("%s: init: wiring is done in main", s.at(n))
				}
			case *ast.CallExpr:
				if isCall(n, "time", "Sleep") && (!s.test || !bubble) {
					t.Errorf("%s: time.Sleep: wait for what is awaited", s.at(n))
				}
				if f, ok := n.Fun.(*ast.Ident); ok && f.Name == "panic" && !s.test {
					t.Errorf("%s: panic: return an error", s.at(n))
				}
				if isCall(n, "os", "Exit") && !s.test && !strings.HasSuffix(s.path, "/main.go") {
					t.Errorf("%s: os.Exit: only main exits", s.at(n))
				}
			}
			return true
		})
	}
}

func isCall(c *ast.CallExpr, pkg, name string) bool {
	f, ok := c.Fun.(*ast.SelectorExpr)
	if !ok || f.Sel.Name != name {
		return false
	}
	x, ok := f.X.(*ast.Ident)
	return ok && x.Name == pkg
}

// A test that can be skipped for want of something must fail for it where CI is
// true, or nobody would notice that it is never run.
func TestSkippingTestsKnowOfCI(t *testing.T) {
	for _, s := range sources(t) {
		if !s.test {
			continue
		}
		for _, d := range s.file.Decls {
			f, ok := d.(*ast.FuncDecl)
			if !ok || f.Body == nil {
				continue
			}
			body := string(s.text[s.set.Position(f.Body.Pos()).Offset:s.set.Position(f.Body.End()).Offset])
			skips := skipping.MatchString(body)
			excused := strings.Contains(body, `"CI"`) || strings.Contains(body, "// Skipped for good: ")
			if skips && !excused {
				t.Errorf("%s: %s skips and does not look at CI", s.at(f), f.Name.Name)
			}
		}
	}
}

// Paths of the machine something was written on mean nothing elsewhere.
func TestNoFileNamesAMachine(t *testing.T) {
	for _, s := range sources(t) {
		for _, p := range []string{"/wo" + "rk/", "/tmp/" + "ref", "/ro" + "ot/"} {
			if i := bytes.Index(s.text, []byte(p)); i >= 0 {
				t.Errorf("%s:%d names a path of one machine", filepath.ToSlash(s.path), 1+bytes.Count(s.text[:i], []byte("\n")))
			}
		}
	}
}
