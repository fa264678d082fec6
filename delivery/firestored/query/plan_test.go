package query_test

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	pb "cloud.google.com/go/firestore/apiv1/firestorepb"

	"postrider/delivery/firestored/query"
)

// span writes a range as in "[a, c)".
func span(from, to query.Bound) string {
	left, right := "[", "]"
	if from.Open || from.Unbounded {
		left = "("
	}
	if to.Open || to.Unbounded {
		right = ")"
	}
	short := func(name string) string { return name[min(len(root+"/c/"), len(name)):] }
	return left + short(from.Name) + ", " + short(to.Name) + right
}

func equalities(q *query.Query) string {
	s := ""
	for _, e := range q.Equal() {
		s += fmt.Sprintf("%s%q ", e.Path, e.Keys)
	}
	return s
}

func k(v any) string { return fmt.Sprintf("%q", query.Key(val(v))) }

func TestPlans(t *testing.T) {
	a, b, c, d := named("c/a"), named("c/b"), named("c/c"), named("c/d")
	name := func(op string, v any) *pb.StructuredQuery_Filter { return is("__name__", op, v) }
	for what, c := range map[string]struct {
		q     *pb.StructuredQuery
		names string
		equal string
		exact bool
	}{
		"everything":                       {&pb.StructuredQuery{}, "(, )", "", true},
		"descending":                       {&pb.StructuredQuery{OrderBy: by("-__name__")}, "(, )", "", true},
		"range of names":                   {where(all(name(">=", a), name("<", c))), "[a, c)", "", true},
		"the narrower one counts":          {where(all(name(">=", a), name(">", a), name(">=", a), name("<=", d), name("<", d), name("<=", d))), "(a, d)", "", true},
		"nested ands":                      {where(all(name(">", a), all(name(">", b), name("<", d)))), "(b, d)", "", true},
		"one name":                         {where(name("==", b)), "[b, b]", "", true},
		"two names at once":                {where(all(name("==", b), name("==", a))), "[b, a]", "", true},
		"one of names":                     {where(name("in", list{c, a, b})), "[a, c]", "", false},
		"one of one name":                  {where(name("in", list{b, b})), "[b, b]", "", true},
		"not a name":                       {where(name("!=", b)), "(, )", "", false},
		"names in or":                      {where(either(name("==", a), name("==", b))), "(, )", "", false},
		"or of one is that":                {where(either(name("==", a))), "[a, a]", "", true},
		"equality":                         {where(is("f", "==", 1)), "(, )", "f[" + k(1) + "] ", true},
		"equality in a range of names":     {where(all(name(">", a), is("d.s", "in", list{"x", "y"}))), "(a, )", "d.s[" + k("x") + " " + k("y") + "] ", true},
		"equal values count once":          {where(is("f", "in", list{1, 1.0, 2, nil})), "(, )", "f[" + k(1) + " " + k(2) + "] ", true},
		"null":                             {where(test("f", "IS_NULL")), "(, )", "f[" + k(nil) + "] ", true},
		"NaN":                              {where(test("f", "IS_NAN")), "(, )", "f[" + k(math.NaN()) + "] ", true},
		"== null has no keys":              {where(is("f", "==", nil)), "(, )", "f[] ", true},
		"quoted paths are made alike":      {where(is("`d`.`s`", "==", 1)), "(, )", "d.s[" + k(1) + "] ", true},
		"quoted where they must be":        {where(is("`a b`.`1`.`\\\\\\``", "==", 1)), "(, )", "`a b`.`1`.`\\\\\\``[" + k(1) + "] ", true},
		"two equalities":                   {where(all(is("f", "==", 1), is("g", "==", 2))), "(, )", "f[" + k(1) + "] g[" + k(2) + "] ", false},
		"equality and more":                {where(all(is("f", "==", 1), is("g", ">", 2))), "(, )", "f[" + k(1) + "] ", false},
		"equality in or":                   {where(either(is("f", "==", 1), is("f", "==", 2))), "(, )", "", false},
		"range":                            {where(is("f", ">", 1)), "(, )", "", false},
		"not equal":                        {where(is("f", "!=", 1)), "(, )", "", false},
		"not null":                         {where(test("f", "IS_NOT_NULL")), "(, )", "", false},
		"array":                            {where(is("f", "has", 1)), "(, )", "", false},
		"order by a field":                 {&pb.StructuredQuery{OrderBy: by("f")}, "(, )", "", false},
		"order by the equal field":         {&pb.StructuredQuery{Where: is("f", "==", 1), OrderBy: by("f")}, "(, )", "f[" + k(1) + "] ", true},
		"order by another field":           {&pb.StructuredQuery{Where: is("f", "==", 1), OrderBy: by("g")}, "(, )", "f[" + k(1) + "] ", false},
		"cursors":                          {&pb.StructuredQuery{OrderBy: by("__name__"), StartAt: after(a), EndAt: before(d)}, "(a, d)", "", true},
		"cursors with their names":         {&pb.StructuredQuery{OrderBy: by("__name__"), StartAt: before(a), EndAt: after(d)}, "[a, d]", "", true},
		"cursors descending":               {&pb.StructuredQuery{OrderBy: by("-__name__"), StartAt: after(d), EndAt: after(a)}, "[a, d)", "", true},
		"cursors descending, end open":     {&pb.StructuredQuery{OrderBy: by("-__name__"), StartAt: before(d), EndAt: before(a)}, "(a, d]", "", true},
		"cursors and filters":              {&pb.StructuredQuery{Where: name("<", d), OrderBy: by("__name__"), StartAt: after(b), EndAt: after(d)}, "(b, d)", "", true},
		"cursors and an equality":          {&pb.StructuredQuery{Where: is("f", "==", 1), OrderBy: by("__name__"), StartAt: after(b)}, "(b, )", "f[" + k(1) + "] ", true},
		"cursors of a field":               {&pb.StructuredQuery{OrderBy: by("f", "__name__"), StartAt: after(1, b)}, "(, )", "", false},
		"cursor of the equal field":        {&pb.StructuredQuery{Where: is("f", "==", 1), OrderBy: by("f", "__name__"), StartAt: after(1, b)}, "(, )", "f[" + k(1) + "] ", false},
		"cursor after everything":          {&pb.StructuredQuery{StartAt: after()}, "(, )", "", false},
		"names and the order of a field":   {&pb.StructuredQuery{Where: name(">", b), OrderBy: by("f")}, "(b, )", "", false},
		"equality and inequality together": {where(all(is("f", "==", 1), is("f", ">", 0))), "(, )", "f[" + k(1) + "] ", false},
	} {
		q := parse(t, c.q)
		if got := span(q.Names()); got != c.names {
			t.Errorf("%s: names %s, want %s", what, got, c.names)
		}
		if got := equalities(q); got != c.equal {
			t.Errorf("%s: equal %s, want %s", what, got, c.equal)
		}
		if q.Exact() != c.exact {
			t.Errorf("%s: exact %v, want %v", what, q.Exact(), c.exact)
		}
	}
}

