package main

import (
	"math/rand/v2"
	"strings"
	"testing"
	"time"
)

// A short run, with real workers. The clocks are right: a wrong one is compiled
// into the standard library, which takes a minute; `make crash` does so.
func TestWorkersThatDieLoseAndDoubleNothing(t *testing.T) {
	p := plan{
		docs: 300, workers: 2, spell: 7 * time.Second, patience: time.Minute, seed: 4,
		frozen: [2]time.Duration{11 * time.Second, 12 * time.Second},
		faults: map[fault]int{faultKill: 3, faultTerm: 1, faultFreeze: 1, faultCut: 20, faultRestart: 1, faultReset: 1, faultLate: 1},
		mail:   habits{deferred: 0.06, silent: 0.003, slow: 0.08, slowest: time.Second},
	}
	var said strings.Builder
	p.verbose = true
	r, err := run(t.Context(), p, &said)
	if err != nil {
		t.Fatal(err)
	}
	if !r.asWanted() || r.tally.once < p.docs/2 || r.facts.counts[string(faultKill)] < p.faults[faultKill] {
		t.Errorf("%v\n%s", r, said.String())
	}
}

func TestScheduleFollowsTheSeed(t *testing.T) {
	p, err := planFor("")
	if err != nil {
		t.Fatal(err)
	}
	random := func() []event { return p.schedule(rand.New(rand.NewPCG(7, 0))) }
	a, b := random(), random()
	n := 0
	for i, e := range a {
		if e != b[i] || e.at < 0 || e.at > p.spell || i > 0 && e.at < a[i-1].at {
			t.Errorf("event %d: %v and %v", i, e, b[i])
		}
		if e.fault == faultKill {
			n++
		}
	}
	if n < 20 {
		t.Errorf("%d kills", n)
	}
}

func TestUsage(t *testing.T) {
	for name, c := range map[string]struct {
		args []string
		code int
	}{
		"help":           {[]string{"-h"}, exitDone},
		"no such flag":   {[]string{"-nonsense"}, exitUsage},
		"no flag":        {[]string{"nonsense"}, exitUsage},
		"no such change": {[]string{"-mutate", "nonsense"}, exitUsage},
	} {
		var out strings.Builder
		if got := (program{out: &out, err: &out}).main(t.Context(), c.args); got != c.code || out.Len() == 0 {
			t.Errorf("%s: exit code %d, %s", name, got, out.String())
		}
	}
}
