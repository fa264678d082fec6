package queue

import (
	"context"
	"errors"
	"fmt"
	"io"

	pb "cloud.google.com/go/firestore/apiv1/firestorepb"
	"google.golang.org/genproto/googleapis/rpc/code"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"postrider/delivery"
)

// Emails returns the email field of the users' documents, whatever its type, by
// UID; a user without a document or with an empty email is absent. Each UID is
// given once. It costs one read for each, in one request. The error is a
// [*delivery.Failure] of phase users.
func (q *Queue) Emails(ctx context.Context, uids []string) (map[string]any, error) {
	names := make([]string, len(uids))
	for i, uid := range uids {
		names[i] = q.users.name(uid)
	}
	emails := make(map[string]any, len(names))
	stream, err := q.client.BatchGetDocuments(q.routed(ctx), &pb.BatchGetDocumentsRequest{
		Database:  q.database,
		Documents: names,
		Mask:      &pb.DocumentMask{FieldPaths: []string{"email"}},
	})
	if err != nil {
		return nil, usersFailure(err)
	}
	for {
		response, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			return emails, nil
		}
		if err != nil {
			return nil, usersFailure(err)
		}
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
