package firestored

import (
	"context"
	"fmt"
	"strings"
	"testing"

	pb "cloud.google.com/go/firestore/apiv1/firestorepb"
	"google.golang.org/genproto/googleapis/type/latlng"
	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/types/known/timestamppb"
)

// TestNamesOfDocuments has what the documentation allows
// (https://firebase.google.com/docs/firestore/quotas), in the service's words.
func TestNamesOfDocuments(t *testing.T) {
	const root = "projects/p/databases/(default)/documents"
	tests := map[string]string{ // words of the error; "" for a good name
		root + "/c/a":                          "",
		root + "/c/a/d/b":                      "",
		root + "/c/ä ö %?#[]*`~":               "",
		root + "/c/__id7__":                    "",
		root + "/c/__id-7__":                   "",
		root + "/c/__x":                        "",
		root + "/c/x__":                        "",
		root + "/c/____":                       "",
		root + "/__c/a":                        "",
		root + "/c/...":                        "",
		root + "/c/" + long(1500):              "",
		"":                                     `Document name "" lacks "projects" at index 0.`,
		"projects":                             `Document name "projects" lacks "/" at index 8.`,
		"projects/":                            `has invalid trailing "/".`,
		"projects/p/data/d/documents/c/a":      `lacks "databases" at index 11.`,
		"projects//databases/d/documents/c/a":  `lacks an id at index 9.`,
		"projects/p/databases/d/docs/c/a":      `lacks "documents" at index 23.`,
		"projects/p/databases/d/documentsx/a":  `lacks "documents" at index 23.`,
		"projects/p/databases/d":               `lacks "documents" at index 22.`,
		"projects/q/databases/d/documents/c/a": `is not in the database "projects/p/databases/(default)".`,
		root:                                   `is invalid: Omit "/documents" when referencing a database`,
		root + "/":                             `has invalid trailing "/".`,
		root + "/c":                            `documents/c" lacks "/" at index 42.`,
		root + "/c/":                           `has invalid trailing "/".`,
		root + "//a":                           `lacks a collection id at index 41.`,
		root + "/c//d/a":                       `lacks a resource id at index 43.`,
		root + "/c/a/b":                        `lacks "/" at index 46.`,
		root + "/c/a/":                         `has invalid trailing "/".`,
		root + "/c/.":                          `contains a resource id "." at index 43.`,
		root + "/../a":                         `contains a resource id ".." at index 41.`,
		root + "/c/__x__":                      `Resource id "__x__" is invalid because it is reserved.`,
		root + "/c/__id07__":                   `Resource id "__id07__" is invalid because it is reserved.`,
		root + "/c/__id9223372036854775808__":  `is invalid because it is reserved.`,
		root + "/__c__/a":                      `Collection id "__c__" is invalid because it is reserved.`,
		root + "/__id7__/a":                    `Collection id "__id7__" is invalid because it is reserved.`,
		root + "/c/" + long(1501):              "The key path element name is longer than 1500 bytes.",
		root + strings.Repeat("/c/a", 101):     "has more than 100 collections.",
	}
	r := newRig(t, Options{})
	ctx := context.Background()
	for name, words := range tests {
		_, err := r.commit(&pb.Write{Operation: &pb.Write_Update{Update: &pb.Document{Name: name}}})
		if words == "" && err != nil || words != "" && !refused(err, codes.InvalidArgument, words) {
			t.Errorf("write %q: %v, want %q", name, err, words)
		}
		_, err = r.commit(&pb.Write{Operation: &pb.Write_Delete{Delete: name}})
		if words == "" && err != nil || words != "" && !refused(err, codes.InvalidArgument, words) {
			t.Errorf("delete %q: %v, want %q", name, err, words)
		}
		if strings.Contains(words, "is not in the database") {
			continue // a get has no other database
		}
		_, err = r.client.GetDocument(ctx, &pb.GetDocumentRequest{Name: name})
		if words == "" && !refused(err, codes.NotFound, "not found") || words != "" && !refused(err, codes.InvalidArgument, words) {
			t.Errorf("get %q: %v, want %q", name, err, words)
		}
	}
}

func long(n int) string { return strings.Repeat("x", n) }

func TestNamesOfDatabases(t *testing.T) {
	r := newRig(t, Options{})
	for name, words := range map[string]string{
		"projects/p/databases/d":            "",
		"":                                  `Database name "" lacks "projects" at index 0.`,
		"projects/p":                        `lacks "/" at index 10.`,
		"projects/p/databases/":             `has invalid trailing "/".`,
		"projects/p/databases/d/":           `has invalid trailing "/".`,
		"projects/p/databases/d/documents":  "has extra characters at index 22.",
		"projects/p/databases/d/documents/": "has extra characters at index 22.",
	} {
		_, err := r.client.Commit(context.Background(), &pb.CommitRequest{Database: name})
		if words == "" && err != nil || words != "" && !refused(err, codes.InvalidArgument, words) {
			t.Errorf("%q: %v, want %q", name, err, words)
		}
	}
}

