package worker

import (
	"sync"
	"time"

	"postrider/delivery"
)

// state is what the outside may ask about a worker.
type state struct {
	mu        sync.Mutex
	watched   bool
	problem   error // why not, or why the last sweep failed
	lastSweep time.Time
	tally     Tally
}

// Tally counts what became of documents since the worker began.
type Tally struct {
	Delivered int // ended in SUCCESS
	Failed    int // ended in ERROR
	Waiting   int // handed back, or wanted again by an operator

	conflicts int // had changed since they were read
}

// Status is the state of a worker at one moment.
type Status struct {
	Watching  bool      // the watch is open and has passed on all there was
	LastSweep time.Time // the end of the last sweep that worked; zero if none did
	Problem   error     // what is wrong with the watch or the last sweep; nil if nothing
}

// Status returns how the worker is. It may be called at any time.
func (w *Worker) Status() Status {
	s := &w.state
	s.mu.Lock()
	defer s.mu.Unlock()
	return Status{Watching: s.watched, LastSweep: s.lastSweep, Problem: s.problem}
}

func (s *state) watch(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.watched, s.problem = err == nil, err
}

func (s *state) swept(now time.Time, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err == nil {
		s.lastSweep = now
		if s.watched {
			s.problem = nil
		}
		return
	}
	s.problem = err
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

func (s *state) conflict() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.tally.conflicts++
}

func (s *state) counted() Tally {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.tally
}
