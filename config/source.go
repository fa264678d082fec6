package config

import (
	"net/url"
	"strings"
	"time"
)

// Caller says how callers of /events are known. The zero value lets everybody
// call.
type Caller struct {
	Audience       string // of the OIDC token that a caller must show; empty for none
	ServiceAccount string // the e-mail address that must be in it; empty if and only if Audience is
}

// source reads where documents come from.
func (r *reader) source(c *Config) {
	c.Push = r.choice("SOURCE", "listen", "push") == "push"
	c.AuditInterval = r.duration("AUDIT_INTERVAL", time.Minute, 24*time.Hour)
	c.Caller = Caller{Audience: r.text("EVENTS_AUDIENCE"), ServiceAccount: r.text("EVENTS_SERVICE_ACCOUNT")}
	r.caller(c)
}

// stateCollection reads where the program keeps what it remembers.
func (r *reader) stateCollection(c *Config) {
	const name = "STATE_COLLECTION"
	c.StateCollection = r.collection(name, r.text(name))
	for _, other := range [...]string{"MAIL_COLLECTION", "USERS_COLLECTION", "TEMPLATES_COLLECTION"} {
		if c.StateCollection != "" && r.text(other) == c.StateCollection {
			r.fault(name, "is "+quote(c.StateCollection)+", as is "+other, "use a collection that nothing else uses")
		}
	}
}

// caller checks who may call /events.
func (r *reader) caller(c *Config) {
	account, audience := c.Caller.ServiceAccount, c.Caller.Audience
	if u, err := url.Parse(audience); audience != "" && (err != nil || u.Scheme == "" || u.Host == "") {
		r.fault("EVENTS_AUDIENCE", "is "+quote(audience)+", which is not a URL", "write the audience of the trigger's token, as https://mail.example.com")
	}
	if account != "" && strings.Count(account, "@") != 1 {
		r.fault("EVENTS_SERVICE_ACCOUNT", "has no e-mail address", "write the trigger's service account, as events@my-project.iam.gserviceaccount.com")
	}
	switch {
	case account != "" && audience == "":
		r.fault("EVENTS_AUDIENCE", "is not set, and EVENTS_SERVICE_ACCOUNT is", "set it to the audience of the trigger's token, as https://mail.example.com")
	case account == "" && audience != "":
		r.fault("EVENTS_SERVICE_ACCOUNT", "is not set, and EVENTS_AUDIENCE is", "set it to the trigger's service account, as events@my-project.iam.gserviceaccount.com")
	case c.Push && audience == "":
		r.warn("EVENTS_AUDIENCE", "is not set, and nobody who calls /events is asked who they are", "let the platform ask, as Cloud Run does of services that require authentication, or set it and EVENTS_SERVICE_ACCOUNT")
	case !c.Push && audience != "":
		r.warn("EVENTS_AUDIENCE", "has no effect", "set SOURCE=push, or unset it and EVENTS_SERVICE_ACCOUNT")
	}
}
