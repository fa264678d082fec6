package queue

import (
	"context"
	"math/rand/v2"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	"postrider/delivery"
	"postrider/delivery/firestored"
)

// noon is the server's time when nothing has passed here.
var noon = time.Date(2027, 3, 31, 12, 0, 0, 0, time.UTC)

// answer is a sample that the clock got when so much had passed, from a server
// that was so much before its time.
func answer(local, delay time.Duration) sample {
	return sample{server: noon.Add(local - delay), local: local}
}

func TestClockBelievesTheFastestAnswer(t *testing.T) {
	const ms = time.Millisecond
	cases := map[string]struct {
		answers []sample
		at      time.Duration
		late    time.Duration // the clock is
	}{
		"one answer":                {[]sample{answer(0, 40*ms)}, 10 * time.Second, 40 * ms},
		"a faster one":              {[]sample{answer(0, 40*ms), answer(time.Second, 5*ms)}, 2 * time.Second, 5 * ms},
		"a slower one":              {[]sample{answer(0, 5*ms), answer(time.Second, 40*ms)}, 2 * time.Second, 5 * ms},
		"a spike":                   {[]sample{answer(0, 5*ms), answer(window, 20*time.Second)}, window, 5 * ms},
		"an answer of the past":     {[]sample{answer(0, 5*ms), answer(window, time.Hour), answer(window+1, 6*ms)}, window + 1, 5 * ms},
		"the past, then silence":    {[]sample{answer(0, 5*ms), answer(10*window, time.Hour)}, 20 * window, 5 * ms},
		"the window after the next": {[]sample{answer(0, 5*ms), answer(window, 40*ms), answer(2*window, 50*ms)}, 2 * window, 40 * ms},
		"long silence":              {[]sample{answer(0, 5*ms)}, 1000 * window, 5 * ms},
		"out of order":              {[]sample{answer(time.Second, 5*ms), answer(0, 4*ms)}, 2 * time.Second, 4 * ms},
	}
	for name, c := range cases {
		clock := newClock()
		if _, told := clock.at(0); told {
			t.Fatal("the clock tells what nobody told it")
		}
		for _, s := range c.answers {
			clock.observe(s)
		}
		now, told := clock.at(c.at)
		if late := noon.Add(c.at).Sub(now); !told || late != c.late {
			t.Errorf("%s: late by %v, %v, want %v", name, late, told, c.late)
		}
	}
}

// A machine whose clock is slewed, or stood still, is wrong by no more than what
// came about since two windows.
func TestClockForgetsDrift(t *testing.T) {
	for name, rate := range map[string]float64{"fast": 13. / 12, "slow": 11. / 12, "right": 1} {
		r := rand.New(rand.NewPCG(1, 2))
		clock := newClock()
		var worst, passed time.Duration
		for passed < 24*time.Hour {
			passed += time.Duration(r.Int64N(int64(time.Minute)))
			delay := time.Duration(r.Int64N(int64(100 * time.Millisecond)))
			local := time.Duration(float64(passed) * rate)
			clock.observe(sample{server: noon.Add(passed - delay), local: local})
			now, _ := clock.at(local)
			worst = max(worst, now.Sub(noon.Add(passed)).Abs())
		}
		limit := 100 * time.Millisecond
		if name == "fast" {
			limit += 4 * window / 12 // two windows, each late by the time to an answer
		}
		if worst > limit {
			t.Errorf("%s: wrong by %v", name, worst)
		}
	}
	clock := newClock()
	clock.observe(answer(0, 0))
	clock.observe(sample{server: noon.Add(8 * time.Hour), local: time.Second}) // the machine slept
	if now, _ := clock.at(2 * time.Second); !now.Equal(noon.Add(8*time.Hour + time.Second)) {
		t.Errorf("after sleep it is %v", now)
	}
}

// The machine's clock may be set: what has passed is reckoned by the monotonic one.
func TestClockIsMonotonic(t *testing.T) {
	if start := newClock().start; !strings.Contains(start.String(), "m=") {
		t.Errorf("%v has no monotonic reading", start)
	}
}

func TestClockIsThisMachinesUntilFirestoreAnswers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q := &Queue{clock: newClock()}
		time.Sleep(time.Hour)
		if now := q.Now(); !now.Equal(time.Now()) || now.Location() != time.UTC {
			t.Errorf("it is %v", now)
		}
		q.clock.heard(nil)
		if now := q.Now(); !now.Equal(time.Now()) {
			t.Errorf("after an answer without a time it is %v", now)
		}
		q.clock.heard(timestamppb.New(noon))
		time.Sleep(time.Hour)
		if now := q.Now(); !now.Equal(noon.Add(time.Hour)) || now.Location() != time.UTC {
			t.Errorf("after an answer it is %v", now)
		}
	})
}

func TestClockCostsNoMemory(t *testing.T) {
	q := &Queue{clock: newClock()}
	at := timestamppb.New(noon)
	if n := testing.AllocsPerRun(100, func() { q.clock.heard(at); q.Now() }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

// Every kind of answer tells the time.
func TestEveryAnswerTellsTheTime(t *testing.T) {
	none := func(context.Context, delivery.Snapshot) error { return nil }
	calls := map[string]func(context.Context, *Queue) error{
		"write": func(ctx context.Context, q *Queue) error { return q.NoteAudit(ctx, noon) },
		"state": func(ctx context.Context, q *Queue) error { _, err := q.LastAudit(ctx); return err },
		"query": func(ctx context.Context, q *Queue) error { return q.Sweep(ctx, none) },
		"count": func(ctx context.Context, q *Queue) error { _, err := q.Accepted(ctx, "a", noon); return err },
		"users": func(ctx context.Context, q *Queue) error { _, err := q.Emails(ctx, []string{"u"}); return err },
		"listen": func(ctx context.Context, q *Queue) error {
			_ = q.Follow(ctx, "nobody", func(delivery.Snapshot) bool { return false })
			ctx, cancel := context.WithCancel(ctx)
			defer cancel()
			_ = q.WatchTemplates(ctx, func(map[string]delivery.Fields) { cancel() })
			return nil
		},
	}
	for name, call := range calls {
		t.Run(name, func(t *testing.T) {
			s, stop := stacked(t, firestored.Options{})
			defer stop()
			if err := call(t.Context(), s.Queue); err != nil {
				t.Fatal(err)
			}
			if now, told := s.clock.at(time.Since(s.clock.start)); !told || time.Since(now).Abs() > time.Minute {
				t.Errorf("it is %v, %v", now, told)
			}
		})
	}
}
