package query

import (
	"encoding/binary"
	"math"

	pb "cloud.google.com/go/firestore/apiv1/firestorepb"
)

// Key is a value's key in an index: two values have the same key if and only if
// [Compare] finds them equal. So 1 and 1.0 share a key, and each NaN has that
// of the others. Keys do not sort as their values do. The key of a string is
// the string behind one byte.
func Key(v *pb.Value) string {
	if s, ok := v.GetValueType().(*pb.Value_StringValue); ok {
		return "s" + s.StringValue // the usual one, and nothing follows it
	}
	return string(appendKey(make([]byte, 0, 32), v))
}

// appendKey writes a letter for the type and then the value so that no key is
// the beginning of another.
func appendKey(b []byte, v *pb.Value) []byte {
	switch x := v.GetValueType().(type) {
	case *pb.Value_NullValue:
		return append(b, 'n')
	case *pb.Value_BooleanValue:
		if x.BooleanValue {
			return append(b, 't')
		}
		return append(b, 'f')
	case *pb.Value_IntegerValue:
		return appendInteger(b, x.IntegerValue)
	case *pb.Value_DoubleValue:
		return appendDouble(b, x.DoubleValue)
	case *pb.Value_TimestampValue:
		b = binary.BigEndian.AppendUint64(append(b, 'T'), uint64(x.TimestampValue.GetSeconds()))
		return binary.BigEndian.AppendUint32(b, uint32(x.TimestampValue.GetNanos()))
	case *pb.Value_StringValue:
		return appendText(append(b, 's'), x.StringValue)
	case *pb.Value_BytesValue:
		return appendText(append(b, 'b'), string(x.BytesValue))
	case *pb.Value_ReferenceValue:
		return appendText(append(b, 'r'), x.ReferenceValue)
	case *pb.Value_GeoPointValue:
		b = appendBits(append(b, 'g'), x.GeoPointValue.GetLatitude())
		return appendBits(b, x.GeoPointValue.GetLongitude())
	case *pb.Value_ArrayValue:
		values := x.ArrayValue.GetValues()
		b = binary.AppendUvarint(append(b, 'a'), uint64(len(values)))
		for _, v := range values {
			b = appendKey(b, v)
		}
		return b
	case *pb.Value_MapValue:
		return appendMap(b, x.MapValue.GetFields())
	default:
		return append(b, '?')
	}
}

func appendInteger(b []byte, i int64) []byte {
	return binary.BigEndian.AppendUint64(append(b, 'i'), uint64(i))
}

// appendDouble writes a whole number as the integer that it equals.
func appendDouble(b []byte, d float64) []byte {
	if d == math.Trunc(d) && d >= -beyond && d < beyond {
		return appendInteger(b, int64(d))
	}
	return appendBits(append(b, 'd'), d)
}

func appendBits(b []byte, d float64) []byte {
	if math.IsNaN(d) {
		d = math.NaN() // there are many, all equal here
	}
	return binary.BigEndian.AppendUint64(b, math.Float64bits(d+0)) // -0 + 0 is 0
}

func appendText(b []byte, s string) []byte {
	return append(binary.AppendUvarint(b, uint64(len(s))), s...)
}

func appendMap(b []byte, fields map[string]*pb.Value) []byte {
	b = binary.AppendUvarint(append(b, 'm'), uint64(len(fields)))
	for _, k := range sortedKeys(fields) {
		b = appendKey(appendText(b, k), fields[k])
	}
	return b
}
