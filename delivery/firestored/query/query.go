package query

import (
	"strings"

	pb "cloud.google.com/go/firestore/apiv1/firestorepb"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// Query is a query that can be run. It does not change and may be used by
// several goroutines at once.
type Query struct {
	scope      Scope
	where      filter
	orders     []order
	start, end *cursor
	offset     int
	limit      int // -1: none
	selection  mask
	plan       plan
}

// Parse compiles a query below parent, the full name of a document or of the
// root of all documents. What Firestore refuses is an error with the status
// INVALID_ARGUMENT, and vector search one with UNIMPLEMENTED.
func Parse(parent string, q *pb.StructuredQuery) (*Query, error) {
	if q.GetFindNearest() != nil {
		return nil, status.Error(codes.Unimplemented, "vector search (find_nearest) is not supported by this server")
	}
	under, err := parseResource(parent)
	if err != nil {
		return nil, invalid("%v", err)
	}
	p := &Query{where: filter{op: opAnd}}
	if p.scope, err = parseScope(parent, q.GetFrom()); err != nil {
		return nil, err
	}
	if q.GetWhere() != nil {
		if p.where, err = parseFilter(q.GetWhere(), under.database); err != nil {
			return nil, err
		}
	}
	others := len(q.GetOrderBy())
	if len(under.path) > 0 {
		others++
	}
	if err := checkLimits(q.GetWhere(), others); err != nil {
		return nil, err
	}
	if err := p.parseWindow(q, under.database); err != nil {
		return nil, err
	}
	if p.selection, err = parseMask(q.GetSelect()); err != nil {
		return nil, err
	}
	if err := p.checkKindless(); err != nil {
		return nil, err
	}
	p.plan = p.makePlan()
	return p, nil
}

// parseWindow takes what is done to the documents that match: order, cursors,
// offset and limit.
func (q *Query) parseWindow(w *pb.StructuredQuery, database string) error {
	var err error
	if q.orders, err = parseOrders(w.GetOrderBy(), &q.where); err != nil {
		return err
	}
	given := len(w.GetOrderBy())
	if q.start, err = parseCursor(w.GetStartAt(), q.orders[:given], database); err != nil {
		return err
	}
	if q.end, err = parseCursor(w.GetEndAt(), q.orders[:given], database); err != nil {
		return err
	}
	q.offset, q.limit = int(w.GetOffset()), -1
	if w.GetLimit() != nil {
		q.limit = int(w.GetLimit().GetValue())
	}
	switch {
	case q.offset < 0:
		return invalid("offset is negative")
	case w.GetLimit().GetValue() < 0:
		return invalid("limit is negative")
	}
	return nil
}

// checkKindless refuses what needs an index where no collection is named.
func (q *Query) checkKindless() error {
	if q.scope.Collection != "" {
		return nil
	}
	var err error
	q.where.leaves(func(f *filter) {
		if !f.field.name {
			err = invalid("kind is required for filter: %s", f.field.path)
		}
	})
	if err != nil {
		return err
	}
	if descending, ok := q.ByName(); !ok || descending {
		return invalid("kind is required for all orders except __name__ ascending")
	}
	return nil
}

// Scope returns which documents the query is about.
func (q *Query) Scope() Scope { return q.scope }

// Matches reports whether d passes the filters and has every field of the
// order. The scope and the cursors are not looked at.
func (q *Query) Matches(d *pb.Document) bool {
	if !q.where.match(d) {
		return false
	}
	for i := range q.orders {
		if o := &q.orders[i]; !o.field.name {
			if _, ok := o.field.of(d); !ok {
				return false
			}
		}
	}
	return true
}

// Limit returns how many documents the query returns at most; false if it has
// no limit.
func (q *Query) Limit() (n int, ok bool) { return max(q.limit, 0), q.limit >= 0 }

// Offset returns how many documents are skipped, before the limit counts.
func (q *Query) Offset() int { return q.offset }

// Scope is a set of documents: all of one collection or, with AllDescendants,
// of all collections of that ID at any depth below the parent.
type Scope struct {
	Parent         string // full name of a document, or of the root of all documents
	Collection     string // a collection ID; "" for any
	AllDescendants bool
}

func parseScope(parent string, from []*pb.StructuredQuery_CollectionSelector) (Scope, error) {
	s := Scope{Parent: parent}
	switch len(from) {
	case 0:
		return s, nil
	case 1:
		s.Collection, s.AllDescendants = from[0].GetCollectionId(), from[0].GetAllDescendants()
	default:
		return s, invalid("StructuredQuery.from cannot have more than one collection selector.")
	}
	switch {
	case strings.Contains(s.Collection, "/"):
		return s, invalid("Collection id %q is invalid because it contains \"/\".", s.Collection)
	case reserved.MatchString(s.Collection):
		return s, invalid("Collection id %q is invalid because it is reserved.", s.Collection)
	}
	return s, nil
}

// Contains reports whether the document of that full name is in the scope.
func (s Scope) Contains(name string) bool {
	path, ok := strings.CutPrefix(name, s.Parent)
	if !ok || !strings.HasPrefix(path, "/") {
		return false
	}
	id := strings.LastIndexByte(path, '/')
	collection := strings.LastIndexByte(path[:id], '/')
	if collection < 0 || collection > 0 && !s.AllDescendants {
		return false
	}
	return s.Collection == "" || path[collection+1:id] == s.Collection
}
