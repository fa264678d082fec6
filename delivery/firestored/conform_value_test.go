package firestored_test

import (
	"fmt"
	"maps"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	pb "cloud.google.com/go/firestore/apiv1/firestorepb"
	"google.golang.org/genproto/googleapis/type/latlng"
	"google.golang.org/protobuf/types/known/structpb"
	"google.golang.org/protobuf/types/known/timestamppb"
)

// How cases spell values. A ref is a document's path below the root.
type (
	m   = map[string]any
	arr = []any
	ref string
	geo [2]float64 // latitude, longitude
)

// vector is a vector embedding, which is stored as a map.
func vector(xs ...float64) m {
	var values arr
	for _, x := range xs {
		values = append(values, x)
	}
	return m{"__type__": "__vector__", "value": values}
}

// value returns v as the protocol spells it.
func (e *env) value(v any) *pb.Value {
	switch v := v.(type) {
	case nil:
		return &pb.Value{ValueType: &pb.Value_NullValue{NullValue: structpb.NullValue_NULL_VALUE}}
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
	case time.Time:
		return &pb.Value{ValueType: &pb.Value_TimestampValue{TimestampValue: timestamppb.New(v)}}
	case ref:
		return &pb.Value{ValueType: &pb.Value_ReferenceValue{ReferenceValue: e.name(string(v))}}
	case geo:
		return &pb.Value{ValueType: &pb.Value_GeoPointValue{GeoPointValue: &latlng.LatLng{Latitude: v[0], Longitude: v[1]}}}
	case arr:
		return &pb.Value{ValueType: &pb.Value_ArrayValue{ArrayValue: e.array(v)}}
	case m:
		return &pb.Value{ValueType: &pb.Value_MapValue{MapValue: &pb.MapValue{Fields: e.fields(v)}}}
	}
	e.fatalf("a case can't spell a %T", v)
	return nil
}

func (e *env) array(vs arr) *pb.ArrayValue {
	out := &pb.ArrayValue{}
	for _, v := range vs {
		out.Values = append(out.Values, e.value(v))
	}
	return out
}

func (e *env) fields(f m) map[string]*pb.Value {
	out := map[string]*pb.Value{}
	for k, v := range f {
		out[k] = e.value(v)
	}
	return out
}

// show spells a document's fields, keys in order: {a:1 b:[2.5 "x"]}.
func (e *env) show(d *pb.Document) string {
	return e.text(&pb.Value{ValueType: &pb.Value_MapValue{MapValue: &pb.MapValue{Fields: d.GetFields()}}})
}

// text spells a value. A double always has a point or a name.
func (e *env) text(v *pb.Value) string {
	switch x := v.GetValueType().(type) {
	case *pb.Value_NullValue:
		return "null"
	case *pb.Value_BooleanValue:
		return strconv.FormatBool(x.BooleanValue)
	case *pb.Value_IntegerValue:
		return strconv.FormatInt(x.IntegerValue, 10)
	case *pb.Value_DoubleValue:
		return double(x.DoubleValue)
	case *pb.Value_StringValue:
		return strconv.Quote(x.StringValue)
	case *pb.Value_BytesValue:
		return fmt.Sprintf("bytes(%x)", x.BytesValue)
	case *pb.Value_TimestampValue:
		return x.TimestampValue.AsTime().Format(time.RFC3339Nano)
	case *pb.Value_ReferenceValue:
		return "ref(" + e.id(x.ReferenceValue) + ")"
	case *pb.Value_GeoPointValue:
		return fmt.Sprintf("geo(%v,%v)", x.GeoPointValue.GetLatitude(), x.GeoPointValue.GetLongitude())
	case *pb.Value_ArrayValue:
		var parts []string
		for _, v := range x.ArrayValue.GetValues() {
			parts = append(parts, e.text(v))
		}
		return "[" + strings.Join(parts, " ") + "]"
	case *pb.Value_MapValue:
		var parts []string
		for _, k := range slices.Sorted(maps.Keys(x.MapValue.GetFields())) {
			parts = append(parts, k+":"+e.text(x.MapValue.GetFields()[k]))
		}
		return "{" + strings.Join(parts, " ") + "}"
	}
	return "unset"
}

