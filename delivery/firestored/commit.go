package firestored

import (
	"context"

	pb "cloud.google.com/go/firestore/apiv1/firestorepb"
	"google.golang.org/genproto/googleapis/rpc/status"
	grpcstatus "google.golang.org/grpc/status"
)

// maxBatch is how many writes a BatchWrite may have
// (https://firebase.google.com/docs/firestore/quotas).
const maxBatch = 500

// Commit implements google.firestore.v1.Firestore.Commit.
func (s *Server) Commit(_ context.Context, r *pb.CommitRequest) (*pb.CommitResponse, error) {
	if err := databaseName(r.GetDatabase()); err != nil {
		return nil, err
	}
	db := s.database(r.GetDatabase())
	writes, err := db.parseWrites(r.GetWrites())
	if err != nil {
		return nil, err
	}
	check, err := db.finish(r.GetTransaction(), len(writes) > 0)
	if err != nil {
		return nil, err
	}
	outcomes, at, err := db.commit(writes, check)
	if err != nil {
		return nil, err
	}
	s.billWrites(writes)
	response := &pb.CommitResponse{CommitTime: timestamp(at)}
	for _, o := range outcomes {
		response.WriteResults = append(response.WriteResults, o.result())
	}
	return response, nil
}

// BatchWrite implements google.firestore.v1.Firestore.BatchWrite. A request with
// a write that no document's state could make right is refused as a whole.
func (s *Server) BatchWrite(_ context.Context, r *pb.BatchWriteRequest) (*pb.BatchWriteResponse, error) {
	if err := databaseName(r.GetDatabase()); err != nil {
		return nil, err
	}
	if len(r.GetWrites()) > maxBatch {
		return nil, invalid("maximum %d writes allowed per request", maxBatch)
	}
	db := s.database(r.GetDatabase())
	writes, err := db.parseWrites(r.GetWrites())
	if err != nil {
		return nil, err
	}
	seen := make(map[string]bool, len(writes))
	for _, w := range writes {
		if seen[w.path] {
			return nil, invalid("the same document cannot be written more than once in a single request")
		}
		seen[w.path] = true
	}
	response := &pb.BatchWriteResponse{}
	var done []*write
	for i, o := range db.batch(writes) {
		response.WriteResults = append(response.WriteResults, o.result())
		response.Status = append(response.Status, verdict(o.err))
		if o.err == nil {
			done = append(done, writes[i])
		}
	}
	s.billWrites(done)
	return response, nil
}

// result returns what the service answers to a write: no update time where there
// is no document any more, or where the write has failed.
func (o outcome) result() *pb.WriteResult {
	r := &pb.WriteResult{TransformResults: o.results}
	if o.next != nil {
		r.UpdateTime = timestamp(o.next.update)
	}
	return r
}

func verdict(err error) *status.Status {
	if err == nil {
		return &status.Status{}
	}
	return grpcstatus.Convert(err).Proto()
}

// parseWrites checks the writes of a request.
func (db *database) parseWrites(list []*pb.Write) ([]*write, error) {
	writes := make([]*write, len(list))
	transforms := map[string]int{}
	for i, w := range list {
		parsed, err := db.parseWrite(w)
		if err != nil {
			return nil, err
		}
		writes[i] = parsed
		if n := len(parsed.transforms); n > 0 {
			if transforms[parsed.path] += n; transforms[parsed.path] > maxTransforms {
				return nil, invalid("maximum %d field transforms allowed per document", maxTransforms)
			}
		}
	}
	return writes, nil
}

// guess is what a write makes of the state that was read before the lock was
// taken. Nearly always the state is still the same then, and the work is done.
type guess struct {
	old *version
	outcome
}

// guess applies writes to the present states of their documents, without
// changing anything.
func (db *database) guess(writes []*write) []guess {
	out := make([]guess, len(writes))
	db.mu.RLock()
	for i, w := range writes {
		out[i].old = db.head(w.path)
	}
	db.mu.RUnlock()
	for i, w := range writes {
		if !w.timed {
			out[i].outcome = w.apply(out[i].old, 0)
		}
	}
	return out
}

// settle returns what a write makes of a state, which is the one that was
// guessed or another.
func (g guess) settle(w *write, old *version, at int64) outcome {
	if w.timed || old != g.old {
		return w.apply(old, at)
	}
	if next := g.next; next != nil && next != old { // made by the guess, and nobody has seen it
		next.update = at
		if old == nil {
			next.create = at
		}
	}
	return g.outcome
}

// commit applies writes in their order, all or none, at the time that it
// returns. Before, check is called under the lock, and its error ends the
// commit.
func (db *database) commit(writes []*write, check func() error) (outcomes []outcome, at int64, err error) {
	guesses := db.guess(writes)
	db.mu.Lock()
	defer db.mu.Unlock()
	if err := check(); err != nil {
		return nil, 0, err
	}
	at = db.tick()
	staged := make(map[string]*version, len(writes))
	for i, w := range writes {
		old, written := staged[w.path]
		if !written {
			old = db.head(w.path)
		}
		o := guesses[i].settle(w, old, at)
		if o.err != nil {
			return nil, 0, o.err
		}
		staged[w.path] = o.next
		outcomes = append(outcomes, o)
	}
	for _, w := range writes {
		if next, ok := staged[w.path]; ok { // the last state, once
			db.put(at, db.head(w.path), next)
			delete(staged, w.path)
		}
	}
	db.ring()
	return outcomes, at, nil
}

// batch applies writes to as many documents, each for itself and as a commit of
// its own.
func (db *database) batch(writes []*write) []outcome {
	guesses := db.guess(writes)
	outcomes := make([]outcome, len(writes))
	db.mu.Lock()
	defer db.mu.Unlock()
	for i, w := range writes {
		old := db.head(w.path)
		at := db.tick()
		outcomes[i] = guesses[i].settle(w, old, at)
		if outcomes[i].err == nil {
			db.put(at, old, outcomes[i].next)
		}
	}
	db.ring()
	return outcomes
}
