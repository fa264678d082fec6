package queue

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	pb "cloud.google.com/go/firestore/apiv1/firestorepb"
	"github.com/rs/zerolog"
	rpc "google.golang.org/genproto/googleapis/rpc/status"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	"postrider/delivery"
)

// troubled is a Firestore that does what a test tells it to.
type troubled struct {
	pb.UnimplementedFirestoreServer
	listen func(attempt int, token []byte, stream pb.Firestore_ListenServer) error
	batch  func(attempt int, r *pb.BatchWriteRequest) (*pb.BatchWriteResponse, error)
	get    func() (*pb.Document, error)
	query  func(attempt int, r *pb.RunQueryRequest, stream pb.Firestore_RunQueryServer) error

	state map[string]*pb.Value // fields of the state document

	mu      sync.Mutex
	streams int
	queries int
	batches [][]string   // the documents of each BatchWrite
	asked   []*pb.Target // of each Listen
}

func (s *troubled) Listen(stream pb.Firestore_ListenServer) error {
	request, err := stream.Recv()
	if err != nil {
		return err
	}
	s.mu.Lock()
	s.streams++
	n := s.streams
	s.asked = append(s.asked, request.GetAddTarget())
	s.mu.Unlock()
	return s.listen(n, request.GetAddTarget().GetResumeToken(), stream)
}

// BatchGetDocuments answers with the state document.
func (s *troubled) BatchGetDocuments(_ *pb.BatchGetDocumentsRequest, stream pb.Firestore_BatchGetDocumentsServer) error {
	return stream.Send(&pb.BatchGetDocumentsResponse{
		Result:   &pb.BatchGetDocumentsResponse_Found{Found: &pb.Document{Fields: s.state}},
		ReadTime: timestamppb.New(present),
	})
}

// present is the time that a Firestore in trouble has.
var present = time.Date(2027, 3, 31, 12, 0, 0, 0, time.UTC)

func (s *troubled) BatchWrite(_ context.Context, r *pb.BatchWriteRequest) (*pb.BatchWriteResponse, error) {
	s.mu.Lock()
	var ids []string
	for _, w := range r.GetWrites() {
		ids = append(ids, idOf(w.GetUpdate().GetName()))
	}
	s.batches = append(s.batches, ids)
	n := len(s.batches)
	s.mu.Unlock()
	return s.batch(n, r)
}

func (s *troubled) RunQuery(r *pb.RunQueryRequest, stream pb.Firestore_RunQueryServer) error {
	s.mu.Lock()
	s.queries++
	n := s.queries
	s.mu.Unlock()
	return s.query(n, r, stream)
}

func (s *troubled) GetDocument(context.Context, *pb.GetDocumentRequest) (*pb.Document, error) {
	return s.get()
}

// all answers every write of a batch alike.
func all(r *pb.BatchWriteRequest, code codes.Code) *pb.BatchWriteResponse {
	response := &pb.BatchWriteResponse{}
	for range r.GetWrites() {
		response.Status = append(response.Status, &rpc.Status{Code: int32(code)})
		response.WriteResults = append(response.WriteResults, &pb.WriteResult{UpdateTime: timestamppb.Now()})
	}
	return response
}

// serve returns a queue before a Firestore in trouble.
func serve(t *testing.T, s *troubled) *Queue {
	t.Helper()
	listener, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server := grpc.NewServer()
	pb.RegisterFirestoreServer(server, s)
	done := make(chan error, 1)
	go func() { done <- server.Serve(listener) }()
	q, err := Open(t.Context(), Options{Project: "p", Mail: "mail", Templates: "templates", State: "_postrider", Emulator: listener.Addr().String(), Log: zerolog.Nop()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		server.Stop()
		if err := errors.Join(q.Close(), <-done); err != nil {
			t.Error(err)
		}
	})
	return q
}

