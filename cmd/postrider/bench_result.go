package main

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"postrider/delivery/queue"
	"postrider/worker"
)

// benchResult is what a measurement has come to. Times are in seconds.
type benchResult struct {
	Mails     int `json:"mails"` // that were to be sent
	Delivered int `json:"delivered"`
	Failed    int `json:"failed"`
	Waiting   int `json:"waiting"` // for another attempt, or not attempted

	Seconds   float64 `json:"seconds"`
	PerSecond float64 `json:"mailsPerSecond"` // that were delivered

	Phases  []benchPhase `json:"phases"`  // of an attempt, one after the other
	Attempt benchPhase   `json:"attempt"` // from claim to outcome
	Age     benchPhase   `json:"queueAge"`

	Firestore   benchUsage  `json:"firestore"`
	CPU         float64     `json:"cpuSecondsPerMail"`     // of the process, all included, by attempts as for Firestore; 0 if it is not known
	Memory      float64     `json:"memoryPeakBytes"`       // resident; 0 if it is not known
	Connections int64       `json:"connections,omitempty"` // that a dry run has opened in all
	Complaints  []complaint `json:"complaints,omitempty"`  // of the worker's log, the most frequent first
	Stopped     bool        `json:"stopped,omitempty"`
	Verdict     string      `json:"verdict,omitempty"` // what bounds it
}

// benchPhase is how long mails took for something.
type benchPhase struct {
	Name  string  `json:"name"`
	Count uint64  `json:"count"`
	P50   float64 `json:"p50"`
	P90   float64 `json:"p90"`
	P99   float64 `json:"p99"`
	Max   float64 `json:"max"`
	Sum   float64 `json:"sum"`
	Share float64 `json:"share,omitempty"` // of the sum of all phases, 0 to 1
}

// benchUsage is what Firestore was asked for while mails were sent. A mail counts as
// often as it was attempted.
type benchUsage struct {
	Reads         int64   `json:"reads"`
	Writes        int64   `json:"writes"`
	Requests      int64   `json:"requests"`
	ReadsPerMail  float64 `json:"readsPerMail"`
	WritesPerMail float64 `json:"writesPerMail"`
}

// add takes in what was used for so many attempts.
func (u *benchUsage) add(used queue.Usage, attempts float64) {
	u.Reads, u.Writes, u.Requests = used.Reads, used.Writes, used.Requests
	u.ReadsPerMail, u.WritesPerMail = float64(used.Reads)/attempts, float64(used.Writes)/attempts
}

// newBenchResult makes a result of what the worker and its metrics say.
func newBenchResult(mails int, t worker.Tally, took time.Duration, r reading) benchResult {
	out := benchResult{
		Mails: mails, Delivered: t.Delivered, Failed: t.Failed, Waiting: mails - t.Delivered - t.Failed,
		Seconds: took.Seconds(), PerSecond: float64(t.Delivered) / took.Seconds(),
		Attempt: newBenchPhase("attempt", r.attempt), Age: newBenchPhase("queue age", r.age),
	}
	all := 0.0
	for _, name := range []string{"claim", "compose", "connect", "transaction", "write_back"} {
		p := newBenchPhase(name, r.phases[name])
		out.Phases, all = append(out.Phases, p), all+p.Sum
	}
	for i := range out.Phases {
		out.Phases[i].Share = out.Phases[i].Sum / cmp.Or(all, 1)
	}
	return out
}

// newBenchPhase returns a phase without quantiles if nothing was measured.
func newBenchPhase(name string, s spread) benchPhase {
	p := benchPhase{Name: name, Count: s.count, Sum: s.sum}
	if s.count > 0 {
		p.P50, p.P90, p.P99, p.Max = s.quantile(.5), s.quantile(.9), s.quantile(.99), s.quantile(1)
	}
	return p
}

// maxComplaints is how many kinds of the worker's complaints are printed.
const maxComplaints = 5

// print prints the result as the flags ask for.
func (b *bench) print(r benchResult) error {
	if b.asJSON {
		return b.printJSON(r, "  ")
	}
	fmt.Fprintf(b.out, "%s mails delivered, %s failed, %s left waiting, in %s: %s mails/s\n\n", grouped(int64(r.Delivered)),
		grouped(int64(r.Failed)), grouped(int64(r.Waiting)), lasting(r.Seconds), digits(r.PerSecond))
	b.printPhases(slices.Concat(r.Phases, []benchPhase{r.Attempt, r.Age}))
	fmt.Fprintf(b.out, "\nFirestore: %s writes, %s reads in %s requests; for a mail %.2f writes, %.2f reads\n",
		grouped(r.Firestore.Writes), grouped(r.Firestore.Reads), grouped(r.Firestore.Requests), r.Firestore.WritesPerMail, r.Firestore.ReadsPerMail)
	b.printProcess(r)
	for _, c := range r.Complaints[:min(len(r.Complaints), maxComplaints)] {
		fmt.Fprintf(b.out, "%s × %s\n", grouped(int64(c.Count)), c.Text)
	}
	if r.Stopped {
		fmt.Fprintln(b.out, "\nStopped before its end.")
	} else if r.Verdict != "" {
		fmt.Fprintf(b.out, "\n%s\n", r.Verdict)
	}
	return nil
}

// printPhases prints a table.
func (b *bench) printPhases(phases []benchPhase) {
	var table strings.Builder
	t := tabwriter.NewWriter(&table, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintf(t, "%-11s\tcount\tp50\tp90\tp99\tmax\tshare\t\n", "phase")
	for _, p := range phases {
		share := ""
		if p.Share > 0 {
			share = fmt.Sprintf("%.0f %%", 100*p.Share)
		}
		fmt.Fprintf(t, "%-11s\t%s\t%s\t%s\t%s\t%s\t%s\t\n", strings.ReplaceAll(p.Name, "_", " "), grouped(int64(p.Count)),
			lasting(p.P50), lasting(p.P90), lasting(p.P99), lasting(p.Max), share)
	}
	_ = t.Flush() // to memory
	for line := range strings.Lines(table.String()) {
		fmt.Fprintln(b.out, strings.TrimRight(line, " \n"))
	}
}

// printProcess prints what the process has used, as far as it is known.
func (b *bench) printProcess(r benchResult) {
	var said []string
	if r.CPU > 0 {
		said = append(said, lasting(r.CPU)+" of CPU for a mail")
	}
	if r.Memory > 0 {
		said = append(said, sized(r.Memory)+" of memory at most")
	}
	if r.Connections > 0 {
		said = append(said, grouped(r.Connections)+" connections opened")
	}
	if len(said) > 0 {
		fmt.Fprintf(b.out, "Process: %s\n", strings.Join(said, ", "))
	}
}
