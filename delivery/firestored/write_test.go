package firestored

import (
	"math"
	"testing"

	pb "cloud.google.com/go/firestore/apiv1/firestorepb"
	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"
)

// TestMasks has the cases of UpdateMask's comment in write.proto, on a stored
// document {a: 1, m: {x: 1, y: 2}, s: "text"}.
func TestMasks(t *testing.T) {
	stored := func() fields {
		return fields{"a": integer(1), "m": object(fields{"x": integer(1), "y": integer(2)}), "s": text("text")}
	}
	with := func(change func(fields)) fields {
		f := stored()
		change(f)
		return f
	}
	tests := map[string]struct {
		fields fields
		mask   []string // nil: none
		want   fields
	}{
		"without a mask everything is replaced":       {fields{"b": integer(2)}, nil, fields{"b": integer(2)}},
		"fields outside the mask stay":                {fields{"a": integer(5), "b": integer(6)}, []string{"b"}, with(func(f fields) { f["b"] = integer(6) })},
		"fields of the mask without a value are gone": {fields{}, []string{"a", "none"}, with(func(f fields) { delete(f, "a") })},
		"a path sets one field of a map": {
			fields{"m": object(fields{"x": integer(9), "z": integer(9)})},
			[]string{"m.x"},
			with(func(f fields) { f["m"] = object(fields{"x": integer(9), "y": integer(2)}) }),
		},
		"a path deletes one field of a map": {
			fields{"m": object(fields{})},
			[]string{"m.x"},
			with(func(f fields) { f["m"] = object(fields{"y": integer(2)}) }),
		},
		"the last field of a map leaves an empty map": {
			fields{},
			[]string{"m.x", "m.y"},
			with(func(f fields) { f["m"] = object(fields{}) }),
		},
		"a map is made for a path":                     {fields{"n": object(fields{"o": object(fields{"p": integer(1)})})}, []string{"n.o.p"}, with(func(f fields) { f["n"] = object(fields{"o": object(fields{"p": integer(1)})}) })},
		"a map replaces what is in its way":            {fields{"a": object(fields{"b": integer(1)})}, []string{"a.b"}, with(func(f fields) { f["a"] = object(fields{"b": integer(1)}) })},
		"nothing is made where nothing is deleted":     {fields{}, []string{"n.o", "a.b", "m.x.y"}, stored()},
		"a quoted segment is one name":                 {fields{"m.x": integer(7)}, []string{"`m.x`"}, with(func(f fields) { f["m.x"] = integer(7) })},
		"a field of the mask replaces the whole map":   {fields{"m": object(fields{"z": integer(1)})}, []string{"m"}, with(func(f fields) { f["m"] = object(fields{"z": integer(1)}) })},
		"a path and one below it":                      {fields{"m": object(fields{"z": integer(1)})}, []string{"m", "m.z"}, with(func(f fields) { f["m"] = object(fields{"z": integer(1)}) })},
		"an empty mask changes nothing":                {fields{"a": integer(5)}, []string{}, stored()},
		"a field twice in the mask":                    {fields{"a": integer(5)}, []string{"a", "a"}, with(func(f fields) { f["a"] = integer(5) })},
		"a name that sorts between others is set":      {fields{"n": integer(1)}, []string{"n"}, with(func(f fields) { f["n"] = integer(1) })},
		"a name that sorts before and one after are":   {fields{"A": integer(1), "z": integer(2)}, []string{"z", "A"}, with(func(f fields) { f["A"], f["z"] = integer(1), integer(2) })},
		"a null in the document is a value, not a gap": {fields{"a": null()}, []string{"a"}, with(func(f fields) { f["a"] = null() })},
	}
	r := newRig(t, Options{})
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			r.mustCommit(r.set("c/a", stored()))
			w := r.set("c/a", test.fields)
			if test.mask != nil {
				w = r.update("c/a", test.fields, test.mask...)
			}
			r.mustCommit(w)
			if d := r.get("c/a"); !sameFields(d, test.want) {
				t.Errorf("got %v", d.GetFields())
			}
		})
	}
}

func TestMaskedWriteMakesAMissingDocument(t *testing.T) {
	r := newRig(t, Options{})
	r.mustCommit(r.update("c/empty", fields{"a": integer(1)}), r.update("c/one", fields{"a": integer(1), "b": integer(2)}, "a"))
	if d := r.get("c/empty"); !sameFields(d, fields{}) {
		t.Errorf("with an empty mask: %v", d)
	}
	if d := r.get("c/one"); !sameFields(d, fields{"a": integer(1)}) {
		t.Errorf("with one field: %v", d)
	}
}

