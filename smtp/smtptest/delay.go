package smtptest

import (
	"bytes"
	"io"
	"net"
	"sync"
	"time"
)

// onTheWay is how many pieces may be under way in one direction: more than
// 30 MB, if the sender is fast.
const onTheWay = 1024

// delayed returns a reader of what comes from c, each byte so long after it
// came. Stop, once c is closed, returns when nothing is left of it.
func delayed(c net.Conn, delay time.Duration) (in io.Reader, stop func()) {
	if delay <= 0 {
		return c, func() {}
	}
	l := &line{pieces: make(chan piece, onTheWay), stopped: make(chan struct{})}
	var filling sync.WaitGroup
	filling.Go(func() { l.fill(c, delay) })
	return l, func() {
		close(l.stopped)
		filling.Wait()
	}
}

// piece is what came at once.
type piece struct {
	bytes []byte
	due   time.Time
	err   error // nothing comes after it
}

// line is a stretch of network.
type line struct {
	pieces  chan piece
	first   piece // what is left of the one that is being read
	stopped chan struct{}
}

func (l *line) fill(c net.Conn, delay time.Duration) {
	b := make([]byte, 32<<10)
	for {
		n, err := c.Read(b)
		select {
		case l.pieces <- piece{bytes.Clone(b[:n]), time.Now().Add(delay), err}:
		case <-l.stopped:
			return
		}
		if err != nil {
			return
		}
	}
}

// Read waits for bytes that are due.
func (l *line) Read(b []byte) (int, error) {
	if len(l.first.bytes) == 0 {
		if l.first.err != nil {
			return 0, l.first.err
		}
		l.first = <-l.pieces
		t := time.NewTimer(time.Until(l.first.due))
		defer t.Stop()
		<-t.C
	}
	n := copy(b, l.first.bytes)
	l.first.bytes = l.first.bytes[n:]
	return n, nil
}
