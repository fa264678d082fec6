package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"syscall"
	"testing"

	"github.com/rs/zerolog"

	"postrider/smtp/smtptest"
	"postrider/worker"
)

// get returns the code and the body that the program answers on path.
func (tr *trial) get(path string) (int, string) {
	tr.t.Helper()
	request, err := http.NewRequestWithContext(tr.t.Context(), http.MethodGet, "http://127.0.0.1:"+tr.port()+path, nil)
	if err != nil {
		tr.t.Fatal(err)
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		tr.t.Fatal(err)
	}
	defer func() { _ = response.Body.Close() }()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		tr.t.Fatal(err)
	}
	return response.StatusCode, string(body)
}

// port returns the port that the program was told to serve.
func (tr *trial) port() string {
	for _, setting := range tr.cmd.Env {
		if port, ok := strings.CutPrefix(setting, "PORT="); ok {
			return port
		}
	}
	return ""
}

func TestRunAnswersHealthReadinessAndMetrics(t *testing.T) {
	tr := try(t, build(t), smtptest.Behaviour{})
	tr.add("a", map[string]any{"to": "ada@rcpt.test", "message": message("a secret subject", "t")})
	if record := tr.await("a"); record["state"] != "SUCCESS" {
		t.Fatalf("%v", record)
	}
	for path, want := range map[string]string{
		"/healthz": `"alive":true`,
		"/readyz":  `"watching":true`,
		"/metrics": `postrider_claims_total{result="won"} 1`,
	} {
		if code, body := tr.get(path); code != http.StatusOK || !strings.Contains(body, want) {
			t.Errorf("%s: %d %s", path, code, body)
		}
	}
	for _, word := range []string{"ada@", "secret subject"} {
		if strings.Contains(tr.log.String(), word) {
			t.Errorf("the log says %q", word)
		}
	}
}

func TestDownServerDoesNotMakeTheProgramUnready(t *testing.T) {
	tr := try(t, build(t), smtptest.Behaviour{Down: true})
	tr.add("a", map[string]any{"to": "ada@rcpt.test", "message": message("s", "t")})
	if record := tr.await("a"); record["error"] != "Error: Can't connect to the mail server: connection refused" {
		t.Errorf("%v", record)
	}
	if code, body := tr.get("/readyz"); code != http.StatusOK {
		t.Errorf("%d %s", code, body)
	}
}

// SIGTERM hands back what was not sent, uncounted, and the next worker sends it.
func TestStopHandsBackAndTheNextWorkerSends(t *testing.T) {
	bin := build(t)
	tr := try(t, bin, smtptest.Behaviour{HangAt: "data"}, "DRAIN_TIMEOUT=200ms")
	tr.add("a", map[string]any{"to": "ada@rcpt.test", "message": message("s", "t")})
	err := tr.server.Await(t.Context(), func(sessions []smtptest.Session) bool {
		return len(sessions) > 0 && len(sessions[0].Transactions) > 0
	})
	if err != nil {
		t.Fatal(err)
	}
	tr.stop()
	record, _ := tr.read("a")["delivery"].(map[string]any)
	if record["state"] != "PENDING" || record["attempts"] != int64(0) || record["leaseExpireTime"] != nil {
		t.Errorf("handed back as %v", record)
	}
	if err := tr.server.SetBehaviour(smtptest.Behaviour{}); err != nil {
		t.Fatal(err)
	}
	next := exec.CommandContext(t.Context(), bin, "run", "--drain")
	next.Env = tr.cmd.Env
	if out, err := next.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	record, _ = tr.read("a")["delivery"].(map[string]any)
	if record["state"] != "SUCCESS" || record["attempts"] != int64(1) {
		t.Errorf("afterwards %v", record)
	}
}

func TestDrainTellsByItsExitCodeWhetherAllWasSent(t *testing.T) {
	bin, host := build(t), emulatorHost(t)
	server, err := smtptest.Start(smtptest.Behaviour{Rcpt: map[string]smtptest.Replies{"bad@rcpt.test": {"550 5.1.1 no such user"}}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = server.Close() })
	for name, c := range map[string]struct {
		to   []string
		code int
	}{
		"nothing to do": {nil, 0},
		"all sent":      {[]string{"a@rcpt.test", "b@rcpt.test"}, 0},
		"one failed":    {[]string{"a@rcpt.test", "bad@rcpt.test"}, 1},
	} {
		t.Run(name, func(t *testing.T) {
			project := newProject()
			client := sdk(t, project)
			for i, to := range c.to {
				_, err := client.Collection("mail").Doc(fmt.Sprint(i)).Set(t.Context(), map[string]any{"to": to, "message": message("s", "t")})
				if err != nil {
					t.Fatal(err)
				}
			}
			cmd := command(t, bin, host, project, server.Addr(), "run", "--drain")
			out, err := cmd.CombinedOutput()
			if code := cmd.ProcessState.ExitCode(); code != c.code {
				t.Errorf("exit %d (%v), want %d\n%s", code, err, c.code, out)
			}
		})
	}
}

