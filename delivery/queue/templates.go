package queue

import (
	"context"
	"maps"

	pb "cloud.google.com/go/firestore/apiv1/firestorepb"

	"postrider/delivery"
)

// WatchTemplates passes the whole content of the templates collection, by
// document ID, to replace: once when it has been read, and again after every
// edit or deletion, until ctx ends; then it returns ctx's error. The map is
// replace's to keep, the fields in it are not to be changed.
func (q *Queue) WatchTemplates(ctx context.Context, replace func(map[string]delivery.Fields)) error {
	return q.follow(ctx, target{collection: q.template}, &templateListener{
		replace: replace,
		warn:    func(err error) { q.log.Warn().Err(err).Msg("templates stream lost, opening another") },
		docs:    map[string]delivery.Fields{},
	})
}

// templateListener keeps the collection, and passes it on whenever it is
// consistent and has changed.
type templateListener struct {
	replace func(map[string]delivery.Fields)
	warn    func(error)
	docs    map[string]delivery.Fields
	dirty   bool
	loaded  bool
}

func (l *templateListener) changed(_ context.Context, d *pb.Document) error {
	l.docs[idOf(d.GetName())] = fieldsOf(d.GetFields())
	l.dirty = true
	return nil
}

func (l *templateListener) removed(name string) {
	delete(l.docs, idOf(name))
	l.dirty = true
}

func (l *templateListener) reset() {
	clear(l.docs)
	l.dirty = true
}

func (l *templateListener) counted(n int) bool { return n == len(l.docs) }

func (l *templateListener) consistent() {
	if l.dirty || !l.loaded {
		l.replace(maps.Clone(l.docs))
		l.dirty, l.loaded = false, true
	}
}

// lost starts over: a collection of templates is small, and a template deleted
// while nobody listened must not stay. Until it is read again the old one serves.
func (l *templateListener) lost(err error) bool {
	l.warn(err)
	l.reset()
	return false
}
