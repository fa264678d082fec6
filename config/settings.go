package config

import (
	"encoding/json"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"

	"github.com/rs/zerolog"

	"postrider/smtp"
)

// Setting is a variable as it was read.
type Setting struct {
	Name  string
	Value string // what is in effect where it was not set; [secret] for a secret, [address] for an address
	Set   bool   // by the environment
}

// settings lists every variable that has a value. Effective has the values of
// those whose default is not what is in effect.
func (r *reader) settings(effective map[string]string) []Setting {
	var out []Setting
	for _, row := range Table() {
		s := Setting{Name: row.Name, Value: row.Default, Set: r.isSet(row.Name)}
		if v := effective[row.Name]; v != "" {
			s.Value = v
		}
		if s.Set {
			v, _ := r.lookup(row.Name)
			s.Value = strings.TrimSpace(v)
		}
		switch {
		case row.Secret:
			s.Value = smtp.Secret(s.Value).String()
		case row.Private && s.Value != "":
			s.Value = "[address]"
		}
		if s.Value != "" {
			out = append(out, s)
		}
	}
	return out
}

// effective returns the values of the variables whose default gives way: to
// another variable, or to an option of the URI.
func (c Config) effective() map[string]string {
	values := map[string]string{
		"SMTP_MAX_CONNECTIONS":             strconv.Itoa(c.SMTP.MaxConnections),
		"SMTP_MAX_MESSAGES_PER_CONNECTION": strconv.Itoa(c.SMTP.MaxMessages),
		"API_SENDERS":                      strings.Join(c.API.Senders, ","),
	}
	for name, d := range map[string]time.Duration{
		"RETRY_MIN_DELAY":       c.Policy.MinDelay,
		"RETRY_MAX_DELAY":       c.Policy.MaxDelay,
		"SMTP_CONNECT_TIMEOUT":  c.SMTP.ConnectTimeout,
		"SMTP_GREETING_TIMEOUT": c.SMTP.GreetingTimeout,
		"SMTP_SOCKET_TIMEOUT":   c.SMTP.SocketTimeout,
	} {
		if d > 0 {
			values[name] = short(d)
		}
	}
	return values
}

// Settings returns every variable that has a value, in the table's order,
// secrets and addresses left out.
func (c Config) Settings() []Setting { return c.settings }

// Format prints the settings, whatever the verb.
func (c Config) Format(w fmt.State, _ rune) {
	for i, s := range c.settings {
		sep := " "
		if i == 0 {
			sep = ""
		}
		_, _ = io.WriteString(w, sep+s.Name+"="+s.Value)
	}
}

// MarshalJSON returns the settings as an object.
func (c Config) MarshalJSON() ([]byte, error) {
	m := make(map[string]string, len(c.settings))
	for _, s := range c.settings {
		m[s.Name] = s.Value
	}
	return json.Marshal(m)
}

// MarshalZerologObject writes the settings into a log line.
func (c Config) MarshalZerologObject(e *zerolog.Event) {
	for _, s := range c.settings {
		e.Str(s.Name, s.Value)
	}
}
