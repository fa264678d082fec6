package worker

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// phase is a part of a mail's way, whose time is measured.
type phase int

// The phases, in the order in which a mail passes them.
const (
	phaseClaim       phase = iota // from when the document is found until it is claimed, with all that it waits for before
	phaseCompose                  // the mail is made: look-ups, templates, attachments
	phaseConnect                  // until the mail has a session, or may go along with the one before it
	phaseTransaction              // from then to the final reply
	phaseWriteBack                // the outcome is written to the document
	phases           int   = iota
)

func (p phase) String() string {
	return [...]string{"claim", "compose", "connect", "transaction", "write_back"}[p]
}

// timing measures how long mails take to pass each phase, and how long they
// were due before.
type timing struct {
	phases [phases]prometheus.Observer
	age    prometheus.Histogram
}

// newTiming returns a timing that is registered with r.
func newTiming(r prometheus.Registerer) timing {
	vec := prometheus.NewHistogramVec(fine("postrider_phase_seconds",
		"Time of a mail in each phase of its way: claim (found to claimed, with the wait for a hand, the mail server, SMTP_RATE and MAX_BYTES_IN_FLIGHT), compose, connect (until it has a session, or goes along with the mail before it), transaction (to the final reply), write_back."),
		[]string{"phase"})
	t := timing{age: prometheus.NewHistogram(fine("postrider_queue_age_seconds", "How long a document was due when it was claimed: since it changed last or became due. One that was handed back begins anew."))}
	for p := range t.phases {
		t.phases[p] = vec.WithLabelValues(phase(p).String())
	}
	r.MustRegister(vec, t.age)
	return t
}

// fine returns the options of a histogram from a millisecond to minutes: in
// buckets that every Prometheus reads, and in native ones, each a tenth wider
// than the one before.
func fine(name, help string) prometheus.HistogramOpts {
	return prometheus.HistogramOpts{
		Name: name, Help: help,
		Buckets:                     []float64{.001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 30, 60, 300},
		NativeHistogramBucketFactor: 1.1, NativeHistogramMaxBucketNumber: 160,
	}
}

// passed notes that a phase that began at a time is over, and returns when.
func (t timing) passed(p phase, began time.Time) time.Time {
	now := time.Now()
	t.phases[p].Observe(now.Sub(began).Seconds())
	return now
}
