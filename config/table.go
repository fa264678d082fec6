package config

import (
	"fmt"
	"io"
	"slices"
	"strings"
)

// Variable is one environment variable: a row of the table.
type Variable struct {
	Group   string // what it is about
	Name    string
	Default string // the value it has if it is not set; empty for none
	Meaning string
	Secret  bool // its value is never shown
	Private bool // its value is an address, and not logged

	ours bool // not one of the extension's: set to nothing is a fault
}

// The groups of variables, in the order of the table.
const (
	groupFirestore = "Firestore"
	groupMail      = "Mail"
	groupLimits    = "Limits"
	groupRetry     = "Retry"
	groupSMTP      = "SMTP server"
	groupOAuth2    = "SMTP server with AUTH_TYPE=OAuth2"
	groupContent   = "Attachments and templates"
	groupWorker    = "Worker"
	groupAPI       = "Status API"
)

// Table returns every variable the program reads, group by group.
func Table() []Variable {
	return slices.Concat(
		firestoreVariables(),
		mailVariables(),
		limitVariables(),
		retryVariables(),
		smtpVariables(),
		oauth2Variables(),
		contentVariables(),
		workerVariables(),
		apiVariables(),
	)
}

func firestoreVariables() []Variable {
	return []Variable{
		{Group: groupFirestore, Name: "GOOGLE_CLOUD_PROJECT", Meaning: "The project's ID. If it is not set, GCLOUD_PROJECT, GCP_PROJECT and the projectId in FIREBASE_CONFIG are tried; with an emulator, demo-postrider is used."},
		{Group: groupFirestore, Name: "GCLOUD_PROJECT", Meaning: "Used if GOOGLE_CLOUD_PROJECT is not set."},
		{Group: groupFirestore, Name: "GCP_PROJECT", Meaning: "Used if neither GOOGLE_CLOUD_PROJECT nor GCLOUD_PROJECT is set."},
		{Group: groupFirestore, Name: "FIREBASE_CONFIG", Meaning: "JSON as Firebase sets it; its projectId is used if none of the above is set."},
		{Group: groupFirestore, Name: "DATABASE", Default: "(default)", Meaning: "The database's ID."},
		{Group: groupFirestore, Name: "FIRESTORE_EMULATOR_HOST", Meaning: "host:port of a Firestore emulator to use instead of Google's service."},
		{Group: groupFirestore, Name: "MAIL_COLLECTION", Meaning: "Required. Path of the collection of mail documents, as mail or apps/a/mail."},
		{Group: groupFirestore, Name: "USERS_COLLECTION", Meaning: "Path of the collection in which toUids, ccUids and bccUids are looked up."},
		{Group: groupFirestore, Name: "TEMPLATES_COLLECTION", Meaning: "Path of the collection of templates. Without one, a document's template is ignored."},
		{Group: groupFirestore, Name: "STATE_COLLECTION", Default: "_postrider", Meaning: "Path of the collection in which the program keeps, for each mail collection, how far it has read and which instances there are.", ours: true},
		{Group: groupFirestore, Name: "DATABASE_REGION", Meaning: "Accepted and ignored: the program finds the database by its ID."},
		{Group: groupFirestore, Name: "LOCATION", Meaning: "Accepted and ignored: where the program runs is where it was started."},
	}
}

func mailVariables() []Variable {
	return []Variable{
		{Group: groupMail, Name: "DEFAULT_FROM", Private: true, Meaning: "Sender of documents without a from, as Shop <shop@example.com>. If it is not set, such documents end in ERROR."},
		{Group: groupMail, Name: "DEFAULT_REPLY_TO", Private: true, Meaning: "Reply-To of documents without a replyTo."},
		{Group: groupMail, Name: "TTL_EXPIRE_TYPE", Default: "never", Meaning: "Unit of TTL_EXPIRE_VALUE: never, hour, day, week, month or year. It sets delivery.expireAt, for a TTL policy of Firestore."},
		{Group: groupMail, Name: "TTL_EXPIRE_VALUE", Meaning: "How many of these units after delivery.startTime a document may be deleted, a whole number. Required unless TTL_EXPIRE_TYPE is never."},
	}
}

