package firestored

import (
	"strconv"
	"strings"
)

// maxDocument is how large a document may be, by the rules of
// https://firebase.google.com/docs/firestore/storage-size.
const maxDocument = 1 << 20 // bytes

// checkSize checks that a document is not larger than the service takes.
func (d *dictionary) checkSize(name, path string, data []byte) error {
	r := decoder{d, data}
	if size := nameSize(path) + r.fieldsSize() + 32; size > maxDocument {
		return invalid("Document '%s' cannot be written because its size (%s bytes) exceeds the maximum allowed size of %s bytes.",
			name, thousands(size), thousands(maxDocument))
	}
	return nil
}

// nameSize is the size of a document's name.
func nameSize(path string) int {
	size := 16
	for segment := range strings.SplitSeq(path, "/") {
		if numericID(segment) {
			size += 8
		} else {
			size += len(segment) + 1
		}
	}
	return size
}

// fieldsSize is the size of the fields of a document or map.
func (d *decoder) fieldsSize() int {
	size := 0
	for len(d.rest) > 0 {
		size += len(d.readName()) + 1
		size += d.valueSize()
	}
	return size
}

func (d *decoder) valueSize() int {
	switch kind := d.take(1)[0]; kind {
	case kindNull, kindFalse, kindTrue:
		return 1
	case kindString:
		return len(d.text()) + 1
	case kindBytes:
		return len(d.text())
	case kindReference:
		_, path, _ := strings.Cut(string(d.text()), "/documents/")
		return nameSize(path)
	case kindPlace:
		d.take(16)
		return 16
	case kindArray:
		size := 0
		for inner := (decoder{d.dictionary, d.text()}); len(inner.rest) > 0; {
			size += inner.valueSize()
		}
		return size
	case kindMap:
		inner := decoder{d.dictionary, d.text()}
		if value, vector := d.find(inner.rest, "__type__"); vector && len(value) > 0 {
			numbers, _ := d.find(inner.rest, "value")
			inner.rest = numbers
			return inner.valueSize()
		}
		return max(1, inner.fieldsSize()) // without the 32 bytes of a document, as the emulator has it
	case kindDouble:
		d.take(8)
	default:
		d.varint()
	}
	return 8 // a number or a time
}

// thousands writes a number as the service does, as in 1,048,576.
func thousands(n int) string {
	if n < 1000 {
		return strconv.Itoa(n)
	}
	return thousands(n/1000) + "," + strconv.Itoa(n%1000 + 1000)[1:]
}
