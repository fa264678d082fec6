package firestored_test

import (
	"math"
	"slices"
	"strings"
	"time"

	pb "cloud.google.com/go/firestore/apiv1/firestorepb"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/wrapperspb"
)

func codeOf(err error) codes.Code { return status.Code(err) }

// query is a structured query as cases spell it. Paths are those of fields;
// __name__ is compared with a ref.
type query struct {
	parent     string // path of a document; empty for the root
	collection string
	all        bool // of every depth
	filter     filter
	orders     []string // path, or "-" and a path
	start, end *cursor
	offset     int32
	most       *int32
	fields     []string
}

type cursor struct {
	before bool
	values arr
}

func from(collection string) query { return query{collection: collection} }
func group(collection string) query {
	return query{collection: collection, all: true}
}

func (q query) below(path string) query      { q.parent = path; return q }
func (q query) where(f filter) query         { q.filter = f; return q }
func (q query) order(paths ...string) query  { q.orders = paths; return q }
func (q query) startAt(vs ...any) query      { q.start = &cursor{true, vs}; return q }
func (q query) startAfter(vs ...any) query   { q.start = &cursor{false, vs}; return q }
func (q query) endAt(vs ...any) query        { q.end = &cursor{false, vs}; return q }
func (q query) endBefore(vs ...any) query    { q.end = &cursor{true, vs}; return q }
func (q query) skip(n int32) query           { q.offset = n; return q }
func (q query) limit(n int32) query          { q.most = &n; return q }
func (q query) selecting(fs ...string) query { q.fields = append([]string{}, fs...); return q }

func field(path string) *pb.StructuredQuery_FieldReference {
	return &pb.StructuredQuery_FieldReference{FieldPath: path}
}

func (q query) proto(e *env) *pb.StructuredQuery {
	out := &pb.StructuredQuery{Offset: q.offset, StartAt: q.start.proto(e), EndAt: q.end.proto(e)}
	if q.collection != "" || q.all {
		out.From = []*pb.StructuredQuery_CollectionSelector{{CollectionId: q.collection, AllDescendants: q.all}}
	}
	if q.filter != nil {
		out.Where = q.filter(e)
	}
	for _, o := range q.orders {
		path, down := strings.CutPrefix(o, "-")
		direction := pb.StructuredQuery_ASCENDING
		if down {
			direction = pb.StructuredQuery_DESCENDING
		}
		out.OrderBy = append(out.OrderBy, &pb.StructuredQuery_Order{Field: field(path), Direction: direction})
	}
	if q.most != nil {
		out.Limit = wrapperspb.Int32(*q.most)
	}
	if q.fields != nil {
		out.Select = &pb.StructuredQuery_Projection{}
		for _, f := range q.fields {
			out.Select.Fields = append(out.Select.Fields, field(f))
		}
	}
	return out
}

func (c *cursor) proto(e *env) *pb.Cursor {
	if c == nil {
		return nil
	}
	return &pb.Cursor{Before: c.before, Values: e.array(c.values).GetValues()}
}

// filter makes one once it knows where references point.
type filter func(*env) *pb.StructuredQuery_Filter

var operators = map[string]pb.StructuredQuery_FieldFilter_Operator{
	"<": 1, "<=": 2, ">": 3, ">=": 4, "==": 5, "!=": 6, "contains": 7, "in": 8, "contains-any": 9, "not-in": 10,
}

// is compares a field with a value.
func is(path, op string, v any) filter {
	return func(e *env) *pb.StructuredQuery_Filter {
		return &pb.StructuredQuery_Filter{FilterType: &pb.StructuredQuery_Filter_FieldFilter{FieldFilter: &pb.StructuredQuery_FieldFilter{
			Field: field(path), Op: operators[op], Value: e.value(v),
		}}}
	}
}

// unary is one of the filters IS_NAN, IS_NULL, IS_NOT_NAN, IS_NOT_NULL.
func unary(path, op string) filter {
	return func(*env) *pb.StructuredQuery_Filter {
		return &pb.StructuredQuery_Filter{FilterType: &pb.StructuredQuery_Filter_UnaryFilter{UnaryFilter: &pb.StructuredQuery_UnaryFilter{
			OperandType: &pb.StructuredQuery_UnaryFilter_Field{Field: field(path)},
			Op:          pb.StructuredQuery_UnaryFilter_Operator(pb.StructuredQuery_UnaryFilter_Operator_value[op]),
		}}}
	}
}

