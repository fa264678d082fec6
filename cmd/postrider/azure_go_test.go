package main

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/arm"
	armruntime "github.com/Azure/azure-sdk-for-go/sdk/azcore/arm/runtime"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/cloud"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/runtime"
	"github.com/Azure/azure-sdk-for-go/sdk/resourcemanager/apimanagement/armapimanagement/v3"

	"postrider/smtp/smtptest"
)

// armCase is what a client of API Management must say of a mail.
type armCase struct {
	status  string
	percent float64
	parts   map[string]string
	code    string // of the error; "" for none
	ended   bool
}

// armCases are those of [azure.plantForArm], by ID.
var armCases = map[string]armCase{
	"arm-sent":    {"Succeeded", 100, map[string]string{"ada@rcpt.test": "Succeeded"}, "", true},
	"arm-refused": {"Failed", 100, map[string]string{"bad@rcpt.test": "Failed RecipientRejected", "worse@rcpt.test": "Failed RecipientRejected"}, "EmailDropped", true},
	"arm-partly":  {"InProgress", 50, map[string]string{"ada@rcpt.test": "Succeeded", "busy@rcpt.test": "InProgress"}, "", false},
	"arm-later":   {"InProgress", 0, nil, "", false},
	"arm-extension": {
		"Succeeded", 100, map[string]string{"ada@rcpt.test": "Succeeded", "bad@rcpt.test": "Failed RecipientRejected", "busy@rcpt.test": "Failed RecipientDeferred"}, "", true,
	},
}

// plantForArm adds the mails of [armCases], and waits until they are as they are
// to be. The mail server is [mixed], and mails are tried again in a minute.
func (az *azure) plantForArm(t *testing.T) {
	t.Helper()
	now := time.Now()
	for id, to := range map[string][]string{
		"arm-sent": {"ada@rcpt.test"}, "arm-refused": {"bad@rcpt.test", "worse@rcpt.test"}, "arm-partly": {"ada@rcpt.test", "busy@rcpt.test"},
	} {
		az.as(t).add(id, map[string]any{"to": to, "message": message(id, "t")})
	}
	az.as(t).add("arm-later", map[string]any{
		"to": "ada@rcpt.test", "message": message("later", "t"),
		"delivery": map[string]any{"state": "PENDING", "attempts": 0, "startTime": now, "nextAttemptTime": now.Add(time.Hour)},
	})
	az.as(t).add("arm-extension", map[string]any{ // as the extension leaves it
		"to": "ada@rcpt.test", "message": message("extension", "t"),
		"delivery": map[string]any{
			"state": "SUCCESS", "attempts": 1, "startTime": now.Add(-time.Minute), "endTime": now, "error": nil, "leaseExpireTime": nil,
			"info": map[string]any{
				"messageId": "<a@sender.test>", "response": "250 ok",
				"accepted": []string{"ada@rcpt.test"}, "rejected": []string{"bad@rcpt.test"}, "pending": []string{"busy@rcpt.test"},
			},
		},
	})
	az.as(t).await("arm-sent")
	az.as(t).await("arm-refused")
	again := time.NewTicker(50 * time.Millisecond)
	defer again.Stop()
	for {
		select {
		case <-again.C:
		case <-az.ended:
			t.Fatalf("the program ended\n%s", az.log)
		}
		record, _ := az.as(t).read("arm-partly")["delivery"].(map[string]any)
		if record["state"] == "PENDING" && record["attempts"] == int64(1) {
			return
		}
		if record["state"] == "ERROR" {
			t.Fatalf("arm-partly is %v", record)
		}
	}
}

func (c armCase) check(t *testing.T, id string, o armOperation) {
	t.Helper()
	if o.Status != c.status || o.Name != id || !strings.HasSuffix(o.ID, id) || o.PercentComplete != c.percent || !maps.Equal(o.parts(), c.parts) {
		t.Errorf("%s: %s, %v %%, %v, of %s; want %+v", id, o.Status, o.PercentComplete, o.parts(), o.ID, c)
	}
	if o.StartTime == nil || (o.EndTime != nil) != c.ended || c.ended && o.EndTime.Before(*o.StartTime) {
		t.Errorf("%s: from %v to %v", id, o.StartTime, o.EndTime)
	}
	switch e := o.Error; {
	case c.code == "" && e != nil:
		t.Errorf("%s: %+v", id, *e)
	case c.code == "":
	case e == nil || e.Code != c.code || e.Message == "" || len(e.Details) != len(c.parts):
		t.Errorf("%s: %+v", id, e)
	default:
		for _, d := range e.Details {
			if c.parts[d.Target] != "Failed "+d.Code || d.Message == "" {
				t.Errorf("%s: a detail is %+v", id, d)
			}
		}
		if len(e.AdditionalInfo) != 1 || e.AdditionalInfo[0].Type == "" || e.AdditionalInfo[0].Info["attempts"] != float64(1) {
			t.Errorf("%s: additionalInfo is %+v", id, e.AdditionalInfo)
		}
	}
}

