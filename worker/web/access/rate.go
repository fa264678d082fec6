package access

import (
	"sync"
	"time"

	"golang.org/x/time/rate"
)

// maxWait is for how long at most callers are told to wait, unless a single request
// takes longer at their rate.
const maxWait = time.Minute

// Rate bounds the requests that are signed with each key. It may be used by
// several goroutines.
type Rate struct {
	limiters []*rate.Limiter // by key; nil for no limit
	interval time.Duration   // between two requests that go on for long

	mu    sync.Mutex
	turns []time.Time // by key: when the last one who was refused is to come again
}

// NewRate returns a limit of n requests within a time for each of so many keys; n
// of 0 is no limit. All n may come at once, and the next as n within the time
// allows.
func NewRate(keys, n int, within time.Duration) *Rate {
	if n <= 0 || within <= 0 {
		return &Rate{}
	}
	r := &Rate{interval: within / time.Duration(n), turns: make([]time.Time, keys)}
	for range keys {
		r.limiters = append(r.limiters, rate.NewLimiter(rate.Every(r.interval), n))
	}
	return r
}

// Allow counts a request that is signed with the key of an index ([Caller]). If it
// is one too many it is not counted, and wait is how long to wait before the next.
// Those who are refused get their turns one after the other: if they came again
// together, all but one would be refused again, and their clients give up after
// some tries.
func (r *Rate) Allow(key int, now time.Time) (wait time.Duration, ok bool) {
	if r.limiters == nil {
		return 0, true
	}
	l := r.limiters[key]
	if l.AllowN(now, 1) {
		return 0, true
	}
	missing := time.Duration((1 - l.TokensAt(now)) * float64(r.interval))
	r.mu.Lock()
	defer r.mu.Unlock()
	turn, last := now.Add(max(1, missing)), now.Add(max(maxWait, r.interval))
	if after := r.turns[key].Add(r.interval); after.After(turn) {
		turn = after
	}
	if turn.After(last) {
		return last.Sub(now), false
	}
	r.turns[key] = turn
	return turn.Sub(now), false
}
