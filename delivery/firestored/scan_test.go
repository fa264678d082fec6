package firestored

import (
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"

	pb "cloud.google.com/go/firestore/apiv1/firestorepb"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"postrider/delivery/firestored/query"
)

// world writes at random, and remembers what was where and when.
type world struct {
	*rig
	random  *rand.Rand
	moments []moment
}

// moment is all documents at one time.
type moment struct {
	at        int64
	documents map[string]*pb.Document // by path
}

// someValue returns values of which many are equal, though not the same.
func (w *world) someValue() *pb.Value {
	return []*pb.Value{
		integer(w.random.IntN(4)), double(float64(w.random.IntN(8)) / 2), text([]string{"a", "b", "c"}[w.random.IntN(3)]),
		null(), boolean(true), double(math.NaN()), values(integer(1), text("a")), object(fields{"x": integer(w.random.IntN(2))}),
		double(math.Copysign(0, -1)), text(""), object(nil),
	}[w.random.IntN(11)]
}

func (w *world) someFields() fields {
	f := fields{}
	for _, name := range []string{"a", "b", "q.r"} {
		if w.random.IntN(4) > 0 {
			f[name] = w.someValue()
		}
	}
	if w.random.IntN(2) == 0 {
		f["m"] = object(fields{"s": w.someValue()})
	}
	return f
}

func (w *world) somePath() string {
	collection := []string{"c", "c", "c", "c/1/c", "d"}[w.random.IntN(5)]
	return fmt.Sprintf("%s/%d", collection, w.random.IntN(80))
}

// step commits some writes.
func (w *world) step() {
	var writes []*pb.Write
	for range 1 + w.random.IntN(4) {
		switch path := w.somePath(); w.random.IntN(5) {
		case 0:
			writes = append(writes, w.remove(path))
		case 1:
			writes = append(writes, w.update(path, w.someFields(), "a", "m.s", "`q.r`"))
		default:
			writes = append(writes, w.set(path, w.someFields()))
		}
	}
	at := w.mustCommit(writes...).GetCommitTime().AsTime().UnixMicro()
	now := map[string]*pb.Document{}
	w.db.mu.RLock()
	defer w.db.mu.RUnlock()
	for _, c := range w.db.collections {
		for _, e := range c.docs.take(cut{}, cut{end: true}, false, c.docs.size) {
			now[e.path] = e.head.document(w.root)
		}
	}
	w.moments = append(w.moments, moment{at, now})
}

// someQuery returns a query that an index may help.
func (w *world) someQuery() *pb.StructuredQuery {
	q := selectFrom([]string{"c", "d"}[w.random.IntN(2)])
	q.From[0].AllDescendants = w.random.IntN(4) == 0
	var filters []*pb.StructuredQuery_Filter
	for range w.random.IntN(3) {
		filters = append(filters, w.someFilter())
	}
	if len(filters) > 0 {
		q.Where = and(filters...)
	}
	direction := []pb.StructuredQuery_Direction{pb.StructuredQuery_ASCENDING, pb.StructuredQuery_DESCENDING}[w.random.IntN(2)]
	switch w.random.IntN(3) {
	case 0:
		q.OrderBy = []*pb.StructuredQuery_Order{orderBy("__name__", direction)}
	case 1:
		q.OrderBy = []*pb.StructuredQuery_Order{orderBy("b", direction)}
	}
	if w.random.IntN(2) == 0 {
		q.Limit = wrapperspb.Int32(int32(w.random.IntN(20)))
	}
	if w.random.IntN(3) == 0 {
		q.Offset = int32(w.random.IntN(10))
	}
	return q
}