// bearer is a credential that has a token.
type bearer string

func (b bearer) GetToken(context.Context, policy.TokenRequestOptions) (azcore.AccessToken, error) {
	return azcore.AccessToken{Token: string(b), ExpiresOn: time.Now().Add(time.Hour)}, nil
}

// armOptions has a client of Resource Manager's speak to the program.
func (az *azure) armOptions() *arm.ClientOptions {
	here := cloud.ServiceConfiguration{Endpoint: az.secure.URL, Audience: az.secure.URL}
	return &arm.ClientOptions{
		ClientOptions: policy.ClientOptions{
			Cloud:     cloud.Configuration{Services: map[cloud.ServiceName]cloud.ServiceConfiguration{cloud.ResourceManager: here}},
			Transport: az.secure.Client(),
		},
		DisableRPRegistration: true,
	}
}

func (az *azure) goClient(t *testing.T, token string) *armapimanagement.OperationStatusClient {
	t.Helper()
	client, err := armapimanagement.NewOperationStatusClient(azureSubscription, bearer(token), az.armOptions())
	if err != nil {
		t.Fatal(err)
	}
	return client
}

// goPoller returns azcore's poller of an operation's status, as a program takes it
// up that was started anew.
func (az *azure) goPoller(t *testing.T, id string) *runtime.Poller[armapimanagement.OperationStatusResult] {
	t.Helper()
	pipeline, err := armruntime.NewPipeline("test", "v1.0.0", bearer(az.token("management")), runtime.PipelineOptions{}, az.armOptions())
	if err != nil {
		t.Fatal(err)
	}
	at := fmt.Sprintf("%s/subscriptions/%s/providers/Microsoft.ApiManagement/locations/northeurope/operationStatuses/%s?api-version=2024-05-01", az.secure.URL, azureSubscription, id)
	token, _ := json.Marshal(map[string]any{
		"type": "OperationStatusResult",
		"token": map[string]string{
			"asyncURL": at, "locURL": "", "origURL": at, "method": "POST", "finalState": "azure-async-operation", "state": "InProgress",
		},
	})
	poller, err := runtime.NewPollerFromResumeToken[armapimanagement.OperationStatusResult](string(token), pipeline, nil)
	if err != nil {
		t.Fatal(err)
	}
	return poller
}

// eagerly asks every hundredth of a second, unless it is told when.
var eagerly = &runtime.PollUntilDoneOptions{Frequency: 10 * time.Millisecond}

func TestAzureClientForGo(t *testing.T) {
	az := newAzure(t, "")
	az.start(t, mixed(), "MAX_ATTEMPTS=3")
	client := az.goClient(t, az.token("management"))
	az.plantForArm(t)
	for id, c := range armCases {
		got, err := client.Get(t.Context(), "northeurope", id, nil)
		if err != nil {
			t.Errorf("%s: %v", id, err)
			continue
		}
		var o armOperation
		text, _ := json.Marshal(got.OperationStatusResult)
		if err := json.Unmarshal(text, &o); err != nil {
			t.Fatal(err)
		}
		c.check(t, id, o)
	}
	refused := func(client *armapimanagement.OperationStatusClient, id string, status int, code string) {
		t.Helper()
		_, err := client.Get(t.Context(), "northeurope", id, nil)
		if e, ok := errors.AsType[*azcore.ResponseError](err); !ok || e.StatusCode != status || e.ErrorCode != code {
			t.Errorf("%s: %v, want %d %s", id, err, status, code)
		}
	}
	refused(client, "nobody", http.StatusNotFound, "ResourceNotFound")
	refused(client, "no/body", http.StatusNotFound, "ResourceNotFound")
	refused(az.goClient(t, (&azure{key: randomKey()}).token("management")), "arm-sent", http.StatusUnauthorized, "InvalidAuthenticationToken")
	refused(az.goClient(t, az.token("chat")), "arm-sent", http.StatusForbidden, "Forbidden")
	t.Run("poller", az.goPollers)
	t.Run("bulk retry", az.goBulkRetry)
	az.paced(t)
}