func nested(depth int, inArrays bool) *pb.Value {
	v := integer(1)
	for i := range depth {
		if inArrays && i%2 == 0 {
			v = values(v)
		} else {
			v = object(fields{"m": v})
		}
	}
	return v
}

func vectorOf(v ...*pb.Value) *pb.Value {
	return object(fields{"__type__": text("__vector__"), "value": values(v...)})
}

func TestValuesThatCanBeStored(t *testing.T) {
	ref := func(name string) *pb.Value {
		return &pb.Value{ValueType: &pb.Value_ReferenceValue{ReferenceValue: name}}
	}
	geo := func(lat, lng float64) *pb.Value {
		return &pb.Value{ValueType: &pb.Value_GeoPointValue{GeoPointValue: &latlng.LatLng{Latitude: lat, Longitude: lng}}}
	}
	many := make([]*pb.Value, 2049)
	for i := range many {
		many[i] = double(1)
	}
	tests := map[string]struct {
		fields fields
		words  string // "" if it can
	}{
		"an empty name":                 {fields{"": integer(1)}, "The property.name is the empty string."},
		"a reserved name":               {fields{"__x__": integer(1)}, "field name __x__ is reserved"},
		"a reserved name in a map":      {fields{"a": object(fields{"__x__": integer(1)})}, "field name __x__ is reserved"},
		"an empty name in a map":        {fields{"a": object(fields{"": integer(1)})}, "The property.name is the empty string."},
		"underscores at one end":        {fields{"__x": integer(1), "x__": integer(1), "____": integer(1)}, ""},
		"a long name":                   {fields{long(1501): integer(1)}, "The property.name is longer than 1500 bytes."},
		"a name of 1500 bytes":          {fields{long(1500): integer(1)}, ""},
		"20 maps":                       {fields{"a": nested(20, false)}, ""},
		"21 maps":                       {fields{"a": nested(21, false)}, "contains an invalid nested entity."},
		"20 maps and arrays":            {fields{"a": nested(20, true)}, ""},
		"21 maps and arrays":            {fields{"a": nested(21, true)}, "contains an invalid nested entity."},
		"an array in an array":          {fields{"a": values(values())}, "Cannot convert an array value in an array value."},
		"an array in a map in an array": {fields{"a": values(object(fields{"b": values()}))}, ""},
		"no value":                      {fields{"a": {}}, "Cannot convert firestore.v1.Value with type unset."},
		"no value in an array":          {fields{"a": values(&pb.Value{})}, "Cannot convert firestore.v1.Value with type unset."},
		"a reference":                   {fields{"a": ref("projects/q/databases/d/documents/c/a")}, ""},
		"a reference to nothing":        {fields{"a": ref("abc")}, `Resource name "abc" lacks "projects" at index 0.`},
		"a reference to a collection":   {fields{"a": ref("projects/q/databases/d/documents/c")}, `lacks "/" at index 34.`},
		"a time too late":               {fields{"a": {ValueType: &pb.Value_TimestampValue{TimestampValue: &timestamppb.Timestamp{Seconds: 1 << 50}}}}, "Timestamp seconds exceeds limit for field."},
		"a place":                       {fields{"a": geo(-90, 180)}, ""},
		"a place off the earth":         {fields{"a": geo(90.1, 0)}, "Latitude must be within [-90, 90]"},
		"a function":                    {fields{"a": {ValueType: &pb.Value_FunctionValue{FunctionValue: &pb.Function{Name: "f"}}}}, "Value type is not supported: FUNCTION_VALUE"},
		"a field reference":             {fields{"a": {ValueType: &pb.Value_FieldReferenceValue{FieldReferenceValue: "b"}}}, "Value type is not supported: FIELD_REFERENCE_VALUE"},
		"a long string":                 {fields{"a": text(long(1<<20 - 88))}, `The value of property "a" is longer than 1048487 bytes.`},
		"long bytes in a map":           {fields{"a": object(fields{"b": {ValueType: &pb.Value_BytesValue{BytesValue: make([]byte, 1<<20-88)}}})}, `The value of property "b" is longer than 1048487 bytes.`},
		"a string of the longest":       {fields{"a": text(long(1<<20 - 89))}, ""},
		"a vector":                      {fields{"a": vectorOf(double(1), double(2))}, ""},
		"a vector of integers":          {fields{"a": vectorOf(integer(1))}, "contains an invalid vector value."},
		"a vector of nothing":           {fields{"a": vectorOf()}, "contains an invalid vector value."},
		"a vector of 2048":              {fields{"a": vectorOf(many[:2048]...)}, ""},
		"a vector of 2049":              {fields{"a": vectorOf(many...)}, "contains an invalid vector value."},
	}
	r := newRig(t, Options{})
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			for kind, w := range map[string]*pb.Write{"set": r.set("c/a", test.fields), "masked": r.update("c/a", test.fields)} {
				_, err := r.commit(w)
				if test.words == "" && err != nil || test.words != "" && !refused(err, codes.InvalidArgument, test.words) {
					t.Errorf("%s: %v, want %q", kind, err, test.words)
				}
			}
		})
	}
}

