package firestored_test

import (
	"math"
	"strings"
	"time"

	pb "cloud.google.com/go/firestore/apiv1/firestorepb"
	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/proto"
)

// writeRule is a rule about one commit on c/a, after the commits of seed.
type writeRule struct {
	name string
	seed []write // each a commit of its own
	do   []write
	want codes.Code
	then string   // c/a afterwards
	also []string // other documents afterwards: path, text, path, text…
}

func (r writeRule) testCase() testCase {
	return testCase{name: r.name, run: func(e *env) {
		for _, w := range r.seed {
			e.put(w)
		}
		_, err := e.commit(r.do...)
		e.code("commit", err, r.want)
		e.equal("c/a", e.doc("c/a"), r.then)
		for i := 0; i < len(r.also); i += 2 {
			e.equal(r.also[i], e.doc(r.also[i]), r.also[i+1])
		}
	}}
}

var (
	everything = m{
		"null": nil, "no": false, "int": math.MinInt64, "double": -0.5, "whole": 2.0, "string": "ä\x00\"", "empty": "", "bytes": []byte{0, 255},
		"time": time.Date(2026, 2, 3, 4, 5, 6, 789012000, time.UTC), "old": time.Date(1, 1, 1, 0, 0, 0, 0, time.UTC),
		"ref": ref("c/a/d/b"), "geo": geo{-12.5, 180}, "array": arr{1, nil, m{"x": arr{}}}, "map": m{"a b": m{}}, "inf": math.Inf(-1), "nan": math.NaN(),
	}
	everythingText = `{array:[1 null {x:[]}] bytes:bytes(00ff) double:-0.5 empty:"" geo:geo(-12.5,180) inf:-Inf int:-9223372036854775808 ` +
		`map:{a b:{}} nan:NaN no:false null:null old:0001-01-01T00:00:00Z ref:ref(c/a/d/b) string:"ä\x00\"" time:2026-02-03T04:05:06.789012Z whole:2.0}`
)

