package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"sync"
	"time"

	pb "cloud.google.com/go/firestore/apiv1/firestorepb"

	"postrider/delivery/firestored"
)

const (
	project    = "demo-crash"
	database   = "projects/" + project + "/databases/(default)"
	documents  = database + "/documents"
	collection = "mail"
)

// store is Firestore: a server for the workers, over TCP, and the application's
// and the judge's way to the documents, which no fault is in.
type store struct {
	server  *firestored.Server
	addr    string
	journal *journal
	ended   chan error   // takes what ended a serving
	up      func() error // serves again, for as long as it was opened for

	belate     func(ended []string) bool // returns when the outcomes of these documents may be applied; false if it did not wait
	late       chan struct{}             // holds one for each request with outcomes that is to be late
	checkpoint chan struct{}             // holds one when a checkpoint was saved

	busy sync.RWMutex // read-held while an outcome waits: no restart meanwhile

	mu     sync.Mutex
	stop   context.CancelFunc // ends the serving; nil while it is down
	wires  map[*wire]bool
	finals map[string]record // documents once seen final
	holds  map[string]bool   // documents whose writes were late
}

func newStore(addr string, j *journal) *store {
	s := &store{
		server: firestored.New(firestored.Options{}), addr: addr, journal: j, ended: make(chan error, 1),
		late: make(chan struct{}, 100), checkpoint: make(chan struct{}, 1),
		wires: map[*wire]bool{}, finals: map[string]record{}, holds: map[string]bool{},
	}
	s.server.SetFaults(firestored.Faults{Call: s.called})
	return s
}

// open serves until down is called, or ctx ends.
func (s *store) open(ctx context.Context) error {
	s.up = func() error { return s.serve(ctx) }
	return s.up()
}

func (s *store) serve(ctx context.Context) error {
	l, err := (&net.ListenConfig{}).Listen(ctx, "tcp", s.addr)
	if err != nil {
		return fmt.Errorf("listen for Firestore's clients: %w", err)
	}
	serving, stop := context.WithCancel(ctx)
	s.mu.Lock()
	s.stop = stop
	s.mu.Unlock()
	var group sync.WaitGroup
	group.Go(func() { s.ended <- s.server.Serve(serving, &tracker{l, s}) })
	return nil
}

// down ends the serving, with all connections.
func (s *store) down() error {
	s.mu.Lock()
	stop := s.stop
	s.stop = nil
	s.mu.Unlock()
	if stop == nil {
		return nil
	}
	stop()
	return <-s.ended
}

// restart takes Firestore away for a while.
func (s *store) restart(ctx context.Context, pause time.Duration) error {
	s.busy.Lock()
	defer s.busy.Unlock()
	from := time.Now()
	if err := s.down(); err != nil {
		return err
	}
	await(ctx, pause)
	if ctx.Err() != nil {
		return nil
	}
	defer func() { s.journal.note(faultRestart, "", from, time.Now()) }()
	return s.up()
}

// reset resets the connections of all workers.
func (s *store) reset() {
	from := time.Now()
	s.mu.Lock()
	for w := range s.wires {
		_ = w.SetLinger(0)
		_ = w.TCPConn.Close()
	}
	s.mu.Unlock()
	s.journal.note(faultReset, "", from, time.Now())
}

// tracker knows the connections of its listener.
type tracker struct {
	net.Listener
	store *store
}

// wire is a worker's connection.
type wire struct {
	*net.TCPConn
	store *store
}

// Accept notes the connection.
func (t *tracker) Accept() (net.Conn, error) {
	c, err := t.Listener.Accept()
	if err != nil {
		return nil, err
	}
	tcp, ok := c.(*net.TCPConn)
	if !ok {
		return nil, errors.New("not a TCP connection")
	}
	w := &wire{tcp, t.store}
	t.store.mu.Lock()
	defer t.store.mu.Unlock()
	t.store.wires[w] = true
	return w, nil
}

// Close forgets the connection.
func (w *wire) Close() error {
	w.store.mu.Lock()
	delete(w.store.wires, w)
	w.store.mu.Unlock()
	return w.TCPConn.Close()
}

// called looks at what workers write, before it is applied, and has it wait.
func (s *store) called(method string, request any) firestored.CallFault {
	batch, ok := request.(*pb.BatchWriteRequest)
	if method != "BatchWrite" || !ok {
		return firestored.CallFault{}
	}
	var all, ended []string
	for _, w := range batch.GetWrites() {
		path := strings.TrimPrefix(w.GetUpdate().GetName(), documents+"/")
		id, mail := strings.CutPrefix(path, collection+"/")
		switch {
		case !mail && w.GetUpdate().GetFields()["resumeToken"] != nil:
			poke(s.checkpoint)
		case mail:
			all = append(all, id)
			if recordOf(w.GetUpdate()).final() && w.GetUpdate().GetFields()["delivery"].GetMapValue().GetFields()["endTime"] != nil {
				ended = append(ended, id)
			}
		}
	}
	if len(ended) > 0 {
		s.hold(all, ended)
	}
	return firestored.CallFault{}
}

// hold has outcomes wait if that is wanted now. All is the documents that the
// same request writes.
func (s *store) hold(all, ended []string) {
	if !s.busy.TryRLock() {
		return
	}
	defer s.busy.RUnlock()
	select {
	case <-s.late:
	default:
		return
	}
	s.mu.Lock()
	for _, id := range all {
		s.holds[id] = true
	}
	s.mu.Unlock()
	if !s.belate(ended) {
		s.late <- struct{}{} // the next request, then
	}
}

// noMoreLate returns when no outcome waits and none will.
func (s *store) noMoreLate() {
	s.busy.Lock()
	defer s.busy.Unlock()
	for range len(s.late) {
		<-s.late
	}
}

// poke puts one into a channel that holds one.
func poke(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// await lets d pass, or less if ctx ends.
func await(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}