// change returns a response that tells of a new document.
func change(id string) *pb.ListenResponse {
	return &pb.ListenResponse{ResponseType: &pb.ListenResponse_DocumentChange{DocumentChange: &pb.DocumentChange{
		Document:  &pb.Document{Name: "projects/p/databases/(default)/documents/mail/" + id, UpdateTime: timestamppb.Now()},
		TargetIds: []int32{1},
	}}}
}

// point returns a response that says that all has been said, with a token.
func point(token string) *pb.ListenResponse {
	return &pb.ListenResponse{ResponseType: &pb.ListenResponse_TargetChange{TargetChange: &pb.TargetChange{
		TargetChangeType: pb.TargetChange_CURRENT, ResumeToken: []byte(token), ReadTime: timestamppb.Now(),
	}}}
}

// watched records what a watch tells.
type watched struct {
	seen   chan string
	told   chan error
	missed chan func()
}

func newWatched() watched {
	return watched{make(chan string, 100), make(chan error, 100), make(chan func(), 100)}
}

func (w watched) Found(_ context.Context, s delivery.Snapshot, settled func()) error {
	w.seen <- s.ID
	settled()
	return nil
}

func (w watched) Watching(err error)    { w.told <- err }
func (w watched) Missed(settled func()) { w.missed <- settled }

// reset returns a response that says that all there is follows.
func reset() *pb.ListenResponse {
	return &pb.ListenResponse{ResponseType: &pb.ListenResponse_TargetChange{TargetChange: &pb.TargetChange{
		TargetChangeType: pb.TargetChange_RESET,
	}}}
}

// A watch goes on after whatever may happen to its stream, and asks for what
// came after the last token, unless that is what was refused: then it goes on in
// the present, and says that something may have been missed.
func TestWatchSurvivesItsStream(t *testing.T) {
	hangs := func(s pb.Firestore_ListenServer) error {
		<-s.Context().Done()
		return s.Context().Err()
	}
	cases := map[string]struct {
		first   func(pb.Firestore_ListenServer) error // how the first stream goes on after a document and a token
		resumed bool                                  // the second is asked to go on after the token
	}{
		"cut":           {func(pb.Firestore_ListenServer) error { return status.Error(codes.Unavailable, "bye") }, true},
		"ended":         {func(pb.Firestore_ListenServer) error { return nil }, true},
		"not permitted": {func(pb.Firestore_ListenServer) error { return status.Error(codes.PermissionDenied, "no") }, true},
		"silent":        {hangs, true},
		"token refused": {func(pb.Firestore_ListenServer) error { return status.Error(codes.InvalidArgument, "bad token") }, false},
		"too old":       {func(pb.Firestore_ListenServer) error { return status.Error(codes.FailedPrecondition, "too old") }, false},
		"reset":         {func(s pb.Firestore_ListenServer) error { return errors.Join(s.Send(reset()), hangs(s)) }, false},
		"target removed": {func(s pb.Firestore_ListenServer) error {
			return s.Send(&pb.ListenResponse{ResponseType: &pb.ListenResponse_TargetChange{TargetChange: &pb.TargetChange{
				TargetChangeType: pb.TargetChange_REMOVE, Cause: &rpc.Status{Code: int32(codes.ResourceExhausted)},
			}}})
		}, true},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			server := &troubled{listen: func(attempt int, _ []byte, s pb.Firestore_ListenServer) error {
				if attempt == 1 {
					return errors.Join(s.Send(change("a")), s.Send(point("t1")), c.first(s))
				}
				return errors.Join(s.Send(change("b")), s.Send(point("t2")), hangs(s))
			}}
			q := serve(t, server)
			q.silence = 200 * time.Millisecond
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			w, ended := newWatched(), make(chan error, 1)
			go func() { ended <- q.Watch(ctx, w) }()
			if a, b := <-w.seen, <-w.seen; a != "a" || b != "b" {
				t.Errorf("saw %s and %s", a, b)
			}
			if up := <-w.told; up != nil {
				t.Errorf("was told %v at first", up)
			}
			if name != "silent" { // of which nothing is known to be wrong
				if down, again := <-w.told, <-w.told; down == nil || again != nil {
					t.Errorf("was told %v, then %v", down, again)
				}
			}
			cancel()
			if err := <-ended; !errors.Is(err, context.Canceled) {
				t.Errorf("ended in %v", err)
			}
			server.mu.Lock()
			defer server.mu.Unlock()
			first, second := server.asked[0], server.asked[1]
			if !first.GetReadTime().AsTime().Equal(present) {
				t.Errorf("began at %v", first)
			}
			if resumed := string(second.GetResumeToken()) == "t1"; resumed != c.resumed {
				t.Errorf("went on at %v", second)
			}
			misses := 1 // there was no checkpoint
			if !c.resumed {
				misses++
				if !second.GetReadTime().AsTime().Equal(present) {
					t.Errorf("began anew at %v", second)
				}
			}
			if len(w.missed) != misses {
				t.Errorf("said %d times that something may have been missed, want %d", len(w.missed), misses)
			}
		})
	}
}

