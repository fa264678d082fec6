package firestored_test

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"math"
	"net"
	"os"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"cloud.google.com/go/firestore"
	pb "cloud.google.com/go/firestore/apiv1/firestorepb"
	"github.com/rs/zerolog"
	"google.golang.org/api/option"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/grpc/test/bufconn"
	"google.golang.org/protobuf/types/known/timestamppb"

	"postrider/delivery/firestored"
)

// patience is how long a case may take. It ends what hangs; none comes near it.
const patience = time.Minute

// testCase is one rule of Firestore. Its name is the rule, and the same for
// every server; run says what a server that keeps the rule does.
type testCase struct {
	name string
	run  func(*env)
	ours bool // needs what only our server has: switchable faults, tokens that expire
}

// cases are all rules that a server is held to.
func cases() []testCase {
	return slices.Concat(
		writeCases(), batchCases(), transformCases(), readCases(), limitCases(),
		orderCases(), filterCases(), cursorCases(), requestCases(), countCases(),
		transactionCases(), listenCases(), resumeCases(), faultCases(), sdkCases(),
	)
}

// Our server keeps every rule. Google's emulator keeps all but those that
// differs lists, and breaks each of those in the way that is listed.
func TestServersConform(t *testing.T) {
	t.Run("ours", func(t *testing.T) {
		for _, c := range cases() {
			t.Run(c.name, func(t *testing.T) {
				t.Parallel()
				server, conn := serve(t)
				for _, fault := range judge(t, c, conn, server) {
					t.Error(fault)
				}
			})
		}
	})
	t.Run("emulator", func(t *testing.T) {
		conn := dialEmulator(t)
		for _, c := range cases() {
			if c.ours {
				continue
			}
			t.Run(c.name, func(t *testing.T) {
				t.Parallel()
				compare(t, c.name, judge(t, c, conn, nil))
			})
		}
	})
}

// compare holds what the emulator did wrong against the list of differences.
func compare(t *testing.T, name string, faults []string) {
	t.Helper()
	d, listed := differs(name)
	got := strings.Join(faults, "\n")
	switch {
	case !listed && got != "":
		t.Error(got)
	case listed && got == "":
		t.Errorf("the emulator keeps this rule: take it off the list of differences (%s)", d.emulator)
	case listed && !strings.Contains(got, d.emulator):
		t.Errorf("the emulator differs, and not as listed (%s):\n%s", d.emulator, got)
	}
}

func TestDifferencesNameCasesAndTheirDocumentation(t *testing.T) {
	names := map[string]bool{}
	for _, c := range cases() {
		if names[c.name] {
			t.Errorf("two cases are called %q", c.name)
		}
		names[c.name] = true
		if _, listed := differs(c.name); listed && c.ours {
			t.Errorf("%q is never run on the emulator", c.name)
		}
	}
	if len(names) < 120 {
		t.Errorf("%d cases are too few", len(names))
	}
	for _, d := range differences() {
		if d.emulator == "" || !strings.HasPrefix(d.doc, "https://") || !strings.Contains(d.doc, ": ") {
			t.Errorf("%v: what the emulator does or the documentation says is missing", d.cases)
		}
		for _, name := range d.cases {
			if !names[name] {
				t.Errorf("no case is called %q", name)
			}
		}
	}
}

// env is what a case sees: a server, a project of its own on it, and clients.
type env struct {
	ctx    context.Context
	root   string // full name of the database's documents
	db     string // full name of the database
	pb     pb.FirestoreClient
	sdk    *firestore.Client
	server *firestored.Server   // nil for the emulator
	times  map[string]time.Time // of the last commit by this env to a path
	before map[string]time.Time // of the commit before that one

	mu     sync.Mutex
	faults []string
}

// judge runs a case in a fresh project and returns what it found wrong.
func judge(t *testing.T, c testCase, conn *grpc.ClientConn, server *firestored.Server) []string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	e := newEnv(ctx, t, conn, freshProject(), "(default)")
	e.server = server
	var wg sync.WaitGroup
	wg.Go(func() { c.run(e) }) // a goroutine of its own, for fatalf to end
	wg.Wait()
	return e.faults
}

// freshProject is a project that nobody has used. The emulator slows down with
// what was deleted, and wants lower case.
func freshProject() string { return "conform-" + strings.ToLower(rand.Text()[:12]) }

// newEnv connects to a database.
func newEnv(ctx context.Context, t *testing.T, conn *grpc.ClientConn, project, database string) *env {
	t.Helper()
	db := "projects/" + project + "/databases/" + database
	sdk, err := firestore.NewClientWithDatabase(ctx, project, database, option.WithGRPCConn(conn))
	if err != nil {
		t.Fatal(err)
	}
	return &env{
		ctx: metadata.AppendToOutgoingContext(ctx, "google-cloud-resource-prefix", db),
		db:  db, root: db + "/documents", pb: pb.NewFirestoreClient(conn), sdk: sdk,
		times: map[string]time.Time{}, before: map[string]time.Time{},
	}
}

