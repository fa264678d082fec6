package main

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync"
	"syscall"
	"time"

	"postrider/smtp/smtptest"
)

// crew is the workers: a slot for each, in which processes come and go.
type crew struct {
	plan    plan
	binary  string
	dir     string // for logs
	store   *store
	mail    *mailServer
	journal *journal
	ports   []int                            // of the workers' HTTP, by slot
	idle    chan *slot                       // slots whose worker runs, and which no fault has in hand
	spawn   func(slot int) (*process, error) // starts a worker that lives as long as the crew, not as long as a fault
	running sync.WaitGroup                   // processes

	mu        sync.Mutex
	random    *rand.Rand
	started   int
	processes []*process // all that ever were
}

// slot is a worker's place. Who has taken it from idle has it for itself.
type slot struct {
	n       int
	process *process
}

const (
	settleIn  = time.Second      // from a worker's start until it may be broken
	longDown  = 3 * time.Second  // how long a worker is away, at most
	longDrain = 20 * time.Second // from SIGTERM to the end: the drain time, and an attempt that only time ends
	longDying = 10 * time.Second // from SIGKILL to the end
)

func (c *crew) between(a, b time.Duration) time.Duration {
	c.mu.Lock()
	defer c.mu.Unlock()
	return between(c.random, a, b)
}

// open starts all workers. The end of ctx ends them and those that follow.
func (c *crew) open(ctx context.Context) error {
	c.idle = make(chan *slot, c.plan.workers)
	c.spawn = func(slot int) (*process, error) { return c.start(ctx, slot) }
	for n := range c.plan.workers {
		port, err := smtptest.FreePort()
		if err != nil {
			return fmt.Errorf("find a port for a worker: %w", err)
		}
		c.ports = append(c.ports, port)
		p, err := c.spawn(n)
		if err != nil {
			return err
		}
		c.idle <- &slot{n, p}
	}
	return nil
}

// take takes a slot in hand; nil if ctx ends before one is free.
func (c *crew) take(ctx context.Context) *slot {
	select {
	case s := <-c.idle:
		return s
	case <-ctx.Done():
		return nil
	}
}

// takeAll takes as many slots as are free within some time.
func (c *crew) takeAll(ctx context.Context, longest time.Duration) []*slot {
	ctx, cancel := context.WithTimeout(ctx, longest)
	defer cancel()
	var all []*slot
	for range c.plan.workers {
		if s := c.take(ctx); s != nil {
			all = append(all, s)
		}
	}
	return all
}

// takeNamed takes the slot of one process, if it is free.
func (c *crew) takeNamed(name string) *slot {
	var found *slot
	for range len(c.idle) {
		select {
		case s := <-c.idle:
			if s.process.name == name {
				found = s
				continue
			}
			c.idle <- s
		default:
		}
	}
	return found
}

// kill kills a slot's worker.
func (c *crew) kill(s *slot) {
	s.process.signal(syscall.SIGKILL)
	now := time.Now()
	c.journal.note(faultKill, s.process.name, now, now)
}

// revive starts another worker in a slot, after a pause, and lets go of the slot.
func (c *crew) revive(ctx context.Context, s *slot) error {
	limit := time.NewTimer(longDying)
	defer limit.Stop()
	select {
	case <-s.process.done:
	case <-limit.C:
		return fmt.Errorf("%s does not end", s.process.name)
	}
	await(ctx, c.between(0, longDown))
	if ctx.Err() != nil {
		return nil
	}
	p, err := c.spawn(s.n)
	if err != nil {
		return err
	}
	s.process = p
	await(ctx, settleIn)
	c.idle <- s
	return nil
}

// terminate tells a slot's worker to stop, which it must do well.
func (c *crew) terminate(s *slot) {
	now := time.Now()
	s.process.signal(syscall.SIGTERM)
	c.journal.note(faultTerm, s.process.name, now, now)
	limit := time.NewTimer(longDrain)
	defer limit.Stop()
	select {
	case <-s.process.done:
		if s.process.code != 0 {
			c.journal.find(died, "", "%s was told to stop and ended with exit code %d; its log is %s", s.process.name, s.process.code, s.process.log)
		}
	case <-limit.C:
		c.journal.find(died, "", "%s was told to stop and did not; its log is %s", s.process.name, s.process.log)
		s.process.signal(syscall.SIGKILL)
	}
}

// freeze stops a slot's worker for a while, as if its machine had.
func (c *crew) freeze(ctx context.Context, s *slot) {
	from := time.Now()
	s.process.signal(syscall.SIGSTOP)
	await(ctx, c.between(c.plan.frozen[0], c.plan.frozen[1]))
	s.process.signal(syscall.SIGCONT)
	c.journal.note(faultFreeze, s.process.name, from, time.Now())
}

// close ends all workers and waits for them.
func (c *crew) close() {
	c.mu.Lock()
	for _, p := range c.processes {
		p.signal(syscall.SIGKILL)
	}
	c.mu.Unlock()
	c.running.Wait()
}
