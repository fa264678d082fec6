package queue

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	pb "cloud.google.com/go/firestore/apiv1/firestorepb"
	"github.com/cenkalti/backoff/v5"
	"google.golang.org/genproto/googleapis/rpc/code"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"postrider/delivery"
)

// maxLookup bounds the time that a look-up of users is tried for.
const maxLookup = 10 * time.Second

// Emails returns the email field of the users' documents, whatever its type, by
// UID; a user without a document or with an empty email is absent. Each UID is
// given once. It costs one read for each, in one request. The error is a
// [*delivery.Failure] of phase users.
func (q *Queue) Emails(ctx context.Context, uids []string) (map[string]any, error) {
	request := &pb.BatchGetDocumentsRequest{Database: q.database, Mask: &pb.DocumentMask{FieldPaths: []string{"email"}}}
	for _, uid := range uids {
		request.Documents = append(request.Documents, q.users.name(uid))
	}
	emails, err := backoff.Retry(ctx, func() (map[string]any, error) {
		emails, err := q.emails(ctx, request)
		switch status.Code(err) {
		case codes.InvalidArgument, codes.PermissionDenied, codes.Unauthenticated, codes.NotFound:
			err = backoff.Permanent(err)
		}
		return emails, err
	}, backoff.WithMaxElapsedTime(maxLookup))
	if err != nil {
		return nil, usersFailure(err)
	}
	return emails, nil
}

func (q *Queue) emails(ctx context.Context, request *pb.BatchGetDocumentsRequest) (map[string]any, error) {
	emails := make(map[string]any, len(request.GetDocuments()))
	stream, err := q.client.BatchGetDocuments(q.routed(ctx), request)
	if err != nil {
		return nil, err
	}
	for {
		response, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			return emails, nil
		}
		if err != nil {
			return nil, err
		}
		q.clock.heard(response.GetReadTime())
		d := response.GetFound()
		if email := valueOf(d.GetFields()["email"]); email != nil && email != "" {
			emails[idOf(d.GetName())] = email
		}
	}
}

// usersFailure returns why users could not be read, in the words of the
// extension's client: the code by number and name, and what the server said.
func usersFailure(err error) error {
	s := status.Convert(err)
	f := &delivery.Failure{
		Class: delivery.Transient, Phase: delivery.PhaseUsers, Err: err,
		Message: fmt.Sprintf("Error: %d %s: %s", s.Code(), code.Code(s.Code()), s.Message()),
		Explain: "the users collection could not be read; set delivery.state to RETRY when Firestore answers again",
	}
	switch s.Code() {
	case codes.InvalidArgument:
		f.Class = delivery.Permanent
		f.Explain = "a UID in toUids, ccUids or bccUids can't be a document's ID; correct it and set delivery.state to RETRY"
	case codes.PermissionDenied, codes.Unauthenticated, codes.NotFound:
		f.Class = delivery.Permanent
		f.Explain = "the worker may not read USERS_COLLECTION; grant its service account roles/datastore.user, then set delivery.state to RETRY"
	}
	return f
}
