package delivery

import (
	"fmt"
	"strings"
	"time"
	"unicode/utf8"
)

// maxFaultBytes bounds what is written to the document about its faults: a
// document can hold more faults than their descriptions would leave room for.
const maxFaultBytes = 16 << 10

// fault is one thing that is wrong.
type fault struct {
	text    string // the extension's sentence
	explain string // ours: what is there and what should be
}

// checker gathers faults. Rules about several fields together are judged only
// if each of them could be read, so it notes whether one could not.
type checker struct {
	faults     []fault
	unreadable bool
}

func (c *checker) faulty() bool { return len(c.faults) > 0 }

// wrong notes a value of the wrong type: want is the extension's word for the
// type, and in plain what it means.
func (c *checker) wrong(o value, text, plain string) {
	c.unreadable = true
	is := "is missing; it must be " + plain
	if o.present {
		is = "is " + kind(o.v) + "; it must be " + plain
	}
	c.faults = append(c.faults, fault{
		text:    "Field '" + o.path + "' " + text,
		explain: o.path + " " + is,
	})
}

func (c *checker) rule(text, explain string) {
	c.faults = append(c.faults, fault{text: text, explain: explain})
}

// failure is what the faults found come to. Context is the extension's name
// for the part of the document they are in.
func (c *checker) failure(context string) *Failure {
	var text, explain strings.Builder
	for i, f := range c.faults {
		if i > 0 && text.Len()+len(f.text) > maxFaultBytes {
			fmt.Fprintf(&text, ". And %d more", len(c.faults)-i)
			break
		}
		if i > 0 {
			text.WriteString(". ")
		}
		text.WriteString(clip(f.text, maxFaultBytes))
	}
	const explained = 5
	for i, f := range c.faults {
		if i == explained {
			fmt.Fprintf(&explain, "; and %d more", len(c.faults)-i)
			break
		}
		if i > 0 {
			explain.WriteString("; ")
		}
		explain.WriteString(clip(f.explain, 500))
	}
	return &Failure{
		Class:   Permanent,
		Phase:   PhaseDecode,
		Message: "ValidationError: Invalid " + context + ": " + text.String(),
		Explain: "The document cannot be read: " + explain.String() +
			". Correct it, then set delivery.state to RETRY.",
	}
}

// clip cuts s after at most n bytes, between two characters.
func clip(s string, n int) string {
	if len(s) <= n {
		return s
	}
	for n > 0 && !utf8.RuneStart(s[n]) {
		n--
	}
	return s[:n] + "…"
}

// kind names the type of a value for somebody who wrote it to Firestore.
func kind(v any) string {
	switch v.(type) {
	case nil:
		return "null"
	case bool:
		return "a boolean"
	case int64, float64:
		return "a number"
	case string:
		return "a string"
	case []byte:
		return "bytes"
	case time.Time:
		return "a timestamp"
	case GeoPoint:
		return "a geographical point"
	case Reference:
		return "a reference"
	case []any:
		return "an array"
	case Fields:
		return "a map"
	default:
		return fmt.Sprintf("a %T", v)
	}
}
