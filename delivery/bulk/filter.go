package bulk

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/mail"
	"slices"
	"strings"
	"time"

	"postrider/delivery"
)

// Document is a mail document, and when it was added: of what was never tried
// nothing else says how old it is.
type Document struct {
	delivery.Snapshot
	Added time.Time
}

// states lists the states that a filter may name.
func states() []string {
	return []string{
		string(delivery.Error), string(delivery.Pending), string(delivery.Processing),
		string(delivery.Retry), string(delivery.Success),
	}
}

// classes lists the classes that a filter may name.
func classes() []string {
	return []string{
		string(delivery.Transient), string(delivery.Permanent), string(delivery.Unknown),
		string(delivery.Incomplete), string(delivery.Delivered),
	}
}

// readFilter reads filter. Without a state it is about what has failed.
func readFilter(text json.RawMessage) (Filter, error) {
	const target = "filter"
	members, err := object(target, text, "state", "errorContains", "class", "template", "from", "since", "until")
	if err != nil {
		return Filter{}, err
	}
	words, times := map[string]string{"state": string(delivery.Error)}, map[string]time.Time{}
	for _, name := range slices.Sorted(maps.Keys(members)) {
		s, ok := value(members[name]).(string)
		if !ok || s == "" {
			return Filter{}, fault(below(target, name), "must be a string that is not empty; leave it out to mean any")
		}
		if len(s) > maxText {
			return Filter{}, fault(below(target, name), "has %d bytes, more than %d; a part of it will do", len(s), maxText)
		}
		words[name] = s
	}
	for _, name := range []string{"since", "until"} {
		if words[name] == "" {
			continue
		}
		if times[name], err = instant(words[name]); err != nil {
			return Filter{}, fault(below(target, name), "must be a time as in 2026-01-31T12:00:00Z (RFC 3339), of the years 2 to 9998")
		}
	}
	f := Filter{
		State: delivery.State(words["state"]), ErrorContains: words["errorContains"], Class: delivery.Class(words["class"]),
		Template: words["template"], From: words["from"], Since: stored(times["since"]), Until: stored(times["until"]),
	}
	return f, f.check(target)
}

// errYear is that of a time which some clients mean for none, or that can't be
// written as it was read.
var errYear = errors.New("no year that a mail is of")

// instant reads a time. One that clients have where nobody has set any, as year
// 1, is none: a filter without that bound would match more than are meant.
func instant(s string) (time.Time, error) {
	t, err := time.Parse(time.RFC3339, s)
	if err != nil {
		return t, fmt.Errorf("read time: %w", err)
	}
	if y := t.UTC().Year(); y < 2 || y > 9998 {
		return t, errYear
	}
	return t, nil
}

// check returns a [*Fault] for a filter that matches nothing whatever there is.
func (f Filter) check(target string) error {
	switch {
	case !slices.Contains(states(), string(f.State)):
		return fault(below(target, "state"), "must be one of %s", list(states()))
	case f.Class != "" && !slices.Contains(classes(), string(f.Class)):
		return fault(below(target, "class"), "must be one of %s", list(classes()))
	case !f.Until.IsZero() && !f.Since.Before(f.Until):
		return fault(below(target, "until"), "must be later than %s", below(target, "since"))
	}
	return nil
}

// Matches reports whether a document is meant.
func (f Filter) Matches(d Document) bool {
	p := delivery.ReadProgress(d.Fields)
	if p.State != f.State || f.Class != "" && p.Fate() != f.Class || !strings.Contains(p.Error, f.ErrorContains) {
		return false
	}
	if at := tried(p, d.Added); at.Before(f.Since) || !f.Until.IsZero() && !at.Before(f.Until) {
		return false
	}
	template, _ := d.Fields["template"].(delivery.Fields)
	if f.Template != "" && template["name"] != f.Template {
		return false
	}
	return f.From == "" || sameSender(f.From, d.Fields["from"])
}

// tried returns when a mail was last tried, or else when it came to be known.
func tried(p delivery.Progress, added time.Time) time.Time {
	for _, at := range []time.Time{p.End, p.Start} {
		if !at.IsZero() {
			return at
		}
	}
	return added
}

// sameSender reports whether a document's from is the one that is meant: the same
// text, or the same address whatever name stands before it.
func sameSender(meant string, from any) bool {
	is, ok := from.(string)
	if !ok {
		return false
	}
	if strings.EqualFold(meant, is) {
		return true
	}
	a, err := mail.ParseAddress(is)
	return err == nil && strings.EqualFold(meant, a.Address)
}
