package smtptest

import (
	"encoding/json"
	"errors"
	"time"
)

// Behaviour says how a [Server] answers. The zero value accepts everything. It
// reads the JSON of the corpus.
//
// A stage is one of greeting, ehlo, starttls, auth (the last reply of AUTH),
// auth1 (the ones before), mail, rcpt, data, dataEnd, rset, noop, quit and
// unknown.
type Behaviour struct {
	// Caps are the lines of the reply to EHLO after the first; nil for
	// PIPELINING, SIZE 35882577, 8BITMIME, SMTPUTF8 and ENHANCEDSTATUSCODES. AUTH
	// and STARTTLS are added by what follows.
	Caps []string `json:"caps"`

	AuthUsers   map[string]string `json:"authUsers"`   // user to password, or access token; not nil offers AUTH
	AuthMechs   []string          `json:"authMechs"`   // nil for PLAIN and LOGIN
	RequireAuth bool              `json:"requireAuth"` // MAIL is refused before AUTH
	AuthReply   string            `json:"authReply"`   // whatever the credentials were

	StartTLS    bool `json:"starttls"`
	ImplicitTLS bool `json:"implicitTls"`

	// Replies, lines separated by "\n"; empty for the usual ones.
	Greeting    string             `json:"greeting"`
	Ehlo        string             `json:"ehlo"` // HELO is accepted all the same
	Mail        Replies            `json:"mail"`
	Data        Replies            `json:"data"`
	DataEnd     Replies            `json:"dataEnd"`
	Rcpt        map[string]Replies `json:"rcpt"` // by address in lower case
	RcptDefault Replies            `json:"rcptDefault"`

	Delays map[string]Delay `json:"delays"` // before the reply, by stage
	DropAt string           `json:"dropAt"` // stage at which the connection is closed instead
	HangAt string           `json:"hangAt"` // stage from which on nothing is answered
	Down   bool             `json:"down"`   // nothing listens

	// Hold keeps back the reply to a message until it is closed; nil for not at all.
	Hold <-chan struct{} `json:"-"`

	// Record false discards what is received: no sessions, only counts. Nil
	// means true.
	Record *bool `json:"record"`
}

// Replies are used up one at a time, over all connections; the last one is
// repeated for ever. In JSON it is a string or a list.
type Replies []string

// UnmarshalJSON reads a string or a list of strings.
func (r *Replies) UnmarshalJSON(b []byte) error {
	var list []string
	if json.Unmarshal(b, &list) == nil {
		*r = list
		return nil
	}
	var one string
	if json.Unmarshal(b, &one) != nil {
		return errors.New("a reply must be a string or a list of strings")
	}
	*r = Replies{one}
	return nil
}

// Delay is a duration; in JSON it is a number of milliseconds.
type Delay time.Duration

// UnmarshalJSON reads a number of milliseconds.
func (d *Delay) UnmarshalJSON(b []byte) error {
	var ms float64
	if err := json.Unmarshal(b, &ms); err != nil {
		return err
	}
	*d = Delay(ms * float64(time.Millisecond))
	return nil
}

func (b *Behaviour) recording() bool { return b.Record == nil || *b.Record }

// clone copies the parts of b that are used up or read later.
func (b Behaviour) clone() *Behaviour {
	b.Mail, b.Data, b.DataEnd = append(Replies{}, b.Mail...), append(Replies{}, b.Data...), append(Replies{}, b.DataEnd...)
	b.RcptDefault = append(Replies{}, b.RcptDefault...)
	rcpt := make(map[string]Replies, len(b.Rcpt))
	for a, r := range b.Rcpt {
		rcpt[a] = append(Replies{}, r...)
	}
	b.Rcpt = rcpt
	return &b
}

// next takes the next reply of r, or def if there is none.
func (r *Replies) next(def string) string {
	if len(*r) == 0 {
		return def
	}
	first := (*r)[0]
	if len(*r) > 1 {
		*r = (*r)[1:]
	}
	if first == "" {
		return def
	}
	return first
}

// Session is what was said on one connection.
type Session struct {
	Commands     []string      `json:"commands"` // lines outside of messages, the AUTH exchange included, cut at 300 bytes
	Helo         string        `json:"helo"`     // what EHLO or HELO said last
	TLS          bool          `json:"tls"`
	Auth         *Auth         `json:"auth"` // the last credentials given, right or wrong
	Transactions []Transaction `json:"transactions"`
}

// Auth is what a client authenticated with. Pass is empty where the mechanism
// does not show it.
type Auth struct {
	Mech string `json:"mech"`
	User string `json:"user"`
	Pass string `json:"pass"`
}

// Transaction is one MAIL and what followed.
type Transaction struct {
	Mail      string `json:"mail"` // after "MAIL FROM:", parameters included
	Rcpt      []Rcpt `json:"rcpt"`
	Data      []byte `json:"data"`      // the message, dot-stuffing undone; nil if its final dot never came
	DataReply string `json:"dataReply"` // to the message, even if it was withheld
}

// Rcpt is one RCPT.
type Rcpt struct {
	To    string `json:"to"` // after "RCPT TO:", parameters included
	Reply string `json:"reply"`
}

func (s *Session) clone() Session {
	c := *s
	c.Commands = append([]string(nil), s.Commands...)
	c.Transactions = append([]Transaction(nil), s.Transactions...)
	for i := range c.Transactions {
		c.Transactions[i].Rcpt = append([]Rcpt(nil), c.Transactions[i].Rcpt...)
	}
	if s.Auth != nil {
		a := *s.Auth
		c.Auth = &a
	}
	return c
}
