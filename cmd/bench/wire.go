package main

import (
	"bufio"
	"context"
	"fmt"
	"net"
	"strings"
)

// wire is a kept SMTP connection over which the same mail goes again and again,
// from bytes made beforehand and pipelined (RFC 2920).
type wire struct {
	conn     net.Conn
	in       *bufio.Reader
	envelope string
}

// The mail is the one that the worker makes of a document of [outbox.creation].
const (
	bareBoundary = "=_6f1b0a4e-6c7a-4c1e-9a55-0d7c2f3b8e11_1"
	bareHeader   = "From: Shop <shop@sender.test>\r\nTo: ada@rcpt.test\r\nSubject: Your order\r\n" +
		"Message-ID: <6f1b0a4e-6c7a-4c1e-9a55-0d7c2f3b8e11@sender.test>\r\nDate: Tue, 01 Jul 2025 12:00:00 +0000\r\n" +
		"MIME-Version: 1.0\r\nContent-Type: multipart/alternative;\r\n boundary=\"" + bareBoundary + "\"\r\n\r\n"
	bareText = "--" + bareBoundary + "\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: 7bit\r\n\r\nIt is on its way.\r\n"
	bareHTML = "--" + bareBoundary + "\r\nContent-Type: text/html; charset=utf-8\r\nContent-Transfer-Encoding: 7bit\r\n\r\n<p>It is on its way.</p>\r\n"
	bareMail = bareHeader + bareText + bareHTML + "--" + bareBoundary + "--\r\n"
)

// bareEnvelope returns the commands of the mail. SIZE is the message without the
// final dot (RFC 1870 §4).
func bareEnvelope() string {
	return fmt.Sprintf("MAIL FROM:<shop@sender.test> SIZE=%d\r\nRCPT TO:<ada@rcpt.test>\r\nDATA\r\n", len(bareMail))
}

// dial opens a session.
func dial(ctx context.Context, address string) (*wire, error) {
	conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", address)
	if err != nil {
		return nil, fmt.Errorf("connect to the mail server: %w", err)
	}
	w := &wire{conn, bufio.NewReader(conn), bareEnvelope()}
	if err = w.expect("220"); err == nil {
		err = w.say("EHLO [127.0.0.1]\r\n", "250")
	}
	if err != nil {
		_ = conn.Close()
		return nil, err
	}
	return w, nil
}

// send sends the mail: the envelope in one flight, and then the message.
func (w *wire) send() error {
	if err := w.say(w.envelope, "250", "250", "354"); err != nil {
		return err
	}
	return w.say(bareMail+".\r\n", "250")
}

// say sends bytes and expects a reply for each code.
func (w *wire) say(bytes string, codes ...string) error {
	if _, err := w.conn.Write([]byte(bytes)); err != nil {
		return fmt.Errorf("send: %w", err)
	}
	for _, code := range codes {
		if err := w.expect(code); err != nil {
			return err
		}
	}
	return nil
}

// expect reads one reply, all lines of it.
func (w *wire) expect(code string) error {
	for {
		line, err := w.in.ReadSlice('\n')
		if err != nil {
			return fmt.Errorf("read a reply: %w", err)
		}
		if !strings.HasPrefix(string(line), code) {
			return fmt.Errorf("the mail server said %q instead of %s", line, code)
		}
		if len(line) < 4 || line[3] != '-' {
			return nil
		}
	}
}
