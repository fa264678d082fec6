package main

import (
	"context"
	"fmt"
	"sync"
	"time"

	pb "cloud.google.com/go/firestore/apiv1/firestorepb"
	"google.golang.org/grpc/metadata"
	"google.golang.org/protobuf/types/known/timestamppb"
)

// watcher is told of every change of a mail collection.
type watcher struct {
	changes chan change
	cancel  context.CancelFunc
	reading sync.WaitGroup
	err     error // of the stream; set once changes is closed
}

// change is a version of a document, and when its news came.
type change struct {
	state string // delivery.state
	at    time.Time
}

// watch begins to watch the collection from the present on.
func (o *outbox) watch(ctx context.Context) (*watcher, error) {
	const most = 64 // changes that nobody has asked for yet
	ctx, cancel := context.WithCancel(metadata.AppendToOutgoingContext(ctx, "google-cloud-resource-prefix", o.database()))
	w := &watcher{changes: make(chan change, most), cancel: cancel}
	stream, err := o.client.Listen(ctx)
	if err == nil {
		err = stream.Send(&pb.ListenRequest{Database: o.database(), TargetChange: &pb.ListenRequest_AddTarget{AddTarget: &pb.Target{
			TargetId: 1,
			TargetType: &pb.Target_Query{Query: &pb.Target_QueryTarget{Parent: o.parent(), QueryType: &pb.Target_QueryTarget_StructuredQuery{
				StructuredQuery: &pb.StructuredQuery{From: []*pb.StructuredQuery_CollectionSelector{{CollectionId: collection}}},
			}}},
			ResumeType: &pb.Target_ReadTime{ReadTime: timestamppb.New(time.Now().Truncate(time.Microsecond))},
		}}})
	}
	if err != nil {
		cancel()
		return nil, fmt.Errorf("listen: %w", err)
	}
	current := make(chan struct{})
	w.reading.Go(func() { w.read(stream, sync.OnceFunc(func() { close(current) })) })
	select {
	case <-current:
	case <-ctx.Done():
	}
	return w, nil
}

// read takes what comes until the stream ends. It says when the stream has caught
// up, or has ended.
func (w *watcher) read(stream pb.Firestore_ListenClient, current func()) {
	defer current()
	defer close(w.changes)
	for {
		r, err := stream.Recv()
		if err != nil {
			w.err = err
			return
		}
		if r.GetTargetChange().GetTargetChangeType() == pb.TargetChange_CURRENT {
			current()
		}
		if d := r.GetDocumentChange().GetDocument(); d != nil {
			w.changes <- change{d.GetFields()["delivery"].GetMapValue().GetFields()["state"].GetStringValue(), time.Now()}
		}
	}
}

// ignore watches the collection and does nothing about it, until end is called.
func (o *outbox) ignore(ctx context.Context) (end func() error, err error) {
	w, err := o.watch(ctx)
	if err != nil {
		return nil, err
	}
	var ignoring sync.WaitGroup
	ignoring.Go(func() {
		for range w.changes {
		}
	})
	return func() error {
		err := w.close()
		ignoring.Wait()
		return err
	}, nil
}

// next returns the next change.
func (w *watcher) next(ctx context.Context) (change, error) {
	ctx, cancel := context.WithTimeout(ctx, longest)
	defer cancel()
	select {
	case c, ok := <-w.changes:
		if !ok {
			return change{}, fmt.Errorf("listen: %w", w.err)
		}
		return c, nil
	case <-ctx.Done():
		return change{}, fmt.Errorf("wait for a change: %w", ctx.Err())
	}
}

// close ends the watching.
func (w *watcher) close() error {
	w.cancel()
	for range w.changes { // so that the reader is not held up
	}
	w.reading.Wait()
	return nil
}
