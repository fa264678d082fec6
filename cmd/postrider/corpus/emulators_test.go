package corpus

import (
	"context"
	"errors"
	"fmt"
	"os"
	"testing"

	"cloud.google.com/go/firestore"
	"google.golang.org/api/option"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	"postrider/delivery/queue/emulator"
)

// emulators hands out Firestore emulators, each to one case at a time.
//
// Cases do not share one: while the emulator tells listeners of a write, one
// listener's end makes the write of somebody else fail ("call already
// cancelled"), and further listeners are not told. That somebody can be in
// another project; real Firestore does no such thing.
type emulators struct {
	missing error // why there is none

	free chan string // host:port; "" has yet to be started
	ends chan *emulator.Emulator
}

// shared is what all tests take their emulators from; TestMain makes and closes
// it.
var shared *emulators

// newEmulators returns as many as cases run at a time. They are started when
// first needed. Where none can be started the one at FIRESTORE_EMULATOR_HOST
// serves, one case at a time.
func newEmulators(parallel int) *emulators {
	_, err := emulator.Find(context.Background())
	host := os.Getenv("FIRESTORE_EMULATOR_HOST")
	switch {
	case err == nil:
		host, err = "", nil
	case host != "":
		parallel, err = 1, nil
	}
	e := &emulators{missing: err, free: make(chan string, parallel), ends: make(chan *emulator.Emulator, parallel)}
	for range parallel {
		e.free <- host
	}
	return e
}

// require skips the test where there is no emulator, and fails it where CI is
// true.
func (e *emulators) require(t *testing.T) {
	t.Helper()
	if e.missing == nil {
		return
	}
	if os.Getenv("CI") == "true" {
		t.Fatal(e.missing)
	}
	t.Skipf("NOT RUN: the corpus needs the Firestore emulator: %v", e.missing)
}

// close ends those that were started.
func (e *emulators) close() error {
	close(e.ends)
	var err error
	for one := range e.ends {
		err = errors.Join(err, one.Close())
	}
	return err
}

// take returns an emulator that nobody else uses, and what gives it back.
func (e *emulators) take(ctx context.Context) (host string, giveBack func(), err error) {
	select {
	case host = <-e.free:
	case <-ctx.Done():
		return "", nil, ctx.Err()
	}
	if host == "" {
		one, err := emulator.Start(ctx, emulator.Options{Heap: "512m"})
		if err != nil {
			e.free <- ""
			return "", nil, err
		}
		e.ends <- one
		host = one.Host
	}
	return host, func() { e.free <- host }, nil
}

// openDatabase connects to a project of the emulator at host, whatever the
// environment says.
func openDatabase(ctx context.Context, host, project string) (*firestore.Client, error) {
	conn, err := grpc.NewClient(host, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		return nil, fmt.Errorf("connect to %s: %w", host, err)
	}
	db, err := firestore.NewClient(ctx, project, option.WithGRPCConn(conn))
	if err != nil {
		return nil, errors.Join(fmt.Errorf("open project %s: %w", project, err), conn.Close())
	}
	return db, nil
}
