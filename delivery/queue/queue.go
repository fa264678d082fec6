package queue

import (
	"context"
	"fmt"
	"net"
	"net/url"
	"strings"
	"sync"
	"time"

	firestore "cloud.google.com/go/firestore/apiv1"
	"github.com/rs/zerolog"
	"google.golang.org/api/option"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/metadata"
)

// Options say where the collections are.
type Options struct {
	Project  string
	Database string // "" means "(default)"

	Mail      string // collection path, as in "mail" or "tenants/t1/outbox"
	Users     string // "" if there is none
	Templates string // "" if there is none

	// State is the path of the collection in which the program keeps what it must
	// remember of each mail collection.
	State string

	// Emulator is the host:port of a Firestore emulator; "" means the real
	// service, with the credentials that the environment gives.
	Emulator string

	// Forgetful says that it is an emulator like Google's, which resumes no stream
	// and sends everything again on every write; see [Forgetful].
	Forgetful bool

	// Dial opens a connection to Emulator; nil means TCP.
	Dial func(ctx context.Context, address string) (net.Conn, error)

	Log zerolog.Logger
}

// Queue is a mail collection. It is safe for concurrent use.
type Queue struct {
	client   *firestore.Client
	log      zerolog.Logger
	database string // projects/P/databases/D
	mail     collection
	users    collection
	template collection
	batch    *batcher
	clock    *clock
	streams  sync.WaitGroup
	silence  time.Duration // how long a stream may say nothing

	mailPath  string     // of the collection, below the root
	state     collection // one document for each mail collection
	members   collection // one document for each instance that works this one
	forgetful bool

	marks      marks
	saving     sync.Mutex // held while a checkpoint is saved
	checkpoint checkpoint
	known      known // states, to audits
	waiting    waiting
}

// Open connects to Firestore. It does no I/O: a database that can't be reached
// shows in the first call. Close it after the last one.
func Open(ctx context.Context, o Options) (*Queue, error) {
	if o.Database == "" {
		o.Database = "(default)"
	}
	database := fmt.Sprintf("projects/%s/databases/%s", o.Project, o.Database)
	client, err := firestore.NewClient(ctx, clientOptions(o)...)
	if err != nil {
		return nil, fmt.Errorf("connect to Firestore: %w", err)
	}
	// The generated client would repeat calls by itself: a BatchWrite would then
	// answer with the failed precondition that our own earlier success has caused,
	// and one that Firestore can't answer would hang without a word.
	client.CallOptions = &firestore.CallOptions{}
	root, c := database+"/documents", newClock()
	q := &Queue{
		client:   client,
		log:      o.Log,
		database: database,
		mail:     newCollection(root, o.Mail),
		users:    newCollection(root, o.Users),
		template: newCollection(root, o.Templates),
		batch:    newBatcher(client, database, c),
		clock:    c,
		silence:  maxSilence,

		mailPath:  strings.Trim(o.Mail, "/"),
		state:     newCollection(root, o.State),
		forgetful: o.Forgetful,
	}
	q.members = collection{parent: q.stateName(), id: "instances"}
	return q, nil
}

// Close ends the connection, after every write that is under way.
func (q *Queue) Close() error {
	q.batch.wait()
	q.streams.Wait()
	if err := q.client.Close(); err != nil {
		return fmt.Errorf("close Firestore connection: %w", err)
	}
	return nil
}

// clientOptions returns how to reach Firestore. Keepalive finds out that a
// connection is dead while nothing but a stream's silence would tell.
func clientOptions(o Options) []option.ClientOption {
	alive := grpc.WithKeepaliveParams(keepalive.ClientParameters{Time: 30 * time.Second, Timeout: 10 * time.Second})
	if o.Emulator == "" {
		return []option.ClientOption{option.WithGRPCDialOption(alive), option.WithTelemetryDisabled()}
	}
	options := []option.ClientOption{
		option.WithEndpoint(o.Emulator),
		option.WithoutAuthentication(),
		option.WithTelemetryDisabled(),
		option.WithGRPCDialOption(grpc.WithTransportCredentials(insecure.NewCredentials())),
		option.WithGRPCDialOption(grpc.WithPerRPCCredentials(owner{})),
	}
	if o.Dial != nil {
		options = append(options, option.WithGRPCDialOption(grpc.WithContextDialer(o.Dial)))
	}
	return options
}

// owner is the credential by which an emulator passes over its security rules,
// as the real service does for a service account.
type owner struct{}

func (owner) GetRequestMetadata(context.Context, ...string) (map[string]string, error) {
	return map[string]string{"authorization": "Bearer owner"}, nil
}

func (owner) RequireTransportSecurity() bool { return false }

// routed returns ctx with the header by which Firestore routes a streaming call
// to its database; for others the client adds it.
func (q *Queue) routed(ctx context.Context) context.Context {
	return metadata.AppendToOutgoingContext(ctx,
		"google-cloud-resource-prefix", q.database,
		"x-goog-request-params", "database="+url.QueryEscape(q.database))
}

// collection is a collection's place in the database.
type collection struct {
	parent string // resource name of the document above, or of the root
	id     string
}

// newCollection returns the collection at path below root; the zero one for "".
func newCollection(root, path string) collection {
	path = strings.Trim(path, "/")
	if path == "" {
		return collection{}
	}
	i := strings.LastIndexByte(path, '/')
	if i < 0 {
		return collection{parent: root, id: path}
	}
	return collection{parent: root + "/" + path[:i], id: path[i+1:]}
}

// name returns the resource name of the document called id.
func (c collection) name(id string) string { return c.parent + "/" + c.id + "/" + id }

// idOf returns the last segment of a document's resource name.
func idOf(name string) string { return name[strings.LastIndexByte(name, '/')+1:] }
