package firestored

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"sync/atomic"
	"time"

	pb "cloud.google.com/go/firestore/apiv1/firestorepb"
	"github.com/rs/zerolog"
	"golang.org/x/sync/errgroup"
	"google.golang.org/grpc"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/metadata"
)

const (
	maxRequest   = 10 << 20        // bytes (https://firebase.google.com/docs/firestore/quotas)
	envelope     = 64 << 10        // what a message of that many bytes may have besides
	usualHistory = 250_000         // changes
	minPing      = 5 * time.Second // between a client's pings
)

// Options are a server's options. The zero value will do.
type Options struct {
	Log     zerolog.Logger // where the server says what it is
	History int            // changes that a database's log keeps, for past reads and resumed listens; 0 means 250,000

	Idle     time.Duration // after which a listen without news gives a fresh token; 0 means 30 s
	TokenAge time.Duration // how long a listen can be resumed by its tokens and read times; 0 means 30 min
}

// Server is a Firestore server. It keeps its databases from one Serve to the
// next.
type Server struct {
	pb.UnimplementedFirestoreServer
	options Options
	log     zerolog.Logger
	usage   usage

	mu        sync.RWMutex
	databases map[string]*database

	faults atomic.Pointer[Faults] // nil breaks nothing
	extras extras                 // what listens keep (token.go)
}

// New returns a server without any document.
func New(o Options) *Server {
	if o.History <= 0 {
		o.History = usualHistory
	}
	return &Server{options: o, log: o.Log, databases: map[string]*database{}}
}

// Serve answers on l until ctx ends, and returns nil once all that it started
// has ended. An error means that l has failed before.
func (s *Server) Serve(ctx context.Context, l net.Listener) error {
	s.log.Warn().Str("address", l.Addr().String()).Msg("this Firestore server is for development and tests, never for production: it keeps documents in memory and asks nobody who they are")
	server := grpc.NewServer(
		grpc.MaxRecvMsgSize(maxRequest+envelope),
		grpc.KeepaliveEnforcementPolicy(keepalive.EnforcementPolicy{MinTime: minPing, PermitWithoutStream: true}),
		grpc.WaitForHandlers(true),
		grpc.ChainUnaryInterceptor(s.unaryHeader, s.unaryFaults),
		grpc.ChainStreamInterceptor(s.streamHeader, s.streamFaults),
	)
	pb.RegisterFirestoreServer(server, s)
	running, ctx := errgroup.WithContext(ctx)
	running.Go(func() error {
		if err := server.Serve(l); err != nil && !errors.Is(err, grpc.ErrServerStopped) {
			return fmt.Errorf("serve Firestore on %s: %w", l.Addr(), err)
		}
		return nil
	})
	running.Go(func() error {
		<-ctx.Done()
		server.Stop() // ends the streams, and waits for what handles them
		return nil
	})
	err := running.Wait()
	s.extras.receivers.Wait()
	return err
}

// header tells clients this server from Google's emulator, which does not resume
// listens.
func header() metadata.MD { return metadata.Pairs("x-firestore-server", "postrider") }

func (s *Server) unaryHeader(ctx context.Context, req any, _ *grpc.UnaryServerInfo, handler grpc.UnaryHandler) (any, error) {
	s.usage.requests.Add(1)
	if err := grpc.SetHeader(ctx, header()); err != nil {
		return nil, err
	}
	return handler(ctx, req)
}

func (s *Server) streamHeader(srv any, ss grpc.ServerStream, _ *grpc.StreamServerInfo, handler grpc.StreamHandler) error {
	s.usage.requests.Add(1)
	if err := ss.SetHeader(header()); err != nil {
		return err
	}
	return handler(srv, ss)
}

// Listen implements google.firestore.v1.Firestore.Listen.
func (s *Server) Listen(stream pb.Firestore_ListenServer) error { return s.listen(stream) }
