package config

import (
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"net"
	"regexp"
	"strings"
	"time"

	"github.com/rs/zerolog"

	"postrider/delivery"
	"postrider/smtp"
)

// emulatorProject is the project with an emulator if none is named. Google's
// tools never contact the real service for a project whose ID begins with demo-.
const emulatorProject = "demo-postrider"

// Config is the settings of one worker, checked. Printing it, as JSON or
// through a logger, too, shows its variables with the secrets left out.
type Config struct {
	Project      string // Google Cloud project ID
	Database     string // "(default)" or a database's ID
	EmulatorHost string // host:port of a Firestore emulator; empty for Google's service

	MailCollection      string // path, as "mail" or "a/b/mail"
	UsersCollection     string // path; empty for none
	TemplatesCollection string // path; empty for none
	StateCollection     string // path of what the program remembers

	DefaultFrom    string // empty for none
	DefaultReplyTo string // empty for none
	Policy         delivery.Policy

	SMTP     smtp.Options
	SMTPRate delivery.Rate // of mails to the server; the zero Rate for no limit

	RecipientDomains []string // that mail may go to, as "example.com" and "*.example.org"; nil for all
	TemplateOnly     bool     // documents bring a template and nothing of their own

	AllowHosts         []string // hosts attachments may be fetched from in any network
	AllowBuckets       []string // buckets gs:// attachments may come from
	MaxRecipients      int      // of one mail
	MaxAttachmentBytes int64
	MaxAttachments     int
	MaxMessageBytes    int64
	AttachmentTimeout  time.Duration // all fetches of one document
	TemplateTimeout    time.Duration // one rendering

	Port             int
	LogLevel         zerolog.Level
	Concurrency      int           // attempts at once
	MaxBytesInFlight int           // of mails being made and sent
	Lease            time.Duration // from claim to lapse, if it is not renewed
	LeaseMargin      time.Duration // an attempt ends this long before its lease; at most half of it
	AttemptTimeout   time.Duration // of one attempt, however often its lease is renewed
	SweepInterval    time.Duration
	AuditInterval    time.Duration
	Push             bool   // documents come by events instead of the watch
	Caller           Caller // who may send the events
	DrainTimeout     time.Duration

	API API

	// Warnings say what has no effect, or another than it seems, a line each:
	// settings that the extension lets pass, too.
	Warnings []string

	settings []Setting
}

// Load reads the environment through lookup, which is os.LookupEnv or behaves
// like it. Its error joins every [*Fault] there is.
func Load(lookup func(string) (string, bool)) (Config, error) {
	r := newReader(lookup)
	c := Config{
		DefaultFrom:    r.address("DEFAULT_FROM"),
		DefaultReplyTo: r.address("DEFAULT_REPLY_TO"),
		Policy:         r.policy(),

		AllowHosts:         r.hosts("ATTACHMENT_ALLOW_HOSTS"),
		AllowBuckets:       r.buckets("ATTACHMENT_ALLOW_BUCKETS"),
		MaxRecipients:      int(r.number("MAX_RECIPIENTS", 1, 100_000)),
		MaxAttachmentBytes: r.number("ATTACHMENT_MAX_BYTES", 1, math.MaxInt64),
		MaxAttachments:     int(r.number("ATTACHMENT_MAX_COUNT", 1, 1000)),
		MaxMessageBytes:    r.number("MAX_MESSAGE_BYTES", 1, math.MaxInt64),
		AttachmentTimeout:  r.duration("ATTACHMENT_TIMEOUT", time.Second, time.Hour),
		TemplateTimeout:    r.duration("TEMPLATE_TIMEOUT", 10*time.Millisecond, time.Hour),

		Port:             int(r.number("PORT", 1, 65535)),
		LogLevel:         r.logLevel(),
		Concurrency:      int(r.number("CONCURRENCY", 1, 10000)),
		MaxBytesInFlight: int(r.number("MAX_BYTES_IN_FLIGHT", 1<<20, math.MaxInt)),
		SMTPRate:         r.rate("SMTP_RATE"),
		Lease:            r.duration("LEASE_DURATION", 10*time.Second, time.Hour),
		LeaseMargin:      r.duration("LEASE_MARGIN", time.Second, time.Hour),
		AttemptTimeout:   r.duration("ATTEMPT_TIMEOUT", time.Second, time.Hour),
		SweepInterval:    r.duration("SWEEP_INTERVAL", time.Second, 10*time.Minute),
		DrainTimeout:     r.duration("DRAIN_TIMEOUT", time.Millisecond, 10*time.Minute),
	}
	r.firestore(&c)
	r.source(&c)
	r.content(&c)
	r.api(&c)
	c.SMTP = r.smtp()
	r.crossCheck(c)
	if len(r.faults) > 0 {
		return Config{}, errors.Join(r.faults...)
	}
	c.settings, c.Warnings = r.settings(c.effective()), r.warnings
	return c, nil
}

// crossCheck compares settings with each other: what an attempt is made of has
// to fit into the time an attempt has, and a lease has to leave one time enough
// to be renewed.
func (r *reader) crossCheck(c Config) {
	if c.LeaseMargin > c.Lease/2 {
		r.fault("LEASE_MARGIN", fmt.Sprintf("is %s, more than half of LEASE_DURATION, which is %s", short(c.LeaseMargin), short(c.Lease)),
			"leave attempts half of their lease: make the margin shorter or the lease longer")
	}
	for _, name := range [...]string{
		"SMTP_CONNECT_TIMEOUT", "SMTP_GREETING_TIMEOUT", "SMTP_SOCKET_TIMEOUT", "ATTACHMENT_TIMEOUT", "TEMPLATE_TIMEOUT",
	} {
		v, err := time.ParseDuration(r.text(name))
		if r.isSet(name) && err == nil && v >= c.AttemptTimeout {
			r.fault(name, fmt.Sprintf("is %s, and an attempt has only %s (ATTEMPT_TIMEOUT)", short(v), short(c.AttemptTimeout)),
				"make it shorter, or ATTEMPT_TIMEOUT longer")
		}
	}
}