func TestPathsOfFields(t *testing.T) {
	r := newRig(t, Options{})
	ctx := context.Background()
	for path, words := range map[string]string{
		"a":                            "",
		"a.b_2.C":                      "",
		"`1a`":                         "",
		"a.`b.c`":                      "",
		"`a\\`b`":                      "",
		"":                             "Invalid empty property path string.",
		"a..b":                         `Invalid property path "a..b". Unquoted property paths must match regex`,
		".a":                           "Invalid property path",
		"a.":                           "Invalid property path",
		"1a":                           "Invalid property path",
		"a-b":                          "Invalid property path",
		"`a":                           "Invalid property path",
		"``":                           "Invalid property path",
		"é":                            "Invalid property path",
		"__name__":                     "Invalid reserved name in field path __name__",
		"a.__x__":                      "Invalid reserved name in field path a.__x__",
		long(1501):                     "The property.name is longer than 1500 bytes.",
		strings.Repeat("m.", 21) + "m": "contains an invalid nested entity.",
		strings.Repeat("m.", 20) + "m": "",
	} {
		for kind, w := range map[string]*pb.Write{
			"mask":      r.update("c/a", nil, path),
			"transform": r.transform("c/b", increment(path, integer(1))),
		} {
			_, err := r.commit(w)
			if words == "" && err != nil || words != "" && !refused(err, codes.InvalidArgument, words) {
				t.Errorf("%s %q: %v, want %q", kind, path, err, words)
			}
		}
		if words != "" && strings.Contains(words, "reserved") || len(path) > 100 || strings.Count(path, ".") > 10 {
			continue
		}
		_, err := r.client.GetDocument(ctx, &pb.GetDocumentRequest{Name: r.root + "/c/a", Mask: &pb.DocumentMask{FieldPaths: []string{path}}})
		if words == "" && err != nil || words != "" && !refused(err, codes.InvalidArgument, words) {
			t.Errorf("read %q: %v, want %q", path, err, words)
		}
	}
}

func TestWritesThatAreNone(t *testing.T) {
	r := newRig(t, Options{})
	masked := func(w *pb.Write) *pb.Write {
		w.UpdateMask = &pb.DocumentMask{FieldPaths: []string{"a"}}
		return w
	}
	transformed := func(w *pb.Write) *pb.Write {
		w.UpdateTransforms = []*pb.DocumentTransform_FieldTransform{increment("n", integer(1))}
		return w
	}
	var many []*pb.DocumentTransform_FieldTransform
	for i := range 501 {
		many = append(many, increment(fmt.Sprint("f", i), integer(1)))
	}
	nanos := r.set("c/a", nil)
	nanos.CurrentDocument = &pb.Precondition{ConditionType: &pb.Precondition_UpdateTime{UpdateTime: &timestamppb.Timestamp{Seconds: 1, Nanos: 1}}}
	for words, w := range map[string]*pb.Write{
		"empty write operation":                                     {},
		"a delete must not specify a document mask.":                masked(r.remove("c/a")),
		"a delete must not specify update_transforms.":              transformed(r.remove("c/a")),
		"a transform must not specify a document mask.":             masked(r.transform("c/a", increment("n", integer(1)))),
		"a transform must not specify update_transforms.":           transformed(r.transform("c/a", increment("n", integer(1)))),
		"The list of FieldTransform must not be empty.":             r.transform("c/a"),
		"Operation type must be specified for field transformation": r.transform("c/a", &pb.DocumentTransform_FieldTransform{FieldPath: "a"}),
		"Input must be int64 or double.":                            r.transform("c/a", increment("n", text("1"))),
		"Cannot convert an array value in an array value.":          r.transform("c/a", appendMissing("n", values())),
		"maximum 500 field transforms allowed per document":         r.transform("c/a", many...),
		"timestamp cannot have more than microseconds precision":    nanos,
		"Unsupported server value": r.transform("c/a", &pb.DocumentTransform_FieldTransform{
			FieldPath:     "a",
			TransformType: &pb.DocumentTransform_FieldTransform_SetToServerValue{},
		}),
	} {
		if _, err := r.commit(w); !refused(err, codes.InvalidArgument, words) {
			t.Errorf("%v, want %q", err, words)
		}
	}
	_, err := r.commit(r.transform("c/a", many[:250]...), r.transform("c/b", many[:500]...), r.transform("c/a", many[:251]...))
	if !refused(err, codes.InvalidArgument, "maximum 500 field transforms") {
		t.Errorf("501 transforms of one document in two writes: %v", err)
	}
	r.mustCommit(r.transform("c/a", many[:500]...))
	if d := r.get("c/a"); len(d.GetFields()) != 500 {
		t.Errorf("500 transforms made %d fields", len(d.GetFields()))
	}
}

