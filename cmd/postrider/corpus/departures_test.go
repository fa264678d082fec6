package corpus

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"regexp"
)

// departure is an entry of departures.json: what the worker does on purpose
// where the extension did something else.
type departure struct {
	Class string `json:"class"`
	Why   string `json:"why"`

	// Expect replaces keys of the case's expectation.
	Expect object `json:"expect"`

	// StartRefused is a pattern for the log of a worker that must refuse to
	// start: it names the setting at fault.
	StartRefused string `json:"startRefused"`

	// These are for what cannot be said by Expect.
	State *string `json:"state"` // delivery.state
	Error string  `json:"error"` // pattern for delivery.error
	Mails *int    `json:"mails"` // how many were received in full
}

// classes are the departures the corpus allows.
const classes = " deferred no-local-file guarded-fetch clear-error never-silent fail-at-start honoured isolated injection fenced calendar "

// loadDepartures reads the list, refusing keys it does not know.
func loadDepartures(path string) (map[string]departure, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("read the departures: %w", err)
	}
	d := json.NewDecoder(bytes.NewReader(text))
	d.DisallowUnknownFields()
	var all map[string]departure
	if err := d.Decode(&all); err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return all, nil
}

// verdict is how one case came out.
type verdict struct {
	matches, departs bool         // as the extension did; as the departure says
	differences      []difference // from the extension, or from the departure where there is one
}

// expectsEnd reports whether every document of the case is expected to end, by
// the case or by the departure listed for it.
func expectsEnd(c *testCase, listed map[string]departure) bool {
	dep := listed[c.ID]
	want := maps.Clone(c.Expect)
	maps.Copy(want, dep.Expect)
	if dep.State != nil {
		want["delivery"] = object{"state": *dep.State}
	}
	deliveries := list{want["delivery"]}
	for _, d := range asObject(want["deliveries"]) {
		deliveries = append(deliveries, d)
	}
	for _, d := range deliveries {
		if state := asString(asObject(d)["state"]); state != "SUCCESS" && state != "ERROR" {
			return false
		}
	}
	return true
}

// judge compares what was seen with the case, and where it does not match with
// the departure listed for it, if one is.
func judge(c *testCase, seen object, listed map[string]departure) verdict {
	dep, isListed := listed[c.ID]
	log, refused := seen["refusedToStart"].(string)
	var differences []difference
	if refused {
		differences = []difference{{at: "start", got: log}}
	} else {
		differences = compare(c.Expect, seen, c)
	}
	if len(differences) == 0 {
		return verdict{matches: true}
	}
	if isListed {
		differences = dep.check(c, seen, log, refused)
	}
	return verdict{departs: isListed && len(differences) == 0, differences: differences}
}

// check returns where what was seen is not what the departure says.
func (d departure) check(c *testCase, seen object, log string, refused bool) []difference {
	if refused != (d.StartRefused != "") {
		return []difference{{at: "start refused", want: d.StartRefused, got: log}}
	}
	if refused {
		return match(d.StartRefused, "start", log)
	}
	if d.Expect != nil {
		want := maps.Clone(c.Expect)
		maps.Copy(want, d.Expect)
		return compare(want, seen, c)
	}
	var out []difference
	delivery := asObject(seen["delivery"])
	if state := asString(delivery["state"]); d.State != nil && state != *d.State {
		out = append(out, difference{at: "state", want: *d.State, got: state})
	}
	out = append(out, match(d.Error, "error", asString(delivery["error"]))...)
	mails := 0
	for _, t := range asList(seen["transactions"]) {
		if asObject(t)["root"] != nil {
			mails++
		}
	}
	if d.Mails != nil && mails != *d.Mails {
		out = append(out, difference{at: "mails", want: *d.Mails, got: mails})
	}
	if died, there := seen["died"]; there {
		out = append(out, difference{at: "worker", got: died})
	}
	return out
}

func match(pattern, at, got string) []difference {
	p, err := regexp.Compile(pattern)
	if err != nil {
		return []difference{{at: at, want: pattern, got: err.Error()}}
	}
	if !p.MatchString(got) {
		return []difference{{at: at, want: pattern, got: got}}
	}
	return nil
}
