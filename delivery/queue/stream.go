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
	"google.golang.org/protobuf/types/known/timestamppb"
)

// maxSilence is how long a stream may say nothing before it is opened anew. The
// service is not bound to speak while nothing changes, so this bounds how long
// a stream that died unnoticed is believed; resuming one that did not costs
// nothing.
const maxSilence = 4 * time.Minute

// maxDocumentSilence is maxSilence of a stream about one document: somebody waits
// for what it becomes, and an emulator may have lost that.
const maxDocumentSilence = 10 * time.Second

// errSilent ends a stream that has said nothing for too long.
var errSilent = errors.New("stream was silent for too long")

// place is where a stream begins: after a token, or else at a time; the zero
// one with everything there is.
type place struct {
	token []byte
	at    time.Time // of the server, as far as is known where there is a token
}

func (p place) isZero() bool { return p.token == nil && p.at.IsZero() }

// listener is told what a stream says, in order, on one goroutine. A method
// that blocks holds the stream back; an error ends it.
type listener interface {
	// begin returns where a stream begins that can't go on where it was.
	begin(ctx context.Context) (place, error)
	// changed: the document is in the collection as it is here.
	changed(ctx context.Context, d *pb.Document) error
	// removed: the document is no longer in the collection.
	removed(name string)
	// reset: everything that was said does not count any more, and all there is
	// follows. An error ends the stream, to begin anew.
	reset() error
	// counted: so many documents are in the collection. False says that others
	// were told of, and ends the stream.
	counted(n int) bool
	// consistent: everything up to p has been said.
	consistent(p place)
	// lost: the stream ended, or could not be begun; another is opened after a
	// pause. False asks for one that begins anew.
	lost(err error) bool
}

// follow listens to what t says until ctx ends. A stream that ends,
// for whatever reason, is opened again where it stopped; the pauses grow while
// there is no success. It returns ctx's error.
func (q *Queue) follow(ctx context.Context, t target, l listener) error {
	q.streams.Add(1)
	defer q.streams.Done()
	pause := backoff.NewExponentialBackOff()
	pause.InitialInterval = 100 * time.Millisecond
	pause.MaxInterval = 30 * time.Second
	var p place
	begun := false
	for {
		heard, err := q.resume(ctx, t, &p, &begun, l)
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if heard {
			pause.Reset()
		}
		if !l.lost(advised(err)) || refusesPlace(err) {
			begun = false
		}
		select {
		case <-time.After(pause.NextBackOff()):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// resume opens one stream at p, which it asks the listener for unless the
// stream has begun before.
func (q *Queue) resume(ctx context.Context, t target, p *place, begun *bool, l listener) (heard bool, err error) {
	if !*begun {
		if *p, err = l.begin(ctx); err != nil {
			return false, fmt.Errorf("find where to begin: %w", err)
		}
		*begun = true
	}
	return q.listen(ctx, t, p, l)
}

// refusesPlace reports whether a stream ended because of where it was to begin.
func refusesPlace(err error) bool {
	switch status.Code(err) {
	case codes.InvalidArgument, codes.FailedPrecondition, codes.OutOfRange:
		return true
	}
	return errors.Is(err, errRecount) || errors.Is(err, errReset)
}

// errReset ends a stream that would say everything again.
var errReset = errors.New("stream can't be resumed where it was")

// errRecount ends a stream whose count of documents differs from ours.
var errRecount = errors.New("documents were missed")

// listen opens one stream at p, and passes on what it says until it ends. It
// reports whether it was heard to the point at which everything had been said,
// and keeps p up to date.
func (q *Queue) listen(ctx context.Context, t target, p *place, l listener) (heard bool, err error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	silence := q.silence
	if t.document != "" {
		silence = min(silence, maxDocumentSilence)
	}
	watchdog := time.AfterFunc(silence, func() { cancel(errSilent) })
	defer watchdog.Stop()
	stream, err := q.client.Listen(q.routed(ctx))
	if err != nil {
		return false, fmt.Errorf("open stream: %w", err)
	}
	if err := stream.Send(q.ask(t, *p)); err != nil && !errors.Is(err, io.EOF) {
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
		q.clock.heard(response.GetTargetChange().GetReadTime())
		heard = heard || response.GetTargetChange().GetTargetChangeType() == pb.TargetChange_CURRENT
		watchdog.Stop() // not while the listener holds the stream back
		if err := tell(ctx, l, response, p); err != nil {
			return heard, err
		}
		watchdog.Reset(silence)
	}
}

// target is what a stream listens to: a collection, or one document in it.
type target struct {
	collection
	document string // its ID; "" for all
}

// ask returns the request that begins a stream at p.
func (q *Queue) ask(t target, p place) *pb.ListenRequest {
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
	if p.token != nil {
		wanted.ResumeType = &pb.Target_ResumeToken{ResumeToken: p.token}
	} else if !p.at.IsZero() {
		wanted.ResumeType = &pb.Target_ReadTime{ReadTime: timestamppb.New(p.at)}
	}
	return &pb.ListenRequest{Database: q.database, TargetChange: &pb.ListenRequest_AddTarget{AddTarget: wanted}}
}

// query returns the query for all of a collection's documents.
func (c collection) query() *pb.StructuredQuery {
	return &pb.StructuredQuery{From: []*pb.StructuredQuery_CollectionSelector{{CollectionId: c.id}}}
}

// tell passes one response on.
func tell(ctx context.Context, l listener, response *pb.ListenResponse, p *place) error {
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
		return tellTarget(l, r.TargetChange, p)
	}
	return nil
}

// tellTarget passes on a change of the whole target. Only what has been passed
// on is resumed after: a token comes when everything before it has.
func tellTarget(l listener, c *pb.TargetChange, p *place) error {
	if len(c.GetResumeToken()) > 0 {
		*p = place{token: c.GetResumeToken(), at: c.GetReadTime().AsTime()}
	}
	switch c.GetTargetChangeType() {
	case pb.TargetChange_RESET:
		return l.reset()
	case pb.TargetChange_REMOVE:
		return fmt.Errorf("stream refused: %w", status.ErrorProto(c.GetCause()))
	case pb.TargetChange_CURRENT:
		l.consistent(*p)
	case pb.TargetChange_NO_CHANGE:
		if len(c.GetTargetIds()) == 0 && c.GetReadTime() != nil {
			l.consistent(*p)
		}
	}
	return nil
}
