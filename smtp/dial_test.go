package smtp

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/net/dns/dnsmessage"

	"postrider/smtp/smtptest"
)

// names is a resolver that knows one name, mx.postrider.test.
func names(t *testing.T, addresses ...string) *net.Resolver {
	var running sync.WaitGroup
	t.Cleanup(running.Wait)
	return &net.Resolver{PreferGo: true, Dial: func(context.Context, string, string) (net.Conn, error) {
		ours, theirs := net.Pipe() // not a packet connection: it is spoken to as over TCP
		running.Go(func() {
			defer theirs.Close()
			for answerName(theirs, addresses) == nil {
			}
		})
		return ours, nil
	}}
}

func answerName(c net.Conn, addresses []string) error {
	var size [2]byte
	if _, err := io.ReadFull(c, size[:]); err != nil {
		return err
	}
	b := make([]byte, binary.BigEndian.Uint16(size[:]))
	if _, err := io.ReadFull(c, b); err != nil {
		return err
	}
	var m dnsmessage.Message
	if err := m.Unpack(b); err != nil {
		return err
	}
	q := m.Questions[0]
	m.Header = dnsmessage.Header{ID: m.ID, Response: true, RecursionAvailable: true}
	m.Additionals = nil
	h := dnsmessage.ResourceHeader{Name: q.Name, Type: q.Type, Class: q.Class, TTL: 60}
	for _, s := range addresses {
		switch a := netip.MustParseAddr(s); {
		case q.Name.String() != "mx.postrider.test.":
			m.RCode = dnsmessage.RCodeNameError
		case a.Is4() && q.Type == dnsmessage.TypeA:
			m.Answers = append(m.Answers, dnsmessage.Resource{Header: h, Body: &dnsmessage.AResource{A: a.As4()}})
		case a.Is6() && q.Type == dnsmessage.TypeAAAA:
			m.Answers = append(m.Answers, dnsmessage.Resource{Header: h, Body: &dnsmessage.AAAAResource{AAAA: a.As16()}})
		}
	}
	out, err := m.Pack()
	if err != nil {
		return err
	}
	_, err = c.Write(append(binary.BigEndian.AppendUint16(nil, uint16(len(out))), out...))
	return err
}

// named is a pool to mx.postrider.test.
func named(t *testing.T, port int, o Options, addresses ...string) *Pool {
	t.Helper()
	o.Host, o.Port, o.Resolver = "mx.postrider.test", port, names(t, addresses...)
	p, err := NewPool(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { p.Close() })
	return p
}

// farm starts servers on the same port of 127.0.0.1 and so on.
func farm(t *testing.T, n int, b smtptest.Behaviour) (port int, all []*smtptest.Server) {
	t.Helper()
	for range 100 {
		port, err := smtptest.FreePort()
		if err != nil {
			t.Fatal(err)
		}
		all = nil
		for i := range n {
			s, err := smtptest.Listen(fmt.Sprintf("127.0.0.%d:%d", i+1, port), b)
			if err != nil {
				break
			}
			t.Cleanup(func() { s.Close() })
			all = append(all, s)
		}
		if len(all) == n {
			return port, all
		}
	}
	t.Fatal("no port is free")
	return 0, nil
}

func connections(all []*smtptest.Server) (n []int64) {
	for _, s := range all {
		n = append(n, s.Stats().Connections)
	}
	return n
}

// together sends n mails that all have a connection at the same time.
func together(t *testing.T, p *Pool, n int) {
	t.Helper()
	var all, begun sync.WaitGroup
	begun.Add(n)
	m := letter()
	m.Begin = func(bool) error {
		begun.Done()
		begun.Wait()
		return nil
	}
	for range n {
		all.Go(func() {
			if _, err := p.Send(t.Context(), t.Context(), m); err != nil {
				t.Error(err)
				begun.Done()
			}
		})
	}
	all.Wait()
}

func TestConnectionsAreSpreadOverTheServersAddresses(t *testing.T) {
	t.Parallel()
	port, all := farm(t, 3, smtptest.Behaviour{})
	p := named(t, port, Options{MaxConnections: 7}, "127.0.0.1", "127.0.0.2", "127.0.0.3", "127.0.0.2")
	together(t, p, 6)
	if got := connections(all); !slices.Equal(got, []int64{2, 2, 2}) {
		t.Errorf("connections: %v", got)
	}
	together(t, p, 7)
	if got := connections(all); !slices.Equal(got, []int64{3, 2, 2}) {
		t.Errorf("connections: %v, counted %v", got, p.spread.inUse)
	}
	p.Close()
	if len(p.spread.inUse) != 0 {
		t.Errorf("still counted: %v", p.spread.inUse)
	}
}

func TestAnAddressWhereNobodyListensIsPassedOver(t *testing.T) {
	t.Parallel()
	port, all := farm(t, 3, smtptest.Behaviour{StartTLS: true})
	if err := all[0].SetBehaviour(smtptest.Behaviour{Down: true}); err != nil {
		t.Fatal(err)
	}
	p := named(t, port, Options{MaxConnections: 4}, "127.0.0.1", "127.0.0.2", "127.0.0.3")
	p.o.StartTLS = Ignore
	together(t, p, 4)
	if got := connections(all); !slices.Equal(got, []int64{0, 2, 2}) {
		t.Errorf("connections: %v", got)
	}
	for _, s := range all {
		if err := s.SetBehaviour(smtptest.Behaviour{Down: true}); err != nil {
			t.Fatal(err)
		}
	}
	p.Close()
	_, err := named(t, port, Options{}, "127.0.0.1", "127.0.0.2").Send(t.Context(), t.Context(), letter())
	e := expect(t, err, StageConnect, CauseRefused, true)
	if !strings.Contains(e.Error(), "127.0.0.1:") {
		t.Errorf("not the first one's error: %v", e)
	}
}

