package delivery

import (
	"fmt"
	"strings"
	"time"
	"unicode/utf8"
)

const (
	// maxFaultBytes bounds what is written to the document about its faults: a
	// document can hold more faults than their descriptions would leave room for.
	maxFaultBytes = 16 << 10

	// maxFaults is how many faults are kept. With that many the elements of
	// lists and maps are no longer checked.
	maxFaults = 200
)

// fault is one thing that is wrong.
type fault struct {
	text    string // the extension's sentence
	explain string // ours: what is there and what should be
}

// checker gathers faults. Rules about several fields together are judged only
// if each of them could be read, so it notes whether one could not.
type checker struct {
	faults     []fault // the first maxFaults
	more       int     // faults found after them
	unchecked  int     // elements of lists and maps
	unreadable bool
}

func (c *checker) faulty() bool { return len(c.faults) > 0 }

func (c *checker) full() bool { return len(c.faults) >= maxFaults }

// wrong notes a value of the wrong type: want is the extension's word for the
// type, and in plain what it means.
func (c *checker) wrong(o value, text, plain string) {
	c.unreadable = true
	if c.full() {
		c.more++
		return
	}
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
	if c.full() {
		c.more++
		return
	}
	c.faults = append(c.faults, fault{text: text, explain: explain})
}

// failure is what the faults found come to. Context is the extension's name
// for the part of the document they are in.
func (c *checker) failure(context string) *Failure {
	var text, explain strings.Builder
	written := 0
	for i, f := range c.faults {
		if i > 0 && text.Len()+len(f.text) > maxFaultBytes {
			break
		}
		if i > 0 {
			text.WriteString(". ")
		}
		text.WriteString(clip(f.text, maxFaultBytes))
		written++
	}
	c.writeRest(&text, ". And ", written)
	const explained = 5
	for i, f := range c.faults[:min(explained, len(c.faults))] {
		if i > 0 {
			explain.WriteString("; ")
		}
		explain.WriteString(clip(f.explain, 500))
	}
	c.writeRest(&explain, "; and ", min(explained, len(c.faults)))
	return &Failure{
		Class:   Permanent,
		Phase:   PhaseDecode,
		Message: "ValidationError: Invalid " + context + ": " + text.String(),
		Explain: "The document cannot be read: " + explain.String() +
			". Correct it, then set delivery.state to RETRY.",
	}
}

// writeRest counts what is left after so many faults have been written out.
func (c *checker) writeRest(out *strings.Builder, and string, written int) {
	if more := len(c.faults) - written + c.more; more > 0 {
		fmt.Fprintf(out, "%s%d more", and, more)
	}
	if c.unchecked > 0 {
		fmt.Fprintf(out, "%s%d elements that were not checked", and, c.unchecked)
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
