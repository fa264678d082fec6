package queue

import (
	"fmt"
	"strings"

	pb "cloud.google.com/go/firestore/apiv1/firestorepb"
	"google.golang.org/protobuf/proto"

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

// encodeFields returns fields as Firestore's. Root is the database's root, to which
// references are relative.
func encodeFields(f delivery.Fields, root string) (map[string]*pb.Value, error) {
	encoded, err := appendFields(nil, mapFields, f, root)
	if err != nil {
		return nil, err
	}
	m := &pb.MapValue{}
	if err := proto.Unmarshal(encoded, m); err != nil {
		return nil, fmt.Errorf("encode fields: %w", err)
	}
	return m.GetFields(), nil
}
