package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"postrider/config"
)

// The script makes a trigger for events that the program takes, with a deadline
// that outlasts an attempt. Gcloud is one that writes down what it is told.
func TestEventarcScriptMakesATriggerThatFits(t *testing.T) {
	dir := t.TempDir()
	said := filepath.Join(dir, "said")
	gcloud := "#!/bin/sh\necho \"$@\" >>" + said + "\ncase \"$*\" in *describe*) echo projects/p/subscriptions/s;; esac\n"
	if err := os.WriteFile(filepath.Join(dir, "gcloud"), []byte(gcloud), 0o700); err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), "sh", "../../deploy/eventarc.sh")
	cmd.Env = []string{"PATH=" + dir + ":" + os.Getenv("PATH"), "PROJECT=p", "REGION=europe-west1", "DATABASE_LOCATION=eur3", "MAIL_COLLECTION=apps/a/mail"}
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	log, err := os.ReadFile(said)
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		"--destination-run-path=/events", "type=google.cloud.firestore.document.v1.written", "document=apps/a/mail/{id}",
		"--event-data-content-type=application/protobuf", "--role=roles/run.invoker", "update projects/p/subscriptions/s",
	} {
		if !strings.Contains(string(log), want) {
			t.Errorf("gcloud was not told %s:\n%s", want, log)
		}
	}
	c, err := config.Load(func(name string) (string, bool) {
		v, ok := map[string]string{
			"GOOGLE_CLOUD_PROJECT": "p", "MAIL_COLLECTION": "mail", "SMTP_CONNECTION_URI": "smtp://127.0.0.1:2525",
		}[name]
		return v, ok
	})
	if err != nil {
		t.Fatal(err)
	}
	deadline := regexp.MustCompile(`--ack-deadline=(\d+)`).FindSubmatch(log)
	if seconds, _ := strconv.Atoi(string(deadline[1])); time.Duration(seconds)*time.Second <= c.Lease {
		t.Errorf("the deadline is %d s, a lease is %v", seconds, c.Lease)
	}
}
