package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	pb "cloud.google.com/go/firestore/apiv1/firestorepb"
)

// measureLatency measures how long a single mail takes where nothing else goes on.
func measureLatency(ctx context.Context, r *rig) error {
	at, err := r.inMemory(ctx)
	if err != nil {
		return err
	}
	r.table.part("6. one mail at a time, on an idle system", "sum of parts")
	for _, source := range []string{"listen", "push"} {
		if err := r.latency(ctx, at, source); err != nil {
			return fmt.Errorf("%s: %w", source, err)
		}
	}
	return nil
}

// passage is a mail's way, in ms since its document was sent to Firestore.
type passage struct{ claimed, accepted, recorded float64 }

// parts are what a mail can't do without, in ms, each measured alone.
type parts struct {
	news, write, transaction, record float64
}

// latency sends mails one at a time, and measures the parts between them.
func (r *rig) latency(ctx context.Context, at *site, source string) (err error) {
	s, err := r.newIdleSystem(ctx, at, source)
	defer func() { err = errors.Join(err, s.close()) }()
	if err != nil {
		return err
	}
	var ways []passage
	var all []parts
	for i := range r.sizes.singles + warmUps {
		w, err := s.mailOnce(ctx)
		if err != nil {
			return fmt.Errorf("%w\n%s", err, s.worker.said())
		}
		size := s.mail.size.Load()
		p, err := s.partsOnce(ctx)
		if err != nil {
			return err
		}
		if bare := s.mail.size.Load(); max(bare, size)-min(bare, size) > near {
			return fmt.Errorf("the bare limit sends a mail of %d bytes, the worker one of %d", bare, size)
		}
		if i >= warmUps {
			ways, all = append(ways, w), append(all, p)
		}
	}
	composing, err := s.composing(ctx)
	if err != nil {
		return err
	}
	s.print(r.table, ways, all, composing)
	_, err = s.worker.stop()
	return err
}

// near is how many bytes the mail of the bare limit and that of the worker may
// differ by, so that they can be compared.
const near = 8

// warmUps are mails that do not count: the first one opens the connection.
const warmUps = 5

// composing returns how long the worker composes a mail, in ms, as it says itself.
func (s *idleSystem) composing(ctx context.Context) (float64, error) {
	sum, err := s.worker.metric(ctx, `postrider_phase_seconds_sum{phase="compose"}`)
	if err != nil {
		return 0, err
	}
	count, err := s.worker.metric(ctx, `postrider_phase_seconds_count{phase="compose"}`)
	if err != nil || count == 0 {
		return 0, err
	}
	return sum / count * 1000, nil
}

func (s *idleSystem) print(t *table, ways []passage, all []parts, composing float64) {
	pick := func(f func(passage) float64) (values []float64) {
		for _, w := range ways {
			values = append(values, f(w))
		}
		return values
	}
	part := func(f func(parts) float64) (values []float64) {
		for _, p := range all {
			values = append(values, f(p))
		}
		return values
	}
	recorded := pick(func(w passage) float64 { return w.recorded })
	sums := part(func(p parts) float64 { return p.news + p.write + composing + p.transaction + p.record })
	for _, q := range []float64{0.5, 0.99} {
		t.add(line{
			name: fmt.Sprintf("%s: document added → SUCCESS visible, p%.0f of %d", s.source, q*100, len(ways)), unit: "ms",
			ours: quantile(recorded, q), theirs: quantile(sums, q),
		})
	}
	claimed := pick(func(w passage) float64 { return w.claimed })
	accepted := pick(func(w passage) float64 { return w.accepted })
	t.add(line{name: "  document added → claim visible, p50", unit: "ms", ours: median(claimed)})
	t.add(line{name: "  document added → mail accepted by the server, p50", unit: "ms", ours: median(accepted)})
	t.add(line{name: "  parts, p50: a document sent → its news has come", unit: "ms", ours: median(part(func(p parts) float64 { return p.news }))})
	t.add(line{name: "    a write sent → answered", unit: "ms", ours: median(part(func(p parts) float64 { return p.write }))})
	t.add(line{name: "    a mail composed, mean, as the worker's metric says", unit: "ms", ours: composing})
	t.add(line{name: "    a transaction on a kept connection", unit: "ms", ours: median(part(func(p parts) float64 { return p.transaction }))})
	t.add(line{name: "    a write sent → visible", unit: "ms", ours: median(part(func(p parts) float64 { return p.record }))})
}

// since returns ms.
func since(began, at time.Time) float64 { return milliseconds(at.Sub(began)) }

// mailOnce adds a document and follows it.
func (s *idleSystem) mailOnce(ctx context.Context) (passage, error) {
	began := time.Now()
	if _, err := s.box.apply(ctx, []*pb.Write{s.box.creation()}); err != nil {
		return passage{}, err
	}
	var p passage
	for {
		change, err := s.seen.next(ctx)
		if err != nil {
			return passage{}, err
		}
		switch change.state {
		case "PROCESSING":
			p.claimed = since(began, change.at)
		case "SUCCESS":
			p.recorded, p.accepted = since(began, change.at), since(began, s.mail.last())
			if p.claimed == 0 { // the end came right after it
				p.claimed = p.recorded
			}
			return p, nil
		case "ERROR":
			return passage{}, errors.New("a mail was not sent")
		}
	}
}

// partsOnce measures each part alone, on the collection without a worker.
func (s *idleSystem) partsOnce(ctx context.Context) (p parts, err error) {
	w := s.bare.creation()
	name := w.GetUpdate().GetName()
	began := time.Now()
	created, err := s.bare.apply(ctx, []*pb.Write{w})
	if err != nil {
		return p, err
	}
	added, err := s.told.next(ctx)
	if err != nil {
		return p, err
	}
	p.news = since(began, added.at)
	if s.called != nil {
		at, err := s.called.next(ctx)
		if err != nil {
			return p, err
		}
		p.news = since(began, at)
	}
	began = time.Now()
	claimed, err := s.bare.apply(ctx, []*pb.Write{update(name, bareClaim(), created[0])})
	if err != nil {
		return p, err
	}
	p.write = since(began, time.Now())
	began = time.Now()
	if err := s.wire.send(); err != nil {
		return p, err
	}
	p.transaction = since(began, time.Now())
	p.record, err = s.recordOnce(ctx, update(name, bareFinish(), claimed[0]))
	return p, err
}

// recordOnce returns how long it takes until the end of a mail is visible, in ms.
func (s *idleSystem) recordOnce(ctx context.Context, end *pb.Write) (float64, error) {
	began := time.Now()
	if _, err := s.bare.apply(ctx, []*pb.Write{end}); err != nil {
		return 0, err
	}
	for {
		change, err := s.told.next(ctx)
		if err != nil {
			return 0, err
		}
		if change.state == "SUCCESS" {
			return since(began, change.at), s.called.skip(ctx, 2) // the events of both writes
		}
	}
}
