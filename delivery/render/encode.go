package render

import (
	"encoding/json"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"postrider/delivery"
)

// An encoded value is a JSON list. Its first element is the value, where things
// that JSON has no word for (dates, bytes, NaN…) are lists, strings and numbers
// to make them of. If there are such, the second element says where and what:
// a mark is either the kind of the thing that stands there, or a list that has,
// for each member with anything in it, the member's key and its mark. So a key
// is written twice at most, however much is below it. Marks inside the value
// itself could be imitated by a document.

// encodeData encodes the data that the template called name is to be rendered
// with; nil data is "". The error is a [*delivery.Failure]: an encoding that is
// many times as long as what it encodes.
func encodeData(name string, data delivery.Fields) (string, error) {
	if data == nil {
		return "", nil
	}
	e := encoder{limit: maxEncoded(data)}
	encoded := e.encode(data)
	if len(encoded) > e.limit {
		return "", tooMuchData(name, e.limit)
	}
	return encoded, nil
}

// maxEncoded is how many bytes the encoding of v may have. Only control
// characters need more than four times the bytes they take in a document.
func maxEncoded(v any) int { return 4*sizeOf(v) + 1<<20 }

// encode encodes what a template document holds.
func encode(value any) string {
	e := encoder{limit: math.MaxInt}
	return e.encode(value)
}

// encoder gives up soon after it has written more than limit.
type encoder struct {
	out   []byte
	marks []byte
	limit int // bytes
}

func (e *encoder) encode(v any) string {
	e.out = append(e.out, '[')
	if e.value(v) {
		e.out = append(e.out, ',')
		e.out = append(e.out, e.marks...)
	}
	return string(append(e.out, ']'))
}

// value writes v, and its mark if it needs one: then it returns true.
func (e *encoder) value(v any) bool {
	switch v := v.(type) {
	case bool:
		e.out = strconv.AppendBool(e.out, v)
	case int64:
		e.out = strconv.AppendInt(e.out, v, 10)
	case int:
		e.out = strconv.AppendInt(e.out, int64(v), 10)
	case float64:
		e.out = appendFloat(e.out, v)
		return (math.IsNaN(v) || math.IsInf(v, 0)) && e.mark("number")
	case string:
		e.out = appendString(e.out, v)
	case []byte:
		e.out = appendBytes(e.out, v)
		return e.mark("bytes")
	case time.Time:
		e.out = strconv.AppendInt(append(e.out, '['), v.Unix(), 10)
		e.out = append(strconv.AppendInt(append(e.out, ','), int64(v.Nanosecond()), 10), ']')
		return e.mark("time")
	case delivery.GeoPoint:
		e.out = appendFloat(append(e.out, '['), v.Latitude)
		e.out = append(appendFloat(append(e.out, ','), v.Longitude), ']')
		return e.mark("point")
	case delivery.Reference:
		e.out = appendStrings(e.out, strings.Split(v.Path, "/"))
		return e.mark("reference")
	case []any:
		return e.list(v)
	case delivery.Fields:
		return e.fields(sortedKeys(v), v)
	case ordered:
		return e.fields(v.keys, v.fields)
	default:
		e.out = append(e.out, "null"...) // or not a Firestore value
	}
	return false
}

func (e *encoder) mark(kind string) bool {
	e.marks = append(append(append(e.marks, '"'), kind...), '"')
	return true
}

func (e *encoder) list(list []any) bool {
	e.out = append(e.out, '[')
	start := len(e.marks)
	e.marks = append(e.marks, '[')
	for i, v := range list {
		if i > 0 {
			e.out = append(e.out, ',')
		}
		before := len(e.marks)
		e.marks = append(strconv.AppendInt(e.marks, int64(i), 10), ',')
		if !e.member(v, before) {
			break
		}
	}
	e.out = append(e.out, ']')
	return e.closeMarks(start)
}

func (e *encoder) fields(keys []string, fields delivery.Fields) bool {
	e.out = append(e.out, '{')
	start := len(e.marks)
	e.marks = append(e.marks, '[')
	for i, key := range keys {
		if i > 0 {
			e.out = append(e.out, ',')
		}
		before, from := len(e.marks), len(e.out)
		e.out = appendString(e.out, key)
		e.marks = append(append(e.marks, e.out[from:]...), ',')
		e.out = append(e.out, ':')
		if !e.member(fields[key], before) {
			break
		}
	}
	e.out = append(e.out, '}')
	return e.closeMarks(start)
}

