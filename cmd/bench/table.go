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
	missed  []string // full names of lines that are not what they should be
	skipped []string // what could not be measured

	title string // of the section
	above string // the name of the last line that is not indented
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
	most       float64 // that ours may be; 0 for none
	leastRatio float64 // of ours to theirs; 0 for none
	mostRatio  float64 // likewise; 0 for none
}

// met reports whether the line is what it should be.
func (l line) met() bool {
	t := l.target
	return (t.most == 0 || l.ours <= t.most) && (t.leastRatio == 0 || l.ratio() >= t.leastRatio) && (t.mostRatio == 0 || l.ratio() <= t.mostRatio)
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
	t.title = title
	fmt.Fprintln(t.out)
	fmt.Fprintf(t.out, columns, title, "ours", against, "ratio", "target", "")
	fmt.Fprintln(t.out, strings.Repeat("─", 132))
}

// add prints a line. One whose name is indented belongs to the one above it.
func (t *table) add(l line) {
	full := t.title + ": " + l.name
	if part := strings.TrimLeft(l.name, " "); part == l.name {
		t.above = l.name
	} else {
		full = t.title + ": " + t.above + ": " + part
	}
	ratio, theirs, goal, verdict := "", "", "", ""
	if l.theirs != 0 {
		theirs, ratio = figure(l.theirs)+" "+l.unit, strconv.FormatFloat(l.ratio(), 'f', 2, 64)
	}
	switch {
	case l.target.leastRatio > 0:
		goal = "≥ " + figure(l.target.leastRatio)
	case l.target.most > 0:
		goal = "≤ " + figure(l.target.most)
	case l.target.mostRatio > 0:
		goal = "≤ × " + figure(l.target.mostRatio)
	}
	switch {
	case goal == "":
	case l.met():
		verdict = "ok"
	default:
		verdict = "MISSED"
		t.missed = append(t.missed, full)
	}
	fmt.Fprintf(t.out, columns, l.name, figure(l.ours)+" "+l.unit, theirs, ratio, goal, verdict)
}

// skip prints that something could not be measured.
func (t *table) skip(what string, why error) {
	t.skipped = append(t.skipped, what)
	fmt.Fprintf(t.out, "%s: NOT MEASURED: %v\n", what, why)
}

// foot prints what came of it all, by name.
func (t *table) foot(took time.Duration) {
	fmt.Fprintf(t.out, "\n%d targets missed, %d parts not measured, %d seconds\n", len(t.missed), len(t.skipped), int(took.Seconds()))
	for _, name := range t.missed {
		fmt.Fprintf(t.out, "missed: %s\n", name)
	}
	for _, name := range t.skipped {
		fmt.Fprintf(t.out, "not measured: %s\n", name)
	}
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
