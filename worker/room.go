package worker

import (
	"context"
	"errors"
	"slices"
	"sync"
)

// room bounds how many bytes the mails take that are being made and sent
// (MAX_BYTES_IN_FLIGHT). A mail comes in with what its document takes. What it
// needs beyond that, for attachments above all, is known only when it is inside;
// there all could wait for each other, so one of them may overdraw: the bound is
// exceeded by what one mail needs, and no more.
type room struct {
	limit int // bytes

	mu        sync.Mutex
	taken     int   // bytes
	inside    int   // mails
	overdrawn *stay // whose mail exceeds the limit; nil if none does
	growing   []*request
	entering  []*request // served after those that grow
}

// stay is a mail in the room.
type stay struct {
	room *room
	held int // bytes
	over bool
}

// request is what a mail waits for.
type request struct {
	*stay
	bytes   int           // more than it has
	granted chan struct{} // closed when it has them
}

func newRoom(limit int) *room { return &room{limit: limit} }

// enter returns once there is room for a mail that takes so many bytes, in the
// order in which they come. One that is larger than the room has it alone. Leave
// it. The error is ctx's.
func (r *room) enter(ctx context.Context, bytes int) (*stay, error) {
	s := &stay{room: r}
	return s, r.await(ctx, &r.entering, request{stay: s, bytes: bytes})
}

// errCramped says that there was no room for what a mail needs.
var errCramped = errors.New("no room for the mail (MAX_BYTES_IN_FLIGHT)")

// resize says how many bytes the mail takes in all from now on, and returns once
// there is room for them, or errCramped when ctx has ended.
func (s *stay) resize(ctx context.Context, bytes int) error {
	if bytes <= s.held {
		s.give(s.held - bytes)
		return nil
	}
	if err := s.room.await(ctx, &s.room.growing, request{stay: s, bytes: bytes - s.held}); err != nil {
		return errors.Join(errCramped, err)
	}
	return nil
}

func (s *stay) give(bytes int) {
	r := s.room
	r.mu.Lock()
	defer r.mu.Unlock()
	s.held -= bytes
	r.taken -= bytes
	if r.overdrawn == s && r.taken <= r.limit {
		r.overdrawn = nil
	}
	r.serve()
}

// leave ends the stay. It may be called again.
func (s *stay) leave() {
	r := s.room
	r.mu.Lock()
	defer r.mu.Unlock()
	if s.over {
		return
	}
	s.over = true
	r.inside--
	r.taken -= s.held
	if r.overdrawn == s {
		r.overdrawn = nil
	}
	r.serve()
}

// bytes returns how many bytes the mails inside take.
func (r *room) bytes() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.taken
}

// await queues a request and returns when it is granted, or ctx's error.
func (r *room) await(ctx context.Context, queue *[]*request, q request) error {
	q.granted = make(chan struct{})
	r.mu.Lock()
	*queue = append(*queue, &q)
	r.serve()
	r.mu.Unlock()
	select {
	case <-q.granted:
		return nil
	default:
	}
	select {
	case <-q.granted:
		return nil
	case <-ctx.Done():
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	i := slices.Index(*queue, &q)
	if i < 0 {
		return nil // it was granted meanwhile
	}
	*queue = slices.Delete(*queue, i, i+1)
	r.serve()
	return context.Cause(ctx)
}

// serve grants what can be granted. r.mu is held.
func (r *room) serve() {
	for i := r.next(); i >= 0; i = r.next() {
		q := r.growing[i]
		if r.growing = slices.Delete(r.growing, i, i+1); r.taken+q.bytes > r.limit {
			r.overdrawn = q.stay
		}
		r.grant(q)
	}
	for len(r.growing) == 0 && len(r.entering) > 0 && (r.inside == 0 || r.taken+r.entering[0].bytes <= r.limit) {
		r.inside++
		r.grant(r.entering[0])
		r.entering = r.entering[1:]
	}
}

// next returns which of those that grow may do so, or -1: the one that overdraws
// already, for the others wait for it, or else the first.
func (r *room) next() int {
	if i := slices.IndexFunc(r.growing, func(q *request) bool { return q.stay == r.overdrawn }); i >= 0 {
		return i
	}
	if len(r.growing) > 0 && (r.overdrawn == nil || r.taken+r.growing[0].bytes <= r.limit) {
		return 0
	}
	return -1
}

func (r *room) grant(q *request) {
	r.taken += q.bytes
	q.held += q.bytes
	close(q.granted)
}
