package main

import (
	"hash/fnv"
	"math/rand/v2"
	"time"
)

// habits say how often the mail server makes trouble of itself: fractions of the
// transactions.
type habits struct {
	deferred float64 // a 4xx at RCPT, at DATA or at the final dot
	silent   float64 // the final dot is never answered
	slow     float64 // the final reply takes up to slowest
	slowest  time.Duration
	long     float64 // the final reply takes longer than a lease
}

func usualHabits() habits {
	return habits{deferred: 0.06, silent: 0.003, slow: 0.08, slowest: 4 * time.Second, long: 0.006}
}

// Bounds of long replies: above a lease, within an attempt's time.
const (
	longMin = lease + 500*time.Millisecond
	longMax = attemptTimeout - 2500*time.Millisecond
)

// maxDeferrals is how many transactions of one mail may be put off.
const maxDeferrals = 4

// mood is how the server takes one transaction. The zero mood accepts at once.
type mood struct {
	rcpt, data, dot bool // put off there; rcpt: its first recipient
	silent          bool // the final dot is never answered …
	taken           bool // … though the mail was accepted
	delay           time.Duration
}

// moodFor returns the mood for the nth transaction of a document's mail, from 1.
func (h habits) moodFor(seed uint64, doc string, nth int) mood {
	sum := fnv.New64a()
	_, _ = sum.Write([]byte(doc))
	random := rand.New(rand.NewPCG(seed^sum.Sum64(), uint64(nth)))
	m := mood{delay: between(random, 0, 30*time.Millisecond)}
	if random.Float64() < h.deferred && nth <= maxDeferrals {
		switch random.IntN(3) {
		case 0:
			m.rcpt = true
		case 1:
			m.data = true
		case 2:
			m.dot = true
		}
	}
	switch x := random.Float64(); {
	case x < h.silent:
		m.silent, m.taken = true, random.IntN(2) == 0
	case x < h.silent+h.long:
		m.delay = between(random, longMin, longMax)
	case x < h.silent+h.long+h.slow:
		m.delay = between(random, h.slowest/4, h.slowest)
	}
	return m
}