func writeRules() []writeRule {
	ab := set("c/a", m{"a": 1, "b": m{"c": 2, "d": 3}})
	return []writeRule{
		{name: "every type comes back as it was written", do: []write{set("c/a", everything)}, then: everythingText},
		{name: "a set creates", do: []write{set("c/a", m{"x": 1})}, then: "{x:1}"},
		{name: "a document may be empty", do: []write{set("c/a", nil)}, then: "{}"},
		{name: "a set replaces all", seed: []write{ab}, do: []write{set("c/a", m{"x": 1})}, then: "{x:1}"},
		{name: "a time is kept in microseconds, rounded down", do: []write{set("c/a", m{"x": time.Unix(1, 1999)})}, then: "{x:1970-01-01T00:00:01.000001Z}"},
		{name: "a mask leaves the other fields", seed: []write{ab}, do: []write{set("c/a", m{"a": 9, "z": 9}).only("a")}, then: "{a:9 b:{c:2 d:3}}"},
		{name: "a mask deletes what the document lacks", seed: []write{ab}, do: []write{set("c/a", m{"z": 9}).only("a", "z")}, then: "{b:{c:2 d:3} z:9}"},
		{name: "a mask reaches into maps", seed: []write{ab}, do: []write{set("c/a", m{"b": m{"c": 9}}).only("b.c")}, then: "{a:1 b:{c:9 d:3}}"},
		{name: "a mask deletes in maps", seed: []write{ab}, do: []write{set("c/a", nil).only("b.c", "b.none", "none.none")}, then: "{a:1 b:{d:3}}"},
		{name: "a map of whom all is deleted stays", seed: []write{ab}, do: []write{set("c/a", nil).only("b.c", "b.d")}, then: "{a:1 b:{}}"},
		{name: "a mask on a map replaces it", seed: []write{ab}, do: []write{set("c/a", m{"b": m{"x": 1}}).only("b")}, then: "{a:1 b:{x:1}}"},
		{name: "a mask makes maps on its way", seed: []write{ab}, do: []write{set("c/a", m{"p": m{"q": m{"r": 1}}}).only("p.q.r")}, then: "{a:1 b:{c:2 d:3} p:{q:{r:1}}}"},
		{name: "a mask puts a map in place of a number", seed: []write{ab}, do: []write{set("c/a", m{"a": m{"x": 1}}).only("a.x")}, then: "{a:{x:1} b:{c:2 d:3}}"},
		{name: "deleting below a number leaves it", seed: []write{ab}, do: []write{set("c/a", nil).only("a.x")}, then: "{a:1 b:{c:2 d:3}}"},
		{name: "a mask quotes names", seed: []write{set("c/a", m{"a.b": 1, "ü`\\": m{"0": 2}})}, do: []write{set("c/a", m{"a.b": 8, "ü`\\": m{"0": 9}}).only("`a.b`", "`ü\\`\\\\`.`0`")}, then: "{a.b:8 ü`\\:{0:9}}"},
		{name: "a merge creates", do: []write{set("c/a", m{"a": 9, "z": 9}).only("a")}, then: "{a:9}"},
		{name: "an empty mask changes nothing", seed: []write{ab}, do: []write{set("c/a", m{"z": 9}).only()}, then: "{a:1 b:{c:2 d:3}}"},
		{name: "an empty mask creates an empty document", do: []write{set("c/a", m{"z": 9}).only()}, then: "{}"},
		{name: "a bad path in a mask is refused", seed: []write{ab}, do: []write{set("c/a", nil).only("a..b")}, want: codes.InvalidArgument, then: "{a:1 b:{c:2 d:3}}"},
		{name: "a mask names no document", do: []write{set("c/a", nil).only("__name__")}, want: codes.InvalidArgument, then: "missing"},
		{name: "a path that needs quotes is refused without", do: []write{set("c/a", nil).only("a-b")}, want: codes.InvalidArgument, then: "missing"},

		{name: "create creates", do: []write{ab.new()}, then: "{a:1 b:{c:2 d:3}}"},
		{name: "create finds the document there", seed: []write{ab}, do: []write{set("c/a", nil).new()}, want: codes.AlreadyExists, then: "{a:1 b:{c:2 d:3}}"},
		{name: "update needs the document", do: []write{set("c/a", m{"x": 1}).must()}, want: codes.NotFound, then: "missing"},
		{name: "update finds the document there", seed: []write{ab}, do: []write{set("c/a", m{"x": 1}).must()}, then: "{x:1}"},
		{name: "a write as of the last update goes", seed: []write{ab, set("c/a", m{"x": 1})}, do: []write{set("c/a", m{"x": 2}).last()}, then: "{x:2}"},
		{name: "a write as of an older update is refused", seed: []write{ab, set("c/a", m{"x": 1})}, do: []write{set("c/a", m{"x": 2}).stale()}, want: codes.FailedPrecondition, then: "{x:1}"},
		{name: "a write as of a time after the last update is an error in itself", seed: []write{ab}, do: []write{set("c/a", nil).asOf(time.Unix(1e10, 0))}, want: codes.InvalidArgument, then: "{a:1 b:{c:2 d:3}}"},
		{name: "a condition's time has whole microseconds", seed: []write{ab}, do: []write{set("c/a", nil).asOf(time.Unix(1e9, 1))}, want: codes.InvalidArgument, then: "{a:1 b:{c:2 d:3}}"},
		{name: "a write as of an update of a missing document is refused", do: []write{set("c/a", m{"x": 2}).asOf(time.Unix(1e9, 0))}, want: codes.FailedPrecondition, then: "missing"},

		{name: "delete deletes", seed: []write{ab}, do: []write{del("c/a")}, then: "missing"},
		{name: "delete of nothing is no error", do: []write{del("c/a")}, then: "missing"},
		{name: "delete of what must exist finds nothing", do: []write{del("c/a").must()}, want: codes.NotFound, then: "missing"},
		{name: "delete of what must not exist is refused", seed: []write{ab}, do: []write{del("c/a").new()}, want: codes.AlreadyExists, then: "{a:1 b:{c:2 d:3}}"},
		{name: "delete as of the last update goes", seed: []write{ab}, do: []write{del("c/a").last()}, then: "missing"},
		{name: "delete as of an older update is refused", seed: []write{ab, set("c/a", m{"x": 1})}, do: []write{del("c/a").stale()}, want: codes.FailedPrecondition, then: "{x:1}"},
		{name: "delete as of an update of a missing document is refused", do: []write{del("c/a").asOf(time.Unix(1e9, 0))}, want: codes.FailedPrecondition, then: "missing"},
		{name: "a deleted document leaves what is below it", seed: []write{ab, set("c/a/d/b", m{"x": 1})}, do: []write{del("c/a")}, then: "missing", also: []string{"c/a/d/b", "{x:1}"}},
		{name: "a document made again is new", seed: []write{ab, del("c/a")}, do: []write{set("c/a", m{"z": 1}).only("z").new()}, then: "{z:1}"},

		{name: "a commit goes as a whole", seed: []write{ab}, do: []write{set("c/b", m{"x": 1}), del("c/a"), set("c/c", nil).must()}, want: codes.NotFound, then: "{a:1 b:{c:2 d:3}}", also: []string{"c/b", "missing"}},
		{name: "a commit writes one document several times, in order", do: []write{set("c/a", m{"x": 1}), set("c/a", m{"y": 2}).only("y").must(), set("c/a", nil).only("z").with(transform{"x", "increment", 5})}, then: "{x:6 y:2}"},
		{name: "a commit sees its own delete", seed: []write{ab}, do: []write{del("c/a"), set("c/a", m{"x": 1}).new()}, then: "{x:1}"},
		{name: "a commit of nothing is no error", then: "missing"},
	}
}

