package access

import (
	"time"

	"golang.org/x/time/rate"
)

// Rate bounds the requests that are signed with each key. It may be used by
// several goroutines.
type Rate struct {
	limiters []*rate.Limiter // by key; nil for no limit
	within   time.Duration
}

// NewRate returns a limit of n requests within a time for each of so many keys; n
// of 0 is no limit. All n may come at once, and the next as n within the time
// allows.
func NewRate(keys, n int, within time.Duration) *Rate {
	r := &Rate{within: within}
	if n <= 0 || within <= 0 {
		return r
	}
	for range keys {
		r.limiters = append(r.limiters, rate.NewLimiter(rate.Limit(float64(n)/within.Seconds()), n))
	}
	return r
}

// Allow counts a request that is signed with the key of an index ([Caller]). If it
// is one too many it is not counted, and wait is how long to wait before the next.
func (r *Rate) Allow(key int, now time.Time) (wait time.Duration, ok bool) {
	if r.limiters == nil {
		return 0, true
	}
	if key < 0 || key >= len(r.limiters) {
		return r.within, false
	}
	l := r.limiters[key]
	if l.AllowN(now, 1) {
		return 0, true
	}
	missing := 1 - l.TokensAt(now)
	return max(1, time.Duration(missing/float64(l.Limit())*float64(time.Second))), false
}
