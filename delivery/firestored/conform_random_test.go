package firestored_test

import (
	"fmt"
	"math"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
)

// How much is tried of each, in databases of so many documents.
const (
	randomDatabases = 6
	randomQueries   = 100 // on each
	randomCommits   = 60  // on each, before the queries
)

// Whatever is written and asked, ours answers as the emulator does. The
// generator leaves out what the documentation says nothing of: null and NaN as
// values of a field filter, and names in an equality beside an inequality.
func TestRandomWritesAndQueriesAgree(t *testing.T) {
	emulator := dialEmulator(t)
	_, ours := serve(t)
	for seed := range uint64(randomDatabases) {
		t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) {
			t.Parallel()
			g := &generator{rand.New(rand.NewPCG(seed, 1))}
			a := newEnv(t.Context(), t, ours, freshProject(), "(default)")
			b := newEnv(t.Context(), t, emulator, freshProject(), "(default)")
			for i := range randomCommits {
				ws := g.commit()
				if got, want := a.outcome(ws), b.outcome(ws); got != want {
					t.Errorf("commit %d: ours: %s, emulator: %s\n%+v", i, got, want, ws)
				}
			}
			if got, want := a.everything(), b.everything(); got != want {
				t.Fatalf("after the commits ours has\n%s\nthe emulator\n%s", got, want)
			}
			for i := range randomQueries {
				q := g.query()
				got, want := a.find(q), b.find(q)
				if got != want {
					t.Errorf("query %d: ours: %s, emulator: %s\n%v", i, got, want, q.proto(a))
				}
				n, err := a.count(q, 0)
				if m, err2 := b.count(q, 0); codeOf(err) != codeOf(err2) || n != m {
					t.Errorf("count %d: ours: %d, %v, emulator: %d, %v\n%v", i, n, err, m, err2, q.proto(a))
				}
			}
			for _, fault := range append(a.faults, b.faults...) {
				t.Error(fault)
			}
		})
	}
}

// outcome commits writes: the code, and what their transforms made.
func (e *env) outcome(ws []write) string {
	r, err := e.commit(ws...)
	if err != nil {
		return codeOf(err).String()
	}
	var out []string
	for _, res := range r.GetWriteResults() {
		for _, v := range res.GetTransformResults() {
			out = append(out, e.text(v))
		}
	}
	return strings.Join(append(out, codes.OK.String()), " ")
}

// everything is the text of all documents, a line each.
func (e *env) everything() string {
	ds, err := e.documents(query{all: true})
	e.must("query", err)
	var out []string
	for _, d := range ds {
		out = append(out, e.id(d.GetName())+e.show(d))
	}
	return strings.Join(out, "\n")
}

// generator makes up writes and queries from few names and values, so that
// they meet.
type generator struct{ *rand.Rand }

func pick[T any](g *generator, from ...T) T { return from[g.IntN(len(from))] }

func (g *generator) path() string {
	return pick(g, "c/", "c/", "c/", "d/", "c/1/c/", "d/2/c/") + fmt.Sprint(g.IntN(12))
}

func (g *generator) field() string { return pick(g, "a", "b", "n.a", "n.`b c`") }

func (g *generator) scalar() any {
	switch g.IntN(12) {
	case 0:
		return nil
	case 1:
		return pick(g, math.NaN(), math.Inf(1), math.Copysign(0, -1), 1e300)
	case 2, 3, 4:
		return g.IntN(5) - 2
	case 5:
		return float64(g.IntN(9)-4) / 2
	case 6:
		return g.IntN(2) == 0
	case 7, 8:
		return pick(g, "", "a", "ab", "b", "\uFF5E", "\U0001F600")
	case 9:
		return time.Unix(int64(g.IntN(3)), int64(g.IntN(3))*1000).UTC()
	case 10:
		return []byte(pick(g, "", "a", "\xff"))
	}
	return pick[any](g, ref("c/1"), ref("c/1/c/2"), ref("d/1"), geo{1, 2}, geo{1, -2})
}

func (g *generator) value() any {
	switch g.IntN(6) {
	case 0:
		var out arr
		for range g.IntN(4) {
			out = append(out, g.scalar())
		}
		return append(arr{}, out...)
	case 1:
		out := m{}
		for range g.IntN(3) {
			out[pick(g, "a", "b c", "z")] = g.scalar()
		}
		return out
	}
	return g.scalar()
}