func composite(op pb.StructuredQuery_CompositeFilter_Operator, fs []filter) filter {
	return func(e *env) *pb.StructuredQuery_Filter {
		c := &pb.StructuredQuery_CompositeFilter{Op: op}
		for _, f := range fs {
			c.Filters = append(c.Filters, f(e))
		}
		return &pb.StructuredQuery_Filter{FilterType: &pb.StructuredQuery_Filter_CompositeFilter{CompositeFilter: c}}
	}
}

func and(fs ...filter) filter { return composite(pb.StructuredQuery_CompositeFilter_AND, fs) }
func or(fs ...filter) filter  { return composite(pb.StructuredQuery_CompositeFilter_OR, fs) }

// find runs a query: the IDs found, or an error's code.
func (e *env) find(q query) string {
	ds, err := e.documents(q)
	if err != nil {
		return codeOf(err).String()
	}
	return e.ids(ds)
}

// documents runs a query.
func (e *env) documents(q query) ([]*pb.Document, error) {
	s, err := e.pb.RunQuery(e.ctx, &pb.RunQueryRequest{Parent: e.parent(q), QueryType: &pb.RunQueryRequest_StructuredQuery{StructuredQuery: q.proto(e)}})
	if err != nil {
		return nil, err
	}
	return queried(s)
}

func (e *env) parent(q query) string {
	if q.parent == "" {
		return e.root
	}
	return e.name(q.parent)
}

// finding is a rule of one query on the documents of seed. Wanted are IDs or
// an error's code.
type finding struct {
	name string
	q    query
	want string
}

func findings(seed func(*env), rules []finding) []testCase {
	var out []testCase
	for _, r := range rules {
		out = append(out, testCase{name: r.name, run: func(e *env) {
			seed(e)
			e.equal("found", e.find(r.q), r.want)
		}})
	}
	return out
}

// seedTypes stores a document per value in v, with the value in x. The IDs are
// in no order of values.
func seedTypes(e *env) {
	at := func(year int) time.Time { return time.Date(year, 1, 1, 0, 0, 0, 0, time.UTC) }
	var ws []write
	values := m{
		"null": nil, "no": false, "yes": true,
		"nan": math.NaN(), "-inf": math.Inf(-1), "-1.5": -1.5, "0": 0, "-0.0": math.Copysign(0, -1), "1": 1, "1.0": 1.0, "1.5": 1.5, "2": 2,
		"e15": 1 << 53, "e15+1": 1<<53 + 1, "e15.0": float64(1 << 53), "max": math.MaxInt64, "max.0": math.Pow(2, 63), "inf": math.Inf(1),
		"t2020": at(2020), "t2021": at(2021),
		"s": "", "sA": "A", "sa": "a", "sab": "ab", "sTilde": "\uFF5E", "sSmile": "\U0001F600",
		"b": []byte{}, "b0": []byte{0}, "b00": []byte{0, 0}, "bff": []byte{255},
		"rA": ref("A/z"), "ra": ref("a/a"), "raab": ref("a/a/b/b"), "ra-": ref("a/a-"), "rb": ref("b/a"),
		"g1": geo{-10, 50}, "g2": geo{10, -50}, "g3": geo{10, 50},
		"l": arr{}, "l1": arr{1}, "l12": arr{1, 2}, "l2": arr{2}, "lmap": arr{m{"a": 1}},
		"v9": vector(9), "v12": vector(1, 2), "v21": vector(2, 1),
		"m": m{}, "ma1": m{"a": 1}, "ma1b1": m{"a": 1, "b": 1}, "ma2": m{"a": 2}, "mb0": m{"b": 0},
	}
	for id, x := range values {
		ws = append(ws, set("v/"+id, m{"x": x}))
	}
	e.put(append(ws, set("v/none", m{"y": 1}), set("other/1", m{"x": 1}), set("v/1/v/deep", m{"x": 1}))...)
}

const (
	numbers  = "-inf -1.5 -0.0 0 1 1.0 1.5 2 e15 e15.0 e15+1 max max.0 inf"
	afterNum = "t2020 t2021 s sA sa sab sTilde sSmile b b0 b00 bff rA ra raab ra- rb g1 g2 g3 l l1 l12 l2 lmap v9 v12 v21 m ma1 ma1b1 ma2 mb0"
	rising   = "null no yes nan " + numbers + " " + afterNum
)

