package queue

import (
	"context"
	"errors"
	"fmt"

	pb "cloud.google.com/go/firestore/apiv1/firestorepb"

	"postrider/delivery"
)

// Add adds a mail document with an ID of Firestore's making, as an application
// does, and returns that ID.
func (q *Queue) Add(ctx context.Context, f delivery.Fields) (string, error) {
	fields, err := encodeFields(f, q.database)
	if err != nil {
		return "", fmt.Errorf("add document: %w", err)
	}
	d, err := q.client.CreateDocument(ctx, &pb.CreateDocumentRequest{
		Parent:       q.mail.parent,
		CollectionId: q.mail.id,
		Document:     &pb.Document{Fields: fields},
	})
	if err != nil {
		return "", fmt.Errorf("add document: %w", err)
	}
	return idOf(d.GetName()), nil
}

// Follow passes a document to seen as it is now and whenever it changes, until
// seen returns false or ctx ends. A document that is deleted, or is not there,
// ends it with [delivery.ErrGone].
func (q *Queue) Follow(ctx context.Context, id string, seen func(delivery.Snapshot) bool) error {
	ctx, end := context.WithCancelCause(ctx)
	defer end(nil)
	_ = q.follow(ctx, target{q.mail, id}, &documentListener{seen: seen, end: end}) // it ends with ctx
	if cause := context.Cause(ctx); !errors.Is(cause, errSeen) {
		return fmt.Errorf("follow document: %w", cause)
	}
	return nil
}

// errSeen ends a Follow that has seen enough.
var errSeen = errors.New("seen enough")

// documentListener passes on one document.
type documentListener struct {
	seen func(delivery.Snapshot) bool
	end  context.CancelCauseFunc
}

func (l *documentListener) changed(_ context.Context, d *pb.Document) error {
	if !l.seen(snapshot(d)) {
		l.end(errSeen)
	}
	return nil
}

func (l *documentListener) begin(context.Context) (place, error) { return place{}, nil }

func (l *documentListener) removed(string)   { l.end(delivery.ErrGone) }
func (l *documentListener) reset() error     { return nil }
func (l *documentListener) counted(int) bool { return true }
func (l *documentListener) consistent(place) {}
func (l *documentListener) lost(error) bool  { return true }
