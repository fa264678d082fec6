package queue

import (
	"context"
	"errors"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc/codes"

	"postrider/delivery"
	"postrider/delivery/firestored"
)

// faulty has calls of a method fail, as fault says of the first, second, …
func faulty(s *stack, method string, fault func(n int64) firestored.CallFault) {
	var calls atomic.Int64
	s.server.SetFaults(firestored.Faults{Call: func(called string, _ any) firestored.CallFault {
		if called != method {
			return firestored.CallFault{}
		}
		return fault(calls.Add(1))
	}})
}

// always has every call fail alike.
func always(f firestored.CallFault) func(int64) firestored.CallFault {
	return func(int64) firestored.CallFault { return f }
}

// first has the first call fail.
func first(f firestored.CallFault) func(int64) firestored.CallFault {
	return func(n int64) firestored.CallFault {
		if n > 1 {
			return firestored.CallFault{}
		}
		return f
	}
}

func TestCreateTellsWhatCameOfIt(t *testing.T) {
	anyError := errors.New("any")
	for name, c := range map[string]struct {
		there bool
		fault func(int64) firestored.CallFault
		want  error
		added bool
	}{
		"added":                        {false, nil, nil, true},
		"there already":                {true, nil, delivery.ErrConflict, false},
		"not taken at once":            {false, first(firestored.CallFault{Refuse: codes.Unavailable}), nil, true},
		"added, and never answered":    {false, first(firestored.CallFault{Answer: codes.Unavailable}), delivery.ErrConflict, true},
		"applied twice":                {false, first(firestored.CallFault{Twice: true}), delivery.ErrConflict, true},
		"away":                         {false, always(firestored.CallFault{Refuse: codes.Unavailable}), anyError, false},
		"not permitted":                {false, always(firestored.CallFault{Refuse: codes.PermissionDenied}), anyError, false},
		"no such database":             {false, always(firestored.CallFault{Refuse: codes.NotFound}), anyError, false},
		"refused":                      {false, always(firestored.CallFault{Refuse: codes.InvalidArgument}), delivery.ErrRefused, false},
		"never answered, never there":  {false, always(firestored.CallFault{Refuse: codes.DeadlineExceeded}), context.DeadlineExceeded, false},
		"unanswered once, then away":   {false, unansweredThenAway, context.DeadlineExceeded, true},
		"answered too late, each time": {true, always(firestored.CallFault{Late: time.Minute}), context.DeadlineExceeded, false},
	} {
		synctest.Test(t, func(t *testing.T) {
			s, stop := stacked(t, firestored.Options{})
			defer stop()
			shelf := shelved{s, t}
			if c.there {
				shelf.Put("a", delivery.Fields{"to": "somebody else"})
			}
			if c.fault != nil {
				faulty(s, "BatchWrite", c.fault)
			}
			err := s.Create(t.Context(), "a", delivery.Fields{"to": "ada@example.org"})
			s.server.SetFaults(firestored.Faults{})
			if (err == nil) != (c.want == nil) || c.want != nil && !errors.Is(c.want, anyError) && !errors.Is(err, c.want) {
				t.Errorf("%s: %v", name, err)
			}
			if errors.Is(c.want, anyError) && (settledError(err) || errors.Is(err, context.DeadlineExceeded)) {
				t.Errorf("%s: %v says more than is known", name, err)
			}
			f := shelf.Get("a")
			if added := f["to"] == "ada@example.org"; added != c.added {
				t.Errorf("%s: the document is %v", name, f)
			}
		})
	}
}

// unansweredThenAway applies the first call, does not answer it, and refuses the
// others.
func unansweredThenAway(n int64) firestored.CallFault {
	if n == 1 {
		return firestored.CallFault{Answer: codes.DeadlineExceeded}
	}
	return firestored.CallFault{Refuse: codes.Unavailable}
}

func TestCreateEndsWithItsCaller(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, stop := stacked(t, firestored.Options{})
		defer stop()
		faulty(s, "BatchWrite", always(firestored.CallFault{Delay: time.Second}))
		ctx, cancel := context.WithCancel(t.Context())
		time.AfterFunc(time.Millisecond, cancel)
		if err := s.Create(ctx, "a", delivery.Fields{"to": "a"}); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("it is known what came of it: %v", err)
		}
	})
}

func TestCreateEndsInTimeHoweverManyWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, stop := stacked(t, firestored.Options{})
		defer stop()
		faulty(s, "BatchWrite", always(firestored.CallFault{Delay: time.Minute}))
		began := time.Now()
		var group sync.WaitGroup
		for i := range 10 {
			group.Go(func() {
				// Of these no two go together.
				err := s.Create(t.Context(), strconv.Itoa(i), delivery.Fields{"to": strings.Repeat("x", 900<<10)})
				if took := time.Since(began); !errors.Is(err, context.DeadlineExceeded) || took > createTimeout {
					t.Errorf("%v after %v", err, took)
				}
			})
		}
		group.Wait()
	})
}

func TestCreateRefusesWhatFirestoreDoesNotTake(t *testing.T) {
	s, stop := stacked(t, firestored.Options{})
	defer stop()
	meter := s.Meter()
	for name, c := range map[string]struct {
		id string
		f  delivery.Fields
	}{
		"reserved ID": {"__a__", delivery.Fields{}},
		"slash in ID": {"a/b/c", delivery.Fields{}},
		"odd value":   {"a", delivery.Fields{"to": struct{}{}}},
		"too large":   {"a", delivery.Fields{"to": strings.Repeat("x", 1<<20)}},
	} {
		if err := s.Create(t.Context(), c.id, c.f); !errors.Is(err, delivery.ErrRefused) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if err := s.Create(t.Context(), "a", delivery.Fields{"to": "a"}); err != nil {
		t.Error(err)
	}
	if got := meter.Usage(); got != (Usage{Writes: 2, Requests: 2}) {
		t.Errorf("the meter counts %+v", got)
	}
}
