package query

import (
	"slices"

	pb "cloud.google.com/go/firestore/apiv1/firestorepb"
)

// op is what a filter does. There are fewer than in the protocol: == is an in
// with one value, IS_NULL and IS_NAN are an in too, and so on.
type op int

const (
	opAnd      op = iota
	opOr          // of nothing: never
	opEqual       // to one of the values
	opNotEqual    // to any of the values, and not null
	opContains    // one of the values
	opNever       // as any comparison with null
	opLess
	opAtMost
	opMore
	opAtLeast
)

// filter is one condition, ready to be applied.
type filter struct {
	op     op
	sub    []filter    // of opAnd and opOr
	field  field       // of all others
	values []*pb.Value // compared with; a range has one
}

// field is a place in a document: a path, or the document's name.
type field struct {
	path     string // canonical
	segments []string
	name     bool // __name__
}

func (f field) of(d *pb.Document) (*pb.Value, bool) {
	return lookup(d.GetFields(), f.segments)
}

// inequality reports whether the filter wants its field in the order.
func (f *filter) inequality() bool {
	switch f.op {
	case opNotEqual, opNever, opLess, opAtMost, opMore, opAtLeast:
		return true
	default:
		return false
	}
}

// leaves calls yield for each filter on a field.
func (f *filter) leaves(yield func(*filter)) {
	if f.op != opAnd && f.op != opOr {
		yield(f)
	}
	for i := range f.sub {
		f.sub[i].leaves(yield)
	}
}

func (f *filter) match(d *pb.Document) bool {
	switch {
	case f.op == opAnd:
		for i := range f.sub {
			if !f.sub[i].match(d) {
				return false
			}
		}
		return true
	case f.op == opOr:
		for i := range f.sub {
			if f.sub[i].match(d) {
				return true
			}
		}
		return false
	case f.field.name:
		return f.matchName(d.GetName())
	default:
		v, ok := f.field.of(d)
		return ok && f.matchValue(v)
	}
}

func (f *filter) matchName(name string) bool {
	switch f.op {
	case opEqual:
		return slices.ContainsFunc(f.values, func(v *pb.Value) bool { return v.GetReferenceValue() == name })
	case opNotEqual:
		return !slices.ContainsFunc(f.values, func(v *pb.Value) bool { return v.GetReferenceValue() == name })
	default:
		return f.op.holds(CompareNames(name, f.values[0].GetReferenceValue()))
	}
}

func (f *filter) matchValue(v *pb.Value) bool {
	switch f.op {
	case opNever:
		return false
	case opEqual:
		return contains(f.values, v)
	case opNotEqual:
		return !isNull(v) && !contains(f.values, v)
	case opContains:
		return slices.ContainsFunc(v.GetArrayValue().GetValues(), func(e *pb.Value) bool { return contains(f.values, e) })
	default:
		x := f.values[0]
		return rankOf(v) == rankOf(x) && !isNaN(v) && f.op.holds(Compare(v, x))
	}
}

// holds reports whether a comparison that came out as c is what o asks for.
func (o op) holds(c int) bool {
	switch o {
	case opLess:
		return c < 0
	case opAtMost:
		return c <= 0
	case opMore:
		return c > 0
	case opAtLeast:
		return c >= 0
	default:
		return false
	}
}

func contains(values []*pb.Value, v *pb.Value) bool {
	for _, x := range values {
		if Compare(x, v) == 0 {
			return true
		}
	}
	return false
}
