package main

import (
	"context"
	"math/rand/v2"
	"time"

	"golang.org/x/sync/errgroup"
)

// controller does what the schedule says.
type controller struct {
	plan    plan
	random  *rand.Rand // of the goroutine that follows the schedule
	store   *store
	mail    *mailServer
	crew    *crew
	journal *journal
}

const (
	longWait   = 6 * time.Second  // for a checkpoint; an instance looks every 5 s whether one is worth it
	longGather = 15 * time.Second // until no other fault has a worker in hand
	longHold   = 25 * time.Second // for the lease of a worker that was killed to be found lapsed
	longBreak  = 2 * time.Second  // without Firestore; less than the leases' margin
)

// follow makes each fault happen at its time, and returns when all is well again.
func (c *controller) follow(ctx context.Context) error {
	faults, inner := errgroup.WithContext(ctx)
	c.store.belate = func(ended []string) bool {
		s := c.crew.takeNamed(c.mail.sender(ended[0]))
		if s == nil {
			return false
		}
		c.crew.kill(s)
		c.journal.note(faultLate, s.process.name, time.Now(), time.Now())
		faults.Go(func() error { return c.crew.revive(inner, s) })
		c.store.final(inner, ended, longHold)
		return true
	}
	began := time.Now()
	for _, e := range c.plan.schedule(c.random) {
		await(inner, e.at-time.Since(began))
		if inner.Err() != nil {
			break
		}
		c.happen(inner, faults, e.fault)
	}
	c.store.noMoreLate()
	return faults.Wait()
}

// happen begins one fault.
func (c *controller) happen(ctx context.Context, group *errgroup.Group, f fault) {
	switch f {
	case faultCut:
		c.mail.cut(c.random)
	case faultReset:
		c.store.reset()
	case faultLate:
		c.store.late <- struct{}{}
	case faultRestart:
		pause := between(c.random, 0, longBreak)
		group.Go(func() error { return c.store.restart(ctx, pause) })
	case faultBlackout:
		c.blackout(ctx, group) // nothing else begins meanwhile
	default:
		group.Go(func() error { return c.strike(ctx, f) })
	}
}

// strike does to one worker what the fault is.
func (c *controller) strike(ctx context.Context, f fault) error {
	s := c.crew.take(ctx)
	if s == nil {
		return nil
	}
	switch f {
	case faultKill:
		c.crew.kill(s)
	case faultTerm:
		c.crew.terminate(s)
	case faultFreeze:
		c.crew.freeze(ctx, s)
		c.crew.idle <- s
		return nil
	}
	return c.crew.revive(ctx, s)
}

// blackout kills all workers at once, right after one of them has saved how far
// it has read: what is not taken care of by then must be found by the next ones.
func (c *controller) blackout(ctx context.Context, group *errgroup.Group) {
	all := c.crew.takeAll(ctx, longGather)
	select {
	case <-c.store.checkpoint: // an earlier one
	default:
	}
	timer := time.NewTimer(longWait)
	defer timer.Stop()
	select {
	case <-c.store.checkpoint:
		c.journal.count(countCheckpoints)
	case <-timer.C:
	case <-ctx.Done():
	}
	now := time.Now()
	for _, s := range all {
		c.crew.kill(s)
		group.Go(func() error { return c.crew.revive(ctx, s) })
	}
	c.journal.note(faultBlackout, "", now, now)
}
