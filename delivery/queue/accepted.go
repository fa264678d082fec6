package queue

import (
	"context"
	"fmt"
	"time"

	pb "cloud.google.com/go/firestore/apiv1/firestorepb"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// Accepted returns how many documents there are whose mail has reached an address,
// or may have, since a time by Firestore's clock: those that have the address,
// which is in lower case, in delivery.reached, and delivery.reachedTime since then.
// It is billed one read for each thousand of them, one at least. It is the only query that needs an index of
// its own; where that is missing the error says so. Otherwise it fails when ctx
// ends, or Firestore has not answered eight times.
func (q *Queue) Accepted(ctx context.Context, address string, since time.Time) (int, error) {
	query := q.mail.query()
	query.Where = allOf(
		where("delivery.reached", pb.StructuredQuery_FieldFilter_ARRAY_CONTAINS, &pb.Value{ValueType: &pb.Value_StringValue{StringValue: address}}),
		where("delivery.reachedTime", pb.StructuredQuery_FieldFilter_GREATER_THAN_OR_EQUAL, timeValue(since)),
	)
	n, _, err := counter{q}.aggregate(ctx, query, nil, 0)
	if status.Code(err) == codes.FailedPrecondition {
		err = fmt.Errorf("%w; MAX_PER_RECIPIENT needs the composite index of deploy/firestore.indexes.json: deploy it, or unset MAX_PER_RECIPIENT", err)
	}
	if err != nil {
		return 0, fmt.Errorf("find how many mails an address was sent: %w", advised(err))
	}
	return n, nil
}