func backwards(ids string) string {
	f := strings.Fields(ids)
	for i := range len(f) / 2 {
		f[i], f[len(f)-1-i] = f[len(f)-1-i], f[i]
	}
	return strings.Join(f, " ")
}

// ints are the integers from 0, n of them.
func ints(n int) arr {
	var out arr
	for i := range n {
		out = append(out, i)
	}
	return out
}

// without takes IDs out of a list.
func without(ids string, out ...string) string {
	var keep []string
	for _, id := range strings.Fields(ids) {
		if !slices.Contains(out, id) {
			keep = append(keep, id)
		}
	}
	return strings.Join(keep, " ")
}

func orderCases() []testCase {
	return findings(seedTypes, []finding{
		{"values of all types rise in order", from("v").order("x"), rising},
		{"values of all types fall in order", from("v").order("-x"), backwards(rising)},
		{"equal values fall by name if asked", from("v").where(is("x", "==", 1)).order("x", "-__name__"), "1.0 1"},
		{"without an order names rise", from("v").where(is("x", "in", arr{1.5, true, 1})), "1 1.0 1.5 yes"},
		{"an order leaves out who lacks the field", from("v").order("y"), "none"},
	})
}

func filterCases() []testCase {
	at := time.Date(2020, 1, 1, 0, 0, 0, 0, time.UTC)
	x := func(op string, v any) query { return from("v").where(is("x", op, v)) }
	return findings(seedTypes, []finding{
		{"== null by unary", from("v").where(unary("x", "IS_NULL")), "null"},
		{"!= null by unary", from("v").where(unary("x", "IS_NOT_NULL")), without(rising, "null")},
		{"== NaN by unary", from("v").where(unary("x", "IS_NAN")), "nan"},
		{"!= NaN by unary", from("v").where(unary("x", "IS_NOT_NAN")), without(rising, "null", "nan")},
		{"== true", x("==", true), "yes"},
		{"== takes an integer for a double", x("==", 1.0), "1 1.0"},
		{"== takes zeroes for one", x("==", 0), "-0.0 0"},
		{"== tells large integers apart", x("==", 1<<53+1), "e15+1"},
		{"== of a large double", x("==", float64(1<<53)), "e15 e15.0"},
		{"== of a time", x("==", at), "t2020"},
		{"== of text", x("==", "a"), "sa"},
		{"== of bytes", x("==", []byte{0}), "b0"},
		{"== of a reference", x("==", ref("a/a")), "ra"},
		{"== of a place", x("==", geo{10, 50}), "g3"},
		{"== of an array", x("==", arr{1.0, 2}), "l12"},
		{"== of a map", x("==", m{"b": 1, "a": 1.0}), "ma1b1"},
		{"== of an empty map", x("==", m{}), "m"},
		{"== of a vector", x("==", vector(1, 2)), "v12"},
		{"== below a map", from("v").where(is("x.a", "==", 1)), "ma1 ma1b1"},
		{"< of numbers", x("<", 1), "-inf -1.5 -0.0 0"},
		{"<= of numbers", x("<=", 1.0), "-inf -1.5 -0.0 0 1 1.0"},
		{"> of numbers", x(">", 2), "e15 e15.0 e15+1 max max.0 inf"},
		{">= of numbers", x(">=", 1<<53+1), "e15+1 max max.0 inf"},
		{"> of a double between integers", x(">", float64(1<<53)), "e15+1 max max.0 inf"},
		{"> of minus infinity", x(">", math.Inf(-1)), without(numbers, "-inf")},
		{"<= of infinity", x("<=", math.Inf(1)), numbers},
		{"> of text", x(">", "A"), "sa sab sTilde sSmile"},
		{">= of no text", x(">=", ""), "s sA sa sab sTilde sSmile"},
		{"< of text", x("<", "ab"), "s sA sa"},
		{"> of a time", x(">", at), "t2021"},
		{"<= of bytes", x("<=", []byte{0}), "b b0"},
		{"> of a reference", x(">", ref("a/a")), "raab ra- rb"},
		{"< of a place", x("<", geo{10, 0}), "g1 g2"},
		{"< of true", x("<", true), "no"},
		{"> of an array", x(">", arr{1}), "l12 l2 lmap"},
		{"< of a map", x("<", m{"a": 2}), "m ma1 ma1b1"},
		{"> of null", x(">", nil), ""},
		{"< of NaN", x("<", math.NaN()), ""},
		{"a range falls by its order", x(">", 1.5).order("-x"), "inf max.0 max e15+1 e15.0 e15 2"},
		{"!= of a number", x("!=", 1), without(rising, "null", "1", "1.0")},
		{"!= of text", x("!=", "a"), without(rising, "null", "sa")},
		{"!= of a map", x("!=", m{}), without(rising, "null", "m")},
		{"in", x("in", arr{1, "a", true, at, arr{1}, m{"a": 2}, math.Inf(1), ref("b/a")}), "1 1.0 inf l1 ma2 rb sa t2020 yes"},
		{"in with null and NaN finds neither", x("in", arr{1, nil, math.NaN()}), "1 1.0"},
		{"in of thirty", x("in", ints(30)), "-0.0 0 1 1.0 2"},
		{"in of more than thirty is refused", x("in", ints(31)), "InvalidArgument"},
		{"in of an empty list is refused", x("in", arr{}), "InvalidArgument"},
		{"in of no list is refused", x("in", 1), "InvalidArgument"},
		{"not-in", x("not-in", arr{1, "a", true}), without(rising, "null", "1", "1.0", "sa", "yes")},
		{"not-in with null finds nothing", x("not-in", arr{1, nil}), ""},
		{"not-in of more than ten is refused", x("not-in", arr{1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11}), "InvalidArgument"},
		{"array-contains", x("contains", 1.0), "l1 l12"},
		{"array-contains a map", x("contains", m{"a": 1}), "lmap"},
		{"array-contains-any", x("contains-any", arr{2, m{"a": 1.0}}), "l12 l2 lmap"},
		{"array-contains-any of an empty list is refused", x("contains-any", arr{}), "InvalidArgument"},
		{"and of two ranges", from("v").where(and(is("x", ">", 0), is("x", "<=", 2))), "1 1.0 1.5 2"},
		{"and of different types finds nothing", from("v").where(and(is("x", ">", 0), is("x", "<", "a"))), ""},
		{"and of one", from("v").where(and(is("x", "==", 2))), "2"},
		{"or of equalities", from("v").where(or(is("x", "==", 2), is("x", "==", "a"), unary("x", "IS_NULL"))), "2 null sa"},
		{"or with a range is in order of the field", from("v").where(or(is("x", "==", true), is("x", ">", 2))), "yes e15 e15.0 e15+1 max max.0 inf"},
		{"or finds a document once", from("v").where(or(is("x", "==", 1), is("x", "<=", 1))), "-inf -1.5 -0.0 0 1 1.0"},
		{"or in an and", from("v").where(and(is("x", ">=", 1), or(is("x", "==", 1), is("x", "==", 2)))), "1 1.0 2"},
		{"an empty or is refused", from("v").where(or()), "InvalidArgument"},
		{"two array-contains are refused", from("v").where(and(is("x", "contains", 1), is("x", "contains-any", arr{2}))), "InvalidArgument"},
		{"!= and not-in are refused", from("v").where(and(is("x", "!=", 1), is("x", "not-in", arr{2}))), "InvalidArgument"},
		{"or of in and equalities beyond thirty is refused", from("v").where(and(is("x", "in", ints(6)), is("y", "in", ints(6)))), "InvalidArgument"},
		{"not-in and or are refused", from("v").where(and(is("x", "not-in", arr{1}), or(is("y", "==", 1), is("y", "==", 2)))), "InvalidArgument"},
		{"not-in and in are refused", from("v").where(and(is("x", "not-in", arr{1}), is("y", "in", arr{1, 2}))), "InvalidArgument"},
		{"array-contains finds no null", x("contains", nil), ""},
		{"an unknown operator is refused", from("v").where(is("x", "?", 1)), "InvalidArgument"},
	})
}