// owner is who the emulator takes for an administrator.
type owner struct{}

func (owner) GetRequestMetadata(context.Context, ...string) (map[string]string, error) {
	return map[string]string{"authorization": "Bearer owner"}, nil
}

func (owner) RequireTransportSecurity() bool { return false }

func dial(t *testing.T, target string, o ...grpc.DialOption) *grpc.ClientConn {
	t.Helper()
	conn, err := grpc.NewClient(target, append(o,
		grpc.WithTransportCredentials(insecure.NewCredentials()), grpc.WithPerRPCCredentials(owner{}),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(math.MaxInt32), grpc.MaxCallSendMsgSize(math.MaxInt32)))...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	return conn
}

func dialEmulator(t *testing.T) *grpc.ClientConn {
	t.Helper()
	host := os.Getenv("FIRESTORE_EMULATOR_HOST")
	if host == "" {
		if os.Getenv("CI") == "true" {
			t.Fatal("FIRESTORE_EMULATOR_HOST is not set: nothing shows that our server is like Google's")
		}
		t.Skip("SKIPPED: FIRESTORE_EMULATOR_HOST is not set: run make test")
	}
	return dial(t, "passthrough:///"+host)
}

// serve starts our server in memory for one test.
func serve(t *testing.T) (*firestored.Server, *grpc.ClientConn) {
	t.Helper()
	l := bufconn.Listen(1 << 20)
	server := start(t, l)
	return server, dial(t, "passthrough:///ours", grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) {
		return l.DialContext(ctx)
	}))
}

// start serves on l until the test ends.
func start(t *testing.T, l net.Listener) *firestored.Server {
	t.Helper()
	server := firestored.New(firestored.Options{Log: zerolog.Nop()})
	ctx, stop := context.WithCancel(context.WithoutCancel(t.Context()))
	done := make(chan error, 1)
	go func() { done <- server.Serve(ctx, l) }()
	t.Cleanup(func() {
		stop()
		if err := <-done; err != nil && !errors.Is(err, context.Canceled) {
			t.Errorf("serve: %v", err)
		}
	})
	return server
}

func (e *env) errorf(format string, args ...any) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.faults = append(e.faults, fmt.Sprintf(format, args...))
}

// fatalf ends the case.
func (e *env) fatalf(format string, args ...any) {
	e.errorf(format, args...)
	runtime.Goexit()
}

// must ends the case at an error.
func (e *env) must(doing string, err error) {
	if err != nil {
		e.fatalf("%s: %v", doing, err)
	}
}

// equal compares what was seen with what the rule says.
func (e *env) equal(what string, got, want any) {
	if g, w := fmt.Sprint(got), fmt.Sprint(want); g != w {
		e.errorf("%s: got %s, want %s", what, g, w)
	}
}

// code compares an error's code.
func (e *env) code(what string, err error, want codes.Code) {
	if got := status.Code(err); got != want {
		e.errorf("%s: got %v (%v), want %v", what, got, err, want)
	}
}

// all reads a stream to its end.
func all[T any](s interface{ Recv() (T, error) }) ([]T, error) {
	var out []T
	for {
		m, err := s.Recv()
		if errors.Is(err, io.EOF) {
			return out, nil
		}
		if err != nil {
			return out, err
		}
		out = append(out, m)
	}
}

// commit applies writes, and keeps their times for conditions on them.
func (e *env) commit(ws ...write) (*pb.CommitResponse, error) {
	r, err := e.pb.Commit(e.ctx, &pb.CommitRequest{Database: e.db, Writes: e.writes(ws)})
	if err != nil {
		return nil, err
	}
	for i, w := range ws {
		e.before[w.path] = e.times[w.path]
		e.times[w.path] = r.GetWriteResults()[i].GetUpdateTime().AsTime()
	}
	return r, nil
}

// put commits writes that must succeed. The emulator tells listeners of a write
// before it answers, and gives it up, now and then, if one of them has just ended:
// it is asked once more.
func (e *env) put(ws ...write) *pb.CommitResponse {
	r, err := e.commit(ws...)
	if e.server == nil && status.Code(err) == codes.Canceled && e.ctx.Err() == nil {
		r, err = e.commit(ws...)
	}
	e.must("write "+ws[0].path, err)
	return r
}

// doc returns a document's fields as text, or "missing".
func (e *env) doc(path string) string {
	d, err := e.pb.GetDocument(e.ctx, &pb.GetDocumentRequest{Name: e.name(path)})
	if status.Code(err) == codes.NotFound {
		return "missing"
	}
	e.must("get "+path, err)
	return e.show(d)
}

func (e *env) name(path string) string { return e.root + "/" + path }

// id returns a full name's part below the root.
func (e *env) id(name string) string { return strings.TrimPrefix(name, e.root+"/") }

func stamp(t time.Time) *timestamppb.Timestamp { return timestamppb.New(t) }
