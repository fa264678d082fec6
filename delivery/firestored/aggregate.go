package firestored

import (
	"fmt"
	"math"

	pb "cloud.google.com/go/firestore/apiv1/firestorepb"

	"postrider/delivery/firestored/query"
)

const (
	maxAggregations = 5    // in a query (comment of StructuredAggregationQuery)
	entriesPerRead  = 1000 // index entries that are billed as one read
)

// aggregation is one checked aggregation of a query.
type aggregation struct {
	alias string
	upTo  int    // of a count: -1 if it has no bound
	field string // of a sum or an average
	mean  bool
}

// RunAggregationQuery implements
// google.firestore.v1.Firestore.RunAggregationQuery.
func (s *Server) RunAggregationQuery(r *pb.RunAggregationQueryRequest, stream pb.Firestore_RunAggregationQueryServer) error {
	database, _, err := parentName(r.GetParent())
	if err != nil {
		return err
	}
	request := r.GetStructuredAggregationQuery()
	if request.GetStructuredQuery() == nil {
		return invalid("only structured queries are supported")
	}
	wanted, err := parseAggregations(request.GetAggregations())
	if err != nil {
		return err
	}
	q, err := query.Parse(r.GetParent(), request.GetStructuredQuery())
	if err != nil {
		return err
	}
	from, err := s.database(database).reader(consistency{transaction: r.GetTransaction(), begin: r.GetNewTransaction(), at: r.GetReadTime()})
	if err != nil {
		return err
	}
	values, entries, err := s.aggregate(from, q, wanted)
	if err != nil {
		return err
	}
	from.tx.noteQuery(q, 0, nil)
	s.billReads(max(1, (entries+entriesPerRead-1)/entriesPerRead))
	return stream.Send(&pb.RunAggregationQueryResponse{
		Result:      &pb.AggregationResult{AggregateFields: values},
		Transaction: from.begun(),
		ReadTime:    timestamp(from.view.at),
	})
}

func parseAggregations(list []*pb.StructuredAggregationQuery_Aggregation) ([]aggregation, error) {
	switch {
	case len(list) == 0:
		return nil, invalid("Aggregations can not be empty.")
	case len(list) > maxAggregations:
		return nil, invalid("The maximum number of aggregations allowed in an aggregation query is %d. Received: %d.", maxAggregations, len(list))
	}
	var out []aggregation
	seen, unnamed := map[string]bool{}, 0
	for _, of := range list {
		a, err := parseAggregation(of)
		if err != nil {
			return nil, err
		}
		if a.alias == "" {
			unnamed++
			a.alias = fmt.Sprintf("field_%d", unnamed)
		}
		if seen[a.alias] {
			return nil, invalid("Aggregation aliases contain duplicate alias: %s.", a.alias)
		}
		seen[a.alias] = true
		out = append(out, a)
	}
	return out, nil
}

func parseAggregation(of *pb.StructuredAggregationQuery_Aggregation) (aggregation, error) {
	a := aggregation{alias: of.GetAlias(), upTo: -1}
	if reserved(a.alias) {
		return a, invalid("The property.name %q is reserved.", a.alias)
	}
	switch x := of.GetOperator().(type) {
	case *pb.StructuredAggregationQuery_Aggregation_Count_:
		if bound := x.Count.GetUpTo(); bound != nil {
			a.upTo = int(bound.GetValue())
			if a.upTo < 0 {
				return a, invalid("The `up_to` value in a COUNT aggregation must be greater than or equal to zero.")
			}
		}
		return a, nil
	case *pb.StructuredAggregationQuery_Aggregation_Sum_:
		a.field = x.Sum.GetField().GetFieldPath()
	case *pb.StructuredAggregationQuery_Aggregation_Avg_:
		a.field, a.mean = x.Avg.GetField().GetFieldPath(), true
	default:
		return a, invalid("Aggregation operator is required.")
	}
	_, err := readPath(a.field)
	return a, err
}

