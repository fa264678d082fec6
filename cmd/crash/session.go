package main

import (
	"bufio"
	"bytes"
	"strings"
	"time"
)

// session is the server's side of one SMTP connection.
type session struct {
	server *mailServer
	link   *link
	in     *bufio.Reader
	out    *bufio.Writer
	done   <-chan struct{} // closed when nobody waits any more

	doc        string   // whose mail is being sent; "" outside of a transaction
	recipients []string // accepted
	mood       mood
}

func newSession(s *mailServer, l *link, done <-chan struct{}) *session {
	return &session{server: s, link: l, in: bufio.NewReader(l), out: bufio.NewWriter(l), done: done}
}

// run answers commands until the connection ends.
func (c *session) run() {
	for ok := c.reply("220 crash.test ESMTP"); ok; {
		line, err := c.line()
		ok = err == nil && c.command(line)
	}
	_ = c.out.Flush()
}

// line reads one line, having sent what is waiting if there is none yet.
func (c *session) line() (string, error) {
	if waiting, _ := c.in.Peek(c.in.Buffered()); bytes.IndexByte(waiting, '\n') < 0 {
		if err := c.out.Flush(); err != nil {
			return "", err
		}
	}
	line, err := c.in.ReadString('\n')
	return strings.TrimRight(line, "\r\n"), err
}

func (c *session) reply(text string) bool {
	_, err := c.out.WriteString(text + "\r\n")
	return err == nil
}

func (c *session) command(line string) bool {
	verb, argument, _ := strings.Cut(line, " ")
	switch strings.ToUpper(verb) {
	case "EHLO", "HELO":
		return c.reply("250-crash.test\r\n250-PIPELINING\r\n250-8BITMIME\r\n250 ENHANCEDSTATUSCODES")
	case "MAIL", "RSET":
		c.doc, c.recipients = "", nil
		return c.reply("250 2.0.0 Ok")
	case "RCPT":
		return c.reply(c.recipient(argument))
	case "DATA":
		return c.data()
	case "NOOP":
		return c.reply("250 2.0.0 Ok")
	case "QUIT":
		c.reply("221 2.0.0 Bye")
		return false
	}
	return c.reply("502 5.5.2 Unknown command")
}

// recipient returns the answer to a RCPT, whose address tells the document.
func (c *session) recipient(argument string) string {
	_, rest, _ := strings.Cut(argument, "<")
	address, _, _ := strings.Cut(rest, ">")
	first, doc := parseAddress(address)
	if c.doc == "" {
		c.doc = doc
		c.mood = c.server.begin(doc, c.link)
	}
	if c.mood.rcpt && first {
		return "450 4.2.0 Mailbox busy"
	}
	c.recipients = append(c.recipients, address)
	return "250 2.1.5 Ok"
}

// data answers DATA, and takes the message.
func (c *session) data() bool {
	switch {
	case len(c.recipients) == 0:
		return c.reply("554 5.5.1 No valid recipients")
	case c.mood.data:
		return c.reply("451 4.3.0 Try again later")
	}
	if !c.reply("354 Go ahead") {
		return false
	}
	messageID := ""
	for {
		line, err := c.line()
		if err != nil {
			return false
		}
		if line == "." {
			return c.verdict(messageID)
		}
		if name, value, ok := strings.Cut(line, ": "); ok && messageID == "" && strings.EqualFold(name, "Message-ID") {
			messageID = value
		}
	}
}

// verdict answers the final dot. A mail that is accepted is so from the moment
// its dot has come: what becomes of the reply does not change that.
func (c *session) verdict(messageID string) bool {
	doc, m := c.doc, c.mood
	if m.dot {
		return c.reply("451 4.3.0 Try again later")
	}
	if !m.silent || m.taken {
		c.server.accept(doc, messageID, c.recipients)
	}
	if m.silent {
		c.server.journal.count(countSilences)
		c.server.keep(doc, keptSilent)
		_, _ = c.line() // until the worker goes
		return false
	}
	if m.delay >= lease {
		c.server.keep(doc, keptLong)
	}
	if !c.wait(m.delay) {
		return false
	}
	return c.reply("250 2.0.0 Ok: queued")
}

func (c *session) wait(d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-c.done:
		return false
	}
}
