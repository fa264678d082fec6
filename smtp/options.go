package smtp

import (
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"os"
	"strings"
	"time"
)

// StartTLS is when an unencrypted connection is turned into an encrypted one.
type StartTLS int

// The ways to use STARTTLS (RFC 3207). Where it is used, the certificate is
// verified.
const (
	Opportunistic StartTLS = iota // where the server offers it
	Required                      // always; a server that refuses is an error
	Ignore                        // never
)

// Pipelining is how much is sent without waiting for a reply, to a server that
// offers PIPELINING (RFC 2920).
type Pipelining int

// The ways to pipeline.
const (
	// Lookahead sends an envelope at once, and along with the end of the message
	// before it if the mail waited for a connection: see the package comment.
	Lookahead    Pipelining = iota
	EnvelopeOnly            // an envelope at once, after the reply to the message before it
	NoPipelining            // one command at a time
)

// Defaults of [Options].
const (
	DefaultMaxConnections  = 10
	DefaultIdleTimeout     = 30 * time.Second
	DefaultConnectTimeout  = 30 * time.Second
	DefaultGreetingTimeout = 30 * time.Second
	DefaultSocketTimeout   = 60 * time.Second
)

// verdictTimeout is how long the final reply may take if no socket timeout is
// set (RFC 5321 §4.5.3.2.6).
const verdictTimeout = 10 * time.Minute

// Options say which server to use, and how. Zero values of times and counts
// mean their defaults, but where said otherwise.
type Options struct {
	Host string // name or address
	Port int    // 1 to 65535

	Secure   bool        // TLS from the first byte (RFC 8314 §3.3); StartTLS then does not matter
	StartTLS StartTLS    // for connections that begin unencrypted
	TLS      *tls.Config // nil for defaults; ServerName defaults to Host, MinVersion to TLS 1.2

	// Name is what EHLO says; empty for this machine's name if it has a dot, else
	// [127.0.0.1].
	Name string

	// Username and Password are used where the server offers AUTH. Either one
	// without the other is ErrMissingCredentials there. A server on another
	// machine that offers AUTH as little as TLS gets no mail: see
	// AllowPlaintextAuth.
	Username string
	Password Secret

	// Mechanism is PLAIN, LOGIN, CRAM-MD5, SCRAM-SHA-1, SCRAM-SHA-256 or one of
	// the latter two with -PLUS; empty to choose from what the server offers.
	Mechanism string

	// OAuth2 replaces user and password by an access token; nil for none.
	OAuth2 *OAuth2

	// AllowPlaintextAuth lets user and password travel unencrypted to another
	// machine, and mail too if AUTH is not offered there though credentials or
	// OAuth2 are set. To a loopback address they always may; an OAuth2 token never
	// may.
	AllowPlaintextAuth bool

	Pipelining Pipelining

	// Wary is told when the pool stops for an hour to send envelopes along with the
	// message before them, as the server has not followed: e is what came of one.
	// Its mail is sent all the same. Nil for nobody.
	Wary func(e *Error)

	MaxConnections int           // at once
	MaxMessages    int           // transactions a connection; 0 means no limit
	IdleTimeout    time.Duration // after which an unused connection is closed

	ConnectTimeout  time.Duration // look-up and TCP connection, all addresses together; TLS handshake again
	GreetingTimeout time.Duration // from connection to 220

	// SocketTimeout is how long one reply, or the taking of 64 KiB of message, may
	// last. Where it is left zero, the final reply may take ten minutes (RFC 5321
	// §4.5.3.2.6). The limit of [Pool.Send] ends all of it sooner.
	SocketTimeout time.Duration

	LocalAddress string // IP address to connect from; empty for any

	// Resolver looks Host up, for every connection; nil for net.DefaultResolver.
	Resolver *net.Resolver
}

