package main

import (
	"fmt"
	"maps"
	"slices"
	"time"
)

// kind is what is wrong.
type kind string

const (
	missing     kind = "missing"     // a document is no longer there
	stuck       kind = "stuck"       // not final
	doubled     kind = "doubled"     // a recipient got the mail twice
	unsent      kind = "unsent"      // SUCCESS, and a recipient got nothing
	failed      kind = "failed"      // ERROR, and somebody knows that nothing of the kind has happened
	overwritten kind = "overwritten" // a final record was written once more
	unexplained kind = "unexplained" // nobody was killed, frozen or cut who could have left this
	tardy       kind = "tardy"       // a lapsed lease was recorded too late
	shared      kind = "shared"      // a Message-ID of several documents
	excess      kind = "excess"      // more of something than there can be
	died        kind = "died"        // a worker ended as it must not
)

// finding is something that must not be.
type finding struct {
	kind kind
	doc  string // "" if it is about no document
	what string
}

// String returns the finding in one line.
func (f finding) String() string { return fmt.Sprintf("%-11s %s %s", f.kind, f.doc, f.what) }

// facts is what the verdict is about.
type facts struct {
	docs     int               // so many were added, d000000 and so on
	records  map[string]record // by document, at the end
	accepted map[string]map[string]int
	owners   map[string]map[string]bool // documents by Message-ID
	kept     map[string]string          // by document: why the worker may not have got the final reply
	held     map[string]bool            // documents whose writes were late
	touched  map[string][]touch         // by document: who had it in hand
	troubles []trouble
	counts   map[string]int
	early    []finding // what was found before the end
	took     time.Duration
}

// tally counts the documents by how they ended. Lapsed ones are counted by what
// has become of their workers.
type tally struct {
	once                              int // accepted once by each recipient, and SUCCESS
	unknownAccepted, unknownNot       int // the server's answer was not received
	lapsed                            map[fault]int
	lapsedAccepted, lapsedNot         int
	slowest                           time.Duration // from a lease's end until its lapse was recorded
	stuck, doubled, lost, overwritten int
}

// verdict judges everything.
func verdict(f facts) (tally, []finding) {
	t, all := tally{lapsed: map[fault]int{}}, slices.Clone(f.early)
	for n := range f.docs {
		if is, bad := f.judge(n, &t); bad {
			all = append(all, is)
		}
	}
	for _, id := range slices.Sorted(maps.Keys(f.owners)) {
		if len(f.owners[id]) > 1 || id == "" {
			all = append(all, finding{shared, "", fmt.Sprintf("%q is the Message-ID of %v", id, slices.Sorted(maps.Keys(f.owners[id])))})
		}
	}
	for _, is := range all {
		switch is.kind {
		case stuck, missing:
			t.stuck++
		case doubled:
			t.doubled++
		case unsent, failed:
			t.lost++
		case overwritten:
			t.overwritten++
		}
	}
	return t, append(all, f.excesses(t)...)
}

// judge judges the nth document.
func (f facts) judge(n int, t *tally) (finding, bool) {
	id := docID(n)
	r, there := f.records[id]
	most, least := 0, 1<<30
	for _, address := range recipients(n) {
		most, least = max(most, f.accepted[id][address]), min(least, f.accepted[id][address])
	}
	is := func(k kind, what string) (finding, bool) {
		return finding{k, id, fmt.Sprintf("%s; accepted %v; %v; in hand of %s", what, f.accepted[id], r, f.story(id))}, true
	}
	switch {
	case !there:
		return is(missing, "not there")
	case most > 1:
		return is(doubled, "accepted more than once")
	case !r.final():
		return is(stuck, "not final")
	case r.state == stateSuccess && least == 0:
		return is(unsent, "SUCCESS, and not accepted")
	case r.state == stateSuccess:
		t.once++
	case r.lapsed():
		why := f.lapse(id, r)
		if why == "" {
			return is(unexplained, "lapsed, and nobody was killed or frozen who had it")
		}
		if late := r.updated.Sub(r.lease); late > maxLapse {
			return is(tardy, fmt.Sprintf("its lapse was recorded %v after the lease's end", late))
		}
		t.lapsed[why]++
		t.slowest = max(t.slowest, r.updated.Sub(r.lease))
		count(most > 0, &t.lapsedAccepted, &t.lapsedNot)
	case r.unknown():
		if !f.unanswered(id) {
			return is(unexplained, "of unknown fate, and the server's answer was not kept from anybody")
		}
		count(most > 0, &t.unknownAccepted, &t.unknownNot)
	default:
		return is(failed, "ERROR, and could have been sent")
	}
	return finding{}, false
}

