package firestored

import (
	"slices"
	"strings"

	pb "cloud.google.com/go/firestore/apiv1/firestorepb"
	"google.golang.org/genproto/googleapis/type/latlng"
	"google.golang.org/protobuf/types/known/timestamppb"

	"postrider/delivery/firestored/query"
)

// Limits of documents (https://firebase.google.com/docs/firestore/quotas).
const (
	maxText       = 1<<20 - 89   // bytes of a string or bytes value
	maxFieldName  = 1500         // bytes
	maxNesting    = 20           // maps and arrays within each other
	maxDimensions = 2048         // of a vector
	vectorType    = "__vector__" // what the service writes vectors as: {__type__: …, value: […]}
)

// checkFields checks the fields of a document or of a map, which lies in depth
// maps and arrays.
func checkFields(fields map[string]*pb.Value, depth int) error {
	for name, v := range fields {
		if err := checkFieldName(name); err != nil {
			return err
		}
		if err := checkValue(name, v, depth); err != nil {
			return err
		}
	}
	return nil
}

func checkFieldName(name string) error {
	switch {
	case name == "":
		return invalid("The property.name is the empty string.")
	case len(name) > maxFieldName:
		return invalid("The property.name is longer than %d bytes.", maxFieldName)
	case reserved(name):
		return invalid("field name %s is reserved", name)
	}
	return nil
}

// checkValue checks a value that is to be stored; name is its field's, for
// errors.
func checkValue(name string, v *pb.Value, depth int) error {
	switch x := v.GetValueType().(type) {
	case *pb.Value_NullValue, *pb.Value_BooleanValue, *pb.Value_IntegerValue, *pb.Value_DoubleValue:
		return nil
	case *pb.Value_TimestampValue:
		return checkTime(x.TimestampValue)
	case *pb.Value_StringValue:
		return checkText(name, len(x.StringValue))
	case *pb.Value_BytesValue:
		return checkText(name, len(x.BytesValue))
	case *pb.Value_ReferenceValue:
		_, _, err := documentName("Resource name", x.ReferenceValue)
		return err
	case *pb.Value_GeoPointValue:
		return checkGeoPoint(x.GeoPointValue)
	case *pb.Value_ArrayValue:
		return checkArray(name, x.ArrayValue.GetValues(), depth+1)
	case *pb.Value_MapValue:
		return checkMap(name, x.MapValue.GetFields(), depth+1)
	case nil:
		return invalid("Cannot convert firestore.v1.Value with type unset.")
	default:
		return invalid("Value type is not supported: %s", kindOf(v))
	}
}

// kindOf returns the name of a value's type as the service spells it.
func kindOf(v *pb.Value) string {
	m := v.ProtoReflect()
	return strings.ToUpper(string(m.WhichOneof(m.Descriptor().Oneofs().Get(0)).Name()))
}

func checkTime(t *timestamppb.Timestamp) error {
	if t.CheckValid() != nil {
		return invalid("Timestamp seconds exceeds limit for field.")
	}
	return nil
}

func checkText(name string, size int) error {
	if size > maxText {
		return invalid("The value of property %q is longer than %d bytes.", name, maxText)
	}
	return nil
}

func checkGeoPoint(p *latlng.LatLng) error {
	if lat, lng := p.GetLatitude(), p.GetLongitude(); !(lat >= -90 && lat <= 90 && lng >= -180 && lng <= 180) {
		return invalid("Latitude must be within [-90, 90] and longitude within [-180, 180].")
	}
	return nil
}

func checkArray(name string, values []*pb.Value, depth int) error {
	if depth > maxNesting {
		return tooDeep(name)
	}
	for _, v := range values {
		if _, ok := v.GetValueType().(*pb.Value_ArrayValue); ok {
			return invalid("Cannot convert an array value in an array value.")
		}
		if err := checkValue(name, v, depth); err != nil {
			return err
		}
	}
	return nil
}

func checkMap(name string, fields map[string]*pb.Value, depth int) error {
	switch {
	case depth > maxNesting:
		return tooDeep(name)
	case fields["__type__"].GetStringValue() == vectorType:
		return checkVector(name, fields)
	}
	return checkFields(fields, depth)
}

func tooDeep(name string) error {
	return invalid("Property %s contains an invalid nested entity.", name)
}

func checkVector(name string, fields map[string]*pb.Value) error {
	array, ok := fields["value"].GetValueType().(*pb.Value_ArrayValue)
	if !ok || len(fields) != 2 {
		return invalid("Property %s contains an invalid vector value.", name)
	}
	values := array.ArrayValue.GetValues()
	other := slices.ContainsFunc(values, func(v *pb.Value) bool {
		_, double := v.GetValueType().(*pb.Value_DoubleValue)
		return !double
	})
	if other || len(values) == 0 || len(values) > maxDimensions {
		return invalid("Property %s contains an invalid vector value.", name)
	}
	return nil
}

// fieldPath splits a field path that is to be written.
func fieldPath(path string) ([]string, error) {
	segments, err := readPath(path)
	if err != nil {
		return nil, err
	}
	for _, s := range segments {
		if reserved(s) {
			return nil, invalid("Invalid reserved name in field path %s", path)
		}
		if len(s) > maxFieldName {
			return nil, invalid("The property.name is longer than %d bytes.", maxFieldName)
		}
	}
	if len(segments) > maxNesting+1 {
		return nil, tooDeep(segments[0])
	}
	return segments, nil
}

// readPath splits a field path.
func readPath(path string) ([]string, error) {
	if path == "" {
		return nil, invalid("Invalid empty property path string.")
	}
	segments, err := query.ParsePath(path)
	if err != nil {
		return nil, invalid("Invalid property path %q. Unquoted property paths must match regex ([a-zA-Z_][a-zA-Z_0-9]*), "+
			"and quoted property paths must match regex (`(?:[^`\\\\]|(?:\\\\.))+`)", path)
	}
	return segments, nil
}
