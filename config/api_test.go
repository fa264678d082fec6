package config

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/rs/zerolog"

	"postrider/delivery"
	"postrider/smtp"
)

// apiKey returns a key of so many bytes as it is set.
func apiKey(letter string, n int) string {
	return base64.StdEncoding.EncodeToString([]byte(strings.Repeat(letter, n)))
}

func TestTheAPIIsOffUnlessThereIsAKey(t *testing.T) {
	c, err := load(env("DEFAULT_FROM", "Shop <shop@example.com>"))
	if err != nil || c.API.Keys != nil || c.API.Senders != nil || len(c.Warnings) > 0 {
		t.Errorf("%+v, %v, %q", c.API, err, c.Warnings)
	}
	c, err = load(env("API_ACCESS_KEYS", apiKey("a", 16), "DEFAULT_FROM", "Shop <shop@example.com>"))
	if err != nil || !slices.Equal(c.API.Senders, []string{"shop@example.com"}) || c.API.Rate != (delivery.Rate{N: 50, Per: time.Second}) || c.API.PublicURL != "" || len(c.Warnings) > 0 {
		t.Errorf("%+v, %v, %q", c.API, err, c.Warnings)
	}
}

func TestMailsThatCanNeverBeSentAreWarnedOf(t *testing.T) {
	c, err := load(env("API_ACCESS_KEYS", apiKey("a", 16), "DEFAULT_FROM", "a@b.test", "TEMPLATES_COLLECTION", "t", "TEMPLATE_ONLY", "true"))
	if err != nil || len(c.Warnings) != 1 || !strings.Contains(c.Warnings[0], "TEMPLATE_ONLY is true, and every mail that is handed in to the API ends in ERROR") {
		t.Errorf("%v, %q", err, c.Warnings)
	}
}

func TestKeysOfTheAPIAreDecodedInTheirOrder(t *testing.T) {
	c, err := load(env("API_ACCESS_KEYS", " "+apiKey("b", 32)+", "+apiKey("a", 17)+",\n", "DEFAULT_FROM", "a@b.test"))
	want := []smtp.Secret{smtp.Secret(strings.Repeat("b", 32)), smtp.Secret(strings.Repeat("a", 17))}
	if err != nil || !slices.Equal(c.API.Keys, want) {
		t.Errorf("%d keys, %v", len(c.API.Keys), err)
	}
}

func TestSendersOfTheAPI(t *testing.T) {
	for in, want := range map[string][]string{
		"shop@example.com":                       {"shop@example.com"},
		"Shop@Example.COM.":                      {"shop@example.com"},
		"example.com, *.Bücher.example":          {"example.com", "*.xn--bcher-kva.example"},
		"a+b.c@x.test,ö@BÜCHER.test,,o'k@y.test": {"a+b.c@x.test", "ö@xn--bcher-kva.test", "o'k@y.test"},
	} {
		c, err := load(env("API_ACCESS_KEYS", apiKey("a", 16), "API_SENDERS", in, "DEFAULT_FROM", "other@example.com"))
		if err != nil || !slices.Equal(c.API.Senders, want) {
			t.Errorf("%s: got %q, %v", in, c.API.Senders, err)
		}
	}
	for from, want := range map[string]string{
		"a@B.test":                            "a@b.test",
		"\"Shop, Inc.\" <shop@x.test>, b@y.z": "shop@x.test",
		"Bücher <info@bücher.test>":           "info@xn--bcher-kva.test",
	} {
		c, err := load(env("API_ACCESS_KEYS", apiKey("a", 16), "DEFAULT_FROM", from))
		if err != nil || !slices.Equal(c.API.Senders, []string{want}) || len(c.Warnings) > 0 {
			t.Errorf("%s: got %q, %v, %q", from, c.API.Senders, err, c.Warnings)
		}
	}
}

