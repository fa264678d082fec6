package firestored

import (
	"slices"

	pb "cloud.google.com/go/firestore/apiv1/firestorepb"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
)

// Documents are kept as the wire format of pb.Document with nothing but fields,
// sorted by name: what a deterministic Marshal makes of them. So two documents
// are equal if their bytes are, one field is found without decoding the others,
// and a write replaces the fields that it names and copies the rest.

// Numbers of protocol fields (document.proto).
const (
	documentFields protowire.Number = 2
	mapFields      protowire.Number = 1
	entryKey       protowire.Number = 1
	entryValue     protowire.Number = 2
	valueMap       protowire.Number = 6
)

// fieldReader reads the entries of a marshalled map of fields, without copying.
type fieldReader struct {
	rest   []byte
	number protowire.Number // of the map within its message
	name   []byte
	value  []byte // a marshalled pb.Value
	whole  []byte // the entry with its tag
}

// next reads the next entry. It returns false at the end.
func (r *fieldReader) next() bool {
	for len(r.rest) > 0 {
		number, kind, n := protowire.ConsumeTag(r.rest)
		if n < 0 {
			return false
		}
		m := protowire.ConsumeFieldValue(number, kind, r.rest[n:])
		if m < 0 {
			return false
		}
		r.whole, r.rest = r.rest[:n+m], r.rest[n+m:]
		if number == r.number && kind == protowire.BytesType {
			entry, _ := protowire.ConsumeBytes(r.whole[n:])
			r.name, r.value = part(entry, entryKey), part(entry, entryValue)
			return true
		}
	}
	return false
}

// part returns the bytes of a message's field, nil if it has none of that kind.
func part(b []byte, wanted protowire.Number) []byte {
	for len(b) > 0 {
		number, kind, n := protowire.ConsumeTag(b)
		if n < 0 {
			return nil
		}
		m := protowire.ConsumeFieldValue(number, kind, b[n:])
		if m < 0 {
			return nil
		}
		if number == wanted && kind == protowire.BytesType {
			found, _ := protowire.ConsumeBytes(b[n:])
			return found
		}
		b = b[n+m:]
	}
	return nil
}

// lookup returns the marshalled value of the field at a path, as query.Lookup
// does for decoded fields: a vector has no fields.
func lookup(data []byte, path []string) ([]byte, bool) {
	value, ok := findField(data, documentFields, path[0])
	for _, segment := range path[1:] {
		if !ok {
			return nil, false
		}
		fields := part(value, valueMap)
		if _, special := findField(fields, mapFields, "__type__"); special {
			return nil, false
		}
		value, ok = findField(fields, mapFields, segment)
	}
	return value, ok
}

func findField(b []byte, number protowire.Number, name string) ([]byte, bool) {
	r := fieldReader{rest: b, number: number}
	for r.next() {
		if string(r.name) == name {
			return r.value, true
		}
	}
	return nil, false
}

// decodeFields decodes the fields of those names.
func decodeFields(data []byte, wanted []string) (map[string]*pb.Value, error) {
	out := make(map[string]*pb.Value, len(wanted))
	r := fieldReader{rest: data, number: documentFields}
	for r.next() {
		if !slices.Contains(wanted, string(r.name)) {
			continue
		}
		v := &pb.Value{}
		if err := proto.Unmarshal(r.value, v); err != nil {
			return nil, err
		}
		out[string(r.name)] = v
	}
	return out, nil
}

// encodeFields marshals fields as documents are kept.
func encodeFields(fields map[string]*pb.Value) ([]byte, error) {
	return proto.MarshalOptions{Deterministic: true}.Marshal(&pb.Document{Fields: fields})
}

// splice returns data with the fields of the names in replaced replaced by those
// of patch, which has no others.
func splice(data, patch []byte, replaced []string) []byte {
	kept := fieldReader{rest: data, number: documentFields}
	size := len(patch)
	for kept.next() {
		if !slices.Contains(replaced, string(kept.name)) {
			size += len(kept.whole)
		}
	}
	out := make([]byte, 0, size) // no more than needed: it is kept for long
	kept = fieldReader{rest: data, number: documentFields}
	put := fieldReader{rest: patch, number: documentFields}
	more := put.next()
	for kept.next() {
		if slices.Contains(replaced, string(kept.name)) {
			continue
		}
		for ; more && string(put.name) < string(kept.name); more = put.next() {
			out = append(out, put.whole...)
		}
		out = append(out, kept.whole...)
	}
	for ; more; more = put.next() {
		out = append(out, put.whole...)
	}
	return out
}
