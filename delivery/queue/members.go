package queue

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"sync"
	"time"

	pb "cloud.google.com/go/firestore/apiv1/firestorepb"
	"google.golang.org/protobuf/types/known/timestamppb"
)

const (
	// heartbeat is the time between two writes of an instance that say it lives.
	// Each is a read for every instance. How late a death is noticed only decides
	// how long the others leave the dead one a head start.
	heartbeat = 2 * time.Minute

	// forgotten is the age at which what an instance left behind is deleted.
	forgotten = time.Hour

	farewell = 2 * time.Second // for saying goodbye
)

// fieldHeartbeat says when an instance last wrote, for who looks at the document:
// instances go by its update time.
const fieldHeartbeat = "heartbeatTime"

// Attend makes self known as one of the instances that work the mail collection
// until ctx ends, and then says goodbye. View is told of all instances there
// are, self among them or not, with the time at which each was last heard of, by
// Firestore's clock (see [Queue.Now]): first when they are known, and again
// whenever something changes, on one goroutine; the map is view's to keep. It returns ctx's error.
func (q *Queue) Attend(ctx context.Context, self string, view func(map[string]time.Time)) error {
	var beating sync.WaitGroup
	beating.Go(func() { q.beat(ctx, self) })
	defer beating.Wait()
	m := &memberListener{queue: q, view: view, heard: map[string]time.Time{}}
	return q.follow(ctx, target{collection: q.members}, m)
}

// beat writes heartbeats until ctx ends, and deletes the instance then.
func (q *Queue) beat(ctx context.Context, self string) {
	tick := time.NewTicker(heartbeat)
	defer tick.Stop()
	for {
		if err := q.writeMember(ctx, self); err != nil && ctx.Err() == nil {
			q.log.Warn().Err(err).Msg("this instance could not make itself known")
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			short, cancel := context.WithTimeout(context.WithoutCancel(ctx), farewell)
			_ = q.deleteMember(short, self) // the others will find out by themselves
			cancel()
			return
		}
	}
}

func (q *Queue) writeMember(ctx context.Context, id string) error {
	_, err := q.batch.apply(ctx, &pb.Write{Operation: &pb.Write_Update{Update: &pb.Document{
		Name: q.members.name(id),
		Fields: map[string]*pb.Value{
			fieldHeartbeat: {ValueType: &pb.Value_TimestampValue{TimestampValue: timestamppb.New(q.Now())}},
		},
	}}})
	if err != nil {
		return fmt.Errorf("write heartbeat: %w", advised(err))
	}
	return nil
}

func (q *Queue) deleteMember(ctx context.Context, id string) error {
	_, err := q.batch.apply(ctx, &pb.Write{Operation: &pb.Write_Delete{Delete: q.members.name(id)}})
	return err
}

// memberListener keeps when each instance was last heard of: when Firestore took
// its heartbeat, whatever clock the instance has.
type memberListener struct {
	queue *Queue
	view  func(map[string]time.Time)
	heard map[string]time.Time
	dirty bool
	told  bool
}

func (l *memberListener) begin(context.Context) (place, error) {
	clear(l.heard)
	l.dirty = true
	return place{}, nil
}

func (l *memberListener) changed(ctx context.Context, d *pb.Document) error {
	id, at := idOf(d.GetName()), d.GetUpdateTime().AsTime()
	if l.queue.Now().Sub(at) > forgotten {
		return l.queue.forget(ctx, id)
	}
	l.heard[id] = at
	l.dirty = true
	return nil
}

// forget deletes what a dead instance has left.
func (q *Queue) forget(ctx context.Context, id string) error {
	if err := q.deleteMember(ctx, id); err != nil && !errors.Is(err, context.Canceled) {
		q.log.Warn().Err(err).Msg("a dead instance could not be forgotten")
	}
	return nil
}

func (l *memberListener) removed(name string) {
	delete(l.heard, idOf(name))
	l.dirty = true
}

func (l *memberListener) reset() error {
	clear(l.heard)
	l.dirty = true
	return nil
}

func (l *memberListener) counted(n int) bool { return n == len(l.heard) }

func (l *memberListener) consistent(place) {
	if l.dirty || !l.told {
		l.view(maps.Clone(l.heard))
		l.dirty, l.told = false, true
	}
}

func (l *memberListener) lost(error) bool { return false }