// seedPages is a small collection with ties.
func seedPages(e *env) {
	e.put(
		set("p/a", m{"n": 1, "t": "x", "u": 3, "z": m{"k k": 1}}), set("p/b", m{"n": 2, "t": "x", "u": 2}), set("p/c", m{"n": 2, "t": "y"}),
		set("p/d", m{"n": 2, "t": "x", "z": m{"k k": 3}}), set("p/e", m{"n": 3, "t": "y", "u": 1}), set("p/f", m{"t": "x", "z": m{"k k": 2}}),
		set("p/b/p/a", m{"n": 4}), set("q/a/p/z", m{"n": 2}), set("p/b/r/1", m{"n": 1}),
	)
}

func cursorCases() []testCase {
	n := from("p").order("n")
	down := from("p").order("-n")
	name := from("p").order("__name__")
	return findings(seedPages, []finding{
		{"start at", n.startAt(2), "b c d e"},
		{"start after", n.startAfter(2), "e"},
		{"end at", n.endAt(2), "a b c d"},
		{"end before", n.endBefore(2), "a"},
		{"start and end", n.startAt(2).endAt(2), "b c d"},
		{"start after end", n.startAt(3).endAt(1), ""},
		{"start at in a falling order", down.startAt(2), "d c b a"},
		{"start after in a falling order", down.startAfter(2), "a"},
		{"end at in a falling order", down.endAt(2), "e d c b"},
		{"end before in a falling order", down.endBefore(2), "e"},
		{"a cursor of another type", n.startAt("text"), ""},
		{"a cursor before all types", n.startAt(nil), "a b c d e"},
		{"a cursor of an absent value", n.startAt(2.5), "e"},
		{"a cursor with the name", from("p").order("n", "__name__").startAfter(2, ref("p/b")), "c d e"},
		{"a cursor with the name in a falling order", from("p").order("-n", "-__name__").startAfter(2, ref("p/c")), "b a"},
		{"a cursor with the name against the order", from("p").order("n", "-__name__").startAt(2, ref("p/c")).endAt(2, ref("p/b")), "c b"},
		{"a cursor with more than the order says is refused", n.startAt(2, ref("p/c")), "InvalidArgument"},
		{"a cursor without an order is refused", from("p").startAt(ref("p/c")), "InvalidArgument"},
		{"a cursor by name", name.startAfter(ref("p/c")), "d e f"},
		{"a cursor by a name that is not there", name.startAt(ref("p/bb")).endBefore(ref("p/e")), "c d"},
		{"a cursor by name in a falling order", from("p").order("-__name__").startAt(ref("p/c")), "c b a"},
		{"a cursor of two fields", from("p").order("t", "-n").startAfter("x", 2), "a e c"},
		{"a name is compared", from("p").where(is("__name__", "==", ref("p/c"))), "c"},
		{"names in a range", from("p").where(and(is("__name__", ">", ref("p/a")), is("__name__", "<=", ref("p/d")))), "b c d"},
		{"names in a range fall", from("p").where(is("__name__", ">=", ref("p/d"))).order("-__name__"), "f e d"},
		{"names in a list", from("p").where(is("__name__", "in", arr{ref("p/e"), ref("p/a"), ref("p/zz")})), "a e"},
		{"names but one", from("p").where(is("__name__", "!=", ref("p/c"))), "a b d e f"},
		{"names not in a list", from("p").where(is("__name__", "not-in", arr{ref("p/c"), ref("p/a")})), "b d e f"},
		{"names in a range and an equality", from("p").where(and(is("__name__", ">", ref("p/a")), is("t", "==", "x"))), "b d f"},
		{"a name compared with text is refused", from("p").where(is("__name__", "==", "c")), "InvalidArgument"},
		{"limit", n.limit(2), "a b"},
		{"limit of nothing finds nothing", n.limit(0), ""},
		{"limit less than nothing is refused", n.limit(-1), "InvalidArgument"},
		{"offset", n.skip(1), "b c d e"},
		{"offset beyond the end", n.skip(9), ""},
		{"offset less than nothing is refused", n.skip(-1), "InvalidArgument"},
		{"offset, limit and cursor", n.startAt(2).skip(1).limit(2), "c d"},
		{"two orders", from("p").order("t", "-n"), "d b a e c"},
		{"an equality and an order", from("p").where(is("n", "==", 2)).order("-t"), "c d b"},
		{"an equality and another's range", from("p").where(and(is("t", "==", "x"), is("n", ">", 1))), "b d"},
		{"ranges of two fields are in the order of the fields' names", from("p").where(and(is("u", ">", 0), is("n", ">", 0))), "a b e"},
		{"ranges of two fields are in the order of the fields' names, however given", from("p").where(and(is("n", ">", 0), is("u", ">", 0))), "a b e"},
		{"ranges of two fields are in the order asked for", from("p").where(and(is("n", ">", 0), is("u", ">", 0))).order("u"), "e b a"},
		{"a range and another field's order", from("p").where(is("n", ">", 1)).order("t"), "b d c e"},
		{"a range and an order against it", from("p").where(is("n", ">", 1)).order("t", "-n"), "d b e c"},
		{"an order twice is refused", from("p").order("n", "-n"), "InvalidArgument"},
		{"an order after the name is refused", from("p").order("__name__", "n"), "InvalidArgument"},
		{"an order of an equality's field", from("p").where(is("n", "==", 2)).order("n", "t"), "b d c"},
		{"a cursor's reference to another collection", from("p").order("__name__").startAt(ref("q/a")), ""},
		{"a cursor by name takes no text", from("p").order("__name__").startAt("c"), "InvalidArgument"},
		{"a name compared with one elsewhere", from("p").where(is("__name__", ">", ref("q/a"))), ""},
		{"a name of a collection is refused", from("p").where(is("__name__", "==", ref("p"))), "InvalidArgument"},
		{"a cursor of nothing", from("p").order("n").startAt(), "a b c d e"},
		{"a nested and quoted field", from("p").order("-z.`k k`"), "d f a"},
		{"a nested and quoted field compared", from("p").where(is("z.`k k`", ">=", 2)), "f d"},
		{"a bad field is refused", from("p").order("z..k"), "InvalidArgument"},
		{"a collection below a document", from("p").below("p/b"), "a"},
		{"a collection at every depth", group("p"), "a b a c d e f z"},
		{"a collection at every depth below a document", group("p").below("p/b"), "a"},
		{"a collection at every depth, filtered", group("p").where(is("n", ">=", 2)), "b c d z e a"},
		{"a collection at every depth, by name", group("p").where(and(is("__name__", ">=", ref("p/b")), is("__name__", "<", ref("p/c")))), "b a"},
		{"all collections below a document", query{all: true, parent: "p/b"}, "a 1"},
		{"all collections", query{all: true}.where(is("__name__", ">=", ref("p/f"))), "f z"},
	})
}