// The certificate is checked against the name, whatever the address.
func TestTheNameIsWhatTheCertificateIsFor(t *testing.T) {
	t.Parallel()
	port, all := farm(t, 1, smtptest.Behaviour{StartTLS: true})
	p := named(t, port, Options{StartTLS: Required, TLS: all[0].TLSConfig()}, "127.0.0.1")
	if p.o.TLS.ServerName != "mx.postrider.test" {
		t.Errorf("server name: %q", p.o.TLS.ServerName)
	}
	_, err := p.Send(t.Context(), t.Context(), letter())
	expect(t, err, StageTLS, CauseTLS, false)
}

func TestAnAddressThatDoesNotAnswerDoesNotTakeAllTheTime(t *testing.T) {
	t.Parallel()
	hole := blackHole(t)
	_, port, _ := strings.Cut(hole, ":")
	s, err := smtptest.Listen("127.0.0.2:"+port, smtptest.Behaviour{})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	p := named(t, s.Port(), Options{ConnectTimeout: 2*leastShare + time.Second}, "127.0.0.1", "127.0.0.2")
	if _, err := p.Send(t.Context(), t.Context(), letter()); err != nil {
		t.Error(err)
	}
	if _, failed := p.spread.failed[netip.MustParseAddr("127.0.0.1")]; !failed {
		t.Error("it is not known to have failed")
	}
}

func TestAnAddressIsNotBlamedForWhatTheCallerStopped(t *testing.T) {
	t.Parallel()
	_, port, _ := strings.Cut(blackHole(t), ":")
	var n int
	if _, err := fmt.Sscan(port, &n); err != nil {
		t.Fatal(err)
	}
	p := named(t, n, Options{}, "127.0.0.1")
	ctx, stop := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer stop()
	if _, err := p.Send(ctx, t.Context(), letter()); err == nil || len(p.spread.failed) != 0 || len(p.spread.inUse) != 0 {
		t.Errorf("%v; failed: %v, in use: %v", err, p.spread.failed, p.spread.inUse)
	}
}

func TestTheAddressWithTheFewestConnectionsIsChosen(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, b, c := netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("192.0.2.2"), netip.MustParseAddr("2001:db8::1")
		all := []netip.Addr{a, b, c}
		var s addresses
		choose := func(want netip.Addr, from ...netip.Addr) {
			t.Helper()
			if got := from[s.choose(from)]; got != want {
				t.Errorf("chose %v, want %v", got, want)
			}
		}
		for _, want := range []netip.Addr{a, b, c, a} {
			choose(want, all...)
		}
		choose(c, c, b, a) // the resolver's order decides between equals
		s.leave(a)
		s.leave(a)
		s.fail(a)
		choose(b, all...)
		choose(a, a)
		s.leave(a)
		s.fail(b)
		s.fail(c)
		choose(a, all...) // all have failed: the fewest connections
		s.leave(a)
		time.Sleep(failedFor)
		choose(a, all...)
		s.fail(b)
		if len(s.failed) != 1 {
			t.Errorf("remembers too long: %v", s.failed)
		}
	})
}

func TestLookUp(t *testing.T) {
	t.Parallel()
	for what, c := range map[string]struct {
		host, local string
		found       []string
		want        string
	}{
		"one":             {"mx.postrider.test", "", []string{"192.0.2.1"}, "[192.0.2.1]"},
		"twice the same":  {"mx.postrider.test", "", []string{"192.0.2.1", "192.0.2.1"}, "[192.0.2.1]"},
		"from IPv4":       {"mx.postrider.test", "127.0.0.1", []string{"2001:db8::1", "192.0.2.1"}, "[192.0.2.1]"},
		"from IPv6":       {"mx.postrider.test", "::1", []string{"2001:db8::1", "192.0.2.1"}, "[2001:db8::1]"},
		"none that suits": {"mx.postrider.test", "::1", []string{"192.0.2.1"}, "address mx.postrider.test: no suitable address found"},
		"an address":      {"192.0.2.9", "", nil, "[192.0.2.9]"},
		"an IPv6 address": {"2001:db8::9", "", nil, "[2001:db8::9]"},
	} {
		o := Options{Host: c.host, LocalAddress: c.local, Resolver: names(t, c.found...)}.settle()
		got, err := lookUp(t.Context(), &o)
		if s := fmt.Sprint(got); err == nil && s != c.want || err != nil && err.Error() != c.want {
			t.Errorf("%s: %v, %v", what, got, err)
		}
	}
	o := Options{Host: "no.postrider.test", Resolver: names(t, "192.0.2.1")}.settle()
	if _, err := lookUp(t.Context(), &o); (&Error{Stage: StageConnect, Err: err}).Cause() != CauseLookup {
		t.Errorf("an unknown name: %v", err)
	}
}

func TestALocalAddressIsConnectedFrom(t *testing.T) {
	t.Parallel()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	o := Options{Host: "mx.postrider.test", Port: l.Addr().(*net.TCPAddr).Port, LocalAddress: "127.0.0.9", Resolver: names(t, "127.0.0.1")}.settle()
	c, left, err := new(addresses).dial(t.Context(), &o)
	if err != nil {
		t.Fatal(err)
	}
	defer left()
	defer c.Close()
	if got := c.LocalAddr().(*net.TCPAddr).IP.String(); got != "127.0.0.9" {
		t.Errorf("from %s", got)
	}
	o.Port = 1
	if _, _, err := new(addresses).dial(t.Context(), &o); !errors.Is(err, syscall.ECONNREFUSED) {
		t.Error(err)
	}
}