func TestPreconditions(t *testing.T) {
	const stale = 1_700_000_000_000_001
	r := newRig(t, Options{})
	tests := map[string]struct {
		write func(path string, update int64) *pb.Write // update time of what is stored
		there codes.Code                                // on a document that exists
		none  codes.Code                                // and on one that does not
		words string
	}{
		"exists":          {func(p string, _ int64) *pb.Write { return ifExists(r.set(p, nil), true) }, codes.OK, codes.NotFound, "No document to update: projects/p/databases/(default)/documents/c/"},
		"does not exist":  {func(p string, _ int64) *pb.Write { return ifExists(r.set(p, nil), false) }, codes.AlreadyExists, codes.OK, "Document already exists: projects/p/databases/(default)/documents/c/"},
		"updated at":      {func(p string, u int64) *pb.Write { return ifUpdated(r.set(p, nil), u) }, codes.OK, codes.FailedPrecondition, "the stored version (0) does not match the required base version ("},
		"updated earlier": {func(p string, _ int64) *pb.Write { return ifUpdated(r.set(p, nil), stale) }, codes.FailedPrecondition, codes.FailedPrecondition, ") does not match the required base version (1700000000000001)"},
		"an empty one": {func(p string, _ int64) *pb.Write {
			w := r.set(p, nil)
			w.CurrentDocument = &pb.Precondition{}
			return w
		}, codes.OK, codes.OK, ""},
		"delete what exists":         {func(p string, _ int64) *pb.Write { return ifExists(r.remove(p), true) }, codes.OK, codes.NotFound, "No document to update"},
		"delete what does not exist": {func(p string, _ int64) *pb.Write { return ifExists(r.remove(p), false) }, codes.AlreadyExists, codes.OK, "Document already exists"},
		"delete what has changed":    {func(p string, _ int64) *pb.Write { return ifUpdated(r.remove(p), stale) }, codes.FailedPrecondition, codes.FailedPrecondition, "required base version"},
		"transform what exists": {func(p string, _ int64) *pb.Write {
			return ifExists(r.transform(p, increment("n", integer(1))), true)
		}, codes.OK, codes.NotFound, "No document to update"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			update := r.mustCommit(r.set("c/there", fields{"a": text(name)}), r.remove("c/none")).GetWriteResults()[0].GetUpdateTime()
			for path, code := range map[string]codes.Code{"c/there": test.there, "c/none": test.none} {
				_, err := r.commit(test.write(path, update.AsTime().UnixMicro()))
				if code == codes.OK && err != nil || code != codes.OK && !refused(err, code, test.words) {
					t.Errorf("on %s: %v, want %v", path, err, code)
				}
			}
		})
	}
}

// TestWriteThatChangesNothing keeps its update time and is no change for
// listens, by the comment of WriteResult.update_time.
func TestWriteThatChangesNothing(t *testing.T) {
	r := newRig(t, Options{})
	f := func() fields { return fields{"a": integer(1), "m": object(fields{"x": text("y"), "z": null()})} }
	first := r.mustCommit(r.set("c/a", f())).GetWriteResults()[0].GetUpdateTime()
	pos := r.db.position()
	for name, w := range map[string]*pb.Write{
		"the same document":     r.set("c/a", f()),
		"the same field":        r.update("c/a", f(), "m.x"),
		"no field":              r.update("c/a", nil),
		"a field that is not":   r.update("c/a", nil, "none"),
		"increment by 0":        r.transform("c/a", increment("a", integer(0))),
		"the maximum":           r.transform("c/a", maximum("a", integer(1))),
		"what does not exist":   r.remove("c/none"),
		"a map deeper, deleted": r.update("c/a", nil, "a.b.c"),
	} {
		result := r.mustCommit(w).GetWriteResults()[0]
		if w.GetDelete() == "" && !proto.Equal(result.GetUpdateTime(), first) {
			t.Errorf("%s: update time %v, want %v", name, result.GetUpdateTime(), first)
		}
	}
	if got := r.db.position(); got != pos {
		t.Errorf("%d changes were logged", got-pos)
	}
	if d := r.get("c/a"); !proto.Equal(d.GetUpdateTime(), first) || !sameFields(d, f()) {
		t.Errorf("the document is now %v", d)
	}
	r.mustCommit(r.set("c/a", fields{"a": {ValueType: &pb.Value_DoubleValue{DoubleValue: 1}}}))
	if d := r.get("c/a"); proto.Equal(d.GetUpdateTime(), first) {
		t.Error("1.0 instead of 1 is a change")
	}
}

func increment(path string, v *pb.Value) *pb.DocumentTransform_FieldTransform {
	return &pb.DocumentTransform_FieldTransform{FieldPath: path, TransformType: &pb.DocumentTransform_FieldTransform_Increment{Increment: v}}
}

func maximum(path string, v *pb.Value) *pb.DocumentTransform_FieldTransform {
	return &pb.DocumentTransform_FieldTransform{FieldPath: path, TransformType: &pb.DocumentTransform_FieldTransform_Maximum{Maximum: v}}
}

