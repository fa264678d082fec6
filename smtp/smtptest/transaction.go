package smtptest

import (
	"bytes"
	"strings"
)

func (c *conn) mail(line string) bool {
	var text string
	c.behaviour(func(b *Behaviour) {
		if b.RequireAuth && !c.auth {
			text = "530 5.7.0 Authentication required"
			return
		}
		c.tx = -1
		if b.recording() {
			c.rec.Transactions = append(c.rec.Transactions, Transaction{Mail: after(line, "MAIL FROM:")})
			c.tx = len(c.rec.Transactions) - 1
		}
		text = b.Mail.next("250 2.1.0 Ok")
	})
	return c.reply("mail", text)
}

func (c *conn) rcpt(line string) bool {
	var text string
	c.behaviour(func(b *Behaviour) {
		arg := after(line, "RCPT TO:")
		addr := arg
		if path, _, ok := strings.Cut(arg, ">"); ok && strings.HasPrefix(path, "<") {
			addr = path[1:]
		}
		addr = strings.ToLower(addr)
		if r := b.Rcpt[addr]; len(r) > 0 {
			text = r.next("250 2.1.5 Ok")
			b.Rcpt[addr] = r
		} else {
			text = b.RcptDefault.next("250 2.1.5 Ok")
		}
		if c.tx >= 0 {
			t := &c.rec.Transactions[c.tx]
			t.Rcpt = append(t.Rcpt, Rcpt{To: arg, Reply: text})
		}
	})
	return c.reply("rcpt", text)
}

// after returns what follows a command of that many bytes.
func after(line, command string) string {
	return strings.TrimSpace(line[min(len(line), len(command)):])
}

func (c *conn) data() bool {
	var text string
	c.behaviour(func(b *Behaviour) {
		text = b.Data.next("354 End data with <CR><LF>.<CR><LF>")
	})
	c.receive = strings.HasPrefix(text, "354")
	return c.reply("data", text)
}

// message takes what has come of a message, and answers it when its final dot
// is there. Where nothing is recorded, nothing is kept.
func (c *conn) message() bool {
	end, whole := c.endOfMessage()
	recorded := c.tx >= 0
	if !whole {
		if !recorded && c.from > 0 {
			c.s.bytes.Add(int64(c.from))
			c.in = append(c.in[:0], c.in[c.from:]...)
			c.from = 0
		}
		return c.fill()
	}
	body := c.in[:end]
	c.s.messages.Add(1)
	c.s.bytes.Add(int64(len(body)))
	var text string
	c.behaviour(func(b *Behaviour) {
		text = b.DataEnd.next("250 2.0.0 Ok: queued as SINK")
		if recorded {
			t := &c.rec.Transactions[c.tx]
			t.Data, t.DataReply = unstuff(body), text
		}
	})
	c.in = c.in[end+len(".\r\n"):]
	c.receive, c.begun, c.from = false, false, 0
	c.tx = -1
	return c.reply("dataEnd", text)
}

// endOfMessage finds the line that is a lone dot, looking at every byte once.
func (c *conn) endOfMessage() (end int, whole bool) {
	const dot = "\r\n.\r\n"
	if !c.begun {
		if len(c.in) < 3 {
			return 0, false
		}
		if bytes.HasPrefix(c.in, []byte(dot[2:])) {
			return 0, true
		}
		c.begun = true
	}
	if i := bytes.Index(c.in[c.from:], []byte(dot)); i >= 0 {
		return c.from + i + 2, true
	}
	c.from = max(c.from, len(c.in)-len(dot)+1) // the end may have begun
	return 0, false
}

// unstuff returns a copy of body with the dots that stuffing doubled taken
// out.
func unstuff(body []byte) []byte {
	out := make([]byte, 0, len(body))
	for line := range bytes.SplitAfterSeq(body, []byte("\r\n")) {
		if len(line) > 1 && line[0] == '.' && line[1] == '.' {
			line = line[1:]
		}
		out = append(out, line...)
	}
	return out
}