func limitVariables() []Variable {
	return []Variable{
		{Group: groupLimits, Name: "MAX_RECIPIENTS", Default: "1000", Meaning: "Recipients of one mail, and UIDs of one document.", ours: true},
		{Group: groupLimits, Name: "MAX_MESSAGE_BYTES", Default: "36700160", Meaning: "Largest message to send, encoded attachments included.", ours: true},
		{Group: groupLimits, Name: "MAX_PER_DOCUMENT", Default: "100/1h", Meaning: "Attempts of one document within a time, as 20/1h: a number from 1 to 1000000, a slash and a time from 1s to 720h; none for no limit. All count, and what goes beyond is refused if somebody asks for it by RETRY or PENDING; what the program tries again by itself MAX_ATTEMPTS bounds.", ours: true},
		{Group: groupLimits, Name: "MAX_PER_RECIPIENT", Default: "none", Meaning: "Mails to one address within a time, as 20/1h; a document that is sent again by hand counts by its attempts. It needs the index of deploy/firestore.indexes.json, and costs a read for each recipient. none for no limit.", ours: true},
		{Group: groupLimits, Name: "RECIPIENT_DOMAINS", Meaning: "Domains that mail may be sent to, separated by commas: example.com for the domain itself, *.example.com for those below it. A mail that has a recipient elsewhere is sent to nobody. If it is not set, every domain is allowed.", ours: true},
		{Group: groupLimits, Name: "TEMPLATE_ONLY", Default: "false", Meaning: "true refuses documents without a template, and those that bring anything the mail would say beside it: subject, text, html, amp or attachments in message, sendGrid, headers, from or replyTo. Names beside recipients' addresses are left out. It takes TEMPLATES_COLLECTION and DEFAULT_FROM.", ours: true},
	}
}

func retryVariables() []Variable {
	return []Variable{
		{Group: groupRetry, Name: "MAX_ATTEMPTS", Default: "1", Meaning: "Attempts of one mail, 1 to 100: after a failure that may pass it is tried again by itself, and sent to those only who have not got it. With 1 it never is, as by the extension.", ours: true},
		{Group: groupRetry, Name: "RETRY_MIN_DELAY", Default: "1m", Meaning: "Between the first attempt and the second, 1s to 24h. Each further wait is twice as long; all vary by a quarter at most.", ours: true},
		{Group: groupRetry, Name: "RETRY_MAX_DELAY", Default: "1h", Meaning: "Longest time between two attempts, 1s to 168h. Not less than RETRY_MIN_DELAY nor more than RETRY_MAX_AGE, to which its default gives way.", ours: true},
		{Group: groupRetry, Name: "RETRY_MAX_AGE", Default: "24h", Meaning: "How long after its first attempt a mail is still tried again, 1s to 720h.", ours: true},
		{Group: groupRetry, Name: "RETRY_LAPSED", Default: "never", Meaning: "Whether a mail is tried again whose worker died: never, as by the extension, or before-data, if nothing of it was sent yet, which takes one more write for each mail.", ours: true},
	}
}

func smtpVariables() []Variable {
	return []Variable{
		{Group: groupSMTP, Name: "SMTP_CONNECTION_URI", Secret: true, Meaning: "Required unless AUTH_TYPE is OAuth2. smtp://user@host:587 (STARTTLS where offered) or smtps://user@host:465 (TLS), then options as in ?requireTLS=true: " + uriOptionNames() + ". Special characters in user and password are percent-encoded."},
		{Group: groupSMTP, Name: "SMTP_PASSWORD", Secret: true, Meaning: "The password, as it is. It takes the place of one in SMTP_CONNECTION_URI."},
		{Group: groupSMTP, Name: "AUTH_TYPE", Default: authPassword, Meaning: "UsernamePassword, ApiKey (the same, the key being the password) or OAuth2."},
		{Group: groupSMTP, Name: "TLS_OPTIONS", Secret: true, Meaning: "JSON object: rejectUnauthorized, servername, minVersion and maxVersion (TLSv1.2, TLSv1.3), ca (PEM, a string or an array), cert and key (PEM). Certificates are verified unless rejectUnauthorized is false."},
		{Group: groupSMTP, Name: "SMTP_ALLOW_PLAINTEXT_AUTH", Default: "false", Meaning: "true lets user and password travel unencrypted to a server that is not on this machine.", ours: true},
		{Group: groupSMTP, Name: "SMTP_MAX_CONNECTIONS", Default: "16", Meaning: "Connections at once, 1 to 1000. In the URI: maxConnections.", ours: true},
		{Group: groupSMTP, Name: "SMTP_MAX_MESSAGES_PER_CONNECTION", Default: "100", Meaning: "Messages after which a connection is closed; 0 for no limit. In the URI: maxMessages.", ours: true},
		{Group: groupSMTP, Name: "SMTP_PIPELINING", Default: "lookahead", Meaning: "What is sent before replies have come, if the server offers PIPELINING: lookahead, a mail's envelope together with the end of the message before it; envelope, MAIL, RCPT and DATA of one mail; off, one command at a time. Use envelope if the server, or a filter before it, mixes up mails.", ours: true},
		{Group: groupSMTP, Name: "SMTP_RATE", Default: "none", Meaning: "At most so many mails within a time, for each instance: 14/second, 600/minute, 2000/hour, 50000/day, or as 5/30m. A tenth of them may go at once, the others evenly; documents beyond it wait unclaimed. With several instances, divide what the server allows among them. none for no limit.", ours: true},
		{Group: groupSMTP, Name: "SMTP_CONNECT_TIMEOUT", Default: "20s", Meaning: "For name look-up and connection, and again for the TLS handshake. In the URI, in milliseconds: connectionTimeout.", ours: true},
		{Group: groupSMTP, Name: "SMTP_GREETING_TIMEOUT", Default: "30s", Meaning: "From the connection to the server's greeting. In the URI, in milliseconds: greetingTimeout.", ours: true},
		{Group: groupSMTP, Name: "SMTP_SOCKET_TIMEOUT", Meaning: "For each reply. If it is not set, replies may take a minute, and the final one until the attempt's deadline. In the URI, in milliseconds: socketTimeout.", ours: true},
	}
}