// Who reads the last line only must not take for done what is not.
func TestADrainThatEndsEarlySaysSo(t *testing.T) {
	stopped, stop := context.WithCancel(t.Context())
	stop()
	down := errors.New("the mail server is down")
	for name, c := range map[string]struct {
		ctx   context.Context
		tally worker.Tally
		err   error
		want  error
		says  []string
	}{
		"all sent":  {t.Context(), worker.Tally{Delivered: 2}, nil, nil, []string{`"severity":"INFO"`, `"message":"drained"`, `"delivered":2`}},
		"some fail": {t.Context(), worker.Tally{Failed: 1}, nil, errFailed, []string{`"severity":"INFO"`, `"message":"drained"`, `"failed":1`}},
		"an error": {
			t.Context(),
			worker.Tally{Delivered: 2, Waiting: 3},
			down, down,
			[]string{`"severity":"ERROR"`, `"message":"drain ended early, documents may wait"`, `"err":"the mail server is down"`, `"delivered":2`, `"waiting":3`},
		},
		"stopped": {stopped, worker.Tally{}, context.Canceled, errFailed, []string{`"severity":"INFO"`, `"stopped":true`}},
	} {
		var log strings.Builder
		s := &service{log: newLogger(&log, zerolog.InfoLevel)}
		if err := s.drained(c.ctx, c.tally, c.err); !errors.Is(err, c.want) {
			t.Errorf("%s: %v, want %v", name, err, c.want)
		}
		for _, word := range c.says {
			if !strings.Contains(log.String(), word) {
				t.Errorf("%s: %s is not in %s", name, word, log.String())
			}
		}
	}
}

// dev is tried as the README has it: dev in one process, send in another, by
// the command that dev prints.
func TestDevShowsWhatSendAdds(t *testing.T) {
	bin, host, port := build(t), emulatorHost(t), freePort(t)
	cases := map[string]struct {
		args, env []string
		says      string
	}{
		"in memory":                 {nil, nil, "Nothing leaves this machine."},
		"in memory, by events":      {nil, []string{"SOURCE=push"}, "http://127.0.0.1:"},
		"with the status API":       {nil, []string{"PORT=" + port, "API_ACCESS_KEYS=MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY="}, "Status API           http://127.0.0.1:" + port + "\n"},
		"Google's emulator":         {[]string{"--firestore", "google"}, nil, "Ctrl-C"},
		"an emulator that is there": {nil, []string{"FIRESTORE_EMULATOR_HOST=" + host, "GOOGLE_CLOUD_PROJECT=" + newProject()}, host},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			dev := exec.Command(bin, append([]string{"dev", "--page", "127.0.0.1:0"}, c.args...)...)
			dev.Env = append([]string{"PATH=" + os.Getenv("PATH"), "HOME=" + os.Getenv("HOME")}, c.env...)
			out := newOutput("Ctrl-C ends it all.")
			dev.Stdout, dev.Stderr = out, out
			if err := dev.Start(); err != nil {
				t.Fatal(err)
			}
			ended := make(chan error, 1)
			go func() { ended <- dev.Wait() }()
			defer func() {
				_ = dev.Process.Signal(syscall.SIGTERM)
				if err := <-ended; err != nil {
					t.Errorf("dev ended with %v\n%s", err, out)
				}
			}()
			select {
			case <-out.seen:
			case err := <-ended:
				ended <- err
				t.Fatalf("dev ended before its time\n%s", out)
			}
			if !strings.Contains(out.String(), c.says) {
				t.Errorf("it does not say %s\n%s", c.says, out)
			}
			sendsAndShows(t, bin, out.String())
		})
	}
}

// sendsAndShows sends mails with the variables that dev has printed, and looks
// for them in its inbox.
func sendsAndShows(t *testing.T, bin, printed string) {
	t.Helper()
	variables := regexp.MustCompile(`FIRESTORE_EMULATOR_HOST=\S+ GOOGLE_CLOUD_PROJECT=\S+`).FindString(printed)
	send := exec.CommandContext(t.Context(), bin, "send", "--to", "ada@example.com, bob@example.com", "--subject", "Hello", "--text", "It works.")
	send.Env = strings.Fields(variables)
	said, err := send.CombinedOutput()
	if err != nil || !strings.Contains(string(said), "SUCCESS\naccepted: ada@example.com, bob@example.com\n") {
		t.Errorf("send: %v\n%s", err, said)
	}
	bad := exec.CommandContext(t.Context(), bin, "send", "--to", "nonsense", "--subject", "Hello", "--text", "It works.")
	bad.Env = send.Env
	said, err = bad.CombinedOutput()
	if err == nil || bad.ProcessState.ExitCode() != 1 || !strings.Contains(string(said), "error: Error: No recipients defined") {
		t.Errorf("send to nobody: %v\n%s", err, said)
	}
	_, page, _ := strings.Cut(printed, "Read the mails       ")
	page, _, _ = strings.Cut(page, "\n")
	request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, page+"/api/mails", nil)
	if err != nil {
		t.Fatal(err)
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = response.Body.Close() }()
	body, err := io.ReadAll(response.Body)
	if err != nil || !strings.Contains(string(body), `"subject": "Hello"`) {
		t.Errorf("the inbox shows %s, %v", body, err)
	}
}

func TestUsageFaultsExitWithTwo(t *testing.T) {
	for name, args := range map[string][]string{
		"unknown command": {"runn"},
		"unknown flag":    {"run", "--drane"},
		"stray argument":  {"run", "now"},
		"no such server":  {"dev", "--firestore", "redis"},
		"send to nobody":  {"send", "--text", "t"},
		"send nothing":    {"send", "--to", "a@b.test"},
		"bad data":        {"send", "--to", "a@b.test", "--template", "t", "--data", "x"},
	} {
		t.Run(name, func(t *testing.T) {
			var out strings.Builder
			p := program{lookup: func(string) (string, bool) { return "", false }, out: &out, err: &out}
			if code := p.main(t.Context(), args); code != exitUsage || out.Len() == 0 {
				t.Errorf("exit %d, %q", code, out.String())
			}
		})
	}
}
