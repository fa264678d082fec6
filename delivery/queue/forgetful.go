package queue

import (
	"context"
	"time"

	pb "cloud.google.com/go/firestore/apiv1/firestorepb"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"
)

// serverHeader is by which package firestored lets itself be known.
const serverHeader = "x-firestore-server"

// Forgetful returns what [Options] said.
func (q *Queue) Forgetful() bool { return q.forgetful }

// Forgetful reports whether the emulator at host:port is one that can't resume
// a stream, as Google's. It asks for a document, and takes it for Google's if
// there is no answer within some seconds.
func Forgetful(ctx context.Context, host string) bool {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	conn, err := grpc.NewClient("passthrough:///"+host, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		return true
	}
	defer func() { _ = conn.Close() }()
	var header metadata.MD
	// Whether there is such a document does not matter.
	_, _ = pb.NewFirestoreClient(conn).GetDocument(ctx, &pb.GetDocumentRequest{
		Name: "projects/demo-postrider/databases/(default)/documents/probe/probe",
	}, grpc.Header(&header), grpc.WaitForReady(true), grpc.PerRPCCredentials(owner{}))
	return len(header.Get(serverHeader)) == 0
}
