package smtp

import (
	"bytes"
	"crypto/tls"
	"io"
	"net"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
)

// cutConn passes so many bytes on and then fails.
type cutConn struct {
	net.Conn
	room int
}

func (c *cutConn) Write(b []byte) (int, error) {
	n, err := c.Conn.Write(b[:min(len(b), c.room)])
	if c.room -= n; err == nil && n < len(b) {
		err = io.ErrClosedPipe
	}
	return n, err
}

// A record of TLS that has not left whole is worth nothing to the server. So the
// dot counts as flushed exactly if the server could read it, wherever the
// connection breaks, and wherever the dot falls among the records.
func TestOverTLSTheDotIsFlushedExactlyIfTheServerCanReadIt(t *testing.T) {
	t.Parallel()
	web := httptest.NewTLSServer(nil)
	defer web.Close()
	cert := web.TLS.Certificates[0]
	const record = 5 + 1 + 16 // what a record adds: header, type and tag (RFC 8446 §5.2)
	for what, c := range map[string]struct{ size, records int }{
		"one record":                   {100, 1},
		"the dot in two records":       {lastPart - 2, 2},
		"the dot in a record after it": {lastPart, 2},
	} {
		body := strings.Repeat("x", c.size-2) + "\r\n"
		all := c.size + len(".\r\n") + c.records*record
		seen := map[bool]int{}
		for room := all - 50; room <= all+1; room++ {
			read, err := cutOverTLS(t, cert, body, room)
			dot := bytes.HasSuffix(read, []byte("\r\n.\r\n"))
			if seen[dot]++; dot != (err == nil) {
				t.Errorf("%s, %d of %d bytes: the server has the dot: %v; %v", what, room, all, dot, err)
			}
		}
		if seen[true] != 2 {
			t.Errorf("%s: %v", what, seen)
		}
	}
}

// cutOverTLS sends a message over TLS on a connection that breaks after so many
// bytes of it, and returns what the server has read.
func cutOverTLS(t *testing.T, cert tls.Certificate, body string, room int) ([]byte, error) {
	t.Helper()
	ours, theirs := net.Pipe()
	defer theirs.Close()
	server := tls.Server(theirs, &tls.Config{
		Certificates: []tls.Certificate{cert}, MinVersion: tls.VersionTLS13,
		SessionTicketsDisabled: true, // a pipe holds nothing, and nobody reads
	})
	var read bytes.Buffer
	var serving sync.WaitGroup
	serving.Go(func() { _, _ = io.Copy(&read, server) })
	cut := &cutConn{ours, 1 << 20}
	p := taken(t)
	s := &session{conn: newConn(cut), o: &p.o, pool: p}
	cfg := p.o.TLS.Clone()
	cfg.InsecureSkipVerify = true
	if err := s.startTLS(t.Context(), cfg, p.o.ConnectTimeout); err != nil {
		t.Fatal(err)
	}
	cut.room = room
	err := s.message(&outgoing{lines: []byte(body)}, true)
	s.close()
	serving.Wait()
	return read.Bytes(), err
}
