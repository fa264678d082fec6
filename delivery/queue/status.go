package queue

import (
	"context"
	"fmt"
	"time"

	pb "cloud.google.com/go/firestore/apiv1/firestorepb"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"postrider/delivery"
)

// Status returns of the document called id the fields delivery and request, and
// when it was added: [delivery.ErrGone] if there is none, as there is none by a
// name that can't be one, which costs nothing. It costs one read, is asked once,
// and gives up after ten seconds.
func (q *Queue) Status(ctx context.Context, id string) (delivery.Snapshot, time.Time, error) {
	if !isID(id) {
		return delivery.Snapshot{}, time.Time{}, delivery.ErrGone
	}
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	d, err := q.client.GetDocument(ctx, &pb.GetDocumentRequest{
		Name: q.mail.name(id),
		Mask: &pb.DocumentMask{FieldPaths: []string{"delivery", fieldRequest}},
	})
	switch status.Code(err) {
	case codes.OK:
		return snapshot(d), d.GetCreateTime().AsTime(), nil
	case codes.NotFound, codes.InvalidArgument:
		return delivery.Snapshot{}, time.Time{}, delivery.ErrGone
	}
	return delivery.Snapshot{}, time.Time{}, fmt.Errorf("read document: %w", advised(err))
}

// fieldRequest is the field in which a document keeps what it was asked for by.
const fieldRequest = "request"