// gen makes queries and documents of few fields and values, so that they meet.
type gen struct{ *rand.Rand }

var pool = []any{
	nil, false, true, math.NaN(), 0, 1, 1.0, 2, 1.5, "a", "b",
	stamp{1, 0},
	list{},
	list{1, "a"},
	list{nil},
	object{},
	object{"y": 1},
	object{"y": nil},
	vec{1, 2},
	[]byte("a"),
	geo{1, 1},
	named("c/a"),
}

func (g gen) of(from ...string) string { return from[g.IntN(len(from))] }

func (g gen) value() any { return pool[g.IntN(len(pool))] }

func (g gen) name() ref {
	return named("c/" + g.of("a", "a0", "b", "b/s/x", "c", "__id2__", "__id10__"))
}

func (g gen) values(one func() any) list {
	l := list{}
	for range 1 + g.IntN(3) {
		l = append(l, one())
	}
	return l
}

func (g gen) document() *pb.Document {
	o := object{}
	for _, f := range []string{"f", "g", "x"} {
		if g.IntN(4) > 0 {
			o[f] = g.value()
		}
	}
	d := document("c/a", o)
	for d.Name = string(g.name()); !(query.Scope{Parent: root, Collection: "c"}).Contains(d.Name); {
		d.Name = string(g.name())
	}
	return d
}

func (g gen) leaf() *pb.StructuredQuery_Filter {
	if g.IntN(3) == 0 {
		op := g.of("==", "<", "<=", ">", ">=", "!=", "in", "not-in")
		if op == "in" || op == "not-in" {
			return is("__name__", op, g.values(func() any { return g.name() }))
		}
		return is("__name__", op, g.name())
	}
	path := g.of("f", "g", "x.y")
	switch op := g.of("==", "==", "in", "<", "<=", ">", ">=", "!=", "not-in", "has", "has-any", "IS_NULL", "IS_NAN", "IS_NOT_NULL", "IS_NOT_NAN"); op {
	case "IS_NULL", "IS_NAN", "IS_NOT_NULL", "IS_NOT_NAN":
		return test(path, op)
	case "in", "not-in", "has-any":
		return is(path, op, g.values(g.value))
	default:
		return is(path, op, g.value())
	}
}

func (g gen) filter(depth int) *pb.StructuredQuery_Filter {
	if depth == 0 || g.IntN(3) == 0 {
		return g.leaf()
	}
	var f []*pb.StructuredQuery_Filter
	for range 1 + g.IntN(3) {
		f = append(f, g.filter(depth-1))
	}
	if g.IntN(4) == 0 {
		return either(f...)
	}
	return all(f...)
}

