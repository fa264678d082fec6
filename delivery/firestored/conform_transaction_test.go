package firestored_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"

	"cloud.google.com/go/firestore"
	pb "cloud.google.com/go/firestore/apiv1/firestorepb"
	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/types/known/timestamppb"
)

// begin starts a transaction that reads and writes. It is optimistic, for
// locks would let a case wait for itself.
func (e *env) begin() []byte {
	return e.beginWith(&pb.TransactionOptions{Mode: &pb.TransactionOptions_ReadWrite_{ReadWrite: &pb.TransactionOptions_ReadWrite{
		ConcurrencyMode: pb.TransactionOptions_OPTIMISTIC,
	}}})
}

func (e *env) beginWith(o *pb.TransactionOptions) []byte {
	r, err := e.pb.BeginTransaction(e.ctx, &pb.BeginTransactionRequest{Database: e.db, Options: o})
	e.must("begin", err)
	if len(r.GetTransaction()) == 0 {
		e.fatalf("a transaction without an ID")
	}
	return r.GetTransaction()
}

func readOnly(at *timestamppb.Timestamp) *pb.TransactionOptions {
	o := &pb.TransactionOptions_ReadOnly{}
	if at != nil {
		o.ConsistencySelector = &pb.TransactionOptions_ReadOnly_ReadTime{ReadTime: at}
	}
	return &pb.TransactionOptions{Mode: &pb.TransactionOptions_ReadOnly_{ReadOnly: o}}
}

// get reads a document in a transaction: its text, "missing" or a code.
func (e *env) get(tx []byte, path string) string {
	d, err := e.pb.GetDocument(e.ctx, &pb.GetDocumentRequest{Name: e.name(path), ConsistencySelector: &pb.GetDocumentRequest_Transaction{Transaction: tx}})
	if codeOf(err) == codes.NotFound {
		return "missing"
	}
	if err != nil {
		return codeOf(err).String()
	}
	return e.show(d)
}

func (e *env) findIn(tx []byte, q query) string {
	s, err := e.pb.RunQuery(e.ctx, &pb.RunQueryRequest{
		Parent: e.root, QueryType: &pb.RunQueryRequest_StructuredQuery{StructuredQuery: q.proto(e)},
		ConsistencySelector: &pb.RunQueryRequest_Transaction{Transaction: tx},
	})
	e.must("query", err)
	return e.results(s)
}

func (e *env) commitIn(tx []byte, ws ...write) error {
	_, err := e.pb.Commit(e.ctx, &pb.CommitRequest{Database: e.db, Transaction: tx, Writes: e.writes(ws)})
	return err
}

// conflict is a rule about a transaction on c/a and c/b that somebody else
// comes in between.
type conflict struct {
	name  string
	reads func(e *env, tx []byte)
	other write
	want  codes.Code
}

func conflicts() []conflict {
	get := func(path string) func(*env, []byte) { return func(e *env, tx []byte) { e.get(tx, path) } }
	find := func(q query) func(*env, []byte) { return func(e *env, tx []byte) { e.findIn(tx, q) } }
	one := from("c").where(is("x", "==", 1))
	return []conflict{
		{"a transaction fails if what it read was changed", get("c/a"), set("c/a", m{"x": 5}), codes.Aborted},
		{"a transaction fails if what it read was deleted", get("c/a"), del("c/a"), codes.Aborted},
		{"a transaction fails if what it missed was made", get("c/new"), set("c/new", nil), codes.Aborted},
		{"a transaction fails if what it found was changed", find(one), set("c/a", m{"x": 5}), codes.Aborted},
		{"a transaction fails if it would find one more", find(one), set("c/new", m{"x": 1}), codes.Aborted},
		{"a transaction fails if what it counted has changed", countIn, set("c/new", m{"x": 1}), codes.Aborted},
		{"a transaction goes if what it would not find was made", find(one), set("c/new", m{"x": 3}), codes.OK},
		{"a transaction goes if what it did not read was changed", get("c/b"), set("c/a", m{"x": 5}), codes.OK},
		{"a transaction that reads nothing goes", func(*env, []byte) {}, set("c/b", m{"x": 5}), codes.OK},
	}
}

func countIn(e *env, tx []byte) {
	q := e.aggregation(from("c").where(is("x", "==", 1)), 0)
	s, err := e.pb.RunAggregationQuery(e.ctx, &pb.RunAggregationQueryRequest{
		Parent: e.root, QueryType: q, ConsistencySelector: &pb.RunAggregationQueryRequest_Transaction{Transaction: tx},
	})
	e.must("count", err)
	_, err = all(s)
	e.must("count", err)
}

