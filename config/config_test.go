package config

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/rs/zerolog"

	"postrider/delivery"
	"postrider/smtp"
)

// env is a small environment that is in order, changed by pairs of name and
// value.
func env(changes ...string) map[string]string {
	m := map[string]string{
		"GOOGLE_CLOUD_PROJECT": "p", "MAIL_COLLECTION": "mail", "SMTP_CONNECTION_URI": "smtp://127.0.0.1:2525",
	}
	for i := 0; i < len(changes); i += 2 {
		m[changes[i]] = changes[i+1]
	}
	return m
}

func load(m map[string]string) (Config, error) {
	return Load(func(name string) (string, bool) {
		v, ok := m[name]
		return v, ok
	})
}

// faults returns what is wrong, one line a fault.
func faults(t *testing.T, err error) []string {
	t.Helper()
	if err == nil {
		return nil
	}
	joined, ok := err.(interface{ Unwrap() []error })
	if !ok {
		t.Fatalf("%T is not joined", err)
	}
	var out []string
	for _, err := range joined.Unwrap() {
		var f *Fault
		if !errors.As(err, &f) || f.Variable == "" || f.Problem == "" || f.Remedy == "" {
			t.Errorf("%#v is no whole fault", err)
		}
		out = append(out, err.Error())
	}
	return out
}

func TestDefaultsAreInOrder(t *testing.T) {
	c, err := load(env())
	if err != nil {
		t.Fatal(err)
	}
	if c.Database != "(default)" || c.Port != 8080 || c.LogLevel != zerolog.InfoLevel || c.Concurrency != 64 ||
		c.Lease != time.Minute || c.LeaseMargin != 10*time.Second || c.DrainTimeout != 8*time.Second ||
		c.SweepInterval != 35*time.Second || c.Policy.TTL != (delivery.TTL{}) || c.MaxAttachmentBytes != 25<<20 ||
		c.MaxAttachments != 100 || c.MaxMessageBytes != 35<<20 || c.AttachmentTimeout != 20*time.Second ||
		c.TemplateTimeout != 2*time.Second {
		t.Errorf("got %#v", c.settings)
	}
	want := smtp.Options{
		Host: "127.0.0.1", Port: 2525, MaxConnections: 16, MaxMessages: 100,
		ConnectTimeout: 20 * time.Second, GreetingTimeout: 30 * time.Second,
	}
	if !reflect.DeepEqual(c.SMTP, want) {
		t.Errorf("got %+v, want %+v", c.SMTP, want)
	}
}

