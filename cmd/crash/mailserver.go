package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"net"
	"sync"
	"time"
)

// mailServer is the mail server that all workers send to, each process through a
// port of its own. It knows what it has accepted, by document and recipient.
type mailServer struct {
	habits  habits
	seed    uint64
	journal *journal
	running sync.WaitGroup

	mu       sync.Mutex
	fuses    []fuse                     // for the next transactions
	early    []fuse                     // for the next connections
	tries    map[string]int             // transactions by document
	accepted map[string]map[string]int  // by document and recipient
	owners   map[string]map[string]bool // documents by Message-ID
	kept     map[string]string          // by document: why the worker may not have got the final reply
	touched  map[string][]touch         // by document: which processes have tried
}

// touch is that a process had a document in hand.
type touch struct {
	process string
	at      time.Time
}

// Why a worker may not have got a final reply.
const (
	keptCut    = "cut"
	keptSilent = "silent"
	keptLong   = "long" // with waiting for a connection, beyond an attempt's time
)

func newMailServer(h habits, seed uint64, j *journal) *mailServer {
	return &mailServer{
		habits: h, seed: seed, journal: j,
		tries: map[string]int{}, accepted: map[string]map[string]int{},
		owners: map[string]map[string]bool{}, kept: map[string]string{}, touched: map[string][]touch{},
	}
}

// listen opens a port for a process. Closing it leaves its connections open, the
// end of ctx does not.
func (s *mailServer) listen(ctx context.Context, process string) (net.Listener, error) {
	l, err := (&net.ListenConfig{}).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("listen for mail: %w", err)
	}
	s.running.Go(func() {
		for {
			c, err := l.Accept()
			if errors.Is(err, net.ErrClosed) {
				return
			}
			if err == nil {
				s.running.Go(func() { s.serve(ctx, c, process) })
			}
		}
	})
	return l, nil
}

// serve holds one session.
func (s *mailServer) serve(ctx context.Context, c net.Conn, process string) {
	l := &link{Conn: c, process: process}
	session := newSession(s, l, ctx.Done())
	l.blown = func() {
		s.journal.count(countCuts)
		if session.doc != "" {
			s.keep(session.doc, keptCut)
		}
	}
	s.mu.Lock()
	l.light(&s.early)
	s.mu.Unlock()
	stop := context.AfterFunc(ctx, func() { _ = c.Close() })
	session.run()
	stop()
	_ = c.Close()
}

// cut has the next connection, or the next transaction, end after a random byte.
func (s *mailServer) cut(random *rand.Rand) {
	f := fuse{inbound: random.IntN(2) == 0, blow: blow(random.IntN(blows))}
	atStart := random.IntN(5) == 0
	switch { // about as many bytes as there will be
	case atStart:
		f.left = random.IntN(80)
	case f.inbound:
		f.left = random.IntN(800)
	default:
		f.left = random.IntN(60)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if atStart {
		s.early = append(s.early, f)
	} else {
		s.fuses = append(s.fuses, f)
	}
}

// light gives a link the next fuse of a list, if there is one. s.mu is held.
func (l *link) light(list *[]fuse) {
	if len(*list) > 0 {
		l.arm((*list)[0])
		*list = (*list)[1:]
	}
}

// begin notes a transaction for a document's mail and returns the mood for it.
func (s *mailServer) begin(doc string, l *link) mood {
	s.mu.Lock()
	defer s.mu.Unlock()
	l.light(&s.fuses)
	s.tries[doc]++
	s.touched[doc] = append(s.touched[doc], touch{l.process, time.Now()})
	return s.habits.moodFor(s.seed, doc, s.tries[doc])
}

// accept takes responsibility for a mail.
func (s *mailServer) accept(doc, messageID string, recipients []string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.accepted[doc] == nil {
		s.accepted[doc] = map[string]int{}
	}
	for _, r := range recipients {
		s.accepted[doc][r]++
	}
	if s.owners[messageID] == nil {
		s.owners[messageID] = map[string]bool{}
	}
	s.owners[messageID][doc] = true
}

// keep notes that the worker may not get the final reply.
func (s *mailServer) keep(doc, why string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.kept[doc] = why
}

// sender returns the process that has tried a document last; "" if none has.
func (s *mailServer) sender(doc string) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	if all := s.touched[doc]; len(all) > 0 {
		return all[len(all)-1].process
	}
	return ""
}

// known puts what the server knows into f. It is asked at the end.
func (s *mailServer) known(f *facts) {
	s.mu.Lock()
	defer s.mu.Unlock()
	f.accepted, f.owners, f.kept = maps.Clone(s.accepted), maps.Clone(s.owners), maps.Clone(s.kept)
	for doc, all := range s.touched {
		f.touched[doc] = append(f.touched[doc], all...)
	}
}
