package main

import (
	"errors"
	"io"
	"net"
	"sync"
	"time"
)

// blow is what happens to a connection when its fuse has burnt down.
type blow int

const (
	blowClose blow = iota // closed
	blowReset             // closed with a TCP reset
	blowStall             // open, and nothing more passes in the fuse's direction

	blows = 3 // kinds
)

// fuse spoils a connection after so many bytes in one direction.
type fuse struct {
	inbound bool
	left    int // bytes
	blow    blow
}

// errBlown ends a connection whose fuse has burnt down.
var errBlown = errors.New("cut by the harness")

// writeTimeout is for one write to a worker, who may be frozen.
const writeTimeout = 30 * time.Second

// link is the server's end of an SMTP connection. It can be given a fuse: after
// so many bytes in one direction the connection is spoiled, never sooner and not
// a byte later. Reading and writing are each for one goroutine.
type link struct {
	net.Conn
	process string
	blown   func() // called once, when the fuse has burnt down

	mu   sync.Mutex
	fuse *fuse // nil if there is none
	mute bool  // nothing is written any more
}

// arm lights a fuse, in place of one that burns.
func (l *link) arm(f fuse) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.fuse = &f
}

// burn has n bytes pass in a direction, and returns how many of them do, and
// whether the fuse has burnt down with them.
func (l *link) burn(inbound bool, n int) (passed int, down bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.fuse == nil || l.fuse.inbound != inbound {
		return n, false
	}
	passed = min(n, l.fuse.left)
	l.fuse.left -= passed
	return passed, l.fuse.left == 0
}

// Read reads up to the byte at which the fuse burns down. What has come beyond it
// is gone.
func (l *link) Read(p []byte) (int, error) {
	if _, down := l.burn(true, 0); down {
		return 0, l.strike()
	}
	n, err := l.Conn.Read(p)
	n, _ = l.burn(true, n)
	return n, err
}

// Write writes up to the byte at which the fuse burns down. A stalled connection
// takes everything, and passes nothing on.
func (l *link) Write(p []byte) (int, error) {
	l.mu.Lock()
	mute := l.mute
	l.mu.Unlock()
	if mute {
		return len(p), nil
	}
	n, down := l.burn(false, len(p))
	_ = l.SetWriteDeadline(time.Now().Add(writeTimeout))
	if written, err := l.Conn.Write(p[:n]); err != nil {
		return written, err
	}
	if !down {
		return n, nil
	}
	if err := l.strike(); err != nil {
		return n, err
	}
	return len(p), nil
}

// strike spoils the connection. Without an error it goes on, muted.
func (l *link) strike() error {
	l.mu.Lock()
	inbound, how := l.fuse.inbound, l.fuse.blow
	l.fuse, l.mute = nil, how == blowStall
	l.mu.Unlock()
	l.blown()
	switch {
	case how == blowStall && inbound:
		_, _ = io.Copy(io.Discard, l.Conn) // so that the worker is not the one to notice
		return errBlown
	case how == blowStall:
		return nil
	case how == blowReset:
		if t, ok := l.Conn.(*net.TCPConn); ok {
			_ = t.SetLinger(0)
		}
	}
	_ = l.Close()
	return errBlown
}
