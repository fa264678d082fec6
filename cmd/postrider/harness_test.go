package main

import (
	"crypto/rand"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"

	"cloud.google.com/go/firestore"
	pb "cloud.google.com/go/firestore/apiv1/firestorepb"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/mem"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	"postrider/smtp/smtptest"
)

// build builds the program as it is released.
func build(t testing.TB) string {
	t.Helper()
	bin := filepath.Join(t.TempDir(), "postrider")
	cmd := exec.CommandContext(t.Context(), "go", "build", "-trimpath", "-o", bin, ".")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("build: %v\n%s", err, out)
	}
	return bin
}

// emulatorHost returns the emulator that make provides.
func emulatorHost(t testing.TB) string {
	t.Helper()
	host := os.Getenv("FIRESTORE_EMULATOR_HOST")
	if host == "" && os.Getenv("CI") != "" {
		t.Fatal("FIRESTORE_EMULATOR_HOST is not set: the emulator tests can't run")
	}
	if host == "" {
		t.Skip("FIRESTORE_EMULATOR_HOST is not set: run make test, or make benchmarks")
	}
	return host
}

// quickSink returns the address of a mail server that takes everything and
// keeps nothing.
func quickSink(t testing.TB) string {
	t.Helper()
	record := false
	sink, err := smtptest.Start(smtptest.Behaviour{Record: &record})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = sink.Close() })
	return sink.Addr()
}

// newProject returns a project that nobody has used: the emulator slows down
// with what was deleted.
func newProject() string { return "postrider-" + strings.ToLower(rand.Text()[:12]) }

// sdk returns a client as an application has it.
func sdk(t testing.TB, project string) *firestore.Client {
	t.Helper()
	client, err := firestore.NewClient(t.Context(), project)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = client.Close() })
	return client
}

// fill adds so many mail documents to a project of their own, and returns it.
func fill(t testing.TB, n int) string {
	t.Helper()
	project := newProject()
	client := sdk(t, project)
	writer := client.BulkWriter(t.Context())
	for i := range n {
		_, err := writer.Create(client.Collection("mail").Doc(fmt.Sprintf("m%05d", i)), map[string]any{
			"to":      fmt.Sprintf("user%d@rcpt.test", i),
			"message": map[string]any{"subject": "Your order", "text": "It is on its way.", "html": "<p>It is on its way.</p>"},
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	writer.End()
	return project
}

// command returns the program, with its settings and nothing else of this
// process's environment.
func command(t testing.TB, bin, host, project, sink string, args ...string) *exec.Cmd {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), bin, args...)
	cmd.Env = []string{
		"PATH=" + os.Getenv("PATH"), "HOME=" + os.Getenv("HOME"),
		"FIRESTORE_EMULATOR_HOST=" + host, "GOOGLE_CLOUD_PROJECT=" + project,
		"MAIL_COLLECTION=mail", "TEMPLATES_COLLECTION=templates", "USERS_COLLECTION=users",
		"SMTP_CONNECTION_URI=smtp://" + sink, "PORT=" + freePort(t), "DEFAULT_FROM=Shop <shop@sender.test>",
	}
	return cmd
}

// drained runs the program with --drain to its end, which must be a good one.
func drained(t testing.TB, bin, host, project, sink string) *os.ProcessState {
	t.Helper()
	cmd := command(t, bin, host, project, sink, "run", "--drain")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, tail(string(out)))
	}
	return cmd.ProcessState
}

func tail(s string) string { return s[max(0, len(s)-3000):] }

// succeeded checks that so many documents are in SUCCESS.
func succeeded(t testing.TB, project string, n int) {
	t.Helper()
	docs, err := sdk(t, project).Collection("mail").Where("delivery.state", "==", "SUCCESS").Documents(t.Context()).GetAll()
	if err != nil {
		t.Fatal(err)
	}
	if len(docs) != n {
		t.Fatalf("%d of %d documents are in SUCCESS", len(docs), n)
	}
}

// meter is a proxy before Firestore that counts what passes: documents written,
// documents read, requests that write.
type meter struct {
	address                string
	writes, reads, batches atomic.Int64
	upstream               *grpc.ClientConn
}

// newMeter returns a meter before the Firestore at host.
func newMeter(t testing.TB, host string) *meter {
	t.Helper()
	m := &meter{}
	var err error
	if m.upstream, err = grpc.NewClient(host, grpc.WithTransportCredentials(insecure.NewCredentials())); err != nil {
		t.Fatal(err)
	}
	listener, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	m.address = listener.Addr().String()
	server := grpc.NewServer(grpc.ForceServerCodecV2(raw{}), grpc.UnknownServiceHandler(m.pass))
	done := make(chan error, 1)
	go func() { done <- server.Serve(listener) }()
	t.Cleanup(func() {
		server.Stop()
		if err := <-done; err != nil {
			t.Error(err)
		}
		_ = m.upstream.Close()
	})
	return m
}

// pass hands a call on in both directions, whatever it is.
func (m *meter) pass(_ any, down grpc.ServerStream) error {
	method, _ := grpc.MethodFromServerStream(down)
	in, _ := metadata.FromIncomingContext(down.Context())
	up, err := m.upstream.NewStream(metadata.NewOutgoingContext(down.Context(), in),
		&grpc.StreamDesc{ServerStreams: true, ClientStreams: true}, method, grpc.ForceCodecV2(raw{}))
	if err != nil {
		return err
	}
	go func() { // ends with the call's context
		for {
			var message []byte
			if down.RecvMsg(&message) != nil {
				_ = up.CloseSend()
				return
			}
			m.count(method, message, true)
			if up.SendMsg(&message) != nil {
				return
			}
		}
	}()
	for {
		var message []byte
		if err := up.RecvMsg(&message); err != nil {
			if status.Code(err) == codes.Unknown {
				return nil // the end of the stream
			}
			return err
		}
		m.count(method, message, false)
		if err := down.SendMsg(&message); err != nil {
			return err
		}
	}
}

// count counts a message by what it writes or has read.
func (m *meter) count(method string, message []byte, request bool) {
	switch name := method[strings.LastIndexByte(method, '/')+1:]; {
	case name == "BatchWrite" && request:
		var b pb.BatchWriteRequest
		if proto.Unmarshal(message, &b) == nil {
			m.writes.Add(int64(len(b.GetWrites())))
			m.batches.Add(1)
		}
	case name == "RunQuery" && !request:
		var r pb.RunQueryResponse
		if proto.Unmarshal(message, &r) == nil && r.GetDocument() != nil {
			m.reads.Add(1)
		}
	case (name == "GetDocument" || name == "BatchGetDocuments") && !request:
		m.reads.Add(1)
	}
}

// raw is a codec that leaves messages as they are.
type raw struct{}

func (raw) Name() string { return "proto" }

func (raw) Marshal(v any) (mem.BufferSlice, error) {
	return mem.BufferSlice{mem.SliceBuffer(*v.(*[]byte))}, nil
}

func (raw) Unmarshal(data mem.BufferSlice, v any) error {
	*v.(*[]byte) = data.Materialize()
	return nil
}

// freePort returns a port that nobody listens on, for the program's HTTP.
func freePort(t testing.TB) string {
	t.Helper()
	port, err := smtptest.FreePort()
	if err != nil {
		t.Fatal(err)
	}
	return strconv.Itoa(port)
}
