package queue

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	pb "cloud.google.com/go/firestore/apiv1/firestorepb"
	"github.com/cenkalti/backoff/v5"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// maxSilence is how long a stream may say nothing before it is opened anew. The
// service is not bound to speak while nothing changes, so this bounds how long
// a stream that died unnoticed is believed; resuming one that did not costs
// nothing.
const maxSilence = 4 * time.Minute

// errSilent ends a stream that has said nothing for too long.
var errSilent = errors.New("stream was silent for too long")

// listener is told what a stream says, in order, on one goroutine. A method
// that blocks holds the stream back; an error ends it.
type listener interface {
	// changed: the document is in the collection as it is here.
	changed(ctx context.Context, d *pb.Document) error
	// removed: the document is no longer in the collection.
	removed(name string)
	// reset: everything that was said does not count any more.
	reset()
	// counted: so many documents are in the collection. False says that others
	// were told of, and ends the stream.
	counted(n int) bool
	// consistent: everything up to now has been said.
	consistent()
	// lost: the stream ended; another is opened after a pause. False asks for one
	// that starts from nothing.
	lost(err error) bool
}

// follow listens to what t says until ctx ends. A stream that ends, for
// whatever reason, is opened again where it stopped; the pauses grow while
// there is no success. It returns ctx's error.
func (q *Queue) follow(ctx context.Context, t target, l listener) error {
	q.streams.Add(1)
	defer q.streams.Done()
	pause := backoff.NewExponentialBackOff()
	pause.InitialInterval = 100 * time.Millisecond
	pause.MaxInterval = 30 * time.Second
	var token []byte
	for {
		heard, err := q.listen(ctx, t, &token, l)
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if heard {
			pause.Reset()
		}
		err = advised(err)
		if resume := l.lost(err); !resume || refusesToken(err) {
			token = nil
		}
		select {
		case <-time.After(pause.NextBackOff()):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// refusesToken reports whether a stream ended because of where it was to
// resume.
func refusesToken(err error) bool {
	switch status.Code(err) {
	case codes.InvalidArgument, codes.FailedPrecondition, codes.OutOfRange:
		return true
	}
	return errors.Is(err, errRecount)
}

// errRecount ends a stream whose count of documents differs from ours.
var errRecount = errors.New("documents were missed")

// listen opens one stream, resumed at token, and passes on what it says until
// it ends. It reports whether it was heard to the point at which everything had
// been said, and keeps token up to date.
func (q *Queue) listen(ctx context.Context, t target, token *[]byte, l listener) (heard bool, err error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	watchdog := time.AfterFunc(q.silence, func() { cancel(errSilent) })
	defer watchdog.Stop()
	stream, err := q.client.Listen(q.routed(ctx))
	if err != nil {
		return false, fmt.Errorf("open stream: %w", err)
	}
	if err := stream.Send(q.ask(t, *token)); err != nil && !errors.Is(err, io.EOF) {
		return false, fmt.Errorf("ask for documents: %w", err)
	}
	for {
		response, err := stream.Recv()
		if cause := context.Cause(ctx); cause != nil {
			return heard, cause
		}
		if err != nil {
			return heard, fmt.Errorf("read stream: %w", err)
		}
		heard = heard || response.GetTargetChange().GetTargetChangeType() == pb.TargetChange_CURRENT
		watchdog.Stop() // not while the listener holds the stream back
		if err := tell(ctx, l, response, token); err != nil {
			return heard, err
		}
		watchdog.Reset(q.silence)
	}
}

// target is what a stream listens to: a collection, or one document in it.
type target struct {
	collection
	document string // its ID; "" for all
}

// ask returns the request that begins a stream, resumed at token unless that is
// nil.
func (q *Queue) ask(t target, token []byte) *pb.ListenRequest {
	wanted := &pb.Target{TargetId: 1}
	if t.document != "" {
		wanted.TargetType = &pb.Target_Documents{Documents: &pb.Target_DocumentsTarget{
			Documents: []string{t.name(t.document)},
		}}
	} else {
		wanted.TargetType = &pb.Target_Query{Query: &pb.Target_QueryTarget{
			Parent:    t.parent,
			QueryType: &pb.Target_QueryTarget_StructuredQuery{StructuredQuery: t.query()},
		}}
	}
	if token != nil {
		wanted.ResumeType = &pb.Target_ResumeToken{ResumeToken: token}
	}
	return &pb.ListenRequest{Database: q.database, TargetChange: &pb.ListenRequest_AddTarget{AddTarget: wanted}}
}

// query returns the query for all of a collection's documents.
func (c collection) query() *pb.StructuredQuery {
	return &pb.StructuredQuery{From: []*pb.StructuredQuery_CollectionSelector{{CollectionId: c.id}}}
}

// tell passes one response on.
func tell(ctx context.Context, l listener, response *pb.ListenResponse, token *[]byte) error {
	switch r := response.GetResponseType().(type) {
	case *pb.ListenResponse_DocumentChange:
		if len(r.DocumentChange.GetTargetIds()) == 0 {
			l.removed(r.DocumentChange.GetDocument().GetName())
			return nil
		}
		return l.changed(ctx, r.DocumentChange.GetDocument())
	case *pb.ListenResponse_DocumentDelete:
		l.removed(r.DocumentDelete.GetDocument())
	case *pb.ListenResponse_DocumentRemove:
		l.removed(r.DocumentRemove.GetDocument())
	case *pb.ListenResponse_Filter:
		if !l.counted(int(r.Filter.GetCount())) {
			return errRecount
		}
	case *pb.ListenResponse_TargetChange:
		return tellTarget(l, r.TargetChange, token)
	}
	return nil
}

// tellTarget passes on a change of the whole target. Only what has been passed
// on is resumed after: a token comes when everything before it has.
func tellTarget(l listener, c *pb.TargetChange, token *[]byte) error {
	if len(c.GetResumeToken()) > 0 {
		*token = c.GetResumeToken()
	}
	switch c.GetTargetChangeType() {
	case pb.TargetChange_RESET:
		l.reset()
	case pb.TargetChange_REMOVE:
		return fmt.Errorf("stream refused: %w", status.ErrorProto(c.GetCause()))
	case pb.TargetChange_CURRENT:
		l.consistent()
	case pb.TargetChange_NO_CHANGE:
		if len(c.GetTargetIds()) == 0 && c.GetReadTime() != nil {
			l.consistent()
		}
	}
	return nil
}
