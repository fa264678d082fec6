package main

import (
	"context"
	"fmt"
	"maps"
	"math/rand/v2"
	"net/http"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	pb "cloud.google.com/go/firestore/apiv1/firestorepb"
	"google.golang.org/protobuf/types/known/timestamppb"

	"postrider/delivery/firestored"
)

const (
	benchRate    = 300 // documents a second
	benchSeconds = 10
	benchWarmUp  = 1 // seconds before, that do not count: mail connections are opened
)

// BenchmarkLatency adds 300 documents a second, each when its time has come and
// whatever has become of those before it, and measures by the times of the
// server how long it takes until a document is claimed, and until its mail is
// sent and recorded. Worker, server, application and mail server share the
// machine.
func BenchmarkLatency(b *testing.B) {
	bin, server, sink := build(b), newBackend(b), quickSink(b)
	for _, source := range []string{"listen", "push"} {
		b.Run(source, func(b *testing.B) {
			for b.Loop() {
				latencyOnce(b, bin, server, sink, source)
			}
			b.ReportMetric(0, "ns/op")
		})
	}
}

func latencyOnce(b *testing.B, bin string, server *backend, sink, source string) {
	b.Helper()
	project := newProject()
	worker := startWorker(b, bin, server, project, sink, "SOURCE="+source)
	worker.awaitWatch(b)
	server.awaitState(b, project, "auditTime") // the first audit would look into what is just being added
	if source == "push" {
		defer server.push(b, project, worker)()
	}
	docs := observe(b, server, project)
	const n = benchRate * (benchWarmUp + benchSeconds)
	due := server.addSteadily(b, project, n)
	docs.await(b, func(s sums) bool { return s.ended == n })
	reportLatency(b, docs.stop(), due)
	worker.stop(b)
	used := worker.cmd.ProcessState.SysUsage().(*syscall.Rusage)
	b.ReportMetric(float64(used.Utime.Nano()+used.Stime.Nano())/1e6/n, "cpu-ms/mail")
}

// reportLatency reports how long the documents took that were due after the
// warm-up, and how late they were added: that is what the machine adds to all
// times.
func reportLatency(b *testing.B, docs map[string]*passage, due map[string]time.Time) {
	b.Helper()
	var late, claimed, recorded []time.Duration
	begin := slices.MinFunc(slices.Collect(maps.Values(due)), time.Time.Compare).Add(benchWarmUp * time.Second)
	for id, at := range due {
		d := docs[id]
		if d.state != "SUCCESS" {
			b.Errorf("%s is in %s: %s", id, d.state, d.failure)
		}
		if at.Before(begin) {
			continue
		}
		late = append(late, d.added.Sub(at))
		recorded = append(recorded, d.ended.Sub(d.added))
		claimed = append(claimed, d.claimed.Sub(d.added))
	}
	for name, values := range map[string][]time.Duration{"added-late": late, "claimed": claimed, "recorded": recorded} {
		b.ReportMetric(quantile(values, 0.5), name+"-p50-ms")
		b.ReportMetric(quantile(values, 0.99), name+"-p99-ms")
	}
}

// quantile returns the value that a part of all values are not above, in
// milliseconds.
func quantile(values []time.Duration, part float64) float64 {
	if len(values) == 0 {
		return 0
	}
	slices.Sort(values)
	return float64(values[int(part*float64(len(values)-1))].Nanoseconds()) / 1e6
}

// addSteadily adds n documents at an even pace and returns when each was due. It
// waits for no answer, so that a slow server makes none of them late.
func (s *backend) addSteadily(b *testing.B, project string, n int) (due map[string]time.Time) {
	b.Helper()
	var adding sync.WaitGroup
	due = map[string]time.Time{}
	began := time.Now()
	for i := range n {
		id := newID(rand.Uint64)
		due[id] = began.Add(time.Duration(i) * time.Second / benchRate)
		<-time.After(time.Until(due[id]))
		adding.Go(func() {
			if _, err := s.app.Commit(b.Context(), &pb.CommitRequest{Database: databaseOf(project), Writes: []*pb.Write{creation(project, id)}}); err != nil {
				b.Error(err)
			}
		})
	}
	adding.Wait()
	return due
}

// push has the server tell the worker of every change, as Eventarc does, until
// what it returns is called.
func (s *backend) push(b *testing.B, project string, to *process) (stop func()) {
	b.Helper()
	ctx, cancel := context.WithCancel(b.Context())
	ready, done := make(chan struct{}), make(chan error, 1)
	// Eventarc keeps its connections; the default client keeps two.
	transport := &http.Transport{MaxIdleConnsPerHost: 100}
	go func() {
		done <- s.Subscribe(ctx, firestored.Subscription{
			Database: databaseOf(project), Document: "mail/{id}", URL: "http://127.0.0.1:" + to.port + "/events",
			Client: &http.Client{Transport: transport}, Ready: func() { close(ready) },
		})
	}()
	<-ready
	return func() {
		cancel()
		if err := <-done; err != nil {
			b.Error(err)
		}
		transport.CloseIdleConnections()
	}
}

