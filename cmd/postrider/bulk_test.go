package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rs/zerolog"
	"golang.org/x/sync/errgroup"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/test/bufconn"

	"postrider/delivery"
	"postrider/delivery/bulk"
	"postrider/delivery/firestored"
	"postrider/delivery/queue"
	"postrider/worker/retry"
)

// bulkQueue opens the mail collection of a server in memory.
func bulkQueue(ctx context.Context, t *testing.T, l *bufconn.Listener) *queue.Queue {
	t.Helper()
	q, err := queue.Open(ctx, queue.Options{
		Project: "p", Mail: "tenants/t1/mail", State: "_postrider", Emulator: "passthrough:memory", Log: zerolog.Nop(),
		Dial: func(ctx context.Context, _ string) (net.Conn, error) { return l.DialContext(ctx) },
	})
	if err != nil {
		t.Fatal(err)
	}
	return q
}

// unreliable has one call in seven refused, carried out and not answered, or
// carried out twice.
func unreliable() firestored.Faults {
	return firestored.Faults{
		Call: func(string, any) firestored.CallFault {
			switch rand.IntN(20) {
			case 0:
				return firestored.CallFault{Refuse: codes.Unavailable}
			case 1:
				return firestored.CallFault{Answer: codes.Unavailable}
			case 2:
				return firestored.CallFault{Twice: true}
			}
			return firestored.CallFault{}
		},
		Stream: func(string, int) firestored.StreamFault {
			if rand.IntN(300) == 0 {
				return firestored.StreamFault{Cut: codes.Unavailable}
			}
			return firestored.StreamFault{}
		},
	}
}

// Two instances, and a Firestore that fails one call in seven.
func TestBulkRetryMovesEachDocumentOnceWhateverFirestoreDoes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const n = 1200
		ctx, cancel := context.WithCancel(t.Context())
		server, listener := firestored.New(firestored.Options{Log: zerolog.Nop()}), bufconn.Listen(1<<20)
		var group errgroup.Group
		group.Go(func() error { return server.Serve(ctx, listener) })
		p, q := bulkQueue(ctx, t, listener), bulkQueue(ctx, t, listener)
		ids := make([]string, n)
		for i := range ids {
			ids[i] = fmt.Sprintf("m%04d", i)
		}
		err := q.AddAll(ctx, ids, delivery.Fields{
			"to": "a@b.test", "from": "x@y.test", "template": delivery.Fields{"name": "t"},
			"delivery": delivery.Fields{"state": "ERROR", "error": "Error: x", "endTime": time.Now().UTC().Add(-time.Minute)},
		}, func() {})
		if err != nil {
			t.Fatal(err)
		}
		server.SetFaults(unreliable())
		work, stop := context.WithCancel(ctx)
		room := func() int { return 60 }
		a := retry.New(retry.Options{Instance: "a", Room: room}, p, p, zerolog.Nop())
		b := retry.New(retry.Options{Instance: "b", Room: room}, q, q, zerolog.Nop())
		group.Go(func() error { return a.Run(work) })
		group.Go(func() error { return b.Run(work) })
		wish, err := bulk.ReadRequest([]byte(`{"filter":{"from":"x@y.test","template":"t"}}`))
		if err != nil {
			t.Fatal(err)
		}
		id, err := a.Accept(ctx, wish)
		if err != nil {
			t.Fatal(err)
		}
		b.Wake()
		var o bulk.Operation
		for range 600 { // seconds of the bubble
			time.Sleep(time.Second)
			if s, err := q.Operation(ctx, id); err == nil {
				o = bulk.ReadOperation(s)
			}
			if o.State.Final() {
				break
			}
		}
		stop()
		server.SetFaults(firestored.Faults{})
		if o.State != bulk.Succeeded || o.Counts != (bulk.Counts{Seen: n, Matched: n, Moved: n}) || len(o.Results) != n {
			t.Errorf("it is %s with %+v and %d results, %v", o.State, o.Counts, len(o.Results), o.Problem)
		}
		moved := 0
		err = q.List(ctx, queue.Filter{State: delivery.Retry}, func(_ context.Context, s delivery.Snapshot) error {
			if delivery.ReadRecord(s.Fields).RetryOperation == id {
				moved++
			}
			return nil
		})
		if err != nil || moved != n {
			t.Errorf("%d moved, %v", moved, err)
		}
		if err := errors.Join(p.Close(), q.Close()); err != nil {
			t.Error(err)
		}
		cancel()
		if err := group.Wait(); err != nil {
			t.Error(err)
		}
	})
}
