package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// postOffice is a mail server that knows when it has accepted a mail, and how large
// that was. It takes everything from clients that make no mistakes.
type postOffice struct {
	listener net.Listener
	running  sync.WaitGroup
	accepted atomic.Int64 // when the last mail was, in nanoseconds since 1970
	size     atomic.Int64 // of its message, in bytes

	mu    sync.Mutex
	conns []net.Conn
}

func openPostOffice(ctx context.Context) (*postOffice, error) {
	listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("listen for mail: %w", err)
	}
	p := &postOffice{listener: listener}
	p.running.Go(func() {
		for {
			c, err := listener.Accept()
			if errors.Is(err, net.ErrClosed) {
				return
			}
			if err == nil {
				p.mu.Lock()
				p.conns = append(p.conns, c)
				p.mu.Unlock()
				p.running.Go(func() { p.serve(c) })
			}
		}
	})
	return p, nil
}

func (p *postOffice) address() string { return p.listener.Addr().String() }

// last returns when the last mail was accepted.
func (p *postOffice) last() time.Time { return time.Unix(0, p.accepted.Load()) }

// serve holds one session. Replies go out when nothing more has come.
func (p *postOffice) serve(c net.Conn) {
	in, out := bufio.NewReader(c), bufio.NewWriter(c)
	fmt.Fprint(out, "220 ready\r\n")
	for message, size := false, 0; ; {
		if in.Buffered() == 0 && out.Flush() != nil {
			return
		}
		line, err := in.ReadString('\n')
		if err != nil {
			return
		}
		verb := strings.ToUpper(line[:min(4, len(line))])
		switch {
		case message && line != ".\r\n":
			size += len(line)
		case message:
			message = false
			p.size.Store(int64(size))
			p.accepted.Store(time.Now().UnixNano())
			fmt.Fprint(out, "250 2.0.0 Ok: queued as SINK\r\n")
		case verb == "EHLO":
			fmt.Fprint(out, "250-here\r\n250-PIPELINING\r\n250-8BITMIME\r\n250 ENHANCEDSTATUSCODES\r\n")
		case verb == "DATA":
			message, size = true, 0
			fmt.Fprint(out, "354 go on\r\n")
		default:
			fmt.Fprint(out, "250 2.0.0 Ok\r\n")
		}
	}
}

func (p *postOffice) close() error {
	err := p.listener.Close()
	p.mu.Lock()
	for _, c := range p.conns {
		_ = c.Close()
	}
	p.mu.Unlock()
	p.running.Wait()
	return err
}
