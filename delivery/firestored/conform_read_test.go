package firestored_test

import (
	"fmt"
	"slices"
	"strings"
	"time"

	pb "cloud.google.com/go/firestore/apiv1/firestorepb"
	"google.golang.org/grpc/codes"
)

func readCases() []testCase {
	return []testCase{
		{name: "get of nothing finds nothing", run: func(e *env) {
			_, err := e.pb.GetDocument(e.ctx, &pb.GetDocumentRequest{Name: e.name("c/a")})
			e.code("get", err, codes.NotFound)
		}},
		{name: "get returns what its mask asks for", run: func(e *env) {
			e.put(set("c/a", m{"a": 1, "b": m{"c": 2, "d": 3}, "e.f": 4, "l": arr{m{"x": 1}}}))
			for mask, want := range map[string]string{"a": "{a:1}", "b.d": "{b:{d:3}}", "`e.f` b none": "{b:{c:2 d:3} e.f:4}", "a.x l.x": "{}", "": "{}"} {
				d, err := e.pb.GetDocument(e.ctx, &pb.GetDocumentRequest{Name: e.name("c/a"), Mask: &pb.DocumentMask{FieldPaths: strings.Fields(mask)}})
				e.must("get", err)
				e.equal("mask "+mask, e.show(d), want)
			}
		}},
		{name: "a read at a past time sees that time", run: pastRead},
		{name: "a read after a write sees it", run: func(e *env) {
			for i := range 30 {
				e.put(set("c/a", m{"x": i}))
				e.equal("c/a", e.doc("c/a"), fmt.Sprintf("{x:%d}", i))
			}
		}},
		{name: "a batch get finds and misses", run: batchGet},
		{name: "a document's name is checked", run: func(e *env) {
			for _, path := range []string{"c", "c/a/d", "", "c/a/", "/c/a", "c//a/b"} {
				_, err := e.pb.GetDocument(e.ctx, &pb.GetDocumentRequest{Name: e.root + "/" + path})
				e.code(path, err, codes.InvalidArgument)
			}
		}},
		{name: "a list is in the order of names and comes in pages", run: listPages},
		{name: "a list shows what is missing if asked", run: listMissing},
		{name: "a list heeds order and mask", run: listOrdered},
		{name: "a list refuses what it can't do", run: func(e *env) {
			for what, r := range map[string]*pb.ListDocumentsRequest{
				"a token of nonsense": {PageToken: "nonsense"}, "a negative page": {PageSize: -1}, "an order of those missing": {ShowMissing: true, OrderBy: "x"},
			} {
				r.Parent, r.CollectionId = e.root, "c"
				_, err := e.pb.ListDocuments(e.ctx, r)
				e.code(what, err, codes.InvalidArgument)
			}
		}},
		{name: "a list of all collections below a document", run: listAll},
		{name: "a list of nothing is empty", run: func(e *env) {
			r, err := e.pb.ListDocuments(e.ctx, &pb.ListDocumentsRequest{Parent: e.root, CollectionId: "c"})
			e.must("list", err)
			e.equal("documents", len(r.GetDocuments()), 0)
			e.equal("token", r.GetNextPageToken(), "")
		}},
		{name: "collections are listed in order and in pages", run: listCollections},
	}
}