func minimum(path string, v *pb.Value) *pb.DocumentTransform_FieldTransform {
	return &pb.DocumentTransform_FieldTransform{FieldPath: path, TransformType: &pb.DocumentTransform_FieldTransform_Minimum{Minimum: v}}
}

func appendMissing(path string, v ...*pb.Value) *pb.DocumentTransform_FieldTransform {
	return &pb.DocumentTransform_FieldTransform{FieldPath: path, TransformType: &pb.DocumentTransform_FieldTransform_AppendMissingElements{AppendMissingElements: &pb.ArrayValue{Values: v}}}
}

func removeAll(path string, v ...*pb.Value) *pb.DocumentTransform_FieldTransform {
	return &pb.DocumentTransform_FieldTransform{FieldPath: path, TransformType: &pb.DocumentTransform_FieldTransform_RemoveAllFromArray{RemoveAllFromArray: &pb.ArrayValue{Values: v}}}
}

func requestTime(path string) *pb.DocumentTransform_FieldTransform {
	return &pb.DocumentTransform_FieldTransform{FieldPath: path, TransformType: &pb.DocumentTransform_FieldTransform_SetToServerValue{SetToServerValue: pb.DocumentTransform_FieldTransform_REQUEST_TIME}}
}

// TestTransforms has the cases of FieldTransform's comments in write.proto; each
// transform is of the field n. A nil result stands for the value itself.
func TestTransforms(t *testing.T) {
	nan, zero := double(math.NaN()), integer(0)
	least, greatest := &pb.Value{ValueType: &pb.Value_IntegerValue{IntegerValue: math.MinInt64}}, &pb.Value{ValueType: &pb.Value_IntegerValue{IntegerValue: math.MaxInt64}}
	tests := map[string]struct {
		stored    *pb.Value // nil: no such field
		transform *pb.DocumentTransform_FieldTransform
		want      *pb.Value
		result    *pb.Value
	}{
		"increment an integer":             {integer(2), increment("n", integer(3)), integer(5), nil},
		"increment by a double":            {integer(2), increment("n", double(0.5)), double(2.5), nil},
		"increment a double":               {double(0.5), increment("n", integer(2)), double(2.5), nil},
		"increment what is no number":      {text("x"), increment("n", integer(3)), integer(3), nil},
		"increment nothing":                {nil, increment("n", double(3)), double(3), nil},
		"increment beyond the greatest":    {greatest, increment("n", integer(1)), greatest, nil},
		"increment below the least":        {least, increment("n", integer(-1)), least, nil},
		"increment to the greatest":        {integer(math.MaxInt64 - 1), increment("n", integer(1)), greatest, nil},
		"maximum, the input":               {integer(2), maximum("n", double(2.5)), double(2.5), nil},
		"maximum, the stored":              {double(2.5), maximum("n", integer(2)), double(2.5), nil},
		"maximum of equals":                {integer(3), maximum("n", double(3)), integer(3), nil},
		"maximum of zeros":                 {double(math.Copysign(0, -1)), maximum("n", zero), double(math.Copysign(0, -1)), nil},
		"maximum of what is no number":     {text("x"), maximum("n", integer(-3)), integer(-3), nil},
		"maximum with NaN":                 {integer(1), maximum("n", nan), nan, nil},
		"maximum of NaN":                   {nan, maximum("n", integer(1)), nan, nil},
		"minimum, the input":               {integer(2), minimum("n", double(1.5)), double(1.5), nil},
		"minimum, the stored":              {double(1.5), minimum("n", integer(2)), double(1.5), nil},
		"minimum of equals":                {double(3), minimum("n", integer(3)), double(3), nil},
		"minimum of nothing":               {nil, minimum("n", integer(7)), integer(7), nil},
		"minimum with NaN":                 {integer(1), minimum("n", nan), nan, nil},
		"append what is missing":           {values(integer(1)), appendMissing("n", integer(2), double(1), integer(2), null()), values(integer(1), integer(2), null()), null()},
		"append to what is no array":       {text("x"), appendMissing("n", integer(2)), values(integer(2)), null()},
		"append nothing to nothing":        {nil, appendMissing("n"), values(), null()},
		"append a NaN only once":           {values(nan), appendMissing("n", double(math.NaN())), values(nan), null()},
		"remove all":                       {values(integer(1), text("a"), double(1), null()), removeAll("n", integer(1), null()), values(text("a")), null()},
		"remove from what is no array":     {integer(1), removeAll("n", integer(1)), values(), null()},
		"remove maps that are equal":       {values(object(fields{"a": integer(1)})), removeAll("n", object(fields{"a": double(1)})), values(), null()},
		"increment of a field below a map": {object(fields{"x": integer(1)}), increment("n.x", integer(2)), object(fields{"x": integer(3)}), integer(3)},
		"increment below what is no map":   {integer(5), increment("n.x", integer(2)), object(fields{"x": integer(2)}), integer(2)},
	}
	r := newRig(t, Options{})
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			before, after := fields{"other": text("stays")}, fields{"other": text("stays"), "n": test.want}
			if test.stored != nil {
				before["n"] = test.stored
			}
			result := test.result
			if result == nil {
				result = test.want
			}
			first := r.transform("c/t", test.transform)
			second := r.update("c/u", nil)
			second.UpdateTransforms = first.GetTransform().GetFieldTransforms()
			for path, w := range map[string]*pb.Write{"c/t": first, "c/u": second} {
				r.mustCommit(r.set(path, before))
				results := r.mustCommit(w).GetWriteResults()[0].GetTransformResults()
				if len(results) != 1 || !proto.Equal(results[0], result) {
					t.Errorf("%s: the result is %v, want %v", path, results, result)
				}
				if d := r.get(path); !sameFields(d, after) {
					t.Errorf("%s: %v, want %v", path, d.GetFields(), after)
				}
			}
		})
	}
}