func TestThePublicURLHasNoPath(t *testing.T) {
	for in, want := range map[string]string{
		"https://mail.example.com":       "https://mail.example.com",
		"HTTPS://Mail.Example.com/":      "https://mail.example.com",
		"http://127.0.0.1:8080":          "http://127.0.0.1:8080",
		"https://[2001:db8::1]:8443/":    "https://[2001:db8::1]:8443",
		"https://[2001:db8::1]":          "https://[2001:db8::1]",
		"https://bücher.example":         "https://xn--bcher-kva.example",
		"http://postrider_1.internal:80": "http://postrider_1.internal:80",
	} {
		c, err := load(env("API_ACCESS_KEYS", apiKey("a", 16), "API_PUBLIC_URL", in, "DEFAULT_FROM", "a@b.test"))
		if err != nil || c.API.PublicURL != want {
			t.Errorf("%s: got %q, %v", in, c.API.PublicURL, err)
		}
	}
	for _, in := range []string{
		"mail.example.com", "mail.example.com:443", "ftp://mail.example.com", "https://mail.example.com/api", "https://mail.example.com/%2f",
		"https://mail.example.com?", "https://mail.example.com?a=1", "https://mail.example.com/#a",
		"https://", "https:", "https:///", "https://:443", "https://a b", "https://a..b", "https://h:0x1", "https://h:65536", "//h",
		"https://[fe80::1%25eth0]", "https://[::1", "https:mail.example.com",
	} {
		wrong{env("API_ACCESS_KEYS", apiKey("a", 16), "API_PUBLIC_URL", in), "API_PUBLIC_URL is " + fmt.Sprintf("%q", in)}.check(t, in)
	}
	for _, in := range []string{"https://me:hunter2@mail.example.com", "https://hunter2@h", "https://me:hunter2%@h", "me:hunter2@h"} {
		_, err := load(env("API_ACCESS_KEYS", apiKey("a", 16), "API_PUBLIC_URL", in))
		if err == nil || !strings.Contains(err.Error(), "API_PUBLIC_URL has a user in it") || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%s: %v", in, err)
		}
	}
}

func TestWrongSettingsOfTheAPI(t *testing.T) {
	good := apiKey("hunter2", 4)
	for name, c := range map[string]wrong{
		"empty":              {env("API_ACCESS_KEYS", ""), "API_ACCESS_KEYS is empty: give it a value, or unset it"},
		"only commas":        {env("API_ACCESS_KEYS", ", ,"), "API_ACCESS_KEYS has no key in it"},
		"not base64":         {env("API_ACCESS_KEYS", good+",hunter2-hunter2-hunter2"), "API_ACCESS_KEYS has something else than base64 as key 2 of 2"},
		"of URLs":            {env("API_ACCESS_KEYS", strings.Repeat("-_", 22)), "API_ACCESS_KEYS has something else than base64 as key 1 of 1: write keys in base64 (RFC 4648 §4) with its padding"},
		"without padding":    {env("API_ACCESS_KEYS", strings.TrimRight(apiKey("a", 16), "=")), "API_ACCESS_KEYS has something else than base64"},
		"line break":         {env("API_ACCESS_KEYS", good[:8]+"\n"+good[8:]), "API_ACCESS_KEYS has something else than base64"},
		"bits left over":     {env("API_ACCESS_KEYS", apiKey("a", 15)+"YR=="), "API_ACCESS_KEYS has something else than base64"},
		"too short":          {env("API_ACCESS_KEYS", apiKey("a", 15)), "API_ACCESS_KEYS has a key of 15 bytes as key 1 of 1: use keys of at least 16 bytes"},
		"twice":              {env("API_ACCESS_KEYS", good+","+apiKey("a", 16)+","+good), "API_ACCESS_KEYS has the same key as key 3 of 3 and as key 1"},
		"too many":           {env("API_ACCESS_KEYS", strings.Repeat(good+",", 17)), "API_ACCESS_KEYS has 17 keys in it: keep those in use, 16 at most"},
		"senders empty":      {env("API_SENDERS", ""), "API_SENDERS is empty"},
		"senders none":       {env("API_SENDERS", ","), `API_SENDERS is ",", which has no sender in it`},
		"sender with a name": {env("API_SENDERS", "Shop <shop@example.com>"), `API_SENDERS has "Shop <shop@example.com>" in it, which is neither an address nor a domain: write shop@example.com for one address`},
		"sender of all":      {env("API_SENDERS", "*"), `API_SENDERS has "*" in it`},
		"at a domain":        {env("API_SENDERS", "@example.com"), `API_SENDERS has "@example.com" in it`},
		"part of an address": {env("API_SENDERS", "*@example.com"), `API_SENDERS has "*@example.com" in it`},
		"at subdomains":      {env("API_SENDERS", "a@*.example.com"), `API_SENDERS has "a@*.example.com" in it`},
		"two at signs":       {env("API_SENDERS", "a@b@example.com"), `API_SENDERS has "a@b@example.com" in it`},
		"address literal":    {env("API_SENDERS", "a@[127.0.0.1]"), `API_SENDERS has "a@[127.0.0.1]" in it`},
		"rate":               {env("API_RATE", "50"), `API_RATE is "50": write a number from 1 to 1000000, a slash`},
	} {
		c.check(t, name)
	}
}

