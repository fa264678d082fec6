package firestored

import (
	"fmt"
	"strings"
	"testing"
	"time"

	pb "cloud.google.com/go/firestore/apiv1/firestorepb"
	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"
	"google.golang.org/protobuf/types/known/wrapperspb"
)

// TestRunQuery has the paths of what queries find, through all ways of finding
// it: a range of names, an index, a scan, several collections.
func TestRunQuery(t *testing.T) {
	r := newRig(t, Options{})
	for i := range 6 {
		r.mustCommit(r.set(fmt.Sprint("c/", i), fields{"n": integer(i % 3), "m": object(fields{"s": text([]string{"x", "y"}[i%2])}), "down": integer(-i)}))
	}
	r.mustCommit(r.set("c/1/sub/a", fields{"n": integer(1)}), r.set("c/4/sub/b", fields{"n": integer(2)}), r.set("sub/z", fields{"n": integer(1)}), r.set("d/4", fields{"n": integer(1)}))
	query := func(change func(q *pb.StructuredQuery)) *pb.RunQueryRequest {
		q := selectFrom("c")
		change(q)
		return &pb.RunQueryRequest{QueryType: structured(q)}
	}
	eq, in := pb.StructuredQuery_FieldFilter_EQUAL, pb.StructuredQuery_FieldFilter_IN
	at := func(path string) *pb.Cursor { return &pb.Cursor{Values: []*pb.Value{r.reference(path)}} }
	below := func(parent string, all bool, collection string) *pb.RunQueryRequest {
		return &pb.RunQueryRequest{Parent: r.root + parent, QueryType: structured(&pb.StructuredQuery{
			From: []*pb.StructuredQuery_CollectionSelector{{CollectionId: collection, AllDescendants: all}},
		})}
	}
	tests := map[string]struct {
		request *pb.RunQueryRequest
		want    string
	}{
		"a collection":    {query(func(*pb.StructuredQuery) {}), "c/0 c/1 c/2 c/3 c/4 c/5"},
		"a limit":         {query(func(q *pb.StructuredQuery) { q.Limit = wrapperspb.Int32(2) }), "c/0 c/1"},
		"a limit of none": {query(func(q *pb.StructuredQuery) { q.Limit = wrapperspb.Int32(0) }), ""},
		"an offset":       {query(func(q *pb.StructuredQuery) { q.Offset = 4 }), "c/4 c/5"},
		"names down": {query(func(q *pb.StructuredQuery) {
			q.OrderBy = []*pb.StructuredQuery_Order{orderBy("__name__", pb.StructuredQuery_DESCENDING)}
			q.Limit, q.Offset = wrapperspb.Int32(2), 1
		}), "c/4 c/3"},
		"names down from a name": {query(func(q *pb.StructuredQuery) {
			q.OrderBy = []*pb.StructuredQuery_Order{orderBy("__name__", pb.StructuredQuery_DESCENDING)}
			q.StartAt, q.Limit = at("c/3"), wrapperspb.Int32(2)
		}), "c/2 c/1"},
		"names from one to another": {query(func(q *pb.StructuredQuery) {
			q.OrderBy = []*pb.StructuredQuery_Order{orderBy("__name__", pb.StructuredQuery_ASCENDING)}
			q.StartAt, q.EndAt = at("c/1"), at("c/4")
		}), "c/2 c/3 c/4"},
		"equal":     {query(func(q *pb.StructuredQuery) { q.Where = where("n", eq, integer(1)) }), "c/1 c/4"},
		"one of":    {query(func(q *pb.StructuredQuery) { q.Where = where("m.s", in, values(text("y"), text("none"), text("y"))) }), "c/1 c/3 c/5"},
		"two equal": {query(func(q *pb.StructuredQuery) { q.Where = and(where("n", eq, integer(1)), where("m.s", eq, text("x"))) }), "c/4"},
		"one of, down with a limit": {query(func(q *pb.StructuredQuery) {
			q.Where = where("n", in, values(integer(0), double(2)))
			q.OrderBy = []*pb.StructuredQuery_Order{orderBy("__name__", pb.StructuredQuery_DESCENDING)}
			q.Limit = wrapperspb.Int32(3)
		}), "c/5 c/3 c/2"},
		"by a field": {query(func(q *pb.StructuredQuery) {
			q.OrderBy = []*pb.StructuredQuery_Order{orderBy("n", pb.StructuredQuery_DESCENDING), orderBy("down", pb.StructuredQuery_ASCENDING)}
			q.Limit, q.Offset = wrapperspb.Int32(3), 1
		}), "c/2 c/4 c/1"},
		"a collection below":      {below("/c/1", false, "sub"), "c/1/sub/a"},
		"a collection group":      {below("", true, "sub"), "c/1/sub/a c/4/sub/b sub/z"},
		"a group below":           {below("/c/4", true, "sub"), "c/4/sub/b"},
		"everything below":        {below("/c/1", true, ""), "c/1/sub/a"},
		"all collections":         {below("", false, ""), "c/0 c/1 c/2 c/3 c/4 c/5 d/4 sub/z"},
		"a collection that isn't": {below("", false, "none"), ""},
		"a group with a filter": {&pb.RunQueryRequest{QueryType: structured(&pb.StructuredQuery{
			From:  []*pb.StructuredQuery_CollectionSelector{{CollectionId: "sub", AllDescendants: true}},
			Where: where("n", eq, integer(1)),
			Limit: wrapperspb.Int32(1),
			OrderBy: []*pb.StructuredQuery_Order{
				orderBy("__name__", pb.StructuredQuery_DESCENDING),
			},
		})}, "sub/z"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			paths, answers, err := r.find(test.request)
			if got := strings.Join(paths, " "); err != nil || got != test.want {
				t.Errorf("found %q, %v, want %q", got, err, test.want)
			}
			checkAnswers(t, answers)
		})
	}
}

