package smtp

import (
	"context"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/wneessen/go-mail"

	"postrider/smtp/smtptest"
)

// The same mail, 16 connections, a sink that discards: the two benchmarks
// differ in the sender alone. ns/op is per mail.

const benchConnections = 16

func discarding(b *testing.B) *smtptest.Server {
	off := false
	return sink(b, smtptest.Behaviour{Record: &off})
}

func BenchmarkSend(b *testing.B) {
	s := discarding(b)
	p := pool(b, s.Addr(), Options{MaxConnections: benchConnections})
	m := Mail{
		Envelope: Envelope{From: "shop@example.com", To: []string{"ada@example.org"}},
		Message:  []byte("From: shop@example.com\r\nTo: ada@example.org\r\nSubject: Your order\r\n\r\n" + strings.Repeat("A line of the body.\r\n", 40)),
	}
	b.ReportAllocs()
	b.SetParallelism(benchConnections / 2)
	b.ResetTimer()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			limit, stop := context.WithTimeout(context.Background(), time.Minute)
			if _, err := p.Send(context.Background(), limit, m); err != nil {
				b.Error(err)
			}
			stop()
		}
	})
	b.StopTimer()
	if got := s.Stats().Messages; got != int64(b.N) {
		b.Errorf("%d of %d arrived", got, b.N)
	}
}

func BenchmarkGoMailSend(b *testing.B) {
	s := discarding(b)
	var arrived atomic.Int64
	b.ReportAllocs()
	b.SetParallelism(benchConnections / 2)
	b.ResetTimer()
	b.RunParallel(func(pb *testing.PB) {
		c, err := mail.NewClient("127.0.0.1", mail.WithPort(s.Port()), mail.WithTLSPolicy(mail.NoTLS), mail.WithoutNoop())
		if err != nil {
			b.Error(err)
			return
		}
		if err := c.DialWithContext(context.Background()); err != nil {
			b.Error(err)
			return
		}
		defer c.Close()
		m := goMail(b)
		for pb.Next() {
			if err := c.Send(m); err != nil {
				b.Error(err)
			}
			arrived.Add(1)
		}
	})
	b.StopTimer()
	if got := s.Stats().Messages; got != int64(b.N) || arrived.Load() != got {
		b.Errorf("%d of %d arrived", got, b.N)
	}
}

// goMail is the same mail as go-mail wants it: it encodes while it sends.
func goMail(b *testing.B) *mail.Msg {
	m := mail.NewMsg()
	if err := m.From("shop@example.com"); err != nil {
		b.Error(err)
	}
	if err := m.To("ada@example.org"); err != nil {
		b.Error(err)
	}
	m.Subject("Your order")
	m.SetBodyString(mail.TypeTextPlain, strings.Repeat("A line of the body.\r\n", 40))
	return m
}
