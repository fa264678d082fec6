package firestored

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	pb "cloud.google.com/go/firestore/apiv1/firestorepb"
	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/types/known/timestamppb"
	"google.golang.org/protobuf/types/known/wrapperspb"
)

const contention = "Aborted due to cross-transaction contention."

func readOnly(at *timestamppb.Timestamp) *pb.TransactionOptions {
	mode := &pb.TransactionOptions_ReadOnly{}
	if at != nil {
		mode.ConsistencySelector = &pb.TransactionOptions_ReadOnly_ReadTime{ReadTime: at}
	}
	return &pb.TransactionOptions{Mode: &pb.TransactionOptions_ReadOnly_{ReadOnly: mode}}
}

func readWrite() *pb.TransactionOptions {
	return &pb.TransactionOptions{Mode: &pb.TransactionOptions_ReadWrite_{ReadWrite: &pb.TransactionOptions_ReadWrite{}}}
}

func (r *rig) begin(o *pb.TransactionOptions) []byte {
	r.Helper()
	response, err := r.client.BeginTransaction(context.Background(), &pb.BeginTransactionRequest{Database: r.name, Options: o})
	if err != nil {
		r.Fatal(err)
	}
	return response.GetTransaction()
}

// within reads a document in a transaction.
func (r *rig) within(tx []byte, path string) (*pb.Document, error) {
	return r.client.GetDocument(context.Background(), &pb.GetDocumentRequest{
		Name: r.root + "/" + path, ConsistencySelector: &pb.GetDocumentRequest_Transaction{Transaction: tx},
	})
}

func (r *rig) end(tx []byte, writes ...*pb.Write) error {
	_, err := r.client.Commit(context.Background(), &pb.CommitRequest{Database: r.name, Transaction: tx, Writes: writes})
	return err
}

func (r *rig) rollback(tx []byte) error {
	_, err := r.client.Rollback(context.Background(), &pb.RollbackRequest{Database: r.name, Transaction: tx})
	return err
}

func (r *rig) findIn(tx []byte, q *pb.StructuredQuery) ([]string, error) {
	paths, _, err := r.find(&pb.RunQueryRequest{QueryType: structured(q), ConsistencySelector: &pb.RunQueryRequest_Transaction{Transaction: tx}})
	return paths, err
}

// TestTransactionConflicts has a transaction that reads, another writer, and
// then the transaction's commit.
func TestTransactionConflicts(t *testing.T) {
	first := func(n int32, o pb.StructuredQuery_Direction) *pb.StructuredQuery {
		q := selectFrom("c")
		q.Where = where("n", pb.StructuredQuery_FieldFilter_GREATER_THAN, integer(0))
		q.OrderBy = []*pb.StructuredQuery_Order{orderBy("n", o)}
		q.Limit = wrapperspb.Int32(n)
		return q
	}
	all := selectFrom("c")
	some := selectFrom("c")
	some.Where = where("n", pb.StructuredQuery_FieldFilter_EQUAL, integer(1))
	group := selectFrom("sub")
	group.From[0].AllDescendants = true
	tests := map[string]struct {
		read  func(r *rig, tx []byte) error
		write func(r *rig) *pb.Write
		abort bool
	}{
		"nothing read":                 {nil, func(r *rig) *pb.Write { return r.set("c/1", nil) }, false},
		"a document read and changed":  {get("c/1"), func(r *rig) *pb.Write { return r.set("c/1", nil) }, true},
		"a document read and deleted":  {get("c/1"), func(r *rig) *pb.Write { return r.remove("c/1") }, true},
		"a gap read and filled":        {get("c/none"), func(r *rig) *pb.Write { return r.set("c/none", nil) }, true},
		"another document changed":     {get("c/1"), func(r *rig) *pb.Write { return r.set("c/2", nil) }, false},
		"written without a change":     {get("c/1"), func(r *rig) *pb.Write { return r.set("c/1", fields{"n": integer(1)}) }, false},
		"a result changed":             {run(all), func(r *rig) *pb.Write { return r.set("c/1", nil) }, true},
		"a result added":               {run(all), func(r *rig) *pb.Write { return r.set("c/none", nil) }, true},
		"a result removed":             {run(all), func(r *rig) *pb.Write { return r.remove("c/1") }, true},
		"another collection":           {run(all), func(r *rig) *pb.Write { return r.set("d/1", nil) }, false},
		"one below":                    {run(all), func(r *rig) *pb.Write { return r.set("c/1/sub/1", nil) }, false},
		"into the filter":              {run(some), func(r *rig) *pb.Write { return r.set("c/2", fields{"n": integer(1)}) }, true},
		"out of the filter":            {run(some), func(r *rig) *pb.Write { return r.set("c/1", fields{"n": integer(2)}) }, true},
		"outside of the filter":        {run(some), func(r *rig) *pb.Write { return r.set("c/2", fields{"n": integer(3)}) }, false},
		"behind the limit":             {run(first(2, pb.StructuredQuery_ASCENDING)), func(r *rig) *pb.Write { return r.set("c/9", fields{"n": integer(9)}) }, false},
		"before the limit":             {run(first(2, pb.StructuredQuery_ASCENDING)), func(r *rig) *pb.Write { return r.set("c/0", fields{"n": integer(1)}) }, true},
		"before the limit, going down": {run(first(2, pb.StructuredQuery_DESCENDING)), func(r *rig) *pb.Write { return r.set("c/9", fields{"n": integer(9)}) }, true},
		"below the limit":              {run(first(50, pb.StructuredQuery_ASCENDING)), func(r *rig) *pb.Write { return r.set("c/9", fields{"n": integer(9)}) }, true},
		"a collection group":           {run(group), func(r *rig) *pb.Write { return r.set("c/1/sub/9", nil) }, true},
		"what was counted":             {counted(some), func(r *rig) *pb.Write { return r.set("c/2", fields{"n": integer(1)}) }, true},
		"what was not counted":         {counted(some), func(r *rig) *pb.Write { return r.set("c/2", fields{"n": integer(3)}) }, false},
	}
	r := newRig(t, Options{})
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			r.mustCommit(r.set("c/1", fields{"n": integer(1)}), r.set("c/2", fields{"n": integer(2)}), r.set("c/3", fields{"n": integer(3)}),
				r.remove("c/none"), r.remove("c/9"), r.remove("c/0"), r.remove("result/a"), r.remove("c/1/sub/9"), r.set("c/1/sub/1", nil))
			tx := r.begin(nil)
			if test.read != nil {
				if err := test.read(r, tx); err != nil {
					t.Fatal(err)
				}
			}
			r.mustCommit(test.write(r))
			err := r.end(tx, r.set("result/a", nil))
			if test.abort != refused(err, codes.Aborted, contention) || !test.abort && err != nil {
				t.Errorf("got %v", err)
			}
			if written := r.get("result/a") != nil; written == test.abort {
				t.Errorf("the write was applied: %v", written)
			}
			if err := r.end(tx); !refused(err, codes.InvalidArgument, "The referenced transaction has expired or is no longer valid.") {
				t.Errorf("once more: %v", err)
			}
		})
	}
}