func writeCases() []testCase {
	var out []testCase
	for _, r := range writeRules() {
		out = append(out, r.testCase())
	}
	return append(out,
		testCase{name: "the times of a commit agree", run: commitTimes},
		testCase{name: "a write that changes nothing keeps the update time", run: keptUpdateTime},
		testCase{name: "commits have rising times", run: risingTimes},
		testCase{name: "a document keeps its create time until deleted", run: createTime},
		testCase{name: "CreateDocument takes an ID, or makes one", run: createDocument},
		testCase{name: "UpdateDocument merges and returns what its mask asks for", run: updateDocument},
		testCase{name: "DeleteDocument heeds its condition", run: deleteDocument},
		testCase{name: "databases and projects are apart", run: apart},
	)
}

func commitTimes(e *env) {
	r := e.put(set("c/a", m{"x": 1}), set("c/b", m{"x": 1}))
	e.put(set("c/other", nil))
	at := r.GetCommitTime().AsTime()
	for i, path := range []string{"c/a", "c/b"} {
		d, err := e.pb.GetDocument(e.ctx, &pb.GetDocumentRequest{Name: e.name(path)})
		e.must("get", err)
		e.equal("create time", d.GetCreateTime().AsTime(), at)
		e.equal("update time", d.GetUpdateTime().AsTime(), at)
		e.equal("update time in the result", r.GetWriteResults()[i].GetUpdateTime().AsTime(), at)
	}
	e.equal("below a microsecond", at.Nanosecond()%1000, 0)
	if age := time.Since(at); age.Abs() > time.Hour {
		e.errorf("the commit is %v old", age)
	}
	r = e.put(del("c/a"))
	if r.GetWriteResults()[0].GetUpdateTime() != nil || !r.GetCommitTime().AsTime().After(at) {
		e.errorf("a delete has an update time or no later commit time: %v", r)
	}
}