func TestTransformsComeAfterTheUpdateAndInOrder(t *testing.T) {
	r := newRig(t, Options{})
	r.mustCommit(r.set("c/a", fields{"n": integer(1), "old": integer(1)}))
	w := r.set("c/a", fields{"n": integer(10), "m": object(fields{"x": integer(1)})})
	w.UpdateTransforms = []*pb.DocumentTransform_FieldTransform{increment("n", integer(5)), maximum("n", integer(100)), increment("m.x", integer(1))}
	results := r.mustCommit(w).GetWriteResults()[0].GetTransformResults()
	for i, want := range []int64{15, 100, 2} {
		if results[i].GetIntegerValue() != want {
			t.Errorf("result %d: %v, want %d", i, results[i], want)
		}
	}
	if d := r.get("c/a"); !sameFields(d, fields{"n": integer(100), "m": object(fields{"x": integer(2)})}) {
		t.Errorf("got %v", d.GetFields())
	}
}

// TestTransformOfAMaskedMapIsAppliedOnce lets the write be worked out twice,
// because the document changes between the guess and the lock.
func TestTransformOfAMaskedMapIsAppliedOnce(t *testing.T) {
	r := newRig(t, Options{})
	w := r.update("c/a", fields{"m": object(fields{"x": integer(1)})}, "m")
	w.UpdateTransforms = []*pb.DocumentTransform_FieldTransform{increment("m.x", integer(1))}
	parsed, err := r.db.parseWrite(w)
	if err != nil {
		t.Fatal(err)
	}
	for range 2 {
		d := parsed.apply(nil, 1).next.document(r.root)
		if !sameFields(d, fields{"m": object(fields{"x": integer(2)})}) {
			t.Errorf("got %v", d.GetFields())
		}
	}
}

// TestRequestTime is the time of the commit: the same in all fields and
// documents, with microseconds.
func TestRequestTime(t *testing.T) {
	r := newRig(t, Options{})
	response := r.mustCommit(r.transform("c/a", requestTime("t"), requestTime("m.t")), r.transform("c/b", requestTime("t")))
	want := response.GetCommitTime()
	for _, result := range response.GetWriteResults() {
		for _, v := range result.GetTransformResults() {
			if !proto.Equal(v.GetTimestampValue(), want) {
				t.Errorf("%v, want %v", v, want)
			}
		}
	}
	if want.GetNanos()%1000 != 0 || want.GetSeconds() == 0 {
		t.Errorf("the time %v", want)
	}
	v := &pb.Value{ValueType: &pb.Value_TimestampValue{TimestampValue: want}}
	if d := r.get("c/a"); !sameFields(d, fields{"t": v, "m": object(fields{"t": v})}) {
		t.Errorf("got %v, want %v", d.GetFields(), want)
	}
}

func TestStoredTimesAreRoundedDownToMicroseconds(t *testing.T) {
	at := func(seconds int64, nanos int32) *pb.Value {
		return &pb.Value{ValueType: &pb.Value_TimestampValue{TimestampValue: &timestamppb.Timestamp{Seconds: seconds, Nanos: nanos}}}
	}
	r := newRig(t, Options{})
	r.mustCommit(r.set("c/a", fields{"a": at(1, 123_456_789), "b": at(-1, 999_999_999), "c": values(object(fields{"d": at(0, 999)}))}))
	r.mustCommit(r.transform("c/a", appendMissing("e", at(2, 1999))))
	want := fields{"a": at(1, 123_456_000), "b": at(-1, 999_999_000), "c": values(object(fields{"d": at(0, 0)})), "e": values(at(2, 1000))}
	if d := r.get("c/a"); !sameFields(d, want) {
		t.Errorf("got %v", d.GetFields())
	}
}
