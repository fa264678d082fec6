package query

import (
	"fmt"
	"strings"

	pb "cloud.google.com/go/firestore/apiv1/firestorepb"
)

// ParsePath splits a field path (comment of Document.fields): segments between
// dots, each a simple name of letters, digits and underscores that does not
// begin with a digit, or any text in backticks, where a backslash escapes the
// character that follows it.
func ParsePath(path string) ([]string, error) {
	if path == "" {
		return nil, fmt.Errorf("the field path is empty")
	}
	var segments []string
	for rest := path; ; {
		segment, n := nextSegment(rest)
		if n == 0 || n < len(rest) && rest[n] != '.' {
			return nil, fmt.Errorf("field path %q: a segment is neither a simple name nor quoted", path)
		}
		segments = append(segments, segment)
		if n == len(rest) {
			return segments, nil
		}
		rest = rest[n+1:]
	}
}

// nextSegment returns the segment that s begins with and its length in s, or 0.
func nextSegment(s string) (segment string, n int) {
	if strings.HasPrefix(s, "`") {
		return quotedSegment(s)
	}
	for n < len(s) && isSimple(s[n], n == 0) {
		n++
	}
	return s[:n], n
}

func isSimple(c byte, first bool) bool {
	letter := 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || c == '_'
	return letter || !first && '0' <= c && c <= '9'
}

func quotedSegment(s string) (segment string, n int) {
	var text strings.Builder
	for i := 1; i < len(s); i++ {
		switch s[i] {
		case '`':
			if text.Len() == 0 {
				return "", 0
			}
			return text.String(), i + 1
		case '\\':
			if i++; i == len(s) {
				return "", 0
			}
		}
		text.WriteByte(s[i])
	}
	return "", 0
}

// joinPath writes a path in its one canonical form.
func joinPath(segments []string) string {
	var b strings.Builder
	for i, s := range segments {
		if i > 0 {
			b.WriteByte('.')
		}
		if _, n := nextSegment(s); s[0] != '`' && n == len(s) {
			b.WriteString(s)
			continue
		}
		b.WriteByte('`')
		b.WriteString(strings.NewReplacer("`", "\\`", `\`, `\\`).Replace(s))
		b.WriteByte('`')
	}
	return b.String()
}

// Lookup finds the field at a path that [ParsePath] takes, below maps too; false
// if there is none. A vector has no fields.
func Lookup(fields map[string]*pb.Value, path string) (*pb.Value, bool) {
	if strings.IndexByte(path, '`') >= 0 {
		segments, err := ParsePath(path)
		if err != nil {
			return nil, false
		}
		return lookup(fields, segments)
	}
	for {
		segment, rest, nested := strings.Cut(path, ".")
		v, ok := fields[segment]
		if !ok || !nested {
			return v, ok
		}
		fields, path = below(v), rest
	}
}

func lookup(fields map[string]*pb.Value, segments []string) (*pb.Value, bool) {
	last := len(segments) - 1
	for _, s := range segments[:last] {
		fields = below(fields[s])
	}
	v, ok := fields[segments[last]]
	return v, ok
}

// below returns the fields of a map, none of anything else.
func below(v *pb.Value) map[string]*pb.Value {
	if isVector(v) {
		return nil
	}
	return v.GetMapValue().GetFields()
}
