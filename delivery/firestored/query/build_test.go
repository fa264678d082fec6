package query_test

import (
	"fmt"
	"maps"
	"slices"
	"testing"

	pb "cloud.google.com/go/firestore/apiv1/firestorepb"
	"google.golang.org/genproto/googleapis/type/latlng"
	"google.golang.org/protobuf/types/known/timestamppb"

	"postrider/delivery/firestored/query"
)

const (
	database = "projects/p/databases/d"
	root     = database + "/documents"
)

type (
	list   []any
	object map[string]any
	vec    []float64
	ref    string // a full name
	geo    [2]float64
	stamp  [2]int64 // seconds, nanoseconds
)

func named(path string) ref { return ref(root + "/" + path) }

// val writes a Go value as Firestore's.
func val(v any) *pb.Value {
	switch v := v.(type) {
	case nil:
		return &pb.Value{ValueType: &pb.Value_NullValue{}}
	case bool:
		return &pb.Value{ValueType: &pb.Value_BooleanValue{BooleanValue: v}}
	case int:
		return &pb.Value{ValueType: &pb.Value_IntegerValue{IntegerValue: int64(v)}}
	case float64:
		return &pb.Value{ValueType: &pb.Value_DoubleValue{DoubleValue: v}}
	case string:
		return &pb.Value{ValueType: &pb.Value_StringValue{StringValue: v}}
	case []byte:
		return &pb.Value{ValueType: &pb.Value_BytesValue{BytesValue: v}}
	case ref:
		return &pb.Value{ValueType: &pb.Value_ReferenceValue{ReferenceValue: string(v)}}
	case geo:
		return &pb.Value{ValueType: &pb.Value_GeoPointValue{GeoPointValue: &latlng.LatLng{Latitude: v[0], Longitude: v[1]}}}
	case stamp:
		return &pb.Value{ValueType: &pb.Value_TimestampValue{TimestampValue: &timestamppb.Timestamp{Seconds: v[0], Nanos: int32(v[1])}}}
	case list:
		a := &pb.ArrayValue{}
		for _, e := range v {
			a.Values = append(a.Values, val(e))
		}
		return &pb.Value{ValueType: &pb.Value_ArrayValue{ArrayValue: a}}
	case vec:
		elements := list{}
		for _, e := range v {
			elements = append(elements, e)
		}
		return val(object{"__type__": "__vector__", "value": elements})
	case object:
		return &pb.Value{ValueType: &pb.Value_MapValue{MapValue: &pb.MapValue{Fields: fields(v)}}}
	case *pb.Value:
		return v
	default:
		return &pb.Value{} // unset
	}
}

func fields(o object) map[string]*pb.Value {
	m := map[string]*pb.Value{}
	for k, v := range o {
		m[k] = val(v)
	}
	return m
}

func document(path string, o object) *pb.Document {
	return &pb.Document{Name: root + "/" + path, Fields: fields(o)}
}

func at(path string) *pb.StructuredQuery_FieldReference {
	return &pb.StructuredQuery_FieldReference{FieldPath: path}
}

const (
	and = pb.StructuredQuery_CompositeFilter_AND
	or  = pb.StructuredQuery_CompositeFilter_OR
)

// is is a filter on a field; where and all and any put filters together.
func is(path, op string, v any) *pb.StructuredQuery_Filter {
	return &pb.StructuredQuery_Filter{FilterType: &pb.StructuredQuery_Filter_FieldFilter{
		FieldFilter: &pb.StructuredQuery_FieldFilter{Field: at(path), Op: operators[op], Value: val(v)},
	}}
}

