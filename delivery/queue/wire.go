package queue

import (
	"encoding/binary"
	"fmt"
	"math"
	"strings"
	"time"

	"google.golang.org/protobuf/encoding/protowire"

	"postrider/delivery"
)

// The numbers of the fields that a write is made of
// (google/firestore/v1/firestore.proto, write.proto, common.proto, document.proto).
//
// A write is encoded here and once: the protobuf package walks these maps of maps
// by reflection, and again for the size of each, which took a fifth of all the
// time that the program spends on a mail.
const (
	batchWrites protowire.Number = 2

	writeUpdate    protowire.Number = 1
	writeDelete    protowire.Number = 2
	writeMask      protowire.Number = 3
	writeCondition protowire.Number = 4

	documentName   protowire.Number = 1
	documentFields protowire.Number = 2
	maskPath       protowire.Number = 1
	conditionTime  protowire.Number = 2

	valueBoolean   protowire.Number = 1
	valueInteger   protowire.Number = 2
	valueDouble    protowire.Number = 3
	valueReference protowire.Number = 5
	valueMap       protowire.Number = 6
	valueGeoPoint  protowire.Number = 8
	valueArray     protowire.Number = 9
	valueTime      protowire.Number = 10
	valueNull      protowire.Number = 11
	valueString    protowire.Number = 17
	valueBytes     protowire.Number = 18

	mapFields   protowire.Number = 1
	arrayValues protowire.Number = 1
	entryKey    protowire.Number = 1
	entryValue  protowire.Number = 2
)

// enter begins a message in field n. What is appended from at on is its content,
// until leave ends it.
func enter(b []byte, n protowire.Number) (_ []byte, at int) {
	b = append(protowire.AppendTag(b, n, protowire.BytesType), 0)
	return b, len(b)
}

// leave ends the message that was entered at at, and puts its length before it.
func leave(b []byte, at int) []byte {
	length := uint64(len(b) - at)
	if more := protowire.SizeVarint(length) - 1; more > 0 {
		b = append(b, make([]byte, more)...)
		copy(b[at+more:], b[at:])
	}
	binary.PutUvarint(b[at-1:], length)
	return b
}

func appendText(b []byte, n protowire.Number, s string) []byte {
	return protowire.AppendString(protowire.AppendTag(b, n, protowire.BytesType), s)
}

// appendVarint appends a whole number, a boolean or a null.
func appendVarint(b []byte, n protowire.Number, v uint64) []byte {
	return protowire.AppendVarint(protowire.AppendTag(b, n, protowire.VarintType), v)
}

func appendDouble(b []byte, n protowire.Number, v float64) []byte {
	return protowire.AppendFixed64(protowire.AppendTag(b, n, protowire.Fixed64Type), math.Float64bits(v))
}

// appendTime appends a google.protobuf.Timestamp, of which a part that is zero is
// left out.
func appendTime(b []byte, n protowire.Number, t time.Time) []byte {
	b, at := enter(b, n)
	if seconds := t.Unix(); seconds != 0 {
		b = appendVarint(b, 1, uint64(seconds))
	}
	if nanos := t.Nanosecond(); nanos != 0 {
		b = appendVarint(b, 2, uint64(nanos))
	}
	return leave(b, at)
}

// appendPoint appends a google.type.LatLng, of which a part that is zero is left
// out.
func appendPoint(b []byte, n protowire.Number, p delivery.GeoPoint) []byte {
	b, at := enter(b, n)
	for i, v := range []float64{p.Latitude, p.Longitude} {
		if math.Float64bits(v) != 0 {
			b = appendDouble(b, protowire.Number(i+1), v)
		}
	}
	return leave(b, at)
}

