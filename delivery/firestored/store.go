package firestored

import (
	"strings"
	"sync"
	"sync/atomic"
	"time"

	pb "cloud.google.com/go/firestore/apiv1/firestorepb"
	"google.golang.org/protobuf/types/known/timestamppb"
)

// version is one state of a document. It never changes.
type version struct {
	path           string // below the database's root, as in "mail/abc"
	data           []byte // the fields (encode.go)
	names          *dictionary
	create, update int64 // microseconds since the epoch
}

// document decodes v; root is "projects/P/databases/D/documents".
func (v *version) document(root string) *pb.Document {
	return &pb.Document{
		Name:       root + "/" + v.path,
		Fields:     v.names.decode(v.data),
		CreateTime: timestamp(v.create),
		UpdateTime: timestamp(v.update),
	}
}

func timestamp(micros int64) *timestamppb.Timestamp {
	return timestamppb.New(time.UnixMicro(micros))
}

// collection is the documents right below one path, of which there is at least
// one, and the indexes that queries have asked for.
type collection struct {
	path    string // below the database's root, as in "users/u1/mail"
	docs    names
	indexes map[string]*index // by indexName
}

// database is one database: its documents and the log of their changes.
type database struct {
	name string // "projects/P/databases/D"
	root string // name + "/documents"

	clock        atomic.Int64 // the latest time given out, in microseconds
	indexing     sync.Mutex   // held while an index is built, before mu
	transactions transactions
	names        dictionary // of fields

	mu          sync.RWMutex
	collections map[string]*collection
	log         history
	rung        chan struct{} // closed at the next commit
}

func newDatabase(name string, history int) *database {
	db := &database{name: name, root: name + "/documents", collections: map[string]*collection{}, rung: make(chan struct{})}
	db.log.max = int64(history)
	db.transactions.live = map[uint64]*transaction{}
	return db
}

// database returns the database of that name ("projects/P/databases/D"), which
// is made when it is first named.
func (s *Server) database(name string) *database {
	s.mu.RLock()
	db := s.databases[name]
	s.mu.RUnlock()
	if db != nil {
		return db
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if db = s.databases[name]; db == nil {
		name = strings.Clone(name) // it is part of a request's text
		db = newDatabase(name, s.options.History)
		s.databases[name] = db
	}
	return db
}

// now returns the time of the last commit or the current time, whichever is
// later, in microseconds. A read at it sees all commits so far, and later
// commits get larger times.
func (db *database) now() int64 {
	db.mu.RLock() // no commit is half done
	defer db.mu.RUnlock()
	return db.present()
}

// present is now for who holds the lock, if only for reading.
func (db *database) present() int64 {
	for {
		last := db.clock.Load()
		t := max(last, time.Now().UnixMicro())
		if db.clock.CompareAndSwap(last, t) {
			return t
		}
	}
}

// tick returns the time of the next commit. The lock is held for writing.
func (db *database) tick() int64 {
	t := max(db.clock.Load()+1, time.Now().UnixMicro())
	db.clock.Store(t)
	return t
}

// head returns the latest version of a document, nil if there is none. The lock
// is held.
func (db *database) head(path string) *version {
	if c := db.collections[parentOf(path)]; c != nil {
		if e := c.docs.find(path); e != nil {
			return e.head
		}
	}
	return nil
}

// put makes next the latest version of a document, which was old, and logs the
// change. nil stands for no document. The lock is held for writing.
func (db *database) put(at int64, old, next *version) {
	switch {
	case old == next:
		return
	case next == nil:
		db.remove(old)
		db.log.append(change{at: at, path: old.path, old: old})
		return
	}
	c := db.collections[parentOf(next.path)]
	if c == nil {
		path := parentOf(next.path)
		c = &collection{path: path, indexes: map[string]*index{}}
		db.collections[path] = c
	}
	e := c.docs.find(next.path)
	if e == nil {
		e = &entry{path: next.path}
		c.docs.insert(e)
	}
	e.head = next
	for _, x := range c.indexes {
		x.move(e, old, next)
	}
	db.log.append(change{at: at, path: next.path, old: old, new: next})
}

func (db *database) remove(v *version) {
	c := db.collections[parentOf(v.path)]
	e := c.docs.remove(v.path)
	for _, x := range c.indexes {
		x.move(e, v, nil)
	}
	if c.docs.size == 0 {
		delete(db.collections, c.path)
	}
}

// parentOf returns the path of a document's collection.
func parentOf(path string) string { return path[:strings.LastIndexByte(path, '/')] }

// microseconds reads a time from a request: one that has no more than
// microseconds.
func microseconds(t *timestamppb.Timestamp) (int64, error) {
	if err := t.CheckValid(); err != nil {
		return 0, invalid("Invalid timestamp: %v", err)
	}
	if t.GetNanos()%1000 != 0 {
		return 0, invalid("timestamp cannot have more than microseconds precision")
	}
	return t.AsTime().UnixMicro(), nil
}