func pastRead(e *env) {
	first := e.put(set("c/a", m{"x": 1}), set("c/b", m{"x": 1})).GetCommitTime()
	e.put(set("c/a", m{"x": 2}), del("c/b"), set("c/d", m{"x": 2}))
	d, err := e.pb.GetDocument(e.ctx, &pb.GetDocumentRequest{Name: e.name("c/a"), ConsistencySelector: &pb.GetDocumentRequest_ReadTime{ReadTime: first}})
	e.must("get", err)
	e.equal("c/a", e.show(d), "{x:1}")
	s, err := e.pb.RunQuery(e.ctx, &pb.RunQueryRequest{
		Parent: e.root, QueryType: &pb.RunQueryRequest_StructuredQuery{StructuredQuery: from("c").proto(e)},
		ConsistencySelector: &pb.RunQueryRequest_ReadTime{ReadTime: first},
	})
	e.must("query", err)
	e.equal("query", e.results(s), "a b")
	r, err := e.pb.ListDocuments(e.ctx, &pb.ListDocumentsRequest{Parent: e.root, CollectionId: "c", ConsistencySelector: &pb.ListDocumentsRequest_ReadTime{ReadTime: first}})
	e.must("list", err)
	e.equal("list", e.ids(r.GetDocuments()), "a b")
	for _, at := range []time.Time{time.Now().Add(time.Hour), time.Now().Add(-80 * 24 * time.Hour)} {
		_, err = e.pb.GetDocument(e.ctx, &pb.GetDocumentRequest{Name: e.name("c/a"), ConsistencySelector: &pb.GetDocumentRequest_ReadTime{ReadTime: stamp(at.Truncate(time.Hour))}})
		if c := codeOf(err); c != codes.InvalidArgument && c != codes.FailedPrecondition {
			e.errorf("a read at %v: %v", at, err)
		}
	}
}

func batchGet(e *env) {
	at := e.put(set("c/a", m{"x": 1, "y": 2}), set("d/b", m{"x": 2})).GetCommitTime().AsTime()
	s, err := e.pb.BatchGetDocuments(e.ctx, &pb.BatchGetDocumentsRequest{
		Database: e.db, Documents: []string{e.name("c/a"), e.name("c/none"), e.name("d/b")}, Mask: &pb.DocumentMask{FieldPaths: []string{"x"}},
	})
	e.must("batch get", err)
	rs, err := all(s)
	e.must("batch get", err)
	var got []string
	for _, r := range rs {
		if r.GetReadTime().AsTime().Before(at) {
			e.errorf("read at %v, before the commit at %v", r.GetReadTime().AsTime(), at)
		}
		if d := r.GetFound(); d != nil {
			got = append(got, e.id(d.GetName())+e.show(d))
		} else {
			got = append(got, e.id(r.GetMissing())+" missing")
		}
	}
	slices.Sort(got)
	e.equal("documents", got, "[c/a{x:1} c/none missing d/b{x:2}]")
}

// ids are the IDs of documents, in order.
func (e *env) ids(ds []*pb.Document) string {
	var out []string
	for _, d := range ds {
		out = append(out, d.GetName()[strings.LastIndex(d.GetName(), "/")+1:])
	}
	return strings.Join(out, " ")
}

// results are the IDs of a query's documents, or its error's code.
func (e *env) results(s pb.Firestore_RunQueryClient) string {
	ds, err := queried(s)
	if err != nil {
		return codeOf(err).String()
	}
	return e.ids(ds)
}

// queried are a query's documents.
func queried(s pb.Firestore_RunQueryClient) ([]*pb.Document, error) {
	rs, err := all(s)
	var ds []*pb.Document
	for _, r := range rs {
		if r.GetDocument() != nil {
			ds = append(ds, r.GetDocument())
		}
	}
	return ds, err
}

func listPages(e *env) {
	for _, id := range []string{"b", "a", "B", "ä", "a1", "10", "9", "\U0001F600", "\uFF5E"} {
		e.put(set("c/"+id, m{"id": id}))
	}
	e.put(set("c/a/d/x", nil), set("c2/y", nil))
	req := &pb.ListDocumentsRequest{Parent: e.root, CollectionId: "c", PageSize: 4}
	var pages []string
	for {
		r, err := e.pb.ListDocuments(e.ctx, req)
		e.must("list", err)
		pages = append(pages, e.ids(r.GetDocuments()))
		req.PageToken = r.GetNextPageToken()
		if req.PageToken == "" || len(pages) > 9 {
			break
		}
	}
	e.equal("pages", strings.Join(pages, "|"), "10 9 B a|a1 b ä \uFF5E|\U0001F600")
}

