package emulator

import (
	"archive/zip"
	"bufio"
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// The test binary plays java and the program that starts it: role says which.
const role = "EMULATOR_TEST_ROLE"

func TestMain(m *testing.M) {
	switch os.Getenv(role) {
	case "java":
		playEmulator()
	case "broken":
		fmt.Println("port is taken")
		os.Exit(3)
	case "silent":
		select {}
	case "starter":
		playStarter()
	}
	os.Exit(m.Run())
}

// playEmulator answers "Ok" on the port it was given, as the emulator does.
func playEmulator() {
	var port string
	for _, a := range os.Args {
		if p, ok := strings.CutPrefix(a, "--port="); ok {
			port = p
		}
	}
	fmt.Println("arguments:", strings.Join(os.Args[1:], " "))
	err := http.ListenAndServe("127.0.0.1:"+port, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprintln(w, "Ok")
	}))
	fmt.Println(err)
	os.Exit(1)
}

// playStarter starts an emulator, prints its address and waits to be killed.
func playStarter() {
	in := Installation{Java: os.Args[0], Jar: os.Getenv("EMULATOR_TEST_JAR")}
	if err := os.Setenv(role, "java"); err != nil {
		os.Exit(1)
	}
	e, err := Start(context.Background(), Options{Installation: in})
	if err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	fmt.Println(e.Host)
	select {}
}

// jar writes a jar; class may be empty, major is its class file version.
func jar(t *testing.T, path, manifestMain string, major byte) string {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		t.Fatal(err)
	}
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	z := zip.NewWriter(f)
	manifest, class := "Manifest-Version: 1.0\r\n", mainClass
	if manifestMain != "" {
		manifest += "Main-Class: " + manifestMain + "\r\n"
		class = manifestMain
	}
	for name, content := range map[string]string{
		"META-INF/MANIFEST.MF":                         manifest,
		strings.ReplaceAll(class, ".", "/") + ".class": "\xca\xfe\xba\xbe\x00\x00\x00" + string([]byte{major}),
	} {
		w, err := z.Create(name)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write([]byte(content)); err != nil {
			t.Fatal(err)
		}
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	return path
}

func fake(t *testing.T, as string) Installation {
	t.Helper()
	t.Setenv(role, as)
	return Installation{Java: os.Args[0], Jar: jar(t, filepath.Join(t.TempDir(), "emulator.jar"), "", 55)}
}

func TestStartAnswersAndCloseEndsIt(t *testing.T) {
	e, err := Start(t.Context(), Options{Installation: fake(t, "java"), Heap: "64m"})
	if err != nil {
		t.Fatal(err)
	}
	if !answers(t.Context(), e.Host) {
		t.Errorf("%s does not answer", e.Host)
	}
	if got := e.Output(); !strings.Contains(got, "-Xmx64m") || !strings.Contains(got, mainClass) || !strings.Contains(got, "--host=127.0.0.1") {
		t.Errorf("arguments: %q", got)
	}
	for range 2 {
		if err := e.Close(); err != nil {
			t.Errorf("close: %v", err)
		}
	}
	if answers(t.Context(), e.Host) {
		t.Errorf("%s still answers", e.Host)
	}
}

func TestCloseTellsOfAnEndNobodyAskedFor(t *testing.T) {
	e, err := Start(t.Context(), Options{Installation: fake(t, "java")})
	if err != nil {
		t.Fatal(err)
	}
	e.process.signal(syscall.SIGKILL)
	<-e.Done()
	var exit *ExitError
	if err := e.Close(); !errors.As(err, &exit) {
		t.Errorf("got %v, want an ExitError", err)
	}
}

func TestStartShowsTheOutputOfOneThatEnds(t *testing.T) {
	_, err := Start(t.Context(), Options{Installation: fake(t, "broken")})
	var exit *ExitError
	if !errors.As(err, &exit) || !strings.Contains(err.Error(), "port is taken") {
		t.Errorf("got %v, want an ExitError with the output", err)
	}
}

func TestStartGivesUpOnOneThatNeverAnswers(t *testing.T) {
	_, err := Start(t.Context(), Options{Installation: fake(t, "silent"), ReadyTimeout: 300 * time.Millisecond})
	if !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("got %v, want the deadline", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err = Start(ctx, Options{Installation: fake(t, "silent")}); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v, want the cancellation", err)
	}
}

func TestStartSaysWhichProgramDoesNotRun(t *testing.T) {
	in := fake(t, "java")
	in.Java = filepath.Join(t.TempDir(), "no-java")
	if _, err := Start(t.Context(), Options{Installation: in}); err == nil || !strings.Contains(err.Error(), "no-java") {
		t.Errorf("got %v", err)
	}
}

// A starter that is killed cannot close anything; the kernel does it.
func TestEmulatorDiesWithItsStarter(t *testing.T) {
	if ownsNoDeathSignal {
		// Skipped for good: only Linux has such a signal.
		t.Skip("this system has no parent death signal")
	}
	in := fake(t, "starter")
	cmd := exec.CommandContext(t.Context(), os.Args[0])
	cmd.Env = append(os.Environ(), "EMULATOR_TEST_JAR="+in.Jar)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	host := strings.TrimSpace(line)
	if _, _, err := net.SplitHostPort(host); err != nil {
		t.Fatalf("the starter printed %q", host)
	}
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait() // killed: an error by design
	deadline := time.Now().Add(20 * time.Second)
	for answers(t.Context(), host) {
		if time.Now().After(deadline) {
			t.Fatalf("%s outlived its starter", host)
		}
	}
}

// The real one, if it is here.
func TestRealEmulatorStarts(t *testing.T) {
	in, err := Find(t.Context())
	if err != nil {
		if os.Getenv("CI") == "true" && os.Getenv("FIRESTORE_EMULATOR_HOST") == "" {
			t.Fatal(err)
		}
		t.Skip(err)
	}
	e, err := Start(t.Context(), Options{Installation: in, Heap: "256m"})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := e.Close(); err != nil {
			t.Errorf("close: %v", err)
		}
	}()
	url := "http://" + e.Host + "/v1/projects/demo-start/databases/(default)/documents/mail"
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	if res.StatusCode != http.StatusOK {
		t.Errorf("listing an empty collection: %s", res.Status)
	}
}
