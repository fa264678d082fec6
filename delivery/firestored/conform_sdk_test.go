package firestored_test

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"cloud.google.com/go/firestore"
	pb "cloud.google.com/go/firestore/apiv1/firestorepb"
	"google.golang.org/api/iterator"
	"google.golang.org/grpc/codes"
)

// snaps are the IDs of documents read by the SDK, in order.
func (e *env) snaps(q interface {
	GetAll() ([]*firestore.DocumentSnapshot, error)
},
) string {
	ds, err := q.GetAll()
	if err != nil {
		return codeOf(err).String()
	}
	var out []string
	for _, d := range ds {
		out = append(out, d.Ref.ID)
	}
	return strings.Join(out, " ")
}

// sdkCases are what Google's Go client makes of a server.
func sdkCases() []testCase {
	return []testCase{
		{name: "sdk: create, get, set, update, delete", run: sdkWrites},
		{name: "sdk: conditions", run: sdkConditions},
		{name: "sdk: field values", run: sdkFieldValues},
		{name: "sdk: GetAll keeps the order and tells what is missing", run: func(e *env) {
			e.put(set("c/a", m{"x": 1}), set("c/b", m{"x": 2}))
			c := e.sdk.Collection("c")
			ds, err := e.sdk.GetAll(e.ctx, []*firestore.DocumentRef{c.Doc("b"), c.Doc("none"), c.Doc("a"), c.Doc("b")})
			e.must("get all", err)
			var got []string
			for _, d := range ds {
				got = append(got, fmt.Sprint(d.Ref.ID, d.Exists()))
			}
			e.equal("documents", got, "[btrue nonefalse atrue btrue]")
		}},
		{name: "sdk: bulk writer", run: sdkBulkWriter},
		{name: "sdk: queries", run: sdkQueries},
		{name: "sdk: aggregations", run: func(e *env) {
			seedPages(e)
			q := e.sdk.Collection("p").Where("n", ">", 1)
			r, err := q.NewAggregationQuery().WithCount("all").Get(e.ctx)
			e.must("aggregate", err)
			e.equal("count", r["all"].(*pb.Value).GetIntegerValue(), 4)
		}},
		{name: "sdk: documents and collections are listed", run: func(e *env) {
			e.put(set("c/a", nil), set("c/b/d/x", nil), set("z/a", nil))
			refs, err := e.sdk.Collection("c").DocumentRefs(e.ctx).GetAll()
			e.must("list documents", err)
			var got []string
			for _, r := range refs {
				got = append(got, r.ID)
			}
			e.equal("documents, missing too", got, "[a b]")
			cs, err := e.sdk.Doc("c/b").Collections(e.ctx).GetAll()
			e.must("list collections", err)
			e.equal("collections", len(cs), 1)
			cs, err = e.sdk.Collections(e.ctx).GetAll()
			e.must("list collections", err)
			e.equal("collections of the root", len(cs), 2)
		}},
		{name: "sdk: snapshots of a query", run: func(e *env) { e.watch(func() {}) }},
		{name: "sdk: snapshots of a document", run: sdkDocumentSnapshots},
	}
}

func sdkWrites(e *env) {
	doc := e.sdk.Doc("c/a")
	_, err := doc.Get(e.ctx)
	e.code("get of nothing", err, codes.NotFound)
	_, err = doc.Update(e.ctx, []firestore.Update{{Path: "x", Value: 1}})
	e.code("update of nothing", err, codes.NotFound)
	made, err := doc.Create(e.ctx, m{"x": 1, "n": m{"a": 1, "b": 2}, "a.b": 1, "t": time.Unix(5, 6000)})
	e.must("create", err)
	_, err = doc.Create(e.ctx, m{})
	e.code("create again", err, codes.AlreadyExists)
	d, err := doc.Get(e.ctx)
	e.must("get", err)
	e.equal("create time", d.CreateTime, made.UpdateTime)
	_, err = doc.Update(e.ctx, []firestore.Update{{Path: "n.a", Value: 9}, {FieldPath: []string{"a.b"}, Value: firestore.Delete}, {Path: "t", Value: []int{1}}})
	e.must("update", err)
	e.equal("updated", e.doc("c/a"), "{n:{a:9 b:2} t:[1] x:1}")
	_, err = doc.Set(e.ctx, m{"n": m{"a": 8}, "x": 8}, firestore.Merge([]string{"n", "a"}))
	e.must("merge", err)
	_, err = doc.Set(e.ctx, m{"n": m{"c": 7}, "t": firestore.Delete}, firestore.MergeAll)
	e.must("merge all", err)
	e.equal("merged", e.doc("c/a"), "{n:{a:8 b:2 c:7} x:1}")
	_, err = doc.Delete(e.ctx)
	e.must("delete", err)
	_, err = doc.Delete(e.ctx, firestore.Exists)
	e.code("delete of nothing", err, codes.NotFound)
	ref, _, err := e.sdk.Collection("c").Add(e.ctx, m{"x": 1})
	e.must("add", err)
	e.equal("added", e.doc("c/"+ref.ID), "{x:1}")
}

