package queue

import (
	"math"
	"reflect"
	"strings"
	"testing"
	"time"

	pb "cloud.google.com/go/firestore/apiv1/firestorepb"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	"postrider/delivery"
)

// What is encoded here is what the protobuf package reads, and as long as what it
// would write: by its length it is decided whether a record fits.
func TestFieldsAreEncodedAsProtobufDoes(t *testing.T) {
	for name, v := range map[string]any{
		"null": nil, "false": false, "true": true,
		"zero": int64(0), "least": int64(math.MinInt64), "most": int64(math.MaxInt64),
		"double": 1.5, "minus zero": math.Copysign(0, -1),
		"empty": "", "text": "grüß dich", "127 bytes": strings.Repeat("a", 127), "128 bytes": strings.Repeat("a", 128),
		"long": strings.Repeat("a", 1<<14), "very long": strings.Repeat("a", 1<<21),
		"bytes": []byte{0, 255}, "no bytes": []byte{},
		"time": noon.Add(time.Microsecond), "whole second": noon, "epoch": time.Unix(0, 0).UTC(), "no time": time.Time{}, "before": time.Unix(-1, 500).UTC(),
		"place": delivery.GeoPoint{Latitude: 48.2, Longitude: -16.3}, "equator": delivery.GeoPoint{Longitude: 1}, "null island": delivery.GeoPoint{},
		"reference": delivery.Reference{Path: "users/a"},
		"list":      []any{int64(1), "two", []any{nil}, delivery.Fields{"a": true}}, "no list": []any{},
		"map": delivery.Fields{"a": delivery.Fields{"": strings.Repeat("b", 200)}, "c": int64(1)}, "no map": delivery.Fields{},
	} {
		want := delivery.Fields{name: v}
		encoded, err := appendFields(nil, mapFields, want, "root")
		if err != nil {
			t.Fatal(err)
		}
		m := &pb.MapValue{}
		if err := proto.Unmarshal(encoded, m); err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if got := fieldsOf(m.GetFields()); !reflect.DeepEqual(got, want) {
			t.Errorf("%s: %v", name, got)
		}
		if got, want := len(encoded), proto.Size(m); got != want {
			t.Errorf("%s: %d bytes, want %d", name, got, want)
		}
	}
}

func TestWhatIsNoFirestoreTypeIsNotEncoded(t *testing.T) {
	for _, f := range []delivery.Fields{
		{"a": struct{}{}}, {"a": []any{1}}, {"a": delivery.Fields{"b": []any{delivery.Fields{"c": uint8(1)}}}},
	} {
		if b, err := appendFields(nil, mapFields, f, ""); err == nil {
			t.Errorf("%v: %x", f, b)
		}
	}
}

// A server's reply need not be UTF-8, and Firestore takes nothing else.
func TestTextIsEncodedAsUTF8(t *testing.T) {
	m, err := encodeFields(delivery.Fields{"reply": "250 \xe9t\xe9"}, "")
	if got, want := m["reply"].GetStringValue(), "250 \uFFFDt\uFFFD"; err != nil || got != want {
		t.Errorf("%q, %v, want %q", got, err, want)
	}
}

// A write names the fields it sets and those it removes, and is conditional.
func TestWriteIsEncodedWhole(t *testing.T) {
	b, length, err := appendRecord(nil, "name", delivery.Fields{"state": "SUCCESS"}, "")
	if err != nil {
		t.Fatal(err)
	}
	b = appendCondition(appendMask(b, []string{"error", "state"}), noon)
	got := &pb.Write{}
	if err := proto.Unmarshal(b, got); err != nil {
		t.Fatal(err)
	}
	state := &pb.Value{ValueType: &pb.Value_StringValue{StringValue: "SUCCESS"}}
	want := &pb.Write{
		Operation: &pb.Write_Update{Update: &pb.Document{Name: "name", Fields: map[string]*pb.Value{
			"delivery": {ValueType: &pb.Value_MapValue{MapValue: &pb.MapValue{Fields: map[string]*pb.Value{"state": state}}}},
		}}},
		UpdateMask:      &pb.DocumentMask{FieldPaths: []string{"delivery.error", "delivery.state"}},
		CurrentDocument: &pb.Precondition{ConditionType: &pb.Precondition_UpdateTime{UpdateTime: timestamppb.New(noon)}},
	}
	if record := got.GetUpdate().GetFields()["delivery"].GetMapValue(); length != proto.Size(record) {
		t.Errorf("the record has %d bytes, want %d", length, proto.Size(record))
	}
	if !proto.Equal(got, want) {
		t.Errorf("%v, want %v", got, want)
	}
}