// aggregate computes aggregations, and how many index entries they took.
func (s *Server) aggregate(from reader, q *query.Query, wanted []aggregation) (values map[string]*pb.Value, entries int, err error) {
	sums := make([]sum, len(wanted))
	var count int
	if slow(wanted) {
		_, err = s.run(from.view, q, func(_ *version, d *pb.Document) bool {
			count++
			for i, a := range wanted {
				if v, ok := query.Lookup(d.GetFields(), a.field); ok && a.field != "" {
					sums[i].take(v)
				}
			}
			return true
		})
		entries = count + q.Offset()
	} else {
		count, entries, err = from.view.count(q)
	}
	if err != nil {
		return nil, 0, err
	}
	values = map[string]*pb.Value{}
	for i, a := range wanted {
		switch {
		case a.mean:
			values[a.alias] = sums[i].mean()
		case a.field != "":
			values[a.alias] = sums[i].value()
		case a.upTo >= 0:
			values[a.alias] = integer(min(count, a.upTo))
		default:
			values[a.alias] = integer(count)
		}
	}
	return values, min(entries, bound(wanted)), nil
}

// slow reports whether an aggregation needs the documents.
func slow(wanted []aggregation) bool {
	for _, a := range wanted {
		if a.field != "" {
			return true
		}
	}
	return false
}

// bound returns how many index entries are read at most.
func bound(wanted []aggregation) int {
	most := 0
	for _, a := range wanted {
		if a.upTo < 0 {
			return math.MaxInt
		}
		most = max(most, a.upTo)
	}
	return most
}

// count returns how many documents a query finds with its offset and limit, and
// how many index entries it takes to tell.
func (v view) count(q *query.Query) (n, entries int, err error) {
	n, told, err := v.countLists(q)
	if err == nil && !told {
		err = v.matches(q, func(*version, *pb.Document) bool { n++; return true })
	}
	if limit, ok := q.Limit(); ok {
		n = min(n, q.Offset()+limit)
	}
	return max(0, n-q.Offset()), n, err
}

// countLists counts in one collection by the lengths of lists, if these tell.
// What has changed since the view's time is looked at one by one.
func (v view) countLists(q *query.Query) (n int, told bool, err error) {
	scope := q.Scope()
	if !q.Exact() || scope.Collection == "" || scope.AllDescendants {
		return 0, false, nil
	}
	paths, err := v.scoped(scope)
	if err != nil {
		return 0, false, err
	}
	s := newSource(v, paths[0], q)
	var then, present []*version
	err = v.read(func(old map[string]map[string]*version) {
		_, n, told = s.lists()
		for path, version := range old[s.collection] {
			then = append(then, version)
			present = append(present, v.db.head(path))
		}
	})
	if err != nil || !told {
		return 0, false, err
	}
	return n + v.matching(q, then) - v.matching(q, present), true, nil
}

// matching returns how many of some versions a query finds.
func (v view) matching(q *query.Query, versions []*version) (n int) {
	for _, version := range versions {
		if version == nil {
			continue
		}
		if d := version.document(v.db.root); q.Matches(d) && q.InWindow(d) {
			n++
		}
	}
	return n
}

func integer(n int) *pb.Value {
	return &pb.Value{ValueType: &pb.Value_IntegerValue{IntegerValue: int64(n)}}
}

// sum adds up numbers by the rules of the aggregations Sum and Avg: as integers
// as long as all are and the sum is one, as doubles else.
type sum struct {
	count    int
	whole    int64
	doubles  bool
	fraction float64
}

func (s *sum) take(v *pb.Value) {
	if !isNumber(v) {
		return
	}
	s.count++
	s.fraction += asDouble(v)
	i, ok := v.GetValueType().(*pb.Value_IntegerValue)
	if !ok {
		s.doubles = true
		return
	}
	next := s.whole + i.IntegerValue
	overflow := (next > s.whole) != (i.IntegerValue > 0) && i.IntegerValue != 0
	s.whole, s.doubles = next, s.doubles || overflow
}

func (s *sum) value() *pb.Value {
	if s.doubles {
		return double(s.fraction)
	}
	return &pb.Value{ValueType: &pb.Value_IntegerValue{IntegerValue: s.whole}}
}

func (s *sum) mean() *pb.Value {
	if s.count == 0 {
		return null()
	}
	return double(s.fraction / float64(s.count))
}
