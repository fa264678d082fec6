package config

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"postrider/delivery"
)

func TestThePolicyIsTheExtensionsByDefault(t *testing.T) {
	c, err := load(env())
	want := delivery.Policy{
		MaxAttempts: 1, MinDelay: time.Minute, MaxDelay: time.Hour, MaxAge: 24 * time.Hour,
		PerDocument: delivery.Rate{N: 100, Per: time.Hour},
	}
	if err != nil || c.Policy != want || c.AttemptTimeout != 10*time.Minute || c.RecipientDomains != nil || c.TemplateOnly {
		t.Errorf("got %+v, %v", c, err)
	}
}

func TestThePolicyIsRead(t *testing.T) {
	c, err := load(env("MAX_ATTEMPTS", "5", "RETRY_MIN_DELAY", "10s", "RETRY_MAX_DELAY", "10m", "RETRY_MAX_AGE", "72h",
		"RETRY_LAPSED", "before-data", "MAX_PER_DOCUMENT", "none", "MAX_PER_RECIPIENT", "20/1h", "ATTEMPT_TIMEOUT", "1m"))
	want := delivery.Policy{
		MaxAttempts: 5, MinDelay: 10 * time.Second, MaxDelay: 10 * time.Minute, MaxAge: 72 * time.Hour, RetryLapsed: true,
		PerRecipient: delivery.Rate{N: 20, Per: time.Hour},
	}
	if err != nil || c.Policy != want || c.AttemptTimeout != time.Minute || len(c.Warnings) > 0 {
		t.Errorf("got %+v, %v, %q", c.Policy, err, c.Warnings)
	}
}

func TestDefaultDelaysGiveWayToWhatIsSet(t *testing.T) {
	for name, c := range map[string]struct {
		env      map[string]string
		min, max time.Duration
	}{
		"to a long shortest": {env("RETRY_MIN_DELAY", "2h"), 2 * time.Hour, 2 * time.Hour},
		"to a short longest": {env("RETRY_MAX_DELAY", "5s"), 5 * time.Second, 5 * time.Second},
		"to a short life":    {env("RETRY_MAX_AGE", "30s"), 30 * time.Second, 30 * time.Second},
		"but one to a day":   {env("RETRY_MIN_DELAY", "1s", "RETRY_MAX_AGE", "10m"), time.Second, 10 * time.Minute},
		"all equal":          {env("RETRY_MIN_DELAY", "1m", "RETRY_MAX_DELAY", "1m", "RETRY_MAX_AGE", "1m"), time.Minute, time.Minute},
	} {
		got, err := load(c.env)
		if err != nil || got.Policy.MinDelay != c.min || got.Policy.MaxDelay != c.max {
			t.Errorf("%s: got %s to %s, %v", name, got.Policy.MinDelay, got.Policy.MaxDelay, err)
		}
	}
}

// What is logged at the start is what is in effect.
func TestSettingsShowWhatDefaultsGiveWayTo(t *testing.T) {
	for name, c := range map[string]struct {
		env  map[string]string
		want []string
	}{
		"nothing": {env(), []string{"RETRY_MIN_DELAY=1m RETRY_MAX_DELAY=1h", "SMTP_MAX_CONNECTIONS=16", "SMTP_CONNECT_TIMEOUT=20s SMTP_GREETING_TIMEOUT=30s OAUTH_SECURE"}},
		"a delay": {env("RETRY_MIN_DELAY", "2h"), []string{"RETRY_MIN_DELAY=2h RETRY_MAX_DELAY=2h"}},
		"a life":  {env("RETRY_MAX_AGE", "30s"), []string{"RETRY_MIN_DELAY=30s RETRY_MAX_DELAY=30s"}},
		"the URI": {
			env("SMTP_CONNECTION_URI", "smtp://127.0.0.1:25?maxConnections=3&maxMessages=7&socketTimeout=5000"),
			[]string{"SMTP_MAX_CONNECTIONS=3 SMTP_MAX_MESSAGES_PER_CONNECTION=7 SMTP_PIPELINING=lookahead SMTP_RATE=none SMTP_CONNECT_TIMEOUT=20s SMTP_GREETING_TIMEOUT=30s SMTP_SOCKET_TIMEOUT=5s"},
		},
		"what is set, as it is": {env("RETRY_MIN_DELAY", "60s"), []string{"RETRY_MIN_DELAY=60s"}},
	} {
		got, err := load(c.env)
		for _, want := range c.want {
			if err != nil || !strings.Contains(fmt.Sprint(got), want) {
				t.Errorf("%s: %s is not in %s, %v", name, want, got, err)
			}
		}
	}
}