func keptUpdateTime(e *env) {
	first := e.put(set("c/a", m{"x": 1})).GetCommitTime().AsTime()
	for what, w := range map[string]write{"set": set("c/a", m{"x": 1}), "merge": set("c/a", m{"x": 1}).only("x"), "nothing": set("c/a", nil).only()} {
		r := e.put(w)
		e.equal("update time after the same "+what, r.GetWriteResults()[0].GetUpdateTime().AsTime(), first)
	}
	d, err := e.pb.GetDocument(e.ctx, &pb.GetDocumentRequest{Name: e.name("c/a")})
	e.must("get", err)
	e.equal("update time read", d.GetUpdateTime().AsTime(), first)
	if r := e.put(set("c/a", m{"x": 1.0})); !r.GetWriteResults()[0].GetUpdateTime().AsTime().After(first) {
		e.errorf("a double in place of an integer is no change")
	}
}

func risingTimes(e *env) {
	last := time.Time{}
	for i := range 50 {
		at := e.put(set("c/a", m{"x": i})).GetCommitTime().AsTime()
		if !at.After(last) {
			e.errorf("commit %d is at %v, after one at %v", i, at, last)
		}
		last = at
	}
}

func createTime(e *env) {
	first := e.put(set("c/a", m{"x": 1})).GetCommitTime().AsTime()
	e.put(set("c/a", m{"x": 2}))
	get := func() *pb.Document {
		d, err := e.pb.GetDocument(e.ctx, &pb.GetDocumentRequest{Name: e.name("c/a")})
		e.must("get", err)
		return d
	}
	d := get()
	e.equal("create time", d.GetCreateTime().AsTime(), first)
	if !d.GetUpdateTime().AsTime().After(first) {
		e.errorf("the update time is %v", d.GetUpdateTime().AsTime())
	}
	e.put(del("c/a"))
	again := e.put(set("c/a", m{"x": 3})).GetCommitTime().AsTime()
	e.equal("create time after a delete", get().GetCreateTime().AsTime(), again)
}

func createDocument(e *env) {
	create := func(id string) (*pb.Document, error) {
		return e.pb.CreateDocument(e.ctx, &pb.CreateDocumentRequest{
			Parent: e.name("c/a"), CollectionId: "d", DocumentId: id,
			Document: &pb.Document{Fields: e.fields(m{"x": 1, "y": 2})}, Mask: &pb.DocumentMask{FieldPaths: []string{"y"}},
		})
	}
	d, err := create("b")
	e.must("create", err)
	e.equal("name", e.id(d.GetName()), "c/a/d/b")
	e.equal("fields by the mask", e.show(d), "{y:2}")
	e.equal("stored", e.doc("c/a/d/b"), "{x:1 y:2}")
	_, err = create("b")
	e.code("create again", err, codes.AlreadyExists)
	d, err = create("")
	e.must("create without an ID", err)
	e.equal("length of the ID made", len(d.GetName()[strings.LastIndex(d.GetName(), "/")+1:]), 20)
}

func updateDocument(e *env) {
	e.put(set("c/a", m{"x": 1, "y": 2}))
	update := func(path string, c *pb.Precondition) (*pb.Document, error) {
		return e.pb.UpdateDocument(e.ctx, &pb.UpdateDocumentRequest{
			Document:   &pb.Document{Name: e.name(path), Fields: e.fields(m{"x": 9, "z": 9})},
			UpdateMask: &pb.DocumentMask{FieldPaths: []string{"x"}}, Mask: &pb.DocumentMask{FieldPaths: []string{"y"}}, CurrentDocument: c,
		})
	}
	there := &pb.Precondition{ConditionType: &pb.Precondition_Exists{Exists: true}}
	d, err := update("c/a", there)
	e.must("update", err)
	e.equal("returned", e.show(d), "{y:2}")
	e.equal("stored", e.doc("c/a"), "{x:9 y:2}")
	_, err = update("c/b", there)
	e.code("update of what must exist", err, codes.NotFound)
	_, err = update("c/b", nil)
	e.must("update that creates", err)
	e.equal("created", e.doc("c/b"), "{x:9}")
}