func listMissing(e *env) {
	e.put(set("c/a", m{"x": 1}), set("c/b/d/x", m{"x": 1}), set("c/d/e/f/g/h", m{"x": 1}), set("c/z", nil))
	list := func(missing bool, size int32) (out []string) {
		token := ""
		for {
			r, err := e.pb.ListDocuments(e.ctx, &pb.ListDocumentsRequest{Parent: e.root, CollectionId: "c", ShowMissing: missing, PageSize: size, PageToken: token, Mask: &pb.DocumentMask{}})
			e.must("list", err)
			for _, d := range r.GetDocuments() {
				out = append(out, e.id(d.GetName())+map[bool]string{true: "?"}[d.GetCreateTime() == nil])
			}
			if token = r.GetNextPageToken(); token == "" {
				return out
			}
		}
	}
	e.equal("those there", list(false, 100), "[c/a c/z]")
	e.equal("with those missing", list(true, 100), "[c/a c/b? c/d? c/z]")
	e.equal("in pages", list(true, 1), "[c/a c/b? c/d? c/z]")
}

func listOrdered(e *env) {
	e.put(set("c/a", m{"x": 2, "y": 1}), set("c/b", m{"x": 1, "y": 1}), set("c/c", m{"x": 2, "y": 1}), set("c/d", m{"y": 1}))
	r, err := e.pb.ListDocuments(e.ctx, &pb.ListDocumentsRequest{Parent: e.root, CollectionId: "c", OrderBy: "x desc, __name__ desc", PageSize: 2, Mask: &pb.DocumentMask{FieldPaths: []string{"x"}}})
	e.must("list", err)
	e.equal("first page", e.ids(r.GetDocuments()), "c a")
	e.equal("fields", e.show(r.GetDocuments()[0]), "{x:2}")
	r, err = e.pb.ListDocuments(e.ctx, &pb.ListDocumentsRequest{Parent: e.root, CollectionId: "c", OrderBy: "x desc, __name__ desc", PageSize: 2, PageToken: r.GetNextPageToken()})
	e.must("list", err)
	e.equal("second page", e.ids(r.GetDocuments()), "b")
}

func listAll(e *env) {
	e.put(set("c/a", nil), set("c/a/e/2", nil), set("c/a/d/1", nil), set("c/a/d/1/f/3", nil), set("c/b/d/4", nil))
	r, err := e.pb.ListDocuments(e.ctx, &pb.ListDocumentsRequest{Parent: e.name("c/a")})
	e.must("list", err)
	e.equal("documents", e.ids(r.GetDocuments()), "1 2")
}

func listCollections(e *env) {
	e.put(set("b/x", nil), set("a/x", nil), set("d/x/deep/y", nil), set("a/x/s2/y", nil), set("a/x/s1/y", nil), set("a/x/s1/z", nil))
	ids := func(parent string, size int32) (out []string) {
		token := ""
		for {
			r, err := e.pb.ListCollectionIds(e.ctx, &pb.ListCollectionIdsRequest{Parent: parent, PageSize: size, PageToken: token})
			e.must("list collections", err)
			out = append(out, r.GetCollectionIds()...)
			if token = r.GetNextPageToken(); token == "" {
				return out
			}
		}
	}
	e.equal("of the database", ids(e.root, 0), "[a b d]")
	e.equal("of the database in pages", ids(e.root, 2), "[a b d]")
	e.equal("of a document", ids(e.name("a/x"), 1), "[s1 s2]")
	e.equal("of a missing document", ids(e.name("d/x"), 100), "[deep]")
	e.equal("of one without", ids(e.name("b/x"), 100), "[]")
}

// limitRule is a rule about what may be stored at all.
type limitRule struct {
	name string
	id   string // of the document; "a" if empty
	f    m
	okay bool
}

func nested(levels int, inner any) any {
	for range levels {
		inner = m{"m": inner}
	}
	return inner
}

