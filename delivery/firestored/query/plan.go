package query

import (
	"slices"

	pb "cloud.google.com/go/firestore/apiv1/firestorepb"
)

// Bound is one end of a range of document names.
type Bound struct {
	Name      string // full
	Open      bool   // the name itself is outside
	Unbounded bool   // the range has no such end
}

// Equality is a filter that the values of one field must equal one of some
// values.
type Equality struct {
	Path string   // of the field, in the canonical form: quoted where it must be
	Keys []string // [Key] of each value, none twice; with none at all no document matches
}

// plan is what an index or a sorted list of names can do for a query.
type plan struct {
	from, to Bound
	equal    []Equality
	exact    bool
}

// Names returns the range that the names of the query's results are in, by its
// filters on __name__ and, if it is ordered by name, its cursors. The order is
// that of [CompareNames], from the lesser name whatever the query's direction;
// an empty range may have its ends crossed. The scope is not part of it.
func (q *Query) Names() (from, to Bound) { return q.plan.from, q.plan.to }

// Equal returns the filters of which all must hold and that ask for a field to
// equal a value, one of some values, null or NaN. __name__ is not among them.
func (q *Query) Equal() []Equality { return q.plan.equal }

// Exact reports whether an index can count the query's results: a document of
// the scope matches and is in the window if and only if its name is in Names
// and the key of its value is one of the keys of the only Equality, if there is
// one. Limit and offset come on top.
func (q *Query) Exact() bool { return q.plan.exact }

func (q *Query) makePlan() plan {
	p := plan{from: Bound{Unbounded: true}, to: Bound{Unbounded: true}, exact: true}
	p.narrow(&q.where)
	p.exact = p.exact && len(p.equal) <= 1
	for _, o := range q.orders {
		// An index that tells the value tells that the field exists.
		told := o.field.name || len(p.equal) == 1 && p.equal[0].Path == o.field.path
		p.exact = p.exact && told
	}
	p.narrowWindow(q)
	return p
}

// narrowWindow takes in the cursors, which are names where the order is theirs.
func (p *plan) narrowWindow(q *Query) {
	descending, byName := q.ByName()
	for _, c := range []*cursor{q.start, q.end} {
		if c == nil {
			continue
		}
		if !byName || len(c.values) == 0 {
			p.exact = false
			continue
		}
		name, starts := c.values[0].GetReferenceValue(), c == q.start
		open := starts != c.before // start after, end before
		if starts != descending {
			p.atLeast(name, open)
		} else {
			p.atMost(name, open)
		}
	}
}

// narrow takes in what must hold for all results.
func (p *plan) narrow(f *filter) {
	switch {
	case f.op == opAnd:
		for i := range f.sub {
			p.narrow(&f.sub[i])
		}
	case f.op == opOr:
		p.exact = false
	case f.field.name:
		p.narrowNames(f)
	case f.op == opEqual:
		p.equal = append(p.equal, Equality{Path: f.field.path, Keys: keys(f.values)})
	default:
		p.exact = false
	}
}

func (p *plan) narrowNames(f *filter) {
	first := f.values[0].GetReferenceValue()
	switch f.op {
	case opEqual:
		least, greatest := slices.MinFunc(f.values, Compare), slices.MaxFunc(f.values, Compare)
		p.atLeast(least.GetReferenceValue(), false)
		p.atMost(greatest.GetReferenceValue(), false)
		p.exact = p.exact && Compare(least, greatest) == 0
	case opLess, opAtMost:
		p.atMost(first, f.op == opLess)
	case opMore, opAtLeast:
		p.atLeast(first, f.op == opMore)
	default:
		p.exact = false
	}
}

func (p *plan) atLeast(name string, open bool) {
	c := CompareNames(name, p.from.Name)
	if p.from.Unbounded || c > 0 || c == 0 && open {
		p.from = Bound{Name: name, Open: open}
	}
}

func (p *plan) atMost(name string, open bool) {
	c := CompareNames(name, p.to.Name)
	if p.to.Unbounded || c < 0 || c == 0 && open {
		p.to = Bound{Name: name, Open: open}
	}
}

func keys(values []*pb.Value) []string {
	var all []string
	for _, v := range values {
		if k := Key(v); !slices.Contains(all, k) {
			all = append(all, k)
		}
	}
	return all
}