func TestRates(t *testing.T) {
	for v, want := range map[string]delivery.Rate{
		"none": {}, "14/second": {N: 14, Per: time.Second}, "600/minute": {N: 600, Per: time.Minute}, "2000/hour": {N: 2000, Per: time.Hour},
		"50000/day": {N: 50000, Per: 24 * time.Hour}, "5/30m": {N: 5, Per: 30 * time.Minute},
	} {
		got, err := load(env("SMTP_RATE", v))
		if err != nil || got.SMTPRate != want {
			t.Errorf("%s: got %v, %v", v, got.SMTPRate, err)
		}
	}
}

func TestWrongPolicies(t *testing.T) {
	const rate = "write a number from 1 to 1000000, a slash and a time from 1s to 720h, or second, minute, hour or day, as 20/1h or 5/minute, or none for no limit"
	cases := map[string]wrong{
		"no attempt":             {env("MAX_ATTEMPTS", "0"), `MAX_ATTEMPTS is "0": write a whole number from 1 to 100`},
		"endless attempts":       {env("MAX_ATTEMPTS", "101"), `MAX_ATTEMPTS is "101"`},
		"delay too short":        {env("RETRY_MIN_DELAY", "999ms"), `RETRY_MIN_DELAY is "999ms": write a time from 1s to 24h`},
		"delay too long":         {env("RETRY_MAX_DELAY", "169h"), `RETRY_MAX_DELAY is "169h": write a time from 1s to 168h`},
		"life too long":          {env("RETRY_MAX_AGE", "721h"), `RETRY_MAX_AGE is "721h": write a time from 1s to 720h`},
		"lapsed":                 {env("RETRY_LAPSED", "always"), `RETRY_LAPSED is "always": use one of never, before-data`},
		"shortest above longest": {env("RETRY_MIN_DELAY", "2m", "RETRY_MAX_DELAY", "1m"), "RETRY_MIN_DELAY is 2m, and RETRY_MAX_DELAY is 1m: lower RETRY_MIN_DELAY or raise RETRY_MAX_DELAY"},
		"longest above life":     {env("RETRY_MAX_DELAY", "25h"), "RETRY_MAX_DELAY is 25h, and RETRY_MAX_AGE is 24h: lower RETRY_MAX_DELAY or raise RETRY_MAX_AGE"},
		"shortest above life":    {env("RETRY_MIN_DELAY", "2h", "RETRY_MAX_AGE", "1h"), "RETRY_MIN_DELAY is 2h, and RETRY_MAX_AGE is 1h: lower RETRY_MIN_DELAY or raise RETRY_MAX_AGE"},
		"margin beyond half":     {env("LEASE_MARGIN", "30001ms"), "LEASE_MARGIN is 30.001s, more than half of LEASE_DURATION, which is 1m"},
		"attempt too short":      {env("ATTEMPT_TIMEOUT", "0s"), `ATTEMPT_TIMEOUT is "0s": write a time from 1s to 1h`},
		"fetch outlives attempt": {env("ATTEMPT_TIMEOUT", "20s", "ATTACHMENT_TIMEOUT", "20s"), "ATTACHMENT_TIMEOUT is 20s, and an attempt has only 20s (ATTEMPT_TIMEOUT)"},
		"bytes in flight":        {env("MAX_BYTES_IN_FLIGHT", "1048575"), `MAX_BYTES_IN_FLIGHT is "1048575": write a whole number of at least 1048576`},
		"pipelining":             {env("SMTP_PIPELINING", "true"), `SMTP_PIPELINING is "true": use one of lookahead, envelope, off`},
		"rate of mails":          {env("SMTP_RATE", "5/week"), `SMTP_RATE is "5/week": ` + rate},
		"empty rate":             {env("MAX_PER_DOCUMENT", ""), "MAX_PER_DOCUMENT is empty: give it a value, or unset it for 100/1h"},
	}
	for _, v := range []string{"0", "20", "/1h", "20/", "0/1h", "-1/1h", "+1/1h", "1000001/1h", "1/999ms", "1/721h", "20/1", "20/1h/1h", "20 / 1h", "None", "1e3/1h"} {
		cases["rate "+v] = wrong{env("MAX_PER_RECIPIENT", v), "MAX_PER_RECIPIENT is " + quote(v) + ": " + rate}
	}
	for name, c := range cases {
		c.check(t, name)
	}
	for _, v := range []string{"1/1s", "1000000/720h", "5/30m", "100/24h"} {
		if _, err := load(env("MAX_PER_DOCUMENT", v)); err != nil {
			t.Error(err)
		}
	}
	if _, err := load(env("LEASE_MARGIN", "30s")); err != nil {
		t.Errorf("half of the lease: %v", err)
	}
}

