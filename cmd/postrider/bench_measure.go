package main

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"runtime/debug"
	"sync/atomic"
	"time"

	dto "github.com/prometheus/client_model/go"
	"golang.org/x/sync/errgroup"

	"postrider/delivery"
	"postrider/delivery/queue"
	"postrider/worker"
)

// measure adds the documents, has them worked on, says what that came to, and
// deletes them, whatever happened.
func (b *bench) measure(ctx context.Context, s *service) error {
	meter := s.queue.Meter()
	bytes, err := b.rehearse(ctx, s)
	if f, ok := errors.AsType[*delivery.Failure](err); ok {
		return fmt.Errorf("this mail can't be made: %s (%s)", f.Message, f.Explain)
	} else if err != nil {
		return err
	}
	b.announce(s, bytes)
	if err := s.pool.Probe(ctx); err != nil { // before anything is written
		return fmt.Errorf("the mail server can't be used: %w", err)
	}
	ids := make([]string, b.mails)
	for i := range ids {
		ids[i] = rand.Text()[:20]
	}
	err = b.add(ctx, s, ids)
	if err == nil {
		err = b.send(ctx, s, meter, bytes)
	}
	if ctx.Err() != nil {
		err = errFailed // it is no fault that somebody has stopped it
	}
	if b.keep {
		b.screen.say("the documents are left; this deletes them: %s", deletion(s.config))
		return err
	}
	return errors.Join(err, b.remove(ctx, s, ids))
}

// add adds the documents.
func (b *bench) add(ctx context.Context, s *service, ids []string) error {
	return b.bulk("adding", len(ids), func(done func()) error {
		return s.queue.AddAll(ctx, ids, b.document, done)
	})
}

// remove deletes the documents, even if ctx has ended.
func (b *bench) remove(ctx context.Context, s *service, ids []string) error {
	if ctx.Err() != nil {
		b.screen.say("stopped; the documents are being deleted, and another Ctrl-C leaves them")
	}
	err := b.bulk("deleting", len(ids), func(done func()) error {
		return s.queue.DeleteAll(context.WithoutCancel(ctx), ids, done)
	})
	if err != nil {
		return fmt.Errorf("%w; this deletes what is left: %s", err, deletion(s.config))
	}
	return nil
}

// bulk tells how far a bulk of writes has come.
func (b *bench) bulk(verb string, n int, write func(done func()) error) error {
	var done atomic.Int64
	return b.screen.follow(verb, n, func() int { return int(done.Load()) }, func() error {
		return write(func() { done.Add(1) })
	})
}

// send has the worker send what is there, and prints the result.
func (b *bench) send(ctx context.Context, s *service, meter *queue.Meter, bytes int) error {
	debug.FreeOSMemory() // what adding has left is not the worker's
	before, asked := readingOf(s), meter.Usage()
	after, peak := before, before.memory
	began := time.Now()
	var tally worker.Tally
	err := b.screen.follow("sending", b.mails, func() int {
		after = readingOf(s)
		peak = max(peak, after.memory)
		return after.attempts
	}, func() (err error) {
		tally, err = drainBeside(ctx, s)
		return err
	})
	r := newBenchResult(b.mails, tally, time.Since(began), after)
	attempts := max(1, float64(r.Attempt.Count))
	r.Firestore.add(meter.Usage().Less(asked), attempts)
	r.CPU, r.Memory = (after.cpu-before.cpu)/attempts, peak
	if b.sink != nil {
		r.Connections = b.sink.Sessions()
	}
	r.Complaints, r.Stopped = b.log.counted(), ctx.Err() != nil
	r.Verdict = bound{benchResult: r, config: s.config, dry: b.dry, bytes: bytes, slowed: after.slowed}.verdict()
	if printed := b.print(r); printed != nil {
		return printed
	}
	if err == nil && tally.Delivered < b.mails {
		return errFailed
	}
	return err
}

// drainBeside drains the collection while the templates are watched.
func drainBeside(ctx context.Context, s *service) (worker.Tally, error) {
	watching, stop := context.WithCancel(ctx)
	var group errgroup.Group
	group.Go(func() error { return s.watchTemplates(watching) })
	tally, err := s.worker.Drain(ctx)
	stop()
	return tally, errors.Join(err, group.Wait())
}

// reading is what a service's metrics say.
type reading struct {
	attempts int     // that have ended
	slowed   float64 // mails a second that the server seems to take, since it asked to slow down; else 0
	cpu      float64 // seconds of the process; 0 where the system does not tell
	memory   float64 // bytes that are resident; likewise
	phases   map[string]spread
	attempt  spread // whole attempts
	age      spread // how long documents had waited
}

// readingOf reads the metrics. What can't be read is left zero.
func readingOf(s *service) reading {
	r := reading{phases: map[string]spread{}}
	families, _ := s.registry.Gather() // what could be gathered is there beside an error
	for _, f := range families {
		switch f.GetName() {
		case "postrider_attempts_total":
			for _, m := range f.GetMetric() {
				r.attempts += int(m.GetCounter().GetValue())
			}
		case "postrider_smtp_slowed":
			r.slowed = f.GetMetric()[0].GetGauge().GetValue()
		case "process_cpu_seconds_total":
			r.cpu = f.GetMetric()[0].GetCounter().GetValue()
		case "process_resident_memory_bytes":
			r.memory = f.GetMetric()[0].GetGauge().GetValue()
		case "postrider_phase_seconds":
			for _, m := range f.GetMetric() {
				r.phases[m.GetLabel()[0].GetValue()] = spreadOf(m.GetHistogram())
			}
		case "postrider_attempt_seconds":
			r.attempt = spreadOf(histograms(f)...)
		case "postrider_queue_age_seconds":
			r.age = spreadOf(histograms(f)...)
		}
	}
	return r
}

func histograms(f *dto.MetricFamily) []*dto.Histogram {
	var out []*dto.Histogram
	for _, m := range f.GetMetric() {
		out = append(out, m.GetHistogram())
	}
	return out
}
