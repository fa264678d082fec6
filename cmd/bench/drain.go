package main

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"math"
	"slices"
	"time"
)

// round is what sending a number of waiting mails took.
type round struct {
	rate    float64 // mails a second, from the start of the process to the last finish; of the bare limit from its first claim
	inside  float64 // mails a second, from the first claim to the last finish
	whole   float64 // mails a second, from the start to the end of the process; 0 for one that does not end by itself
	cpu     float64 // ms a mail
	peak    float64 // MB
	records int     // bytes, a mail
}

// way is how waiting documents come to a worker.
type way struct {
	site    *site
	name    string
	run     func(context.Context, *rig, way, *outbox, sink, int) (used, error)
	watches bool
}

// measureDrains measures how fast waiting documents are sent. What that took of the
// machine it leaves to [measureCPU] and [measureMemory].
func measureDrains(ctx context.Context, r *rig) error {
	r.table.part("1. waiting documents, until all are in SUCCESS", "bare limit")
	var ways []way
	if at, err := r.google(ctx); err != nil {
		r.table.skip("waiting documents on Google's emulator", err)
	} else {
		ways = append(ways, way{at, "drain, Google's emulator", drain, false})
		if err := r.warmUp(ctx, ways[0]); err != nil {
			return err
		}
	}
	at, err := r.inMemory(ctx)
	if err != nil {
		return err
	}
	ways = append(ways, way{at, "listen, in-process server", listen, true})
	for _, w := range ways {
		for _, n := range r.sizes.drains {
			c, err := r.compare(ctx, w, n)
			if err != nil {
				return fmt.Errorf("%s: %w", w.name, err)
			}
			r.drained = append(r.drained, c)
		}
	}
	return nil
}

// measureCPU prints what the drains took of the processor. It measures them if
// nobody has.
func measureCPU(ctx context.Context, r *rig) error {
	if r.drained == nil {
		if err := measureDrains(ctx, r); err != nil {
			return err
		}
	}
	r.table.part("3. CPU of the worker's process, user and system", "bare limit")
	for _, c := range r.drained {
		r.table.add(line{name: c.name + ", all included", unit: "ms/mail", ours: c.cpu, theirs: c.bare, target: target{most: 0.3}})
		r.table.add(line{name: "  without what an empty collection costs", unit: "ms/mail", ours: c.cpu - c.idle})
	}
	return nil
}

// costs are what a drain took of the machine: the median of its rounds, but the
// highest peak.
type costs struct {
	name            string
	cpu, bare, idle float64 // ms a mail; idle is what a worker takes without any, spread over them
	peak            float64
}

// compare sends n mails in turns with the worker and with the bare limit. Who
// begins changes from round to round.
func (r *rig) compare(ctx context.Context, w way, n int) (costs, error) {
	parties := []func() (round, error){
		func() (round, error) { return r.work(ctx, w, n) },
		func() (round, error) { return r.bare(ctx, w, n) },
		func() (round, error) { return r.bare(ctx, w, n, oneByOne) },
	}
	if w.watches {
		parties = append(parties, func() (round, error) { return r.bare(ctx, w, n, besideWatch) })
	}
	rounds := r.sizes.rounds
	if n <= short {
		rounds *= 2
	}
	all := make([][]round, len(parties))
	for i := range rounds {
		for j := range parties {
			who := (i + j) % len(parties)
			one, err := parties[who]()
			if err != nil {
				return costs{}, err
			}
			all[who] = append(all[who], one)
		}
		a, b := all[0][i], all[1][i]
		r.say("%s, %d: %.0f (%.0f inside) and %.0f mails/s, %.3f and %.3f ms CPU, %.0f MB", w.name, n, a.rate, a.inside, b.rate, a.cpu, b.cpu, a.peak)
		if off := math.Abs(float64(a.records-b.records)) / float64(a.records); off > 0.1 {
			return costs{}, fmt.Errorf("the bare limit writes records of %d bytes, the worker of %d", b.records, a.records)
		}
	}
	idle, err := r.idle(ctx, w)
	if err != nil {
		return costs{}, err
	}
	name := fmt.Sprintf("%d documents, %s", n, w.name)
	r.compared(name, all)
	cpu := func(o round) float64 { return o.cpu }
	return costs{
		name: name, cpu: middle(all[0], cpu), bare: middle(all[1], cpu), idle: idle / float64(n),
		peak: slices.MaxFunc(all[0], func(a, b round) int { return cmp.Compare(a.peak, b.peak) }).peak,
	}, nil
}

// compared prints the rates of the worker, of the bare limit, of that one by one,
// and of that beside a watch, if there was one.
func (r *rig) compared(name string, all [][]round) {
	rate := func(o round) float64 { return o.rate }
	inside := func(o round) float64 { return o.inside }
	whole := func(o round) float64 { return o.whole }
	bare := middle(all[1], rate)
	r.table.add(line{
		name: name + ", from the process's start", unit: "mails/s",
		ours: middle(all[0], rate), theirs: bare, target: target{leastRatio: 0.8},
	})
	r.table.add(line{name: "  from the first claim to the last finish", unit: "mails/s", ours: middle(all[0], inside), theirs: bare})
	if v := middle(all[0], whole); v > 0 {
		r.table.add(line{name: "  to the end of the process, which looks whether anything is left", unit: "mails/s", ours: v, theirs: bare})
	}
	r.table.add(line{
		name: "  beside the bare limit that does not group its writes", unit: "mails/s",
		ours: middle(all[0], rate), theirs: middle(all[2], rate), target: target{leastRatio: 0.8},
	})
	if len(all) > 3 {
		r.table.add(line{
			name: "  beside the bare limit with a watch open, which reads and does nothing", unit: "mails/s",
			ours: middle(all[0], rate), theirs: middle(all[3], rate),
		})
	}
}