func requestCases() []testCase {
	return []testCase{
		{name: "select returns some fields", run: func(e *env) {
			seedPages(e)
			for fields, want := range map[string]string{"n": "{n:1}", "t,z.`k k`": "{t:\"x\" z:{k k:1}}", "__name__": "{}", "none": "{}"} {
				e.equal(fields, e.show(e.first(from("p").order("n").selecting(strings.Split(fields, ",")...))), want)
			}
		}},
		{name: "select of nothing returns everything", run: func(e *env) {
			seedPages(e)
			e.equal("document", e.show(e.first(from("p").order("n").selecting())), "{n:1 t:\"x\" u:3 z:{k k:1}}")
		}},
		{name: "a query of nothing tells its time", run: func(e *env) {
			s, err := e.pb.RunQuery(e.ctx, &pb.RunQueryRequest{Parent: e.root, QueryType: &pb.RunQueryRequest_StructuredQuery{StructuredQuery: from("p").proto(e)}})
			e.must("query", err)
			rs, err := all(s)
			e.must("query", err)
			if len(rs) != 1 || rs[0].GetReadTime() == nil || rs[0].GetDocument() != nil {
				e.errorf("got %v", rs)
			}
		}},
		{name: "a query tells how many it skipped", run: func(e *env) {
			seedPages(e)
			s, err := e.pb.RunQuery(e.ctx, &pb.RunQueryRequest{Parent: e.root, QueryType: &pb.RunQueryRequest_StructuredQuery{StructuredQuery: from("p").order("n").skip(3).proto(e)}})
			e.must("query", err)
			rs, err := all(s)
			e.must("query", err)
			skipped := int32(0)
			for _, r := range rs {
				skipped += r.GetSkippedResults()
			}
			e.equal("skipped", skipped, 3)
		}},
		{name: "a query's parent is a document or the root", run: func(e *env) {
			e.equal("below a collection", e.find(from("p").below("c")), "InvalidArgument")
		}},
	}
}

