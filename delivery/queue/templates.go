package queue

import (
	"context"
	"fmt"
	"maps"

	pb "cloud.google.com/go/firestore/apiv1/firestorepb"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

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

// Template returns the template document called id as it is now, and whether
// there is one: for a mail that came sooner than the stream's news of its
// template. It costs one read.
func (q *Queue) Template(ctx context.Context, id string) (delivery.Fields, bool, error) {
	d, err := q.client.GetDocument(ctx, &pb.GetDocumentRequest{Name: q.template.name(id)})
	switch status.Code(err) {
	case codes.OK:
		return fieldsOf(d.GetFields()), true, nil
	case codes.NotFound, codes.InvalidArgument: // what can't be an ID names nothing
		return nil, false, nil
	}
	return nil, false, fmt.Errorf("read template: %w", err)
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

func (l *templateListener) reset() error {
	clear(l.docs)
	l.dirty = true
	return nil
}

func (l *templateListener) counted(n int) bool { return n == len(l.docs) }

func (l *templateListener) consistent(place) {
	if l.dirty || !l.loaded {
		l.replace(maps.Clone(l.docs))
		l.dirty, l.loaded = false, true
	}
}

// begin starts over: a collection of templates is small, and a template deleted
// while nobody listened must not stay. Until it is read again the old one serves.
func (l *templateListener) begin(context.Context) (place, error) { return place{}, l.reset() }

func (l *templateListener) lost(err error) bool {
	l.warn(err)
	return false
}
