package main

import (
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	pb "cloud.google.com/go/firestore/apiv1/firestorepb"
	"github.com/rs/zerolog"
	"golang.org/x/sync/errgroup"
	"google.golang.org/genproto/googleapis/rpc/code"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"

	"postrider/delivery/firestored"
)

const (
	benchHistory = 1_000_000 // mails that have been sent
	benchFresh   = 100       // documents added while nobody watches

	maxRestartReads  = 1_000 // from a checkpoint: some three for each fresh document; an audit of the history takes more
	maxRestartMemory = 60    // MB more than without a history
)

// BenchmarkRestart stops a worker, adds 100 documents and starts it again, beside
// a million mails that have been sent and beside none: what is read, how long it
// takes from the start of the process until all are claimed, and how much memory
// it has when all are sent. Without the checkpoint only an audit finds them.
func BenchmarkRestart(b *testing.B) {
	bin, server, sink := build(b), newBackend(b), quickSink(b)
	var history string // the project that has one
	var rate float64   // at which it was made
	run := func(name, project string, checkpoint bool) (r restart) {
		b.Run(name, func(b *testing.B) {
			for b.Loop() {
				r = restartOnce(b, bin, server, project, sink, checkpoint)
			}
			r.report(b)
			if project == history {
				b.ReportMetric(rate, "history-documents/s")
			}
		})
		return r
	}
	empty := run("sent=0", newProject(), true)
	history = newProject()
	began := time.Now()
	server.fill(b, history, benchHistory)
	rate = benchHistory / time.Since(began).Seconds()
	full := run("sent=1000000", history, true)
	audited := run("sent=1000000/no-checkpoint", history, false)
	if full.reads > maxRestartReads {
		b.Errorf("a restart took %d reads, more than %d", full.reads, maxRestartReads)
	}
	for _, r := range []restart{full, audited} {
		if more := r.peak - empty.peak; empty.peak > 0 && more > maxRestartMemory {
			b.Errorf("%.0f MB more than without a history, more than %d", more, maxRestartMemory)
		}
	}
}

// restart is what one took.
type restart struct {
	reads          int64         // that are billed, until all mails are sent and the audit, if there was one, has ended
	claimed, sent  time.Duration // from the start of the process to the last document
	resident, peak float64       // MB of memory, at the end and at most
}

func (r restart) report(b *testing.B) {
	b.ReportMetric(float64(r.reads), "reads")
	b.ReportMetric(r.claimed.Seconds(), "s-to-claimed")
	b.ReportMetric(r.sent.Seconds(), "s-to-sent")
	b.ReportMetric(r.resident, "MB-resident")
	b.ReportMetric(r.peak, "MB-peak")
	b.ReportMetric(0, "ns/op")
}

// restartOnce stops a worker that has saved its place, adds documents and starts
// it again, from that place or without one.
func restartOnce(b *testing.B, bin string, server *backend, project, sink string, checkpoint bool) restart {
	b.Helper()
	server.forget(b, project)
	first := startWorker(b, bin, server, project, sink)
	first.awaitWatch(b)
	server.awaitState(b, project, "resumeToken", "auditTime")
	first.stop(b)
	if !checkpoint {
		server.forget(b, project)
	}
	docs := observe(b, server, project)
	var added []*pb.Write
	for range benchFresh {
		added = append(added, creation(project, newID(rand.Uint64)))
	}
	server.apply(b, project, added)
	docs.await(b, func(s sums) bool { return s.added == benchFresh })
	before := server.reads()
	second := startWorker(b, bin, server, project, sink)
	docs.await(b, func(s sums) bool { return s.ended == benchFresh })
	if !checkpoint {
		server.awaitState(b, project, "auditTime")
	}
	r := restart{reads: server.reads() - before}
	r.resident, r.peak = second.memory(b)
	for _, d := range docs.stop() {
		r.claimed = max(r.claimed, d.claimed.Sub(second.began))
		r.sent = max(r.sent, d.ended.Sub(second.began))
	}
	second.stop(b)
	return r
}

// backend is a Firestore server in memory, with the semantics of production, on
// a port of this machine, and an application's connection to it.
type backend struct {
	*firestored.Server
	address string
	app     pb.FirestoreClient
	own     atomic.Int64 // reads that the benchmark itself has made
}