func TestRetrySettingsWithoutEffectAreAWarning(t *testing.T) {
	for name, c := range map[string]struct {
		env  map[string]string
		want int
	}{
		"one":           {env("RETRY_MAX_AGE", "48h"), 1},
		"all":           {env("RETRY_MIN_DELAY", "1s", "RETRY_MAX_DELAY", "2s", "RETRY_MAX_AGE", "3s", "MAX_ATTEMPTS", "1"), 3},
		"with attempts": {env("RETRY_MAX_AGE", "48h", "MAX_ATTEMPTS", "2"), 0},
		"with lapsed":   {env("RETRY_MAX_AGE", "48h", "RETRY_LAPSED", "before-data"), 0},
	} {
		got, err := load(c.env)
		if err != nil || len(got.Warnings) != c.want || c.want > 0 && !strings.Contains(got.Warnings[c.want-1], "RETRY_MAX_AGE has no effect: set MAX_ATTEMPTS") {
			t.Errorf("%s: %q, %v", name, got.Warnings, err)
		}
	}
}

func TestRecipientDomainsAreReadAsASCII(t *testing.T) {
	c, err := load(env("RECIPIENT_DOMAINS", " Example.COM, *.BÜCHER.example , xn--bcher-kva.test., *.a-b.test, a_b.test, bücher。test。"))
	want := []string{"example.com", "*.xn--bcher-kva.example", "xn--bcher-kva.test", "*.a-b.test", "a_b.test", "xn--bcher-kva.test"}
	if err != nil || !slices.Equal(c.RecipientDomains, want) {
		t.Errorf("got %q, %v", c.RecipientDomains, err)
	}
}

func TestWrongContentSettings(t *testing.T) {
	cases := map[string]wrong{
		"domains empty":               {env("RECIPIENT_DOMAINS", ""), "RECIPIENT_DOMAINS is empty: give it a value, or unset it"},
		"domains of nothing":          {env("RECIPIENT_DOMAINS", ", ,"), "RECIPIENT_DOMAINS is"},
		"templates without any":       {env("TEMPLATE_ONLY", "true", "DEFAULT_FROM", "a@b.test"), "TEMPLATES_COLLECTION is not set, and TEMPLATE_ONLY is true"},
		"templates without a sender":  {env("TEMPLATE_ONLY", "true", "TEMPLATES_COLLECTION", "t"), "DEFAULT_FROM is not set, and TEMPLATE_ONLY is true"},
		"neither true nor false":      {env("TEMPLATE_ONLY", "yes"), `TEMPLATE_ONLY is "yes"`},
		"a good domain and a bad one": {env("RECIPIENT_DOMAINS", "a.test,@b.test"), `RECIPIENT_DOMAINS has "@b.test" in it, which is not a domain`},
	}
	for _, v := range []string{"a@b.test", "*", "*.", "*.*.a.test", "a..b", ".a.test", "a b.test", "10.0.0.1", "[::1]", "https://a.test", "..", strings.Repeat("x", 64) + ".test"} {
		cases["domain "+v] = wrong{env("RECIPIENT_DOMAINS", v), "RECIPIENT_DOMAINS has " + quote(v) + " in it"}
	}
	for name, c := range cases {
		c.check(t, name)
	}
	if c, err := load(env("TEMPLATE_ONLY", "true", "TEMPLATES_COLLECTION", "t", "DEFAULT_FROM", "a@b.test")); err != nil || !c.TemplateOnly {
		t.Error(err)
	}
}
