package smtptest

import (
	"bytes"
	"io"
	"net"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

func TestEveryByteIsDelayedAndNotOneByOne(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const delay = 30 * time.Millisecond
		near, far := net.Pipe()
		in, stop := delayed(far, delay)
		defer stop()
		defer far.Close()
		began := time.Now() // by the bubble's clock, as all that follows
		sent := bytes.Repeat([]byte("0123456789abcdef"), 1<<16)
		var writes sync.WaitGroup
		writes.Go(func() {
			for _, b := range [][]byte{sent, []byte("later")} {
				if _, err := near.Write(b); err != nil {
					t.Error(err)
				}
				time.Sleep(time.Second)
			}
			near.Close()
		})
		for _, c := range []struct {
			want  []byte
			after time.Duration
		}{{sent[:1], delay}, {sent[1:], delay}, {[]byte("later"), time.Second + delay}} {
			got := make([]byte, len(c.want))
			if _, err := io.ReadFull(in, got); err != nil || !bytes.Equal(got, c.want) {
				t.Errorf("%d bytes: the same %v, %v", len(got), bytes.Equal(got, c.want), err)
			}
			if took := time.Since(began); took != c.after {
				t.Errorf("%d bytes were read after %v, want %v", len(got), took, c.after)
			}
		}
		rest, err := io.ReadAll(in)
		if took := time.Since(began); len(rest) != 0 || err != nil || took != 2*time.Second+delay {
			t.Errorf("the end: %q, %v, after %v", rest, err, took)
		}
		writes.Wait()
	})
}

func TestTheProxyCopiesWithTheDelay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		client, in := net.Pipe()
		out, server := net.Pipe()
		p := &Proxy{done: make(chan struct{})}
		var copies sync.WaitGroup
		copies.Go(func() {
			p.copy(out, in, time.Second, ToServer, Fault{Kind: Cut, Direction: ToServer, After: 3}, func() {
				in.Close()
				out.Close()
			})
		})
		began := time.Now()
		if _, err := client.Write([]byte("abcdef")); err != nil {
			t.Fatal(err)
		}
		got, err := io.ReadAll(server)
		if took := time.Since(began); string(got) != "abc" || err != nil || took != time.Second {
			t.Errorf("%q, %v, after %v", got, err, took)
		}
		copies.Wait()
	})
}