func oauth2Variables() []Variable {
	return []Variable{
		{Group: groupOAuth2, Name: "HOST", Meaning: "Required. The server, as smtp.gmail.com. Ignored with any other AUTH_TYPE, as are all in this group."},
		{Group: groupOAuth2, Name: "OAUTH_PORT", Meaning: "The server's port; if it is not set, 465 with OAUTH_SECURE=true, else 587."},
		{Group: groupOAuth2, Name: "OAUTH_SECURE", Default: "false", Meaning: "true for TLS from the first byte, false for STARTTLS."},
		{Group: groupOAuth2, Name: "USER", Private: true, Meaning: "Required. The account to send as."},
		{Group: groupOAuth2, Name: "CLIENT_ID", Meaning: "Required. The OAuth client's ID."},
		{Group: groupOAuth2, Name: "CLIENT_SECRET", Secret: true, Meaning: "Required. The OAuth client's secret."},
		{Group: groupOAuth2, Name: "REFRESH_TOKEN", Secret: true, Meaning: "Required. The refresh token access tokens are fetched with."},
		{Group: groupOAuth2, Name: "OAUTH_TOKEN_URL", Default: "https://oauth2.googleapis.com/token", Meaning: "Where access tokens are fetched.", ours: true},
	}
}

func contentVariables() []Variable {
	return []Variable{
		{Group: groupContent, Name: "ATTACHMENT_ALLOW_BUCKETS", Meaning: "Cloud Storage buckets, separated by commas, from which gs:// attachments may come. They are read with the worker's own identity, whoever wrote the document.", ours: true},
		{Group: groupContent, Name: "ATTACHMENT_ALLOW_HOSTS", Meaning: "Host names and IP addresses without port, separated by commas, from which attachments may be fetched whatever network they are in; only they are sent a document's httpHeaders.", ours: true},
		{Group: groupContent, Name: "ATTACHMENT_MAX_BYTES", Default: "26214400", Meaning: "Largest attachment, before it is encoded.", ours: true},
		{Group: groupContent, Name: "ATTACHMENT_MAX_COUNT", Default: "100", Meaning: "Attachments a document may have, 1 to 1000.", ours: true},
		{Group: groupContent, Name: "ATTACHMENT_TIMEOUT", Default: "20s", Meaning: "For all fetches of one document together.", ours: true},
		{Group: groupContent, Name: "TEMPLATE_TIMEOUT", Default: "2s", Meaning: "For the rendering of one template.", ours: true},
	}
}

