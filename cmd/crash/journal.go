package main

import (
	"fmt"
	"io"
	"maps"
	"slices"
	"sync"
	"time"
)

// Names of what is counted besides the faults.
const (
	countCuts        = "SMTP connections cut or stalled"
	countSilences    = "final dots never answered"
	countCheckpoints = "blackouts right after a checkpoint"
)

// trouble is what happened to a process, or to all of them where it names none.
type trouble struct {
	fault    fault
	process  string
	from, to time.Time
}

// journal is what has happened so far.
type journal struct {
	out     io.Writer // nil says nothing
	started time.Time

	mu       sync.Mutex
	troubles []trouble
	counts   map[string]int
	findings []finding
}

func newJournal(out io.Writer) *journal {
	return &journal{out: out, started: time.Now(), counts: map[string]int{}}
}

// note notes a trouble, and counts it.
func (j *journal) note(f fault, process string, from, to time.Time) {
	j.mu.Lock()
	j.troubles = append(j.troubles, trouble{f, process, from, to})
	j.counts[string(f)]++
	j.mu.Unlock()
	j.say("%s %s", f, process)
}

// count counts one of a kind.
func (j *journal) count(what string) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.counts[what]++
}

// find notes something that must not be.
func (j *journal) find(k kind, doc, format string, args ...any) {
	f := finding{k, doc, fmt.Sprintf(format, args...)}
	j.mu.Lock()
	j.findings = append(j.findings, f)
	j.mu.Unlock()
	j.say("FOUND %s", f)
}

// say tells whoever wants to know what happens.
func (j *journal) say(format string, args ...any) {
	if j.out == nil {
		return
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	fmt.Fprintf(j.out, "%6.1fs  %s\n", time.Since(j.started).Seconds(), fmt.Sprintf(format, args...))
}

// known puts what the journal has into f.
func (j *journal) known(f *facts) {
	j.mu.Lock()
	defer j.mu.Unlock()
	f.troubles, f.counts, f.early = slices.Clone(j.troubles), maps.Clone(j.counts), slices.Clone(j.findings)
	f.took = time.Since(j.started)
}
