package firestored

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"sync"
	"time"

	pb "cloud.google.com/go/firestore/apiv1/firestorepb"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/emptypb"

	"postrider/delivery/firestored/query"
)

// How long a transaction lives
// (https://firebase.google.com/docs/firestore/quotas: writes and transactions).
const (
	idleLimit  = 60 * time.Second
	totalLimit = 270 * time.Second
)

// transactions are a database's transactions. Their IDs are a number behind what
// only this database knows, so one that is over is told from one that never was.
type transactions struct {
	mu    sync.Mutex
	mark  [8]byte
	last  uint64
	live  map[uint64]*transaction
	swept time.Time
}

// transaction is one transaction. All its reads see the database at one time,
// that of the first. A commit succeeds where nothing that was read has changed
// since: there are no locks, the client begins again.
type transaction struct {
	id       []byte
	db       *database
	readOnly bool
	began    time.Time

	mu        sync.Mutex
	used      time.Time
	over      bool                // what follows is not changed any more
	view      *view               // nil before the first read
	documents map[string]*version // that were read; nil for those that there were none of
	queries   []queried
}

// queried is a query that a transaction has run.
type queried struct {
	query *query.Query
	last  *pb.Document // the last of as many documents as the query's limit allows; nil: there were fewer
}

// begin starts a transaction.
func (db *database) begin(o *pb.TransactionOptions, readOnly bool) (*transaction, error) {
	tx := &transaction{db: db, readOnly: readOnly, began: time.Now(), documents: map[string]*version{}}
	tx.used = tx.began
	switch mode := o.GetMode().(type) {
	case *pb.TransactionOptions_ReadWrite_:
		tx.readOnly = false
	case *pb.TransactionOptions_ReadOnly_:
		tx.readOnly = true
		v, err := db.viewAt(mode.ReadOnly.GetReadTime())
		if err != nil {
			return nil, err
		}
		tx.view = &v
	}
	t := &db.transactions
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.last == 0 {
		_, _ = rand.Read(t.mark[:]) // it never fails
	}
	t.sweep(tx.began)
	t.last++
	tx.id = binary.BigEndian.AppendUint64(t.mark[:], t.last)
	t.live[t.last] = tx
	return tx, nil
}

// sweep drops what has expired, now and then.
func (t *transactions) sweep(now time.Time) {
	if now.Sub(t.swept) < idleLimit/2 {
		return
	}
	t.swept = now
	for number, tx := range t.live {
		if tx.expired(now) {
			delete(t.live, number)
		}
	}
}

func (tx *transaction) expired(now time.Time) bool {
	tx.mu.Lock()
	defer tx.mu.Unlock()
	return now.Sub(tx.used) > idleLimit || now.Sub(tx.began) > totalLimit
}

// number reads an ID. It returns false for one that was never given out.
func (t *transactions) number(id []byte) (uint64, bool) {
	if len(id) != 16 || [8]byte(id) != t.mark || t.last == 0 {
		return 0, false
	}
	n := binary.BigEndian.Uint64(id[8:])
	return n, n > 0 && n <= t.last
}

// transaction returns a live transaction for one more use, or an
// INVALID_ARGUMENT. With end it is the last use.
func (db *database) transaction(id []byte, end bool) (*transaction, error) {
	t := &db.transactions
	t.mu.Lock()
	defer t.mu.Unlock()
	n, ok := t.number(id)
	if !ok {
		return nil, invalid("Invalid transaction.")
	}
	now := time.Now()
	tx := t.live[n]
	if tx == nil || tx.expired(now) {
		delete(t.live, n)
		return nil, errTransactionOver() // SDKs look for these words before they try again
	}
	if end {
		delete(t.live, n)
	}
	tx.mu.Lock()
	defer tx.mu.Unlock()
	tx.used, tx.over = now, end
	return tx, nil
}

func errTransactionOver() error {
	return invalid("The referenced transaction has expired or is no longer valid.")
}

func errContention() error {
	return status.Error(codes.Aborted, "Aborted due to cross-transaction contention. This occurs when multiple transactions attempt to access "+
		"the same data, requiring Firestore to abort at least one in order to enforce serializability.")
}

// snapshot returns the view that all reads of the transaction share.
func (tx *transaction) snapshot() (view, error) {
	tx.mu.Lock()
	defer tx.mu.Unlock()
	if tx.view == nil {
		v, err := tx.db.view(0)
		if err != nil {
			return view{}, err
		}
		tx.view = &v
	}
	return *tx.view, nil
}

