package delivery

import (
	"fmt"
	"math"
)

// JSON returns a value of a document as encoding/json can write it: with words
// for the numbers that JSON has not got. Times become RFC 3339, bytes base64.
func JSON(v any) any {
	switch v := v.(type) {
	case float64:
		if math.IsNaN(v) || math.IsInf(v, 0) {
			return fmt.Sprint(v)
		}
	case []any:
		out := make([]any, len(v))
		for i, e := range v {
			out[i] = JSON(e)
		}
		return out
	case Fields:
		out := make(Fields, len(v))
		for name, e := range v {
			out[name] = JSON(e)
		}
		return out
	}
	return v
}
