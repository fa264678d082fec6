package main

import (
	"slices"
	"testing"
	"time"
)

// The document of the cases has one recipient, its lease ended at end, and w1 had
// claimed it ten seconds earlier.
const subject = "d000001"

var end = time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)

func success() record { return record{state: stateSuccess, class: "delivered", updated: end} }
func lapse() record {
	return record{state: stateError, class: classUnknown, phase: phaseLease, lease: end, updated: end.Add(time.Second)}
}

func tardily() record {
	r := lapse()
	r.updated = end.Add(maxLapse + 1)
	return r
}

func unanswered() record {
	return record{state: stateError, class: classUnknown, phase: "message"}
}

// happened has a trouble happen to a process so long after the lease's end.
func happened(f fault, process string, from, to time.Duration) []trouble {
	return []trouble{{f, process, end.Add(from), end.Add(to)}}
}

func TestVerdictOnOneDocument(t *testing.T) {
	for name, c := range map[string]struct {
		record   record
		accepted int
		troubles []trouble
		kept     string
		nobody   bool // no log or session tells who had it
		want     kind // "" for nothing wrong
	}{
		"sent":                               {record: success(), accepted: 1},
		"sent twice":                         {record: success(), accepted: 2, want: doubled},
		"sent twice, and recorded as lapsed": {record: lapse(), accepted: 2, troubles: happened(faultKill, "w1", -time.Second, -time.Second), want: doubled},
		"success and never sent":             {record: success(), want: unsent},
		"waits for ever":                     {record: record{state: "PENDING"}, want: stuck},
		"never claimed":                      {record: record{}, want: stuck},
		"claimed for ever":                   {record: record{state: "PROCESSING", lease: end}, accepted: 1, want: stuck},
		"given up":                           {record: record{state: stateError, class: "transient"}, want: failed},
		"given up though it was sent":        {record: record{state: stateError, class: "permanent"}, accepted: 1, want: failed},

		"lapsed, its worker killed":                 {record: lapse(), troubles: happened(faultKill, "w1", -5*time.Second, -5*time.Second)},
		"lapsed, sent, its worker killed":           {record: lapse(), accepted: 1, troubles: happened(faultKill, "w1", -5*time.Second, -5*time.Second)},
		"lapsed, and found too late":                {record: tardily(), troubles: happened(faultKill, "w1", -5*time.Second, -5*time.Second), want: tardy},
		"lapsed, another killed":                    {record: lapse(), troubles: happened(faultKill, "w2", -5*time.Second, -5*time.Second), want: unexplained},
		"lapsed, its worker killed later":           {record: lapse(), troubles: happened(faultKill, "w1", 5*time.Second, 5*time.Second), want: unexplained},
		"lapsed, its worker killed long before":     {record: lapse(), troubles: happened(faultKill, "w1", -time.Minute, -time.Minute), want: unexplained},
		"lapsed, killed before it could say so":     {record: lapse(), nobody: true, troubles: happened(faultKill, "w2", -9*time.Second, -9*time.Second)},
		"lapsed, its worker frozen":                 {record: lapse(), troubles: happened(faultFreeze, "w1", -5*time.Second, 8*time.Second)},
		"lapsed, its worker frozen afterwards":      {record: lapse(), troubles: happened(faultFreeze, "w1", 5*time.Second, 8*time.Second), want: unexplained},
		"lapsed, Firestore gone at the end":         {record: lapse(), troubles: happened(faultRestart, "", -4*time.Second, -3*time.Second)},
		"lapsed, Firestore gone when it began":      {record: lapse(), troubles: happened(faultRestart, "", -11*time.Second, -10*time.Second), want: unexplained},
		"lapsed, its worker told to stop":           {record: lapse(), troubles: happened(faultTerm, "w1", -5*time.Second, -5*time.Second), want: unexplained},
		"lapsed, nothing has happened":              {record: lapse(), accepted: 1, want: unexplained},
		"lapsed, nothing has happened to the reply": {record: lapse(), accepted: 1, kept: keptLong, want: unexplained},

		"unknown, the connection cut": {record: unanswered(), kept: keptCut},
		"unknown, sent, never told":   {record: unanswered(), accepted: 1, kept: keptSilent},
		"unknown, its worker frozen":  {record: unanswered(), troubles: happened(faultFreeze, "w1", -5*time.Second, 8*time.Second)},
		"unknown, another one frozen": {record: unanswered(), troubles: happened(faultFreeze, "w2", -5*time.Second, 8*time.Second), want: unexplained},
		"unknown, and was told":       {record: unanswered(), accepted: 1, want: unexplained},
	} {
		f := factsOf(c.record, c.accepted)
		f.troubles = c.troubles
		if c.kept != "" {
			f.kept[subject], f.counts[countCuts] = c.kept, 1
		}
		if c.nobody {
			f.touched = nil
		}
		for _, happened := range c.troubles {
			f.counts[string(happened.fault)]++
		}
		_, all := verdict(f)
		if c.want == "" && len(all) > 0 || c.want != "" && (len(all) != 1 || all[0].kind != c.want) {
			t.Errorf("%s: got %v, want %q", name, all, c.want)
		}
	}
}

