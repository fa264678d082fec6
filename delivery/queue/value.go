package queue

import (
	"fmt"
	"strings"
	"time"

	pb "cloud.google.com/go/firestore/apiv1/firestorepb"
	"google.golang.org/genproto/googleapis/type/latlng"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/structpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	"postrider/delivery"
)

// snapshot returns a document of Firestore's as the decisions want it.
func snapshot(d *pb.Document) delivery.Snapshot {
	return delivery.Snapshot{ID: idOf(d.GetName()), Fields: fieldsOf(d.GetFields()), UpdateTime: d.GetUpdateTime().AsTime(), Size: proto.Size(d)}
}

func fieldsOf(m map[string]*pb.Value) delivery.Fields {
	f := make(delivery.Fields, len(m))
	for name, v := range m {
		f[name] = valueOf(v)
	}
	return f
}

// valueOf returns a value of Firestore's as one of the types that
// [delivery.Fields] lists.
func valueOf(v *pb.Value) any {
	switch v := v.GetValueType().(type) {
	case *pb.Value_BooleanValue:
		return v.BooleanValue
	case *pb.Value_IntegerValue:
		return v.IntegerValue
	case *pb.Value_DoubleValue:
		return v.DoubleValue
	case *pb.Value_StringValue:
		return v.StringValue
	case *pb.Value_BytesValue:
		return v.BytesValue
	case *pb.Value_TimestampValue:
		return v.TimestampValue.AsTime()
	case *pb.Value_GeoPointValue:
		return delivery.GeoPoint{Latitude: v.GeoPointValue.GetLatitude(), Longitude: v.GeoPointValue.GetLongitude()}
	case *pb.Value_ReferenceValue:
		_, path, _ := strings.Cut(v.ReferenceValue, "/documents/")
		return delivery.Reference{Path: path}
	case *pb.Value_ArrayValue:
		list := make([]any, len(v.ArrayValue.GetValues()))
		for i, e := range v.ArrayValue.GetValues() {
			list[i] = valueOf(e)
		}
		return list
	case *pb.Value_MapValue:
		return fieldsOf(v.MapValue.GetFields())
	default: // null, and what a newer version of the service may add
		return nil
	}
}

// encode returns v as a value of Firestore's. root is the database's root, to
// which references are relative.
func encode(v any, root string) (*pb.Value, error) {
	switch v := v.(type) {
	case nil:
		return &pb.Value{ValueType: &pb.Value_NullValue{NullValue: structpb.NullValue_NULL_VALUE}}, nil
	case bool:
		return &pb.Value{ValueType: &pb.Value_BooleanValue{BooleanValue: v}}, nil
	case int64:
		return &pb.Value{ValueType: &pb.Value_IntegerValue{IntegerValue: v}}, nil
	case float64:
		return &pb.Value{ValueType: &pb.Value_DoubleValue{DoubleValue: v}}, nil
	case string:
		// Firestore refuses strings that aren't UTF-8; a server's reply need not be.
		return &pb.Value{ValueType: &pb.Value_StringValue{StringValue: strings.ToValidUTF8(v, "\uFFFD")}}, nil
	case []byte:
		return &pb.Value{ValueType: &pb.Value_BytesValue{BytesValue: v}}, nil
	case time.Time:
		return &pb.Value{ValueType: &pb.Value_TimestampValue{TimestampValue: timestamppb.New(v)}}, nil
	case delivery.GeoPoint:
		return &pb.Value{ValueType: &pb.Value_GeoPointValue{GeoPointValue: &latlng.LatLng{Latitude: v.Latitude, Longitude: v.Longitude}}}, nil
	case delivery.Reference:
		return &pb.Value{ValueType: &pb.Value_ReferenceValue{ReferenceValue: root + "/documents/" + v.Path}}, nil
	case []any:
		return encodeList(v, root)
	case delivery.Fields:
		m, err := encodeFields(v, root)
		return &pb.Value{ValueType: &pb.Value_MapValue{MapValue: &pb.MapValue{Fields: m}}}, err
	}
	return nil, fmt.Errorf("encode a %T: not a Firestore type", v)
}

func encodeList(list []any, root string) (*pb.Value, error) {
	values := make([]*pb.Value, len(list))
	for i, e := range list {
		v, err := encode(e, root)
		if err != nil {
			return nil, err
		}
		values[i] = v
	}
	return &pb.Value{ValueType: &pb.Value_ArrayValue{ArrayValue: &pb.ArrayValue{Values: values}}}, nil
}

func encodeFields(f delivery.Fields, root string) (map[string]*pb.Value, error) {
	m := make(map[string]*pb.Value, len(f))
	for name, e := range f {
		v, err := encode(e, root)
		if err != nil {
			return nil, fmt.Errorf("field %s: %w", name, err)
		}
		m[name] = v
	}
	return m, nil
}