func (g gen) cursor(orders []*pb.StructuredQuery_Order) *pb.Cursor {
	if g.IntN(3) > 0 {
		return nil
	}
	c := &pb.Cursor{Before: g.IntN(2) == 0}
	for _, o := range orders[:g.IntN(len(orders)+1)] {
		if o.Field.FieldPath == "__name__" {
			c.Values = append(c.Values, val(g.name()))
		} else {
			c.Values = append(c.Values, val(g.value()))
		}
	}
	return c
}

// query returns one that Parse takes.
func (g gen) query() (*pb.StructuredQuery, *query.Query) {
	for {
		q := &pb.StructuredQuery{From: from("c")}
		if g.IntN(10) > 0 {
			q.Where = g.filter(2)
		}
		switch g.IntN(5) {
		case 0:
			q.OrderBy = by(g.of("f", "-f", "x.y", "-g"))
		case 1:
			q.OrderBy = by(g.of("f", "-f", "x.y", "-g"), g.of("__name__", "-__name__"))
		case 2, 3:
			q.OrderBy = by(g.of("__name__", "-__name__"))
		}
		q.StartAt, q.EndAt = g.cursor(q.OrderBy), g.cursor(q.OrderBy)
		if p, err := query.Parse(root, q); err == nil {
			return q, p
		}
	}
}

func within(name string, from, to query.Bound) bool {
	c, d := query.CompareNames(name, from.Name), query.CompareNames(name, to.Name)
	return (from.Unbounded || c > 0 || c == 0 && !from.Open) && (to.Unbounded || d < 0 || d == 0 && !to.Open)
}

func found(e query.Equality, d *pb.Document) bool {
	v, ok := query.Lookup(d.Fields, e.Path)
	return ok && slices.Contains(e.Keys, query.Key(v))
}

// What an index says must never leave a result out, and where it is said to be
// exact it must not let anything else in.
func TestPlansAgreeWithMatches(t *testing.T) {
	seed := uint64(20260717)
	t.Logf("seed %d", seed)
	g := gen{rand.New(rand.NewPCG(seed, 1))}
	results, exact, both := 0, 0, 0
	for range 20_000 {
		w, q := g.query()
		for range 10 {
			d := g.document()
			hit := q.Matches(d) && q.InWindow(d)
			told := within(d.Name, first(q), second(q))
			for _, e := range q.Equal() {
				told = told && found(e, d)
			}
			if hit && !told || q.Exact() && hit != told {
				t.Fatalf("found %v, by the index %v, exact %v\n%v\n%v", hit, told, q.Exact(), w, d)
			}
			if q.Exact() && len(q.Equal()) > 1 {
				t.Fatalf("exact with %d equalities: %v", len(q.Equal()), w)
			}
			results, exact, both = results+count(hit), exact+count(q.Exact()), both+count(hit && q.Exact())
		}
	}
	if results < 5_000 || exact < 5_000 || both < 1_000 {
		t.Errorf("the queries prove little: %d results, %d exact, %d both", results, exact, both)
	}
}

func first(q *query.Query) query.Bound {
	b, _ := q.Names()
	return b
}

func second(q *query.Query) query.Bound {
	_, b := q.Names()
	return b
}

func count(b bool) int {
	if b {
		return 1
	}
	return 0
}

// The window is a stretch of the order, and the order is one.
func TestWindowsAreStretchesOfTheOrder(t *testing.T) {
	seed := uint64(20260718)
	t.Logf("seed %d", seed)
	g := gen{rand.New(rand.NewPCG(seed, 1))}
	for range 2_000 {
		w, q := g.query()
		var matching []*pb.Document
		for range 30 {
			if d := g.document(); q.Matches(d) {
				matching = append(matching, d)
			}
		}
		slices.SortFunc(matching, q.Compare)
		state := 0 // before, in, after the window
		for i, d := range matching {
			for _, e := range matching[i:] {
				if q.Compare(d, e) > 0 || q.Compare(e, d) < 0 {
					t.Fatalf("no order: %v\n%v\n%v", w, d, e)
				}
			}
			in := q.InWindow(d)
			switch {
			case in && state == 2:
				t.Fatalf("the window has a hole before %v: %v", d, w)
			case in:
				state = 1
			case state == 1:
				state = 2
			}
		}
	}
}

func BenchmarkMatches(b *testing.B) {
	q, err := query.Parse(root, &pb.StructuredQuery{From: from("c"), Where: all(
		is("delivery.state", "in", list{"PENDING", "PROCESSING", "RETRY"}), is("__name__", ">", named("c/a")),
	)})
	if err != nil {
		b.Fatal(err)
	}
	d := document("c/b", object{"delivery": object{"state": "RETRY", "attempts": 1}})
	b.ReportAllocs()
	for b.Loop() {
		if !q.Matches(d) {
			b.Fatal("does not match")
		}
	}
}
