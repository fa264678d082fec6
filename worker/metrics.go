package worker

import (
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"postrider/delivery"
)

// Metrics are the worker's, in Prometheus' terms. Labels come from closed sets,
// which the help texts list.
type Metrics struct {
	attempts  *prometheus.CounterVec
	took      *prometheus.HistogramVec
	claims    *prometheus.CounterVec
	sweeps    *prometheus.CounterVec
	expired   prometheus.Counter
	refused   prometheus.Counter
	unwritten prometheus.Counter
	inHand    prometheus.Gauge
	watching  prometheus.Gauge
	audits    *prometheus.CounterVec
	found     prometheus.Counter
	instances prometheus.Gauge
	left      prometheus.Gauge
	takeovers prometheus.Counter
	down      prometheus.Gauge
	slowed    *sampled
	held      *sampled
	timing    timing
}

// NewMetrics returns metrics that are registered with r.
func NewMetrics(r prometheus.Registerer) *Metrics {
	counter := func(name, help string) prometheus.Counter {
		return prometheus.NewCounter(prometheus.CounterOpts{Name: name, Help: help})
	}
	gauge := func(name, help string) prometheus.Gauge {
		return prometheus.NewGauge(prometheus.GaugeOpts{Name: name, Help: help})
	}
	vector := func(name, help, label string) *prometheus.CounterVec {
		return prometheus.NewCounterVec(prometheus.CounterOpts{Name: name, Help: help}, []string{label})
	}
	m := &Metrics{
		attempts:  vector("postrider_attempts_total", "Attempts that ended, by outcome: delivered, transient, permanent, unknown, released.", "outcome"),
		claims:    vector("postrider_claims_total", "Documents claimed, by result: won, lost (another worker was faster).", "result"),
		sweeps:    vector("postrider_sweeps_total", "Sweeps of the mail collection, by result: done, failed.", "result"),
		expired:   counter("postrider_leases_lapsed_total", "Documents whose lease lapsed, now in ERROR."),
		refused:   counter("postrider_documents_refused_total", "Documents refused without an attempt, now in ERROR: nothing to send, too large, or attempted too often."),
		unwritten: counter("postrider_outcomes_unwritten_total", "Attempts whose outcome could not be written to the document."),
		inHand:    gauge("postrider_documents_in_hand", "Documents at work, or waiting in hand for the mail server."),
		watching:  gauge("postrider_watching", "1 while the mail collection is watched."),
		audits:    vector("postrider_audits_total", "Audits of the mail collection, by result: done, failed.", "result"),
		found:     counter("postrider_audit_missing_total", "Documents without a known state that audits counted."),
		instances: gauge("postrider_instances", "Instances on the collection that live, this one included."),
		left:      gauge("postrider_documents_left", "Documents left to other instances that have not been seen claimed."),
		down:      gauge("postrider_smtp_down", "1 while the mail server can't be used and documents wait unclaimed."),
		takeovers: counter("postrider_takeovers_total", "Documents taken because the instance they were left to did not."),
		slowed:    newSampled("postrider_smtp_slowed", "Mails a second that the mail server seems to take, since it asked to slow down; 0 while it does not."),
		held:      newSampled("postrider_bytes_in_flight", "Bytes of mails that are being made or sent, as MAX_BYTES_IN_FLIGHT counts them."),
		timing:    newTiming(r),
		took:      prometheus.NewHistogramVec(fine("postrider_attempt_seconds", "Time from claim to outcome, by outcome as in postrider_attempts_total."), []string{"outcome"}),
	}
	r.MustRegister(m.attempts, m.took, m.claims, m.sweeps, m.expired, m.refused, m.unwritten, m.inHand, m.watching,
		m.audits, m.found, m.instances, m.left, m.takeovers, m.down,
		m.slowed, m.held)
	return m
}

// sampled is a gauge that is read when it is collected, on any goroutine; 0 while
// nobody has set what reads it.
type sampled struct {
	prometheus.GaugeFunc
	read atomic.Pointer[func() float64]
}

func newSampled(name, help string) *sampled {
	s := &sampled{}
	s.GaugeFunc = prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: name, Help: help}, func() float64 {
		if read := s.read.Load(); read != nil {
			return (*read)()
		}
		return 0
	})
	return s
}

// from sets what reads the gauge, which must be safe for concurrent use.
func (s *sampled) from(read func() float64) { s.read.Store(&read) }

// ended counts an attempt.
func (m *Metrics) ended(outcome string, took time.Duration) {
	m.attempts.WithLabelValues(outcome).Inc()
	m.took.WithLabelValues(outcome).Observe(took.Seconds())
}

// claimed counts a claim that was won: of a document that was found at a time by
// this machine's clock, and became due as its snapshot says by the common one.
func (m *Metrics) claimed(found time.Time, s delivery.Snapshot, now time.Time) {
	m.claims.WithLabelValues("won").Inc()
	m.timing.passed(phaseClaim, found)
	due := latest(s.UpdateTime, delivery.ReadRecord(s.Fields).NextAttempt)
	m.timing.age.Observe(max(0, now.Sub(due).Seconds()))
}