func (r *reader) firestore(c *Config) {
	c.EmulatorHost = r.text("FIRESTORE_EMULATOR_HOST")
	if _, _, err := net.SplitHostPort(c.EmulatorHost); err != nil && c.EmulatorHost != "" {
		r.fault("FIRESTORE_EMULATOR_HOST", "is "+quote(c.EmulatorHost), "write host:port, as localhost:8081, without a scheme")
	}
	c.Project = r.project(c.EmulatorHost != "")
	c.Database = r.text("DATABASE")
	if c.Database != "(default)" && !databaseID.MatchString(c.Database) {
		r.fault("DATABASE", "is "+quote(c.Database), "use the database's ID, of lower-case letters, digits and hyphens, or unset it for (default)")
	}
	c.MailCollection = r.collection("MAIL_COLLECTION", r.required("MAIL_COLLECTION", "mail"))
	c.UsersCollection = r.collection("USERS_COLLECTION", r.text("USERS_COLLECTION"))
	c.TemplatesCollection = r.collection("TEMPLATES_COLLECTION", r.text("TEMPLATES_COLLECTION"))
	r.stateCollection(c)
}

// databaseID is what a database may be called; Google's service asks for more.
var databaseID = regexp.MustCompile(`^[a-z0-9]([a-z0-9-]*[a-z0-9])?$`)

func (r *reader) project(emulator bool) string {
	for _, name := range [...]string{"GOOGLE_CLOUD_PROJECT", "GCLOUD_PROJECT", "GCP_PROJECT"} {
		if v := r.text(name); v != "" {
			if strings.ContainsAny(v, "/ ") {
				r.fault(name, "is "+quote(v), "use the project's ID, as my-project-123")
			}
			return v
		}
	}
	if v, _ := r.lookup("FIREBASE_CONFIG"); v != "" {
		var firebase struct {
			ProjectID string `json:"projectId"`
		}
		if err := json.Unmarshal([]byte(v), &firebase); err != nil {
			r.fault("FIREBASE_CONFIG", "is not JSON", "set GOOGLE_CLOUD_PROJECT to the project's ID instead")
			return ""
		}
		if firebase.ProjectID != "" {
			return firebase.ProjectID
		}
	}
	if emulator {
		return emulatorProject
	}
	r.fault("GOOGLE_CLOUD_PROJECT", "is not set", "set it to the ID of the project whose Firestore holds the mail")
	return ""
}

// collection checks the path of a collection, empty for none.
func (r *reader) collection(name, path string) string {
	if path == "" {
		return ""
	}
	segments := strings.Split(path, "/")
	for _, s := range segments {
		switch {
		case s == "" || s == "." || s == ".." || len(s) > 1500 || strings.HasPrefix(s, "__") && strings.HasSuffix(s, "__"):
			r.fault(name, "is "+quote(path)+", which is not a path in Firestore", "write names with single slashes between them, as mail or apps/a/mail")
			return ""
		case strings.ContainsAny(s, "{}"):
			r.fault(name, "is "+quote(path)+", with a wildcard in it", "name one collection; run an instance for each")
			return ""
		}
	}
	if len(segments)%2 == 0 {
		r.fault(name, "is "+quote(path)+", which is the path of a document", "name a collection: one, three, five … segments, as apps/a/mail")
		return ""
	}
	return path
}

// address checks a list of addresses no further than to tell it from something
// else: composing reads it.
func (r *reader) address(name string) string {
	v := r.text(name)
	if v != "" && !strings.Contains(v, "@") {
		r.fault(name, "is "+quote(v)+", which has no address in it", "write shop@example.com or Shop <shop@example.com>")
		return ""
	}
	return v
}

// hosts reads a list of hosts. An empty one names none.
func (r *reader) hosts(name string) []string {
	if !r.isSet(name) {
		return nil
	}
	list := r.list(name)
	for _, host := range list {
		_, err := hostName(host)
		if net.ParseIP(host) == nil && (err != nil || strings.HasPrefix(host, "[")) {
			r.fault(name, "has "+quote(host)+" in it, which is not a host", "write names or addresses without scheme, port and path, as files.internal,10.0.0.7")
		}
	}
	return list
}

// buckets reads names of Cloud Storage buckets.
func (r *reader) buckets(name string) []string {
	if !r.isSet(name) {
		return nil
	}
	list := r.list(name)
	for _, bucket := range list {
		if strings.ContainsAny(bucket, "/: ") || strings.Trim(bucket, ".") == "" {
			r.fault(name, "has "+quote(bucket)+" in it, which is not a bucket's name", "write names without gs:// and path, as invoices,newsletter-images")
		}
	}
	return list
}

func (r *reader) logLevel() zerolog.Level {
	switch r.choice("LOG_LEVEL", "debug", "info", "warn", "error") {
	case "debug":
		return zerolog.DebugLevel
	case "warn":
		return zerolog.WarnLevel
	case "error":
		return zerolog.ErrorLevel
	}
	return zerolog.InfoLevel
}
