package query

import (
	"regexp"
	"slices"

	pb "cloud.google.com/go/firestore/apiv1/firestorepb"
)

type (
	wireFilter    = pb.StructuredQuery_Filter
	wireComposite = pb.StructuredQuery_CompositeFilter
	wireField     = pb.StructuredQuery_FieldFilter
	wireUnary     = pb.StructuredQuery_UnaryFilter
)

var reserved = regexp.MustCompile(`^__.*__$`)

// parseField takes a reference to a field; __name__ is the document's name.
func parseField(r *pb.StructuredQuery_FieldReference) (field, error) {
	segments, err := ParsePath(r.GetFieldPath())
	if err != nil {
		return field{}, invalid("%v", err)
	}
	f := field{path: joinPath(segments), segments: segments}
	if f.name = f.path == "__name__"; f.name {
		return f, nil
	}
	if i := slices.IndexFunc(segments, reserved.MatchString); i >= 0 {
		return field{}, invalid("Invalid reserved name %s in field path %s", segments[i], f.path)
	}
	return f, nil
}

// parseFilter compiles a filter for a query on the database.
func parseFilter(f *wireFilter, database string) (filter, error) {
	switch t := f.GetFilterType().(type) {
	case *pb.StructuredQuery_Filter_CompositeFilter:
		return parseComposite(t.CompositeFilter, database)
	case *pb.StructuredQuery_Filter_FieldFilter:
		return parseComparison(t.FieldFilter, database)
	case *pb.StructuredQuery_Filter_UnaryFilter:
		return parseUnary(t.UnaryFilter)
	default:
		return filter{}, invalid("Unknown Filter type.")
	}
}

func parseComposite(c *wireComposite, database string) (filter, error) {
	var all filter
	switch c.GetOp() {
	case pb.StructuredQuery_CompositeFilter_AND:
		all.op = opAnd
	case pb.StructuredQuery_CompositeFilter_OR:
		all.op = opOr
	default:
		return filter{}, invalid("Unsupported CompositeFilter operator.")
	}
	if len(c.GetFilters()) == 0 {
		return filter{}, invalid("Composite filter must have at least one sub-filter.")
	}
	for _, f := range c.GetFilters() {
		one, err := parseFilter(f, database)
		if err != nil {
			return filter{}, err
		}
		all.sub = append(all.sub, one)
	}
	if len(all.sub) == 1 {
		return all.sub[0], nil
	}
	return all, nil
}

// parseUnary writes the four tests as what finds or excludes null and NaN.
func parseUnary(u *wireUnary) (filter, error) {
	at, err := parseField(u.GetField())
	switch {
	case err != nil:
		return filter{}, err
	case at.name:
		return filter{}, errNameValue()
	}
	null := &pb.Value{ValueType: &pb.Value_NullValue{}}
	switch u.GetOp() {
	case pb.StructuredQuery_UnaryFilter_IS_NULL:
		return filter{op: opEqual, field: at, values: []*pb.Value{null}}, nil
	case pb.StructuredQuery_UnaryFilter_IS_NAN:
		return filter{op: opEqual, field: at, values: []*pb.Value{notANumber()}}, nil
	case pb.StructuredQuery_UnaryFilter_IS_NOT_NULL:
		return filter{op: opNotEqual, field: at}, nil
	case pb.StructuredQuery_UnaryFilter_IS_NOT_NAN:
		return filter{op: opNotEqual, field: at, values: []*pb.Value{notANumber()}}, nil
	default:
		return filter{}, invalid("Unknown UnaryFilter operator.")
	}
}

func parseComparison(c *wireField, database string) (filter, error) {
	at, err := parseField(c.GetField())
	if err != nil {
		return filter{}, err
	}
	o, err := comparison(c.GetOp())
	if err != nil {
		return filter{}, err
	}
	values, err := operands(c)
	if err != nil {
		return filter{}, err
	}
	f := filter{op: o, field: at, values: values}
	if at.name {
		return f, checkNames(&f, database)
	}
	undefined := slices.ContainsFunc(values, isNull)
	f.values = slices.DeleteFunc(slices.Clone(values), func(v *pb.Value) bool { return isNull(v) || isNaN(v) })
	ranged := o != opEqual && o != opNotEqual && o != opContains
	if o == opNotEqual && undefined || ranged && len(f.values) == 0 {
		f.op = opNever
	}
	return f, nil
}

func comparison(o pb.StructuredQuery_FieldFilter_Operator) (op, error) {
	switch o {
	case pb.StructuredQuery_FieldFilter_EQUAL, pb.StructuredQuery_FieldFilter_IN:
		return opEqual, nil
	case pb.StructuredQuery_FieldFilter_NOT_EQUAL, pb.StructuredQuery_FieldFilter_NOT_IN:
		return opNotEqual, nil
	case pb.StructuredQuery_FieldFilter_ARRAY_CONTAINS, pb.StructuredQuery_FieldFilter_ARRAY_CONTAINS_ANY:
		return opContains, nil
	case pb.StructuredQuery_FieldFilter_LESS_THAN:
		return opLess, nil
	case pb.StructuredQuery_FieldFilter_LESS_THAN_OR_EQUAL:
		return opAtMost, nil
	case pb.StructuredQuery_FieldFilter_GREATER_THAN:
		return opMore, nil
	case pb.StructuredQuery_FieldFilter_GREATER_THAN_OR_EQUAL:
		return opAtLeast, nil
	default:
		return opNever, invalid("Unknown FieldFilter operator.")
	}
}

// operands returns the values compared with: the list's, or the one.
func operands(c *wireField) ([]*pb.Value, error) {
	if err := checkValue(c.GetValue()); err != nil {
		return nil, err
	}
	most := 0
	switch c.GetOp() {
	case pb.StructuredQuery_FieldFilter_IN, pb.StructuredQuery_FieldFilter_ARRAY_CONTAINS_ANY:
		most = maxDisjunctions
	case pb.StructuredQuery_FieldFilter_NOT_IN:
		most = maxNotIn
	default:
		return []*pb.Value{c.GetValue()}, nil
	}
	values := c.GetValue().GetArrayValue().GetValues()
	switch {
	case rankOf(c.GetValue()) != rankArray:
		return nil, invalid("'%v' requires an ArrayValue.", c.GetOp())
	case len(values) == 0:
		return nil, invalid("'%v' requires a non-empty ArrayValue.", c.GetOp())
	case len(values) > most:
		return nil, invalid("'%v' supports up to %d comparison values.", c.GetOp(), most)
	}
	return values, nil
}

// checkNames refuses what a document's name cannot be compared with.
func checkNames(f *filter, database string) error {
	if f.op == opContains {
		return invalid("the name __name__ is reserved")
	}
	for _, v := range f.values {
		if rankOf(v) != rankReference {
			return errNameValue()
		}
		if err := checkDatabase(v, database); err != nil {
			return err
		}
	}
	return nil
}
