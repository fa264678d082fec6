package smtp

import (
	"bufio"
	"fmt"
	"net"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// slowly answers what comes on c, each message after d.
func slowly(c net.Conn, d time.Duration) {
	in := bufio.NewScanner(c)
	for in.Scan() {
		verb, _, _ := strings.Cut(in.Text(), " ")
		switch verb {
		case "MAIL", "RCPT":
			fmt.Fprint(c, "250 ok\r\n")
		case "DATA":
			fmt.Fprint(c, "354 go on\r\n")
		case ".":
			time.Sleep(d)
			fmt.Fprint(c, "250 taken\r\n")
		}
	}
}

func TestNothingFliesOnASessionWhoseFinalReplyWasSlow(t *testing.T) {
	for takes, flies := range map[time.Duration]bool{promptly - 1: true, promptly: false} {
		synctest.Test(t, func(t *testing.T) {
			p := taken(t)
			s := atWork(t, p)
			ours, theirs := net.Pipe()
			defer ours.Close()
			s.conn = newConn(ours)
			s.ext.pipelining = false // a pipe holds nothing: one command at a time
			go slowly(theirs, takes)
			out, _ := prepare(letter())
			out.encode(nil)
			if _, e := s.send(t.Context(), t.Context(), out, false); e != nil {
				t.Fatal(e)
			}
			s.ext.pipelining = true
			if got := p.leads(s, s.used); got != flies {
				t.Errorf("after %v: %v", takes, got)
			}
		})
	}
}
