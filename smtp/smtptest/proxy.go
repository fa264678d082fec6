package smtptest

import (
	"errors"
	"io"
	"net"
	"sync"
	"time"
)

// Direction is a way through a [Proxy].
type Direction int

// The two ways.
const (
	ToServer Direction = iota
	ToClient
)

// Kind is what a [Fault] does.
type Kind int

// The kinds of fault.
const (
	None  Kind = iota
	Cut        // close both ends
	Reset      // close both ends with a TCP reset
	Stall      // pass nothing more in this direction, and keep both ends open
	Split      // pass the rest in another write, after Fault.Pause
)

// String names the kind in one word.
func (k Kind) String() string {
	switch k {
	case Cut:
		return "cut"
	case Reset:
		return "reset"
	case Stall:
		return "stall"
	case Split:
		return "split"
	default:
		return "none"
	}
}

// Fault happens to a connection once After bytes have passed in a direction:
// never sooner, and not a byte later.
type Fault struct {
	Kind      Kind
	Direction Direction
	After     int
	Pause     time.Duration // of Split
	Times     int           // how many connections it happens to; 0 for all
}

// Proxy passes TCP connections on to a server, and spoils them.
type Proxy struct {
	listener net.Listener
	upstream string
	done     chan struct{} // closed by Close

	mu      sync.Mutex
	delay   time.Duration
	fault   Fault
	used    int // connections the fault has happened to, or will
	passed  [2]int
	conns   map[net.Conn]bool
	closed  bool
	running sync.WaitGroup
}

// NewProxy returns a proxy to upstream on a free port of 127.0.0.1.
func NewProxy(upstream string) (*Proxy, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	p := &Proxy{listener: l, upstream: upstream, done: make(chan struct{}), conns: map[net.Conn]bool{}}
	p.running.Go(p.accept)
	return p, nil
}

// Addr returns where the proxy listens.
func (p *Proxy) Addr() string { return p.listener.Addr().String() }

// Port returns the port alone.
func (p *Proxy) Port() int {
	if a, ok := p.listener.Addr().(*net.TCPAddr); ok {
		return a.Port
	}
	return 0
}

// SetFault says what happens to connections accepted from now on.
func (p *Proxy) SetFault(f Fault) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.fault, p.used = f, 0
}

// SetDelay says how long each byte takes from one end to the other, in either
// direction, on connections accepted from now on. How many pass at once is not
// bounded by it. A connection takes three delays to be made, as over a network of
// that length: the server's greeting comes with the fourth.
func (p *Proxy) SetDelay(oneWay time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.delay = oneWay
}

// Passed returns how many bytes have passed in a direction, over all
// connections.
func (p *Proxy) Passed(d Direction) int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.passed[d]
}

// Close drops all connections and waits until they are done.
func (p *Proxy) Close() error {
	p.mu.Lock()
	if !p.closed {
		close(p.done)
	}
	p.closed = true
	for c := range p.conns {
		_ = c.Close()
	}
	p.mu.Unlock()
	err := p.listener.Close()
	p.running.Wait()
	return err
}

func (p *Proxy) accept() {
	for {
		c, err := p.listener.Accept()
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err == nil {
			p.running.Go(func() { p.pass(c) })
		}
	}
}

// pass joins a client to the server.
func (p *Proxy) pass(client net.Conn) {
	p.mu.Lock()
	delay := p.delay
	p.mu.Unlock()
	if !p.wait(3 * delay) {
		_ = client.Close()
		return
	}
	server, err := net.Dial("tcp", p.upstream)
	if err != nil {
		_ = client.Close()
		return
	}
	p.mu.Lock()
	f := p.fault
	if f.Times > 0 && p.used >= f.Times {
		f = Fault{}
	}
	p.used++
	p.conns[client], p.conns[server] = true, true
	closed := p.closed
	p.mu.Unlock()
	end := func() {
		_ = client.Close()
		_ = server.Close()
	}
	if closed {
		end()
	}
	var both sync.WaitGroup
	both.Go(func() { p.copy(server, client, delay, ToServer, f, end) })
	both.Go(func() { p.copy(client, server, delay, ToClient, f, end) })
	both.Wait()
	p.mu.Lock()
	delete(p.conns, client)
	delete(p.conns, server)
	p.mu.Unlock()
}

// copy passes one direction on until an end closes or the fault strikes.
func (p *Proxy) copy(to, from net.Conn, delay time.Duration, d Direction, f Fault, end func()) {
	in, stop := delayed(from, delay)
	defer stop()
	defer end()
	left := -1 // bytes to the fault; -1 for none to come
	if f.Kind != None && f.Direction == d {
		left = f.After
	}
	buf := make([]byte, 32<<10)
	for {
		if left == 0 {
			if !p.strike(f, to, from, in) {
				return
			}
			left = -1
		}
		b := buf
		if left > 0 && left < len(b) {
			b = b[:left]
		}
		n, err := in.Read(b)
		if n > 0 {
			p.mu.Lock()
			p.passed[d] += n // before anybody can answer to it
			p.mu.Unlock()
			if _, e := to.Write(b[:n]); e != nil {
				return
			}
			if left > 0 {
				left -= n
			}
		}
		if err != nil {
			return
		}
	}
}

// strike does what the fault is, and says whether the connection goes on.
func (p *Proxy) strike(f Fault, to, from net.Conn, in io.Reader) bool {
	switch f.Kind {
	case Split:
		return p.wait(f.Pause)
	case Stall:
		_, _ = io.Copy(io.Discard, in) // so that the sender is not the one to notice
	case Reset:
		linger(to, from)
	}
	return false
}

// wait lets d pass, and says whether the proxy is still open.
func (p *Proxy) wait(d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-p.done:
		return false
	}
}

// linger makes the coming close a reset.
func linger(conns ...net.Conn) {
	for _, c := range conns {
		if t, ok := c.(*net.TCPConn); ok {
			_ = t.SetLinger(0)
		}
	}
}