func get(path string) func(*rig, []byte) error {
	return func(r *rig, tx []byte) error {
		if _, err := r.within(tx, path); err != nil && !refused(err, codes.NotFound, "not found") {
			return err
		}
		return nil
	}
}

func run(q *pb.StructuredQuery) func(*rig, []byte) error {
	return func(r *rig, tx []byte) error {
		_, err := r.findIn(tx, q)
		return err
	}
}

func counted(q *pb.StructuredQuery) func(*rig, []byte) error {
	return func(r *rig, tx []byte) error {
		stream, err := r.client.RunAggregationQuery(context.Background(), &pb.RunAggregationQueryRequest{
			Parent: r.root,
			QueryType: &pb.RunAggregationQueryRequest_StructuredAggregationQuery{StructuredAggregationQuery: &pb.StructuredAggregationQuery{
				QueryType:    &pb.StructuredAggregationQuery_StructuredQuery{StructuredQuery: q},
				Aggregations: []*pb.StructuredAggregationQuery_Aggregation{{Operator: countUpTo(0)}},
			}},
			ConsistencySelector: &pb.RunAggregationQueryRequest_Transaction{Transaction: tx},
		})
		if err != nil {
			return err
		}
		_, err = stream.Recv()
		return err
	}
}

// TestReadsOfATransactionAreOfOneTime has writes between a transaction's reads.
func TestReadsOfATransactionAreOfOneTime(t *testing.T) {
	r := newRig(t, Options{})
	for name, options := range map[string]*pb.TransactionOptions{"read-write": readWrite(), "read-only": readOnly(nil)} {
		t.Run(name, func(t *testing.T) {
			r.mustCommit(r.set("c/a", fields{"n": integer(1)}), r.set("c/b", fields{"n": integer(1)}), r.remove("c/new"))
			tx := r.begin(options)
			if _, err := r.within(tx, "c/a"); err != nil {
				t.Fatal(err)
			}
			r.mustCommit(r.set("c/a", fields{"n": integer(2)}), r.remove("c/b"), r.set("c/new", nil))
			for path, there := range map[string]bool{"c/a": true, "c/b": true, "c/new": false} {
				d, err := r.within(tx, path)
				if there != sameFields(d, fields{"n": integer(1)}) {
					t.Errorf("%s: %v, %v", path, d, err)
				}
			}
			if paths, err := r.findIn(tx, selectFrom("c")); fmt.Sprint(paths) != "[c/a c/b]" {
				t.Errorf("found %v, %v", paths, err)
			}
		})
	}
}

