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
// One goroutine uses it at a time; only a context that is watched cuts in from
// another.
type conn struct {
	raw    net.Conn // TCP: deadlines are set here, below TLS
	stream net.Conn // raw, or TLS over it
	in     *bufio.Reader

	// discreet is set once credentials were sent: a line that is no reply is not
	// quoted then, for it may repeat them.
	discreet bool

	caller leash // ends what the caller stops; it is let go at the final dot
	limit  leash // ends everything when the attempt's time is over

	left func() // called when it is closed; nil for none

	mu sync.Mutex // taken to set a deadline on raw: no operation begins unseen by a cut
}

// leash is what a context holds a connection by.
type leash struct {
	over   func() error  // why operations are refused, nil while they are not; nil if no context holds it
	off    func() bool   // lets go; nil if no context holds it
	cut    func()        // interrupts what is going on
	landed chan struct{} // has a value when cut has run
}

func newConn(raw net.Conn) *conn {
	c := &conn{raw: raw}
	for _, l := range c.leashes() {
		l.landed = make(chan struct{}, 1)
		l.cut = func() {
			c.mu.Lock()
			defer c.mu.Unlock()
			_ = c.raw.SetDeadline(time.Unix(1, 0))
			l.landed <- struct{}{}
		}
	}
	c.use(raw)
	return c
}

func (c *conn) leashes() [2]*leash { return [...]*leash{&c.caller, &c.limit} }

// use reads and writes by s from now on. What has been received but not read is
// forgotten.
func (c *conn) use(s net.Conn) {
	c.stream = s
	c.in = bufio.NewReaderSize(s, maxReplyLine)
}

// watch lets the end of ctx cut short what follows, until l is released. When
// ctx ends is not asked beforehand: it may be put off.
func (c *conn) watch(ctx context.Context, l *leash) {
	l.over = func() error { return over(ctx) }
	l.off = context.AfterFunc(ctx, l.cut)
}

// release lets nothing cut in by l any more. A cut that came too late to
// interrupt anything is forgotten.
func (c *conn) release(l *leash) {
	if l.off == nil {
		return
	}
	if !l.off() {
		<-l.landed
	}
	l.off, l.over = nil, nil
}

// over says why what runs under ctx must end; nil while it need not. A deadline
// that has passed counts though its timer has not fired: in a process that was
// stopped for a while, others may wake up first.
func over(ctx context.Context) error {
	cause := context.Cause(ctx)
	if end, ok := ctx.Deadline(); cause == nil && ok && !time.Now().Before(end) {
		cause = context.DeadlineExceeded
	}
	switch {
	case cause == nil:
		return nil
	case isTimeout(cause):
		return fmt.Errorf("the attempt's time is over: %w", cause)
	}
	return fmt.Errorf("%w: %w", errCancelled, cause)
}

// either returns a context that ends with the first of two, for its cause. It
// tells no deadline: that would be kept though it is put off.
func either(ctx, limit context.Context) (both context.Context, stop func()) {
	both, cancel := context.WithCancelCause(context.WithoutCancel(ctx))
	offCaller := context.AfterFunc(ctx, func() { cancel(context.Cause(ctx)) })
	offLimit := context.AfterFunc(limit, func() { cancel(context.Cause(limit)) })
	for _, one := range []context.Context{ctx, limit} { // what is over already is so now, and not soon
		if one.Err() != nil {
			cancel(context.Cause(one))
		}
	}
	return both, func() {
		offCaller()
		offLimit()
		cancel(nil)
	}
}

// arm gives the next operation the time d.
func (c *conn) arm(d time.Duration) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if err := c.refuses(); err != nil {
		return err
	}
	return c.raw.SetDeadline(time.Now().Add(d))
}

// refuses says why no operation makes sense any more; nil while they do.
func (c *conn) refuses() error {
	for _, l := range c.leashes() {
		if l.over == nil {
			continue
		}
		if err := l.over(); err != nil {
			return err
		}
	}
	return nil
}

// explain says why an operation that was given d ended with err.
func (c *conn) explain(err error, d time.Duration) error {
	if why := c.refuses(); why != nil {
		return why
	}
	switch {
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
		if why := over(ctx); why != nil {
			return why
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
func (c *conn) close() {
	_ = c.raw.Close()
	if c.left != nil {
		c.left()
		c.left = nil
	}
}
