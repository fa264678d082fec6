package config

import (
	"strings"
	"testing"
	"time"
)

func TestSourceIsTheWatchUnlessToldOtherwise(t *testing.T) {
	c, err := load(env())
	if err != nil || c.Push || c.AuditInterval != time.Hour || c.StateCollection != "_postrider" || c.Caller != (Caller{}) {
		t.Errorf("%v, %v", c, err)
	}
	c, err = load(env("SOURCE", "push", "EVENTS_AUDIENCE", "https://p.run.app", "EVENTS_SERVICE_ACCOUNT", "e@p.iam.gserviceaccount.com"))
	if err != nil || !c.Push || c.Caller != (Caller{"https://p.run.app", "e@p.iam.gserviceaccount.com"}) || len(c.Warnings) > 0 {
		t.Errorf("%v, %v, %q", c, err, c.Warnings)
	}
}

func TestSourceFaults(t *testing.T) {
	cases := map[string]wrong{
		"source":            {env("SOURCE", "poll"), `SOURCE is "poll": use one of listen, push`},
		"state is mail":     {env("STATE_COLLECTION", "mail"), `STATE_COLLECTION is "mail", as is MAIL_COLLECTION`},
		"state is a doc":    {env("STATE_COLLECTION", "a/b"), `STATE_COLLECTION is "a/b", which is the path of a document`},
		"audit too often":   {env("AUDIT_INTERVAL", "1s"), `AUDIT_INTERVAL is "1s": write a time from 1m to 24h`},
		"audience":          {env("SOURCE", "push", "EVENTS_AUDIENCE", "postrider"), `EVENTS_AUDIENCE is "postrider", which is not a URL`},
		"audience alone":    {env("EVENTS_AUDIENCE", "https://p.run.app"), `EVENTS_SERVICE_ACCOUNT is not set, and EVENTS_AUDIENCE is`},
		"account":           {env("EVENTS_AUDIENCE", "https://p.run.app", "EVENTS_SERVICE_ACCOUNT", "me"), `EVENTS_SERVICE_ACCOUNT has no e-mail address`},
		"account by itself": {env("SOURCE", "push", "EVENTS_SERVICE_ACCOUNT", "e@p.test"), `EVENTS_AUDIENCE is not set, and EVENTS_SERVICE_ACCOUNT is`},
	}
	for name, c := range cases {
		c.check(t, name)
	}
}

func TestOpenDoorForEventsIsWarnedOf(t *testing.T) {
	cases := map[string]struct {
		env  map[string]string
		want string
	}{
		"nobody is asked":  {env("SOURCE", "push"), "EVENTS_AUDIENCE is not set, and nobody"},
		"nothing is asked": {env("EVENTS_AUDIENCE", "https://p.run.app", "EVENTS_SERVICE_ACCOUNT", "e@p.test"), "EVENTS_AUDIENCE has no effect"},
	}
	for name, c := range cases {
		got, err := load(c.env)
		if err != nil || len(got.Warnings) != 1 || !strings.HasPrefix(got.Warnings[0], c.want) {
			t.Errorf("%s: %v, %q", name, err, got.Warnings)
		}
	}
}