// factsOf returns the facts about two documents of which the first is well.
func factsOf(r record, accepted int) facts {
	return facts{
		docs:    2,
		records: map[string]record{docID(0): success(), subject: r},
		accepted: map[string]map[string]int{
			docID(0): {recipients(0)[0]: 1, recipients(0)[1]: 1}, subject: {recipients(1)[0]: accepted},
		},
		owners: map[string]map[string]bool{"<1@sender.test>": {subject: true}}, kept: map[string]string{},
		touched: map[string][]touch{subject: {{"w1", end.Add(-lease)}}}, counts: map[string]int{},
	}
}

func TestVerdictOnARun(t *testing.T) {
	for name, c := range map[string]struct {
		change func(*facts)
		want   []kind
	}{
		"all well":                   {func(*facts) {}, nil},
		"a document is gone":         {func(f *facts) { delete(f.records, subject) }, []kind{missing}},
		"one of two got nothing":     {func(f *facts) { delete(f.accepted[docID(0)], recipients(0)[1]) }, []kind{unsent}},
		"one of two got it twice":    {func(f *facts) { f.accepted[docID(0)][recipients(0)[1]]++ }, []kind{doubled}},
		"two with one Message-ID":    {func(f *facts) { f.owners["<1@sender.test>"][docID(0)] = true }, []kind{shared}},
		"a mail without Message-ID":  {func(f *facts) { f.owners[""] = map[string]bool{subject: true} }, []kind{shared}},
		"something found on the way": {func(f *facts) { f.early = []finding{{overwritten, subject, ""}} }, []kind{overwritten}},
		"a cut for more than one": {func(f *facts) {
			f.records[docID(0)], f.records[subject] = unanswered(), unanswered()
			f.kept[docID(0)], f.kept[subject], f.counts[countCuts] = keptCut, keptCut, 1
		}, []kind{excess}},
		"more lapsed than a kill leaves": {func(f *facts) {
			f.records[subject], f.troubles = lapse(), happened(faultKill, "w1", -time.Second, -time.Second)
		}, []kind{excess}}, // no kill was counted
	} {
		f := factsOf(success(), 1)
		c.change(&f)
		_, all := verdict(f)
		var got []kind
		for _, is := range all {
			got = append(got, is.kind)
		}
		if !slices.Equal(got, c.want) {
			t.Errorf("%s: got %v, want %v", name, all, c.want)
		}
	}
}

func TestAMutationIsNoticedByWhatItBreaks(t *testing.T) {
	for name, c := range map[string]struct {
		mutation string
		findings []finding
		want     bool
	}{
		"as promised":                      {"", nil, true},
		"not as promised":                  {"", []finding{{kind: stuck}}, false},
		"noticed":                          {"low-water", []finding{{kind: stuck}}, true},
		"survived":                         {"low-water", nil, false},
		"something else has gone wrong":    {"low-water", []finding{{kind: died}, {kind: excess}}, false},
		"noticed, and something besides":   {"fence", []finding{{kind: died}, {kind: overwritten}}, true},
		"the fence's, with another's sign": {"fence", []finding{{kind: stuck}}, false},
	} {
		r := result{plan: plan{mutation: c.mutation}, findings: c.findings}
		if r.asWanted() != c.want {
			t.Errorf("%s: %v", name, r)
		}
	}
}