func newBackend(b *testing.B) *backend {
	b.Helper()
	listener, err := (&net.ListenConfig{}).Listen(b.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	s := &backend{Server: firestored.New(firestored.Options{Log: zerolog.Nop()}), address: listener.Addr().String()}
	ctx, cancel := context.WithCancel(context.Background())
	served := make(chan error, 1)
	go func() { served <- s.Serve(ctx, listener) }()
	conn, err := grpc.NewClient("passthrough:///"+s.address, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		b.Fatal(err)
	}
	s.app = pb.NewFirestoreClient(conn)
	b.Cleanup(func() {
		_ = conn.Close()
		cancel()
		if err := <-served; err != nil {
			b.Error(err)
		}
	})
	return s
}

// reads returns what has been billed, what the benchmark itself has read left
// out.
func (s *backend) reads() int64 { return s.Usage().Reads - s.own.Load() }

// apply makes writes, each of which must succeed.
func (s *backend) apply(b *testing.B, project string, writes []*pb.Write) {
	b.Helper()
	response, err := s.app.BatchWrite(b.Context(), &pb.BatchWriteRequest{Database: databaseOf(project), Writes: writes})
	if err != nil {
		b.Fatal(err)
	}
	for _, st := range response.GetStatus() {
		if st.GetCode() != int32(code.Code_OK) {
			b.Fatal(st)
		}
	}
}

// fill adds n mails that have been sent, always the same. In the order of their
// IDs that is quickest.
func (s *backend) fill(b *testing.B, project string, n int) {
	b.Helper()
	const batch, clients = 500, 2
	random, record := rand.New(rand.NewPCG(1, 3)), sentRecord()
	ids := make([]string, n)
	for i := range ids {
		ids[i] = newID(random.Uint64)
	}
	slices.Sort(ids)
	var group errgroup.Group
	group.SetLimit(clients)
	for some := range slices.Chunk(ids, batch) {
		group.Go(func() error {
			request := &pb.BatchWriteRequest{Database: databaseOf(project)}
			for _, id := range some {
				w := creation(project, id)
				w.GetUpdate().GetFields()["delivery"] = record
				request.Writes = append(request.Writes, w)
			}
			_, err := s.app.BatchWrite(b.Context(), request)
			return err
		})
	}
	if err := group.Wait(); err != nil {
		b.Fatal(err)
	}
}

// forget deletes what workers have saved of their state.
func (s *backend) forget(b *testing.B, project string) {
	b.Helper()
	s.apply(b, project, []*pb.Write{{Operation: &pb.Write_Delete{Delete: statePath(project)}}})
}

// awaitState returns when the worker has saved so much of its state.
func (s *backend) awaitState(b *testing.B, project string, names ...string) {
	b.Helper()
	poll(b, fmt.Sprintf("%v to be saved", names), func() bool {
		s.own.Add(1) // a read is billed even if nothing is there
		d, err := s.app.GetDocument(b.Context(), &pb.GetDocumentRequest{Name: statePath(project)})
		if err != nil && status.Code(err) != codes.NotFound {
			b.Fatal(err)
		}
		for _, name := range names {
			if d.GetFields()[name] == nil {
				return false
			}
		}
		return true
	})
}

// longest is how long a benchmark waits for anything.
const longest = 2 * time.Minute

// poll returns when done says yes.
func poll(b *testing.B, what string, done func() bool) {
	b.Helper()
	tick, end := time.NewTicker(20*time.Millisecond), time.After(longest)
	defer tick.Stop()
	for !done() {
		select {
		case <-tick.C:
		case <-end:
			b.Fatalf("waited %v for %s", longest, what)
		}
	}
}

func databaseOf(project string) string { return "projects/" + project + "/databases/(default)" }

// statePath returns the name of the document in which workers keep how far they
// have come with the collection mail.
func statePath(project string) string { return databaseOf(project) + "/documents/_postrider/mail" }

// newID returns an ID as Firestore's clients make them.
func newID(random func() uint64) string {
	const letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"
	id := make([]byte, 20)
	for i := range id {
		id[i] = letters[random()%uint64(len(letters))]
	}
	return string(id)
}

// creation returns the write that adds a mail document. Its subject is its ID.
func creation(project, id string) *pb.Write {
	return &pb.Write{
		Operation: &pb.Write_Update{Update: &pb.Document{
			Name: databaseOf(project) + "/documents/mail/" + id,
			Fields: map[string]*pb.Value{
				"to": text("ada@rcpt.test"),
				"message": fields(map[string]*pb.Value{
					"subject": text(id), "text": text("It is on its way."), "html": text("<p>It is on its way.</p>"),
				}),
			},
		}},
		CurrentDocument: &pb.Precondition{ConditionType: &pb.Precondition_Exists{Exists: false}},
	}
}

// sentRecord returns what the program writes into a document that it has sent.
func sentRecord() *pb.Value {
	at := &pb.Value{ValueType: &pb.Value_TimestampValue{TimestampValue: stamp(time.Now().Add(-24 * time.Hour))}}
	none := &pb.Value{ValueType: &pb.Value_NullValue{}}
	list := func(values ...*pb.Value) *pb.Value {
		return &pb.Value{ValueType: &pb.Value_ArrayValue{ArrayValue: &pb.ArrayValue{Values: values}}}
	}
	whole := func(n int64) *pb.Value { return &pb.Value{ValueType: &pb.Value_IntegerValue{IntegerValue: n}} }
	return fields(map[string]*pb.Value{
		"state": text("SUCCESS"), "attempts": whole(1), "startTime": at, "endTime": at, "error": none, "leaseExpireTime": none,
		"leaseId": text("6f1b0a4e-6c7a-4c1e-9a55-0d7c2f3b8e11"),
		"info": fields(map[string]*pb.Value{
			"messageId": text("<6f1b0a4e-6c7a-4c1e-9a55-0d7c2f3b8e11@sender.test>"), "accepted": list(text("ada@rcpt.test")),
			"rejected": list(), "pending": list(), "response": text("250 2.0.0 Ok: queued as SINK"),
		}),
		"recipients": list(fields(map[string]*pb.Value{"address": text("ada@rcpt.test"), "accepted": {ValueType: &pb.Value_BooleanValue{BooleanValue: true}}})),
		"outcome":    fields(map[string]*pb.Value{"class": text("delivered"), "phase": text("message"), "code": whole(250)}),
	})
}

// process is a worker that runs.
type process struct {
	cmd   *exec.Cmd
	port  string // that it answers HTTP on
	log   string // the file that it writes to
	began time.Time
}

// startWorker starts the program on a project's collection, with more settings,
// as in NAME=value.
func startWorker(b *testing.B, bin string, server *backend, project, sink string, settings ...string) *process {
	b.Helper()
	p := &process{cmd: command(b, bin, server.address, project, sink, "run"), port: freePort(b), log: filepath.Join(b.TempDir(), "log")}
	p.cmd.Env = append(append(p.cmd.Env, "PORT="+p.port), settings...)
	log, err := os.Create(p.log)
	if err != nil {
		b.Fatal(err)
	}
	defer log.Close()
	p.cmd.Stdout, p.cmd.Stderr = log, log
	p.began = time.Now()
	if err := p.cmd.Start(); err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		if p.cmd.ProcessState == nil {
			p.kill()
		}
		if b.Failed() {
			out, _ := os.ReadFile(p.log)
			b.Logf("%s", tail(string(out)))
		}
	})
	return p
}