func sdkConditions(e *env) {
	doc := e.sdk.Doc("c/a")
	old, err := doc.Set(e.ctx, m{"x": 1})
	e.must("set", err)
	latest, err := doc.Set(e.ctx, m{"x": 2})
	e.must("set", err)
	_, err = doc.Update(e.ctx, []firestore.Update{{Path: "x", Value: 3}}, firestore.LastUpdateTime(old.UpdateTime))
	e.code("update as of an older time", err, codes.FailedPrecondition)
	_, err = doc.Delete(e.ctx, firestore.LastUpdateTime(old.UpdateTime))
	e.code("delete as of an older time", err, codes.FailedPrecondition)
	_, err = doc.Update(e.ctx, []firestore.Update{{Path: "x", Value: 3}}, firestore.LastUpdateTime(latest.UpdateTime))
	e.code("update as of the last time", err, codes.OK)
	e.equal("c/a", e.doc("c/a"), "{x:3}")
}

func sdkFieldValues(e *env) {
	doc := e.sdk.Doc("c/a")
	_, err := doc.Set(e.ctx, m{"n": 1, "d": 1, "l": arr{1, 2}, "gone": 1})
	e.must("set", err)
	r, err := doc.Set(e.ctx, m{
		"n": firestore.Increment(4), "d": firestore.Increment(0.5), "l": firestore.ArrayUnion(2, 3), "at": firestore.ServerTimestamp,
		"deep": m{"x": 1, "at": firestore.ServerTimestamp},
	}, firestore.MergeAll)
	e.must("merge", err)
	_, err = doc.Update(e.ctx, []firestore.Update{{Path: "l", Value: firestore.ArrayRemove(1, 9)}, {Path: "gone", Value: firestore.Delete}})
	e.must("update", err)
	d, err := doc.Get(e.ctx)
	e.must("get", err)
	at := d.Data()["at"].(time.Time)
	if age := r.UpdateTime.Sub(at); age < -time.Second || age > time.Minute {
		e.errorf("the server's time is %v, the update time %v", at, r.UpdateTime)
	}
	e.equal("deep.at", d.Data()["deep"].(m)["at"].(time.Time), at)
	_, err = doc.Update(e.ctx, []firestore.Update{{Path: "at", Value: firestore.Delete}, {Path: "deep.at", Value: firestore.Delete}})
	e.must("update", err)
	e.equal("c/a", e.doc("c/a"), "{d:1.5 deep:{x:1} l:[2 3] n:5}")
}

func sdkBulkWriter(e *env) {
	e.put(set("c/there", nil))
	w := e.sdk.BulkWriter(e.ctx)
	jobs := map[string]*firestore.BulkWriterJob{}
	add := func(id string, job *firestore.BulkWriterJob, err error) {
		e.must("add "+id, err)
		jobs[id] = job
	}
	for i := range 45 {
		id := fmt.Sprint("n", i)
		job, err := w.Create(e.sdk.Doc("c/"+id), m{"i": i})
		add(id, job, err)
	}
	job, err := w.Create(e.sdk.Doc("c/there"), m{})
	add("there", job, err)
	job, err = w.Update(e.sdk.Doc("c/none"), []firestore.Update{{Path: "x", Value: 1}})
	add("none", job, err)
	w.End()
	for _, id := range slices.Sorted(maps.Keys(jobs)) {
		_, err := jobs[id].Results()
		want := map[string]codes.Code{"there": codes.AlreadyExists, "none": codes.NotFound}[id]
		e.code(id, err, want)
	}
	n, err := e.count(from("c"), 0)
	e.must("count", err)
	e.equal("documents", n, 46)
}