func (e *env) first(q query) *pb.Document {
	s, err := e.pb.RunQuery(e.ctx, &pb.RunQueryRequest{Parent: e.root, QueryType: &pb.RunQueryRequest_StructuredQuery{StructuredQuery: q.proto(e)}})
	e.must("query", err)
	r, err := s.Recv()
	e.must("query", err)
	return r.GetDocument()
}

// countRule is a rule of COUNT over seedPages.
type countRule struct {
	name string
	q    query
	upTo int64
	want int
}

func countCases() []testCase {
	named := func(lo, hi string) filter {
		return and(is("__name__", ">=", ref("p/"+lo)), is("__name__", "<", ref("p/"+hi)))
	}
	var out []testCase
	for _, r := range []countRule{
		{"count of all", from("p"), 0, 6},
		{"count of nothing", from("none"), 0, 0},
		{"count of a range of names", from("p").where(named("b", "e")), 0, 3},
		{"count of a range of names and in", from("p").where(and(named("b", "f"), is("n", "in", arr{1, 2, 3}))), 0, 4},
		{"count with a limit", from("p").limit(4), 0, 4},
		{"count with an offset", from("p").skip(4), 0, 2},
		{"count up to", from("p"), 5, 5},
		{"count leaves out who lacks the order's field", from("p").order("n"), 0, 5},
		{"count with a cursor", from("p").order("n").startAt(2).endAt(2), 0, 3},
		{"count with or", from("p").where(or(is("n", "==", 2), is("t", "==", "x"))), 0, 5},
		{"count at every depth", group("p"), 0, 8},
		{"count of an inequality", from("p").where(is("n", ">", 1)), 0, 4},
	} {
		out = append(out, testCase{name: r.name, run: func(e *env) {
			seedPages(e)
			n, err := e.count(r.q, r.upTo)
			e.must("count", err)
			e.equal("count", n, r.want)
		}})
	}
	return append(out,
		testCase{name: "count refuses what a query refuses", run: func(e *env) {
			_, err := e.count(from("p").where(is("n", "in", arr{})), 0)
			e.code("count", err, codes.InvalidArgument)
		}},
		testCase{name: "several aggregations have their names", run: func(e *env) {
			seedPages(e)
			q := e.aggregation(from("p"), 0)
			q.StructuredAggregationQuery.Aggregations = append(q.StructuredAggregationQuery.Aggregations, aggregation("two", 2), aggregation("", 3))
			r, err := e.aggregate(e.root, q)
			e.must("aggregate", err)
			e.equal("results", e.show(&pb.Document{Fields: r}), "{field_1:3 n:6 two:2}")
		}},
	)
}