var operators = map[string]pb.StructuredQuery_FieldFilter_Operator{
	"==": pb.StructuredQuery_FieldFilter_EQUAL, "!=": pb.StructuredQuery_FieldFilter_NOT_EQUAL,
	"<": pb.StructuredQuery_FieldFilter_LESS_THAN, "<=": pb.StructuredQuery_FieldFilter_LESS_THAN_OR_EQUAL,
	">": pb.StructuredQuery_FieldFilter_GREATER_THAN, ">=": pb.StructuredQuery_FieldFilter_GREATER_THAN_OR_EQUAL,
	"in": pb.StructuredQuery_FieldFilter_IN, "not-in": pb.StructuredQuery_FieldFilter_NOT_IN,
	"has": pb.StructuredQuery_FieldFilter_ARRAY_CONTAINS, "has-any": pb.StructuredQuery_FieldFilter_ARRAY_CONTAINS_ANY,
}

func test(path, op string) *pb.StructuredQuery_Filter {
	o := pb.StructuredQuery_UnaryFilter_Operator_value[op]
	return &pb.StructuredQuery_Filter{FilterType: &pb.StructuredQuery_Filter_UnaryFilter{UnaryFilter: &pb.StructuredQuery_UnaryFilter{
		Op:          pb.StructuredQuery_UnaryFilter_Operator(o),
		OperandType: &pb.StructuredQuery_UnaryFilter_Field{Field: at(path)},
	}}}
}

func composite(op pb.StructuredQuery_CompositeFilter_Operator, f ...*pb.StructuredQuery_Filter) *pb.StructuredQuery_Filter {
	return &pb.StructuredQuery_Filter{FilterType: &pb.StructuredQuery_Filter_CompositeFilter{
		CompositeFilter: &pb.StructuredQuery_CompositeFilter{Op: op, Filters: f},
	}}
}

func all(f ...*pb.StructuredQuery_Filter) *pb.StructuredQuery_Filter { return composite(and, f...) }

func either(f ...*pb.StructuredQuery_Filter) *pb.StructuredQuery_Filter { return composite(or, f...) }

// by sorts by fields; one with a minus is descending.
func by(paths ...string) []*pb.StructuredQuery_Order {
	var orders []*pb.StructuredQuery_Order
	for _, p := range paths {
		o := &pb.StructuredQuery_Order{Field: at(p)}
		if p[0] == '-' {
			o.Field, o.Direction = at(p[1:]), pb.StructuredQuery_DESCENDING
		}
		orders = append(orders, o)
	}
	return orders
}

func before(values ...any) *pb.Cursor {
	c := after(values...)
	c.Before = true
	return c
}

func after(values ...any) *pb.Cursor {
	c := &pb.Cursor{}
	for _, v := range values {
		c.Values = append(c.Values, val(v))
	}
	return c
}

func from(collection string) []*pb.StructuredQuery_CollectionSelector {
	return []*pb.StructuredQuery_CollectionSelector{{CollectionId: collection}}
}

func parse(t *testing.T, q *pb.StructuredQuery) *query.Query {
	t.Helper()
	if len(q.From) == 0 {
		q.From = from("c")
	}
	p, err := query.Parse(root, q)
	if err != nil {
		t.Fatalf("%v: %v", q, err)
	}
	return p
}

// run answers a query from documents, as the server does: their IDs.
func run(q *query.Query, documents []*pb.Document) []string {
	var found []*pb.Document
	for _, d := range documents {
		if q.Matches(d) && q.InWindow(d) {
			found = append(found, d)
		}
	}
	slices.SortFunc(found, q.Compare)
	ids := []string{}
	for _, d := range found {
		ids = append(ids, d.Name[len(root+"/c/"):])
	}
	return ids
}

// collection makes a document of each field value; key "-" is one without the field.
func collection(values map[string]any) []*pb.Document {
	var documents []*pb.Document
	for _, id := range slices.Sorted(maps.Keys(values)) {
		documents = append(documents, document("c/"+id, object{"f": values[id], "k": 1}))
	}
	return append(documents, document("c/missing", object{"z": 1, "k": 1}))
}

func numbers(n int) list {
	var l list
	for i := range n {
		l = append(l, i)
	}
	return l
}

func same(t *testing.T, what string, got, want []string) {
	t.Helper()
	if !slices.Equal(got, want) {
		t.Errorf("%s:\n got %v\nwant %v", what, got, want)
	}
}

func text(v any) string { return fmt.Sprintf("%T %v", v, v) }