// awaitWatch returns when the worker is ready.
func (p *process) awaitWatch(b *testing.B) {
	b.Helper()
	poll(b, "a worker to be ready", func() bool { return p.metric(b, "postrider_watching") == 1 })
}

// stop ends the worker as the platform does; it must end well.
func (p *process) stop(b *testing.B) {
	b.Helper()
	_ = p.cmd.Process.Signal(syscall.SIGTERM)
	if err := p.cmd.Wait(); err != nil {
		b.Errorf("a worker ended in %v", err)
	}
}

// kill ends the worker as a power cut does.
func (p *process) kill() {
	_ = p.cmd.Process.Kill()
	_ = p.cmd.Wait() // which says that it was killed
}

// memory returns the worker's resident memory in MB, at present and at most.
func (p *process) memory(b *testing.B) (resident, peak float64) {
	b.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", p.cmd.Process.Pid))
	if err != nil {
		b.Fatalf("read the memory of a process, as only Linux tells it: %v", err)
	}
	of := func(name string) float64 {
		_, rest, _ := strings.Cut(string(text), name+":")
		kib, err := strconv.ParseFloat(strings.Fields(rest)[0], 64)
		if err != nil {
			b.Fatal(err)
		}
		return kib / 1024
	}
	return of("VmRSS"), of("VmHWM")
}

// metric returns the value of one of the worker's metrics, as it is written with
// its labels: 0 if it has none, or does not answer yet.
func (p *process) metric(b *testing.B, name string) float64 {
	b.Helper()
	request, err := http.NewRequestWithContext(b.Context(), http.MethodGet, "http://127.0.0.1:"+p.port+"/metrics", nil)
	if err != nil {
		b.Fatal(err)
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return 0
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		b.Fatal(err)
	}
	for line := range strings.Lines(string(body)) {
		if value, ok := strings.CutPrefix(line, name+" "); ok {
			n, err := strconv.ParseFloat(strings.TrimSpace(value), 64)
			if err != nil {
				b.Fatal(err)
			}
			return n
		}
	}
	return 0
}
