package queue

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/url"
	"time"

	pb "cloud.google.com/go/firestore/apiv1/firestorepb"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/timestamppb"
)

// Fields of the document that the state collection has for a mail collection.
const (
	fieldToken = "resumeToken" // of the watch
	fieldRead  = "readTime"    // up to which the token has seen everything
	fieldAudit = "auditTime"   // when the last audit that found its end began
)

const (
	busyCheckpoint = 100              // documents after which a checkpoint is worth a write
	idleCheckpoint = 10 * time.Minute // after which one is, so that it stays one that Firestore knows
)

// checkpoint is what was saved last.
type checkpoint struct {
	place place
	found int       // documents passed on by then
	at    time.Time // by the clock of this machine; zero if nothing was saved yet
}

// stateName returns the name of the document that keeps the state of the mail
// collection.
func (q *Queue) stateName() string {
	return q.state.name(url.PathEscape(q.mailPath))
}

// Checkpoint saves how far the watch has come, if that is worth a write: after
// 100 documents, or ten minutes, or, as the last word before the end, after any.
// What was passed on and not settled lies behind it. It is to be called every
// few seconds by one instance of those that share a collection; that of any will
// do for all.
func (q *Queue) Checkpoint(ctx context.Context, last bool) error {
	if q.forgetful {
		return nil
	}
	q.saving.Lock()
	defer q.saving.Unlock()
	c := &q.checkpoint
	low, found := q.marks.lowest()
	if !c.due(low, found, last, time.Now()) {
		return nil
	}
	_, err := q.batch.apply(ctx, &pb.Write{
		Operation: &pb.Write_Update{Update: &pb.Document{Name: q.stateName(), Fields: map[string]*pb.Value{
			fieldToken: {ValueType: &pb.Value_BytesValue{BytesValue: low.token}},
			fieldRead:  {ValueType: &pb.Value_TimestampValue{TimestampValue: timestamppb.New(low.at)}},
		}}},
		UpdateMask: &pb.DocumentMask{FieldPaths: []string{fieldToken, fieldRead}},
	})
	if err != nil {
		return fmt.Errorf("save checkpoint: %w", advised(err))
	}
	*c = checkpoint{place: low, found: found, at: time.Now()}
	return nil
}

// due reports whether it is worth a write to save p, with so many documents
// passed on.
func (c checkpoint) due(p place, found int, last bool, now time.Time) bool {
	if p.token == nil || string(p.token) == string(c.place.token) {
		return false
	}
	return last && found > c.found || found-c.found >= busyCheckpoint || now.Sub(c.at) >= idleCheckpoint
}

// saved returns the checkpoint, the zero place if there is none, and what time
// Firestore has. It costs one read.
func (q *Queue) saved(ctx context.Context) (place, time.Time, error) {
	f, now, err := q.readState(ctx)
	if err != nil {
		return place{}, time.Time{}, err
	}
	token := f[fieldToken].GetBytesValue()
	if len(token) == 0 {
		return place{}, now, nil
	}
	return place{token: token, at: f[fieldRead].GetTimestampValue().AsTime()}, now, nil
}

// LastAudit returns when the last audit that came to its end began, by
// Firestore's clock (see [Queue.Now]); the zero time if there was none. It costs
// one read.
func (q *Queue) LastAudit(ctx context.Context) (time.Time, error) {
	f, _, err := q.readState(ctx)
	if err != nil {
		return time.Time{}, fmt.Errorf("read time of last audit: %w", advised(err))
	}
	if f[fieldAudit] == nil {
		return time.Time{}, nil
	}
	return f[fieldAudit].GetTimestampValue().AsTime(), nil
}

// NoteAudit saves that an audit that began at the given time, by Firestore's
// clock (see [Queue.Now]), has come to its end.
func (q *Queue) NoteAudit(ctx context.Context, began time.Time) error {
	_, err := q.batch.apply(ctx, &pb.Write{
		Operation: &pb.Write_Update{Update: &pb.Document{Name: q.stateName(), Fields: map[string]*pb.Value{
			fieldAudit: {ValueType: &pb.Value_TimestampValue{TimestampValue: timestamppb.New(began)}},
		}}},
		UpdateMask: &pb.DocumentMask{FieldPaths: []string{fieldAudit}},
	})
	if err != nil {
		return fmt.Errorf("save time of audit: %w", advised(err))
	}
	return nil
}

// readState returns the fields of the state document, none if it does not
// exist, and what time Firestore has: a batch's answer says it, missing or not.
func (q *Queue) readState(ctx context.Context) (map[string]*pb.Value, time.Time, error) {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	stream, err := q.client.BatchGetDocuments(q.routed(ctx), &pb.BatchGetDocumentsRequest{
		Database: q.database, Documents: []string{q.stateName()},
	})
	if err != nil {
		return nil, time.Time{}, err
	}
	response, err := stream.Recv()
	if errors.Is(err, io.EOF) {
		err = status.Error(codes.Internal, "the request for one document was not answered")
	}
	if err != nil {
		return nil, time.Time{}, err
	}
	q.clock.heard(response.GetReadTime())
	return response.GetFound().GetFields(), response.GetReadTime().AsTime(), nil
}

// callTimeout bounds a request that is no write and answers at once.
const callTimeout = 10 * time.Second
