package smtptest

import (
	"fmt"
	"math/rand/v2"
	"net"
)

// The ports that FreePort chooses from lie below those that systems hand out by
// themselves: one that was free a moment ago is not taken by somebody's outgoing
// connection, or by a listener on port 0.
const firstPort, lastPort = 10_000, 19_999

// FreePort returns a port on which nobody listens, for a program that has to be
// told one, or for one on which nobody is to listen.
func FreePort() (int, error) {
	var err error
	for range 100 {
		port := firstPort + rand.IntN(lastPort-firstPort+1)
		var l net.Listener
		if l, err = net.Listen("tcp", fmt.Sprintf(":%d", port)); err == nil {
			return port, l.Close()
		}
	}
	return 0, fmt.Errorf("find a free port: %w", err)
}
