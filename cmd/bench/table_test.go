package main

import (
	"strings"
	"testing"
	"time"
)

func TestVerdicts(t *testing.T) {
	for name, c := range map[string]struct {
		line line
		met  bool
		said []string
	}{
		"no target":          {line{name: "a", unit: "ms", ours: 5, theirs: 2}, true, []string{"5 ms", "2 ms", "2.50"}},
		"ratio as wanted":    {line{name: "a", unit: "mails/s", ours: 80, theirs: 100, target: target{leastRatio: 0.8}}, true, []string{"0.80", "≥ 0.800", "ok"}},
		"ratio too low":      {line{name: "a", unit: "mails/s", ours: 79, theirs: 100, target: target{leastRatio: 0.8}}, false, []string{"0.79", "MISSED"}},
		"no rival":           {line{name: "a", unit: "mails/s", ours: 79, target: target{leastRatio: 0.8}}, false, []string{"MISSED"}},
		"figure as wanted":   {line{name: "a", unit: "ms", ours: 0.3, target: target{most: 0.3}}, true, []string{"0.300 ms", "≤ 0.300", "ok"}},
		"figure too high":    {line{name: "a", unit: "ms", ours: 0.301, target: target{most: 0.3}}, false, []string{"MISSED"}},
		"ratio too high":     {line{name: "a", unit: "MB", ours: 116, theirs: 100, target: target{mostRatio: 1.15}}, false, []string{"≤ × 1.15", "MISSED"}},
		"ratio not too high": {line{name: "a", unit: "MB", ours: 115, theirs: 100, target: target{mostRatio: 1.15}}, true, []string{"ok"}},
	} {
		var out strings.Builder
		tab := &table{out: &out}
		tab.add(c.line)
		if got := c.line.met(); got != c.met || (len(tab.missed) == 0) != c.met {
			t.Errorf("%s: met is %v, missed %v", name, got, tab.missed)
		}
		for _, want := range c.said {
			if !strings.Contains(out.String(), want) {
				t.Errorf("%s: no %q in %q", name, want, out.String())
			}
		}
	}
}

func TestWhatIsMissedOrNotMeasuredIsNamedAtTheFoot(t *testing.T) {
	var out strings.Builder
	tab := &table{out: &out}
	tab.part("1. speed", "limit")
	tab.skip("drain", errNothing{})
	tab.add(line{name: "listen", unit: "ms", ours: 1, target: target{most: 2}})
	tab.add(line{name: "  at most", unit: "ms", ours: 3, target: target{most: 2}})
	tab.foot(90 * time.Second)
	for _, want := range []string{
		"drain: NOT MEASURED: nothing there", "1 targets missed, 1 parts not measured, 90 seconds",
		"\nmissed: 1. speed: listen: at most\n", "\nnot measured: drain\n",
	} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("no %q in %q", want, out.String())
		}
	}
}

type errNothing struct{}

func (errNothing) Error() string { return "nothing there" }

func TestFiguresHaveThreeDigits(t *testing.T) {
	for v, want := range map[float64]string{
		0: "0", 2: "2", 0.8: "0.800", 0.04567: "0.046", 1.2345: "1.23", 12.345: "12.3", 999.5: "1000", 1234.5: "1234", 20000: "20000", -3.456: "-3.46",
	} {
		if got := figure(v); got != want {
			t.Errorf("%v: %s, want %s", v, got, want)
		}
	}
}

func TestMiddles(t *testing.T) {
	values := []float64{5, 1, 4, 2, 3}
	for name, c := range map[string]struct{ got, want float64 }{
		"median of an odd number":  {median(values), 3},
		"median of an even number": {median(values[:4]), 3},
		"median of none":           {median(nil), 0},
		"lowest":                   {quantile(values, 0), 1},
		"highest":                  {quantile(values, 1), 5},
		"three quarters":           {quantile(values, 0.75), 4},
		"quantile of none":         {quantile(nil, 0.5), 0},
	} {
		if c.got != c.want {
			t.Errorf("%s: %v, want %v", name, c.got, c.want)
		}
	}
	if values[0] != 5 {
		t.Error("the values were sorted in place")
	}
}