func double(x float64) string {
	s := strconv.FormatFloat(x, 'g', -1, 64)
	if strings.ContainsAny(s, ".eIN") || math.IsNaN(x) {
		return s
	}
	return s + ".0"
}

// write is one write of a commit, as cases spell it.
type write struct {
	path       string
	fields     m
	mask       []string // nil for none
	remove     bool
	exists     *bool
	updated    string    // "last": only if unchanged since this env's last commit; "stale": since the one before
	at         time.Time // with updated "at"
	transforms []transform
}

func set(path string, f m) write { return write{path: path, fields: f} }
func del(path string) write      { return write{path: path, remove: true} }

// only limits a write to some fields: those of them that it does not set are deleted.
func (w write) only(fields ...string) write {
	w.mask = append([]string{}, fields...)
	return w
}

func (w write) must() write { return w.existing(true) }
func (w write) new() write  { return w.existing(false) }

func (w write) existing(yes bool) write {
	w.exists = &yes
	return w
}

func (w write) last() write  { w.updated = "last"; return w }
func (w write) stale() write { w.updated = "stale"; return w }

func (w write) asOf(t time.Time) write {
	w.updated, w.at = "at", t
	return w
}

func (w write) with(t ...transform) write {
	w.transforms = append(slices.Clone(w.transforms), t...)
	return w
}

func (e *env) writes(ws []write) []*pb.Write {
	var out []*pb.Write
	for _, w := range ws {
		out = append(out, e.write(w))
	}
	return out
}

func (e *env) write(w write) *pb.Write {
	out := &pb.Write{}
	if w.remove {
		out.Operation = &pb.Write_Delete{Delete: e.name(w.path)}
	} else {
		out.Operation = &pb.Write_Update{Update: &pb.Document{Name: e.name(w.path), Fields: e.fields(w.fields)}}
	}
	if w.mask != nil {
		out.UpdateMask = &pb.DocumentMask{FieldPaths: w.mask}
	}
	for _, t := range w.transforms {
		out.UpdateTransforms = append(out.UpdateTransforms, t.proto(e))
	}
	out.CurrentDocument = e.condition(w)
	return out
}

func (e *env) condition(w write) *pb.Precondition {
	at := w.at
	switch {
	case w.exists != nil:
		return &pb.Precondition{ConditionType: &pb.Precondition_Exists{Exists: *w.exists}}
	case w.updated == "":
		return nil
	case w.updated == "last":
		at = e.times[w.path]
	case w.updated == "stale":
		at = e.before[w.path]
	}
	return &pb.Precondition{ConditionType: &pb.Precondition_UpdateTime{UpdateTime: timestamppb.New(at)}}
}

// transform changes a field by what it is.
type transform struct {
	field, kind string
	v           any
}

func (t transform) proto(e *env) *pb.DocumentTransform_FieldTransform {
	out := &pb.DocumentTransform_FieldTransform{FieldPath: t.field}
	switch t.kind {
	case "time":
		out.TransformType = &pb.DocumentTransform_FieldTransform_SetToServerValue{SetToServerValue: pb.DocumentTransform_FieldTransform_REQUEST_TIME}
	case "increment":
		out.TransformType = &pb.DocumentTransform_FieldTransform_Increment{Increment: e.value(t.v)}
	case "max":
		out.TransformType = &pb.DocumentTransform_FieldTransform_Maximum{Maximum: e.value(t.v)}
	case "min":
		out.TransformType = &pb.DocumentTransform_FieldTransform_Minimum{Minimum: e.value(t.v)}
	case "union":
		out.TransformType = &pb.DocumentTransform_FieldTransform_AppendMissingElements{AppendMissingElements: e.array(t.v.(arr))}
	case "remove":
		out.TransformType = &pb.DocumentTransform_FieldTransform_RemoveAllFromArray{RemoveAllFromArray: e.array(t.v.(arr))}
	}
	return out
}
