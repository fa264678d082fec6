package main

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"postrider/smtp/smtptest"
)

const (
	azureSubscription = "1c9b1ab4-6b1f-4e4c-9a3c-0a4d8f7f6a11"

	// azurePatience is how long one of Azure's clients may take, and how long
	// fetching them may.
	azurePatience = 3 * time.Minute
)

// azure is the program at work, with proxies before its API, by HTTP and with TLS
// ended as Cloud Run does, and Azure's published clients, unmodified.
type azure struct {
	*trial
	key           string // as in API_ACCESS_KEYS
	scripts       string // folder
	plain, secure *httptest.Server

	mu        sync.Mutex
	addresses []string // of the program's instances, the next one first
	seen      []exchange
	lose      int              // how many answers to POST are lost on their way
	watch     []func(exchange) // are told of each before it is answered
}

// exchange is a request that came by a proxy, and what was answered.
type exchange struct {
	method, uri, retryAfter string
	status                  int
	word                    string // the answer's own status; "" if it has none
}

// newAzure returns the proxies, before the program runs. The scripts are those of
// [azureScripts]; "" if only Go's clients are tried.
func newAzure(t *testing.T, scripts string) *azure {
	t.Helper()
	az := &azure{key: randomKey(), scripts: scripts}
	az.plain, az.secure = httptest.NewServer(az.proxy("http")), httptest.NewTLSServer(az.proxy("https"))
	t.Cleanup(az.plain.Close)
	t.Cleanup(az.secure.Close)
	t.Cleanup(func() {
		if t.Failed() {
			for _, e := range az.about("") {
				t.Logf("%+v", e)
			}
		}
	})
	return az
}

// start starts the program with an API. Of its two keys the second is used.
func (az *azure) start(t *testing.T, b smtptest.Behaviour, settings ...string) {
	t.Helper()
	az.trial = try(t, build(t), b, append([]string{
		"API_ACCESS_KEYS=" + randomKey() + "," + az.key, "API_SENDERS=sender.test", "API_RATE=none", "SWEEP_INTERVAL=1s",
	}, settings...)...)
	az.mu.Lock()
	defer az.mu.Unlock()
	az.addresses = []string{"127.0.0.1:" + az.port()}
}

// double starts a second instance of the program. Requests take turns.
func (az *azure) double(t *testing.T) {
	t.Helper()
	tr := az.as(t)
	tr.log, tr.ended = newOutput(`"message":"ready"`), make(chan struct{})
	tr.cmd = exec.Command(az.cmd.Path, "run")
	tr.cmd.Env = append(slices.DeleteFunc(slices.Clone(az.cmd.Env), func(v string) bool { return strings.HasPrefix(v, "PORT=") }), "PORT="+freePort(t))
	tr.cmd.Stdout, tr.cmd.Stderr = tr.log, tr.log
	if err := tr.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		_ = tr.cmd.Wait()
		close(tr.ended)
	}()
	t.Cleanup(tr.stop)
	select {
	case <-tr.log.seen:
	case <-tr.ended:
		t.Fatalf("the second instance ended with %v\n%s", tr.cmd.ProcessState, tr.log)
	}
	az.mu.Lock()
	defer az.mu.Unlock()
	az.addresses = append(az.addresses, "127.0.0.1:"+tr.port())
}

// as returns the trial in the name of a subtest, which is the one that fails.
func (az *azure) as(t *testing.T) *trial {
	tr := *az.trial
	tr.t = t
	return &tr
}

func randomKey() string {
	b := make([]byte, 32)
	_, _ = rand.Read(b)
	return base64.StdEncoding.EncodeToString(b)
}

// proxy passes requests on as Cloud Run does, with the Host that the client has
// signed, and writes down what it sees.
func (az *azure) proxy(scheme string) http.Handler {
	return &httputil.ReverseProxy{
		Rewrite: func(r *httputil.ProxyRequest) {
			az.mu.Lock()
			defer az.mu.Unlock()
			r.Out.URL.Scheme, r.Out.URL.Host = "http", az.addresses[0]
			az.addresses = append(az.addresses[1:], az.addresses[0])
			r.Out.Header.Set("X-Forwarded-Proto", scheme)
		},
		ModifyResponse: az.note,
		ErrorHandler:   func(http.ResponseWriter, *http.Request, error) { panic(http.ErrAbortHandler) }, // closes the connection
	}
}

// note writes an exchange down. The error says that its answer is to be lost.
func (az *azure) note(r *http.Response) error {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return err
	}
	r.Body = io.NopCloser(bytes.NewReader(body))
	var answer struct{ Status string }
	_ = json.Unmarshal(body, &answer) // or it is none
	az.mu.Lock()
	defer az.mu.Unlock()
	e := exchange{r.Request.Method, r.Request.URL.RequestURI(), r.Header.Get("Retry-After"), r.StatusCode, answer.Status}
	az.seen = append(az.seen, e)
	for _, watch := range az.watch {
		watch(e)
	}
	if az.lose > 0 && r.Request.Method == http.MethodPost {
		az.lose--
		return errors.New("lost on its way")
	}
	return nil
}

// paced checks that every answer about what goes on says when to ask again, in
// whole seconds, and none about what has ended.
func (az *azure) paced(t *testing.T) {
	t.Helper()
	ongoing := map[string]bool{
		"queued": true, "NotStarted": true, "Running": true, "notStarted": true, "running": true, "InProgress": true,
		"outForDelivery": false, "dropped": false, "Succeeded": false, "Failed": false, "succeeded": false, "failed": false,
	}
	for _, e := range az.about("") {
		if e.status != http.StatusOK || e.word == "" {
			continue
		}
		goesOn, known := ongoing[e.word]
		if seconds, err := strconv.Atoi(e.retryAfter); !known || goesOn != (err == nil && seconds >= 1) || !goesOn && e.retryAfter != "" {
			t.Errorf("%s is %s with Retry-After %q", e.uri, e.word, e.retryAfter)
		}
	}
}

