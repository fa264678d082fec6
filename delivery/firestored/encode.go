package firestored

import (
	"encoding/binary"
	"math"
	"slices"
	"strings"
	"sync"
	"sync/atomic"

	pb "cloud.google.com/go/firestore/apiv1/firestorepb"
)

// Documents are kept in a form of their own, which takes little room, and in
// which one field is found, replaced or copied without decoding the others. The
// fields of a document or map are sorted by name, so two documents are equal if
// their bytes are:
//
//	fields = { name value }
//	name   = number of the name in the dictionary + 1, or 0 and a text
//	value  = a kind and what it says below
//	text   = length and bytes
//
// All numbers and lengths are varints. A map and an array begin with the length
// of what follows.
const (
	kindNull      = iota
	kindFalse     // and nothing else
	kindTrue      // and nothing else
	kindInteger   // zigzag
	kindDouble    // 8 bytes
	kindTime      // zigzag, microseconds since the epoch: the rest is rounded down (comment of Value.timestamp_value)
	kindString    // text
	kindBytes     // text
	kindReference // text
	kindPlace     // latitude and longitude as doubles
	kindArray     // values
	kindMap       // fields
)

const (
	maxNames = 1000 // in a dictionary
	maxName  = 64   // bytes of a name in it
)

// dictionary gives numbers to the names of fields. A name that has a number
// keeps it, and one that came when there was no more room never gets one: so
// equal fields have equal bytes.
type dictionary struct {
	known atomic.Pointer[knownNames] // nil before the first name
	mu    sync.Mutex                 // held to add a name
}

// knownNames is a dictionary at one time. It never changes.
type knownNames struct {
	numbers map[string]uint64
	names   []string
}

// number returns a name's number, which is made if there is room.
func (d *dictionary) number(name string) (uint64, bool) {
	if known := d.known.Load(); known != nil {
		n, ok := known.numbers[name]
		if ok || len(known.names) >= maxNames {
			return n, ok
		}
	}
	if len(name) > maxName {
		return 0, false
	}
	return d.add(name)
}

func (d *dictionary) add(name string) (uint64, bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	next := &knownNames{numbers: map[string]uint64{}}
	if known := d.known.Load(); known != nil {
		if n, ok := known.numbers[name]; ok || len(known.names) >= maxNames {
			return n, ok
		}
		for n, name := range known.names {
			next.numbers[name] = uint64(n)
		}
		next.names = slices.Clip(known.names)
	}
	n := uint64(len(next.names))
	next.names = append(next.names, strings.Clone(name)) // not with the request's text
	next.numbers[next.names[n]] = n
	d.known.Store(next)
	return n, true
}

// name returns the name of a number that number has returned.
func (d *dictionary) name(n uint64) string { return d.known.Load().names[n] }

// encode returns the bytes of fields that checkFields has let pass, in a slice
// that is no longer than needed.
func (d *dictionary) encode(fields map[string]*pb.Value) []byte {
	var buffer [512]byte
	return slices.Clone(d.appendFields(buffer[:0], fields))
}

func (d *dictionary) appendFields(b []byte, fields map[string]*pb.Value) []byte {
	var some [16]string
	names := some[:0]
	for name := range fields {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, name := range names {
		b = d.appendValue(d.appendName(b, name), fields[name])
	}
	return b
}

func (d *dictionary) appendName(b []byte, name string) []byte {
	if n, ok := d.number(name); ok {
		return binary.AppendUvarint(b, n+1)
	}
	return appendText(append(b, 0), name)
}

func appendText[T string | []byte](b []byte, text T) []byte {
	return append(binary.AppendUvarint(b, uint64(len(text))), text...)
}

func (d *dictionary) appendValue(b []byte, v *pb.Value) []byte {
	switch x := v.GetValueType().(type) {
	case *pb.Value_BooleanValue:
		if x.BooleanValue {
			return append(b, kindTrue)
		}
		return append(b, kindFalse)
	case *pb.Value_IntegerValue:
		return binary.AppendVarint(append(b, kindInteger), x.IntegerValue)
	case *pb.Value_DoubleValue:
		return appendDouble(append(b, kindDouble), x.DoubleValue)
	case *pb.Value_TimestampValue:
		t := x.TimestampValue
		return binary.AppendVarint(append(b, kindTime), t.GetSeconds()*1e6+int64(t.GetNanos()/1000))
	case *pb.Value_StringValue:
		return appendText(append(b, kindString), x.StringValue)
	case *pb.Value_BytesValue:
		return appendText(append(b, kindBytes), x.BytesValue)
	case *pb.Value_ReferenceValue:
		return appendText(append(b, kindReference), x.ReferenceValue)
	case *pb.Value_GeoPointValue:
		b = appendDouble(append(b, kindPlace), x.GeoPointValue.GetLatitude())
		return appendDouble(b, x.GeoPointValue.GetLongitude())
	case *pb.Value_ArrayValue:
		b = append(b, kindArray)
		start := len(b)
		for _, v := range x.ArrayValue.GetValues() {
			b = d.appendValue(b, v)
		}
		return insertLength(b, start)
	case *pb.Value_MapValue:
		b = append(b, kindMap)
		start := len(b)
		return insertLength(d.appendFields(b, x.MapValue.GetFields()), start)
	default:
		return append(b, kindNull)
	}
}

func appendDouble(b []byte, f float64) []byte {
	return binary.LittleEndian.AppendUint64(b, math.Float64bits(f))
}

// insertLength puts the length of what follows start before it.
func insertLength(b []byte, start int) []byte {
	var length [binary.MaxVarintLen64]byte
	n := binary.PutUvarint(length[:], uint64(len(b)-start))
	return slices.Insert(b, start, length[:n]...)
}
