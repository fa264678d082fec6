package main

import (
	"encoding/base64"
	"encoding/json"
	"os/exec"
	"strings"
	"testing"

	"postrider/smtp/smtptest"
)

// The script signs as the API wants it, and has a token where it wants that.
func TestScriptCallsTheAPI(t *testing.T) {
	key, port := base64.StdEncoding.EncodeToString([]byte("0123456789abcdef0123456789abcdef")), freePort(t)
	tr := try(t, build(t), smtptest.Behaviour{}, "PORT="+port, "API_ACCESS_KEYS="+key+",YW5vdGhlciBrZXkgYW5vdGhlciBrZXkgYW5vdGhlcg==", "API_SENDERS=shop@example.com")
	call := func(args ...string) map[string]any {
		t.Helper()
		cmd := exec.CommandContext(t.Context(), "../../deploy/api.sh", args...)
		cmd.Env = append(cmd.Environ(), "API_ACCESS_KEYS="+key, "API_URL=http://127.0.0.1:"+port)
		var failed strings.Builder
		cmd.Stderr = &failed
		out, err := cmd.Output()
		var v map[string]any
		if err != nil || json.Unmarshal(out, &v) != nil || v["error"] != nil {
			t.Fatalf("%q: %v\n%s%s", args, err, out, &failed)
		}
		return v
	}
	sent := call("POST", "/emails:send?api-version=2023-03-31", `{"senderAddress":"shop@example.com","content":{"subject":"Grüße","plainText":"x"},"recipients":{"to":[{"address":"ada@rcpt.test"}]}}`)
	id := sent["id"].(string)
	tr.await(id)
	for _, c := range []struct {
		path, field string
		want        any
	}{
		{"/emails/" + id + "/status?api-version=2021-10-01-preview", "status", "outForDelivery"},
		{"/emails/operations/" + id + "?api-version=2023-03-31", "status", "Succeeded"},
		{"/operations/" + id, "status", "succeeded"},
		{"//phoneNumbers/operations/" + id + "?api-version=2022-12-01", "status", "succeeded"},
		{"/subscriptions/s/providers/Microsoft.ApiManagement/locations/l/operationStatuses/" + id + "?api-version=2024-05-01", "status", "Succeeded"},
		{"/mail/" + id, "state", "SUCCESS"},
	} {
		if got := call("GET", c.path); got[c.field] != c.want {
			t.Errorf("%s: %v", c.path, got)
		}
	}
	if got := call("GET", "/chat/threads/"+id+"/readReceipts?api-version=2025-03-15"); len(got["value"].([]any)) != 0 {
		t.Errorf("receipts of a mail that nobody has read: %v", got)
	}
	if got := call("POST", "/emails:retry", `{"filter":{},"dryRun":true}`); !strings.HasPrefix(got["id"].(string), "__retry-") {
		t.Errorf("of a bulk retry: %v", got)
	}
}