// A watch begins at the checkpoint, if Firestore may still know it.
func TestWatchBeginsAtTheCheckpoint(t *testing.T) {
	cases := map[string]struct {
		age     time.Duration
		resumed bool
	}{
		"a minute old":    {time.Minute, true},
		"a tick too old":  {maxTokenAge, false},
		"not quite so":    {maxTokenAge - 1000, true},
		"from the future": {-time.Minute, true},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			server := &troubled{
				state: map[string]*pb.Value{
					fieldToken: {ValueType: &pb.Value_BytesValue{BytesValue: []byte("t0")}},
					fieldRead:  {ValueType: &pb.Value_TimestampValue{TimestampValue: timestamppb.New(present.Add(-c.age))}},
				},
				listen: func(_ int, _ []byte, s pb.Firestore_ListenServer) error {
					if err := s.Send(point("t1")); err != nil {
						return err
					}
					<-s.Context().Done()
					return nil
				},
			}
			q := serve(t, server)
			ctx, cancel := context.WithCancel(t.Context())
			w, ended := newWatched(), make(chan error, 1)
			go func() { ended <- q.Watch(ctx, w) }()
			<-w.told
			cancel()
			<-ended
			server.mu.Lock()
			defer server.mu.Unlock()
			if got := string(server.asked[0].GetResumeToken()) == "t0"; got != c.resumed {
				t.Errorf("began at %v", server.asked[0])
			}
			if got := len(w.missed) == 0; got != c.resumed {
				t.Errorf("said %d times that something may have been missed", len(w.missed))
			}
		})
	}
}

// A templates stream starts over after it was lost: who knows what was deleted.
func TestTemplatesDeletedWhileNobodyListenedAreGone(t *testing.T) {
	q := serve(t, &troubled{listen: func(attempt int, token []byte, s pb.Firestore_ListenServer) error {
		if len(token) > 0 {
			t.Errorf("resumed at %q", token)
		}
		if attempt == 1 {
			return errors.Join(s.Send(change("a")), s.Send(change("b")), s.Send(point("t1")))
		}
		if err := errors.Join(s.Send(change("b")), s.Send(point("t2"))); err != nil {
			return err
		}
		<-s.Context().Done()
		return nil
	}})
	ctx, cancel := context.WithCancel(t.Context())
	content, ended := make(chan map[string]delivery.Fields, 10), make(chan error, 1)
	go func() { ended <- q.WatchTemplates(ctx, func(m map[string]delivery.Fields) { content <- m }) }()
	if m := <-content; len(m) != 2 {
		t.Errorf("first %v", m)
	}
	if m := <-content; len(m) != 1 {
		t.Errorf("afterwards %v", m)
	}
	cancel()
	<-ended
}

