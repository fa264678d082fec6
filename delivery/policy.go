package delivery

import (
	"fmt"
	"math"
	"strings"
	"time"
)

// Policy is what the settings say about records. The zero Policy behaves as the
// extension: nothing expires, and nothing is tried again by the program.
type Policy struct {
	TTL TTL

	MaxAttempts int           // of a mail by the program, the first one included; up to 1 means that there is no other
	MinDelay    time.Duration // between two attempts, at least
	MaxDelay    time.Duration // between two attempts, at most; not less than MinDelay
	MaxAge      time.Duration // from the end of the first attempt to the beginning of the last

	// RetryLapsed has a mail tried again whose worker died, if it provably never
	// came to DATA.
	RetryLapsed bool

	PerDocument  Rate // attempts of one document, those by hand included
	PerRecipient Rate // mails to one address
}

// Rate is how much may happen within a time. The zero Rate sets no limit.
type Rate struct {
	N   int
	Per time.Duration
}

// String returns the rate in words, as in "20 within 1h".
func (r Rate) String() string {
	per := r.Per.String()
	for _, none := range []string{"m0s", "h0m"} {
		if strings.HasSuffix(per, none) {
			per = per[:len(per)-2]
		}
	}
	return fmt.Sprintf("%d within %s", r.N, per)
}

// Limited reports whether there is a limit.
func (r Rate) Limited() bool { return r.N > 0 }

// delay returns how long to wait after the n-th attempt, n being 1 at least:
// twice as long as after the one before, give or take a quarter, within MinDelay
// and MaxDelay. Fraction is random, in [0,1); it keeps mails that failed
// together apart.
func (p Policy) delay(n int64, fraction float64) time.Duration {
	middle := float64(p.MinDelay) * math.Pow(2, float64(min(n, maxDoublings)-1))
	low := max(float64(p.MinDelay), 0.75*min(middle, float64(p.MaxDelay)))
	high := min(1.25*middle, float64(p.MaxDelay))
	return time.Duration(low + fraction*max(0, high-low))
}

// maxDoublings is beyond what any delay is doubled to: after it every one is
// MaxDelay.
const maxDoublings = 40

// next returns when a mail is due again whose series of attempts has come to s;
// false if it is not tried again.
func (p Policy) next(s Series, fraction float64, now time.Time) (time.Time, bool) {
	at := now.Add(p.delay(s.Attempts, fraction))
	if s.Attempts >= int64(p.MaxAttempts) || at.Sub(s.Since) > p.MaxAge {
		return time.Time{}, false
	}
	return at, true
}
