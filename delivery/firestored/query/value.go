package query

import (
	"bytes"
	"cmp"
	"maps"
	"math"
	"slices"
	"strings"

	pb "cloud.google.com/go/firestore/apiv1/firestorepb"
	"google.golang.org/genproto/googleapis/type/latlng"
	"google.golang.org/protobuf/types/known/timestamppb"
)

// rank is a type's place in the order of values ("Supported data types: value
// type ordering"). Values of different ranks are never equal.
type rank int

const (
	rankNone rank = iota // nothing that a document can hold
	rankNull
	rankBoolean
	rankNumber
	rankTimestamp
	rankString
	rankBytes
	rankReference
	rankGeoPoint
	rankArray
	rankVector
	rankMap
)

func rankOf(v *pb.Value) rank {
	switch v.GetValueType().(type) {
	case *pb.Value_NullValue:
		return rankNull
	case *pb.Value_BooleanValue:
		return rankBoolean
	case *pb.Value_IntegerValue, *pb.Value_DoubleValue:
		return rankNumber
	case *pb.Value_TimestampValue:
		return rankTimestamp
	case *pb.Value_StringValue:
		return rankString
	case *pb.Value_BytesValue:
		return rankBytes
	case *pb.Value_ReferenceValue:
		return rankReference
	case *pb.Value_GeoPointValue:
		return rankGeoPoint
	case *pb.Value_ArrayValue:
		return rankArray
	case *pb.Value_MapValue:
		if isVector(v) {
			return rankVector
		}
		return rankMap
	default:
		return rankNone
	}
}

// isVector reports whether v is a vector embedding, which the protocol writes
// as a map {"__type__": "__vector__", "value": [...]}.
func isVector(v *pb.Value) bool {
	fields := v.GetMapValue().GetFields()
	if len(fields) != 2 || fields["__type__"].GetStringValue() != "__vector__" {
		return false
	}
	_, ok := fields["value"].GetValueType().(*pb.Value_ArrayValue)
	return ok
}

// vector returns the elements of a vector.
func vector(v *pb.Value) []*pb.Value {
	return v.GetMapValue().GetFields()["value"].GetArrayValue().GetValues()
}

func isNull(v *pb.Value) bool {
	_, ok := v.GetValueType().(*pb.Value_NullValue)
	return ok
}

func isNaN(v *pb.Value) bool {
	d, ok := v.GetValueType().(*pb.Value_DoubleValue)
	return ok && math.IsNaN(d.DoubleValue)
}

// Compare is Firestore's order of values: -1, 0 or +1 as a sorts before b, is
// equal to it or sorts after it. Types have their order, NaN is the least
// number and equal to itself, -0 equals 0, integers and doubles are compared
// exactly, arrays by element and then by length, vectors by dimension and then
// by element, maps by their sorted keys and each key's value. A nil value and
// one that no document can hold sort before all others.
func Compare(a, b *pb.Value) int {
	of := rankOf(a)
	if c := cmp.Compare(of, rankOf(b)); c != 0 {
		return c
	}
	switch of {
	case rankBoolean:
		return compareBooleans(a.GetBooleanValue(), b.GetBooleanValue())
	case rankNumber:
		return compareNumbers(a, b)
	case rankTimestamp:
		return compareTimestamps(a.GetTimestampValue(), b.GetTimestampValue())
	case rankString:
		return strings.Compare(a.GetStringValue(), b.GetStringValue())
	case rankBytes:
		return bytes.Compare(a.GetBytesValue(), b.GetBytesValue())
	case rankReference:
		return CompareNames(a.GetReferenceValue(), b.GetReferenceValue())
	case rankGeoPoint:
		return compareGeoPoints(a.GetGeoPointValue(), b.GetGeoPointValue())
	case rankArray:
		return slices.CompareFunc(a.GetArrayValue().GetValues(), b.GetArrayValue().GetValues(), Compare)
	case rankVector:
		return compareVectors(vector(a), vector(b))
	case rankMap:
		return compareMaps(a.GetMapValue().GetFields(), b.GetMapValue().GetFields())
	default:
		return 0
	}
}

func compareBooleans(a, b bool) int {
	switch {
	case a == b:
		return 0
	case b:
		return -1
	default:
		return 1
	}
}

func compareNumbers(a, b *pb.Value) int {
	i, aInteger := a.GetValueType().(*pb.Value_IntegerValue)
	j, bInteger := b.GetValueType().(*pb.Value_IntegerValue)
	switch {
	case aInteger && bInteger:
		return cmp.Compare(i.IntegerValue, j.IntegerValue)
	case aInteger:
		return compareMixed(i.IntegerValue, b.GetDoubleValue())
	case bInteger:
		return -compareMixed(j.IntegerValue, a.GetDoubleValue())
	default:
		return cmp.Compare(a.GetDoubleValue(), b.GetDoubleValue()) // NaN first, -0 == 0
	}
}

// beyond is 2^63, the first double above all integers.
const beyond = float64(1 << 63)

// compareMixed compares without converting the integer, which would round it
// above 2^53.
func compareMixed(i int64, d float64) int {
	switch {
	case math.IsNaN(d) || d < -beyond:
		return 1
	case d >= beyond:
		return -1
	}
	whole := math.Trunc(d)
	if c := cmp.Compare(i, int64(whole)); c != 0 {
		return c
	}
	return cmp.Compare(whole, d)
}

func compareTimestamps(a, b *timestamppb.Timestamp) int {
	return cmp.Or(cmp.Compare(a.GetSeconds(), b.GetSeconds()), cmp.Compare(a.GetNanos(), b.GetNanos()))
}

func compareGeoPoints(a, b *latlng.LatLng) int {
	return cmp.Or(cmp.Compare(a.GetLatitude(), b.GetLatitude()), cmp.Compare(a.GetLongitude(), b.GetLongitude()))
}

func compareVectors(a, b []*pb.Value) int {
	return cmp.Or(cmp.Compare(len(a), len(b)), slices.CompareFunc(a, b, Compare))
}

func compareMaps(a, b map[string]*pb.Value) int {
	return slices.CompareFunc(sortedKeys(a), sortedKeys(b), func(k, l string) int {
		if c := strings.Compare(k, l); c != 0 {
			return c
		}
		return Compare(a[k], b[k])
	})
}

func sortedKeys(m map[string]*pb.Value) []string {
	return slices.Sorted(maps.Keys(m))
}
