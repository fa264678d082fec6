package firestored

import (
	"math"
	"slices"

	pb "cloud.google.com/go/firestore/apiv1/firestorepb"
	"google.golang.org/protobuf/types/known/structpb"

	"postrider/delivery/firestored/query"
)

// maxTransforms is how many transforms one document may have in a request
// (https://firebase.google.com/docs/firestore/quotas).
const maxTransforms = 500

// transform is one checked transform of a field.
type transform struct {
	field []string
	of    *pb.DocumentTransform_FieldTransform
}

// timed reports whether the transform sets the time of the commit.
func (t transform) timed() bool {
	_, ok := t.of.GetTransformType().(*pb.DocumentTransform_FieldTransform_SetToServerValue)
	return ok
}

// parseTransforms checks the transforms of one write.
func parseTransforms(list []*pb.DocumentTransform_FieldTransform) ([]transform, error) {
	var out []transform
	for _, of := range list {
		field, err := fieldPath(of.GetFieldPath())
		if err != nil {
			return nil, err
		}
		if err := checkTransform(of, field); err != nil {
			return nil, err
		}
		out = append(out, transform{field: field, of: of})
	}
	return out, nil
}

func checkTransform(of *pb.DocumentTransform_FieldTransform, field []string) error {
	switch x := of.GetTransformType().(type) {
	case *pb.DocumentTransform_FieldTransform_SetToServerValue:
		if x.SetToServerValue != pb.DocumentTransform_FieldTransform_REQUEST_TIME {
			return invalid("Unsupported server value: %v.", x.SetToServerValue)
		}
		return nil
	case *pb.DocumentTransform_FieldTransform_Increment:
		return checkNumber(x.Increment)
	case *pb.DocumentTransform_FieldTransform_Maximum:
		return checkNumber(x.Maximum)
	case *pb.DocumentTransform_FieldTransform_Minimum:
		return checkNumber(x.Minimum)
	case *pb.DocumentTransform_FieldTransform_AppendMissingElements:
		return checkArray(field[0], x.AppendMissingElements.GetValues(), len(field))
	case *pb.DocumentTransform_FieldTransform_RemoveAllFromArray:
		return checkArray(field[0], x.RemoveAllFromArray.GetValues(), len(field))
	default:
		return invalid("Operation type must be specified for field transformation.")
	}
}

func checkNumber(v *pb.Value) error {
	if !isNumber(v) {
		return invalid("Input must be int64 or double.")
	}
	return nil
}

func isNumber(v *pb.Value) bool {
	switch v.GetValueType().(type) {
	case *pb.Value_IntegerValue, *pb.Value_DoubleValue:
		return true
	default:
		return false
	}
}

// apply returns the field's value after the transform, and its result as the
// service answers it; old is nil where there is no such field. The rules are in
// the comments of DocumentTransform.FieldTransform (write.proto). The time is
// that of the commit, to the microsecond.
func (t transform) apply(old *pb.Value, at int64) (value, result *pb.Value) {
	switch x := t.of.GetTransformType().(type) {
	case *pb.DocumentTransform_FieldTransform_SetToServerValue:
		value = &pb.Value{ValueType: &pb.Value_TimestampValue{TimestampValue: timestamp(at)}}
	case *pb.DocumentTransform_FieldTransform_Increment:
		value = x.Increment
		if isNumber(old) {
			value = add(old, x.Increment)
		}
	case *pb.DocumentTransform_FieldTransform_Maximum:
		value = extreme(old, x.Maximum, 1)
	case *pb.DocumentTransform_FieldTransform_Minimum:
		value = extreme(old, x.Minimum, -1)
	case *pb.DocumentTransform_FieldTransform_AppendMissingElements:
		return union(old, x.AppendMissingElements.GetValues()), null()
	case *pb.DocumentTransform_FieldTransform_RemoveAllFromArray:
		return without(old, x.RemoveAllFromArray.GetValues()), null()
	}
	return value, value
}