func aggregation(alias string, upTo int64) *pb.StructuredAggregationQuery_Aggregation {
	c := &pb.StructuredAggregationQuery_Aggregation_Count{}
	if upTo > 0 {
		c.UpTo = wrapperspb.Int64(upTo)
	}
	return &pb.StructuredAggregationQuery_Aggregation{Alias: alias, Operator: &pb.StructuredAggregationQuery_Aggregation_Count_{Count: c}}
}

func (e *env) aggregation(q query, upTo int64) *pb.RunAggregationQueryRequest_StructuredAggregationQuery {
	return &pb.RunAggregationQueryRequest_StructuredAggregationQuery{StructuredAggregationQuery: &pb.StructuredAggregationQuery{
		QueryType:    &pb.StructuredAggregationQuery_StructuredQuery{StructuredQuery: q.proto(e)},
		Aggregations: []*pb.StructuredAggregationQuery_Aggregation{aggregation("n", upTo)},
	}}
}

func (e *env) aggregate(parent string, q *pb.RunAggregationQueryRequest_StructuredAggregationQuery) (map[string]*pb.Value, error) {
	s, err := e.pb.RunAggregationQuery(e.ctx, &pb.RunAggregationQueryRequest{Parent: parent, QueryType: q})
	if err != nil {
		return nil, err
	}
	rs, err := all(s)
	if err != nil {
		return nil, err
	}
	return rs[0].GetResult().GetAggregateFields(), nil
}

func (e *env) count(q query, upTo int64) (int64, error) {
	fields, err := e.aggregate(e.parent(q), e.aggregation(q, upTo))
	return fields["n"].GetIntegerValue(), err
}