func TestReadOnlyTransactions(t *testing.T) {
	r := newRig(t, Options{})
	past := r.mustCommit(r.set("c/a", fields{"n": integer(1)})).GetCommitTime()
	r.mustCommit(r.set("c/a", fields{"n": integer(2)}))
	tx := r.begin(readOnly(past))
	if d, err := r.within(tx, "c/a"); !sameFields(d, fields{"n": integer(1)}) {
		t.Errorf("in the past: %v, %v", d, err)
	}
	if err := r.end(tx); err != nil {
		t.Errorf("commit without writes: %v", err)
	}
	tx = r.begin(readOnly(nil))
	if d, err := r.within(tx, "c/a"); !sameFields(d, fields{"n": integer(2)}) {
		t.Errorf("at the beginning: %v, %v", d, err)
	}
	r.mustCommit(r.set("c/a", fields{"n": integer(3)}))
	if err := r.end(tx, r.set("c/b", nil)); !refused(err, codes.InvalidArgument, "Cannot modify entities in a read-only transaction.") {
		t.Errorf("commit with writes: %v", err)
	}
}

func TestEndsOfTransactions(t *testing.T) {
	r := newRig(t, Options{})
	other := newRig(t, Options{})
	foreign := other.begin(nil)
	for name, id := range map[string][]byte{"junk": []byte("junk"), "of another server": foreign} {
		if err := r.end(id); !refused(err, codes.InvalidArgument, "Invalid transaction.") {
			t.Errorf("commit of one that is %s: %v", name, err)
		}
		if err := r.rollback(id); !refused(err, codes.InvalidArgument, "Invalid transaction.") {
			t.Errorf("rollback of one that is %s: %v", name, err)
		}
		if _, err := r.within(id, "c/a"); !refused(err, codes.InvalidArgument, "Invalid transaction.") {
			t.Errorf("read in one that is %s: %v", name, err)
		}
	}
	tx := r.begin(nil)
	next := slices.Clone(tx)
	next[len(next)-1]++
	if err := r.end(next); !refused(err, codes.InvalidArgument, "Invalid transaction.") {
		t.Errorf("one that is yet to be begun: %v", err)
	}
	if err := r.rollback(tx); err != nil {
		t.Errorf("rollback: %v", err)
	}
	if err := r.rollback(tx); err != nil {
		t.Errorf("rollback again: %v", err)
	}
	if _, err := r.within(tx, "c/a"); !refused(err, codes.InvalidArgument, "transaction has expired") {
		t.Errorf("read after it: %v", err)
	}
	if err := r.end(tx, r.set("c/a", nil)); !refused(err, codes.InvalidArgument, "transaction has expired") {
		t.Errorf("commit after it: %v", err)
	}
	if err := r.rollback(nil); !refused(err, codes.InvalidArgument, "Invalid transaction.") {
		t.Errorf("rollback of none: %v", err)
	}
}

// TestTransactionsExpire after a minute without use, or 270 seconds in all.
func TestTransactionsExpire(t *testing.T) {
	tests := map[string]struct {
		pauses []time.Duration // before each read
		last   error
	}{
		"used each minute": {[]time.Duration{time.Minute, time.Minute, time.Minute, time.Minute}, nil},
		"idle too long":    {[]time.Duration{time.Minute + time.Microsecond}, errTransactionOver()},
		"at the last":      {[]time.Duration{time.Minute, time.Minute, time.Minute, time.Minute, 30 * time.Second}, nil},
		"lives too long":   {[]time.Duration{time.Minute, time.Minute, time.Minute, time.Minute, 30*time.Second + time.Microsecond}, errTransactionOver()},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				db := newDatabase("projects/p/databases/d", 1000)
				tx, err := db.begin(nil, false)
				if err != nil {
					t.Fatal(err)
				}
				for i, pause := range test.pauses {
					time.Sleep(pause)
					_, err := db.transaction(tx.id, false)
					if last := i == len(test.pauses)-1; !last && err != nil || last && fmt.Sprint(err) != fmt.Sprint(test.last) {
						t.Errorf("after %v: %v", pause, err)
					}
				}
			})
		})
	}
}

func TestExpiredTransactionsAreForgotten(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		db := newDatabase("projects/p/databases/d", 1000)
		for range 100 {
			if _, err := db.begin(nil, false); err != nil {
				t.Fatal(err)
			}
		}
		time.Sleep(idleLimit + time.Second)
		if _, err := db.begin(nil, false); err != nil {
			t.Fatal(err)
		}
		if n := len(db.transactions.live); n != 1 {
			t.Errorf("%d transactions are kept", n)
		}
	})
}

