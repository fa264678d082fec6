package main

import (
	"flag"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"postrider/delivery/firestored"
)

var (
	restarts    = flag.Int("restarts", 30, "random schedules of restarts")
	restartSeed = flag.Uint64("restart-seed", 1, "seed of the first; each takes the next")
)

// Whenever instances stop or die, and whatever Firestore does meanwhile, the next
// one goes on where they were: nothing is sent twice, and nothing waits for an
// audit that is not asked for.
func TestRestartsLeaveNothingBehind(t *testing.T) {
	for n := range uint64(*restarts) {
		seed := *restartSeed + n
		t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				c := &company{world: newWorld(t, seed), random: rand.New(rand.NewPCG(seed, 17))}
				defer c.end()
				c.schedule(seed)
			})
		})
	}
	leave(t, "restarts", fmt.Sprintf("schedules of restarts: %d, seeds %d to %d", *restarts, *restartSeed, *restartSeed+uint64(*restarts)-1))
}

// company is a world whose instances come and go.
type company struct {
	*world
	random *rand.Rand
	mortal bool // some die without a word
	docs   int
	born   int
	lost   int // documents that the dead may have had in hand
}

func (c *company) below(n int) int { return c.random.IntN(n) }

// troubles are the faults that a schedule chooses from: those that lose nothing
// for good.
func troubles() []string {
	return []string{
		"nothing", "nothing", "nothing", "stream cut", "stream silent", "permission denied", "unavailable",
		"aborted", "change repeated", "answered late", "applied late", "applied and unavailable",
	}
}

func (c *company) schedule(seed uint64) {
	c.mortal = seed%2 == 0
	c.addSome(c.below(30))
	c.bear(1 + c.below(3))
	breakages, troubles := breakages(), troubles()
	for range 3 + c.below(5) {
		fault := &chance{random: rand.New(rand.NewPCG(seed, 13)), often: []float64{0.05, 0.3}[c.below(2)]}
		c.server.SetFaults(breakages[troubles[c.below(len(troubles))]](fault))
		for range c.below(10) {
			c.happen()
		}
		if c.below(2) == 0 {
			c.restartAll()
		}
	}
	c.server.SetFaults(firestored.Faults{})
	if len(c.instances) == 0 {
		c.bear(1)
	}
	c.addSome(2)
	time.Sleep(9 * time.Minute)
	synctest.Wait()
	c.check()
}

// happen is one event of many.
func (c *company) happen() {
	switch n := c.below(20); {
	case n < 8:
		time.Sleep(time.Duration(c.below(6000)) * time.Millisecond)
	case n < 9:
		time.Sleep(time.Duration(c.below(40)) * time.Minute)
	case n < 13:
		c.addSome(c.below(25))
	case n < 15:
		c.server.ExpireTokens()
	case n < 17 && len(c.instances) < 4:
		c.bear(1)
	case n < 19 && len(c.instances) > 0:
		c.part(c.instances[c.below(len(c.instances))])
	case c.docs > 0:
		c.edit(fmt.Sprint("doc-", c.below(c.docs)))
	}
}

func (c *company) addSome(n int) {
	for range n {
		c.add(fmt.Sprint("doc-", c.docs))
		c.docs++
	}
}

func (c *company) bear(n int) {
	for range n {
		o := worldOptions(c.born)
		o.Concurrency = []int{1, 2, 8, 20}[c.below(4)]
		c.born++
		c.open(o).run()
	}
}

// part ends an instance, by death or with a goodbye.
func (c *company) part(i *instance) {
	if c.mortal && c.below(2) == 0 {
		c.lost += 20
		i.die()
	}
	i.leave()
}

// restartAll stops all instances at once, in the middle of their work, and
// starts others after a while.
func (c *company) restartAll() {
	c.addSome(c.below(10))
	time.Sleep(time.Duration(c.below(1500)) * time.Millisecond)
	var ends sync.WaitGroup
	for _, i := range append([]*instance(nil), c.instances...) {
		if c.mortal {
			c.lost += 20
			i.die()
		}
		ends.Go(i.leave)
	}
	ends.Wait()
	c.addSome(c.below(5))
	if c.below(5) == 0 {
		time.Sleep(time.Duration(c.below(50)) * time.Minute)
	}
	c.bear(1 + c.below(2))
}

// check looks for documents that were left behind, or sent twice. Only what the
// dead may have had in hand may have ended in ERROR, and what was claimed for an
// instance only after it had ended.
func (c *company) check() {
	states := c.states()
	c.mu.Lock()
	defer c.mu.Unlock()
	if states["SUCCESS"]+states["ERROR"] != c.docs || states["ERROR"] > c.lost+c.unwritten {
		c.t.Errorf("%v of %d documents, at most %d were in dead hands, and %d not written", states, c.docs, c.lost, c.unwritten)
	}
	for id, n := range c.sent {
		if n > 1 {
			c.t.Errorf("%s was sent %d times", id, n)
		}
	}
	if len(c.sent)+states["ERROR"] < c.docs {
		c.t.Errorf("%d of %d mails were sent", len(c.sent), c.docs)
	}
}