func count(yes bool, one, other *int) {
	if yes {
		*one++
	} else {
		*other++
	}
}

// maxLapse is how long after a lease's end its lapse must be recorded.
const maxLapse = time.Minute

// How far the times of different clocks and of what follows from what may be
// apart.
const (
	slack     = 1500 * time.Millisecond
	reconnect = 4 * time.Second // until a worker has found Firestore again
)

// lapse returns what has made the worker of a lapsed document let its lease
// lapse; "" if nothing has.
func (f facts) lapse(id string, r record) fault {
	for _, wanted := range []fault{faultKill, faultFreeze, faultRestart, faultReset} {
		for _, t := range f.troubles {
			if t.fault == wanted && f.affects(t, id, r.lease) {
				return wanted
			}
		}
	}
	if f.held[id] {
		return faultLate
	}
	return ""
}

// affects reports whether a trouble may be why the lease that ended at end was
// not renewed, and nothing was recorded under it.
func (f facts) affects(t trouble, id string, end time.Time) bool {
	switch t.fault {
	case faultKill, faultFreeze:
		during := t.from.Before(end.Add(slack)) && t.to.After(end.Add(-lease-slack))
		return during && f.inHand(t, id)
	case faultRestart, faultReset: // the last writes before the end did not arrive
		return t.from.Before(end.Add(slack)) && t.to.Add(reconnect).After(end.Add(-margin-slack))
	}
	return false
}

// inHand reports whether the process of a trouble may have had a document in
// hand. One that was killed may have had no time to say so; then nobody else has
// had it since.
func (f facts) inHand(t trouble, id string) bool {
	told := false
	for _, h := range f.touched[id] {
		if h.process == t.process && h.at.Before(t.to.Add(slack)) {
			return true
		}
		told = told || h.at.After(t.from.Add(-lease))
	}
	return t.fault == faultKill && !told
}

// unanswered reports whether the worker of a document may not have got the
// server's final reply.
func (f facts) unanswered(id string) bool {
	if f.kept[id] != "" {
		return true
	}
	for _, t := range f.troubles {
		if t.fault == faultFreeze && f.inHand(t, id) {
			return true
		}
	}
	return false
}

// excesses compares what was counted with the most that there can be: a worker
// that dies leaves no more mails in doubt than it attempts at once, a connection
// that is cut no more than one.
func (f facts) excesses(t tally) []finding {
	var all []finding
	compare := func(what string, is, most int) {
		if is > most {
			all = append(all, finding{excess, "", fmt.Sprintf("%s: %d, at most %d can be", what, is, most)})
		}
	}
	compare("lapsed after a kill", t.lapsed[faultKill], f.counts[string(faultKill)]*slots)
	compare("lapsed after a freeze", t.lapsed[faultFreeze], f.counts[string(faultFreeze)]*slots)
	long := 0
	for _, why := range f.kept {
		if why == keptLong {
			long++
		}
	}
	compare("of unknown fate", t.unknownAccepted+t.unknownNot,
		f.counts[countCuts]+f.counts[countSilences]+long+f.counts[string(faultFreeze)]*slots)
	return all
}

// story returns who had a document in hand, and when, from the start.
func (f facts) story(id string) string {
	all := slices.Clone(f.touched[id])
	slices.SortFunc(all, func(a, b touch) int { return a.at.Compare(b.at) })
	var text string
	for _, h := range all {
		text += fmt.Sprintf("%s at %s, ", h.process, h.at.Format("15:04:05.000"))
	}
	if text == "" {
		return "nobody"
	}
	return text[:len(text)-2]
}