// member writes a member's value, behind whose key its mark would go. Without
// one the key goes too, back to before. It returns false when it is too much.
func (e *encoder) member(v any, before int) bool {
	if e.value(v) {
		e.marks = append(e.marks, ',')
	} else {
		e.marks = e.marks[:before]
	}
	return len(e.out)+len(e.marks) <= e.limit
}

// closeMarks ends the list of marks that begins at start. An empty one goes.
func (e *encoder) closeMarks(start int) bool {
	last := len(e.marks) - 1
	if last == start {
		e.marks = e.marks[:start]
		return false
	}
	e.marks[last] = ']' // in place of a comma
	return true
}

// sizeOf returns the bytes v takes in a document, about as Firestore sends it:
// four for each value and key, and what is in them.
func sizeOf(v any) int {
	const each = 4
	switch v := v.(type) {
	case string:
		return each + len(v)
	case []byte:
		return each + len(v)
	case delivery.Reference:
		return each + len(v.Path)
	case int64, int, float64:
		return each + 8
	case time.Time, delivery.GeoPoint:
		return each + 16
	case []any:
		size := each
		for _, element := range v {
			size += sizeOf(element)
		}
		return size
	case delivery.Fields:
		size := each
		for key, member := range v {
			size += each + len(key) + sizeOf(member)
		}
		return size
	}
	return each
}

// ordered is a map whose keys keep an order of their own.
type ordered struct {
	keys   []string
	fields delivery.Fields
}

// attachmentOrder puts the keys of a template's attachments in the order of
// the extension's own list of them, the rest sorted behind. The rendered JSON
// text is parsed again, and where that fails the error counts characters: with
// the usual order the count is the one the extension gives.
func attachmentOrder(value any) any {
	switch v := value.(type) {
	case []any:
		list := make([]any, len(v))
		for i := range v {
			list[i] = attachmentOrder(v[i])
		}
		return list
	case delivery.Fields:
		return ordered{attachmentKeys(v), v}
	}
	return value
}

func attachmentKeys(f delivery.Fields) []string {
	keys := make([]string, 0, len(f))
	for _, key := range []string{
		"filename", "content", "path", "href", "httpHeaders", "contentType",
		"contentDisposition", "cid", "encoding", "headers", "raw",
	} {
		if _, ok := f[key]; ok {
			keys = append(keys, key)
		}
	}
	for _, key := range sortedKeys(f) {
		if !slices.Contains(keys, key) {
			keys = append(keys, key)
		}
	}
	return keys
}

func sortedKeys(f delivery.Fields) []string {
	keys := make([]string, 0, len(f))
	for key := range f {
		keys = append(keys, key)
	}
	slices.Sort(keys)
	return keys
}

// appendFloat writes what JSON has no number for as JavaScript's word for it.
func appendFloat(out []byte, f float64) []byte {
	switch {
	case math.IsNaN(f):
		return append(out, `"NaN"`...)
	case math.IsInf(f, 1):
		return append(out, `"Infinity"`...)
	case math.IsInf(f, -1):
		return append(out, `"-Infinity"`...)
	}
	return strconv.AppendFloat(out, f, 'g', -1, 64)
}

// appendBytes writes a string with the characters from U+0100 to U+01FF for
// bytes: none of them needs a backslash.
func appendBytes(out, b []byte) []byte {
	out = append(out, '"')
	for _, c := range b {
		out = utf8.AppendRune(out, 0x100+rune(c))
	}
	return append(out, '"')
}

func appendStrings(out []byte, list []string) []byte {
	out = append(out, '[')
	for i, s := range list {
		if i > 0 {
			out = append(out, ',')
		}
		out = appendString(out, s)
	}
	return append(out, ']')
}

func appendString(out []byte, s string) []byte {
	for i := range len(s) {
		if c := s[i]; c < ' ' || c == '"' || c == '\\' || c >= 0x7f {
			quoted, _ := json.Marshal(s) // a string never fails
			return append(out, quoted...)
		}
	}
	out = append(out, '"')
	out = append(out, s...)
	return append(out, '"')
}