func transactionCases() []testCase {
	var out []testCase
	for _, c := range conflicts() {
		out = append(out, testCase{name: c.name, run: func(e *env) {
			e.put(set("c/a", m{"x": 1}), set("c/b", m{"x": 2}))
			tx := e.begin()
			c.reads(e, tx)
			e.put(c.other)
			e.code("commit", e.commitIn(tx, set("c/b", m{"x": 9})), c.want)
			want := map[bool]string{true: "{x:9}", false: "{x:2}"}[c.want == codes.OK]
			e.equal("c/b", e.doc("c/b"), want)
		}})
	}
	return append(out,
		testCase{name: "a transaction writes what it is told, all at once", run: func(e *env) {
			e.put(set("c/a", m{"x": 1}))
			tx := e.begin()
			e.equal("read", e.get(tx, "c/a"), "{x:1}")
			e.code("commit", e.commitIn(tx, set("c/a", m{"x": 2}), set("c/b", m{"x": 2}).new()), codes.OK)
			e.equal("documents", e.doc("c/a")+e.doc("c/b"), "{x:2}{x:2}")
		}},
		testCase{name: "a transaction's refused write refuses all", run: func(e *env) {
			tx := e.begin()
			e.code("commit", e.commitIn(tx, set("c/a", nil), set("c/b", nil).must()), codes.NotFound)
			e.equal("c/a", e.doc("c/a"), "missing")
		}},
		testCase{name: "of two transactions that read and write one document the second fails", run: func(e *env) {
			e.put(set("c/a", m{"x": 1}))
			one, two := e.begin(), e.begin()
			e.get(one, "c/a")
			e.get(two, "c/a")
			e.code("first", e.commitIn(one, set("c/a", m{"x": 2})), codes.OK)
			e.code("second", e.commitIn(two, set("c/a", m{"x": 3})), codes.Aborted)
			e.equal("c/a", e.doc("c/a"), "{x:2}")
		}},
		testCase{name: "a transaction sees one time", run: func(e *env) {
			e.put(set("c/a", m{"x": 1}), set("c/b", m{"x": 1}))
			tx := e.begin()
			e.get(tx, "c/a")
			e.put(set("c/b", m{"x": 2}), set("c/c", nil), del("c/a"))
			e.equal("documents", e.get(tx, "c/a")+e.get(tx, "c/b")+e.get(tx, "c/c"), "{x:1}{x:1}missing")
			e.equal("query", e.findIn(tx, from("c")), "a b")
		}},
		testCase{name: "a transaction does not see its own writes before it ends", run: func(e *env) {
			tx := e.begin()
			e.equal("before", e.get(tx, "c/a"), "missing")
			e.code("commit", e.commitIn(tx, set("c/a", nil)), codes.OK)
			e.equal("after", e.doc("c/a"), "{}")
		}},
		testCase{name: "a transaction rolled back is over", run: func(e *env) {
			tx := e.begin()
			e.get(tx, "c/a")
			_, err := e.pb.Rollback(e.ctx, &pb.RollbackRequest{Database: e.db, Transaction: tx})
			e.must("rollback", err)
			e.code("commit", e.commitIn(tx, set("c/a", nil)), codes.InvalidArgument)
			e.equal("c/a", e.doc("c/a"), "missing")
		}},
		testCase{name: "a transaction that is over is told in the words that clients look for", run: func(e *env) {
			tx := e.begin()
			e.code("commit", e.commitIn(tx), codes.OK)
			if err := e.commitIn(tx, set("c/a", nil)); err == nil || !strings.Contains(err.Error(), "transaction has expired") {
				e.errorf("commit again: %v", err)
			}
		}},
		testCase{name: "a transaction committed is over", run: func(e *env) {
			tx := e.begin()
			e.code("commit", e.commitIn(tx, set("c/a", m{"x": 1})), codes.OK)
			e.code("commit again", e.commitIn(tx, set("c/a", m{"x": 2})), codes.InvalidArgument)
			e.equal("read", e.get(tx, "c/a"), "InvalidArgument")
			e.equal("c/a", e.doc("c/a"), "{x:1}")
		}},
		testCase{name: "an unknown transaction is refused", run: func(e *env) {
			e.code("commit", e.commitIn([]byte("nonsense"), set("c/a", nil)), codes.InvalidArgument)
			e.equal("read", e.get([]byte("nonsense"), "c/a"), "InvalidArgument")
		}},
		testCase{name: "a transaction for reading sees one time and stops nobody", run: readingTransaction},
		testCase{name: "a transaction for reading reads the past", run: func(e *env) {
			at := e.put(set("c/a", m{"x": 1})).GetCommitTime()
			e.put(set("c/a", m{"x": 2}), set("c/b", nil))
			tx := e.beginWith(readOnly(at))
			e.equal("c/a", e.get(tx, "c/a"), "{x:1}")
			e.equal("query", e.findIn(tx, from("c")), "a")
		}},
		testCase{name: "a read begins a transaction", run: readBegins},
		testCase{name: "a query begins a transaction", run: queryBegins},
		testCase{name: "a transaction that failed is tried again as itself", run: func(e *env) {
			e.put(set("c/a", m{"x": 1}))
			tx := e.begin()
			e.get(tx, "c/a")
			e.put(set("c/a", m{"x": 2}))
			e.code("commit", e.commitIn(tx, set("c/b", nil)), codes.Aborted)
			again := e.beginWith(&pb.TransactionOptions{Mode: &pb.TransactionOptions_ReadWrite_{ReadWrite: &pb.TransactionOptions_ReadWrite{RetryTransaction: tx}}})
			e.equal("c/a", e.get(again, "c/a"), "{x:2}")
			e.code("commit", e.commitIn(again, set("c/b", nil)), codes.OK)
		}},
		testCase{name: "counters that many raise lose nothing", run: raiseTogether},
		testCase{name: "moves between accounts keep the sum", run: moveTogether},
	)
}

