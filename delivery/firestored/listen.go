package firestored

import (
	"cmp"
	"errors"
	"io"
	"time"

	pb "cloud.google.com/go/firestore/apiv1/firestorepb"
	"google.golang.org/grpc/status"
)

// A listener reads this many changes at a time, or a whole commit if that has
// more, and ends them with one consistent snapshot.
const batch = 500

const (
	defaultIdle     = 30 * time.Second
	defaultTokenAge = 30 * time.Minute // as the service: then a listener pays for its whole result again
)

// listen serves one Listen stream. The stream reads the database's log from its
// own position and at its client's pace, and keeps nothing for a slow one.
func (s *Server) listen(stream pb.Firestore_ListenServer) error {
	first, err := stream.Recv()
	if err != nil {
		return err
	}
	db, err := s.listenDatabase(first)
	if err != nil {
		return err
	}
	l := &listener{server: s, db: db, stream: stream, assigned: -1}
	l.idle = time.NewTimer(s.idle())
	defer l.idle.Stop()
	if err := l.request(first); err != nil {
		return err
	}
	return l.follow(s.receive(stream))
}

// received is a request or the error that ended the requests.
type received struct {
	request *pb.ListenRequest
	err     error
}

// receive passes on a stream's requests. Nothing but the end of the stream's
// handler interrupts Recv, so its goroutine ends a moment later than the
// handler; Serve waits for it.
func (s *Server) receive(stream pb.Firestore_ListenServer) <-chan received {
	c := make(chan received)
	s.extras.receivers.Go(func() {
		for {
			r, err := stream.Recv()
			select {
			case c <- received{r, err}:
			case <-stream.Context().Done():
				return
			}
			if err != nil {
				return
			}
		}
	})
	return c
}

// listener is one Listen stream. Only its handler's goroutine uses it.
type listener struct {
	server *Server
	db     *database
	stream pb.Firestore_ListenServer
	idle   *time.Timer // since the last snapshot

	targets  []*target
	assigned int32 // the last target ID that the server chose, -1 before it chose one

	// All targets have been told of what happened before pos, which is the state
	// of the database at the time at.
	pos, at int64
	held    []change // changes that a test wants to come late (see Swapped)
}

// follow serves requests and sends what changes, until the stream ends.
func (l *listener) follow(requests <-chan received) error {
	ready := make(chan struct{})
	close(ready)
	for {
		wake := l.db.bell()
		more, err := l.advance()
		if err != nil {
			return err
		}
		if more {
			wake = ready
		}
		select {
		case <-wake:
		case r := <-requests:
			err = l.receive(r)
		case <-l.idle.C:
			err = l.heartbeat()
		case <-l.stream.Context().Done():
			err = status.FromContextError(l.stream.Context().Err()).Err()
		}
		if errors.Is(err, io.EOF) {
			return nil // the client has closed its side
		}
		if err != nil {
			return err
		}
	}
}

func (l *listener) receive(r received) error {
	if r.err != nil {
		return r.err
	}
	return l.request(r.request)
}

// advance tells the targets of the changes that are at hand, and reports whether
// there are more. What concerns no target moves the stream on without a word.
func (l *listener) advance() (more bool, err error) {
	if len(l.targets) == 0 {
		return false, nil
	}
	now := l.db.now()
	changes, next, ok := l.db.since(l.pos, batch)
	if !ok {
		return true, l.restart()
	}
	more = len(changes) >= batch
	if len(changes) > 0 {
		l.at = changes[len(changes)-1].at
	}
	if !more {
		l.at = max(l.at, now) // nothing but these changes was committed until then
	}
	l.pos = next
	changes, l.held = l.server.tamper(coalesce(changes), l.held)
	news, err := l.tell(changes)
	if err != nil || !news {
		return more, err
	}
	return more, l.snapshot()
}

// tell sends what changes mean to the targets, and reports whether that was any
// news.
func (l *listener) tell(changes []change) (news bool, err error) {
	news, err = l.sendChanges(l.targets, changes)
	for _, t := range l.targets {
		if err != nil || !t.stale {
			continue
		}
		var v view
		if v, err = l.db.view(l.at); err != nil {
			return news, tooSlow(err)
		}
		var differs bool
		differs, err = l.recompute(v, t)
		news = news || differs
	}
	return news, err
}

// coalesce makes one change of all changes of a document: clients are told of
// states, not of steps. One from nothing to nothing concerns nobody.
func coalesce(changes []change) []change {
	if len(changes) < 2 {
		return changes
	}
	at := make(map[string]int, len(changes))
	var out []change
	for _, c := range changes {
		i, ok := at[c.path]
		if !ok {
			at[c.path] = len(out)
			out = append(out, c)
			continue
		}
		out[i].new, out[i].at = c.new, c.at
	}
	return out
}

// tamper does to changes what a test asks for. It returns what is to be sent
// and what is held back until the next change.
func (s *Server) tamper(changes, held []change) (out, still []change) {
	if f := s.faults.Load(); f == nil || f.Change == nil {
		return append(changes, held...), nil
	}
	for _, c := range changes {
		switch s.changeFault(c.path) {
		case Lost:
			continue
		case Swapped:
			held = append(held, c)
			continue
		case Repeated:
			out = append(out, c)
		}
		out = append(append(out, c), held...)
		held = nil
	}
	return out, held
}

// heartbeat gives an idle client a fresh token, so that its place does not grow
// too old.
func (l *listener) heartbeat() error {
	if len(l.targets) == 0 {
		l.idle.Reset(l.server.idle())
		return nil
	}
	if _, err := l.advance(); err != nil {
		return err
	}
	late := l.held
	l.held = nil
	if _, err := l.tell(late); err != nil {
		return err
	}
	return l.snapshot()
}

// restart begins anew after the log has lost the stream's position: the client
// was too slow.
func (l *listener) restart() error {
	v, err := l.db.view(0)
	if err != nil {
		return err
	}
	l.pos, l.at, l.held = v.pos, v.at, nil
	for _, t := range l.targets {
		if err := l.reset(v, t); err != nil {
			return err
		}
	}
	return l.snapshot()
}

// idle is how long a stream says nothing.
func (s *Server) idle() time.Duration { return cmp.Or(s.options.Idle, defaultIdle) }

// tokenAge is how long tokens and read times can be resumed.
func (s *Server) tokenAge() time.Duration { return cmp.Or(s.options.TokenAge, defaultTokenAge) }
