package firestored_test

import (
	"bufio"
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
)

// nodePatience is how long Node's checks may take together, and how long
// fetching the client may.
const nodePatience = 3 * time.Minute

// Google's client for Node works with our server: testdata/node/check.js says
// what it checks.
func TestNodeClient(t *testing.T) {
	modules := nodeModules(t)
	l, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server := start(t, l)
	ctx, stop := context.WithTimeout(t.Context(), nodePatience)
	defer stop()
	cmd := exec.CommandContext(ctx, "node", "check.js")
	cmd.Dir = filepath.Join("testdata", "node")
	cmd.Env = append(os.Environ(), "NODE_PATH="+modules, "PROJECT=node", "FIRESTORE_EMULATOR_HOST="+l.Addr().String(), "METADATA_SERVER_DETECTION=none")
	cmd.Stderr = t.Output()
	answers, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	lines, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	checks := 0
	for scan := bufio.NewScanner(lines); scan.Scan(); {
		var line struct{ Check, Error, Ask string }
		if err := json.Unmarshal(scan.Bytes(), &line); err != nil {
			t.Errorf("node printed %q", scan.Text())
			continue
		}
		if line.Ask != "" {
			e := &env{server: server}
			if line.Ask == "cut and expire" {
				server.ExpireTokens()
			}
			e.cut(codes.Unavailable)
			_, _ = io.WriteString(answers, "done\n")
			continue
		}
		checks++
		t.Run(line.Check, func(t *testing.T) {
			if line.Error != "" {
				t.Error(line.Error)
			}
		})
	}
	if err := cmd.Wait(); err != nil {
		t.Errorf("node: %v", err)
	}
	if checks < 20 {
		t.Errorf("node made only %d checks", checks)
	}
}

// nodeModules returns a folder with the packages that the lock file names. They
// are fetched once, into the user's cache.
func nodeModules(t *testing.T) string {
	t.Helper()
	dir, err := fetchModules(t.Context(), filepath.Join("testdata", "node"))
	if err == nil {
		return dir
	}
	if os.Getenv("CI") == "true" {
		t.Fatalf("Google's client for Node is not to be had, and CI is true: %v", err)
	}
	t.Skipf("SKIPPED: Google's client for Node is not to be had: %v", err)
	return ""
}

// fetchModules installs what the package in from depends on, unless the cache
// has it already.
func fetchModules(ctx context.Context, from string) (string, error) {
	for _, tool := range []string{"node", "npm"} {
		if _, err := exec.LookPath(tool); err != nil {
			return "", fmt.Errorf("look for %s: %w", tool, err)
		}
	}
	lock, err := os.ReadFile(filepath.Join(from, "package-lock.json"))
	if err != nil {
		return "", err
	}
	cache, err := os.UserCacheDir()
	if err != nil {
		return "", err
	}
	cache = filepath.Join(cache, "postrider")
	final := filepath.Join(cache, fmt.Sprintf("node-%x", sha256.Sum256(lock))[:17])
	modules := filepath.Join(final, "node_modules")
	if _, err := os.Stat(modules); err == nil {
		return modules, nil
	}
	if err := os.MkdirAll(cache, 0o755); err != nil {
		return "", err
	}
	// Installed aside and renamed: what is there under its name is complete.
	dir, err := os.MkdirTemp(cache, "fetching-")
	if err != nil {
		return "", err
	}
	defer func() { _ = os.RemoveAll(dir) }()
	if err := install(ctx, from, dir); err != nil {
		return "", err
	}
	if err := os.Rename(dir, final); err != nil && !errors.Is(err, os.ErrExist) {
		return "", err
	}
	return modules, nil
}

func install(ctx context.Context, from, dir string) error {
	for _, name := range []string{"package.json", "package-lock.json"} {
		content, err := os.ReadFile(filepath.Join(from, name))
		if err != nil {
			return err
		}
		if err := os.WriteFile(filepath.Join(dir, name), content, 0o644); err != nil {
			return err
		}
	}
	ctx, stop := context.WithTimeout(ctx, nodePatience)
	defer stop()
	cmd := exec.CommandContext(ctx, "npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund")
	cmd.Dir = dir
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("npm ci: %w\n%s", err, out)
	}
	return nil
}
