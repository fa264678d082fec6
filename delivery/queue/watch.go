package queue

import (
	"context"
	"errors"
	"time"

	pb "cloud.google.com/go/firestore/apiv1/firestorepb"

	"postrider/delivery"
)

// Watch tells w of every document of the mail collection that changes, until
// ctx ends; then it returns ctx's error. What is final by its state alone is
// left out. It begins at the checkpoint (see [Queue.Checkpoint]), and so with
// what changed while nobody watched. Without one that Firestore still knows it
// begins with the present, and says by Missed that the past is to be audited:
// reading the whole history would cost a read for each mail ever sent.
//
// Documents are passed on more than once: after a lost stream, and by Google's
// emulator, which resumes nothing, all of them on every write.
func (q *Queue) Watch(ctx context.Context, w delivery.Watcher) error {
	l := &mailListener{queue: q, watcher: w}
	return q.follow(ctx, target{collection: q.mail}, l)
}

// mailListener keeps nothing but its place: a document that it passes on twice
// is decided on twice, and the second time there is nothing to do.
type mailListener struct {
	queue   *Queue
	watcher delivery.Watcher
	begun   bool // once: the checkpoint is behind
	current bool
}

// begin begins at the checkpoint the first time. Afterwards the stream's own
// place was refused, which is no older.
func (l *mailListener) begin(ctx context.Context) (place, error) {
	q := l.queue
	if q.forgetful {
		return place{}, nil
	}
	saved, now, err := q.saved(ctx)
	if err != nil {
		return place{}, err
	}
	if !l.begun && saved.token != nil && now.Sub(saved.at) < maxTokenAge {
		l.begun = true
		q.marks.reached(saved)
		return saved, nil
	}
	l.begun = true
	l.watcher.Missed(q.marks.pass())
	p := place{at: now}
	q.marks.reached(p)
	return p, nil
}

// maxTokenAge is how long a checkpoint is resumed at. Firestore bills a listener
// that was away for more than 30 minutes for all documents, as a new one.
const maxTokenAge = 25 * time.Minute

func (l *mailListener) changed(ctx context.Context, d *pb.Document) error {
	if settled(d) {
		return nil
	}
	settle := l.queue.marks.pass()
	err := l.watcher.Found(ctx, snapshot(d), settle)
	if err != nil {
		settle() // the place was not reached yet: it is passed on again
	}
	return err
}

func (l *mailListener) removed(string)   {}
func (l *mailListener) counted(int) bool { return true }

// reset refuses to read everything again, except from Google's emulator, which
// says so on every write and bills nothing.
func (l *mailListener) reset() error {
	if l.queue.forgetful {
		return nil
	}
	return errReset
}

func (l *mailListener) consistent(p place) {
	l.queue.marks.reached(p)
	if !l.current {
		l.current = true
		l.watcher.Watching(nil)
	}
}

func (l *mailListener) lost(err error) bool {
	if errors.Is(err, errSilent) {
		return true // nothing is known to be wrong
	}
	l.current = false
	l.watcher.Watching(err)
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