func TestWhatHasNoEffectForTheAPIIsWarnedOf(t *testing.T) {
	key := apiKey("a", 16)
	for name, c := range map[string]wrong{
		"senders without a key": {env("API_SENDERS", "a@b.test"), "API_SENDERS has no effect: set API_ACCESS_KEYS, or unset it"},
		"rate without a key":    {env("API_RATE", "none"), "API_RATE has no effect"},
		"URL without a key":     {env("API_PUBLIC_URL", "https://a.test"), "API_PUBLIC_URL has no effect"},
		"no sender":             {env("API_ACCESS_KEYS", key), "API_SENDERS is not set, nor is DEFAULT_FROM: no mail can be handed in"},
		"no address to read":    {env("API_ACCESS_KEYS", key, "DEFAULT_FROM", "Shop, Inc <a@b.test>"), "API_SENDERS is not set, and DEFAULT_FROM has no address to take its place"},
		"sender":                {env("API_ACCESS_KEYS", key, "API_SENDERS", "a@b.test"), ""},
		"rate":                  {env("API_ACCESS_KEYS", key, "API_SENDERS", "a@b.test", "API_RATE", "none"), ""},
	} {
		got, err := load(c.env)
		if err != nil || (c.want == "") != (len(got.Warnings) == 0) || c.want != "" && !strings.HasPrefix(got.Warnings[0], c.want) {
			t.Errorf("%s: got %q, %v, want %s …", name, got.Warnings, err, c.want)
		}
	}
}

func TestKeysAndSendersOfTheAPIAreNotShown(t *testing.T) {
	c, err := load(env("API_ACCESS_KEYS", apiKey("k", 16), "DEFAULT_FROM", "someone@example.com"))
	if err != nil {
		t.Fatal(err)
	}
	asJSON, err := json.Marshal(map[string]any{"config": c, "keys": c.API.Keys})
	if err != nil {
		t.Fatal(err)
	}
	var log bytes.Buffer
	logger := zerolog.New(&log)
	logger.Info().Any("keys", c.API.Keys).EmbedObject(c).Msg("")
	shown := fmt.Sprintf("%v %+v %#v %x %d", c, c.API, c.API.Keys, c.API.Keys, c.API.Keys) + fmt.Sprint(c.Settings()) + string(asJSON) + log.String()
	for _, secret := range []string{"kkkk", "6b6b", "107 107", apiKey("k", 16)} {
		if strings.Contains(shown, secret) {
			t.Errorf("shows %s: %s", secret, shown)
		}
	}
	settings := fmt.Sprint(c.Settings())
	if strings.Contains(settings, "someone") || !strings.Contains(settings, "{API_SENDERS [address] false}") || !strings.Contains(settings, "{API_ACCESS_KEYS [secret] true}") {
		t.Error(settings)
	}
}