func null() *pb.Value {
	return &pb.Value{ValueType: &pb.Value_NullValue{NullValue: structpb.NullValue_NULL_VALUE}}
}

func double(d float64) *pb.Value {
	return &pb.Value{ValueType: &pb.Value_DoubleValue{DoubleValue: d}}
}

// asDouble returns a number as a double.
func asDouble(v *pb.Value) float64 {
	if i, ok := v.GetValueType().(*pb.Value_IntegerValue); ok {
		return float64(i.IntegerValue)
	}
	return v.GetDoubleValue()
}

// add adds two numbers: integers to the nearest integer there is, all others as
// doubles.
func add(a, b *pb.Value) *pb.Value {
	i, first := a.GetValueType().(*pb.Value_IntegerValue)
	j, second := b.GetValueType().(*pb.Value_IntegerValue)
	if !first || !second {
		return double(asDouble(a) + asDouble(b))
	}
	sum := i.IntegerValue + j.IntegerValue
	switch {
	case i.IntegerValue > 0 && j.IntegerValue > 0 && sum < 0:
		sum = math.MaxInt64
	case i.IntegerValue < 0 && j.IntegerValue < 0 && sum >= 0:
		sum = math.MinInt64
	}
	return &pb.Value{ValueType: &pb.Value_IntegerValue{IntegerValue: sum}}
}

// extreme returns the larger of two numbers, or with sign -1 the smaller; the
// stored one if they are equal, NaN if one is.
func extreme(old, input *pb.Value, sign int) *pb.Value {
	switch {
	case !isNumber(old):
		return input
	case math.IsNaN(asDouble(old)):
		return old
	case math.IsNaN(asDouble(input)), sign*query.Compare(input, old) > 0:
		return input
	default:
		return old
	}
}

// contains reports whether an array has an element, with numbers of both types
// and NaN equal to themselves.
func contains(values []*pb.Value, v *pb.Value) bool {
	return slices.ContainsFunc(values, func(w *pb.Value) bool { return query.Compare(v, w) == 0 })
}

func array(values []*pb.Value) *pb.Value {
	return &pb.Value{ValueType: &pb.Value_ArrayValue{ArrayValue: &pb.ArrayValue{Values: values}}}
}

func union(old *pb.Value, more []*pb.Value) *pb.Value {
	values := old.GetArrayValue().GetValues() // decoded for this transform
	for _, v := range more {
		if !contains(values, v) {
			values = append(values, v)
		}
	}
	return array(values)
}

func without(old *pb.Value, gone []*pb.Value) *pb.Value {
	values := old.GetArrayValue().GetValues()
	return array(slices.DeleteFunc(values, func(v *pb.Value) bool { return contains(gone, v) }))
}

// fieldAt returns the field at a path, nil if there is none.
func fieldAt(fields map[string]*pb.Value, path []string) *pb.Value {
	v := fields[path[0]]
	for _, segment := range path[1:] {
		v = v.GetMapValue().GetFields()[segment]
	}
	return v
}

// setField sets the field at a path, or deletes it if v is nil. What is in the
// way of a map is replaced by one.
func setField(fields map[string]*pb.Value, path []string, v *pb.Value) {
	for _, segment := range path[:len(path)-1] {
		m, ok := fields[segment].GetValueType().(*pb.Value_MapValue)
		switch {
		case !ok && v == nil:
			return
		case !ok:
			m = &pb.Value_MapValue{MapValue: &pb.MapValue{}}
			fields[segment] = &pb.Value{ValueType: m}
		}
		if m.MapValue.GetFields() == nil {
			m.MapValue = &pb.MapValue{Fields: map[string]*pb.Value{}}
		}
		fields = m.MapValue.Fields
	}
	last := path[len(path)-1]
	if v == nil {
		delete(fields, last)
		return
	}
	fields[last] = v
}
