package render

import (
	"encoding/json"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"postrider/delivery"
)

// An encoded value is a JSON list: first the value, then for each thing in it
// that JSON has no word for (dates, bytes, NaN…) its path, its kind and what
// glue.js makes it of. Marks inside the value itself could be imitated by a
// document.

// encodeData encodes a template's data; empty means none.
func encodeData(data delivery.Fields) string {
	if data == nil {
		return ""
	}
	return encode(data)
}

func encode(value any) string {
	e := encoder{}
	e.out = append(e.out, '[')
	e.value(value)
	e.out = append(e.out, e.specials...)
	return string(append(e.out, ']'))
}

type encoder struct {
	out      []byte
	path     []byte // each step with a comma after it
	specials []byte
}

func (e *encoder) value(v any) {
	switch v := v.(type) {
	case nil:
		e.out = append(e.out, "null"...)
	case bool:
		e.out = strconv.AppendBool(e.out, v)
	case int64:
		e.out = strconv.AppendInt(e.out, v, 10)
	case int:
		e.out = strconv.AppendInt(e.out, int64(v), 10)
	case float64:
		e.float(v)
	case string:
		e.out = appendString(e.out, v)
	case []byte:
		e.special("bytes", appendString(nil, latin1(v)))
	case time.Time:
		e.special("time", appendInts(v.Unix(), int64(v.Nanosecond())))
	case delivery.GeoPoint:
		e.special("point", []byte("["+encode(v.Latitude)+","+encode(v.Longitude)+"]"))
	case delivery.Reference:
		e.special("reference", appendStrings(strings.Split(v.Path, "/")))
	case []any:
		e.list(v)
	case delivery.Fields:
		e.fields(sortedKeys(v), v)
	case ordered:
		e.fields(v.keys, v.fields)
	default:
		e.out = append(e.out, "null"...) // not a Firestore value
	}
}

func (e *encoder) float(f float64) {
	switch {
	case math.IsNaN(f):
		e.special("number", []byte(`"NaN"`))
	case math.IsInf(f, 1):
		e.special("number", []byte(`"Infinity"`))
	case math.IsInf(f, -1):
		e.special("number", []byte(`"-Infinity"`))
	default:
		e.out = strconv.AppendFloat(e.out, f, 'g', -1, 64)
	}
}

func (e *encoder) list(list []any) {
	e.out = append(e.out, '[')
	length := len(e.path)
	for i, v := range list {
		if i > 0 {
			e.out = append(e.out, ',')
		}
		e.path = append(strconv.AppendInt(e.path, int64(i), 10), ',')
		e.value(v)
		e.path = e.path[:length]
	}
	e.out = append(e.out, ']')
}

func (e *encoder) fields(keys []string, fields delivery.Fields) {
	e.out = append(e.out, '{')
	length := len(e.path)
	for i, key := range keys {
		if i > 0 {
			e.out = append(e.out, ',')
		}
		e.out = append(appendString(e.out, key), ':')
		e.path = append(appendString(e.path, key), ',')
		e.value(fields[key])
		e.path = e.path[:length]
	}
	e.out = append(e.out, '}')
}

// special leaves a gap in the value and notes what belongs there.
func (e *encoder) special(kind string, argument []byte) {
	e.out = append(e.out, '0')
	e.specials = append(e.specials, ",[["...)
	e.specials = append(e.specials, strings.TrimSuffix(string(e.path), ",")...)
	e.specials = append(e.specials, `],"`+kind+`",`...)
	e.specials = append(e.specials, argument...)
	e.specials = append(e.specials, ']')
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

// latin1 returns a string whose characters are the bytes.
func latin1(b []byte) string {
	runes := make([]rune, len(b))
	for i, c := range b {
		runes[i] = rune(c)
	}
	return string(runes)
}

func appendInts(a, b int64) []byte {
	out := strconv.AppendInt([]byte{'['}, a, 10)
	return append(strconv.AppendInt(append(out, ','), b, 10), ']')
}

func appendStrings(list []string) []byte {
	out := []byte{'['}
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
