package firestored

import (
	"slices"

	pb "cloud.google.com/go/firestore/apiv1/firestorepb"

	"postrider/delivery/firestored/query"
)

// found is a document that a query has found.
type found struct {
	version  *version
	document *pb.Document
}

// window applies a query's offset and limit to documents that come in its order.
type window struct {
	offset, skipped int
	left            int // -1: no limit
	yield           func(*version, *pb.Document) bool
}

func newWindow(q *query.Query, yield func(*version, *pb.Document) bool) *window {
	w := &window{offset: q.Offset(), left: -1, yield: yield}
	if limit, ok := q.Limit(); ok {
		w.left = limit
	}
	return w
}

// pass takes the next document. It returns false where no more is wanted.
func (w *window) pass(v *version, d *pb.Document) bool {
	switch {
	case w.left == 0:
		return false
	case w.skipped < w.offset:
		w.skipped++
		return true
	case w.left > 0:
		w.left--
	}
	return w.yield(v, d) && w.left != 0
}

// run passes the documents of a query to yield, whole and in the query's order,
// with its cursors, offset and limit, until yield returns false. It returns how
// many documents the offset skipped. The error, where the log no longer reaches
// back to the view, is a gRPC status.
func (s *Server) run(v view, q *query.Query, yield func(*version, *pb.Document) bool) (skipped int, err error) {
	w := newWindow(q, yield)
	if w.left == 0 {
		return 0, nil
	}
	if _, byName := q.ByName(); byName {
		err := v.matches(q, w.pass)
		return w.skipped, err
	}
	all, err := v.sorted(q)
	if err != nil {
		return 0, err
	}
	for _, f := range all {
		if !w.pass(f.version, f.document) {
			break
		}
	}
	return w.skipped, nil
}

// sorted returns what a query finds in its order. Where it has a limit not many
// more than the first ones are kept.
func (v view) sorted(q *query.Query) ([]found, error) {
	var all []found
	order := func(a, b found) int { return q.Compare(a.document, b.document) }
	limit, limited := q.Limit()
	wanted := q.Offset() + limit
	err := v.matches(q, func(version *version, d *pb.Document) bool {
		all = append(all, found{version, d})
		if limited && len(all) >= 2*wanted+firstPage {
			slices.SortFunc(all, order)
			clear(all[wanted:])
			all = all[:wanted]
		}
		return true
	})
	slices.SortFunc(all, order)
	return all, err
}

// RunQuery implements google.firestore.v1.Firestore.RunQuery.
func (s *Server) RunQuery(r *pb.RunQueryRequest, stream pb.Firestore_RunQueryServer) error {
	database, _, err := parentName(r.GetParent())
	if err != nil {
		return err
	}
	if r.GetStructuredQuery() == nil {
		return invalid("only structured queries are supported")
	}
	q, err := query.Parse(r.GetParent(), r.GetStructuredQuery())
	if err != nil {
		return err
	}
	from, err := s.database(database).reader(consistency{transaction: r.GetTransaction(), begin: r.GetNewTransaction(), at: r.GetReadTime()})
	if err != nil {
		return err
	}
	if id := from.begun(); id != nil {
		if err := stream.Send(&pb.RunQueryResponse{Transaction: id}); err != nil {
			return err
		}
	}
	return s.answer(from, q, stream)
}

// answer sends what a query finds. Each answer is held back until the next is
// known, for the last one says that it is. The skipped documents are told with
// the first.
func (s *Server) answer(from reader, q *query.Query, stream pb.Firestore_RunQueryServer) error {
	var (
		last    *pb.RunQueryResponse
		whole   *pb.Document // of last
		number  int
		failure error
	)
	skipped, err := s.run(from.view, q, func(_ *version, d *pb.Document) bool {
		if last != nil {
			s.billReads(1)
			if failure = stream.Send(last); failure != nil {
				return false
			}
		}
		number++
		whole = d
		last = &pb.RunQueryResponse{Document: q.Project(d), ReadTime: timestamp(from.view.at)}
		if number == 1 {
			last.SkippedResults = int32(q.Offset())
		}
		return true
	})
	if failure != nil {
		return failure
	}
	if err != nil {
		return err
	}
	from.tx.noteQuery(q, number, whole)
	if last == nil {
		last = &pb.RunQueryResponse{ReadTime: timestamp(from.view.at), SkippedResults: int32(skipped)}
	}
	last.ContinuationSelector = &pb.RunQueryResponse_Done{Done: true}
	s.billReads(rest(number, skipped))
	return stream.Send(last)
}

// rest returns what is to be billed at a query's end: the last document and
// those that were skipped, and at least one read.
func rest(number, skipped int) int {
	return max(1, min(number, 1)+skipped)
}
