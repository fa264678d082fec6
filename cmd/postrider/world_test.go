package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	pb "cloud.google.com/go/firestore/apiv1/firestorepb"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/rs/zerolog"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/test/bufconn"

	"postrider/delivery"
	"postrider/delivery/firestored"
	"postrider/delivery/queue"
	"postrider/smtp"
	"postrider/worker"
	"postrider/worker/web"
)

const (
	worldProject  = "demo-world"
	worldDatabase = "projects/" + worldProject + "/databases/(default)"
	worldMail     = worldDatabase + "/documents/mail/"
)

// world is a Firestore server in memory, what workers there are, and what they
// have sent, all in a bubble of virtual time: nothing in it is on a network.
type world struct {
	t      *testing.T
	server *firestored.Server
	line   *bufconn.Listener
	app    pb.FirestoreClient // as an application has it
	stop   []func()

	mu        sync.Mutex
	random    *rand.Rand
	sent      map[string]int // how often, by subject, which is the document's ID
	instances []*instance
	unwritten int // documents that an instance could not write

	mood *mood // of a mail server that fails; nil for one that never does
}

// instance is one worker in the world.
type instance struct {
	*worker.Worker
	world  *world
	queue  *queue.Queue
	events http.Handler
	cancel context.CancelFunc
	done   chan error

	mu   sync.Mutex
	dead bool       // it reaches nobody any more
	line []net.Conn // to Firestore
}