func deleteDocument(e *env) {
	e.put(set("c/a", nil))
	at := e.times["c/a"]
	e.put(set("c/a", m{"x": 1}))
	_, err := e.pb.DeleteDocument(e.ctx, &pb.DeleteDocumentRequest{
		Name: e.name("c/a"), CurrentDocument: &pb.Precondition{ConditionType: &pb.Precondition_UpdateTime{UpdateTime: stamp(at)}},
	})
	e.code("delete as of an older update", err, codes.FailedPrecondition)
	_, err = e.pb.DeleteDocument(e.ctx, &pb.DeleteDocumentRequest{Name: e.name("c/a")})
	e.must("delete", err)
	e.equal("c/a", e.doc("c/a"), "missing")
}

func apart(e *env) {
	e.put(set("c/a", m{"x": 1}))
	for _, db := range []string{strings.Replace(e.db, "(default)", "second", 1), strings.Replace(e.db, "/databases", "2/databases", 1)} {
		other := &env{ctx: e.ctx, db: db, root: db + "/documents", pb: e.pb, times: map[string]time.Time{}, before: map[string]time.Time{}}
		e.equal(db, other.doc("c/a"), "missing")
		other.put(set("c/a", m{"x": 2}))
		e.equal(db, other.doc("c/a"), "{x:2}")
		e.faults = append(e.faults, other.faults...)
	}
	e.equal("ours", e.doc("c/a"), "{x:1}")
}

func batchCases() []testCase {
	return []testCase{
		{name: "a batch's writes succeed and fail each alone", run: func(e *env) {
			e.put(set("c/a", m{"x": 1}))
			e.put(set("c/a", m{"x": 2}))
			e.put(set("c/b", m{"x": 1}))
			r := e.batch(set("c/a", m{"x": 3}).stale(), set("c/b", m{"x": 3}).last(), set("c/n", nil).must(), set("c/b2", m{"x": 3}).new(), del("c/n2"), del("c/n3").must())
			e.equal("codes", statuses(r), "[FailedPrecondition OK NotFound OK OK NotFound]")
			e.equal("results", len(r.GetWriteResults()), 6)
			e.equal("documents", e.doc("c/a")+e.doc("c/b")+e.doc("c/b2"), "{x:2}{x:3}{x:3}")
			for i, r := range r.GetWriteResults() {
				if wrote := i == 1 || i == 3; wrote != (r.GetUpdateTime() != nil) {
					e.errorf("update time of write %d: %v", i, r.GetUpdateTime())
				}
			}
		}},
		{name: "a batch tells a create's failure", run: func(e *env) {
			e.put(set("c/a", m{"x": 1}))
			r := e.batch(set("c/a", nil).new(), set("c/b", nil).asOf(time.Unix(1e9, 0)))
			e.equal("codes", statuses(r), "[AlreadyExists FailedPrecondition]")
		}},
		{name: "a batch names a document once", run: func(e *env) {
			_, err := e.pb.BatchWrite(e.ctx, &pb.BatchWriteRequest{Database: e.db, Writes: e.writes([]write{set("c/a", m{"x": 1}), set("c/b", nil), set("c/a", nil)})})
			e.code("batch", err, codes.InvalidArgument)
			e.equal("c/a", e.doc("c/a"), "missing")
		}},
		{name: "a batch applies transforms and returns their results", run: func(e *env) {
			e.put(set("c/a", m{"x": 1}))
			r := e.batch(set("c/a", m{"y": 1}).only("y").with(transform{"x", "increment", 2}))
			e.equal("result", e.text(r.GetWriteResults()[0].GetTransformResults()[0]), "3")
			e.equal("c/a", e.doc("c/a"), "{x:3 y:1}")
		}},
		{name: "a batch of nothing is no error", run: func(e *env) { e.equal("statuses", len(e.batch().GetStatus()), 0) }},
		{name: "a batch's malformed write is refused", run: func(e *env) {
			_, err := e.pb.BatchWrite(e.ctx, &pb.BatchWriteRequest{Database: e.db, Writes: e.writes([]write{set("c/a", m{"x": 1}), set("c/b/d", nil)})})
			e.code("batch", err, codes.InvalidArgument)
			e.equal("c/a", e.doc("c/a"), "missing")
		}},
	}
}

