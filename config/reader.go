package config

import (
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Fault is one thing that is wrong with the settings. [Load] joins all of them.
type Fault struct {
	Variable string
	Problem  string // what is wrong, as in "is not set"
	Remedy   string // what to do
}

// Error returns variable, problem and remedy in a line.
func (f *Fault) Error() string {
	return f.Variable + " " + f.Problem + ": " + f.Remedy
}

// reader reads variables and gathers what is wrong with them. After a fault it
// goes on with the variable's default, so that all faults are found.
type reader struct {
	lookup func(string) (string, bool)
	rows   map[string]Variable
	faults []error

	warnings []string
}

func newReader(lookup func(string) (string, bool)) *reader {
	r := &reader{lookup: lookup, rows: map[string]Variable{}}
	for _, v := range Table() {
		r.rows[v.Name] = v
	}
	return r
}

func (r *reader) fault(name, problem, remedy string) {
	r.faults = append(r.faults, &Fault{Variable: name, Problem: problem, Remedy: remedy})
}

// warn notes what the extension takes, and lets pass without effect or with
// another than it seems to have.
func (r *reader) warn(name, problem, remedy string) {
	r.warnings = append(r.warnings, (&Fault{Variable: name, Problem: problem, Remedy: remedy}).Error())
}

// isSet reports whether the environment gives the variable a value.
func (r *reader) isSet(name string) bool {
	v, ok := r.lookup(name)
	return ok && strings.TrimSpace(v) != ""
}

// text returns the variable's value without the space around it, or its
// default.
func (r *reader) text(name string) string {
	row := r.rows[name]
	v, ok := r.lookup(name)
	if !ok {
		return row.Default
	}
	v = strings.TrimSpace(v)
	if v == "" {
		if row.ours {
			r.fault(name, "is empty", "give it a value, or unset it"+orDefault(row))
		}
		return row.Default
	}
	if !row.Secret && strings.ContainsFunc(v, func(c rune) bool { return c < ' ' || c == 0x7f }) {
		r.fault(name, "has a line break or another control character in it", "remove it")
		return row.Default
	}
	return v
}

func orDefault(row Variable) string {
	if row.Default == "" {
		return ""
	}
	return " for " + row.Default
}

// secret returns a secret as it is. A line break at its end comes from the way
// it was stored and is never part of it.
func (r *reader) secret(name string) string {
	v, _ := r.lookup(name)
	if strings.ContainsAny(v, "\r\n\x00") {
		r.fault(name, "has a line break or NUL in it", "store it again without one, as with printf %s instead of echo")
		return ""
	}
	return v
}

// required returns a value that must be there.
func (r *reader) required(name, example string) string {
	v := r.text(name)
	if r.rows[name].Secret {
		v = r.secret(name)
	}
	if v == "" && !r.isSet(name) {
		problem := "is not set"
		if _, ok := r.lookup(name); ok {
			problem = "is empty"
		}
		r.fault(name, problem, "set it, as "+example)
	}
	return v
}

func (r *reader) choice(name string, choices ...string) string {
	v := r.text(name)
	if slices.Contains(choices, v) {
		return v
	}
	r.fault(name, "is "+quote(v), "use one of "+strings.Join(choices, ", "))
	return r.rows[name].Default
}

func (r *reader) boolean(name string) bool {
	return r.choice(name, "true", "false") == "true"
}

// number returns a whole number from low to high. Without value and default it
// is 0.
func (r *reader) number(name string, low, high int64) int64 {
	v := r.text(name)
	if v == "" {
		return 0
	}
	if n, err := strconv.ParseInt(v, 10, 64); err == nil && low <= n && n <= high {
		return n
	}
	within := fmt.Sprintf("from %d to %d", low, high)
	if high == math.MaxInt64 {
		within = fmt.Sprintf("of at least %d", low)
	}
	r.fault(name, "is "+quote(v), "write a whole number "+within)
	n, _ := strconv.ParseInt(r.rows[name].Default, 10, 64)
	return n
}

// duration returns a time from low to high. Without value and default it is 0.
func (r *reader) duration(name string, low, high time.Duration) time.Duration {
	v := r.text(name)
	if v == "" {
		return 0
	}
	if d, err := time.ParseDuration(v); err == nil && low <= d && d <= high {
		return d
	}
	r.fault(name, "is "+quote(v), fmt.Sprintf("write a time from %s to %s with its unit, as 500ms, 45s or 2m", short(low), short(high)))
	d, _ := time.ParseDuration(r.rows[name].Default)
	return d
}

// short writes a duration without the zeros of time.Duration.String: 10m, 1h.
func short(d time.Duration) string {
	s := d.String()
	if strings.HasSuffix(s, "m0s") {
		s = strings.TrimSuffix(s, "0s")
	}
	if strings.HasSuffix(s, "h0m") {
		s = strings.TrimSuffix(s, "0m")
	}
	return s
}

// quote shows a value that was not understood, cut if it is long.
func quote(v string) string {
	const most = 60
	if r := []rune(v); len(r) > most {
		v = string(r[:most]) + "…"
	}
	return strconv.Quote(v)
}

// list returns the parts of a list separated by commas.
func (r *reader) list(name string) []string {
	var out []string
	for part := range strings.SplitSeq(r.text(name), ",") {
		if part = strings.TrimSpace(part); part != "" {
			out = append(out, part)
		}
	}
	return out
}
