package delivery

import (
	"errors"
	"testing"
	"time"
)

// grower builds values from bytes.
type grower struct {
	bytes []byte
}

func (g *grower) next() byte {
	if len(g.bytes) == 0 {
		return 0
	}
	b := g.bytes[0]
	g.bytes = g.bytes[1:]
	return b
}

func (g *grower) value(depth int) any {
	kind := g.next() % 11
	if depth == 0 {
		kind %= 9
	}
	switch kind {
	case 0:
		return nil
	case 1:
		return g.next()%2 == 0
	case 2:
		return int64(int8(g.next()))
	case 3:
		return float64(g.next()) / 8
	case 4:
		return g.text()
	case 5:
		return []byte(g.text())
	case 6:
		return time.Unix(int64(g.next()), 7).UTC()
	case 7:
		return GeoPoint{Latitude: float64(g.next())}
	case 8:
		return Reference{Path: g.text()}
	case 9:
		list := []any{}
		for range g.next() % 5 {
			list = append(list, g.value(depth-1))
		}
		return list
	default:
		return g.fields(depth - 1)
	}
}

func (g *grower) text() string {
	n := min(int(g.next()%8), len(g.bytes))
	s := string(g.bytes[:n])
	g.bytes = g.bytes[n:]
	return s
}

func (g *grower) fields(depth int) Fields {
	names := []string{
		"to", "cc", "bcc", "toUids", "ccUids", "bccUids", "from", "replyTo", "message", "template", "sendGrid",
		"categories", "headers", "subject", "text", "html", "amp", "messageId", "attachments", "name", "data",
		"templateId", "dynamicTemplateData", "customArgs", "filename", "content", "path", "href", "httpHeaders",
		"cid", "raw", "key", "value", "0", "", "receipts", "open", "read",
	}
	f := Fields{}
	for range g.next() % 8 {
		f[names[int(g.next())%len(names)]] = g.value(depth)
	}
	return f
}

func FuzzDecode(f *testing.F) {
	f.Add([]byte{2, 0, 4, 1, 'a', 8, 10, 2, 13, 4, 1, 's', 14, 4, 1, 't'})
	f.Add([]byte("\x07\x00\x04\x03abc\x0c\x09\x02\x0a\x02\x1f\x04\x01k\x20\x04\x01v"))
	f.Fuzz(func(t *testing.T, b []byte) {
		g := &grower{bytes: b}
		in := g.fields(5)
		doc, err := Decode(in)
		if err == nil {
			if !Complete(in) {
				t.Errorf("accepted an incomplete document: %v", in)
			}
			if len(doc.To)+len(doc.Cc)+len(doc.Bcc)+len(doc.ToUIDs)+len(doc.CcUIDs)+len(doc.BccUIDs) == 0 {
				t.Errorf("accepted without a recipient: %v", in)
			}
			return
		}
		var fault *Failure
		if !errors.As(err, &fault) || fault.Message == "" || fault.Explain == "" || fault.Class != Permanent {
			t.Errorf("%v: %#v", in, err)
		}
	})
}
