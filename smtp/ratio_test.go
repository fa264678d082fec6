package smtp

import (
	"context"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/wneessen/go-mail"
)

// BenchmarkAgainstGoMail sends the same mails by turns with a pool and with
// go-mail's own Client.Send over kept connections, as many of them, and reports
// how many times faster the pool is.
func BenchmarkAgainstGoMail(b *testing.B) {
	const mails = 4000
	s := discarding(b)
	p := pool(b, s.Addr(), Options{MaxConnections: benchConnections})
	m := Mail{
		Envelope: Envelope{From: "shop@example.com", To: []string{"ada@example.org"}},
		Message:  []byte("From: shop@example.com\r\nTo: ada@example.org\r\nSubject: Your order\r\n\r\n" + strings.Repeat("A line of the body.\r\n", 40)),
	}
	clients := make([]*mail.Client, benchConnections)
	for i := range clients {
		c, err := mail.NewClient("127.0.0.1", mail.WithPort(s.Port()), mail.WithTLSPolicy(mail.NoTLS), mail.WithoutNoop())
		if err != nil {
			b.Fatal(err)
		}
		if err := c.DialWithContext(context.Background()); err != nil {
			b.Fatal(err)
		}
		defer func() { _ = c.Close() }()
		clients[i] = c
	}
	var ours, theirs time.Duration
	for b.Loop() {
		ours += each(func(int) {
			for range mails / benchConnections {
				if _, err := p.Send(b.Context(), b.Context(), m); err != nil {
					b.Error(err)
				}
			}
		})
		theirs += each(func(i int) {
			message := goMail(b)
			for range mails / benchConnections {
				if err := clients[i].Send(message); err != nil {
					b.Error(err)
				}
			}
		})
	}
	b.ReportMetric(float64(mails*b.N)/ours.Seconds(), "mails/s")
	b.ReportMetric(float64(mails*b.N)/theirs.Seconds(), "go-mail-mails/s")
	b.ReportMetric(theirs.Seconds()/ours.Seconds(), "times-go-mail")
	b.ReportMetric(0, "ns/op")
}

// each runs f once for each connection, all at a time, and returns how long it
// took.
func each(f func(connection int)) time.Duration {
	began := time.Now()
	var all sync.WaitGroup
	for i := range benchConnections {
		all.Go(func() { f(i) })
	}
	all.Wait()
	return time.Since(began)
}
