package inbox

import (
	"bufio"
	"context"
	"io"
	"net"
	"strings"
	"testing"
)

// A sink finds the end of every message, and takes what follows
// it in the same packet.
func TestSinkFindsTheEndOfEachMessage(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	s, served := &Sink{}, make(chan error, 1)
	go func() { served <- s.ServeSMTP(ctx, l) }()
	conn, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if _, err := io.WriteString(conn, "EHLO client.test\r\n"); err != nil {
		t.Fatal(err)
	}
	long := strings.Repeat("x", 64<<10)
	for _, body := range []string{"", "..\r\n", "x.\r\n", ".\n.\n\r\n", long + ".\r\n", long + "\r\n.x\r\n"} {
		if _, err := io.WriteString(conn, "MAIL FROM:<>\r\nRCPT TO:<a@b.test>\r\nDATA\r\n"+body+".\r\nNOOP\r\n"); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := io.WriteString(conn, "VRFY a\r\nQUIT\r\n"); err != nil {
		t.Fatal(err)
	}
	codes, lines := "", bufio.NewScanner(conn)
	for lines.Scan() {
		if text := lines.Text(); text[3] == ' ' {
			codes += text[:3] + " "
		}
	}
	if want := "220 250 " + strings.Repeat("250 250 354 250 250 ", 6) + "252 221 "; codes != want {
		t.Errorf("it replied %s\nnot         %s", codes, want)
	}
	cancel()
	if err := <-served; err != nil || s.Sessions() != 1 {
		t.Errorf("%v, %d sessions", err, s.Sessions())
	}
}