func (w *world) someFilter() *pb.StructuredQuery_Filter {
	field := []string{"a", "b", "m.s", "`q.r`", "m"}[w.random.IntN(5)]
	some := w.reference(fmt.Sprint("c/", w.random.IntN(80)))
	switch w.random.IntN(6) {
	case 0:
		return where("__name__", pb.StructuredQuery_FieldFilter_GREATER_THAN, some)
	case 1:
		return where("__name__", pb.StructuredQuery_FieldFilter_LESS_THAN_OR_EQUAL, some)
	case 2:
		return where(field, pb.StructuredQuery_FieldFilter_IN, values(w.plainValue(), w.plainValue(), w.plainValue()))
	case 3:
		op := []pb.StructuredQuery_UnaryFilter_Operator{pb.StructuredQuery_UnaryFilter_IS_NULL, pb.StructuredQuery_UnaryFilter_IS_NAN}[w.random.IntN(2)]
		return &pb.StructuredQuery_Filter{FilterType: &pb.StructuredQuery_Filter_UnaryFilter{UnaryFilter: &pb.StructuredQuery_UnaryFilter{
			Op: op, OperandType: &pb.StructuredQuery_UnaryFilter_Field{Field: &pb.StructuredQuery_FieldReference{FieldPath: field}},
		}}}
	default:
		return where(field, pb.StructuredQuery_FieldFilter_EQUAL, w.plainValue())
	}
}

func (w *world) plainValue() *pb.Value {
	for {
		if v := w.someValue(); !proto.Equal(v, null()) && !math.IsNaN(v.GetDoubleValue()) {
			return v
		}
	}
}

// naive answers a query by looking at all documents of a state.
func naive(q *query.Query, s moment) []*pb.Document {
	var all []*pb.Document
	for _, d := range s.documents {
		if q.Scope().Contains(d.GetName()) && q.Matches(d) && q.InWindow(d) {
			all = append(all, d)
		}
	}
	slices.SortFunc(all, q.Compare)
	all = all[min(q.Offset(), len(all)):]
	if limit, ok := q.Limit(); ok {
		all = all[:min(limit, len(all))]
	}
	return all
}

// TestIndexesFindWhatAScanFinds runs random queries over random documents, now
// and at past times, and compares what is found and counted with what looking at
// all documents finds. Indexes are built on the way, and kept up by the writes.
func TestIndexesFindWhatAScanFinds(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	w := &world{rig: newRig(t, Options{}), random: rand.New(rand.NewPCG(seed, 1))}
	w.step()
	answered := 0
	for range 600 {
		w.step()
		w.checkQuery(w.moments[len(w.moments)-1], 0, &answered)
		s := w.moments[w.random.IntN(len(w.moments))]
		w.checkQuery(s, s.at, &answered)
	}
	if built := len(w.db.collections["c"].indexes); built < 4 || answered < 300 {
		t.Errorf("only %d indexes, and %d queries with a result", built, answered)
	}
}

func (w *world) checkQuery(s moment, at int64, answered *int) {
	w.Helper()
	request := w.someQuery()
	q, err := query.Parse(w.root, request)
	if err != nil {
		w.Fatal(err)
	}
	want := naive(q, s)
	v, err := w.db.view(at)
	if err != nil {
		w.Fatal(err)
	}
	var got []*pb.Document
	if _, err := w.server.run(v, q, func(_ *version, d *pb.Document) bool { got = append(got, d); return true }); err != nil {
		w.Fatal(err)
	}
	if !slices.EqualFunc(got, want, func(a, b *pb.Document) bool { return proto.Equal(a, b) }) {
		w.Fatalf("at %d, %v found %d documents, want %d", at, request, len(got), len(want))
	}
	if n, _, err := v.count(q); err != nil || n != len(want) {
		w.Fatalf("at %d, %v counted %d documents, want %d: %v", at, request, n, len(want), err)
	}
	if len(want) > 0 {
		*answered++
	}
}