func TestEveryFaultIsReportedAtOnce(t *testing.T) {
	_, err := load(map[string]string{
		"MAIL_COLLECTION":     "apps/mail",
		"SMTP_CONNECTION_URI": "http://user:hunter2@127.0.0.1",
		"TTL_EXPIRE_TYPE":     "minute",
		"CONCURRENCY":         "many",
		"TLS_OPTIONS":         "{",
		"LEASE_DURATION":      "",
	})
	want := []string{
		`TTL_EXPIRE_TYPE is "minute": use one of never, hour, day, week, month, year`,
		`CONCURRENCY is "many": write a whole number from 1 to 10000`,
		`LEASE_DURATION is empty: give it a value, or unset it for 60s`,
		`GOOGLE_CLOUD_PROJECT is not set: set it to the ID of the project whose Firestore holds the mail`,
		`MAIL_COLLECTION is "apps/mail", which is the path of a document: name a collection: one, three, five … segments, as apps/a/mail`,
		`TLS_OPTIONS is not a JSON object: write a JSON object, as {"minVersion":"TLSv1.3"}, or unset it`,
		`SMTP_CONNECTION_URI is a URI of another kind than smtp:// and smtps://: write it as ` + exampleURI,
	}
	if got := faults(t, err); !slices.Equal(got, want) {
		t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

// wrong is an environment, and what one of its faults begins with.
type wrong struct {
	env  map[string]string
	want string
}

func (c wrong) check(t *testing.T, name string) {
	t.Helper()
	_, err := load(c.env)
	got := faults(t, err)
	if !slices.ContainsFunc(got, func(f string) bool { return strings.HasPrefix(f, c.want) }) {
		t.Errorf("%s: got %q, want %s …", name, got, c.want)
	}
	if strings.Contains(strings.Join(got, ""), "hunter2") {
		t.Errorf("%s: shows a secret: %q", name, got)
	}
}

func TestWrongSettings(t *testing.T) {
	for name, c := range map[string]wrong{
		"no collection":            {env("MAIL_COLLECTION", ""), "MAIL_COLLECTION is empty"},
		"two slashes":              {env("MAIL_COLLECTION", "a//b"), `MAIL_COLLECTION is "a//b", which is not a path`},
		"slash in front":           {env("USERS_COLLECTION", "/users"), "USERS_COLLECTION is"},
		"wildcard":                 {env("MAIL_COLLECTION", "users/{uid}/mail"), `MAIL_COLLECTION is "users/{uid}/mail", with a wildcard`},
		"reserved name":            {env("TEMPLATES_COLLECTION", "__t__"), "TEMPLATES_COLLECTION is"},
		"TTL value missing":        {env("TTL_EXPIRE_TYPE", "day"), "TTL_EXPIRE_VALUE is not set: set it, as 7 to keep documents for 7 days"},
		"TTL value not a number":   {env("TTL_EXPIRE_TYPE", "day", "TTL_EXPIRE_VALUE", "x"), `TTL_EXPIRE_VALUE is "x"`},
		"TTL beyond Firestore":     {env("TTL_EXPIRE_TYPE", "year", "TTL_EXPIRE_VALUE", "9000"), `TTL_EXPIRE_VALUE is "9000"`},
		"sender without address":   {env("DEFAULT_FROM", "The Shop"), `DEFAULT_FROM is "The Shop"`},
		"sender with a line break": {env("DEFAULT_FROM", "a@b.test\r\nBcc: c@d.test"), "DEFAULT_FROM has a line break"},
		"database":                 {env("DATABASE", "My DB"), `DATABASE is "My DB"`},
		"emulator":                 {env("FIRESTORE_EMULATOR_HOST", "http://localhost:80"), "FIRESTORE_EMULATOR_HOST is"},
		"project":                  {env("GOOGLE_CLOUD_PROJECT", "projects/p"), "GOOGLE_CLOUD_PROJECT is"},
		"port":                     {env("PORT", "70000"), `PORT is "70000": write a whole number from 1 to 65535`},
		"log level":                {env("LOG_LEVEL", "INFO"), `LOG_LEVEL is "INFO"`},
		"no unit":                  {env("DRAIN_TIMEOUT", "8"), `DRAIN_TIMEOUT is "8": write a time from 1ms to 10m`},
		"no time to drain":         {env("DRAIN_TIMEOUT", "0s"), `DRAIN_TIMEOUT is "0s"`},
		"negative":                 {env("ATTACHMENT_MAX_BYTES", "-1"), `ATTACHMENT_MAX_BYTES is "-1": write a whole number of at least 1`},
		"host with a scheme":       {env("ATTACHMENT_ALLOW_HOSTS", "ok.test, http://a.test"), `ATTACHMENT_ALLOW_HOSTS has "http://a.test" in it`},
		"host with a port":         {env("ATTACHMENT_ALLOW_HOSTS", "a.test:80"), `ATTACHMENT_ALLOW_HOSTS has "a.test:80" in it`},
		"margin as long as lease":  {env("LEASE_DURATION", "30s", "LEASE_MARGIN", "30s"), "LEASE_MARGIN is 30s, more than half of LEASE_DURATION, which is 30s: leave attempts half"},
	} {
		c.check(t, name)
	}
}

func TestWrongSMTPSettings(t *testing.T) {
	for name, c := range map[string]wrong{
		"no URI":                     {env("SMTP_CONNECTION_URI", ""), "SMTP_CONNECTION_URI is empty"},
		"not a URI":                  {env("SMTP_CONNECTION_URI", "not a uri"), "SMTP_CONNECTION_URI is not an SMTP connection URI"},
		"unknown option":             {env("SMTP_CONNECTION_URI", "smtp://h/?requiretls=true"), `SMTP_CONNECTION_URI has the unknown option "requiretls"`},
		"another way than SMTP":      {env("SMTP_CONNECTION_URI", "smtp://h/?lmtp=true"), "SMTP_CONNECTION_URI has a wrong lmtp: remove it"},
		"through a proxy":            {env("SMTP_CONNECTION_URI", "smtp://h/?proxy=http://p"), "SMTP_CONNECTION_URI has a wrong proxy: remove it"},
		"option twice":               {env("SMTP_CONNECTION_URI", "smtp://h/?pool=true&pool=true"), "SMTP_CONNECTION_URI has the option pool more than once"},
		"wrong option":               {env("SMTP_CONNECTION_URI", "smtp://h/?greetingTimeout=5s"), "SMTP_CONNECTION_URI has a wrong greetingTimeout: write a whole number from 0 to 86400000 of milliseconds"},
		"wrong TLS version":          {env("SMTP_CONNECTION_URI", "smtp://h/?tls.minVersion=1.2"), "SMTP_CONNECTION_URI has a wrong tls.minVersion"},
		"TLS on and off":             {env("SMTP_CONNECTION_URI", "smtp://h/?requireTLS=true&ignoreTLS=true"), "SMTP_CONNECTION_URI has both"},
		"scheme and secure differ":   {env("SMTP_CONNECTION_URI", "smtp://h/?secure=true"), "SMTP_CONNECTION_URI has a wrong secure: remove it"},
		"token without OAuth2":       {env("SMTP_CONNECTION_URI", "smtp://h/?authMethod=XOAUTH2"), "SMTP_CONNECTION_URI has a wrong authMethod: set AUTH_TYPE to OAuth2"},
		"timeout in two places":      {env("SMTP_CONNECTION_URI", "smtp://h/?socketTimeout=5", "SMTP_SOCKET_TIMEOUT", "5s"), "SMTP_CONNECTION_URI has a wrong socketTimeout: remove it from the URI"},
		"TLS option in two places":   {env("SMTP_CONNECTION_URI", "smtp://h/?tls.rejectUnauthorized=false", "TLS_OPTIONS", `{"rejectUnauthorized":true}`), "SMTP_CONNECTION_URI has a wrong tls.rejectUnauthorized: give it once"},
		"password with a line break": {env("SMTP_PASSWORD", "hunter2\n"), "SMTP_PASSWORD has a line break"},
		"auth type without a URI":    {env("AUTH_TYPE", "oauth2", "SMTP_CONNECTION_URI", ""), `AUTH_TYPE is "oauth2"`},
		"boolean":                    {env("SMTP_ALLOW_PLAINTEXT_AUTH", "yes"), `SMTP_ALLOW_PLAINTEXT_AUTH is "yes": use one of true, false`},
		"socket outlives attempt":    {env("SMTP_SOCKET_TIMEOUT", "10m"), "SMTP_SOCKET_TIMEOUT is 10m, and an attempt has only 10m (ATTEMPT_TIMEOUT): make it shorter"},
		"OAuth2 without anything":    {env("AUTH_TYPE", "OAuth2"), "REFRESH_TOKEN is not set"},
		"OAuth2 with a wrong host":   {env("AUTH_TYPE", "OAuth2", "HOST", "smtp://h"), `HOST is "smtp://h"`},
		"OAuth2 to 465 without TLS":  {env("AUTH_TYPE", "OAuth2", "OAUTH_PORT", "465"), "OAUTH_SECURE is false, and OAUTH_PORT is 465"},
		"token over http":            {env("AUTH_TYPE", "OAuth2", "OAUTH_TOKEN_URL", "http://a.test"), "OAUTH_TOKEN_URL is"},
	} {
		c.check(t, name)
	}
}

// What the extension takes, and does nothing with, is told and no fault.
func TestWhatTheExtensionLetsPassIsAWarning(t *testing.T) {
	for name, c := range map[string]wrong{
		"nothing to say":        {env(), ""},
		"hosts none":            {env("ATTACHMENT_ALLOW_HOSTS", ""), ""},
		"TLS options of null":   {env("TLS_OPTIONS", "null"), ""},
		"an option not for us":  {env("SMTP_CONNECTION_URI", "smtp://h/?rateLimit=5"), `SMTP_CONNECTION_URI has the option "rateLimit", which has no effect: remove it`},
		"a TLS option":          {env("SMTP_CONNECTION_URI", "smtp://h/?tls.ciphers=HIGH"), `SMTP_CONNECTION_URI has the option "tls.ciphers"`},
		"cipher suites":         {env("TLS_OPTIONS", `{"ciphers":"SSLv3"}`), `TLS_OPTIONS has "ciphers", which has no effect: remove it`},
		"a TLS option misspelt": {env("TLS_OPTIONS", `{"rejectUnauthorised":false}`), `TLS_OPTIONS has "rejectUnauthorised"`},
		"auth type":             {env("AUTH_TYPE", "usernamepassword"), `AUTH_TYPE is "usernamepassword" and counts as UsernamePassword: use one of`},
	} {
		got, err := load(c.env)
		if err != nil || (c.want == "") != (len(got.Warnings) == 0) || c.want != "" && !strings.HasPrefix(got.Warnings[0], c.want) {
			t.Errorf("%s: got %q, %v, want %s …", name, got.Warnings, err, c.want)
		}
	}
}

// TTL_EXPIRE_VALUE is read by JavaScript's parseInt.
func TestTheTTLIsReadAsByTheExtension(t *testing.T) {
	for in, want := range map[string]struct {
		value int
		warns bool
	}{
		"7": {7, false}, " 4 ": {4, false}, "0": {0, false}, "+2": {2, true}, "007": {7, true}, "-1": {-1, true},
		"1.9": {1, true}, "3x": {3, true}, "0x10": {16, true}, "1e2": {1, true}, "-0X1f": {-31, true},
	} {
		c, err := load(env("TTL_EXPIRE_TYPE", "day", "TTL_EXPIRE_VALUE", in))
		if want := (delivery.TTL{Unit: "day", Value: want.value}); err != nil || c.Policy.TTL != want {
			t.Errorf("%q: got %+v, %v", in, c.Policy.TTL, err)
		}
		if warns := len(c.Warnings) > 0; warns != want.warns {
			t.Errorf("%q: warnings %q", in, c.Warnings)
		}
	}
	for _, in := range []string{"x", "-", "+-1", "--1", "0x", "100001", "-100001", "99999999999", ".5"} {
		if c, err := load(env("TTL_EXPIRE_TYPE", "day", "TTL_EXPIRE_VALUE", in)); err == nil {
			t.Errorf("%q: got %+v", in, c.Policy.TTL)
		}
	}
}

// The extension's console leaves empty what is not filled in.
func TestTheExtensionsVariablesMayBeEmpty(t *testing.T) {
	m := env("GCLOUD_PROJECT", "", "TTL_EXPIRE_VALUE", "x") // a value that TTL_EXPIRE_TYPE does not ask for
	for _, v := range Table() {
		if _, ok := m[v.Name]; !ok && !v.ours {
			m[v.Name] = ""
		}
	}
	if _, err := load(m); err != nil {
		t.Error(err)
	}
}

func TestOnlyVariablesOfTheTableAreRead(t *testing.T) {
	read := map[string]bool{}
	for _, m := range []map[string]string{env(), env("AUTH_TYPE", "OAuth2", "TTL_EXPIRE_TYPE", "day", "GOOGLE_CLOUD_PROJECT", "")} {
		_, _ = Load(func(name string) (string, bool) {
			read[name] = true
			v, ok := m[name]
			return v, ok
		})
	}
	var table []string
	for _, v := range Table() {
		table = append(table, v.Name)
	}
	slices.Sort(table)
	if got := slices.Sorted(maps.Keys(read)); !slices.Equal(got, table) {
		t.Errorf("got  %q\nwant %q", got, table)
	}
}

func TestTheProjectIsFound(t *testing.T) {
	for want, m := range map[string]map[string]string{
		"a":             {"GOOGLE_CLOUD_PROJECT": "a", "GCLOUD_PROJECT": "b"},
		"b":             {"GCLOUD_PROJECT": "b", "GCP_PROJECT": "c"},
		"c":             {"GCP_PROJECT": "c", "FIREBASE_CONFIG": `{"projectId":"d"}`},
		"d":             {"FIREBASE_CONFIG": "{\n\"projectId\":\"d\"}", "FIRESTORE_EMULATOR_HOST": "localhost:1"},
		emulatorProject: {"FIRESTORE_EMULATOR_HOST": "localhost:1"},
	} {
		maps.Copy(m, map[string]string{"MAIL_COLLECTION": "mail", "SMTP_CONNECTION_URI": "smtp://h"})
		if c, err := load(m); err != nil || c.Project != want {
			t.Errorf("got %q, %v, want %q", c.Project, err, want)
		}
	}
}

func TestOAuth2(t *testing.T) {
	c, err := load(map[string]string{
		"GOOGLE_CLOUD_PROJECT": "p", "MAIL_COLLECTION": "a/b/mail", "AUTH_TYPE": "OAuth2", "HOST": "smtp.gmail.com",
		"OAUTH_SECURE": "true", "USER": "me@a.test", "CLIENT_ID": "i", "CLIENT_SECRET": "s", "REFRESH_TOKEN": "r",
	})
	if err != nil {
		t.Fatal(err)
	}
	want := smtp.OAuth2{User: "me@a.test", ClientID: "i", ClientSecret: "s", RefreshToken: "r", TokenURL: "https://oauth2.googleapis.com/token"}
	if c.SMTP.Host != "smtp.gmail.com" || c.SMTP.Port != 465 || !c.SMTP.Secure || *c.SMTP.OAuth2 != want || c.SMTP.Username != "" {
		t.Errorf("got %+v", c.SMTP)
	}
}

func TestSecretsAreNeverShown(t *testing.T) {
	const secret = "hunter2"
	c, err := load(env(
		"SMTP_CONNECTION_URI", "smtp://user:"+secret+"@h", "SMTP_PASSWORD", secret, "CLIENT_SECRET", secret,
		"REFRESH_TOKEN", secret, "USER", "me", "DEFAULT_FROM", "a@b.test",
	))
	if err != nil {
		t.Fatal(err)
	}
	if c.SMTP.Password.Reveal() != secret {
		t.Errorf("password %q", c.SMTP.Password.Reveal())
	}
	asJSON, err := json.Marshal(c)
	if err != nil {
		t.Fatal(err)
	}
	var log bytes.Buffer
	logger := zerolog.New(&log)
	logger.Info().Interface("a", c).Object("b", c).EmbedObject(c).Any("c", &c).Msg(fmt.Sprint(c))
	shown := []string{
		fmt.Sprint(c), fmt.Sprintf("%v %+v %#v %s %q %d %x", c, c, c, c, c, c, c), fmt.Sprintf("%+v %#v", &c, []Config{c}),
		fmt.Sprintf("%+v %#v", c.SMTP, c.SMTP), fmt.Sprint(c.Settings()), string(asJSON), log.String(),
	}
	for _, s := range shown {
		if strings.Contains(s, secret) || strings.Contains(s, fmt.Sprintf("%x", secret)) {
			t.Errorf("shows a secret: %s", s)
		}
	}
	for _, want := range []string{"DEFAULT_FROM=[address]", "SMTP_PASSWORD=[secret]", "CONCURRENCY=64"} {
		if !strings.Contains(shown[0], want) {
			t.Errorf("%s is not in %s", want, shown[0])
		}
	}
}
