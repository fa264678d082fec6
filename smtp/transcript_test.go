package smtp

import (
	"bufio"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// A dialogue file holds "# comment", "mail FROM TO... | TEXT" for each mail that
// is sent, one after the other, "C:" and "S:" lines, "connect" where the client
// must open another connection ("connect anew" if the server leaves the old one
// open), "close" where the server closes it, and "=
// OUTCOME" for each mail in turn. Lines of the client that follow each other
// must come without the server having answered: they are one flight. One by
// one is checked by the reply's being due before the next line.

func TestDialogues(t *testing.T) {
	files, err := filepath.Glob("testdata/dialogues/*.txt")
	if err != nil || len(files) < 8 {
		t.Fatalf("%d dialogues: %v", len(files), err)
	}
	for _, f := range files {
		t.Run(strings.TrimSuffix(filepath.Base(f), ".txt"), func(t *testing.T) {
			t.Parallel()
			b, err := os.ReadFile(f)
			if err != nil {
				t.Fatal(err)
			}
			playDialogue(t, strings.Split(strings.TrimRight(string(b), "\n"), "\n"))
		})
	}
}

func playDialogue(t *testing.T, lines []string) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	if err := l.(*net.TCPListener).SetDeadline(time.Now().Add(20 * time.Second)); err != nil {
		t.Fatal(err)
	}
	var mails []Mail
	var want, script []string
	together := false
	for _, line := range lines {
		kind, rest, _ := strings.Cut(line, " ")
		switch kind {
		case "#":
		case "together":
			together = true
		case "mail":
			mails = append(mails, scriptedMail(rest))
		case "=":
			want = append(want, rest)
		default:
			script = append(script, line)
		}
	}
	done := make(chan error, 1)
	go func() { done <- serveScript(l, script) }()
	o := Options{Host: "127.0.0.1", Port: l.Addr().(*net.TCPAddr).Port, Name: "client.test"}
	if together {
		o.MaxConnections = 1
	}
	p, err := NewPool(o)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	if together {
		for _, out := range inOrder(t, p, mails...) {
			got = append(got, describe(out.r, out.err))
		}
		mails = nil
	}
	for _, m := range mails {
		got = append(got, describe(p.Send(t.Context(), t.Context(), m)))
	}
	p.Close()
	if err := <-done; err != nil {
		t.Errorf("server: %v", err)
	}
	if strings.Join(got, "\n") != strings.Join(want, "\n") {
		t.Errorf("got:\n%s\nwant:\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

func scriptedMail(s string) Mail {
	addresses, text, _ := strings.Cut(s, " | ")
	f := strings.Fields(addresses)
	return Mail{
		Envelope: Envelope{From: strings.Trim(f[0], "<>"), To: f[1:]},
		Message:  []byte(strings.ReplaceAll(text, `\n`, "\r\n") + "\r\n"),
	}
}

// describe is a result on one line.
func describe(r Result, err error) string {
	var parts []string
	rs := r.Recipients
	var e *Error
	if errors.As(err, &e) {
		rs = e.Recipients
		parts = append(parts, fmt.Sprintf("%s %s temporary=%v possibly=%v", e.Stage, e.Cause(), e.Temporary(), e.PossiblyAccepted))
		if !e.Reply.IsZero() {
			parts = append(parts, e.Reply.String())
		}
	} else {
		parts = append(parts, "delivered", r.Reply.String())
	}
	for _, r := range rs {
		parts = append(parts, fmt.Sprintf("%s:%d", r.Address, r.Reply.Code))
	}
	return strings.ReplaceAll(strings.Join(parts, " | "), "\n", "/")
}

func serveScript(l net.Listener, script []string) error {
	var c net.Conn
	var in *bufio.Reader
	accept := func() (err error) {
		if c, err = l.Accept(); err == nil {
			in = bufio.NewReader(c)
			err = c.SetDeadline(time.Now().Add(20 * time.Second))
		}
		return err
	}
	if err := accept(); err != nil {
		return err
	}
	defer func() { c.Close() }()
	var replies strings.Builder // written at once, as they would arrive
	for i, line := range script {
		what, text, _ := strings.Cut(line, ": ")
		switch what {
		case "close":
			c.Close()
		case "connect", "connect anew":
			if what == "connect" {
				c.Close()
			} else {
				defer c.Close()
			}
			if err := accept(); err != nil {
				return err
			}
		case "S":
			if in.Buffered() > 0 {
				rest, _ := in.Peek(in.Buffered())
				return fmt.Errorf("line %d: the client did not wait for %q: %q", i+1, text, rest)
			}
			replies.WriteString(text + "\r\n")
			if i+1 < len(script) && strings.HasPrefix(script[i+1], "S: ") {
				continue
			}
			if _, err := c.Write([]byte(replies.String())); err != nil {
				return err
			}
			replies.Reset()
		case "C":
			got, err := in.ReadString('\n')
			if err != nil {
				return fmt.Errorf("line %d: after %q: %w", i+1, got, err)
			}
			if got != text+"\r\n" {
				return fmt.Errorf("line %d: got %q, want %q", i+1, got, text)
			}
		default:
			return fmt.Errorf("line %d: %q is not understood", i+1, line)
		}
	}
	return nil
}