// at has something done at the n-th exchange, from 1, whose URI has a word in it and
// whose answer has a status.
func (az *azure) at(n int, uri, word string, do func()) {
	az.mu.Lock()
	defer az.mu.Unlock()
	az.watch = append(az.watch, func(e exchange) {
		if strings.Contains(e.uri, uri) && e.word == word {
			if n--; n == 0 {
				do()
			}
		}
	})
}

// about returns the exchanges whose URI has a word in it.
func (az *azure) about(word string) []exchange {
	az.mu.Lock()
	defer az.mu.Unlock()
	return slices.DeleteFunc(slices.Clone(az.seen), func(e exchange) bool { return !strings.Contains(e.uri, word) })
}

// token returns a token with a scope, signed with the program's key.
func (az *azure) token(scope string) string {
	key, _ := base64.StdEncoding.DecodeString(az.key)
	claims, _ := json.Marshal(map[string]any{"sub": "tester", "scope": scope, "exp": time.Now().Add(time.Hour).Unix()})
	encode := base64.RawURLEncoding.EncodeToString
	text := encode([]byte(`{"alg":"HS256","typ":"JWT"}`)) + "." + encode(claims)
	mac := hmac.New(sha256.New, key)
	mac.Write([]byte(text))
	return text + "." + encode(mac.Sum(nil))
}

// outcome is what a script prints: what a client returned, or what it threw.
type outcome[T any] struct {
	Result T
	Error  *azureFault

	Sent     string   // by email-beta.mjs: the message's ID
	Statuses []string // by email-beta.mjs: in order, none twice in a row
	Location string   // by email.mjs: the operation's
}

// azureFault is an Error of JavaScript's; of a RestError it has all.
type azureFault struct {
	Name, Code, Message, Target string
	StatusCode                  int
}

// credentials are what a script signs with, if not with what is right.
type credentials struct{ key, token string }

// script runs one of testdata/azure's.
func script[T any](t *testing.T, az *azure, name string, input map[string]any, with ...credentials) outcome[T] {
	t.Helper()
	scope := map[string]string{"chat.mjs": "chat", "arm.mjs": "management"}[name]
	as := credentials{key: az.key, token: az.token(scope)}
	if len(with) > 0 {
		as = with[0]
	}
	text, err := json.Marshal(input)
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithTimeout(t.Context(), azurePatience)
	defer stop()
	cmd := exec.CommandContext(ctx, "node", filepath.Join(az.scripts, name))
	cmd.Env = append(os.Environ(),
		"INPUT="+string(text), "ENDPOINT="+az.plain.URL, "SECURE="+az.secure.URL, "SUBSCRIPTION="+azureSubscription,
		"KEY="+as.key, "TOKEN="+as.token, "NODE_EXTRA_CA_CERTS="+az.authority(t), "NO_PROXY=127.0.0.1",
	)
	var complaints bytes.Buffer
	cmd.Stderr = &complaints
	printed, err := cmd.Output()
	if err != nil {
		t.Fatalf("%s: %v\n%s", name, err, complaints.String())
	}
	var seen outcome[T]
	if err := json.Unmarshal(printed, &seen); err != nil {
		t.Fatalf("%s printed %q: %v", name, printed, err)
	}
	return seen
}

// authority returns a file with the certificate of the proxy with TLS.
func (az *azure) authority(t *testing.T) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "ca.pem")
	block := &pem.Block{Type: "CERTIFICATE", Bytes: az.secure.Certificate().Raw}
	if err := os.WriteFile(file, pem.EncodeToMemory(block), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

// azureScripts returns a folder with the scripts and, beside them, the packages
// that they import. Modules of JavaScript are looked for there and nowhere else.
func azureScripts(t *testing.T) string {
	t.Helper()
	from := filepath.Join("testdata", "azure")
	modules, err := azureModules(t.Context(), from)
	if err != nil && os.Getenv("CI") == "true" {
		t.Fatalf("Azure's clients for Node are not to be had, and CI is true: %v", err)
	}
	if err != nil {
		t.Skipf("SKIPPED: Azure's clients for Node are not to be had: %v", err)
	}
	dir := t.TempDir()
	if err := os.CopyFS(dir, os.DirFS(from)); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(modules, filepath.Join(dir, "node_modules")); err != nil {
		t.Fatal(err)
	}
	return dir
}

// azureModules installs the packages that the lock file names, once, in the
// user's cache.
func azureModules(ctx context.Context, from string) (string, error) {
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
	final := filepath.Join(cache, fmt.Sprintf("azure-%x", sha256.Sum256(lock))[:18])
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
	for _, name := range []string{"package.json", "package-lock.json"} {
		content, err := os.ReadFile(filepath.Join(from, name))
		if err != nil {
			return "", err
		}
		if err := os.WriteFile(filepath.Join(dir, name), content, 0o644); err != nil {
			return "", err
		}
	}
	ctx, stop := context.WithTimeout(ctx, azurePatience)
	defer stop()
	cmd := exec.CommandContext(ctx, "npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund")
	cmd.Dir = dir
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("npm ci: %w\n%s", err, out)
	}
	if err := os.Rename(dir, final); err != nil && !errors.Is(err, os.ErrExist) {
		return "", err
	}
	return modules, nil
}