// TestIndexIsBuiltWhileDocumentsAreWritten builds indexes again and again beside
// writers, and then looks for a document that is missing in them, or should be.
func TestIndexIsBuiltWhileDocumentsAreWritten(t *testing.T) {
	r := newRig(t, Options{})
	for i := range 2000 {
		r.mustCommit(r.set(fmt.Sprint("c/", i), fields{"n": integer(i % 5)}))
	}
	var running sync.WaitGroup
	stop := make(chan struct{})
	for worker := range 2 {
		running.Go(func() {
			random := rand.New(rand.NewPCG(uint64(worker), 2))
			for {
				select {
				case <-stop:
					return
				default:
				}
				path := fmt.Sprint("c/", random.IntN(3000))
				w := r.set(path, fields{"n": integer(random.IntN(5))})
				if random.IntN(4) == 0 {
					w = r.remove(path)
				}
				if _, err := r.commit(w); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	for range 30 {
		r.db.mu.Lock()
		clear(r.db.collections["c"].indexes)
		r.db.mu.Unlock()
		r.db.index("c", []string{"n"})
		if err := r.checkIndex("c", "n"); err != nil {
			t.Fatal(err)
		}
	}
	close(stop)
	running.Wait()
	if err := r.checkIndex("c", "n"); err != nil {
		t.Error(err)
	}
}

// TestIndexCatchesUp has the index built from documents that are later than the
// position of the log from which it catches up.
func TestIndexCatchesUp(t *testing.T) {
	r := newRig(t, Options{})
	n := func(path string, n int) *pb.Write { return r.set("c/"+path, fields{"n": integer(n)}) }
	r.mustCommit(n("same", 1), n("changes", 1), n("goes", 1), n("again", 1), n("loses", 1))
	pos := r.db.position()
	r.mustCommit(n("changes", 2), n("new", 1), n("again", 2), r.remove("c/again"))
	r.mustCommit(n("changes", 3), r.remove("c/goes"), n("again", 1), n("brief", 1), r.set("c/loses", nil))
	x := r.db.build("c", []string{"n"})
	r.mustCommit(r.remove("c/brief"), n("last", 1), n("again", 5))
	if !r.db.adopt("c", x, pos) {
		t.Fatal("the log does not reach back")
	}
	if err := r.checkIndex("c", "n"); err != nil {
		t.Error(err)
	}
	if r.db.adopt("c", x, r.db.position()+1) {
		t.Error("an index of a position that the log does not have was taken")
	}
	r.db.index("none", []string{"n"})
	r.mustCommit(r.remove("c/same"), r.remove("c/changes"), r.remove("c/new"), r.remove("c/again"), r.remove("c/loses"), r.remove("c/last"))
	if got := len(r.db.collections); got != 0 {
		t.Errorf("%d empty collections are kept", got)
	}
}

func TestIndexesOfACollectionAreBounded(t *testing.T) {
	r := newRig(t, Options{})
	f := fields{}
	for i := range maxIndexes + 10 {
		f[fmt.Sprint("f", i)] = integer(1)
	}
	r.mustCommit(r.set("c/a", f), r.set("c/b", nil))
	for name := range f {
		q := selectFrom("c")
		q.Where = where(name, pb.StructuredQuery_FieldFilter_EQUAL, integer(1))
		if n := r.count(q, 0); n != 1 {
			t.Errorf("counted %d by %s", n, name)
		}
		if paths, _, err := r.find(&pb.RunQueryRequest{QueryType: structured(q)}); len(paths) != 1 {
			t.Errorf("found %v by %s: %v", paths, name, err)
		}
	}
	if n := len(r.db.collections["c"].indexes); n != maxIndexes {
		t.Errorf("%d indexes", n)
	}
}

// checkIndex compares an index with the collection.
func (r *rig) checkIndex(collection, field string) error {
	r.db.mu.RLock()
	defer r.db.mu.RUnlock()
	c := r.db.collections[collection]
	x := c.indexes[field]
	if x == nil {
		return errors.New("there is no index")
	}
	indexed := 0
	for _, list := range x.lists {
		indexed += list.size
	}
	want := 0
	for _, e := range c.docs.take(cut{}, cut{end: true}, false, c.docs.size) {
		key, ok := x.key(e.head)
		if !ok {
			continue
		}
		want++
		if list := x.lists[key]; list == nil || list.find(e.path) != e {
			return fmt.Errorf("%s is not under %q", e.path, key)
		}
	}
	if indexed != want {
		return fmt.Errorf("%d are indexed, want %d", indexed, want)
	}
	return nil
}
