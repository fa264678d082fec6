package queue

import (
	"testing"
	"time"

	"postrider/delivery/firestored"

	"google.golang.org/grpc/codes"
)

func TestCheckpointIsSavedWhenItIsWorthAWrite(t *testing.T) {
	now := time.Date(2027, 3, 31, 12, 0, 0, 0, time.UTC)
	cases := map[string]struct {
		before checkpoint
		place  place
		found  int
		last   bool
		want   bool
	}{
		"the first":                       {checkpoint{}, at(1), 0, false, true},
		"no place yet":                    {checkpoint{}, place{at: now}, 1000, true, false},
		"the same place":                  {checkpoint{place: at(1)}, at(1), 1000, true, false},
		"too few, too soon":               {checkpoint{place: at(1), found: 5, at: now.Add(1 - idleCheckpoint)}, at(2), 104, false, false},
		"a hundred":                       {checkpoint{place: at(1), found: 5, at: now}, at(2), 105, false, true},
		"ten minutes":                     {checkpoint{place: at(1), at: now.Add(-idleCheckpoint)}, at(2), 0, false, true},
		"the last, after one":             {checkpoint{place: at(1), found: 5, at: now}, at(2), 6, true, true},
		"the last, nothing to tell of it": {checkpoint{place: at(1), found: 5, at: now}, at(2), 5, true, false},
	}
	for name, c := range cases {
		if got := c.before.due(c.place, c.found, c.last, now); got != c.want {
			t.Errorf("%s: %v, want %v", name, got, c.want)
		}
	}
}

// What is saved is what the next instance begins at, and neither checkpoint nor
// audit wipes the other out.
func TestCheckpointAndAuditAreKeptSideBySide(t *testing.T) {
	s, stop := stacked(t, firestored.Options{})
	defer stop()
	if p, now, err := s.saved(t.Context()); err != nil || !p.isZero() || now.IsZero() {
		t.Fatalf("%v, %v, %v", p, now, err)
	}
	if last, err := s.LastAudit(t.Context()); err != nil || !last.IsZero() {
		t.Fatalf("%v, %v", last, err)
	}
	began := time.Date(2027, 3, 31, 11, 0, 0, 0, time.UTC)
	first := place{token: []byte("t1"), at: began.Add(time.Minute)}
	second := place{token: []byte("t2"), at: began.Add(time.Hour)}
	s.marks.reached(first)
	steps := []func() error{
		func() error { return s.Checkpoint(t.Context(), false) },
		func() error { return s.NoteAudit(t.Context(), began) },
		func() error {
			settled := s.marks.pass()
			settled()
			s.marks.reached(second)
			return s.Checkpoint(t.Context(), true)
		},
	}
	for i, step := range steps {
		if err := step(); err != nil {
			t.Fatalf("step %d: %v", i, err)
		}
	}
	p, _, err := s.saved(t.Context())
	if err != nil || string(p.token) != "t2" || !p.at.Equal(second.at) {
		t.Errorf("the place is %v, %v", p, err)
	}
	if last, err := s.LastAudit(t.Context()); err != nil || !last.Equal(began) {
		t.Errorf("the last audit is %v, %v", last, err)
	}
	if n := s.server.Usage().Writes; n != 3 {
		t.Errorf("%d writes", n)
	}
}

// A checkpoint that could not be saved is not taken for one.
func TestFailedCheckpointIsSavedLater(t *testing.T) {
	s, stop := stacked(t, firestored.Options{})
	defer stop()
	s.marks.reached(at(1))
	s.server.SetFaults(refusing("BatchWrite"))
	if err := s.Checkpoint(t.Context(), false); err == nil {
		t.Fatal("no error")
	}
	s.server.SetFaults(firestored.Faults{})
	if err := s.Checkpoint(t.Context(), false); err != nil {
		t.Fatal(err)
	}
	if p, _, err := s.saved(t.Context()); err != nil || string(p.token) != "1" {
		t.Errorf("the place is %v, %v", p, err)
	}
}

// refusing breaks a call.
func refusing(method string) firestored.Faults {
	return firestored.Faults{Call: func(called string, _ any) firestored.CallFault {
		if called == method {
			return firestored.CallFault{Refuse: codes.Unavailable}
		}
		return firestored.CallFault{}
	}}
}
