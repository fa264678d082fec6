package main

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"time"
)

// fault is something that the harness does to the workers and what they talk to.
type fault string

const (
	faultKill     fault = "kill"     // SIGKILL for one worker
	faultBlackout fault = "blackout" // SIGKILL for all of them, right after a checkpoint was saved
	faultTerm     fault = "term"     // SIGTERM for one
	faultFreeze   fault = "freeze"   // SIGSTOP for longer than a lease, then SIGCONT
	faultCut      fault = "cut"      // an SMTP connection is cut, reset or silenced after some bytes
	faultRestart  fault = "restart"  // Firestore is gone for a while, all connections with it
	faultReset    fault = "reset"    // Firestore's connections are reset
	faultLate     fault = "late"     // a worker dies with an outcome on its way, which Firestore takes only after the lease has lapsed
)

// The workers' settings that the verdict reckons with.
const (
	lease          = 10 * time.Second
	margin         = 3 * time.Second
	attemptTimeout = 15 * time.Second
	drainTimeout   = 2 * time.Second
	slots          = 8 // CONCURRENCY and SMTP_MAX_CONNECTIONS: attempts at once
)

// plan is what one run does.
type plan struct {
	mutation string // "" for the program as it is
	docs     int
	workers  int
	spell    time.Duration // for which documents are added and faults happen
	patience time.Duration // without progress, once all is well, until documents count as stuck
	faults   map[fault]int
	frozen   [2]time.Duration // shortest and longest freeze
	mail     habits
	skew     time.Duration // of a worker's clock, at most
	seed     uint64
	verbose  bool
}

// planFor returns the plan for a mutation, "" for none.
func planFor(mutation string) (plan, error) {
	p := plan{mutation: mutation, workers: 3, skew: 30 * time.Second, frozen: [2]time.Duration{12 * time.Second, 20 * time.Second}}
	switch mutation {
	case "":
		p.docs, p.spell, p.patience, p.mail = 5000, 90*time.Second, 3*time.Minute, usualHabits()
		p.faults = map[fault]int{
			faultKill: 20, faultBlackout: 3, faultTerm: 6, faultFreeze: 6, faultCut: 80, faultRestart: 6, faultReset: 6, faultLate: 4,
		}
	case "fence": // late writes meet the records of those who came after
		p.docs, p.spell, p.patience, p.mail = 600, 30*time.Second, 30*time.Second, habits{slow: 0.2, slowest: 2 * time.Second}
		p.faults = map[fault]int{faultLate: 8, faultFreeze: 2}
	case "low-water": // all die while many documents wait
		p.docs, p.spell, p.patience, p.mail = 2000, 24*time.Second, 20*time.Second, habits{slow: 1, slowest: 600 * time.Millisecond}
		p.faults = map[fault]int{faultBlackout: 3, faultKill: 3}
	case "margin": // replies come after the lease that was claimed
		p.docs, p.spell, p.patience, p.mail = 300, 20*time.Second, 30*time.Second, habits{long: 0.15}
		p.faults = map[fault]int{faultKill: 2}
	default:
		return plan{}, fmt.Errorf("there is no mutation %q", mutation)
	}
	return p, nil
}

// event is one fault and when it happens, reckoned from the start.
type event struct {
	at    time.Duration
	fault fault
}

// schedule spreads the plan's faults over its spell, in the order of time.
func (p plan) schedule(random *rand.Rand) []event {
	const first = 2 * time.Second // until then workers are coming up
	var all []event
	for _, f := range []fault{faultKill, faultBlackout, faultTerm, faultFreeze, faultCut, faultRestart, faultReset, faultLate} {
		for range p.faults[f] {
			all = append(all, event{first + time.Duration(random.Int64N(int64(p.spell-first))), f})
		}
	}
	slices.SortStableFunc(all, func(a, b event) int { return int(a.at - b.at) })
	return all
}

// between returns a random duration from a to b.
func between(random *rand.Rand, a, b time.Duration) time.Duration {
	if b <= a {
		return a
	}
	return a + time.Duration(random.Int64N(int64(b-a)))
}
