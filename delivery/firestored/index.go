package firestored

import (
	"slices"
	"strings"

	pb "cloud.google.com/go/firestore/apiv1/firestorepb"
	"google.golang.org/protobuf/proto"

	"postrider/delivery/firestored/query"
)

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
	raw, ok := lookup(v.data, x.field)
	if !ok {
		return "", false
	}
	value := &pb.Value{}
	if err := proto.Unmarshal(raw, value); err != nil {
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
		x.remove(from, e)
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

func (x *index) remove(key string, e *entry) {
	list := x.lists[key]
	if list == nil {
		return
	}
	if list.remove(e.path); list.size == 0 {
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

// index makes sure that a collection has an index on a field. It decodes the
// collection without the lock, and then catches up with what was written
// meanwhile.
func (db *database) index(collection string, field []string) {
	db.indexing.Lock() // one at a time
	defer db.indexing.Unlock()
	for range 3 { // again where the log did not reach back to the beginning
		entries, heads, pos, wanted := db.unindexed(collection, field)
		if !wanted {
			return
		}
		x := build(field, entries, heads)
		if db.adopt(collection, x, pos) {
			return
		}
	}
}

// unindexed returns a collection's documents as of a position of the log;
// wanted is false where there is nothing to index.
func (db *database) unindexed(collection string, field []string) (entries []*entry, heads []*version, pos int64, wanted bool) {
	db.mu.RLock()
	defer db.mu.RUnlock()
	c := db.collections[collection]
	if c == nil || c.indexes[indexName(field)] != nil {
		return nil, nil, 0, false
	}
	entries = c.docs.take(cut{}, cut{end: true}, false, c.docs.size)
	heads = make([]*version, len(entries))
	for i, e := range entries {
		heads[i] = e.head
	}
	return entries, heads, db.log.end, true
}

// build makes an index of entries that are sorted by name.
func build(field []string, entries []*entry, heads []*version) *index {
	x := &index{field: field, lists: map[string]*names{}}
	for i, e := range entries {
		if key, ok := x.key(heads[i]); ok {
			x.list(key).push(e)
		}
	}
	return x
}

// adopt gives a collection an index that was built at a position of the log. It
// returns false where the log no longer reaches back to it.
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
		change := db.log.at(pos)
		if parentOf(change.path) == collection {
			x.follow(c, change)
		}
	}
	c.indexes[indexName(x.field)] = x
	return true
}

// follow applies a change that was made while the index was built. The entry is
// looked up because a document that was made anew has another one than before;
// one that is gone again needs none to be taken out.
func (x *index) follow(c *collection, change change) {
	from, had := x.key(change.old)
	to, has := x.key(change.new)
	if had {
		x.remove(from, &entry{path: change.path})
	}
	if e := c.docs.find(change.path); has && e != nil {
		x.add(to, e)
	}
}
