package firestored

import (
	"context"
	"fmt"
	"testing"

	pb "cloud.google.com/go/firestore/apiv1/firestorepb"
	"google.golang.org/protobuf/types/known/wrapperspb"
)

// TestUsage is what https://firebase.google.com/docs/firestore/pricing says that
// requests are billed, with 2,500 documents in the collection c.
func TestUsage(t *testing.T) {
	r := newRig(t, Options{})
	var writes []*pb.Write
	for i := range 2500 {
		writes = append(writes, r.set(fmt.Sprintf("c/%04d", i), fields{"n": integer(i % 2)}))
	}
	r.mustCommit(writes...)
	if got := r.server.Usage(); got != (Usage{Writes: 2500, Requests: 1}) {
		t.Errorf("a commit of 2,500 writes: %+v", got)
	}
	ctx := context.Background()
	query := func(change func(*pb.StructuredQuery)) func() {
		return func() {
			q := selectFrom("c")
			change(q)
			if _, _, err := r.find(&pb.RunQueryRequest{QueryType: structured(q)}); err != nil {
				t.Error(err)
			}
		}
	}
	count := func(upTo int64, change func(*pb.StructuredQuery)) func() {
		return func() {
			q := selectFrom("c")
			change(q)
			r.count(q, upTo)
		}
	}
	limit := func(n, offset int32) func(*pb.StructuredQuery) {
		return func(q *pb.StructuredQuery) { q.Limit, q.Offset = wrapperspb.Int32(n), offset }
	}
	none := func(q *pb.StructuredQuery) { q.Where = where("n", pb.StructuredQuery_FieldFilter_EQUAL, integer(7)) }
	half := func(q *pb.StructuredQuery) { q.Where = where("n", pb.StructuredQuery_FieldFilter_EQUAL, integer(1)) }
	tests := map[string]struct {
		do   func()
		want Usage
	}{
		"get":             {func() { r.get("c/0000") }, Usage{Reads: 1}},
		"get a gap":       {func() { r.get("c/none") }, Usage{Reads: 1}},
		"query":           {query(limit(10, 0)), Usage{Reads: 10}},
		"query a few":     {query(limit(1, 0)), Usage{Reads: 1}},
		"query nothing":   {query(none), Usage{Reads: 1}},
		"offset":          {query(limit(10, 5)), Usage{Reads: 15}},
		"offset too far":  {query(limit(10, 2600)), Usage{Reads: 2500}},
		"count":           {count(0, func(*pb.StructuredQuery) {}), Usage{Reads: 3}},
		"count half":      {count(0, half), Usage{Reads: 2}},
		"count nothing":   {count(0, none), Usage{Reads: 1}},
		"count up to":     {count(1000, func(*pb.StructuredQuery) {}), Usage{Reads: 1}},
		"count a limit":   {count(0, limit(1001, 0)), Usage{Reads: 2}},
		"sum":             {func() { _, _ = r.aggregate(selectFrom("c"), sumOf("s", "n")) }, Usage{Reads: 3}},
		"write":           {func() { r.mustCommit(r.set("d/a", nil)) }, Usage{Writes: 1}},
		"write no change": {func() { r.mustCommit(r.update("d/a", nil)) }, Usage{Writes: 1}},
		"write in vain":   {func() { _, _ = r.commit(r.set("d/b", nil), ifExists(r.set("d/none", nil), true)) }, Usage{}},
		"delete":          {func() { r.mustCommit(r.remove("d/a"), r.remove("d/none")) }, Usage{Deletes: 2}},
		"batch": {func() {
			_, _ = r.batch(r.set("d/c", nil), r.remove("d/a"), ifExists(r.set("d/none", nil), true))
		}, Usage{Writes: 1, Deletes: 1}},
		"batch get": {func() {
			stream, err := r.client.BatchGetDocuments(ctx, &pb.BatchGetDocumentsRequest{Database: r.name, Documents: []string{r.root + "/c/0000", r.root + "/c/none"}})
			for err == nil {
				_, err = stream.Recv()
			}
		}, Usage{Reads: 2}},
		"list": {func() {
			_, _ = r.client.ListDocuments(ctx, &pb.ListDocumentsRequest{Parent: r.root, CollectionId: "c", PageSize: 7})
		}, Usage{Reads: 7}},
		"list collections": {func() {
			_, _ = r.client.ListCollectionIds(ctx, &pb.ListCollectionIdsRequest{Parent: r.root})
		}, Usage{Reads: 1}},
		"create": {func() {
			_, _ = r.client.CreateDocument(ctx, &pb.CreateDocumentRequest{Parent: r.root, CollectionId: "d"})
		}, Usage{Writes: 1}},
	}
	for name, test := range tests {
		before := r.server.Usage()
		test.do()
		after := r.server.Usage()
		got := Usage{after.Reads - before.Reads, after.Writes - before.Writes, after.Deletes - before.Deletes, after.Requests - before.Requests}
		test.want.Requests = 1
		if got != test.want {
			t.Errorf("%s: %+v, want %+v", name, got, test.want)
		}
	}
}