func newWorld(t *testing.T, seed uint64) *world {
	w := &world{
		t: t, server: firestored.New(firestored.Options{Log: zerolog.Nop()}), line: bufconn.Listen(1 << 20),
		random: rand.New(rand.NewPCG(seed, 7)), sent: map[string]int{},
	}
	ctx, cancel := context.WithCancel(context.Background())
	served := make(chan error, 1)
	go func() { served <- w.server.Serve(ctx, w.line) }()
	conn, err := grpc.NewClient("passthrough:///firestore", grpc.WithContextDialer(w.dial), grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	w.app = pb.NewFirestoreClient(conn)
	w.stop = append(w.stop, func() {
		_ = conn.Close()
		cancel()
		if err := <-served; err != nil {
			t.Errorf("the server ended in %v", err)
		}
	})
	return w
}

func (w *world) dial(ctx context.Context, _ string) (net.Conn, error) { return w.line.DialContext(ctx) }

// end stops everything, the workers first.
func (w *world) end() {
	for _, i := range slices.Clone(w.instances) {
		i.leave()
	}
	for _, f := range slices.Backward(w.stop) {
		f()
	}
}

// dial is an instance's own way to Firestore.
func (i *instance) dial(ctx context.Context, address string) (net.Conn, error) {
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.dead {
		return nil, errors.New("this instance is dead")
	}
	c, err := i.world.dial(ctx, address)
	if err == nil {
		i.line = append(i.line, c)
	}
	return c, err
}

// die cuts an instance off from everybody, as its death would.
func (i *instance) die() {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.dead = true
	for _, c := range i.line {
		_ = c.Close()
	}
}

// leave stops an instance and takes it out of the world.
func (i *instance) leave() {
	w := i.world
	w.mu.Lock()
	w.instances = slices.DeleteFunc(w.instances, func(other *instance) bool { return other == i })
	w.mu.Unlock()
	i.cancel()
	if err := <-i.done; err != nil {
		w.t.Errorf("a worker ended in %v", err)
	}
	if err := i.queue.Close(); err != nil {
		w.t.Error(err)
	}
}

// worldOptions are a worker's as they are by default.
func worldOptions(n int) worker.Options {
	return worker.Options{
		Concurrency: 8, Lease: time.Minute, Margin: 10 * time.Second, Attempt: 10 * time.Minute, Drain: 8 * time.Second,
		Sweep: 45 * time.Second, Audit: time.Hour, Instance: fmt.Sprint("instance-", n), MaxBytes: 1 << 20,
	}
}

// open makes an instance, which does nothing yet.
func (w *world) open(o worker.Options) *instance {
	w.t.Helper()
	i := &instance{world: w, done: make(chan error, 1)}
	q, err := queue.Open(w.t.Context(), queue.Options{
		Project: worldProject, Mail: "mail", State: "_postrider", Emulator: "passthrough:///firestore", Dial: i.dial, Log: w.log(o),
	})
	if err != nil {
		w.t.Fatal(err)
	}
	i.queue = q
	i.Worker = worker.New(o, q, i, i, w.log(o), worker.NewMetrics(prometheus.NewRegistry()))
	i.events = web.Events{Decode: q.Event, Deliver: i.Deliver, Count: func(string) {}, Log: zerolog.Nop()}
	w.mu.Lock()
	w.instances = append(w.instances, i)
	w.mu.Unlock()
	return i
}

// log is where an instance logs: with -v among what the test says, for whoever
// looks into a seed. It counts the documents of which an instance that had to end
// did not hear any more whether Firestore had taken its claim.
func (w *world) log(o worker.Options) zerolog.Logger {
	log := zerolog.New(io.Discard).Level(zerolog.ErrorLevel)
	if testing.Verbose() {
		log = zerolog.New(zerolog.ConsoleWriter{Out: w.t.Output(), NoColor: true, TimeFormat: "15:04:05.000"}).
			With().Timestamp().Str("instance", o.Instance).Logger()
	}
	return log.Hook(zerolog.HookFunc(func(_ *zerolog.Event, _ zerolog.Level, fact string) {
		if fact == "document could not be written" {
			w.mu.Lock()
			defer w.mu.Unlock()
			w.unwritten++
		}
	}))
}

// run has an instance work until the world ends.
func (i *instance) run() {
	var ctx context.Context
	ctx, i.cancel = context.WithCancel(context.Background())
	go func() { i.done <- i.Run(ctx) }()
}

// drain has an instance drain the collection again and again, as a scheduled
// job does, until the world ends.
func (i *instance) drain(every time.Duration) {
	var ctx context.Context
	ctx, i.cancel = context.WithCancel(context.Background())
	go func() {
		defer close(i.done)
		for ctx.Err() == nil {
			// The job's next run takes up what this one could not.
			_, _ = i.Drain(ctx)
			select {
			case <-time.After(every):
			case <-ctx.Done():
			}
		}
	}()
}

// Compose makes a mail of which nothing matters but whose it is.
func (i *instance) Compose(_ context.Context, doc delivery.Document, id string, _ time.Time, _ func(context.Context, int) error) (worker.Mail, error) {
	return worker.Mail{Envelope: smtp.Envelope{From: "a@b.test", To: doc.To}, MessageID: "<" + id + "@b.test>", Message: []byte(doc.Message.Subject)}, nil
}

// Send takes a mail as a server does, within two seconds.
func (i *instance) Send(ctx, limit context.Context, m smtp.Mail) (smtp.Result, error) {
	w := i.world
	if w.mood != nil {
		return w.mood.send(ctx, limit, i, m)
	}
	if err := m.Begin(true); err != nil {
		return smtp.Result{}, &smtp.Error{Stage: smtp.StageMail, Err: err}
	}
	w.mu.Lock()
	pause := time.Duration(w.random.IntN(2000)) * time.Millisecond
	w.mu.Unlock()
	select {
	case <-time.After(pause):
	case <-ctx.Done():
		return smtp.Result{}, &smtp.Error{Err: ctx.Err()}
	}
	i.mu.Lock()
	dead := i.dead
	i.mu.Unlock()
	if dead {
		<-ctx.Done()
		return smtp.Result{}, &smtp.Error{Err: ctx.Err()}
	}
	w.mu.Lock()
	w.sent[string(m.Message)]++
	w.mu.Unlock()
	reply := smtp.Reply{Code: 250, Lines: []string{"250 ok"}}
	r := smtp.Result{Reply: reply}
	for _, to := range m.Envelope.To {
		r.Recipients = append(r.Recipients, smtp.Recipient{Address: to, Reply: reply})
	}
	return r, nil
}

// Probe finds the mail server as it is.
func (i *instance) Probe(ctx context.Context) error {
	if i.world.mood != nil {
		return i.world.mood.probe(ctx)
	}
	return nil
}

// push has the server tell of every change, as Eventarc does, each time another
// instance.
func (w *world) push() {
	ctx, cancel := context.WithCancel(context.Background())
	done, ready := make(chan error, 1), make(chan struct{})
	go func() {
		done <- w.server.Subscribe(ctx, firestored.Subscription{
			Database: worldDatabase, Document: "mail/{id}", URL: "http://postrider/events",
			Client: &http.Client{Transport: balancer{w}}, Ready: func() { close(ready) },
		})
	}()
	<-ready
	w.stop = append(w.stop, func() {
		cancel()
		<-done
	})
}

// balancer hands requests to instances.
type balancer struct{ *world }

func (b balancer) RoundTrip(r *http.Request) (*http.Response, error) {
	b.mu.Lock()
	if len(b.instances) == 0 {
		b.mu.Unlock()
		return nil, errors.New("there is no instance")
	}
	i := b.instances[b.random.IntN(len(b.instances))]
	b.mu.Unlock()
	answer := httptest.NewRecorder()
	i.events.ServeHTTP(answer, r)
	return answer.Result(), nil
}

func text(s string) *pb.Value { return &pb.Value{ValueType: &pb.Value_StringValue{StringValue: s}} }

func fields(m map[string]*pb.Value) *pb.Value {
	return &pb.Value{ValueType: &pb.Value_MapValue{MapValue: &pb.MapValue{Fields: m}}}
}

// add adds a mail document, as an application does: again and again, until it is
// there.
func (w *world) add(id string) {
	w.t.Helper()
	w.write(id, map[string]*pb.Value{
		"to": text("ada@rcpt.test"), "message": fields(map[string]*pb.Value{"subject": text(id), "text": text("t")}),
	}, nil)
}

// edit changes a field of a document that is none of the worker's business.
func (w *world) edit(id string) {
	w.t.Helper()
	w.write(id, map[string]*pb.Value{"note": text(time.Now().String())}, &pb.DocumentMask{FieldPaths: []string{"note"}})
}

func (w *world) write(id string, fields map[string]*pb.Value, mask *pb.DocumentMask) {
	w.t.Helper()
	for range 1000 {
		_, err := w.app.UpdateDocument(context.Background(), &pb.UpdateDocumentRequest{
			Document: &pb.Document{Name: worldMail + id, Fields: fields}, UpdateMask: mask,
		})
		if err == nil {
			return
		}
		time.Sleep(time.Second)
	}
	w.t.Fatalf("%s could not be written", id)
}

// states returns how many documents are in each state.
func (w *world) states() map[string]int {
	w.t.Helper()
	stream, err := w.app.RunQuery(context.Background(), &pb.RunQueryRequest{
		Parent: worldDatabase + "/documents",
		QueryType: &pb.RunQueryRequest_StructuredQuery{StructuredQuery: &pb.StructuredQuery{
			From: []*pb.StructuredQuery_CollectionSelector{{CollectionId: "mail"}},
		}},
	})
	if err != nil {
		w.t.Fatal(err)
	}
	states := map[string]int{}
	for {
		r, err := stream.Recv()
		if err != nil {
			return states
		}
		if d := r.GetDocument(); d != nil {
			states[d.GetFields()["delivery"].GetMapValue().GetFields()["state"].GetStringValue()]++
		}
	}
}

// settle waits until all documents are in SUCCESS, or fails after some time.
func (w *world) settle(docs int, longest time.Duration) {
	w.t.Helper()
	for deadline := time.Now().Add(longest); ; time.Sleep(10 * time.Second) {
		synctest.Wait()
		states := w.states()
		if states["SUCCESS"] == docs {
			break
		}
		if time.Now().After(deadline) {
			w.t.Errorf("after %v: %v of %d documents", longest, states, docs)
			break
		}
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, id := range slices.Sorted(maps.Keys(w.sent)) {
		if w.sent[id] != 1 {
			w.t.Errorf("%s was sent %d times", id, w.sent[id])
		}
	}
	if len(w.sent) != docs {
		w.t.Errorf("%d of %d mails were sent", len(w.sent), docs)
	}
}