func workerVariables() []Variable {
	return []Variable{
		{Group: groupWorker, Name: "PORT", Default: "8080", Meaning: "Port of health, metrics and pages.", ours: true},
		{Group: groupWorker, Name: "LOG_LEVEL", Default: "info", Meaning: "debug, info, warn or error.", ours: true},
		{Group: groupWorker, Name: "CONCURRENCY", Default: "64", Meaning: "Attempts at once, 1 to 10000.", ours: true},
		{Group: groupWorker, Name: "MAX_BYTES_IN_FLIGHT", Default: "134217728", Meaning: "Memory for mails that are being made and sent, in bytes (128 MiB): their documents, attachments as they are fetched, and finished messages. What does not fit waits; one mail at a time may exceed it, so that none is too large. At least 1048576 (1 MiB). The program needs clearly more in all.", ours: true},
		{Group: groupWorker, Name: "LEASE_DURATION", Default: "60s", Meaning: "How long a claimed document belongs to the instance that claimed it, 10s to 1h. An attempt that goes on renews it.", ours: true},
		{Group: groupWorker, Name: "LEASE_MARGIN", Default: "10s", Meaning: "How long before the lease's end an attempt is over, unless the lease was renewed: time to write its outcome. At most half of LEASE_DURATION.", ours: true},
		{Group: groupWorker, Name: "ATTEMPT_TIMEOUT", Default: "10m", Meaning: "How long one attempt may take in all, 1s to 1h. A mail server may take ten minutes for its final reply (RFC 5321 §4.5.3.2.6).", ours: true},
		{Group: groupWorker, Name: "SWEEP_INTERVAL", Default: "35s", Meaning: "Between two searches for documents that wait or whose lease has lapsed, 1s to 10m.", ours: true},
		{Group: groupWorker, Name: "SOURCE", Default: "listen", Meaning: "How new documents come: listen, by a stream from Firestore; push, as events that Eventarc sends to POST /events.", ours: true},
		{Group: groupWorker, Name: "EVENTS_AUDIENCE", Meaning: "With SOURCE=push: audience of the OIDC token that a caller of /events must show, as pushConfig.oidcToken.audience of the trigger's subscription has it. Leave it unset on Cloud Run, which asks by itself and takes the tokens' signatures off.", ours: true},
		{Group: groupWorker, Name: "EVENTS_SERVICE_ACCOUNT", Private: true, Meaning: "Required with EVENTS_AUDIENCE: e-mail address of the trigger's service account, which the token must be of.", ours: true},
		{Group: groupWorker, Name: "AUDIT_INTERVAL", Default: "1h", Meaning: "Between two counts that find documents which no stream or event has told of, 1m to 24h. One is billed two reads for each 1,000 documents.", ours: true},
		{Group: groupWorker, Name: "DRAIN_TIMEOUT", Default: "8s", Meaning: "How long attempts may go on after SIGTERM, up to 10m. Cloud Run kills after 10s.", ours: true},
	}
}

func apiVariables() []Variable {
	return []Variable{
		{Group: groupAPI, Name: "API_ACCESS_KEYS", Secret: true, Meaning: "Keys that callers of the API sign with, separated by commas: base64 of at least 16 random bytes, as `openssl rand -base64 32` prints it. Any of them will do, so that one can be replaced while both are in use. If it is not set, the API is off.", ours: true},
		{Group: groupAPI, Name: "API_SENDERS", Private: true, Meaning: "Senders that mails handed in to the API may have, separated by commas: shop@example.com for an address, example.com for all of a domain, *.example.com for those of the domains below it. If it is not set, the address of DEFAULT_FROM.", ours: true},
		{Group: groupAPI, Name: "API_RATE", Default: "50/second", Meaning: "Requests signed with one key, for each instance, as 50/second, 600/minute or 5/30m. So many may come at once; those beyond it get 429 and are told when to come again, one after the other. none for no limit.", ours: true},
		{Group: groupAPI, Name: "API_PUBLIC_URL", Meaning: "Scheme and host that clients call, as https://mail.example.com, for the links in answers. It has no path, for clients sign the path they call. If it is not set, those of the request: X-Forwarded-Proto and Host.", ours: true},
	}
}

// Usage prints the table for people, in 80 columns.
func Usage(w io.Writer) error {
	group := ""
	for _, v := range Table() {
		if v.Group != group {
			group = v.Group
			if _, err := fmt.Fprintf(w, "\n%s\n", group); err != nil {
				return err
			}
		}
		head := v.Name
		if v.Default != "" {
			head += "=" + v.Default
		}
		if _, err := fmt.Fprintf(w, "  %s\n%s", head, wrap(v.Meaning, "      ", 80)); err != nil {
			return err
		}
	}
	return nil
}

func wrap(text, indent string, width int) string {
	var b strings.Builder
	line := indent
	for _, word := range strings.Fields(text) {
		if line != indent && len(line)+len(word) >= width {
			b.WriteString(strings.TrimRight(line, " ") + "\n")
			line = indent
		}
		line += word + " "
	}
	b.WriteString(strings.TrimRight(line, " ") + "\n")
	return b.String()
}

// Markdown returns the table for the README: one table a group, each under its
// name in bold.
func Markdown() string {
	var b strings.Builder
	group := ""
	for _, v := range Table() {
		if v.Group != group {
			if group != "" {
				b.WriteString("\n")
			}
			group = v.Group
			b.WriteString("**" + group + "**\n\n| variable | default | meaning |\n| --- | --- | --- |\n")
		}
		value := ""
		if v.Default != "" {
			value = "`" + v.Default + "`"
		}
		meaning := strings.NewReplacer("|", `\|`, "<", `\<`).Replace(v.Meaning)
		fmt.Fprintf(&b, "| `%s` | %s | %s |\n", v.Name, value, meaning)
	}
	return b.String()
}