func (e *env) batch(ws ...write) *pb.BatchWriteResponse {
	r, err := e.pb.BatchWrite(e.ctx, &pb.BatchWriteRequest{Database: e.db, Writes: e.writes(ws)})
	e.must("batch write", err)
	return r
}

func statuses(r *pb.BatchWriteResponse) []codes.Code {
	var out []codes.Code
	for _, s := range r.GetStatus() {
		out = append(out, codes.Code(s.GetCode()))
	}
	return out
}

// transformRule is a rule about one transform of the field x.
type transformRule struct {
	name   string
	x      any // absent if missing
	do     transform
	then   string // x afterwards
	result string
}

type absent struct{}

func transformRules() []transformRule {
	inc := func(v any) transform { return transform{"x", "increment", v} }
	maxi := func(v any) transform { return transform{"x", "max", v} }
	mini := func(v any) transform { return transform{"x", "min", v} }
	union := func(v ...any) transform { return transform{"x", "union", v} }
	remove := func(v ...any) transform { return transform{"x", "remove", v} }
	const most, least = "9223372036854775807", "-9223372036854775808"
	return []transformRule{
		{"increment of an integer", 40, inc(2), "42", "42"},
		{"increment of a double", 1.5, inc(2), "3.5", "3.5"},
		{"increment by a double", 1, inc(0.5), "1.5", "1.5"},
		{"increment stops at the largest integer", math.MaxInt64 - 1, inc(5), most, most},
		{"increment stops at the smallest integer", math.MinInt64 + 1, inc(-5), least, least},
		{"increment of what is no number sets", "text", inc(2), "2", "2"},
		{"increment of what is not there sets", absent{}, inc(0.5), "0.5", "0.5"},
		{"maximum takes the larger", 1, maxi(2), "2", "2"},
		{"maximum keeps the larger", 3, maxi(2), "3", "3"},
		{"maximum takes the larger's type", 1, maxi(1.5), "1.5", "1.5"},
		{"maximum of equals keeps the field", 3, maxi(3.0), "3", "3"},
		{"maximum of what is no number sets", "text", maxi(2), "2", "2"},
		{"maximum of what is not there sets", absent{}, maxi(2), "2", "2"},
		{"maximum with NaN is NaN", 1, maxi(math.NaN()), "NaN", "NaN"},
		{"minimum takes the smaller", 3, mini(2.5), "2.5", "2.5"},
		{"minimum keeps the smaller", 1.0, mini(2), "1.0", "1.0"},
		{"minimum of equals keeps the field", 3.0, mini(3), "3.0", "3.0"},
		{"minimum of zeroes keeps the field", 0.0, mini(0), "0.0", "0.0"},
		{"minimum with NaN is NaN", 1, mini(math.NaN()), "NaN", "NaN"},
		{"union appends what is missing", arr{1, "a"}, union("a", 2, "b", 2), `[1 "a" 2 "b"]`, "null"},
		{"union takes equal numbers for one", arr{1, 2.0}, union(1.0, 2, math.NaN(), nil, math.NaN(), nil), "[1 2.0 NaN null]", "null"},
		{"union makes an array of what is none", "text", union(1), "[1]", "null"},
		{"union makes an array where there is none", absent{}, union(m{"a": 1}, m{"a": 1.0}), "[{a:1}]", "null"},
		{"remove removes all that are equal", arr{1, 2, 1.0, "1", nil, math.NaN()}, remove(1, nil, math.NaN()), `[2 "1"]`, "null"},
		{"remove of what is no array leaves an empty one", 5, remove(5), "[]", "null"},
		{"remove of what is not there leaves an empty array", absent{}, remove(5), "[]", "null"},
	}
}

