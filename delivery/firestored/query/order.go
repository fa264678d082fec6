package query

import (
	"slices"

	pb "cloud.google.com/go/firestore/apiv1/firestorepb"
)

// order is one field that documents are sorted by.
type order struct {
	field      field
	descending bool
}

// directed turns a comparison round where the order is descending.
func (o *order) directed(c int) int {
	if o.descending {
		return -c
	}
	return c
}

// parseOrders returns the given orders and then the implied ones: the other
// fields with an inequality, sorted, and the name, all in the last given
// direction (comment of StructuredQuery.order_by).
func parseOrders(given []*pb.StructuredQuery_Order, where *filter) ([]order, error) {
	var orders []order
	for _, g := range given {
		at, err := parseField(g.GetField())
		if err != nil {
			return nil, err
		}
		if g.GetDirection() > pb.StructuredQuery_DESCENDING || g.GetDirection() < 0 {
			return nil, invalid("Unknown order direction.")
		}
		if orders, err = appendOrder(orders, order{at, g.GetDirection() == pb.StructuredQuery_DESCENDING}); err != nil {
			return nil, err
		}
	}
	descending := len(orders) > 0 && orders[len(orders)-1].descending
	implied, err := impliedFields(where)
	if err != nil {
		return nil, err
	}
	for _, at := range implied {
		if sortedBy(orders, at) {
			continue
		}
		if orders, err = appendOrder(orders, order{at, descending}); err != nil {
			return nil, err
		}
	}
	if name := (field{path: "__name__", name: true}); !sortedBy(orders, name) {
		orders = append(orders, order{name, descending})
	}
	return orders, nil
}

func appendOrder(orders []order, o order) ([]order, error) {
	if n := len(orders); n > 0 && orders[n-1].field.name {
		return nil, invalid("Order by clause cannot contain more fields after the key %s", o.field.path)
	}
	if sortedBy(orders, o.field) {
		return nil, invalid("Order by clause cannot contain duplicate fields %s", o.field.path)
	}
	return append(orders, o), nil
}

func sortedBy(orders []order, f field) bool {
	return slices.ContainsFunc(orders, func(o order) bool { return o.field.path == f.path })
}

// impliedFields returns the fields with an inequality, but for the name.
func impliedFields(where *filter) ([]field, error) {
	var fields []field
	where.leaves(func(f *filter) {
		if f.inequality() && !f.field.name {
			fields = append(fields, f.field)
		}
	})
	slices.SortFunc(fields, func(a, b field) int { return slices.Compare(a.segments, b.segments) })
	fields = slices.CompactFunc(fields, func(a, b field) bool { return a.path == b.path })
	if len(fields) > maxInequalities {
		return nil, invalid("A query may not have more than %d distinct inequality fields, and has %d.", maxInequalities, len(fields))
	}
	return fields, nil
}

// Compare is the order of the query's documents: -1, 0 or +1. It is total, for
// no two documents have the same name. A missing field sorts first, though no
// document without it matches.
func (q *Query) Compare(a, b *pb.Document) int {
	for i := range q.orders {
		o := &q.orders[i]
		if o.field.name {
			return o.directed(CompareNames(a.GetName(), b.GetName()))
		}
		v, _ := o.field.of(a)
		w, _ := o.field.of(b)
		if c := Compare(v, w); c != 0 {
			return o.directed(c)
		}
	}
	return 0
}

// ByName reports whether the documents are sorted by nothing but their names,
// and in which direction.
func (q *Query) ByName() (descending, ok bool) {
	return q.orders[0].descending, q.orders[0].field.name
}

// cursor is a position before or after the documents whose first fields of the
// order have its values.
type cursor struct {
	values []*pb.Value
	before bool
}

// parseCursor takes a cursor, nil if there is none. Its values belong to the
// orders that the query names; implied ones have none.
func parseCursor(c *pb.Cursor, given []order, database string) (*cursor, error) {
	if c == nil {
		return nil, nil
	}
	if len(c.GetValues()) > len(given) {
		return nil, invalid("Cursor has too many values.")
	}
	for i, v := range c.GetValues() {
		if err := checkValue(v); err != nil {
			return nil, err
		}
		if !given[i].field.name {
			continue
		}
		if rankOf(v) != rankReference {
			return nil, invalid("Cursor __name__ value is not a document reference.")
		}
		if err := checkDatabase(v, database); err != nil {
			return nil, err
		}
	}
	return &cursor{values: c.GetValues(), before: c.GetBefore()}, nil
}

// InWindow reports whether d, which matches, lies between the cursors.
func (q *Query) InWindow(d *pb.Document) bool {
	if q.start != nil {
		if c := q.position(d, q.start); c < 0 || c == 0 && !q.start.before {
			return false
		}
	}
	if q.end != nil {
		if c := q.position(d, q.end); c > 0 || c == 0 && q.end.before {
			return false
		}
	}
	return true
}

// position compares a document with a cursor's values; 0 if it has them.
func (q *Query) position(d *pb.Document, at *cursor) int {
	for i, x := range at.values {
		o := &q.orders[i]
		c := 0
		if o.field.name {
			c = CompareNames(d.GetName(), x.GetReferenceValue())
		} else {
			v, _ := o.field.of(d)
			c = Compare(v, x)
		}
		if c != 0 {
			return o.directed(c)
		}
	}
	return 0
}
