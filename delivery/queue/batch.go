package queue

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	firestore "cloud.google.com/go/firestore/apiv1"
	pb "cloud.google.com/go/firestore/apiv1/firestorepb"
	"google.golang.org/genproto/googleapis/rpc/code"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
)

const (
	maxBatch     = 500             // writes in one BatchWrite (Firestore's limit)
	maxBytes     = 2 << 20         // of one BatchWrite, unless it has but one write; Firestore takes 10 MiB, its emulator 4
	maxPrefix    = 1 + 4           // bytes before each write in a request
	writeTimeout = 5 * time.Second // for one BatchWrite; the write-back has several within its margin
)

// How many BatchWrites are under way at a time. Two are enough where an answer
// takes a millisecond. Where the way to Firestore takes many of them, a write would
// wait for one of two for half that time: there are more, which leave apart. How
// long the way is the fastest answer of late tells: a server that is near and busy
// does better with few large requests.
const (
	usualFlights = 2
	maxFlights   = 8
	apart        = time.Millisecond
	farAway      = 5 * time.Millisecond
)

// batcher groups writes without making any of them wait: one that finds a
// flight free goes at once, alone if need be, and those that come while none is
// go together with the next. Each write succeeds or fails for itself.
type batcher struct {
	client   *firestore.Client
	database string
	clock    *clock // learns from the answers
	running  sync.WaitGroup

	mu       sync.Mutex
	flights  int
	departed time.Time // the last of them
	fastest  fastest
	waiting  []*pending
}

// pending is a write that waits for its verdict.
type pending struct {
	name  string        // of its document
	write []byte        // a google.firestore.v1.Write, encoded
	done  chan struct{} // closed once at and err are set
	at    time.Time
	err   error
}

func newBatcher(client *firestore.Client, database string, c *clock) *batcher {
	return &batcher{client: client, database: database, clock: c}
}

// apply is put for a write that is not encoded yet.
func (b *batcher) apply(ctx context.Context, w *pb.Write) (time.Time, error) {
	encoded, err := proto.Marshal(w)
	if err != nil {
		return time.Time{}, status.Error(codes.InvalidArgument, err.Error())
	}
	return b.put(ctx, cmp.Or(w.GetUpdate().GetName(), w.GetDelete()), encoded)
}

// put puts down one encoded write of the document with a name, and returns the
// document's new update time. The error is a gRPC status. Where ctx ends first the
// write may still be applied.
func (b *batcher) put(ctx context.Context, name string, write []byte) (time.Time, error) {
	p := &pending{name: name, write: write, done: make(chan struct{})}
	b.mu.Lock()
	b.waiting = append(b.waiting, p)
	if b.free() {
		b.flights++
		b.running.Go(func() { b.fly(context.WithoutCancel(ctx)) })
	}
	b.mu.Unlock()
	select {
	case <-p.done:
		return p.at, p.err
	case <-ctx.Done():
		b.withdraw(p)
		return time.Time{}, status.FromContextError(ctx.Err()).Err()
	}
}

// withdraw takes a write back that has not gone yet: nobody waits for it, and others
// would wait behind it.
func (b *batcher) withdraw(p *pending) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if i := slices.Index(b.waiting, p); i >= 0 {
		b.waiting = slices.Delete(b.waiting, i, i+1)
	}
}

// free reports whether another flight may begin. The batcher is locked.
func (b *batcher) free() bool {
	return b.flights < usualFlights || b.flights < maxFlights && time.Since(b.departed) >= apart && b.fastest.far()
}

// fastest is how long the fastest answer of the last minute or two took.
type fastest struct {
	now, before time.Duration // in this minute, and in the one before it; 0 if there was none
	since       time.Time     // when this minute began
}

func (f *fastest) note(took time.Duration, now time.Time) {
	if now.Sub(f.since) >= time.Minute {
		*f = fastest{before: f.now, since: now}
	}
	f.now = least(f.now, took)
}