// noteDocuments remembers documents that were read.
func (tx *transaction) noteDocuments(paths []string, versions []*version) {
	if tx == nil || tx.readOnly {
		return
	}
	tx.mu.Lock()
	defer tx.mu.Unlock()
	if tx.over {
		return
	}
	for i, path := range paths {
		tx.documents[path] = versions[i]
	}
}

// noteQuery remembers a query that was run: how many documents it found, and the
// last one.
func (tx *transaction) noteQuery(q *query.Query, found int, last *pb.Document) {
	if tx == nil || tx.readOnly {
		return
	}
	if limit, ok := q.Limit(); !ok || found < limit {
		last = nil
	}
	tx.mu.Lock()
	defer tx.mu.Unlock()
	if !tx.over {
		tx.queries = append(tx.queries, queried{query: q, last: last})
	}
}

// finish ends a transaction, if there is an ID of one, for a commit. The commit
// must call check under the lock.
func (db *database) finish(id []byte, writes bool) (check func() error, err error) {
	if len(id) == 0 {
		return func() error { return nil }, nil
	}
	tx, err := db.transaction(id, true)
	if err != nil {
		return nil, err
	}
	if tx.readOnly {
		if writes {
			return nil, invalid("Cannot modify entities in a read-only transaction.")
		}
		return func() error { return nil }, nil
	}
	pos, err := tx.checkQueries()
	if err != nil {
		return nil, err
	}
	return func() error { return tx.check(pos) }, nil
}

// checkQueries looks for changes in what the queries found, without the lock. It
// returns the position of the log up to which there are none.
func (tx *transaction) checkQueries() (int64, error) {
	if len(tx.queries) == 0 {
		return 0, nil
	}
	pos := tx.view.pos
	for {
		changes, next, ok := tx.db.since(pos, 1000)
		if !ok {
			return 0, errContention()
		}
		if len(changes) == 0 {
			return pos, nil
		}
		for _, c := range changes {
			if tx.meets(c) {
				return 0, errContention()
			}
		}
		pos = next
	}
}

// check reports what has changed since the transaction read it; its queries are
// known to be unchanged up to pos. The database's lock is held.
func (tx *transaction) check(pos int64) error {
	for path, v := range tx.documents {
		if tx.db.head(path) != v {
			return errContention()
		}
	}
	if len(tx.queries) == 0 {
		return nil
	}
	if !tx.db.log.has(pos) {
		return errContention()
	}
	for ; pos < tx.db.log.end; pos++ {
		if tx.meets(tx.db.log.at(pos)) {
			return errContention()
		}
	}
	return nil
}

// meets reports whether a change is one of what a query of the transaction has
// found, or would find.
func (tx *transaction) meets(c change) bool {
	for _, read := range tx.queries {
		if read.has(tx.db.root, c.old) || read.has(tx.db.root, c.new) {
			return true
		}
	}
	return false
}

func (q queried) has(root string, v *version) bool {
	if v == nil || !q.query.Scope().Contains(root+"/"+v.path) {
		return false
	}
	d := v.document(root)
	return q.query.Matches(d) && q.query.InWindow(d) && (q.last == nil || q.query.Compare(d, q.last) <= 0)
}

// BeginTransaction implements google.firestore.v1.Firestore.BeginTransaction.
func (s *Server) BeginTransaction(_ context.Context, r *pb.BeginTransactionRequest) (*pb.BeginTransactionResponse, error) {
	if err := databaseName(r.GetDatabase()); err != nil {
		return nil, err
	}
	tx, err := s.database(r.GetDatabase()).begin(r.GetOptions(), false)
	if err != nil {
		return nil, err
	}
	return &pb.BeginTransactionResponse{Transaction: tx.id}, nil
}

// Rollback implements google.firestore.v1.Firestore.Rollback. A transaction that
// is over already is rolled back without complaint: SDKs do so after a commit
// that has failed.
func (s *Server) Rollback(_ context.Context, r *pb.RollbackRequest) (*emptypb.Empty, error) {
	if err := databaseName(r.GetDatabase()); err != nil {
		return nil, err
	}
	t := &s.database(r.GetDatabase()).transactions
	t.mu.Lock()
	defer t.mu.Unlock()
	n, ok := t.number(r.GetTransaction())
	if !ok {
		return nil, invalid("Invalid transaction.")
	}
	delete(t.live, n)
	return &emptypb.Empty{}, nil
}
