package firestored

import (
	"slices"
	"strings"

	"postrider/delivery/firestored/query"
)

const maxIndexes = 50 // of a collection; a query on one more field scans

// index finds the documents of a collection whose field has a value. Documents
// without the field are not in it.
type index struct {
	field []string          // path of the field
	lists map[string]*names // by the value's query.Key
}

// indexName is a field path as a map's key.
func indexName(field []string) string { return strings.Join(field, "\x00") }

// key returns the key under which a version is found; false if it has none.
func (x *index) key(v *version) (string, bool) {
	if v == nil {
		return "", false
	}
	value, ok := v.names.lookup(v.data, x.field)
	if !ok {
		return "", false
	}
	return query.Key(value), true
}

// move puts an entry where its version next belongs, from where old was.
func (x *index) move(e *entry, old, next *version) {
	from, had := x.key(old)
	to, has := x.key(next)
	if had == has && from == to {
		return
	}
	if had {
		x.remove(from, e.path)
	}
	if has {
		x.add(to, e)
	}
}

func (x *index) add(key string, e *entry) { x.list(key).insert(e) }

// list returns the list of a key, which the caller puts something in.
func (x *index) list(key string) *names {
	list := x.lists[key]
	if list == nil {
		list = &names{}
		x.lists[key] = list
	}
	return list
}

func (x *index) remove(key, path string) {
	list := x.lists[key]
	if list == nil {
		return
	}
	if list.remove(path); list.size == 0 {
		delete(x.lists, key)
	}
}

// find returns the lists of the documents with one of several values.
func (x *index) find(keys []string) []*names {
	var out []*names
	for i, k := range keys {
		if list := x.lists[k]; list != nil && !slices.Contains(keys[:i], k) {
			out = append(out, list)
		}
	}
	return out
}

// index makes sure that a collection has an index on a field. The collection is
// read page by page and decoded without the lock; then the index catches up with
// what was written since the beginning.
func (db *database) index(collection string, field []string) {
	if db.indexed(collection, field) {
		return
	}
	db.indexing.Lock() // one at a time
	defer db.indexing.Unlock()
	for range 3 { // again where the log did not reach back to the beginning
		if db.indexed(collection, field) {
			return
		}
		pos := db.position()
		if x := db.build(collection, field); db.adopt(collection, x, pos) {
			return
		}
	}
}

// indexed reports whether there is nothing to do: the index is there, nothing is
// there, or there are too many indexes already.
func (db *database) indexed(collection string, field []string) bool {
	db.mu.RLock()
	defer db.mu.RUnlock()
	c := db.collections[collection]
	return c == nil || c.indexes[indexName(field)] != nil || len(c.indexes) >= maxIndexes
}

func (db *database) build(collection string, field []string) *index {
	x := &index{field: field, lists: map[string]*names{}}
	for from := (cut{}); ; {
		entries, heads := db.page(collection, from)
		if len(entries) == 0 {
			return x
		}
		for i, e := range entries {
			if key, ok := x.key(heads[i]); ok {
				x.list(key).push(e) // they come in their order
			}
		}
		from = cut{path: entries[len(entries)-1].path, after: true}
	}
}

// page returns the next documents of a collection.
func (db *database) page(collection string, from cut) (entries []*entry, heads []*version) {
	db.mu.RLock()
	defer db.mu.RUnlock()
	c := db.collections[collection]
	if c == nil {
		return nil, nil
	}
	entries = c.docs.take(from, cut{end: true}, false, lastPage)
	for _, e := range entries {
		heads = append(heads, e.head)
	}
	return entries, heads
}

// adopt gives a collection an index whose documents are those of a position of
// the log or later. It returns false where the log no longer reaches back to it.
func (db *database) adopt(collection string, x *index, pos int64) bool {
	db.mu.Lock()
	defer db.mu.Unlock()
	if !db.log.has(pos) {
		return false
	}
	c := db.collections[collection]
	if c == nil {
		return true
	}
	for ; pos < db.log.end; pos++ {
		if change := db.log.at(pos); parentOf(change.path) == collection {
			x.follow(c, change)
		}
	}
	c.indexes[indexName(x.field)] = x
	return true
}

// follow applies a change that was made while the index was built, and that it
// may have already: it has what the changes after this one leave behind. The
// entry is looked up because a document that was made anew has another one.
func (x *index) follow(c *collection, change change) {
	if from, had := x.key(change.old); had {
		x.remove(from, change.path)
	}
	to, has := x.key(change.new)
	if e := c.docs.find(change.path); has && e != nil {
		x.remove(to, change.path)
		x.add(to, e)
	}
}