// TestTransactionBeyondTheLogIsAborted: what happened since it began is not
// known any more.
func TestTransactionBeyondTheLogIsAborted(t *testing.T) {
	r := newRig(t, Options{History: 10})
	r.mustCommit(r.set("c/a", nil))
	asked, read := r.begin(nil), r.begin(nil)
	if _, err := r.findIn(asked, selectFrom("c")); err != nil {
		t.Fatal(err)
	}
	if _, err := r.within(read, "c/a"); err != nil {
		t.Fatal(err)
	}
	for i := range 11 {
		r.mustCommit(r.set(fmt.Sprint("d/", i), nil))
	}
	if err := r.end(asked, r.set("e/a", nil)); !refused(err, codes.Aborted, contention) {
		t.Errorf("after a query: %v", err)
	}
	if err := r.end(read, r.set("e/a", nil)); err != nil {
		t.Errorf("after a get: %v", err)
	}
}

// TestConflictsInTheLastMoment come between the look at the queries without the
// lock and the commit under it.
func TestConflictsInTheLastMoment(t *testing.T) {
	for name, test := range map[string]struct {
		writes int
		path   string
		abort  bool
	}{
		"none":               {0, "", false},
		"elsewhere":          {3, "d/", false},
		"among the results":  {1, "c/", true},
		"more than are kept": {11, "d/", true},
	} {
		r := newRig(t, Options{History: 10})
		tx := r.begin(nil)
		if _, err := r.findIn(tx, selectFrom("c")); err != nil {
			t.Fatal(err)
		}
		check, err := r.db.finish(tx, true)
		if err != nil {
			t.Fatal(err)
		}
		for i := range test.writes {
			r.mustCommit(r.set(fmt.Sprint(test.path, i), nil))
		}
		r.db.mu.Lock()
		err = check()
		r.db.mu.Unlock()
		if test.abort != refused(err, codes.Aborted, contention) || !test.abort && err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestTransactionIsReadWhileItEnds is what a client should not do, and what must
// not harm the server.
func TestTransactionIsReadWhileItEnds(t *testing.T) {
	r := newRig(t, Options{})
	r.mustCommit(r.set("c/a", nil))
	for range 20 {
		tx := r.begin(nil)
		var running sync.WaitGroup
		for range 4 {
			running.Go(func() {
				for range 10 {
					_, _ = r.within(tx, "c/a")
					_, _ = r.findIn(tx, selectFrom("c"))
				}
			})
		}
		if err := r.end(tx, r.set("c/b", nil)); err != nil {
			t.Error(err)
		}
		running.Wait()
	}
}

// TestNewTransactions are begun by a read: read-only unless it says otherwise.
func TestNewTransactions(t *testing.T) {
	r := newRig(t, Options{})
	r.mustCommit(r.set("c/a", nil))
	ctx := context.Background()
	for name, options := range map[string]*pb.TransactionOptions{"the default": {}, "read-write": readWrite()} {
		stream, err := r.client.BatchGetDocuments(ctx, &pb.BatchGetDocumentsRequest{
			Database: r.name, Documents: []string{r.root + "/c/a"},
			ConsistencySelector: &pb.BatchGetDocumentsRequest_NewTransaction{NewTransaction: options},
		})
		if err != nil {
			t.Fatal(err)
		}
		head, err := stream.Recv()
		if err != nil || len(head.GetTransaction()) == 0 || head.GetResult() != nil {
			t.Fatalf("%s: the first answer is %v, %v", name, head, err)
		}
		if body, err := stream.Recv(); err != nil || body.GetFound() == nil || len(body.GetTransaction()) != 0 {
			t.Errorf("%s: the second answer is %v, %v", name, body, err)
		}
		if _, err := stream.Recv(); !errors.Is(err, io.EOF) {
			t.Errorf("%s: the end is %v", name, err)
		}
		_, answers, err := r.find(&pb.RunQueryRequest{QueryType: structured(selectFrom("c")), ConsistencySelector: &pb.RunQueryRequest_NewTransaction{NewTransaction: options}})
		if err != nil || len(answers) != 2 || len(answers[0].GetTransaction()) == 0 || answers[0].GetReadTime() != nil || answers[1].GetDocument() == nil {
			t.Fatalf("%s: the query's answers are %v, %v", name, answers, err)
		}
		for _, id := range [][]byte{head.GetTransaction(), answers[0].GetTransaction()} {
			err := r.end(id, r.set("d/b", nil))
			if readOnly := name == "the default"; readOnly != refused(err, codes.InvalidArgument, "read-only") || !readOnly && err != nil {
				t.Errorf("%s: commit: %v", name, err)
			}
		}
	}
}