func transformCases() []testCase {
	var out []testCase
	for _, r := range transformRules() {
		out = append(out, testCase{name: r.name, run: func(e *env) {
			f := m{"keep": 1}
			if r.x != any(absent{}) {
				f["x"] = r.x
			}
			e.put(set("c/a", f))
			res := e.put(set("c/a", nil).only().with(r.do))
			e.equal("c/a", e.doc("c/a"), "{keep:1 x:"+r.then+"}")
			e.equal("result", e.text(res.GetWriteResults()[0].GetTransformResults()[0]), r.result)
		}})
	}
	return append(out,
		testCase{name: "the server's time is one for a whole commit", run: serverTime},
		testCase{name: "transforms come after the write and in order", run: func(e *env) {
			r := e.put(set("c/a", m{"x": 1}).with(transform{"x", "increment", 1}, transform{"n.`y z`", "increment", 5}, transform{"l", "union", arr{1}}, transform{"x", "max", 10}))
			e.equal("c/a", e.doc("c/a"), "{l:[1] n:{y z:5} x:10}")
			var got []string
			for _, v := range r.GetWriteResults()[0].GetTransformResults() {
				got = append(got, e.text(v))
			}
			e.equal("results", got, "[2 5 null 10]")
		}},
		testCase{name: "a transform alone creates", run: func(e *env) {
			e.put(set("c/a", nil).only().with(transform{"x", "increment", 1}))
			e.equal("c/a", e.doc("c/a"), "{x:1}")
		}},
		testCase{name: "a transform heeds its condition", run: func(e *env) {
			_, err := e.commit(set("c/a", nil).only().must().with(transform{"x", "increment", 1}))
			e.code("transform of what must exist", err, codes.NotFound)
			e.equal("c/a", e.doc("c/a"), "missing")
		}},
		testCase{name: "a write may be only transforms, in the old form", run: func(e *env) {
			w := &pb.Write{Operation: &pb.Write_Transform{Transform: &pb.DocumentTransform{
				Document: e.name("c/a"), FieldTransforms: []*pb.DocumentTransform_FieldTransform{transform{"x", "increment", 7}.proto(e)},
			}}}
			e.put(set("c/a", m{"y": 1}))
			r, err := e.pb.Commit(e.ctx, &pb.CommitRequest{Database: e.db, Writes: []*pb.Write{w}})
			e.must("commit", err)
			e.equal("result", e.text(r.GetWriteResults()[0].GetTransformResults()[0]), "7")
			e.equal("c/a", e.doc("c/a"), "{x:7 y:1}")
		}},
		testCase{name: "increment by text is refused", run: func(e *env) {
			_, err := e.commit(set("c/a", nil).only().with(transform{"x", "increment", "1"}))
			e.code("increment", err, codes.InvalidArgument)
		}},
	)
}

func serverTime(e *env) {
	now := transform{"t", "time", nil}
	r := e.put(set("c/a", nil).with(now, transform{"n.t", "time", nil}), set("c/b", nil).with(now))
	at := r.GetWriteResults()[0].GetTransformResults()
	for _, v := range append(at, r.GetWriteResults()[1].GetTransformResults()...) {
		e.equal("time", e.text(v), e.text(at[0]))
	}
	e.equal("c/a", e.doc("c/a"), "{n:{t:"+e.text(at[0])+"} t:"+e.text(at[0])+"}")
	if d := r.GetCommitTime().AsTime().Sub(at[0].GetTimestampValue().AsTime()); d < -time.Second || d > time.Minute {
		e.errorf("the server's time is %v before the commit's", d)
	}
	if proto.Equal(at[0].GetTimestampValue(), nil) {
		e.errorf("no time")
	}
}
