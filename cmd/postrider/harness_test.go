package main

import (
	"crypto/rand"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"cloud.google.com/go/firestore"

	"postrider/smtp/smtptest"
)

// build builds the program as it is released.
func build(t testing.TB) string {
	t.Helper()
	bin := filepath.Join(t.TempDir(), "postrider")
	cmd := exec.CommandContext(t.Context(), "go", "build", "-trimpath", "-o", bin, ".")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("build: %v\n%s", err, out)
	}
	return bin
}

// emulatorHost returns the emulator that make provides.
func emulatorHost(t testing.TB) string {
	t.Helper()
	host := os.Getenv("FIRESTORE_EMULATOR_HOST")
	if host == "" && os.Getenv("CI") != "" {
		t.Fatal("FIRESTORE_EMULATOR_HOST is not set: the emulator tests can't run")
	}
	if host == "" {
		t.Skip("FIRESTORE_EMULATOR_HOST is not set: run make test")
	}
	return host
}

// quickSink returns the address of a mail server that takes everything and
// keeps nothing.
func quickSink(t testing.TB) string {
	t.Helper()
	record := false
	sink, err := smtptest.Start(smtptest.Behaviour{Record: &record})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = sink.Close() })
	return sink.Addr()
}

// newProject returns a project that nobody has used: the emulator slows down
// with what was deleted.
func newProject() string { return "postrider-" + strings.ToLower(rand.Text()[:12]) }

// sdk returns a client as an application has it.
func sdk(t testing.TB, project string) *firestore.Client {
	t.Helper()
	client, err := firestore.NewClient(t.Context(), project)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = client.Close() })
	return client
}

// command returns the program, with its settings and nothing else of this
// process's environment.
func command(t testing.TB, bin, host, project, sink string, args ...string) *exec.Cmd {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), bin, args...)
	cmd.Env = []string{
		"PATH=" + os.Getenv("PATH"), "HOME=" + os.Getenv("HOME"),
		"FIRESTORE_EMULATOR_HOST=" + host, "GOOGLE_CLOUD_PROJECT=" + project,
		"MAIL_COLLECTION=mail", "TEMPLATES_COLLECTION=templates", "USERS_COLLECTION=users",
		"SMTP_CONNECTION_URI=smtp://" + sink, "PORT=" + freePort(t), "DEFAULT_FROM=Shop <shop@sender.test>",
	}
	return cmd
}

func tail(s string) string { return s[max(0, len(s)-3000):] }

// freePort returns a port that nobody listens on, for the program's HTTP.
func freePort(t testing.TB) string {
	t.Helper()
	port, err := smtptest.FreePort()
	if err != nil {
		t.Fatal(err)
	}
	return strconv.Itoa(port)
}
