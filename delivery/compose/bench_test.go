package compose

import (
	"bytes"
	"context"
	"strings"
	"testing"

	"postrider/delivery"
)

// page is HTML of about n bytes as programs write it: lines longer than a mail's.
func page(n int) string {
	const row = `<tr><td style="padding:8px 0">Grüße an Ada, zwei Stück von diesem hier</td><td align="right">12,50 €</td></tr>` + "\n"
	return "<html><body><table>" + strings.Repeat(row, n/len(row)) + "</table></body></html>"
}

func BenchmarkCompose(b *testing.B) {
	for _, bench := range []struct {
		name string
		doc  delivery.Document
	}{
		{"text", simple()},
		{"simple", with(func(d *delivery.Document) { // what most mails are
			d.To = []string{"Ada Lovelace <ada@rcpt.test>"}
			d.Message.HTML = page(1 << 10)
		})},
		{"names", with(func(d *delivery.Document) {
			d.To = []string{"Ada Lovelace <ada@rcpt.test>", "Jörg <jo@rcpt.test>"}
			d.Message.Subject = "Grüße aus München"
			d.Message.HTML = strings.Repeat("<p>Hello Ada, this is a paragraph.</p>\n", 50)
		})},
		{"html20K", with(func(d *delivery.Document) { d.Message.HTML = page(20 << 10) })},
		{"attachment1M", attached(delivery.Attachment{Filename: "report.pdf", Content: bytes.Repeat([]byte("0123456789abcdef"), 64<<10)})},
	} {
		b.Run(bench.name, func(b *testing.B) {
			c := New(Options{}, nil, nil)
			claim := testClaim()
			b.ReportAllocs()
			for b.Loop() {
				m, err := c.Compose(context.Background(), bench.doc, claim)
				if err != nil {
					b.Fatal(err)
				}
				b.SetBytes(int64(len(m.Message)))
			}
			b.ReportMetric(float64(b.Elapsed().Microseconds())/float64(b.N), "µs/mail")
		})
	}
}
