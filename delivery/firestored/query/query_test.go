package query_test

import (
	"math"
	"slices"
	"testing"

	pb "cloud.google.com/go/firestore/apiv1/firestorepb"
	"google.golang.org/protobuf/types/known/timestamppb"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"postrider/delivery/firestored/query"
)

var samples = map[string]any{
	"arr": list{1, 2}, "arrnull": list{nil}, "arrnan": list{math.NaN()}, "earr": list{},
	"b": []byte("x"), "big": 1<<53 + 1, "bigd": 0x1p53, "emap": object{}, "f": false, "geo": geo{1, 2},
	"inf": math.Inf(1), "map": object{"g": 1}, "mapnan": object{"g": math.NaN()}, "nan": math.NaN(),
	"negzero": math.Copysign(0, -1), "null": nil, "one": 1, "oned": 1.0, "ref": named("c/one"), "s": "s",
	"t": true, "time": stamp{1, 0}, "two": 2, "vec": vec{1, 2}, "vec3": vec{0, 2, 2}, "zero": 0,
}

// Answers of ordered by f, as one with an inequality is.
var (
	notNull = []string{
		"f", "t", "nan", "negzero", "zero", "one", "oned", "two", "bigd", "big", "inf", "time", "s", "b", "ref", "geo",
		"earr", "arrnull", "arrnan", "arr", "vec", "vec3", "emap", "mapnan", "map",
	}
	nothing = []string{}
)

func without(from []string, ids ...string) []string {
	return slices.DeleteFunc(slices.Clone(from), func(id string) bool { return slices.Contains(ids, id) })
}

