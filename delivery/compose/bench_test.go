package compose

import (
	"bytes"
	"context"
	"testing"

	"postrider/delivery"
)

func BenchmarkCompose(b *testing.B) {
	html := "<html><body>" + string(bytes.Repeat([]byte("<p>Hello Ada, this is a paragraph.</p>\n"), 50)) + "</body></html>"
	for name, doc := range map[string]delivery.Document{
		"simple": simple(),
		"html": with(func(d *delivery.Document) {
			d.To = []string{"Ada Lovelace <ada@rcpt.test>", "Jörg <jo@rcpt.test>"}
			d.Message.Subject, d.Message.HTML = "Grüße aus München", html
		}),
		"attachment": attached(delivery.Attachment{Filename: "report.pdf", Content: bytes.Repeat([]byte("0123456789abcdef"), 64<<10)}),
	} {
		b.Run(name, func(b *testing.B) {
			c := New(Options{}, nil, nil)
			claim := testClaim()
			b.ReportAllocs()
			for b.Loop() {
				m, err := c.Compose(context.Background(), doc, claim)
				if err != nil {
					b.Fatal(err)
				}
				b.SetBytes(int64(len(m.Message)))
			}
		})
	}
}
