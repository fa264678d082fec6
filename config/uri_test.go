package config

import (
	"errors"
	"reflect"
	"strings"
	"testing"
	"time"

	"postrider/smtp"
)

func TestURIs(t *testing.T) {
	type want struct {
		host           string
		port           int
		secure         bool
		user, password string
	}
	for in, w := range map[string]want{
		"smtp://127.0.0.1:2525":                    {"127.0.0.1", 2525, false, "", ""},
		"smtp://h":                                 {"h", 587, false, "", ""},
		"smtps://h/":                               {"h", 465, true, "", ""},
		" SMTPS://Mail.Example.COM ":               {"mail.example.com", 465, true, "", ""},
		"smtp://user:s3cret@h:25":                  {"h", 25, false, "user", "s3cret"},
		"smtp://user%40x.test@h":                   {"h", 587, false, "user@x.test", ""},
		"smtp://user@x.test:pw@h":                  {"h", 587, false, "user@x.test", "pw"},
		"smtp://user:a%20b%25c@h":                  {"h", 587, false, "user", "a b%c"},
		"smtp://user:a%23b:c@h":                    {"h", 587, false, "user", "a#b:c"},
		"smtp://user:50%@h":                        {"h", 587, false, "user", "50%"},
		"smtp://user:%zz%4@h":                      {"h", 587, false, "user", "%zz%4"},
		"smtp://user:%2541@h":                      {"h", 587, false, "user", "%41"}, // once only
		"smtp://u:caf%C3%A9@h":                     {"h", 587, false, "u", "café"},
		"smtp://:pw@h":                             {"h", 587, false, "", "pw"},
		"smtp://[::1]:2525":                        {"::1", 2525, false, "", ""},
		"smtp://[2001:db8::1]":                     {"2001:db8::1", 587, false, "", ""},
		"smtp://mail_server:25":                    {"mail_server", 25, false, "", ""},
		"smtp://bücher.example":                    {"xn--bcher-kva.example", 587, false, "", ""},
		"smtps://h:587?tls.servername=a.test":      {"h", 587, true, "", ""},
		"smtp://apikey:SG.x-y_z@smtp.sendgrid.net": {"smtp.sendgrid.net", 587, false, "apikey", "SG.x-y_z"},
	} {
		u, err := parseURI(in)
		got := want{u.host, u.port, u.secure, u.user, u.password}
		if err != nil || got != w {
			t.Errorf("%s: got %+v, %v, want %+v", in, got, err, w)
		}
	}
}

func TestURIsThatAreRefused(t *testing.T) {
	for in, want := range map[string]error{
		"not a uri":              errNotURI,
		"127.0.0.1:25":           errNotURI,
		"smtp:h":                 errNotURI,
		"://h":                   errNotURI,
		"user@smtp://h":          errNotURI,
		"http://127.0.0.1":       errScheme,
		"direct://h":             errScheme,
		"smtp://":                errNoHost,
		"smtp://user:pw@":        errNoHost,
		"smtp://:25":             errNoHost,
		"smtp://a b":             errHost,
		"smtp://user:p/w@h":      errPort,
		"smtp://user:p#w@h":      errPort,
		"smtp://user:p?w@h":      errPort,
		"smtp://us?er@h":         nil, // host us with the option er@h, which the options refuse
		"smtp://h:0":             errPort,
		"smtp://h:65536":         errPort,
		"smtp://h:+25":           errPort,
		"smtp://::1":             errHost,
		"smtp://[1.2.3.4]":       errHost,
		"smtp://[::1":            errHost,
		"smtp://h:465":           errImplicit,
		"smtp://h/path":          nil,
		"smtp://h/#x":            nil,
		"smtp://us/er@h":         errHost,
		"smtp://us#er@h":         errHost,
		"smtp://user:a%0D%0Ab@h": errControl,
		"smtp://h/?name=%zz":     errQuery,
		"smtp://a..b":            errHost,
		"smtp://\u034f":          errHost, // a character that names ignore
		"smtp://h\x00":           errHost,
	} {
		if _, err := parseURI(in); !errors.Is(err, want) {
			t.Errorf("%s: got %v, want %v", in, err, want)
		}
	}
	if _, err := load(env("SMTP_CONNECTION_URI", "smtp://us?er@h")); err == nil {
		t.Error("an option that nobody knows is accepted")
	}
}

