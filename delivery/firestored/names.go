package firestored

import (
	"slices"
	"sort"

	"postrider/delivery/firestored/query"
)

const maxChunk = 512 // entries

// entry is a document's place in its collection. It stays the same as long as
// the document exists, so the lists that hold it need no change where the
// document changes.
type entry struct {
	path string
	head *version // the latest
}

// names is a list of documents of one collection, sorted by name. It is kept in
// chunks, so that an insertion moves few entries and a rank is a sum of few
// lengths.
type names struct {
	chunks [][]*entry // none is empty
	size   int
}

// cut is a place between two names of a sorted list.
type cut struct {
	path  string
	after bool // behind path, and not before it
	end   bool // behind all names, whatever path
}

// precedes reports whether a name lies behind the cut.
func (c cut) precedes(path string) bool {
	if c.end {
		return false
	}
	order := query.CompareNames(path, c.path)
	return order > 0 || order == 0 && !c.after
}

// place is a cut as a position in a list: an index of a chunk, and one in it.
type place struct{ chunk, i int }

func (p place) less(q place) bool {
	return p.chunk < q.chunk || p.chunk == q.chunk && p.i < q.i
}

// seek returns the place of the first entry behind the cut.
func (n *names) seek(c cut) place {
	if c.end {
		return place{chunk: len(n.chunks)}
	}
	chunk := sort.Search(len(n.chunks), func(i int) bool {
		last := n.chunks[i]
		return c.precedes(last[len(last)-1].path)
	})
	if chunk == len(n.chunks) {
		return place{chunk: chunk}
	}
	entries := n.chunks[chunk]
	return place{chunk, sort.Search(len(entries), func(i int) bool { return c.precedes(entries[i].path) })}
}

// find returns the entry of that name, or nil.
func (n *names) find(path string) *entry {
	e, _ := n.look(path)
	return e
}

func (n *names) look(path string) (*entry, place) {
	p := n.seek(cut{path: path})
	if p.chunk < len(n.chunks) && n.chunks[p.chunk][p.i].path == path {
		return n.chunks[p.chunk][p.i], p
	}
	return nil, p
}

// insert puts in an entry whose name the list does not have.
func (n *names) insert(e *entry) {
	_, p := n.look(e.path)
	if p.chunk == len(n.chunks) {
		n.push(e)
		return
	}
	n.size++
	entries := slices.Insert(n.chunks[p.chunk], p.i, e)
	if len(entries) <= maxChunk {
		n.chunks[p.chunk] = entries
		return
	}
	half := len(entries) / 2
	n.chunks[p.chunk] = slices.Clip(entries[:half])
	n.chunks = slices.Insert(n.chunks, p.chunk+1, slices.Clone(entries[half:]))
}

// push puts in an entry whose name is behind all others. A full chunk stays full
// then: names that come in their order fill all chunks.
func (n *names) push(e *entry) {
	n.size++
	last := len(n.chunks) - 1
	if last < 0 || len(n.chunks[last]) >= maxChunk {
		n.chunks = append(n.chunks, []*entry{e})
		return
	}
	n.chunks[last] = append(n.chunks[last], e)
}

// remove takes out the entry of that name and returns it, or nil.
func (n *names) remove(path string) *entry {
	e, p := n.look(path)
	if e == nil {
		return nil
	}
	n.size--
	n.chunks[p.chunk] = slices.Delete(n.chunks[p.chunk], p.i, p.i+1)
	n.join(p.chunk)
	return e
}

// join joins a chunk with the one behind it where both together are small.
func (n *names) join(i int) {
	switch {
	case len(n.chunks[i]) == 0:
		n.chunks = slices.Delete(n.chunks, i, i+1)
	case i+1 < len(n.chunks) && len(n.chunks[i])+len(n.chunks[i+1]) <= maxChunk/2:
		n.chunks[i] = append(n.chunks[i], n.chunks[i+1]...)
		n.chunks = slices.Delete(n.chunks, i+1, i+2)
	}
}

// count returns how many entries lie between two cuts.
func (n *names) count(from, to cut) int {
	p, q := n.seek(from), n.seek(to)
	if !p.less(q) {
		return 0
	}
	size := q.i - p.i
	for _, entries := range n.chunks[p.chunk:q.chunk] {
		size += len(entries)
	}
	return size
}

// take returns the first entries between two cuts, or the last ones in
// descending order, at most limit.
func (n *names) take(from, to cut, descending bool, limit int) []*entry {
	p, q := n.seek(from), n.seek(to)
	if descending {
		return n.takeDown(p, q, limit)
	}
	var out []*entry
	for p.less(q) && len(out) < limit {
		entries := n.chunks[p.chunk]
		if p.chunk == q.chunk {
			entries = entries[:q.i]
		}
		entries = entries[p.i:]
		out = append(out, entries[:min(len(entries), limit-len(out))]...)
		p = place{chunk: p.chunk + 1}
	}
	return out
}

func (n *names) takeDown(p, q place, limit int) []*entry {
	var out []*entry
	for p.less(q) && len(out) < limit {
		if q.i == 0 {
			q.chunk--
			q.i = len(n.chunks[q.chunk])
			continue
		}
		q.i--
		out = append(out, n.chunks[q.chunk][q.i])
	}
	return out
}