// far reports whether Firestore is far away, or not known to be near.
func (f *fastest) far() bool {
	took := least(f.now, f.before)
	return took == 0 || took >= farAway
}

// least returns the smaller one of two times of which 0 is none.
func least(a, b time.Duration) time.Duration {
	if a == 0 || b == 0 {
		return max(a, b)
	}
	return min(a, b)
}

// fly sends what is waiting, batch after batch, until nothing is.
func (b *batcher) fly(ctx context.Context) {
	for {
		b.mu.Lock()
		var batch []*pending
		batch, b.waiting = next(b.waiting)
		if len(batch) == 0 {
			b.flights--
			b.mu.Unlock()
			return
		}
		b.departed = time.Now()
		b.mu.Unlock()
		b.send(ctx, batch)
	}
}

// answered notes an answer to a request that was sent at a time.
func (b *batcher) answered(sent time.Time) {
	now := time.Now()
	b.mu.Lock()
	defer b.mu.Unlock()
	b.fastest.note(now.Sub(sent), now)
}

// next returns the next batch and what waits for a later one: Firestore takes
// only one write per document in a request, and refuses the request otherwise.
func next(waiting []*pending) (batch, rest []*pending) {
	seen, bytes := make(map[string]bool, min(len(waiting), maxBatch)), 0
	for i, p := range waiting {
		bytes += len(p.write)
		if len(batch) == maxBatch || len(batch) > 0 && bytes > maxBytes {
			return batch, append(rest, waiting[i:]...)
		}
		if seen[p.name] {
			rest = append(rest, p)
			continue
		}
		seen[p.name] = true
		batch = append(batch, p)
	}
	return batch, rest
}

// send sends one batch and hands each write its own verdict. A request that
// Firestore refuses as a whole is sent again write by write, so that a bad one
// harms no other.
func (b *batcher) send(ctx context.Context, batch []*pending) {
	response, err := b.request(ctx, batch)
	if refused(err) && len(batch) > 1 {
		for i := range batch {
			b.send(ctx, batch[i:i+1])
		}
		return
	}
	for i, p := range batch {
		p.err = err
		if err == nil {
			result := response.GetWriteResults()[i]
			p.at = result.GetUpdateTime().AsTime()
			b.clock.heard(result.UpdateTime)
			if s := response.GetStatus()[i]; s.GetCode() != int32(code.Code_OK) {
				p.err = status.ErrorProto(s)
			}
		}
		close(p.done)
	}
}

// refused reports whether Firestore has refused a request for what is in it.
func refused(err error) bool {
	code := status.Code(err)
	return code == codes.InvalidArgument || code == codes.ResourceExhausted
}

// request makes one BatchWrite. Its answer has a status and a result for each
// write.
func (b *batcher) request(ctx context.Context, batch []*pending) (*pb.BatchWriteResponse, error) {
	ctx, cancel := context.WithTimeout(ctx, writeTimeout)
	defer cancel()
	bytes := 0
	for _, p := range batch {
		bytes += len(p.write) + maxPrefix
	}
	writes := make([]byte, 0, bytes)
	for _, p := range batch {
		writes = protowire.AppendBytes(protowire.AppendTag(writes, batchWrites, protowire.BytesType), p.write)
	}
	request := &pb.BatchWriteRequest{Database: b.database}
	request.ProtoReflect().SetUnknown(writes) // which are its writes once they are sent
	sent := time.Now()
	response, err := b.client.BatchWrite(ctx, request)
	if err == nil {
		b.answered(sent)
	}
	if err == nil && (len(response.GetStatus()) != len(batch) || len(response.GetWriteResults()) != len(batch)) {
		err = status.Error(codes.Internal, fmt.Sprintf("%d writes were answered by %d results", len(batch), len(response.GetStatus())))
	}
	return response, err
}

// wait returns once no write is under way.
func (b *batcher) wait() { b.running.Wait() }