func TestFilters(t *testing.T) {
	for name, c := range map[string]struct {
		where *pb.StructuredQuery_Filter
		want  []string
	}{
		"== compares numbers of both types":    {is("f", "==", 1), []string{"one", "oned"}},
		"== finds -0 by 0":                     {is("f", "==", 0), []string{"negzero", "zero"}},
		"== does not round integers":           {is("f", "==", 0x1p53), []string{"bigd"}},
		"== null finds nothing":                {is("f", "==", nil), nothing},
		"== NaN finds nothing":                 {is("f", "==", math.NaN()), nothing},
		"== compares whole arrays":             {is("f", "==", list{1.0, 2}), []string{"arr"}},
		"== finds NaN in a map":                {is("f", "==", object{"g": math.NaN()}), []string{"mapnan"}},
		"== finds null in an array":            {is("f", "==", list{nil}), []string{"arrnull"}},
		"== finds vectors":                     {is("f", "==", vec{1, 2}), []string{"vec"}},
		"IS_NULL":                              {test("f", "IS_NULL"), []string{"null"}},
		"IS_NAN":                               {test("f", "IS_NAN"), []string{"nan"}},
		"IS_NOT_NULL wants the field to exist": {test("f", "IS_NOT_NULL"), notNull},
		"IS_NOT_NAN excludes null":             {test("f", "IS_NOT_NAN"), without(notNull, "nan")},
		"in":                                   {is("f", "in", list{1, "s", list{1, 2}}), []string{"arr", "one", "oned", "s"}},
		"in passes null and NaN over":          {is("f", "in", list{nil, 1, math.NaN()}), []string{"one", "oned"}},
		"in of null alone finds nothing":       {is("f", "in", list{nil}), nothing},
		"!= excludes null and equal values":    {is("f", "!=", 1.0), without(notNull, "one", "oned")},
		"!= null finds nothing":                {is("f", "!=", nil), nothing},
		"!= NaN excludes null alone":           {is("f", "!=", math.NaN()), notNull},
		"not-in":                               {is("f", "not-in", list{1, "s"}), without(notNull, "one", "oned", "s")},
		"not-in with null finds nothing":       {is("f", "not-in", list{1, nil}), nothing},
		"not-in with NaN excludes the others":  {is("f", "not-in", list{1, math.NaN()}), without(notNull, "one", "oned")},
		"< stays in its type, without NaN":     {is("f", "<", 1), []string{"negzero", "zero"}},
		"<=":                                   {is("f", "<=", 1), []string{"negzero", "zero", "one", "oned"}},
		">":                                    {is("f", ">", 1), []string{"two", "bigd", "big", "inf"}},
		">=":                                   {is("f", ">=", 2), []string{"two", "bigd", "big", "inf"}},
		"> tells 2^53 and 2^53+1 apart":        {is("f", ">", 0x1p53), []string{"big", "inf"}},
		">= NaN finds nothing":                 {is("f", ">=", math.NaN()), nothing},
		"<= null finds nothing":                {is("f", "<=", nil), nothing},
		"> map without vectors":                {is("f", ">", object{}), []string{"mapnan", "map"}},
		"> array":                              {is("f", ">", list{}), []string{"arrnull", "arrnan", "arr"}},
		">= vector by dimension":               {is("f", ">=", vec{1, 2}), []string{"vec", "vec3"}},
		"> boolean":                            {is("f", ">", false), []string{"t"}},
		"array-contains":                       {is("f", "has", 2.0), []string{"arr"}},
		"array-contains null finds nothing":    {is("f", "has", nil), nothing},
		"array-contains NaN finds nothing":     {is("f", "has", math.NaN()), nothing},
		"array-contains-any":                   {is("f", "has-any", list{7, 1, nil}), []string{"arr"}},
		"array-contains-any of null alone":     {is("f", "has-any", list{nil}), nothing},
		"a nested field":                       {is("f.g", "==", 1), []string{"map"}},
		"a vector has no fields":               {is("f.value", ">=", list{}), nothing},
		"and":                                  {all(is("f", ">", 0), is("f", "<", 2)), []string{"one", "oned"}},
		"and of different types":               {all(is("f", ">", 0), is("f", "<", "z")), nothing},
		"or":                                   {either(is("f", "==", 1), is("f", "==", "s")), []string{"one", "oned", "s"}},
		"or of one":                            {either(is("f", "==", "s")), []string{"s"}},
		"or in and":                            {all(is("k", "==", 1), either(is("f", "==", 2), is("z", "==", 1))), []string{"missing", "two"}},
		"and in or":                            {either(all(is("f", "==", 1), is("k", "==", 2)), is("f", "==", 2)), []string{"two"}},
		"an inequality in or wants the field to exist": {either(is("f", ">", 2), is("k", "==", 1)), append([]string{"null"}, notNull...)},
		"__name__ ==":                       {is("__name__", "==", named("c/s")), []string{"s"}},
		"__name__ == in another collection": {is("__name__", "==", named("d/s")), nothing},
		"__name__ !=":                       {all(is("__name__", "!=", named("c/s")), is("f", "in", list{"s", 2})), []string{"two"}},
		"__name__ in":                       {is("__name__", "in", list{named("c/two"), named("c/s"), named("c/s")}), []string{"s", "two"}},
		"__name__ not-in":                   {all(is("__name__", "not-in", list{named("c/one")}), is("f", "==", 1)), []string{"oned"}},
		"__name__ range":                    {all(is("__name__", ">", named("c/t")), is("__name__", "<=", named("c/vec"))), []string{"time", "two", "vec"}},
		"__name__ range of deeper names":    {all(is("__name__", ">", named("c/one/x/y")), is("__name__", "<", named("c/ref/x/y"))), []string{"oned", "ref"}},
		"__name__ by its quoted name":       {is("`__name__`", "==", named("c/s")), []string{"s"}},
	} {
		same(t, name, run(parse(t, &pb.StructuredQuery{Where: c.where}), collection(samples)), c.want)
	}
}