// A scan that breaks off goes on after the last document it has passed on.
func TestScanGoesOnWhereItBrokeOff(t *testing.T) {
	q := serve(t, &troubled{query: func(attempt int, r *pb.RunQueryRequest, s pb.Firestore_RunQueryServer) error {
		after := r.GetStructuredQuery().GetStartAt().GetValues()
		if attempt == 1 {
			for _, id := range []string{"a", "b"} {
				if err := s.Send(&pb.RunQueryResponse{Document: change(id).GetDocumentChange().GetDocument()}); err != nil {
					return err
				}
			}
			return status.Error(codes.Unavailable, "too slow")
		}
		if len(after) != 1 || idOf(after[0].GetReferenceValue()) != "b" || r.GetStructuredQuery().GetStartAt().GetBefore() {
			t.Errorf("goes on at %v", r.GetStructuredQuery().GetStartAt())
		}
		return s.Send(&pb.RunQueryResponse{Document: change("c").GetDocumentChange().GetDocument()})
	}})
	var ids []string
	err := q.Scan(t.Context(), func(_ context.Context, s delivery.Snapshot) error {
		ids = append(ids, s.ID)
		return nil
	})
	if err != nil || !slices.Equal(ids, []string{"a", "b", "c"}) {
		t.Errorf("%v, %v", ids, err)
	}
}

// One that may not read at all says so, and what to do.
func TestScanThatIsNotPermittedNamesTheRemedy(t *testing.T) {
	q := serve(t, &troubled{query: func(int, *pb.RunQueryRequest, pb.Firestore_RunQueryServer) error {
		return status.Error(codes.PermissionDenied, "Missing or insufficient permissions.")
	}})
	err := q.Scan(t.Context(), func(context.Context, delivery.Snapshot) error { return nil })
	if err == nil || !strings.Contains(err.Error(), "roles/datastore.user") {
		t.Errorf("error %v", err)
	}
}

// claimable returns a document and a claim of it.
func claimable(id string) (delivery.Snapshot, delivery.Change) {
	lease := delivery.Lease{ID: "mine", Expires: time.Now().Add(time.Minute)}
	return delivery.Snapshot{ID: id, Fields: delivery.Fields{"to": "a"}, UpdateTime: time.Now()}, delivery.Record{}.Claimed(lease, delivery.Policy{}, time.Now())
}

// stored returns a document as Firestore has it after a change.
func after(t *testing.T, s delivery.Snapshot, c delivery.Change) *pb.Document {
	t.Helper()
	fields, err := encodeFields(c.AppliedTo(s.Fields), "projects/p/databases/(default)")
	if err != nil {
		t.Fatal(err)
	}
	return &pb.Document{Name: "projects/p/databases/(default)/documents/mail/" + s.ID, Fields: fields, UpdateTime: timestamppb.Now()}
}

// A write that was applied but never answered is known by its own lease, one
// that somebody else was faster with is a conflict.
func TestUnansweredClaimKnowsItsOwnSuccess(t *testing.T) {
	for name, c := range map[string]struct {
		lease string
		want  error
	}{
		"ours":      {"mine", nil},
		"another's": {"theirs", delivery.ErrConflict},
	} {
		t.Run(name, func(t *testing.T) {
			snap, claim := claimable("a")
			theirs := claim
			theirs.Set = map[string]any{}
			for k, v := range claim.Set {
				theirs.Set[k] = v
			}
			theirs.Set["leaseId"] = c.lease
			q := serve(t, &troubled{
				batch: func(attempt int, r *pb.BatchWriteRequest) (*pb.BatchWriteResponse, error) {
					if attempt == 1 {
						return nil, status.Error(codes.Unavailable, "gone before the answer")
					}
					return all(r, codes.FailedPrecondition), nil
				},
				get: func() (*pb.Document, error) { return after(t, snap, theirs), nil },
			})
			if _, err := q.Apply(t.Context(), snap, claim); !errors.Is(err, c.want) {
				t.Errorf("error %v, want %v", err, c.want)
			}
		})
	}
}