func sdkQueries(e *env) {
	seedPages(e)
	p := e.sdk.Collection("p")
	c, err := p.Doc("c").Get(e.ctx)
	e.must("get", err)
	for want, q := range map[string]firestore.Query{
		"d e":             p.OrderBy("n", firestore.Asc).StartAfter(c),
		"c b a":           p.OrderBy("n", firestore.Desc).StartAt(c),
		"b c d":           p.OrderBy("n", firestore.Asc).EndBefore(3).StartAfter(1),
		"d e ":            p.OrderBy("n", firestore.Asc).LimitToLast(2),
		"b c":             p.OrderBy("n", firestore.Asc).EndAt(c).LimitToLast(2),
		"b":               p.Where("n", "==", 2).Where("t", "==", "x").Limit(1),
		"d b a e c":       p.Where("n", "in", arr{1, 2, 3}).OrderBy("t", firestore.Asc).OrderBy("n", firestore.Desc),
		"c d e":           p.Where(firestore.DocumentID, ">", p.Doc("b")).Where(firestore.DocumentID, "<", p.Doc("f")),
		"a c e":           p.WhereEntity(firestore.OrFilter{Filters: []firestore.EntityFilter{firestore.PropertyFilter{Path: "t", Operator: "==", Value: "y"}, firestore.PropertyFilter{Path: "n", Operator: "==", Value: 1}}}),
		"a b a c d e f z": e.sdk.CollectionGroup("p").Query,
		"":                p.Where("n", "==", nil),
	} {
		e.equal("documents", e.snaps(q.Documents(e.ctx)), strings.TrimSpace(want))
	}
	ds, err := p.Select("t").OrderBy("n", firestore.Asc).Documents(e.ctx).GetAll()
	e.must("query", err)
	e.equal("selected", ds[0].Data(), m{"t": "x"})
}

// watch follows a query by the SDK through additions, changes and removals,
// and does something to the connection between any two.
func (e *env) watch(between func()) {
	it := e.sdk.Collection("c").Where("x", ">", 0).OrderBy("x", firestore.Asc).Limit(3).Snapshots(e.ctx)
	defer it.Stop()
	steps := []struct {
		do   []write
		want string
	}{
		{[]write{set("c/other", m{"x": 0})}, "[]"},
		{[]write{set("c/b", m{"x": 2})}, "[b] +b"},
		{[]write{set("c/a", m{"x": 1}), set("c/c", m{"x": 3})}, "[a b c] +a +c"},
		{[]write{set("c/a", m{"x": 9})}, "[b c a] *a"},
		{[]write{set("c/d", m{"x": 5})}, "[b c d] -a +d"},
		{[]write{del("c/b")}, "[c d a] -b +a"},
		{[]write{set("c/c", m{"x": -1})}, "[d a] -c"},
	}
	for i, step := range steps {
		if i == 1 {
			between()
		}
		e.put(step.do...)
		if got := e.nextSnapshot(it); got != step.want {
			e.fatalf("snapshot %d: got %s, want %s", i, got, step.want)
		}
		if i > 1 {
			between()
		}
	}
}

func (e *env) nextSnapshot(it *firestore.QuerySnapshotIterator) string {
	s, err := it.Next()
	e.must("next snapshot", err)
	out := "[" + e.snaps(s.Documents) + "]"
	for _, c := range s.Changes {
		out += " " + map[firestore.DocumentChangeKind]string{firestore.DocumentAdded: "+", firestore.DocumentModified: "*", firestore.DocumentRemoved: "-"}[c.Kind] + c.Doc.Ref.ID
	}
	return out
}

func sdkDocumentSnapshots(e *env) {
	it := e.sdk.Doc("c/a").Snapshots(e.ctx)
	defer it.Stop()
	next := func() string {
		d, err := it.Next()
		if errors.Is(err, iterator.Done) {
			return "done"
		}
		e.must("next", err)
		if !d.Exists() {
			return "missing"
		}
		return fmt.Sprint(d.Data())
	}
	e.equal("first", next(), "missing")
	e.put(set("c/a", m{"x": 1}))
	e.equal("made", next(), "map[x:1]")
	e.put(set("c/b", m{"x": 1}))
	e.put(set("c/a", m{"x": 2}))
	e.equal("changed", next(), "map[x:2]")
	e.put(del("c/a"))
	e.equal("deleted", next(), "missing")
}
