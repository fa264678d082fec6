package queue

import (
	"context"
	"errors"

	pb "cloud.google.com/go/firestore/apiv1/firestorepb"

	"postrider/delivery"
)

// Watch passes every document of the mail collection to found as it is now, and
// again whenever it changes, until ctx ends; then it returns ctx's error. What
// is final by its state alone is left out. While found blocks nothing more is
// read. Watching is told when everything there is has been passed on, and, with
// the reason, whenever the stream is lost and must be opened again; both on the
// same goroutine as found.
//
// Documents are passed on more than once: after a lost stream, and by Google's
// emulator on every write.
func (q *Queue) Watch(ctx context.Context, found func(context.Context, delivery.Snapshot) error, watching func(err error)) error {
	return q.follow(ctx, target{collection: q.mail}, &mailListener{found: found, watching: watching})
}

// mailListener keeps nothing: a document that it passes on twice is decided on
// twice, and the second time there is nothing to do.
type mailListener struct {
	found    func(context.Context, delivery.Snapshot) error
	watching func(error)
	current  bool
}

func (l *mailListener) changed(ctx context.Context, d *pb.Document) error {
	if settled(d) {
		return nil
	}
	return l.found(ctx, snapshot(d))
}

func (l *mailListener) removed(string)   {}
func (l *mailListener) reset()           {}
func (l *mailListener) counted(int) bool { return true }

func (l *mailListener) consistent() {
	if !l.current {
		l.current = true
		l.watching(nil)
	}
}

func (l *mailListener) lost(err error) bool {
	if errors.Is(err, errSilent) {
		return true // nothing is known to be wrong
	}
	l.current = false
	l.watching(err)
	return true
}

// settled reports whether a document is final, without decoding it: a mail
// collection keeps its history. An incomplete one may have its content by now.
func settled(d *pb.Document) bool {
	record := d.GetFields()["delivery"].GetMapValue().GetFields()
	switch delivery.State(record["state"].GetStringValue()) {
	case delivery.Success:
		return true
	case delivery.Error:
		class := record["outcome"].GetMapValue().GetFields()["class"].GetStringValue()
		return delivery.Class(class) != delivery.Incomplete
	}
	return false
}
