package main

import (
	"fmt"
	"io"
	"math"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"time"
)

// table prints lines as they come, so that a run that is stopped has said what
// it knew.
type table struct {
	out     io.Writer
	missed  []string // names of lines that are not what they should be
	skipped []string // what could not be measured, and why
}

// line is one figure, and what it is measured by.
type line struct {
	name   string
	unit   string  // of ours and of theirs
	ours   float64 //
	theirs float64 // of the rival, or the bare limit; 0 for none
	target target
}

// target is what a line should be. The zero value is none.
type target struct {
	least float64 // of ours to theirs; 0 for none
	most  float64 // of ours; 0 for none
	above float64 // of ours to theirs, at most; 0 for none
}

// met reports whether the line is what it should be.
func (l line) met() bool {
	t := l.target
	return (t.least == 0 || l.ratio() >= t.least) && (t.above == 0 || l.ratio() <= t.above) && (t.most == 0 || l.ours <= t.most)
}

// ratio is ours to theirs; 0 if there is no theirs.
func (l line) ratio() float64 {
	if l.theirs == 0 {
		return 0
	}
	return l.ours / l.theirs
}

const columns = "%-74s %15s %15s %8s %10s  %s\n"

func (t *table) head(seed uint64) {
	fmt.Fprintf(t.out, "%s/%s, %d CPUs, %s, seed %d\n", runtime.GOOS, runtime.GOARCH, runtime.NumCPU(), runtime.Version(), seed)
}

// part begins a section.
func (t *table) part(title, against string) {
	fmt.Fprintln(t.out)
	fmt.Fprintf(t.out, columns, title, "ours", against, "ratio", "target", "")
	fmt.Fprintln(t.out, strings.Repeat("─", 132))
}

// add prints a line.
func (t *table) add(l line) {
	ratio, theirs, goal, verdict := "", "", "", ""
	if l.theirs != 0 {
		theirs, ratio = figure(l.theirs)+" "+l.unit, strconv.FormatFloat(l.ratio(), 'f', 2, 64)
	}
	switch {
	case l.target.least > 0:
		goal = "≥ " + figure(l.target.least)
	case l.target.most > 0:
		goal = "≤ " + figure(l.target.most)
	case l.target.above > 0:
		goal = "≤ × " + figure(l.target.above)
	}
	switch {
	case goal == "":
	case l.met():
		verdict = "ok"
	default:
		verdict = "MISSED"
		t.missed = append(t.missed, l.name)
	}
	fmt.Fprintf(t.out, columns, l.name, figure(l.ours)+" "+l.unit, theirs, ratio, goal, verdict)
}

// skip prints that something could not be measured.
func (t *table) skip(what string, why error) {
	t.skipped = append(t.skipped, what)
	fmt.Fprintf(t.out, "%s: NOT MEASURED: %v\n", what, why)
}

// foot prints what came of it all.
func (t *table) foot(took time.Duration) {
	fmt.Fprintf(t.out, "\n%d targets missed, %d parts not measured, %d seconds\n", len(t.missed), len(t.skipped), int(took.Seconds()))
}

// figure prints a number to some three digits.
func figure(v float64) string {
	switch digits := 3 - int(math.Ceil(math.Log10(math.Abs(v)))); {
	case v == 0:
		return "0"
	case digits > 3:
		return strconv.FormatFloat(v, 'f', 3, 64)
	case v == math.Trunc(v):
		return strconv.FormatFloat(v, 'f', 0, 64)
	default:
		return strconv.FormatFloat(v, 'f', max(0, digits), 64)
	}
}

// quantile returns the value that a part of all values are not above; 0 if there
// are none.
func quantile(values []float64, part float64) float64 {
	if len(values) == 0 {
		return 0
	}
	sorted := slices.Sorted(slices.Values(values))
	return sorted[int(math.Round(part*float64(len(sorted)-1)))]
}

// median returns the value in the middle: of an even number of values the mean
// of both.
func median(values []float64) float64 {
	n := len(values)
	if n == 0 {
		return 0
	}
	sorted := slices.Sorted(slices.Values(values))
	return (sorted[(n-1)/2] + sorted[n/2]) / 2
}
