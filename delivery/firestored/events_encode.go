package firestored

import (
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"postrider/delivery/firestored/query"

	pb "cloud.google.com/go/firestore/apiv1/firestorepb"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
)

const (
	eventSchema   = "https://github.com/googleapis/google-cloudevents/blob/main/proto/google/events/cloud/firestore/v1/data.proto"
	eventLocation = "nam5" // a multi-region, as most databases have
)

// attributes returns the attributes of a change's CloudEvent, without their
// prefix. The ID is the same however often the event is sent.
func (f *feed) attributes(c change) map[string]string {
	part := strings.Split(f.db.name, "/") // projects, P, databases, D
	return map[string]string{
		"id":          eventID(f.db.name, f.Type, c),
		"source":      "//firestore.googleapis.com/" + f.db.name,
		"specversion": "1.0",
		"type":        f.Type,
		"subject":     "documents/" + c.path,
		"time":        time.UnixMicro(c.at).UTC().Format("2006-01-02T15:04:05.000000Z"),
		"dataschema":  eventSchema,
		"project":     part[1],
		"database":    part[3],
		"namespace":   "(default)",
		"location":    eventLocation,
		"document":    c.path,
	}
}

// eventID returns a UUID (RFC 9562, version 8) made of what the event is about.
func eventID(database, kind string, c change) string {
	sum := sha256.Sum256(fmt.Appendf(nil, "%s\n%s\n%s\n%d", database, kind, c.path, c.at))
	sum[6] = sum[6]&0x0f | 0x80
	sum[8] = sum[8]&0x3f | 0x80
	return fmt.Sprintf("%x-%x-%x-%x-%x", sum[:4], sum[4:6], sum[6:8], sum[8:10], sum[10:16])
}

// headerValue percent-encodes what an HTTP header cannot carry: spaces, double
// quotes, percent signs and all but printable ASCII (CloudEvents HTTP binding
// 1.0, section 3.1.3.2).
func headerValue(s string) string {
	var b strings.Builder
	for i := range len(s) {
		if c := s[i]; c <= ' ' || c > '~' || c == '"' || c == '%' {
			fmt.Fprintf(&b, "%%%02X", c)
		} else {
			b.WriteByte(c)
		}
	}
	return b.String()
}

// body encodes google.events.cloud.firestore.v1.DocumentEventData. Its messages
// Document and DocumentMask have the fields of google.firestore.v1's, by number
// and by JSON name.
func (f *feed) body(c change) (body []byte, contentType string, err error) {
	var value, oldValue *pb.Document
	var parts []eventPart
	if c.new != nil {
		value = c.new.document(f.db.root)
		parts = append(parts, eventPart{1, "value", value})
	}
	if c.old != nil {
		oldValue = c.old.document(f.db.root)
		parts = append(parts, eventPart{2, "oldValue", oldValue})
	}
	if value != nil && oldValue != nil {
		mask := &pb.DocumentMask{FieldPaths: changedPaths("", oldValue.GetFields(), value.GetFields())}
		parts = append(parts, eventPart{3, "updateMask", mask})
	}
	if f.JSON {
		body, err = jsonParts(parts)
		return body, "application/json", err
	}
	body, err = wireParts(parts)
	return body, "application/protobuf", err
}

// eventPart is a field of DocumentEventData.
type eventPart struct {
	number  protowire.Number
	name    string
	message proto.Message
}

func wireParts(parts []eventPart) ([]byte, error) {
	var b []byte
	for _, p := range parts {
		m, err := proto.Marshal(p.message)
		if err != nil {
			return nil, err
		}
		b = protowire.AppendTag(b, p.number, protowire.BytesType)
		b = protowire.AppendBytes(b, m)
	}
	return b, nil
}

func jsonParts(parts []eventPart) ([]byte, error) {
	fields := make(map[string]json.RawMessage)
	for _, p := range parts {
		m, err := protojson.Marshal(p.message)
		if err != nil {
			return nil, err
		}
		fields[p.name] = m
	}
	return json.Marshal(fields)
}

// changedPaths returns the paths of the fields that differ, in order. Of maps on
// both sides it returns the fields within.
func changedPaths(under string, before, after map[string]*pb.Value) []string {
	names := make(map[string]bool)
	for name := range before {
		names[name] = true
	}
	for name := range after {
		names[name] = true
	}
	var paths []string
	for _, name := range slices.Sorted(maps.Keys(names)) {
		path := under + quoteField(name)
		was, is := before[name], after[name]
		switch {
		case was.GetMapValue() != nil && is.GetMapValue() != nil:
			paths = append(paths, changedPaths(path+".", was.GetMapValue().GetFields(), is.GetMapValue().GetFields())...)
		case !proto.Equal(was, is):
			paths = append(paths, path)
		}
	}
	return paths
}

// quoteField returns a field's name as a segment of a path: in backticks where
// it is not a simple one.
func quoteField(name string) string {
	if segments, err := query.ParsePath(name); err == nil && len(segments) == 1 && segments[0] == name {
		return name
	}
	return "`" + strings.NewReplacer("`", "\\`", `\`, `\\`).Replace(name) + "`"
}

// matchPath reports whether a document's path matches a pattern: see
// [Subscription].
func matchPath(pattern, path string) bool {
	return matchSegments(strings.Split(pattern, "/"), strings.Split(path, "/"))
}

func matchSegments(pattern, path []string) bool {
	if len(pattern) == 0 {
		return len(path) == 0
	}
	first, rest := pattern[0], pattern[1:]
	named := strings.HasPrefix(first, "{") && strings.HasSuffix(first, "}")
	switch {
	case first == "**", named && strings.HasSuffix(first, "=**}"):
		return matchSegments(rest, path) || len(path) > 0 && matchSegments(pattern, path[1:])
	case len(path) == 0:
		return false
	case first == "*", named:
		return matchSegments(rest, path[1:])
	}
	return first == path[0] && matchSegments(rest, path[1:])
}