func TestURIOptionsTakeEffect(t *testing.T) {
	for in, want := range map[string]smtp.Options{
		"?pool=true":               {MaxMessages: 100},
		"?pool=false":              {MaxMessages: 1},
		"?maxConnections=3":        {MaxConnections: 3},
		"?maxMessages=7":           {MaxMessages: 7},
		"?name=client.test":        {Name: "client.test"},
		"?greetingTimeout=600":     {GreetingTimeout: 600 * time.Millisecond},
		"?socketTimeout=900":       {SocketTimeout: 900 * time.Millisecond},
		"?connectionTimeout=5000":  {ConnectTimeout: 5 * time.Second},
		"?dnsTimeout=5000":         {},
		"?socketTimeout=0":         {}, // stands for the default
		"?maxMessages=0":           {},
		"?requireTLS=true":         {StartTLS: smtp.Required},
		"?requireTLS=false":        {},
		"?ignoreTLS=true":          {StartTLS: smtp.Ignore},
		"?opportunisticTLS=true":   {},
		"?secure=false":            {},
		"?authMethod=cram-md5":     {Mechanism: "CRAM-MD5"},
		"?localAddress=127.0.0.2":  {LocalAddress: "127.0.0.2"},
		"?logger=true&debug=false": {},
	} {
		c, err := load(env("SMTP_CONNECTION_URI", "smtp://h/"+in))
		want.Host, want.Port = "h", 587
		if want.MaxMessages == 0 {
			want.MaxMessages = 100
		}
		if want.MaxConnections == 0 {
			want.MaxConnections = 16
		}
		if want.GreetingTimeout == 0 {
			want.GreetingTimeout = 30 * time.Second
		}
		if want.ConnectTimeout == 0 {
			want.ConnectTimeout = 20 * time.Second
		}
		if err != nil || !reflect.DeepEqual(c.SMTP, want) {
			t.Errorf("%s: got %+v, %v, want %+v", in, c.SMTP, err, want)
		}
	}
}

func TestThePasswordBesideTheURI(t *testing.T) {
	for name, c := range map[string]struct {
		uri, variable, user, password string
	}{
		"takes the place of the URI's":     {"smtp://user:old@h", "p@ss:w/rd%&", "user", "p@ss:w/rd%&"},
		"is added to the user":             {"smtp://user%40x.test@h", "pw", "user@x.test", "pw"},
		"may be empty":                     {"smtp://user:old@h", "", "user", "old"},
		"keeps its spaces":                 {"smtp://user@h", " p w ", "user", " p w "},
		"may be there without a user":      {"smtp://h", "x", "", "x"},
		"is that of SendGrid's fixed user": {"smtps://smtp.sendgrid.net", "SG.x", "apikey", "SG.x"},
	} {
		got, err := load(env("SMTP_CONNECTION_URI", c.uri, "SMTP_PASSWORD", c.variable))
		if err != nil || got.SMTP.Username != c.user || got.SMTP.Password.Reveal() != c.password {
			t.Errorf("%s: got %q %q, %v", name, got.SMTP.Username, got.SMTP.Password.Reveal(), err)
		}
	}
}

func FuzzURI(f *testing.F) {
	for _, s := range []string{
		"smtp://user:pw@h:25/?pool=true&tls.rejectUnauthorized=false", "smtps://[::1]", "smtp://%zz:@:@x", "not a uri", "smtp://h:465/#?",
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		c, err := load(env("SMTP_CONNECTION_URI", s))
		if err != nil {
			if len(faults(t, err)) == 0 {
				t.Error("no fault is named")
			}
			return
		}
		o := c.SMTP
		if o.Host == "" || strings.ContainsAny(o.Host, " \r\n\x00/@") || o.Port < 1 || o.Port > 65535 {
			t.Errorf("accepted with host %q, port %d", o.Host, o.Port)
		}
		if strings.ContainsAny(o.Username+o.Password.Reveal()+o.Name, "\r\n\x00") {
			t.Errorf("%q: lets a line break through", s)
		}
	})
}