// TestSizeOfDocuments fills documents up to the last byte of 1 MiB, by the rules
// of https://firebase.google.com/docs/firestore/storage-size: here 20 bytes of
// the name, 32 of the document, 500,003 of the field p and 3 or 4 of the field x.
func TestSizeOfDocuments(t *testing.T) {
	const left = 1<<20 - 20 - 32 - 500_003 - 3
	filler := text(long(500_000))
	tests := map[string]struct {
		extra fields
		size  int
	}{
		"two strings":     {nil, 0},
		"a null":          {fields{"n": null()}, 2 + 1},
		"a boolean":       {fields{"n": boolean(true)}, 2 + 1},
		"a small integer": {fields{"n": integer(0)}, 2 + 8},
		"a double":        {fields{"n": double(0)}, 2 + 8},
		"a time":          {fields{"n": {ValueType: &pb.Value_TimestampValue{TimestampValue: &timestamppb.Timestamp{}}}}, 2 + 8},
		"bytes":           {fields{"n": {ValueType: &pb.Value_BytesValue{BytesValue: []byte("abc")}}}, 2 + 3},
		"a place":         {fields{"n": {ValueType: &pb.Value_GeoPointValue{GeoPointValue: &latlng.LatLng{}}}}, 2 + 16},
		"a reference":     {fields{"n": {ValueType: &pb.Value_ReferenceValue{ReferenceValue: "projects/q/databases/d/documents/cities/__id7__"}}}, 2 + 7 + 8 + 16},
		"an array":        {fields{"n": values(integer(1), text("ab"), null())}, 2 + 8 + 3 + 1},
		"an empty map":    {fields{"n": object(nil)}, 2 + 1},
		"a map":           {fields{"n": object(fields{"ab": integer(1)})}, 2 + 3 + 8},
		"a vector":        {fields{"n": vectorOf(double(1), double(2))}, 2 + 16},
	}
	r := newRig(t, Options{})
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			room := left - test.size
			if test.size == 0 {
				room = left
			}
			for n, words := range map[int]string{
				room:     "",
				room + 1: "Document 'projects/p/databases/(default)/documents/c/a' cannot be written because its size (1,048,577 bytes) exceeds the maximum allowed size of 1,048,576 bytes.",
			} {
				f := fields{"p": filler, "x": text(long(n))}
				for k, v := range test.extra {
					f[k] = v
				}
				_, err := r.commit(r.set("c/a", f))
				if words == "" && err != nil || words != "" && !refused(err, codes.InvalidArgument, words) {
					t.Errorf("a string of %d bytes: %v, want %q", n, err, words)
				}
			}
		})
	}
	r.mustCommit(r.set("c/grows", fields{"p": filler, "x": text(long(left - 100))}))
	_, err := r.commit(r.update("c/grows", fields{"more": text(long(200))}, "more"))
	if !refused(err, codes.InvalidArgument, "exceeds the maximum allowed size") {
		t.Errorf("a document that grows: %v", err)
	}
}

func TestRequestsOver10MiB(t *testing.T) {
	r := newRig(t, Options{})
	var writes []*pb.Write
	for i := range 11 {
		writes = append(writes, r.set(fmt.Sprint("c/", i), fields{"a": text(long(1<<20 - 200))}))
	}
	if _, err := r.commit(writes...); !refused(err, codes.ResourceExhausted, "larger than max") {
		t.Errorf("11 MiB: %v", err)
	}
	r.mustCommit(writes[:10]...)
}
