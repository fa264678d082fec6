package delivery

import (
	"maps"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"
)

// The extension is written in JavaScript, and what it makes of a value that
// nobody meant to write follows that language's rules. These are those rules.

// isObject reports whether v is a map or one of Firestore's own objects, which
// pass for maps without the members one looks for.
func isObject(v any) bool {
	switch v.(type) {
	case Fields, time.Time, GeoPoint, Reference, []byte:
		return true
	}
	return false
}

func isList(v any) bool {
	_, ok := v.([]any)
	return ok
}

// member returns a member of a map or of a Firestore object.
func member(v any, name string) (any, bool) {
	switch v := v.(type) {
	case Fields:
		m, ok := v[name]
		return m, ok
	case time.Time:
		switch name {
		case "_seconds":
			return v.Unix(), true
		case "_nanoseconds":
			return int64(v.Nanosecond()), true
		}
	case GeoPoint:
		switch name {
		case "_latitude":
			return v.Latitude, true
		case "_longitude":
			return v.Longitude, true
		}
	case Reference:
		switch name {
		case "_firestore", "_path", "_converter":
			return Fields{}, true
		case "path":
			return v.Path, true
		}
	}
	return nil, false
}

// keys returns the names of a value's members, in the order in which the
// extension comes to them: whole numbers first, then as Firestore sorts them.
func keys(v any) []string {
	switch v := v.(type) {
	case Fields:
		return slices.SortedFunc(maps.Keys(v), compareKeys)
	case time.Time:
		return []string{"_seconds", "_nanoseconds"}
	case GeoPoint:
		return []string{"_latitude", "_longitude"}
	case Reference:
		return []string{"_firestore", "_path", "_converter"}
	}
	return nil
}

func compareKeys(a, b string) int {
	i, aIndex := index(a)
	j, bIndex := index(b)
	switch {
	case aIndex && bIndex:
		return int(i - j)
	case aIndex:
		return -1
	case bIndex:
		return 1
	}
	return strings.Compare(a, b)
}

// index reports whether a name is an array index (ECMA-262 §6.1.7).
func index(name string) (int64, bool) {
	n, err := strconv.ParseUint(name, 10, 32)
	if err != nil || n == math.MaxUint32 || strconv.FormatUint(n, 10) != name {
		return 0, false
	}
	return int64(n), true
}

// hasKeys reports whether v has members; a string has its characters.
func hasKeys(v any) bool {
	switch v := v.(type) {
	case string:
		return v != ""
	case []any:
		return len(v) > 0
	case []byte:
		return len(v) > 0
	}
	return len(keys(v)) > 0
}

// javaScriptString is String(v).
func javaScriptString(v any) string {
	switch v := v.(type) {
	case nil:
		return "null"
	case bool:
		return strconv.FormatBool(v)
	case int64:
		return NumberString(float64(v))
	case float64:
		return NumberString(v)
	case string:
		return v
	case []byte:
		return string(v)
	case []any:
		parts := make([]string, len(v))
		for i, e := range v {
			if e != nil {
				parts[i] = javaScriptString(e)
			}
		}
		return strings.Join(parts, ",")
	default:
		return "[object Object]"
	}
}

// NumberString writes a number as JavaScript does (ECMA-262 §6.1.6.1.20), which
// is how it appears in what the extension makes of it: 5, 0.1, 1e+21, 1e-7.
// Firestore's integers, too, are such numbers there, exact only up to 2^53.
func NumberString(v float64) string {
	switch {
	case math.IsNaN(v):
		return "NaN"
	case math.IsInf(v, 1):
		return "Infinity"
	case math.IsInf(v, -1):
		return "-Infinity"
	case v == 0:
		return "0" // negative zero, too
	}
	if a := math.Abs(v); a >= 1e-6 && a < 1e21 {
		return strconv.FormatFloat(v, 'f', -1, 64)
	}
	mantissa, exponent, _ := strings.Cut(strconv.FormatFloat(v, 'e', -1, 64), "e")
	return mantissa + "e" + exponent[:1] + strings.TrimLeft(exponent[1:], "0")
}
