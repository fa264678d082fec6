package firestored

import (
	"encoding/binary"
	"math"
	"slices"

	pb "cloud.google.com/go/firestore/apiv1/firestorepb"
	"google.golang.org/genproto/googleapis/type/latlng"
)

// decoder reads what a dictionary has encoded, and nothing else: the bytes never
// come from outside.
type decoder struct {
	*dictionary
	rest []byte
}

func (d *decoder) uvarint() uint64 {
	v, n := binary.Uvarint(d.rest)
	d.rest = d.rest[n:]
	return v
}

func (d *decoder) varint() int64 {
	v, n := binary.Varint(d.rest)
	d.rest = d.rest[n:]
	return v
}

func (d *decoder) take(n int) []byte {
	b := d.rest[:n]
	d.rest = d.rest[n:]
	return b
}

// text reads a text, or what stands behind its length.
func (d *decoder) text() []byte { return d.take(int(d.uvarint())) }

func (d *decoder) double() float64 {
	return math.Float64frombits(binary.LittleEndian.Uint64(d.take(8)))
}

func (d *decoder) readName() string {
	if n := d.uvarint(); n > 0 {
		return d.name(n - 1)
	}
	return string(d.text())
}

// skip reads a value without decoding it.
func (d *decoder) skip() {
	switch kind := d.take(1)[0]; kind {
	case kindInteger, kindTime:
		d.varint()
	case kindDouble:
		d.take(8)
	case kindPlace:
		d.take(16)
	case kindString, kindBytes, kindReference, kindArray, kindMap:
		d.text()
	}
}

// field reads one field without decoding its value; whole has its name too.
func (d *decoder) field() (name string, value, whole []byte) {
	start := d.rest
	name = d.readName()
	behind := d.rest
	d.skip()
	return name, behind[:len(behind)-len(d.rest)], start[:len(start)-len(d.rest)]
}

func (d *decoder) fields() map[string]*pb.Value {
	if len(d.rest) == 0 {
		return nil
	}
	out := map[string]*pb.Value{}
	for len(d.rest) > 0 {
		name := d.readName()
		out[name] = d.value()
	}
	return out
}

func (d *decoder) value() *pb.Value {
	v := &pb.Value{}
	switch kind := d.take(1)[0]; kind {
	case kindFalse, kindTrue:
		v.ValueType = &pb.Value_BooleanValue{BooleanValue: kind == kindTrue}
	case kindInteger:
		v.ValueType = &pb.Value_IntegerValue{IntegerValue: d.varint()}
	case kindDouble:
		v.ValueType = &pb.Value_DoubleValue{DoubleValue: d.double()}
	case kindTime:
		v.ValueType = &pb.Value_TimestampValue{TimestampValue: timestamp(d.varint())}
	case kindString:
		v.ValueType = &pb.Value_StringValue{StringValue: string(d.text())}
	case kindBytes:
		v.ValueType = &pb.Value_BytesValue{BytesValue: slices.Clone(d.text())}
	case kindReference:
		v.ValueType = &pb.Value_ReferenceValue{ReferenceValue: string(d.text())}
	case kindPlace:
		v.ValueType = &pb.Value_GeoPointValue{GeoPointValue: &latlng.LatLng{Latitude: d.double(), Longitude: d.double()}}
	case kindArray:
		v.ValueType = &pb.Value_ArrayValue{ArrayValue: &pb.ArrayValue{Values: d.array()}}
	case kindMap:
		inner := decoder{d.dictionary, d.text()}
		v.ValueType = &pb.Value_MapValue{MapValue: &pb.MapValue{Fields: inner.fields()}}
	default:
		v.ValueType = &pb.Value_NullValue{}
	}
	return v
}

func (d *decoder) array() []*pb.Value {
	inner := decoder{d.dictionary, d.text()}
	var values []*pb.Value
	for len(inner.rest) > 0 {
		values = append(values, inner.value())
	}
	return values
}

// decode returns the fields in data.
func (d *dictionary) decode(data []byte) map[string]*pb.Value {
	r := decoder{d, data}
	return r.fields()
}

// decodeSome returns the fields of those names.
func (d *dictionary) decodeSome(data []byte, wanted []string) map[string]*pb.Value {
	out := make(map[string]*pb.Value, len(wanted))
	r := decoder{d, data}
	for len(r.rest) > 0 {
		if name := r.readName(); slices.Contains(wanted, name) {
			out[name] = r.value()
		} else {
			r.skip()
		}
	}
	return out
}

// lookup returns the value of the field at a path, as query.Lookup does: a
// vector has no fields.
func (d *dictionary) lookup(data []byte, path []string) (*pb.Value, bool) {
	for {
		value, ok := d.find(data, path[0])
		r := decoder{d, value}
		if path = path[1:]; !ok || len(path) == 0 {
			if !ok {
				return nil, false
			}
			return r.value(), true
		}
		if r.take(1)[0] != kindMap {
			return nil, false
		}
		data = r.text()
		if _, special := d.find(data, "__type__"); special {
			return nil, false
		}
	}
}

// find returns the encoded value of a field.
func (d *dictionary) find(data []byte, wanted string) ([]byte, bool) {
	r := decoder{d, data}
	for len(r.rest) > 0 {
		if name, value, _ := r.field(); name == wanted {
			return value, true
		}
	}
	return nil, false
}

// splice returns data with the fields of the names in replaced replaced by those
// of patch, which has no others.
func (d *dictionary) splice(data, patch []byte, replaced []string) []byte {
	size := len(patch) + len(data)
	for r := (decoder{d, data}); len(r.rest) > 0; {
		if name, _, whole := r.field(); slices.Contains(replaced, name) {
			size -= len(whole)
		}
	}
	out := make([]byte, 0, size) // no more than needed: it is kept for long
	kept, put := decoder{d, data}, decoder{d, patch}
	for len(kept.rest) > 0 {
		name, _, whole := kept.field()
		if slices.Contains(replaced, name) {
			continue
		}
		for len(put.rest) > 0 {
			before := put
			next, _, insert := put.field()
			if next > name {
				put = before
				break
			}
			out = append(out, insert...)
		}
		out = append(out, whole...)
	}
	return append(out, put.rest...)
}
