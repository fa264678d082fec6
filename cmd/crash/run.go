package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"

	"golang.org/x/sync/errgroup"

	"postrider/smtp/smtptest"
)

// run builds the workers' program and breaks it as the plan says.
func run(ctx context.Context, p plan, out io.Writer) (result, error) {
	dir, err := os.MkdirTemp("", "postrider-crash-")
	if err != nil {
		return result{}, fmt.Errorf("make a folder: %w", err)
	}
	var r result
	patches := mutationNamed(p.mutation).patches
	if p.skew > 0 {
		patches = append(patches, skewed())
	}
	binary, err := build(ctx, dir, patches)
	if err == nil {
		r, err = torment(ctx, p, binary, dir, out)
	}
	if err == nil && r.asWanted() {
		err = os.RemoveAll(dir)
	}
	if err != nil && ctx.Err() != nil { // interrupted: nobody wants the logs
		err = errors.Join(err, os.RemoveAll(dir))
	}
	r.logs = dir
	return r, err
}

// torment runs workers from binary, and judges what they have done.
func torment(ctx context.Context, p plan, binary, dir string, out io.Writer) (result, error) {
	ctx, end := context.WithCancel(ctx)
	defer end()
	if !p.verbose {
		out = nil
	}
	j := newJournal(out)
	port, err := smtptest.FreePort()
	if err != nil {
		return result{}, fmt.Errorf("find a port for Firestore: %w", err)
	}
	s := newStore(fmt.Sprintf("127.0.0.1:%d", port), j)
	if err := s.open(ctx); err != nil {
		return result{}, err
	}
	m := newMailServer(p.mail, p.seed, j)
	c := &crew{plan: p, binary: binary, dir: dir, store: s, mail: m, journal: j, random: rand.New(rand.NewPCG(p.seed, 1))}
	f := facts{docs: p.docs, touched: map[string][]touch{}}
	err = c.open(ctx)
	if err == nil {
		boss := &controller{plan: p, random: rand.New(rand.NewPCG(p.seed, 2)), store: s, mail: m, crew: c, journal: j}
		f.records, err = spoil(ctx, boss)
	}
	end() // all sessions and connections with it
	c.close()
	m.running.Wait()
	if err = errors.Join(err, s.down()); err != nil {
		return result{}, err
	}
	j.known(&f)
	m.known(&f)
	s.known(&f)
	if err := c.known(&f); err != nil {
		return result{}, err
	}
	r := result{plan: p, facts: f}
	r.tally, r.findings = verdict(f)
	return r, nil
}

// spoil adds the documents while everything breaks, and returns what they have
// become once all is well again.
func spoil(ctx context.Context, c *controller) (map[string]record, error) {
	group, both := errgroup.WithContext(ctx)
	watching, stop := context.WithCancel(both)
	group.Go(func() error { return c.store.watch(watching) })
	var all map[string]record
	group.Go(func() (err error) {
		defer stop()
		trouble, inner := errgroup.WithContext(both)
		trouble.Go(func() error { return c.store.addAll(inner, c.plan, rand.New(rand.NewPCG(c.plan.seed, 3))) })
		trouble.Go(func() error { return c.follow(inner) })
		if err := trouble.Wait(); err != nil {
			return err
		}
		c.journal.say("all is well again")
		all, err = c.store.settle(both, c.plan.patience)
		return err
	})
	err := group.Wait()
	if err == nil && ctx.Err() != nil {
		err = ctx.Err()
	}
	return all, err
}