func (az *azure) goPollers(t *testing.T) {
	az.as(t).add("go-soon", map[string]any{
		"to": "ada@rcpt.test", "message": message("go soon", "t"),
		"delivery": map[string]any{"state": "PENDING", "attempts": 0, "startTime": time.Now(), "nextAttemptTime": time.Now().Add(5 * time.Second)},
	})
	result, err := az.goPoller(t, "go-soon").PollUntilDone(t.Context(), eagerly)
	if err != nil || *result.Status != "Succeeded" || len(result.Operations) != 1 || len(az.mails("go soon")) != 1 {
		t.Errorf("a mail that was due soon: %+v, %v", result, err)
	}
	az.fewPolls(t, "/operationStatuses/go-soon", 20)

	_, err = az.goPoller(t, "arm-refused").PollUntilDone(t.Context(), eagerly)
	if e, ok := errors.AsType[*azcore.ResponseError](err); !ok || e.ErrorCode != "EmailDropped" || e.StatusCode != http.StatusOK {
		t.Errorf("a mail that nobody takes: %v", err)
	}
	_, err = az.goPoller(t, "nobody").PollUntilDone(t.Context(), eagerly)
	if e, ok := errors.AsType[*azcore.ResponseError](err); !ok || e.StatusCode != http.StatusNotFound {
		t.Errorf("a mail that nobody knows: %v", err)
	}
}

// signer signs requests as Azure's clients do, for a pipeline without one.
type signer struct{ key string }

func (s signer) Do(req *policy.Request) (*http.Response, error) {
	var body []byte
	if req.Body() != nil {
		var err error
		if body, err = io.ReadAll(req.Body()); err != nil {
			return nil, err
		}
		if err := req.RewindBody(); err != nil {
			return nil, err
		}
	}
	r, hash, date := req.Raw(), sha256.Sum256(body), time.Now().UTC().Format(http.TimeFormat)
	content := base64.StdEncoding.EncodeToString(hash[:])
	key, _ := base64.StdEncoding.DecodeString(s.key)
	mac := hmac.New(sha256.New, key)
	fmt.Fprintf(mac, "%s\n%s\n%s;%s;%s", r.Method, r.URL.RequestURI(), date, r.URL.Host, content)
	r.Header.Set("X-Ms-Date", date)
	r.Header.Set("X-Ms-Content-Sha256", content)
	r.Header.Set("Authorization", "HMAC-SHA256 SignedHeaders=x-ms-date;host;x-ms-content-sha256&Signature="+base64.StdEncoding.EncodeToString(mac.Sum(nil)))
	return req.Next()
}

// azcore's poller makes of the answer to a bulk retry what it makes of any
// operation's that has an Operation-Location.
func (az *azure) goBulkRetry(t *testing.T) {
	if err := az.server.SetBehaviour(smtptest.Behaviour{}); err != nil {
		t.Fatal(err)
	}
	pipeline := runtime.NewPipeline("test", "v1.0.0", runtime.PipelineOptions{PerRetry: []policy.Policy{signer{az.key}}}, nil)
	req, err := runtime.NewRequest(t.Context(), http.MethodPost, az.plain.URL+"/emails:retry")
	if err != nil {
		t.Fatal(err)
	}
	if err := runtime.MarshalAsJSON(req, map[string]any{"messageIds": []string{"arm-refused"}}); err != nil {
		t.Fatal(err)
	}
	response, err := pipeline.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	poller, err := runtime.NewPoller[map[string]any](response, pipeline, nil)
	if err != nil {
		t.Fatalf("%d: %v", response.StatusCode, err)
	}
	result, err := poller.PollUntilDone(t.Context(), eagerly)
	if err != nil || len(result) == 0 {
		t.Errorf("%v, %v", result, err)
	}
	if record := az.as(t).await("arm-refused"); record["state"] != "SUCCESS" || len(az.mails("arm-refused")) != 1 {
		t.Errorf("%v", record)
	}
}

// A client that asks too often is told to wait, waits, and gets its answer.
func TestAzureClientForGoSitsOutThrottling(t *testing.T) {
	az := newAzure(t, "")
	az.start(t, smtptest.Behaviour{}, "API_RATE=1/second")
	az.as(t).add("a", map[string]any{"to": "ada@rcpt.test", "message": message("a", "t")})
	az.as(t).await("a")
	client := az.goClient(t, az.token("management"))
	for range 3 {
		if got, err := client.Get(t.Context(), "northeurope", "a", nil); err != nil || *got.Status != "Succeeded" {
			t.Errorf("%+v, %v", got, err)
		}
	}
	if result, err := az.goPoller(t, "a").PollUntilDone(t.Context(), eagerly); err != nil || *result.Status != "Succeeded" {
		t.Errorf("%+v, %v", result, err)
	}
	refused := 0
	for _, e := range az.about("/operationStatuses/a") {
		if e.status == http.StatusTooManyRequests {
			refused++
		}
	}
	if refused == 0 || refused > 6 {
		t.Errorf("it was refused %d times", refused)
	}
}
