package queue

import (
	"context"
	"fmt"
	"strings"

	pb "cloud.google.com/go/firestore/apiv1/firestorepb"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"postrider/delivery"
)

const (
	fieldReadOn   = "readOn"                  // of a receipt: when the mail was read
	pathMessageID = "delivery.info.messageId" // of a mail document
)

// receipts returns the collection of a mail's receipts, below its document: what is
// in it is no mail, to the watch and to events neither.
func (q *Queue) receipts(id string) collection {
	return collection{parent: q.mail.name(id), id: "receipts"}
}

// AddReceipt puts down a receipt of the mail called mail. If there is one with this
// ID already, that one stays, and that is no error. It costs one write, which is
// tried once and given up after ten seconds: somebody waits. Whether there is such a
// mail it does not ask.
func (q *Queue) AddReceipt(ctx context.Context, mail, id string, f delivery.Fields) error {
	if !isID(mail) || !validID(id) {
		return fmt.Errorf("add receipt: %w", delivery.ErrGone)
	}
	fields, err := encodeFields(f, q.database)
	if err != nil {
		return fmt.Errorf("add receipt: %w", err)
	}
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	_, err = q.batch.apply(ctx, &pb.Write{
		Operation:       &pb.Write_Update{Update: &pb.Document{Name: q.receipts(mail).name(id), Fields: fields}},
		CurrentDocument: &pb.Precondition{ConditionType: &pb.Precondition_Exists{Exists: false}},
	})
	switch status.Code(err) {
	case codes.OK, codes.AlreadyExists, codes.FailedPrecondition:
		return nil
	}
	return fmt.Errorf("add receipt: %w", advised(err))
}

// Receipts returns the fields of a mail's receipts in the order in which the mail
// was read, the first skip of them left out, limit at most, and whether there are
// more. It is billed one read for each that there is up to the last it returns, and
// one for the next; one at least. It needs no index but the automatic ones.
func (q *Queue) Receipts(ctx context.Context, mail string, skip, limit int) (list []delivery.Fields, more bool, err error) {
	if !isID(mail) {
		return nil, false, delivery.ErrGone
	}
	receipts := q.receipts(mail)
	query := receipts.query()
	for _, path := range []string{fieldReadOn, pathName} {
		query.OrderBy = append(query.OrderBy, &pb.StructuredQuery_Order{Field: &pb.StructuredQuery_FieldReference{FieldPath: path}})
	}
	query.Offset, query.Limit = int32(skip), wrapperspb.Int32(int32(limit+1))
	found, err := q.findBelow(ctx, receipts.parent, query)
	if err != nil {
		return nil, false, fmt.Errorf("find receipts: %w", advised(err))
	}
	for _, d := range found[:min(limit, len(found))] {
		list = append(list, fieldsOf(d.GetFields()))
	}
	return list, len(found) > limit, nil
}

// maxSameID is how many mails with one Message-ID are told apart. Postrider makes
// no two; documents that bring their own may.
const maxSameID = 10

// ByMessageID returns the mail documents, of their fields delivery alone, whose
// mail has gone out with a Message-ID, in angle brackets or as the document wrote
// it: ten at most. [delivery.ErrGone] says that there is none. It is billed one
// read for each, one at least, and needs the index on delivery.info.messageId.
func (q *Queue) ByMessageID(ctx context.Context, id string) ([]delivery.Snapshot, error) {
	bare := strings.TrimSuffix(strings.TrimPrefix(id, "<"), ">")
	query := q.mail.query()
	query.Where = in(pathMessageID, "<"+bare+">", bare)
	query.Select = projection("delivery")
	query.Limit = wrapperspb.Int32(maxSameID)
	found, err := q.findBelow(ctx, q.mail.parent, query)
	if status.Code(err) == codes.FailedPrecondition {
		err = fmt.Errorf("%w; disposition notifications need the index on delivery.info.messageId: deploy the indexes of firestore.indexes.json", err)
	}
	if err != nil {
		return nil, fmt.Errorf("find the mail with a Message-ID: %w", advised(err))
	}
	if len(found) == 0 {
		return nil, delivery.ErrGone
	}
	mails := make([]delivery.Snapshot, len(found))
	for i, d := range found {
		mails[i] = snapshot(d)
	}
	return mails, nil
}

// findBelow returns what a query finds below a parent. It is asked once, and given up
// after ten seconds: somebody waits for the answer.
func (q *Queue) findBelow(ctx context.Context, parent string, query *pb.StructuredQuery) ([]*pb.Document, error) {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	stream, err := q.client.RunQuery(q.routed(ctx), &pb.RunQueryRequest{
		Parent:    parent,
		QueryType: &pb.RunQueryRequest_StructuredQuery{StructuredQuery: query},
	})
	if err != nil {
		return nil, err
	}
	return documents(q.clock, stream.Recv, (*pb.RunQueryResponse).GetDocument)
}