// The name breaks ties, in the direction of the last order.
func TestOrders(t *testing.T) {
	documents := []*pb.Document{
		document("c/a", object{"x": 1, "y": 2, "m": object{"n": 1}}),
		document("c/b", object{"x": 1, "y": 1}),
		document("c/c", object{"x": 2, "y": 1, "m": object{"n": 0}}),
		document("c/d", object{"x": 2.0, "y": nil}),
		document("c/e", object{"x": "s"}),
		document("c/f", object{"y": 2}),
		document("c/__id10__", object{}),
		document("c/__id9__", object{}),
	}
	for name, c := range map[string]struct {
		where *pb.StructuredQuery_Filter
		order []*pb.StructuredQuery_Order
		want  []string
	}{
		"names":                        {nil, nil, []string{"__id9__", "__id10__", "a", "b", "c", "d", "e", "f"}},
		"names descending":             {nil, by("-__name__"), []string{"f", "e", "d", "c", "b", "a", "__id10__", "__id9__"}},
		"ascending":                    {nil, by("x"), []string{"a", "b", "c", "d", "e"}},
		"descending":                   {nil, by("-x"), []string{"e", "d", "c", "b", "a"}},
		"several":                      {nil, by("x", "-y"), []string{"a", "b", "c", "d"}},
		"name after the field":         {nil, by("-x", "__name__"), []string{"e", "c", "d", "a", "b"}},
		"last one directs the name":    {nil, by("-x", "y"), []string{"d", "c", "b", "a"}},
		"nested":                       {nil, by("m.n"), []string{"c", "a"}},
		"implied":                      {is("y", ">", 0), nil, []string{"b", "c", "a", "f"}},
		"implied after given":          {is("y", ">", 0), by("-x"), []string{"c", "a", "b"}},
		"implied ones are sorted":      {all(is("y", ">", 0), is("x", ">", 0)), nil, []string{"b", "a", "c"}},
		"names are implied last":       {all(is("__name__", ">", named("c/a")), is("y", ">", 0)), nil, []string{"b", "c", "f"}},
		"equality implies no order":    {all(is("x", "==", 1), is("y", "in", list{1, 2})), nil, []string{"a", "b"}},
		"given field with an equality": {is("y", "in", list{1, 2}), by("-y"), []string{"f", "a", "c", "b"}},
		"IS_NOT_NULL implies an order": {test("y", "IS_NOT_NULL"), nil, []string{"b", "c", "a", "f"}},
		"not equal implies an order":   {is("y", "!=", 7), by("-x"), []string{"c", "a", "b"}},
	} {
		same(t, name, run(parse(t, &pb.StructuredQuery{Where: c.where, OrderBy: c.order}), documents), c.want)
	}
}

func TestOrderIsByNameOnlyWhereNothingElseIsSorted(t *testing.T) {
	for name, c := range map[string]struct {
		q              *pb.StructuredQuery
		descending, ok bool
	}{
		"nothing":        {&pb.StructuredQuery{}, false, true},
		"equality":       {&pb.StructuredQuery{Where: is("f", "==", 1)}, false, true},
		"descending":     {&pb.StructuredQuery{OrderBy: by("-__name__")}, true, true},
		"range of names": {&pb.StructuredQuery{Where: is("__name__", ">", named("c/a"))}, false, true},
		"field":          {&pb.StructuredQuery{OrderBy: by("f")}, false, false},
		"inequality":     {&pb.StructuredQuery{Where: is("f", "!=", 1)}, false, false},
	} {
		if descending, ok := parse(t, c.q).ByName(); ok != c.ok || ok && descending != c.descending {
			t.Errorf("%s: ByName() = %v, %v", name, descending, ok)
		}
	}
}

