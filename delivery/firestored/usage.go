package firestored

import "sync/atomic"

// Usage is what Google would bill
// (https://firebase.google.com/docs/firestore/pricing), and how many RPCs came.
//
// A read is billed for each document that a get, a query or a listen returns, for
// a document that is asked for and not there, for each document that an offset
// skips, for a query without a result, for up to 1,000 index entries of an
// aggregation, and for a list of collection IDs. A write is billed whether or not it
// changes anything, and one that fails is not.
type Usage struct {
	Reads, Writes, Deletes int64 // of documents
	Requests               int64
}

// usage counts what Usage tells.
type usage struct {
	reads, writes, deletes, requests atomic.Int64
}

// Usage returns what was used since the server was made.
func (s *Server) Usage() Usage {
	return Usage{
		Reads:    s.usage.reads.Load(),
		Writes:   s.usage.writes.Load(),
		Deletes:  s.usage.deletes.Load(),
		Requests: s.usage.requests.Load(),
	}
}

// billReads counts n document reads.
func (s *Server) billReads(n int) { s.usage.reads.Add(int64(n)) }

// billWrites counts writes that were applied.
func (s *Server) billWrites(writes []*write) {
	for _, w := range writes {
		if w.gone {
			s.usage.deletes.Add(1)
		} else {
			s.usage.writes.Add(1)
		}
	}
}
