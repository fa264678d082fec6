package main

import (
	"bytes"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"cloud.google.com/go/firestore"

	"postrider/smtp/smtptest"
)

// trial is the built program at work over the emulator and a mail server.
type trial struct {
	t      *testing.T
	client *firestore.Client
	server *smtptest.Server
	cmd    *exec.Cmd
	log    *output
	ended  chan struct{} // closed when the program has ended
}

// try starts the program with settings on top of the usual ones, and waits until
// it is ready. It is ended by SIGTERM with the test.
func try(t *testing.T, bin string, b smtptest.Behaviour, settings ...string) *trial {
	t.Helper()
	server, err := smtptest.Start(b)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = server.Close() })
	project := newProject()
	tr := &trial{t: t, server: server, client: sdk(t, project), log: newOutput(`"message":"ready"`), ended: make(chan struct{})}
	tr.cmd = exec.Command(bin, "run")
	tr.cmd.Env = append(command(t, bin, emulatorHost(t), project, server.Addr()).Env, settings...)
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
		t.Fatalf("the program ended with %v\n%s", tr.cmd.ProcessState, tr.log)
	}
	return tr
}

// stop ends the program, which must end well.
func (tr *trial) stop() {
	_ = tr.cmd.Process.Signal(syscall.SIGTERM)
	<-tr.ended
	if code := tr.cmd.ProcessState.ExitCode(); code != 0 {
		tr.t.Errorf("the program ended with %d\n%s", code, tr.log)
	}
}

// add adds a mail document.
func (tr *trial) add(id string, fields map[string]any) {
	tr.t.Helper()
	if _, err := tr.client.Collection("mail").Doc(id).Set(tr.t.Context(), fields); err != nil {
		tr.t.Fatal(err)
	}
}

// await returns the delivery field of a document once it is final. It asks again
// and again: Google's emulator loses events, so a listener may wait for ever.
func (tr *trial) await(id string) map[string]any {
	tr.t.Helper()
	again := time.NewTicker(50 * time.Millisecond)
	defer again.Stop()
	for {
		record, _ := tr.read(id)["delivery"].(map[string]any)
		if s := record["state"]; s == "SUCCESS" || s == "ERROR" {
			return record
		}
		select {
		case <-again.C:
		case <-tr.ended:
			tr.t.Fatalf("the program ended with %v\n%s", tr.cmd.ProcessState, tr.log)
		case <-tr.t.Context().Done():
			tr.t.Fatalf("%s is %v\n%s", id, record, tr.log)
		}
	}
}

// read returns a document as it is now.
func (tr *trial) read(id string) map[string]any {
	tr.t.Helper()
	d, err := tr.client.Collection("mail").Doc(id).Get(tr.t.Context())
	if err != nil {
		tr.t.Fatal(err)
	}
	return d.Data()
}

// output keeps what a program prints, and tells when it has printed a word.
type output struct {
	word string
	seen chan struct{}

	mu   sync.Mutex
	text bytes.Buffer
}

func newOutput(word string) *output { return &output{word: word, seen: make(chan struct{})} }

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	before := strings.Contains(o.text.String(), o.word)
	o.text.Write(p)
	if !before && strings.Contains(o.text.String(), o.word) {
		close(o.seen)
	}
	return len(p), nil
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.text.String()
}