func (g *generator) document() m {
	f := m{}
	for _, k := range []string{"a", "b"} {
		if g.IntN(4) > 0 {
			f[k] = g.value()
		}
	}
	switch g.IntN(3) {
	case 0:
		f["n"] = g.value()
	case 1:
		f["n"] = m{"a": g.scalar(), "b c": g.value()}
	}
	return f
}

func (g *generator) commit() []write {
	var ws []write
	written := map[string]bool{}
	for range 1 + g.IntN(5) {
		w := g.write()
		if written[w.path] { // the emulator refuses some conditions here out of hand
			w.exists, w.updated = nil, ""
		}
		written[w.path] = true
		ws = append(ws, w)
	}
	return ws
}

func (g *generator) write() write {
	w := set(g.path(), g.document())
	switch g.IntN(8) {
	case 0:
		w = del(w.path)
	case 1, 2:
		w = w.only(append([]string{}, pick(g, []string{}, []string{"a"}, []string{"b", "n.a"}, []string{"n.`b c`", "none"}, []string{"n"})...)...)
	}
	switch g.IntN(12) {
	case 0:
		w = w.must()
	case 1:
		w = w.new()
	case 2:
		w = w.asOf(time.Unix(1e9, 0))
	}
	for !w.remove && g.IntN(4) == 0 {
		w = w.with(g.transform())
	}
	return w
}

func (g *generator) transform() transform {
	f := g.field()
	number := pick[any](g, 1, -2, 0.5, math.MaxInt64, math.MinInt64, math.Inf(-1))
	list := arr{g.scalar(), g.scalar()}
	return pick(g, transform{f, "increment", number}, transform{f, "max", number}, transform{f, "min", number}, transform{f, "union", list}, transform{f, "remove", list})
}

// compared is a value that a field may be compared with: null and NaN have
// filters of their own.
func (g *generator) compared() any {
	for {
		v := g.value()
		if f, ok := v.(float64); v != nil && (!ok || !math.IsNaN(f)) {
			return v
		}
	}
}

func (g *generator) filter(depth int) filter {
	if depth > 0 {
		var fs []filter
		for range 1 + g.IntN(2) {
			fs = append(fs, g.filter(depth-1))
		}
		return pick(g, and, or)(fs...)
	}
	f := g.field()
	switch g.IntN(12) {
	case 0:
		return unary(f, pick(g, "IS_NULL", "IS_NAN", "IS_NOT_NULL", "IS_NOT_NAN"))
	case 1:
		return is(f, pick(g, "in", "contains-any", "not-in"), arr{g.compared(), g.compared()})
	case 2:
		return is(f, "contains", g.compared())
	case 3:
		return is("__name__", pick(g, "<", "<=", ">", ">="), ref(g.path()))
	case 4, 5, 6, 7:
		return is(f, "==", g.compared())
	case 8:
		return is(f, "!=", g.compared())
	}
	return is(f, pick(g, "<", "<=", ">", ">="), g.compared())
}

func (g *generator) query() query {
	q := pick(g, from("c"), from("c"), group("c"), from("c").below("c/1"), query{all: true, parent: "c/1"})
	if g.IntN(6) > 0 {
		q = q.where(g.filter(g.IntN(3)))
	}
	for _, f := range []string{"a", "b", "n.a"} {
		if g.IntN(4) == 0 {
			q.orders = append(q.orders, pick(g, "", "-")+f)
		}
	}
	if len(q.orders) > 0 && g.IntN(3) == 0 {
		q.orders = append(q.orders, pick(g, "", "-")+"__name__")
	}
	if len(q.orders) > 0 && g.IntN(3) == 0 {
		c := &cursor{before: g.IntN(2) == 0}
		for _, o := range q.orders[:1+g.IntN(len(q.orders))] {
			if strings.HasSuffix(o, "__name__") {
				c.values = append(c.values, ref("c/"+fmt.Sprint(g.IntN(12))))
			} else {
				c.values = append(c.values, g.value())
			}
		}
		if g.IntN(2) == 0 {
			q.start = c
		} else {
			q.end = c
		}
	}
	if g.IntN(4) == 0 {
		q = q.limit(int32(g.IntN(6)))
	}
	if g.IntN(6) == 0 {
		q = q.skip(int32(g.IntN(4)))
	}
	return q
}
