package smtp

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"sync"
	"time"
)

// chunk is how much of a message is written under one deadline.
const chunk = 64 << 10

// conn is a connection to a server on which every operation has a deadline.
// One goroutine uses it at a time; only cut may come from another.
type conn struct {
	raw    net.Conn // TCP: deadlines are set here, below TLS
	stream net.Conn // raw, or TLS over it
	in     *bufio.Reader
	limit  time.Time // no operation lasts longer than this; zero for no limit

	// discreet is set once credentials were sent: a line that is no reply is not
	// quoted then, for it may repeat them.
	discreet bool

	mu   sync.Mutex // guards what follows, and setting deadlines on raw
	turn int        // counts calls of watch
	cut  error      // why operations are refused; nil while they are not
}

func newConn(raw net.Conn) *conn {
	c := &conn{raw: raw}
	c.use(raw)
	return c
}

// use reads and writes by s from now on. What has been received but not read is
// forgotten.
func (c *conn) use(s net.Conn) {
	c.stream = s
	c.in = bufio.NewReaderSize(s, maxReplyLine)
}

// watch bounds what follows by limit, and lets the end of ctx cut it short,
// until the function it returns is called. A cut that came too late to
// interrupt anything is forgotten then.
func (c *conn) watch(ctx context.Context, limit time.Time) (stop func()) {
	c.mu.Lock()
	c.turn++
	turn := c.turn
	c.cut = nil
	c.mu.Unlock()
	c.limit = limit
	off := context.AfterFunc(ctx, func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		if c.turn == turn {
			c.cut = cancelled(ctx)
			_ = c.raw.SetDeadline(time.Unix(1, 0))
		}
	})
	return func() {
		off()
		c.mu.Lock()
		defer c.mu.Unlock()
		if c.turn == turn {
			c.turn++
			c.cut = nil
		}
	}
}

// cancelled is the error for an ended ctx.
func cancelled(ctx context.Context) error {
	cause := context.Cause(ctx)
	if errors.Is(cause, context.DeadlineExceeded) {
		return fmt.Errorf("the attempt's time is over: %w", cause)
	}
	return fmt.Errorf("%w: %w", errCancelled, cause)
}

// arm gives the next operation the time d, or less where the limit is nearer.
func (c *conn) arm(d time.Duration) error {
	deadline := time.Now().Add(d)
	if !c.limit.IsZero() && c.limit.Before(deadline) {
		deadline = c.limit
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.cut != nil {
		return c.cut
	}
	return c.raw.SetDeadline(deadline)
}

// explain says why an operation that was given d ended with err.
func (c *conn) explain(err error, d time.Duration) error {
	c.mu.Lock()
	cut := c.cut
	c.mu.Unlock()
	switch {
	case cut != nil:
		return cut
	case errors.Is(err, os.ErrDeadlineExceeded) && !c.limit.IsZero() && !time.Now().Before(c.limit):
		return fmt.Errorf("the mail's deadline passed: %w", os.ErrDeadlineExceeded)
	case errors.Is(err, os.ErrDeadlineExceeded):
		return fmt.Errorf("nothing happened for %v: %w", d, os.ErrDeadlineExceeded)
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return ErrClosed
	}
	return err
}

// read reads one reply within d.
func (c *conn) read(d time.Duration) (Reply, error) { return c.readUpTo(keepReply, d) }

// readUpTo reads one reply within d and keeps so many bytes of it.
func (c *conn) readUpTo(keep int, d time.Duration) (Reply, error) {
	if err := c.arm(d); err != nil {
		return Reply{}, err
	}
	r, err := readReply(c.in, keep)
	switch {
	case err == nil:
	case !errors.Is(err, errMalformed):
		err = c.explain(err, d)
	case c.discreet:
		r, err = Reply{}, errMalformed
	}
	return r, err
}

// write writes b, each chunk within d, and returns how much of it was flushed
// to the network.
func (c *conn) write(b []byte, d time.Duration) (n int, err error) {
	for n < len(b) {
		if err := c.arm(d); err != nil {
			return n, err
		}
		m, err := c.stream.Write(b[n:min(len(b), n+chunk)])
		n += m
		if err != nil && n < len(b) {
			return n, c.explain(err, d)
		}
	}
	return n, nil
}

// unasked says that the server has sent something that no command asked for.
func (c *conn) unasked() bool { return c.in.Buffered() > 0 }

// startTLS makes the handshake within d. Whatever the server, or somebody in
// between, sent in clear after the go-ahead is discarded (RFC 3207 §5).
func (c *conn) startTLS(ctx context.Context, cfg *tls.Config, d time.Duration) error {
	if err := c.arm(d); err != nil {
		return err
	}
	t := tls.Client(c.raw, cfg)
	if err := t.HandshakeContext(ctx); err != nil {
		if ctx.Err() != nil {
			return cancelled(ctx)
		}
		return c.explain(err, d)
	}
	c.use(t)
	return nil
}

// tlsState returns what is known of the TLS connection; nil without TLS.
func (c *conn) tlsState() *tls.ConnectionState {
	t, ok := c.stream.(*tls.Conn)
	if !ok {
		return nil
	}
	s := t.ConnectionState()
	return &s
}

// loopback says that the other end is this machine.
func (c *conn) loopback() bool {
	host, _, err := net.SplitHostPort(c.raw.RemoteAddr().String())
	if err != nil {
		return false
	}
	ip := net.ParseIP(host)
	return ip != nil && ip.IsLoopback()
}

// close drops the connection. TLS's close alert is not sent: nobody waits for
// it, and it could block.
func (c *conn) close() { _ = c.raw.Close() }