func readingTransaction(e *env) {
	e.put(set("c/a", m{"x": 1}))
	tx := e.beginWith(readOnly(nil))
	e.equal("c/a", e.get(tx, "c/a"), "{x:1}")
	e.put(set("c/a", m{"x": 2}), set("c/b", nil))
	e.equal("c/a again", e.get(tx, "c/a"), "{x:1}")
	e.equal("query", e.findIn(tx, from("c")), "a")
	e.code("commit with a write", e.commitIn(tx, set("c/a", nil)), codes.InvalidArgument)
	e.equal("c/a afterwards", e.doc("c/a"), "{x:2}")
	e.code("commit", e.commitIn(e.beginWith(readOnly(nil))), codes.OK)
}

func readBegins(e *env) {
	e.put(set("c/a", m{"x": 1}))
	s, err := e.pb.BatchGetDocuments(e.ctx, &pb.BatchGetDocumentsRequest{
		Database: e.db, Documents: []string{e.name("c/a")},
		ConsistencySelector: &pb.BatchGetDocumentsRequest_NewTransaction{NewTransaction: &pb.TransactionOptions{Mode: &pb.TransactionOptions_ReadWrite_{ReadWrite: &pb.TransactionOptions_ReadWrite{
			ConcurrencyMode: pb.TransactionOptions_OPTIMISTIC,
		}}}},
	})
	e.must("batch get", err)
	rs, err := all(s)
	e.must("batch get", err)
	if len(rs) == 0 || len(rs[0].GetTransaction()) == 0 {
		e.fatalf("no transaction in the first answer: %v", rs)
	}
	e.put(set("c/a", m{"x": 2}))
	e.code("commit", e.commitIn(rs[0].GetTransaction(), set("c/b", nil)), codes.Aborted)
}

func queryBegins(e *env) {
	e.put(set("c/a", m{"x": 1}))
	s, err := e.pb.RunQuery(e.ctx, &pb.RunQueryRequest{
		Parent: e.root, QueryType: &pb.RunQueryRequest_StructuredQuery{StructuredQuery: from("c").proto(e)},
		ConsistencySelector: &pb.RunQueryRequest_NewTransaction{NewTransaction: &pb.TransactionOptions{Mode: &pb.TransactionOptions_ReadWrite_{ReadWrite: &pb.TransactionOptions_ReadWrite{}}}},
	})
	e.must("query", err)
	rs, err := all(s)
	e.must("query", err)
	if len(rs) == 0 || len(rs[0].GetTransaction()) == 0 || rs[0].GetDocument() != nil {
		e.fatalf("the first answer is not the transaction alone: %v", rs)
	}
	e.code("commit", e.commitIn(rs[0].GetTransaction(), set("c/b", nil)), codes.OK)
}

// together runs f n times at once, and ends the case at an error.
func (e *env) together(n int, f func(i int) error) {
	errs := make([]error, n)
	var wg sync.WaitGroup
	for i := range n {
		wg.Go(func() { errs[i] = f(i) })
	}
	wg.Wait()
	e.must("together", errors.Join(errs...))
}

func raiseTogether(e *env) {
	doc := e.sdk.Doc("c/a")
	e.put(set("c/a", m{"n": 0}))
	e.together(4, func(int) error {
		return e.sdk.RunTransaction(e.ctx, func(_ context.Context, tx *firestore.Transaction) error {
			d, err := tx.Get(doc)
			if err != nil {
				return err
			}
			return tx.Set(doc, m{"n": d.Data()["n"].(int64) + 1})
		}, firestore.MaxAttempts(50))
	})
	e.equal("counter", e.doc("c/a"), "{n:4}")
}

func moveTogether(e *env) {
	for i := range 3 {
		e.put(set(fmt.Sprintf("c/%d", i), m{"n": 10}))
	}
	e.together(4, func(i int) error {
		return e.sdk.RunTransaction(e.ctx, func(_ context.Context, tx *firestore.Transaction) error {
			all, err := tx.Documents(e.sdk.Collection("c").OrderBy("n", firestore.Desc)).GetAll()
			if err != nil {
				return err
			}
			most, least := all[0], all[2]
			if err := tx.Update(most.Ref, []firestore.Update{{Path: "n", Value: most.Data()["n"].(int64) - int64(i)}}); err != nil {
				return err
			}
			return tx.Update(least.Ref, []firestore.Update{{Path: "n", Value: least.Data()["n"].(int64) + int64(i)}})
		}, firestore.MaxAttempts(50))
	})
	docs, err := e.sdk.Collection("c").Documents(e.ctx).GetAll()
	e.must("query", err)
	sum := int64(0)
	for _, d := range docs {
		sum += d.Data()["n"].(int64)
	}
	e.equal("sum", sum, 30)
}