func TestCursors(t *testing.T) {
	documents := []*pb.Document{
		document("c/a", object{"x": 1, "y": 1}),
		document("c/b", object{"x": 2, "y": 1}),
		document("c/c", object{"x": 2, "y": 2}),
		document("c/d", object{"x": 3, "y": 1}),
	}
	for name, c := range map[string]struct {
		order      []*pb.StructuredQuery_Order
		start, end *pb.Cursor
		want       []string
	}{
		"start before":              {by("x"), before(2), nil, []string{"b", "c", "d"}},
		"start after a prefix":      {by("x", "y"), after(2), nil, []string{"d"}},
		"start before a prefix":     {by("x", "y"), before(2), nil, []string{"b", "c", "d"}},
		"start after all":           {by("x", "y"), after(2, 1), nil, []string{"c", "d"}},
		"start after name":          {by("x", "__name__"), after(2, named("c/b")), nil, []string{"c", "d"}},
		"end after":                 {by("x"), nil, after(2), []string{"a", "b", "c"}},
		"end before":                {by("x"), nil, before(2), []string{"a"}},
		"both":                      {by("x", "y"), before(2, 2), after(2, 2), []string{"c"}},
		"crossed":                   {by("x"), before(3), after(1), nothing},
		"descending":                {by("-x"), before(2), after(2), []string{"c", "b"}},
		"mixed directions":          {by("-x", "y"), after(2, 1), nil, []string{"c", "a"}},
		"another type":              {by("x"), before("s"), nil, nothing},
		"null":                      {by("x"), before(nil), before(3), []string{"a", "b", "c"}},
		"names":                     {by("__name__"), before(named("c/b")), before(named("c/d")), []string{"b", "c"}},
		"names descending":          {by("-__name__"), before(named("c/c")), before(named("c/a")), []string{"c", "b"}},
		"names elsewhere":           {by("__name__"), before(named("c/b/x/y")), after(named("c/c/x/y")), []string{"c"}},
		"before nothing":            {nil, before(), after(), []string{"a", "b", "c", "d"}},
		"start after everything":    {nil, after(), nil, nothing},
		"end before everything":     {nil, nil, before(), nothing},
		"a prefix of none, by name": {by("__name__"), after(), nil, nothing},
	} {
		q := &pb.StructuredQuery{OrderBy: c.order, StartAt: c.start, EndAt: c.end}
		same(t, name, run(parse(t, q), documents), c.want)
	}
}

func TestScope(t *testing.T) {
	names := []string{
		"c/a", "c/a/s/b", "c/a/s/b/s/c", "d/a", "d/a/s/x", "c2/a", "s/a",
	}
	for name, c := range map[string]struct {
		parent string
		from   *pb.StructuredQuery_CollectionSelector
		want   []string
	}{
		"collection":           {root, &pb.StructuredQuery_CollectionSelector{CollectionId: "c"}, []string{"c/a"}},
		"below a document":     {root + "/c/a", &pb.StructuredQuery_CollectionSelector{CollectionId: "s"}, []string{"c/a/s/b"}},
		"group":                {root, &pb.StructuredQuery_CollectionSelector{CollectionId: "s", AllDescendants: true}, []string{"c/a/s/b", "c/a/s/b/s/c", "d/a/s/x", "s/a"}},
		"group below":          {root + "/c/a", &pb.StructuredQuery_CollectionSelector{CollectionId: "s", AllDescendants: true}, []string{"c/a/s/b", "c/a/s/b/s/c"}},
		"kindless":             {root, &pb.StructuredQuery_CollectionSelector{}, []string{"c/a", "d/a", "c2/a", "s/a"}},
		"no from":              {root, nil, []string{"c/a", "d/a", "c2/a", "s/a"}},
		"everything":           {root, &pb.StructuredQuery_CollectionSelector{AllDescendants: true}, names},
		"everything below":     {root + "/c/a", &pb.StructuredQuery_CollectionSelector{AllDescendants: true}, []string{"c/a/s/b", "c/a/s/b/s/c"}},
		"not another database": {"projects/p/databases/d2/documents", &pb.StructuredQuery_CollectionSelector{CollectionId: "c"}, nothing},
	} {
		q := &pb.StructuredQuery{}
		if c.from != nil {
			q.From = append(q.From, c.from)
		}
		p, err := query.Parse(c.parent, q)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		want := query.Scope{Parent: c.parent, Collection: c.from.GetCollectionId(), AllDescendants: c.from.GetAllDescendants()}
		if p.Scope() != want {
			t.Errorf("%s: %+v, want %+v", name, p.Scope(), want)
		}
		got := []string{}
		for _, n := range names {
			if p.Scope().Contains(root + "/" + n) {
				got = append(got, n)
			}
		}
		same(t, name, got, c.want)
	}
	if (query.Scope{Parent: root, Collection: "c"}).Contains(root) {
		t.Error("the root of all documents is a document")
	}
}

