package query

import (
	"math"

	pb "cloud.google.com/go/firestore/apiv1/firestorepb"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// The documented limits of a query ("Queries: query limitations" and "Usage and
// limits").
const (
	maxDisjunctions = 30  // of the filter in disjunctive normal form
	maxNotIn        = 10  // values of a not-in
	maxConditions   = 100 // filters, sort orders and a parent document
	maxInequalities = 10  // fields with an inequality
)

func invalid(format string, arguments ...any) error {
	return status.Errorf(codes.InvalidArgument, format, arguments...)
}

func errNameValue() error {
	return invalid("__name__ filter value must be a document reference")
}

func notANumber() *pb.Value {
	return &pb.Value{ValueType: &pb.Value_DoubleValue{DoubleValue: math.NaN()}}
}

// checkValue refuses what no document can hold.
func checkValue(v *pb.Value) error {
	switch x := v.GetValueType().(type) {
	case nil:
		return invalid("Cannot convert firestore.v1.Value with type unset.")
	case *pb.Value_ReferenceValue:
		return checkReference(x.ReferenceValue)
	case *pb.Value_ArrayValue:
		for _, v := range x.ArrayValue.GetValues() {
			if err := checkValue(v); err != nil {
				return err
			}
		}
	case *pb.Value_MapValue:
		for _, v := range x.MapValue.GetFields() {
			if err := checkValue(v); err != nil {
				return err
			}
		}
	default:
		if rankOf(v) == rankNone {
			return invalid("Value type is not supported: %T", x)
		}
	}
	return nil
}

func checkReference(name string) error {
	r, err := parseResource(name)
	if err != nil {
		return invalid("%v", err)
	}
	if len(r.path) == 0 {
		return invalid("resource name %q is not that of a document", name)
	}
	return nil
}

// checkDatabase refuses a reference into another database than the query's.
func checkDatabase(v *pb.Value, database string) error {
	r, err := parseResource(v.GetReferenceValue())
	if err != nil {
		return invalid("%v", err)
	}
	if r.database != database {
		return invalid("The request was for database '%s' but was attempting to access database '%s'", database, r.database)
	}
	return nil
}

// census is what a filter as it was sent is made of.
type census struct {
	filters   int
	negations int  // NOT_EQUAL, NOT_IN, IS_NOT_NULL and IS_NOT_NAN
	notIn     bool // NOT_IN
	either    bool // OR, IN or ARRAY_CONTAINS_ANY
}

// add counts f. It returns the size of f's disjunctive normal form: the number
// of disjunctions, and the most array filters in one of them. The number stops
// far above the limit.
func (c *census) add(f *wireFilter) (disjunctions, arrays int) {
	switch composite := f.GetCompositeFilter(); {
	case composite == nil:
		return c.addLeaf(f)
	case composite.GetOp() == pb.StructuredQuery_CompositeFilter_OR:
		c.either = true
		for _, sub := range composite.GetFilters() {
			n, a := c.add(sub)
			disjunctions, arrays = min(disjunctions+n, math.MaxInt32), max(arrays, a)
		}
	default:
		disjunctions = 1
		for _, sub := range composite.GetFilters() {
			n, a := c.add(sub)
			disjunctions, arrays = min(disjunctions*n, math.MaxInt32), arrays+a
		}
	}
	return disjunctions, arrays
}

func (c *census) addLeaf(f *wireFilter) (disjunctions, arrays int) {
	c.filters++
	switch f.GetUnaryFilter().GetOp() {
	case pb.StructuredQuery_UnaryFilter_IS_NOT_NULL, pb.StructuredQuery_UnaryFilter_IS_NOT_NAN:
		c.negations++
	}
	values := len(f.GetFieldFilter().GetValue().GetArrayValue().GetValues())
	switch f.GetFieldFilter().GetOp() {
	case pb.StructuredQuery_FieldFilter_NOT_EQUAL:
		c.negations++
	case pb.StructuredQuery_FieldFilter_NOT_IN:
		c.negations++
		c.notIn = true
	case pb.StructuredQuery_FieldFilter_IN:
		c.either = true
		return values, 0
	case pb.StructuredQuery_FieldFilter_ARRAY_CONTAINS_ANY:
		c.either = true
		return values, 1
	case pb.StructuredQuery_FieldFilter_ARRAY_CONTAINS:
		return 1, 1
	}
	return 1, 0
}

// checkLimits refuses a filter that Firestore has no plan for. Others is the
// number of sort orders, and one for a parent document.
func checkLimits(f *wireFilter, others int) error {
	var c census
	var disjunctions, arrays int
	if f != nil {
		disjunctions, arrays = c.add(f)
	}
	switch {
	case c.negations > 1:
		return invalid("Only a single 'NOT_EQUAL', 'NOT_IN', 'IS_NOT_NAN', or 'IS_NOT_NULL' filter allowed per query.")
	case c.notIn && c.either:
		return invalid("'NOT_IN' cannot be used in the same query with 'IN', 'ARRAY_CONTAINS_ANY' or 'OR'.")
	case arrays > 1:
		return invalid("A maximum of 1 'ARRAY_CONTAINS' filter is allowed per disjunction.")
	case disjunctions > maxDisjunctions:
		return invalid("Too many disjunctions after normalization. Result had %d disjunctions which is more than the maximum of %d", disjunctions, maxDisjunctions)
	case c.filters+others > maxConditions:
		return invalid("The query may not have more than %d filters, sort orders and parent documents, and has %d.", maxConditions, c.filters+others)
	}
	return nil
}
