package smtp

import (
	"context"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"sync"
	"time"
)

// failedFor is how long an address to which no connection could be made comes
// last: long enough not to be waited for again and again, short enough to be
// tried soon after it is back.
const failedFor = time.Minute

// leastShare is the least that an address gets of the connect timeout while
// there are others to try, as with [net.Dialer].
const leastShare = 2 * time.Second

// addresses spreads a pool's connections over the addresses of its server. The
// zero value knows of none.
type addresses struct {
	mu     sync.Mutex
	inUse  map[netip.Addr]int       // connections, those being made included
	failed map[netip.Addr]time.Time // when one could last not be made
}

// dial connects to the server at the address that has the fewest connections,
// or else at the next one. Left is to be called when the connection is closed.
// The error is the first one's.
func (a *addresses) dial(ctx context.Context, o *settled) (c net.Conn, left func(), err error) {
	inTime, stop := context.WithTimeout(ctx, o.ConnectTimeout)
	defer stop()
	untried, err := lookUp(inTime, o)
	if err != nil {
		return nil, nil, err
	}
	var first error
	for first == nil || len(untried) > 0 && inTime.Err() == nil {
		i := a.choose(untried)
		to := untried[i]
		c, err := dialOne(inTime, o, to, len(untried))
		if err == nil {
			return c, func() { a.leave(to) }, nil
		}
		a.leave(to)
		if ctx.Err() == nil {
			a.fail(to)
		}
		if first == nil {
			first = err
		}
		untried = slices.Delete(untried, i, i+1)
	}
	return nil, nil, first
}

// lookUp returns the server's addresses, each once, in the resolver's order: at
// least one, if there is no error.
func lookUp(ctx context.Context, o *settled) ([]netip.Addr, error) {
	if a, err := netip.ParseAddr(o.Host); err == nil {
		return []netip.Addr{a}, nil
	}
	found, err := o.Resolver.LookupNetIP(ctx, "ip", o.Host)
	if err != nil {
		return nil, err
	}
	local, err := netip.ParseAddr(o.LocalAddress)
	var all []netip.Addr
	for _, a := range found {
		a = a.Unmap()
		if suits := err != nil || local.Unmap().Is4() == a.Is4(); suits && !slices.Contains(all, a) {
			all = append(all, a)
		}
	}
	if len(all) == 0 {
		return nil, &net.AddrError{Err: "no suitable address found", Addr: o.Host}
	}
	return all, nil
}

// dialOne connects to one address of so many that are left. It gets its share of
// the time.
func dialOne(ctx context.Context, o *settled, to netip.Addr, left int) (net.Conn, error) {
	var d net.Dialer
	if end, ok := ctx.Deadline(); ok && left > 1 {
		d.Timeout = max(time.Until(end)/time.Duration(left), leastShare)
	}
	if o.LocalAddress != "" {
		d.LocalAddr = &net.TCPAddr{IP: net.ParseIP(o.LocalAddress)}
	}
	return d.DialContext(ctx, "tcp", net.JoinHostPort(to.String(), strconv.Itoa(o.Port)))
}

// choose picks from a list that is not empty the address with the fewest
// connections, the first of several, and counts one more. Those that failed
// lately come last.
func (a *addresses) choose(from []netip.Addr) int {
	a.mu.Lock()
	defer a.mu.Unlock()
	now := time.Now()
	best, bestFailed := 0, a.failedLately(from[0], now)
	for i, to := range from[1:] {
		failed := a.failedLately(to, now)
		if bestFailed && !failed || bestFailed == failed && a.inUse[to] < a.inUse[from[best]] {
			best, bestFailed = i+1, failed
		}
	}
	if a.inUse == nil {
		a.inUse = map[netip.Addr]int{}
	}
	a.inUse[from[best]]++
	return best
}

func (a *addresses) failedLately(to netip.Addr, now time.Time) bool {
	at, ok := a.failed[to]
	return ok && now.Sub(at) < failedFor
}

// leave counts one connection less.
func (a *addresses) leave(to netip.Addr) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.inUse[to]--; a.inUse[to] == 0 {
		delete(a.inUse, to)
	}
}

// fail remembers that no connection could be made, and forgets what is too long
// ago to matter.
func (a *addresses) fail(to netip.Addr) {
	a.mu.Lock()
	defer a.mu.Unlock()
	now := time.Now()
	if a.failed == nil {
		a.failed = map[netip.Addr]time.Time{}
	}
	for other, at := range a.failed {
		if now.Sub(at) >= failedFor {
			delete(a.failed, other)
		}
	}
	a.failed[to] = now
}
