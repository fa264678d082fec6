package deliverytest

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"postrider/delivery"
)

// due returns a mail in PENDING that is tried again after some time.
func due(s Subject, after time.Duration) delivery.Fields {
	f := in(delivery.Pending)
	f["delivery"].(delivery.Fields)["nextAttemptTime"] = s.Now().Add(after).Truncate(time.Microsecond)
	return f
}

// crowd is more documents than a sweep reads for nothing.
const crowd = 230

// A sweep need not pass on what is not due, but however many these are it passes
// on all others, time and again: those that came before and those that come after.
func sweepsMany(t *testing.T, s Subject) {
	for i := range crowd {
		s.Put(fmt.Sprint("later", i), due(s, time.Hour))
	}
	want := []string{"PROCESSING", "RETRY", "due", "due2", "PENDING"}
	puts := []func(){
		func() { s.Put("PROCESSING", in(delivery.Processing)); s.Put("due", due(s, -time.Second)) },
		func() { s.Put("RETRY", in(delivery.Retry)) },
		func() { s.Put("due2", due(s, -time.Hour)) },
		func() { s.Put("PENDING", in(delivery.Pending)); s.Put("SUCCESS", in(delivery.Success)) },
	}
	for i, put := range puts {
		put()
		found := ids(t, s, s.Sweep)
		for _, id := range want {
			if s.Get(id) != nil && !slices.Contains(found, id) {
				t.Errorf("sweep %d: %s was not found", i+1, id)
			}
		}
		if slices.Contains(found, "SUCCESS") {
			t.Errorf("sweep %d: a final document was found", i+1)
		}
	}
}

func findsClaimed(t *testing.T, s Subject) {
	putOneOfEach(s)
	if ids := ids(t, s, s.Claimed); !slices.Equal(ids, []string{"PROCESSING"}) {
		t.Errorf("found %v", ids)
	}
}

func countsAccepted(t *testing.T, s Subject) {
	since := s.Now().Truncate(time.Microsecond)
	put := func(id string, ended time.Duration, reached ...any) {
		f := in(delivery.Success)
		f["delivery"].(delivery.Fields)["reachedTime"] = since.Add(ended)
		f["delivery"].(delivery.Fields)["reached"] = reached
		s.Put(id, f)
	}
	put("before", -time.Microsecond, "ada@rcpt.test")
	put("then", 0, "ada@rcpt.test")
	put("after", time.Minute, "bob@rcpt.test", "ada@rcpt.test")
	put("other", time.Minute, "bob@rcpt.test", "ada@rcpt.test.example")
	put("nobody", time.Minute)
	s.Put("pending", in(delivery.Pending))
	for address, want := range map[string]int{"ada@rcpt.test": 2, "bob@rcpt.test": 2, "eve@rcpt.test": 0} {
		if n, err := s.Accepted(t.Context(), address, since); err != nil || n != want {
			t.Errorf("%s: %d, %v, want %d", address, n, err, want)
		}
	}
}

// The time has come at which a document was changed, and not much more.
func tellsTime(t *testing.T, s Subject) {
	snap := claim(t, s, "a")
	if now := s.Now(); now.Before(snap.UpdateTime) || now.Sub(snap.UpdateTime) > time.Minute {
		t.Errorf("it is %v, and the document was changed at %v", now, snap.UpdateTime)
	}
	if s.Now().Location() != time.UTC {
		t.Error("the time is not in UTC")
	}
}
