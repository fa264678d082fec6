package deliverytest

import (
	"context"
	"errors"
	"reflect"
	"slices"
	"testing"

	"postrider/delivery"
)

// lookout passes on what a watch sees, and settles it at once.
type lookout struct {
	seen  chan delivery.Snapshot
	ready chan error
}

func (l lookout) Found(_ context.Context, snap delivery.Snapshot, settled func()) error {
	l.seen <- snap
	settled()
	return nil
}

func (l lookout) Watching(err error) { l.ready <- err }

func (l lookout) Missed(settled func()) { settled() }

func watches(t *testing.T, s Subject) {
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	l, ended := lookout{make(chan delivery.Snapshot, 100), make(chan error, 100)}, make(chan error, 1)
	go func() { ended <- s.Watch(ctx, l) }()
	if err := <-l.ready; err != nil {
		t.Fatal(err)
	}
	s.Put("done", in(delivery.Success))
	s.Put("a", mail())
	until(t, l.seen, "a", nil)
	s.Put("b", mail())
	until(t, l.seen, "b", nil)
	s.Put("a", in(delivery.Retry))
	until(t, l.seen, "a", func(f delivery.Fields) bool { return f["delivery"] != nil })
	s.Put("b", incomplete())
	until(t, l.seen, "b", func(f delivery.Fields) bool { return f["delivery"] != nil })
	cancel()
	if err := <-ended; !errors.Is(err, context.Canceled) {
		t.Errorf("the watch ended in %v", err)
	}
}

// until receives until a document has come as it is wanted.
func until(t *testing.T, seen <-chan delivery.Snapshot, id string, want func(delivery.Fields) bool) {
	t.Helper()
	for {
		select {
		case snap := <-seen:
			if snap.ID == "done" {
				t.Error("a final document was passed on")
			}
			if snap.ID == id && (want == nil || want(snap.Fields)) {
				return
			}
		case <-t.Context().Done():
			t.Fatalf("%s was not passed on", id)
		}
	}
}

func sweeps(t *testing.T, s Subject) {
	putOneOfEach(s)
	if ids := ids(t, s, s.Sweep); !slices.Equal(ids, []string{"PENDING", "PROCESSING", "RETRY"}) {
		t.Errorf("found %v", ids)
	}
}

// An audit may pass on more than it must, and more than once, but nothing final.
func audits(t *testing.T, s Subject) {
	putOneOfEach(s)
	found := ids(t, s, audit(s))
	for _, id := range []string{"incomplete", "new", "without"} {
		if !slices.Contains(found, id) {
			t.Errorf("%s was not found", id)
		}
	}
	if slices.Contains(found, "SUCCESS") || slices.Contains(found, "ERROR") {
		t.Errorf("found %v", found)
	}
}

func reads(t *testing.T, s Subject) {
	s.Put("a", mail())
	want := found(t, audit(s))[0]
	if got, err := s.Read(t.Context(), "a"); err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("%+v, %v\nwant %+v", got, err, want)
	}
	if _, err := s.Read(t.Context(), "b"); !errors.Is(err, delivery.ErrGone) {
		t.Errorf("error %v, want ErrGone", err)
	}
}

// putOneOfEach puts one document per state.
func putOneOfEach(s Subject) {
	for _, state := range []delivery.State{delivery.Pending, delivery.Processing, delivery.Retry, delivery.Success, delivery.Error, "QUEUED"} {
		s.Put(string(state), in(state))
	}
	s.Put("new", mail())
	s.Put("incomplete", incomplete())
	s.Put("without", delivery.Fields{"to": "ada@rcpt.test", "message": mail()["message"], "delivery": nil})
}

// ids returns which documents a find passes on, each of them whole.
func ids(t *testing.T, s Subject, find func(context.Context, func(context.Context, delivery.Snapshot) error) error) []string {
	t.Helper()
	var ids []string
	for _, snap := range found(t, find) {
		ids = append(ids, snap.ID)
		if got := s.Get(snap.ID); !reflect.DeepEqual(snap.Fields, got) {
			t.Errorf("passed on %v\nstored    %v", snap.Fields, got)
		}
	}
	slices.Sort(ids)
	return ids
}