// trail is what becomes of the documents of a mail collection, as a listener of
// the benchmark's own sees it.
type trail struct {
	server *backend
	news   chan struct{} // holds one when something has changed
	cancel context.CancelFunc
	done   chan struct{} // closed when err is set
	err    error         // of the stream, before it was stopped

	mu   sync.Mutex
	docs map[string]*passage // by ID
	sums sums
}

// passage is one document's way, by the times of the server; zero for what was
// not seen.
type passage struct {
	added, claimed, ended time.Time
	state, failure        string // at the end
}

// sums are how many documents have come how far.
type sums struct{ added, claimed, ended int }

// observe begins to watch a project's mail collection from the present on.
func observe(b *testing.B, server *backend, project string) *trail {
	b.Helper()
	ctx, cancel := context.WithCancel(b.Context())
	stream, err := server.app.Listen(ctx)
	if err != nil {
		b.Fatal(err)
	}
	query := &pb.StructuredQuery{From: []*pb.StructuredQuery_CollectionSelector{{CollectionId: "mail"}}}
	err = stream.Send(&pb.ListenRequest{Database: databaseOf(project), TargetChange: &pb.ListenRequest_AddTarget{AddTarget: &pb.Target{
		TargetId: 1,
		TargetType: &pb.Target_Query{Query: &pb.Target_QueryTarget{
			Parent: databaseOf(project) + "/documents", QueryType: &pb.Target_QueryTarget_StructuredQuery{StructuredQuery: query},
		}},
		ResumeType: &pb.Target_ReadTime{ReadTime: stamp(time.Now())},
	}}})
	if err != nil {
		b.Fatal(err)
	}
	t := &trail{server: server, news: make(chan struct{}, 1), cancel: cancel, done: make(chan struct{}), docs: map[string]*passage{}}
	current := make(chan struct{})
	go func() {
		defer close(t.done)
		for {
			r, err := stream.Recv()
			if err != nil {
				t.err = err
				return
			}
			if r.GetTargetChange().GetTargetChangeType() == pb.TargetChange_CURRENT {
				close(current)
			}
			if d := r.GetDocumentChange().GetDocument(); d != nil {
				t.see(d)
			}
		}
	}()
	select {
	case <-current:
	case <-t.done:
		b.Fatal(t.err)
	}
	return t
}

// see notes a version of a document.
func (t *trail) see(d *pb.Document) {
	t.server.own.Add(1)
	t.mu.Lock()
	defer t.mu.Unlock()
	id := d.GetName()[strings.LastIndexByte(d.GetName(), '/')+1:]
	p := t.docs[id]
	if p == nil {
		p = &passage{added: d.GetCreateTime().AsTime()}
		t.docs[id] = p
		t.sums.added++
	}
	record := d.GetFields()["delivery"].GetMapValue().GetFields()
	p.state = record["state"].GetStringValue()
	switch {
	case p.state == "PROCESSING" && p.claimed.IsZero():
		p.claimed = d.GetUpdateTime().AsTime()
		t.sums.claimed++
	case (p.state == "SUCCESS" || p.state == "ERROR") && p.ended.IsZero():
		p.ended, p.failure = d.GetUpdateTime().AsTime(), record["error"].GetStringValue()
		t.sums.ended++
	}
	select {
	case t.news <- struct{}{}:
	default:
	}
}

// await returns when done says yes to how far the documents have come.
func (t *trail) await(b *testing.B, done func(sums) bool) {
	b.Helper()
	end := time.After(longest)
	for {
		t.mu.Lock()
		s := t.sums
		t.mu.Unlock()
		if done(s) {
			return
		}
		select {
		case <-t.news:
		case <-t.done:
			b.Fatal(t.err)
		case <-end:
			b.Fatalf("after %v documents have come no further than %s", longest, fmt.Sprintf("%+v", s))
		}
	}
}

// stop ends the watching, and returns what was seen. A claim that the stream did
// not tell of, as the end came right after it, counts as late as the end.
func (t *trail) stop() map[string]*passage {
	t.cancel()
	<-t.done
	for _, d := range t.docs {
		if d.claimed.IsZero() {
			d.claimed = d.ended
		}
	}
	return t.docs
}

func stamp(t time.Time) *timestamppb.Timestamp {
	return timestamppb.New(t.Truncate(time.Microsecond))
}
