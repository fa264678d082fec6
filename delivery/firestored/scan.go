package firestored

import (
	"slices"
	"strings"

	pb "cloud.google.com/go/firestore/apiv1/firestorepb"

	"postrider/delivery/firestored/query"
)

// Pages of candidates, which are taken under the lock and decoded outside.
const (
	firstPage = 64
	lastPage  = 8192
)

// source is where a query's candidates in one collection are taken from: the
// shortest of the range of names that the query allows and the lists of its
// equalities within that range.
type source struct {
	view       view
	collection string
	equal      []query.Equality
	from, to   cut // what is left of the range
	descending bool
	done       bool
}

func newSource(v view, collection string, q *query.Query) *source {
	from, to := cuts(v.db.root, q)
	descending, byName := q.ByName()
	s := &source{view: v, collection: collection, equal: q.Equal(), from: from, to: to, descending: byName && descending}
	for _, e := range s.equal {
		if field, err := query.ParsePath(e.Path); err == nil {
			v.db.index(collection, field)
		}
	}
	return s
}

// cuts returns the ends of a query's range of names.
func cuts(root string, q *query.Query) (from, to cut) {
	first, last := q.Names()
	to.end = true
	if !first.Unbounded {
		from = cut{path: strings.TrimPrefix(first.Name, root+"/"), after: first.Open}
	}
	if !last.Unbounded {
		to = cut{path: strings.TrimPrefix(last.Name, root+"/"), after: !last.Open}
	}
	return from, to
}

// lists returns the lists to take candidates from, and how many there are; told
// is false where an equality has no index yet. The database's lock is held.
func (s *source) lists() (lists []*names, count int, told bool) {
	c := s.view.db.collections[s.collection]
	if c == nil {
		return nil, 0, true
	}
	lists, count, told = []*names{&c.docs}, c.docs.count(s.from, s.to), true
	for _, e := range s.equal {
		field, err := query.ParsePath(e.Path)
		if err != nil {
			return lists, count, false
		}
		x := c.indexes[indexName(field)]
		if x == nil { // the collection was not there when indexes were made
			told = false
			continue
		}
		found, n := x.find(e.Keys), 0
		for _, list := range found {
			n += list.count(s.from, s.to)
		}
		if n < count {
			lists, count = found, n
		}
	}
	return lists, count, told
}

// take returns the next candidates in the order of their names, as they were at
// the view's time: about limit of them, and more for what has changed since.
func (s *source) take(limit int) (out []*version, err error) {
	err = s.view.read(func(old map[string]map[string]*version) {
		lists, _, _ := s.lists()
		entries := s.merge(lists, limit)
		left := *s // the part of the range that is taken now
		if s.done = len(entries) < limit; !s.done {
			left.shorten(entries[limit-1].path)
		}
		changed := old[s.collection]
		for _, e := range entries {
			if _, ok := changed[e.path]; !ok {
				out = append(out, e.head)
			}
		}
		n := len(out)
		for path, v := range changed {
			if v != nil && left.from.precedes(path) && !left.to.precedes(path) {
				out = append(out, v)
			}
		}
		if len(out) > n {
			slices.SortFunc(out, s.compare)
		}
		if !s.done {
			s.advance(entries[limit-1].path)
		}
	})
	return out, err
}

// merge returns the first entries of sorted lists that have none in common.
func (s *source) merge(lists []*names, limit int) []*entry {
	var out []*entry
	for i, list := range lists {
		more := list.take(s.from, s.to, s.descending, limit)
		if i == 0 {
			out = more
			continue
		}
		out = s.join(out, more, limit)
	}
	return out
}

// join merges two sorted lists and returns the first of their entries.
func (s *source) join(a, b []*entry, limit int) []*entry {
	out := make([]*entry, 0, min(len(a)+len(b), limit))
	for len(out) < cap(out) {
		if len(b) == 0 || len(a) > 0 && s.directed(query.CompareNames(a[0].path, b[0].path)) < 0 {
			out, a = append(out, a[0]), a[1:]
		} else {
			out, b = append(out, b[0]), b[1:]
		}
	}
	return out
}

// shorten ends the range behind the last name that is taken.
func (s *source) shorten(path string) {
	if s.descending {
		s.from = cut{path: path}
	} else {
		s.to = cut{path: path, after: true}
	}
}

// advance begins the range behind the last name that was taken.
func (s *source) advance(path string) {
	if s.descending {
		s.to = cut{path: path}
	} else {
		s.from = cut{path: path, after: true}
	}
}

func (s *source) compare(a, b *version) int {
	return s.directed(query.CompareNames(a.path, b.path))
}

func (s *source) directed(order int) int {
	if s.descending {
		return -order
	}
	return order
}

// all returns the candidates that are left. Only pages of them are taken under
// the lock at a time.
func (s *source) all() (out []*version, err error) {
	for !s.done {
		page, err := s.take(lastPage)
		if err != nil {
			return nil, err
		}
		out = append(out, page...)
	}
	return out, nil
}

// scoped returns the paths of the collections that a query selects from, those
// included that were there at the view's time.
func (v view) scoped(scope query.Scope) (paths []string, err error) {
	root := v.db.root
	parent := strings.TrimPrefix(strings.TrimPrefix(scope.Parent, root), "/")
	if scope.Collection != "" && !scope.AllDescendants {
		return []string{below(parent, scope.Collection)}, nil
	}
	err = v.read(func(old map[string]map[string]*version) {
		for path := range v.db.collections {
			if scope.Contains(root + "/" + path + "/x") {
				paths = append(paths, path)
			}
		}
		for path := range old {
			if v.db.collections[path] == nil && scope.Contains(root+"/"+path+"/x") {
				paths = append(paths, path)
			}
		}
	})
	slices.SortFunc(paths, query.CompareNames)
	return paths, err
}

// below joins paths; the root's is empty.
func below(parent, id string) string {
	if parent == "" {
		return id
	}
	return parent + "/" + id
}

// candidates passes what a query may find to f, in the order of names if the
// query has that order, until f returns false. A query without a limit, which
// may be read for long, takes all of them first.
func (v view) candidates(q *query.Query, f func(*version) bool) error {
	paths, err := v.scoped(q.Scope())
	if err != nil {
		return err
	}
	descending, byName := q.ByName()
	limit, limited := q.Limit()
	if len(paths) == 1 && byName && limited {
		return v.paged(newSource(v, paths[0], q), limit+q.Offset(), f)
	}
	var all []*version
	for _, path := range paths {
		found, err := newSource(v, path, q).all()
		if err != nil {
			return err
		}
		all = append(all, found...)
	}
	if len(paths) > 1 && byName {
		slices.SortFunc(all, (&source{descending: descending}).compare)
	}
	for _, version := range all {
		if !f(version) {
			break
		}
	}
	return nil
}

// paged passes candidates to f page by page: about as many as are wanted first,
// and then more and more.
func (v view) paged(s *source, wanted int, f func(*version) bool) error {
	for size := min(max(wanted, firstPage), lastPage); !s.done; size = min(2*size, lastPage) {
		page, err := s.take(size)
		if err != nil {
			return err
		}
		for _, version := range page {
			if !f(version) {
				return nil
			}
		}
	}
	return nil
}

// matches passes the documents that a query finds to f, without its offset and
// limit, and in the order of names if the query has that order.
func (v view) matches(q *query.Query, f func(*version, *pb.Document) bool) error {
	return v.candidates(q, func(candidate *version) bool {
		d := candidate.document(v.db.root)
		if !q.Matches(d) || !q.InWindow(d) {
			return true
		}
		return f(candidate, d)
	})
}