// checkAnswers checks what the comments of RunQueryResponse say of each query.
func checkAnswers(t *testing.T, answers []*pb.RunQueryResponse) {
	t.Helper()
	if len(answers) == 0 {
		t.Fatal("no answer")
	}
	for i, a := range answers {
		switch last := i == len(answers)-1; {
		case a.GetReadTime() == nil:
			t.Errorf("answer %d has no read time", i)
		case a.GetDone() != last:
			t.Errorf("answer %d of %d: done is %v", i, len(answers), a.GetDone())
		case a.GetDocument() == nil && len(answers) > 1:
			t.Errorf("answer %d has no document", i)
		}
	}
}

func TestAnswersOfQueries(t *testing.T) {
	r := newRig(t, Options{})
	at := r.mustCommit(r.set("c/a", fields{"a": integer(1), "b": integer(2)}), r.set("c/b", nil), r.set("c/c", nil)).GetCommitTime()
	r.mustCommit(r.remove("c/a"))
	q := selectFrom("c")
	q.Offset = 1
	_, answers, err := r.find(&pb.RunQueryRequest{QueryType: structured(q), ConsistencySelector: &pb.RunQueryRequest_ReadTime{ReadTime: at}})
	if err != nil || len(answers) != 2 || answers[0].GetSkippedResults() != 1 || answers[1].GetSkippedResults() != 0 || !proto.Equal(answers[0].GetReadTime(), at) {
		t.Errorf("one skipped: %v, %v", answers, err)
	}
	q.Offset = 9
	_, answers, err = r.find(&pb.RunQueryRequest{QueryType: structured(q)})
	if err != nil || len(answers) != 1 || answers[0].GetSkippedResults() != 2 || answers[0].GetDocument() != nil {
		t.Errorf("all skipped: %v, %v", answers, err)
	}
	q.Offset, q.Select = 0, &pb.StructuredQuery_Projection{Fields: []*pb.StructuredQuery_FieldReference{{FieldPath: "b"}}}
	_, answers, err = r.find(&pb.RunQueryRequest{QueryType: structured(q), ConsistencySelector: &pb.RunQueryRequest_ReadTime{ReadTime: at}})
	if err != nil || !sameFields(answers[0].GetDocument(), fields{"b": integer(2)}) || answers[0].GetDocument().GetUpdateTime() == nil {
		t.Errorf("selected: %v, %v", answers, err)
	}
}