func TestLimitAndOffset(t *testing.T) {
	q := parse(t, &pb.StructuredQuery{})
	if n, ok := q.Limit(); n != 0 || ok || q.Offset() != 0 {
		t.Errorf("none: %d %v %d", n, ok, q.Offset())
	}
	q = parse(t, &pb.StructuredQuery{Limit: wrapperspb.Int32(0), Offset: 3})
	if n, ok := q.Limit(); n != 0 || !ok || q.Offset() != 3 {
		t.Errorf("zero: %d %v %d", n, ok, q.Offset())
	}
	q = parse(t, &pb.StructuredQuery{Limit: wrapperspb.Int32(7)})
	if n, ok := q.Limit(); n != 7 || !ok {
		t.Errorf("seven: %d %v", n, ok)
	}
}

func TestProjection(t *testing.T) {
	d := document("c/a", object{"a": 1, "m": object{"x": 1, "y": object{"z": 2}}, "s": "t", "v": vec{1}})
	d.CreateTime, d.UpdateTime = &timestamppb.Timestamp{Seconds: 1}, &timestamppb.Timestamp{Seconds: 2}
	for name, c := range map[string]struct {
		paths []string
		want  object
	}{
		"an empty list selects all":     {[]string{}, object{"a": 1, "m": object{"x": 1, "y": object{"z": 2}}, "s": "t", "v": vec{1}}},
		"the name alone":                {[]string{"__name__"}, object{}},
		"the name and a field":          {[]string{"__name__", "a"}, object{"a": 1}},
		"nested":                        {[]string{"m.y.z", "a"}, object{"a": 1, "m": object{"y": object{"z": 2}}}},
		"two of one map":                {[]string{"m.y", "m.x"}, object{"m": object{"x": 1, "y": object{"z": 2}}}},
		"a map and a part of it":        {[]string{"m", "m.x"}, object{"m": object{"x": 1, "y": object{"z": 2}}}},
		"a part of a map and the map":   {[]string{"m.x", "m"}, object{"m": object{"x": 1, "y": object{"z": 2}}}},
		"twice":                         {[]string{"m.x", "m.x"}, object{"m": object{"x": 1}}},
		"missing":                       {[]string{"q", "m.q", "m.x.q", "a.q", "s.q"}, object{}},
		"a vector has no parts":         {[]string{"v.value"}, object{}},
		"quoted is the same as without": {[]string{"`m`.`x`"}, object{"m": object{"x": 1}}},
	} {
		q := &pb.StructuredQuery{Select: &pb.StructuredQuery_Projection{}}
		for _, p := range c.paths {
			q.Select.Fields = append(q.Select.Fields, at(p))
		}
		got := parse(t, q).Project(d)
		if query.Compare(&pb.Value{ValueType: &pb.Value_MapValue{MapValue: &pb.MapValue{Fields: got.Fields}}}, val(c.want)) != 0 {
			t.Errorf("%s: %v", name, got.Fields)
		}
		if got.Name != d.Name || got.CreateTime != d.CreateTime || got.UpdateTime != d.UpdateTime {
			t.Errorf("%s: name or times are lost: %v", name, got)
		}
	}
	if parse(t, &pb.StructuredQuery{}).Project(d) != d {
		t.Error("a query without a projection copies the document")
	}
}