// appendFields appends fields as a map in field n. Root is the database's root, to
// which references are relative.
func appendFields(b []byte, n protowire.Number, f delivery.Fields, root string) ([]byte, error) {
	for name, v := range f {
		var entry, value int
		var err error
		b, entry = enter(b, n)
		b, value = enter(appendText(b, entryKey, name), entryValue)
		if b, err = appendValue(b, v, root); err != nil {
			return nil, fmt.Errorf("field %s: %w", name, err)
		}
		b = leave(leave(b, value), entry)
	}
	return b, nil
}

// appendValue appends what a google.firestore.v1.Value of v holds.
func appendValue(b []byte, v any, root string) ([]byte, error) {
	switch v := v.(type) {
	case nil:
		return appendVarint(b, valueNull, 0), nil
	case bool:
		return appendVarint(b, valueBoolean, protowire.EncodeBool(v)), nil
	case int64:
		return appendVarint(b, valueInteger, uint64(v)), nil
	case float64:
		return appendDouble(b, valueDouble, v), nil
	case string:
		// Firestore refuses strings that aren't UTF-8; a server's reply need not be.
		return appendText(b, valueString, strings.ToValidUTF8(v, "\uFFFD")), nil
	case []byte:
		return protowire.AppendBytes(protowire.AppendTag(b, valueBytes, protowire.BytesType), v), nil
	case time.Time:
		return appendTime(b, valueTime, v), nil
	case delivery.GeoPoint:
		return appendPoint(b, valueGeoPoint, v), nil
	case delivery.Reference:
		return appendText(b, valueReference, root+"/documents/"+v.Path), nil
	case []any:
		return appendList(b, v, root)
	case delivery.Fields:
		return appendMap(b, v, root)
	}
	return nil, fmt.Errorf("encode a %T: not a Firestore type", v)
}

func appendMap(b []byte, f delivery.Fields, root string) ([]byte, error) {
	b, at := enter(b, valueMap)
	b, err := appendFields(b, mapFields, f, root)
	if err != nil {
		return nil, err
	}
	return leave(b, at), nil
}

func appendList(b []byte, list []any, root string) ([]byte, error) {
	b, array := enter(b, valueArray)
	for _, v := range list {
		var value int
		var err error
		b, value = enter(b, arrayValues)
		if b, err = appendValue(b, v, root); err != nil {
			return nil, err
		}
		b = leave(b, value)
	}
	return leave(b, array), nil
}

// appendMask appends the mask of a write to some fields under delivery.
func appendMask(b []byte, names []string) []byte {
	b, at := enter(b, writeMask)
	for _, name := range names {
		b = appendText(b, maskPath, "delivery."+name)
	}
	return leave(b, at)
}

// appendCondition appends a write's condition that its document was last written
// at t.
func appendCondition(b []byte, t time.Time) []byte {
	b, at := enter(b, writeCondition)
	return leave(appendTime(b, conditionTime, t), at)
}

// writesIn returns how many of a request's encoded writes put something down, and
// how many delete.
func writesIn(requested []byte) (writes, deletes int64) {
	for len(requested) > 0 {
		_, _, tag := protowire.ConsumeTag(requested)
		w, n := protowire.ConsumeBytes(requested[max(tag, 0):])
		if tag < 0 || n < 0 {
			break // it would not be ours
		}
		if first, _, _ := protowire.ConsumeTag(w); first == writeDelete {
			deletes++
		} else {
			writes++
		}
		requested = requested[tag+n:]
	}
	return writes, deletes
}

// appendRecord appends the update of a document's delivery field, and returns how
// long the encoded record is.
func appendRecord(b []byte, name string, record delivery.Fields, root string) (_ []byte, length int, err error) {
	b, update := enter(b, writeUpdate)
	b, entry := enter(appendText(b, documentName, name), documentFields)
	b, value := enter(appendText(b, entryKey, "delivery"), entryValue)
	b, at := enter(b, valueMap)
	if b, err = appendFields(b, mapFields, record, root); err != nil {
		return nil, 0, err
	}
	length = len(b) - at
	return leave(leave(leave(leave(b, at), value), entry), update), length, nil
}