// TestCollectionsThatAreGone are still found at the time when they were there.
func TestCollectionsThatAreGone(t *testing.T) {
	r := newRig(t, Options{})
	at := r.mustCommit(r.set("c/a/sub/x", nil), r.set("sub/y", nil)).GetCommitTime()
	r.mustCommit(r.remove("c/a/sub/x"), r.set("d/a/sub/z", nil))
	q := selectFrom("sub")
	q.From[0].AllDescendants = true
	for want, request := range map[string]*pb.RunQueryRequest{
		"c/a/sub/x sub/y": {QueryType: structured(q), ConsistencySelector: &pb.RunQueryRequest_ReadTime{ReadTime: at}},
		"d/a/sub/z sub/y": {QueryType: structured(q)},
	} {
		if paths, _, err := r.find(request); strings.Join(paths, " ") != want {
			t.Errorf("found %v, %v, want %s", paths, err, want)
		}
	}
}

func TestQueriesThatAreRefused(t *testing.T) {
	r := newRig(t, Options{History: 2})
	at := r.mustCommit(r.set("c/a", nil)).GetCommitTime()
	r.mustCommit(r.set("c/b", nil), r.set("c/c", nil), r.set("c/d", nil))
	for words, request := range map[string]*pb.RunQueryRequest{
		"only structured queries are supported": {},
		`lacks "/"`:                             {Parent: r.root + "/c", QueryType: structured(selectFrom("c"))},
		"offset is negative":                    {QueryType: structured(&pb.StructuredQuery{Offset: -1})},
		"Invalid transaction.":                  {QueryType: structured(selectFrom("c")), ConsistencySelector: &pb.RunQueryRequest_Transaction{Transaction: []byte("x")}},
		"cannot be in the future":               {QueryType: structured(selectFrom("c")), ConsistencySelector: &pb.RunQueryRequest_ReadTime{ReadTime: timestamppb.New(at.AsTime().Add(time.Hour))}},
	} {
		if _, _, err := r.find(request); !refused(err, codes.InvalidArgument, words) {
			t.Errorf("%v, want %q", err, words)
		}
	}
	old := timestamppb.New(at.AsTime().Add(-time.Microsecond))
	_, _, err := r.find(&pb.RunQueryRequest{QueryType: structured(selectFrom("c")), ConsistencySelector: &pb.RunQueryRequest_ReadTime{ReadTime: old}})
	if !refused(err, codes.FailedPrecondition, "The requested snapshot version is too old.") {
		t.Errorf("before the log: %v", err)
	}
}

// TestPagesOfCandidates has more documents than are taken under the lock at a
// time, and few of them match.
func TestPagesOfCandidates(t *testing.T) {
	r := newRig(t, Options{})
	const n = 2*lastPage + 100
	for i := 0; i < n; {
		var writes []*pb.Write
		for ; i < n && len(writes) < 5000; i++ {
			writes = append(writes, r.set(fmt.Sprintf("c/%05d", i), fields{"n": integer(i % 1000)}))
		}
		r.mustCommit(writes...)
	}
	q := selectFrom("c")
	paths, _, err := r.find(&pb.RunQueryRequest{QueryType: structured(q)})
	if err != nil || len(paths) != n || paths[n-1] != fmt.Sprintf("c/%05d", n-1) {
		t.Errorf("found %d of %d, %v", len(paths), n, err)
	}
	q.Where = where("n", pb.StructuredQuery_FieldFilter_NOT_EQUAL, integer(3))
	q.Limit = wrapperspb.Int32(n - 100)
	if paths, _, err = r.find(&pb.RunQueryRequest{QueryType: structured(q)}); err != nil || len(paths) != n-100 {
		t.Errorf("found %d of %d, %v", len(paths), n-100, err)
	}
}
