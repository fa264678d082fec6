package main

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

// result is what a run has come to.
type result struct {
	plan     plan
	facts    facts
	tally    tally
	findings []finding
	logs     string // the folder that has the workers' logs, if something is wrong
}

// asWanted reports whether nothing is wrong, or with a mutation, whether that was
// noticed, and by what it was to be noticed by.
func (r result) asWanted() bool {
	if r.plan.mutation == "" {
		return len(r.findings) == 0
	}
	return len(r.noticed()) > 0
}

// noticed returns the findings that give the mutation away.
func (r result) noticed() []finding {
	wanted := mutationNamed(r.plan.mutation).noticed
	var all []finding
	for _, f := range r.findings {
		if slices.Contains(wanted, f.kind) {
			all = append(all, f)
		}
	}
	return all
}

// shown is how many findings are printed.
const shown = 20

// String returns the table, and what was found.
func (r result) String() string {
	var b strings.Builder
	row := func(what string, n any, more string) { fmt.Fprintf(&b, "  %-42s %8v  %s\n", what, n, more) }
	t, c := r.tally, r.facts.counts
	fmt.Fprintf(&b, "seed %d, %d workers, clocks wrong by up to %v\n", r.plan.seed, r.plan.workers, r.plan.skew)
	row("documents", r.facts.docs, "")
	row("accepted once, SUCCESS", t.once, "")
	row("of unknown fate, recorded as such", t.unknownAccepted+t.unknownNot, fmt.Sprintf("%d accepted, %d not", t.unknownAccepted, t.unknownNot))
	row("lapsed, recorded as such", t.lapsedAccepted+t.lapsedNot, fmt.Sprintf("%d accepted, %d not; by kill %d (at most %d × %d slots), freeze %d, Firestore %d, late write %d",
		t.lapsedAccepted, t.lapsedNot, t.lapsed[faultKill], c[string(faultKill)], slots, t.lapsed[faultFreeze],
		t.lapsed[faultRestart]+t.lapsed[faultReset], t.lapsed[faultLate]))
	row("slowest record of a lapse", t.slowest.Round(time.Millisecond), fmt.Sprintf("at most %v after the lease's end", maxLapse))
	row("duplicates", t.doubled, "must be 0")
	row("stuck", t.stuck, "must be 0")
	row("lost or wrongly recorded", t.lost, "must be 0")
	row("written over", t.overwritten, "must be 0")
	row("kills", c[string(faultKill)], fmt.Sprintf("%d in blackouts of all workers: %d, %d right after a checkpoint; %d with an outcome on its way",
		max(0, c[string(faultKill)]-c[string(faultLate)]-r.plan.faults[faultKill]), c[string(faultBlackout)], c[countCheckpoints], c[string(faultLate)]))
	row("terminations", c[string(faultTerm)], "")
	row("freezes", c[string(faultFreeze)], "")
	row(countCuts, c[countCuts], "")
	row(countSilences, c[countSilences], "")
	row("Firestore restarts", c[string(faultRestart)], fmt.Sprintf("and %d resets of its connections", c[string(faultReset)]))
	row("seconds", int(r.facts.took.Seconds()), "")
	r.conclusion(&b)
	return b.String()
}

// conclusion says what was found.
func (r result) conclusion(b *strings.Builder) {
	list, m := r.findings, mutationNamed(r.plan.mutation)
	switch {
	case r.plan.mutation == "" && len(list) == 0:
		b.WriteString("everything is as promised\n")
		return
	case r.plan.mutation == "":
		fmt.Fprintf(b, "NOT as promised: %d findings; the workers' logs are in %s\n", len(list), r.logs)
	case r.asWanted():
		list = r.noticed()
		fmt.Fprintf(b, "mutation %s (%s) was noticed: %d findings\n", m.name, m.means, len(list))
	default:
		fmt.Fprintf(b, "mutation %s (%s) SURVIVED: no finding of %v among %d; the workers' logs are in %s\n", m.name, m.means, m.noticed, len(list), r.logs)
	}
	for i, f := range list {
		if i == shown {
			fmt.Fprintf(b, "  … and %d more\n", len(list)-shown)
			break
		}
		fmt.Fprintf(b, "  %v\n", f)
	}
}