// middle returns the median of one figure of all rounds.
func middle(rounds []round, figure func(round) float64) float64 {
	var all []float64
	for _, r := range rounds {
		all = append(all, figure(r))
	}
	return median(all)
}

// warmUp has Google's emulator, whose machine compiles while it runs, do what
// will be measured.
func (r *rig) warmUp(ctx context.Context, w way) error {
	if r.sizes.rounds == 1 {
		return nil
	}
	for range r.sizes.rounds {
		b, err := r.bare(ctx, w, slices.Max(r.sizes.drains))
		if err != nil {
			return err
		}
		r.say("%s: the bare limit, warming up: %.0f mails/s", w.name, b.rate)
	}
	return nil
}

// work has a worker send n mails.
func (r *rig) work(ctx context.Context, w way, n int) (round, error) {
	mail, o, err := r.filled(ctx, w.site, n)
	if err != nil {
		return round{}, err
	}
	u, err := w.run(ctx, r, w, o, mail, n)
	if err != nil {
		return round{}, err
	}
	all, err := o.allSent(ctx, n)
	if err != nil {
		return round{}, err
	}
	mails := float64(n)
	one := round{
		rate: mails / all.last.Sub(u.began).Seconds(), inside: mails / all.last.Sub(all.first).Seconds(),
		cpu: milliseconds(u.cpu) / mails, peak: u.peak, records: all.bytes / n,
	}
	if !w.watches {
		one.whole = mails / u.took.Seconds()
	}
	return one, w.site.discard(ctx, o)
}

// filled returns the mail server, and a collection with n documents.
func (r *rig) filled(ctx context.Context, at *site, n int) (sink, *outbox, error) {
	mail, err := r.sink(ctx)
	if err != nil {
		return sink{}, nil, err
	}
	o := r.outbox(at)
	return mail, o, o.fill(ctx, n)
}

// allSent returns the records of n documents. It is an error if one of them is not
// in SUCCESS.
func (o *outbox) allSent(ctx context.Context, n int) (records, error) {
	all, err := o.records(ctx)
	if err == nil && (all.sent != n || all.others > 0) {
		err = fmt.Errorf("%d of %d documents are in SUCCESS", all.sent, n)
	}
	return all, err
}

func milliseconds(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }

// drain has the worker send what waits, and end.
func drain(ctx context.Context, r *rig, w way, o *outbox, mail sink, n int) (used, error) {
	before, err := mail.taken()
	if err != nil {
		return used{}, err
	}
	p, err := r.start(ctx, w.site.address, o, mail.address, []string{"--drain"})
	if err != nil {
		return used{}, err
	}
	u, err := p.wait()
	if err != nil {
		return used{}, err
	}
	return u, exactly(mail, before, n)
}

// listen has the worker listen until all is sent and recorded.
func listen(ctx context.Context, r *rig, w way, o *outbox, mail sink, n int) (used, error) {
	var p *worker
	err := sentAll(ctx, o, mail, n, func() (err error) {
		p, err = r.start(ctx, w.site.address, o, mail.address, nil, "SOURCE=listen")
		return err
	})
	switch {
	case p == nil:
		return used{}, err
	case err != nil:
		return used{}, fmt.Errorf("%w\n%s", err, p.said())
	}
	return p.stop()
}

// settled returns when no document is in the hands of a worker.
func (o *outbox) settled(ctx context.Context) error {
	return until(ctx, "all is recorded", 20*time.Millisecond, func() (bool, error) {
		n, err := o.count(ctx, "PROCESSING")
		return n == 0, err
	})
}

// exactly checks that so many mails were sent since.
func exactly(mail sink, before, n int) error {
	taken, err := mail.taken()
	if err == nil && taken-before != n {
		err = fmt.Errorf("%d mails were sent of %d documents", taken-before, n)
	}
	return err
}

// bare has the bare limit send n mails, in a mode of its own.
func (r *rig) bare(ctx context.Context, w way, n int, mode ...string) (round, error) {
	mail, o, err := r.filled(ctx, w.site, n)
	if err != nil {
		return round{}, err
	}
	before, err := mail.taken()
	if err != nil {
		return round{}, err
	}
	said, err := runBare(ctx, append([]string{w.site.address, o.project, mail.address}, mode...)...)
	if err != nil {
		return round{}, err
	}
	all, err := o.allSent(ctx, n)
	if err != nil {
		return round{}, fmt.Errorf("the bare limit: %w", err)
	}
	if err := exactly(mail, before, n); err != nil {
		return round{}, fmt.Errorf("the bare limit: %w", err)
	}
	mails := float64(n)
	rate := mails / said.Took.Seconds()
	return round{rate: rate, inside: rate, cpu: milliseconds(said.CPU) / mails, records: all.bytes / n}, w.site.discard(ctx, o)
}

// runBare runs the bare limit once.
func runBare(ctx context.Context, args ...string) (result bareResult, err error) {
	h, err := startHelper(ctx, roleBare, args...)
	if err != nil {
		return bareResult{}, err
	}
	said, err := h.ask("go")
	if err == nil {
		err = json.Unmarshal([]byte(said), &result)
	}
	if ended := h.close(); err == nil {
		err = ended
	}
	return result, err
}

// idle returns the CPU, in ms, of a worker on an empty collection.
func (r *rig) idle(ctx context.Context, w way) (float64, error) {
	mail, err := r.sink(ctx)
	if err != nil {
		return 0, err
	}
	u, err := drain(ctx, r, w, r.outbox(w.site), mail, 0)
	return milliseconds(u.cpu), err
}