func limitRules() []limitRule {
	long := strings.Repeat("x", 1500)
	return []limitRule{
		{name: "an ID has 1500 bytes", id: long, okay: true},
		{name: "an ID has no more than 1500 bytes", id: long + "x"},
		{name: "an ID is no dot", id: "."},
		{name: "an ID is not two dots", id: ".."},
		{name: "an ID may be three dots", id: "...", okay: true},
		{name: "an ID is not between double underscores", id: "__x__"},
		{name: "an ID may have single underscores", id: "_x_", okay: true},
		{name: "a field is not between double underscores", f: m{"__x__": 1}},
		{name: "a field in a map is not between double underscores", f: m{"m": m{"__x__": 1}}},
		{name: "a field has a name", f: m{"": 1}},
		{name: "a field's name has 1500 bytes", f: m{long: 1}, okay: true},
		{name: "a field's name has no more than 1500 bytes", f: m{long + "x": 1}},
		{name: "an array holds no array", f: m{"x": arr{1, arr{2}}}},
		{name: "an array in a map in an array", f: m{"x": arr{m{"y": arr{1}}}}, okay: true},
		{name: "maps nest 20 deep", f: m{"m": nested(19, 1)}, okay: true},
		{name: "maps nest no deeper than 20", f: m{"m": nested(21, 1)}},
		{name: "a document of nearly a mebibyte", f: m{"x": strings.Repeat("x", 1<<20-100)}, okay: true},
		{name: "a document is no larger than a mebibyte", f: m{"x": strings.Repeat("x", 1<<19), "y": strings.Repeat("y", 1<<19)}},
		{name: "text is UTF-8 of any kind", f: m{"x": "\x00\u2028\U0010FFFF"}, okay: true},
		{name: "a latitude is at most 90", f: m{"x": geo{90.5, 0}}},
		{name: "a longitude is at most 180", f: m{"x": geo{0, -181}}},
		{name: "a time is not after 9999", f: m{"x": time.Date(10000, 1, 1, 0, 0, 0, 0, time.UTC)}},
	}
}

func limitCases() []testCase {
	var out []testCase
	for _, r := range limitRules() {
		out = append(out, testCase{name: r.name, run: func(e *env) {
			id := r.id
			if id == "" {
				id = "a"
			}
			_, err := e.commit(set("c/"+id, r.f))
			if r.okay {
				e.code("set", err, codes.OK)
				return
			}
			e.code("set", err, codes.InvalidArgument)
		}})
	}
	return append(out,
		testCase{name: "a value is set", run: func(e *env) {
			w := e.write(set("c/a", nil))
			w.GetUpdate().Fields["x"] = &pb.Value{}
			_, err := e.pb.Commit(e.ctx, &pb.CommitRequest{Database: e.db, Writes: []*pb.Write{w}})
			e.code("set", err, codes.InvalidArgument)
		}},
		testCase{name: "a collection's ID is not between double underscores", run: func(e *env) {
			_, err := e.commit(set("__c__/a", nil))
			e.code("set", err, codes.InvalidArgument)
		}},
		testCase{name: "a commit has more than 500 writes", run: func(e *env) {
			var ws []write
			for i := range 600 {
				ws = append(ws, set(fmt.Sprintf("c/%d", i), nil))
			}
			_, err := e.commit(ws...)
			e.code("commit", err, codes.OK)
		}},
		testCase{name: "a document has no more than 500 transforms in a commit", run: func(e *env) {
			w := set("c/a", nil)
			for i := range 501 {
				w.transforms = append(w.transforms, transform{fmt.Sprintf("f%d", i), "increment", 1})
			}
			_, err := e.commit(w)
			e.code("commit", err, codes.InvalidArgument)
		}},
		testCase{name: "a request has nine mebibytes", run: func(e *env) { e.code("commit", e.large(9), codes.OK) }},
		testCase{name: "a request is no larger than ten mebibytes", run: func(e *env) {
			if e.large(11) == nil {
				e.errorf("eleven were taken")
			}
		}},
		testCase{name: "a write names its document's database", run: func(e *env) {
			w := e.write(set("c/a", nil))
			w.GetUpdate().Name = "c/a"
			_, err := e.pb.Commit(e.ctx, &pb.CommitRequest{Database: e.db, Writes: []*pb.Write{w}})
			e.code("commit", err, codes.InvalidArgument)
		}},
	)
}

// large commits documents of a mebibyte each.
func (e *env) large(mebibytes int) error {
	var ws []write
	for i := range mebibytes {
		ws = append(ws, set(fmt.Sprintf("c/%d", i), m{"x": strings.Repeat("x", 1<<20-200)}))
	}
	_, err := e.commit(ws...)
	return err
}
