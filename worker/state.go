package worker

import (
	"errors"
	"sync"
	"time"

	"postrider/delivery"
)

// state is what the outside may ask about a worker.
type state struct {
	mu       sync.Mutex
	watched  bool
	watchErr error     // why not
	sweepErr error     // of the last sweep
	auditErr error     // of the last audit
	countErr error     // of the last count of mails to an address
	heard    time.Time // when Firestore last answered
	tally    Tally
}

// Tally counts what became of documents since the worker began.
type Tally struct {
	Delivered int // ended in SUCCESS
	Failed    int // ended in ERROR
	Waiting   int // handed back, due for another attempt, or wanted again by an operator
	Unwritten int // of which Firestore did not take what happened
}

// Status is the state of a worker at one moment.
type Status struct {
	Watching bool      // the watch is open
	Heard    time.Time // when a sweep last worked or a document was last passed on; zero if never
	Problem  error     // what is wrong with the watch, the last sweep, the last audit or the mail server; nil if nothing
}

// Status returns how the worker is. It may be called at any time.
func (w *Worker) Status() Status {
	s := &w.state
	s.mu.Lock()
	defer s.mu.Unlock()
	return Status{Watching: s.watched, Heard: s.heard, Problem: errors.Join(s.watchErr, s.sweepErr, s.auditErr, s.countErr, w.outage.problem())}
}

// watch notes the state of the watch and returns what it was.
func (s *state) watch(err error) (before bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	before = s.watched
	s.watched, s.watchErr = err == nil, err
	return before
}

func (s *state) hear(now time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.heard = now
}

func (s *state) swept(now time.Time, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.sweepErr = err
	if err == nil {
		s.heard = now
	}
}

func (s *state) audited(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.auditErr = err
}

func (s *state) counts(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.countErr = err
}

func (s *state) note(to delivery.State) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch to {
	case delivery.Success:
		s.tally.Delivered++
	case delivery.Error:
		s.tally.Failed++
	default:
		s.tally.Waiting++
	}
}

func (s *state) unwritten() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.tally.Unwritten++
}

func (s *state) counted() Tally {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.tally
}