// Format prints the server alone, for every verb: fmt does not ask a [Secret]
// behind a pointer when the verb does not suit.
func (o Options) Format(f fmt.State, _ rune) {
	_, _ = fmt.Fprintf(f, "smtp options for %s:%d", o.Host, o.Port)
}

// check returns everything that is wrong with o.
func (o Options) check() error {
	var errs []error
	if o.Host == "" || strings.ContainsAny(o.Host, " \t\r\n\x00/") {
		errs = append(errs, fmt.Errorf("smtp: host %q is not a host name or address", o.Host))
	}
	if o.Port < 1 || o.Port > 65535 {
		errs = append(errs, fmt.Errorf("smtp: port %d is not between 1 and 65535", o.Port))
	}
	if hasControl(o.Name) || strings.Contains(o.Name, " ") {
		errs = append(errs, fmt.Errorf("smtp: name %q has spaces or control characters", o.Name))
	}
	if o.LocalAddress != "" && net.ParseIP(o.LocalAddress) == nil {
		errs = append(errs, fmt.Errorf("smtp: local address %q is not an IP address", o.LocalAddress))
	}
	if !knownMechanism(o.Mechanism) {
		errs = append(errs, fmt.Errorf("smtp: mechanism %q is not one of %s", o.Mechanism, strings.Join(mechanisms(), ", ")))
	}
	if o.Pipelining < Lookahead || o.Pipelining > NoPipelining {
		errs = append(errs, fmt.Errorf("smtp: there is no way %d to pipeline", o.Pipelining))
	}
	if o.MaxConnections < 0 || o.MaxMessages < 0 {
		errs = append(errs, errors.New("smtp: limits on connections and messages must not be negative"))
	}
	if min(o.IdleTimeout, o.ConnectTimeout, o.GreetingTimeout, o.SocketTimeout) < 0 {
		errs = append(errs, errors.New("smtp: timeouts must not be negative"))
	}
	if o.OAuth2 != nil {
		errs = append(errs, o.OAuth2.check())
	}
	return errors.Join(errs...)
}

// settled is Options with every default filled in.
type settled struct {
	Options
	verdictTimeout time.Duration
}

func (o Options) settle() settled {
	s := settled{Options: o}
	s.verdictTimeout = o.SocketTimeout
	if s.verdictTimeout == 0 {
		s.verdictTimeout = verdictTimeout
	}
	s.Mechanism = strings.ToUpper(o.Mechanism)
	if s.Name == "" {
		s.Name = ownName()
	}
	s.TLS = tlsConfig(o.TLS, o.Host)
	for _, d := range []struct {
		value *time.Duration
		def   time.Duration
	}{
		{&s.IdleTimeout, DefaultIdleTimeout},
		{&s.ConnectTimeout, DefaultConnectTimeout},
		{&s.GreetingTimeout, DefaultGreetingTimeout},
		{&s.SocketTimeout, DefaultSocketTimeout},
	} {
		if *d.value == 0 {
			*d.value = d.def
		}
	}
	if s.Resolver == nil {
		s.Resolver = net.DefaultResolver
	}
	if s.MaxConnections == 0 {
		s.MaxConnections = DefaultMaxConnections
	}
	return s
}

func tlsConfig(c *tls.Config, host string) *tls.Config {
	if c == nil {
		c = &tls.Config{}
	}
	c = c.Clone()
	if c.ServerName == "" {
		c.ServerName = host
	}
	if c.MinVersion == 0 {
		c.MinVersion = tls.VersionTLS12
	}
	c.DynamicRecordSizingDisabled = true // nobody waits for the first byte of a message: few records are better
	return c
}

// ownName is what nodemailer says in EHLO: the machine's name if it is fully
// qualified, else an address literal (RFC 5321 §4.1.3).
func ownName() string {
	name, err := os.Hostname()
	switch {
	case err != nil, !strings.Contains(name, "."), hasControl(name), strings.Contains(name, " "):
		return "[127.0.0.1]"
	case net.ParseIP(name) != nil:
		return "[" + name + "]"
	}
	return name
}