func TestUnansweredEndKnowsItsOwnSuccess(t *testing.T) {
	snap, claim := claimable("a")
	claimed := delivery.Snapshot{ID: "a", Fields: claim.AppliedTo(snap.Fields), UpdateTime: time.Now()}
	end := func(r delivery.Record) delivery.Change {
		return r.Ended(delivery.Attempt{Response: "250 ok"}, delivery.Policy{}, 0, time.Now())
	}
	ended := end(delivery.ReadRecord(claimed.Fields))
	q := serve(t, &troubled{
		batch: func(int, *pb.BatchWriteRequest) (*pb.BatchWriteResponse, error) {
			return nil, status.Error(codes.DeadlineExceeded, "too late")
		},
		get: func() (*pb.Document, error) { return after(t, claimed, ended), nil },
	})
	got, err := q.Finish(t.Context(), claimed, end)
	if err != nil || delivery.ReadRecord(got.Fields).Attempts != 1 {
		t.Errorf("%v, %v", got.Fields, err)
	}
}

// An end that does not fit into the document is put down without its lists.
func TestEndThatDoesNotFitIsTerse(t *testing.T) {
	snap, claim := claimable("a")
	claimed := delivery.Snapshot{ID: "a", Fields: claim.AppliedTo(snap.Fields), UpdateTime: time.Now()}
	q := serve(t, &troubled{batch: func(_ int, r *pb.BatchWriteRequest) (*pb.BatchWriteResponse, error) {
		if proto.Size(r) > 800 {
			return nil, status.Error(codes.InvalidArgument, "maximum entity size is 1048576 bytes")
		}
		return all(r, codes.OK), nil
	}})
	recipients := make([]delivery.Recipient, 100)
	for i := range recipients {
		recipients[i].Address = fmt.Sprint(i)
	}
	got, err := q.Finish(t.Context(), claimed, func(r delivery.Record) delivery.Change {
		return r.Ended(delivery.Attempt{Recipients: recipients}, delivery.Policy{}, 0, time.Now())
	})
	record, _ := got.Fields["delivery"].(delivery.Fields)
	if err != nil || record["state"] != "SUCCESS" || record["info"] != nil {
		t.Errorf("%v, %v", record, err)
	}
}

// A write that Firestore refuses harms no other in its request, and no request
// has two writes of one document.
func TestBadWriteHarmsNoOther(t *testing.T) {
	held := make(chan struct{})
	s := &troubled{batch: func(attempt int, r *pb.BatchWriteRequest) (*pb.BatchWriteResponse, error) {
		if attempt <= usualFlights {
			<-held // until the others wait
		}
		for _, w := range r.GetWrites() {
			if idOf(w.GetUpdate().GetName()) == "bad" {
				return nil, status.Error(codes.InvalidArgument, "bad write")
			}
		}
		return all(r, codes.OK), nil
	}}
	q := serve(t, s)
	q.batch.fastest.note(time.Millisecond, time.Now()) // it is near: there are the usual flights
	var writes sync.WaitGroup
	apply := func(id string, want bool) {
		writes.Go(func() {
			snap, claim := claimable(id)
			if _, err := q.Apply(t.Context(), snap, claim); (err == nil) != want {
				t.Errorf("%s: %v", id, err)
			}
		})
	}
	for i := range usualFlights {
		apply(fmt.Sprint("flight", i), true)
		waitUntil(t, func() bool { s.mu.Lock(); defer s.mu.Unlock(); return len(s.batches) == i+1 })
	}
	for _, id := range []string{"a", "b", "twice", "twice", "c"} {
		apply(id, true)
	}
	apply("bad", false)
	waitUntil(t, func() bool { q.batch.mu.Lock(); defer q.batch.mu.Unlock(); return len(q.batch.waiting) == 6 })
	close(held)
	writes.Wait()
	for _, ids := range s.batches {
		slices.Sort(ids)
		if len(slices.Compact(slices.Clone(ids))) != len(ids) {
			t.Errorf("one request had %v", ids)
		}
	}
}

// waitUntil returns once cond holds.
func waitUntil(t *testing.T, cond func() bool) {
	t.Helper()
	again := time.NewTicker(time.Millisecond)
	defer again.Stop()
	for !cond() {
		select {
		case <-again.C:
		case <-t.Context().Done():
			t.Fatal("the condition never held")
		}
	}
}
