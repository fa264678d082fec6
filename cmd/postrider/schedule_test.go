package main

import (
	"flag"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc/codes"

	"postrider/delivery/firestored"
)

var (
	schedules    = flag.Int("schedules", 4, "random schedules for each pair of source and fault")
	scheduleSeed = flag.Uint64("schedule-seed", 1, "seed of the first schedule; each takes the next")
)

// chance breaks things at random, with a probability.
type chance struct {
	mu     sync.Mutex
	random *rand.Rand
	often  float64
}

func (c *chance) hit() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.random.Float64() < c.often
}

// pick returns a value below n.
func (c *chance) pick(n int) int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.random.IntN(n)
}

// call breaks unary calls, but not the application's: what it writes twice is
// its own affair.
func (c *chance) call(f func() firestored.CallFault) firestored.Faults {
	return firestored.Faults{Call: func(method string, _ any) firestored.CallFault {
		if method != "UpdateDocument" && c.hit() {
			return f()
		}
		return firestored.CallFault{}
	}}
}

// refuse answers calls and streams with a code, nothing being applied.
func (c *chance) refuse(code codes.Code) firestored.Faults {
	f := c.call(func() firestored.CallFault { return firestored.CallFault{Refuse: code} })
	f.Stream = func(_ string, sent int) firestored.StreamFault {
		if sent == 0 && c.hit() {
			return firestored.StreamFault{Cut: code}
		}
		return firestored.StreamFault{}
	}
	return f
}

// streams breaks streams, those that listen and those that answer queries.
func (c *chance) streams(f firestored.StreamFault) firestored.Faults {
	return firestored.Faults{Stream: func(string, int) firestored.StreamFault {
		if c.hit() {
			return f
		}
		return firestored.StreamFault{}
	}}
}

// changes breaks what listeners hear.
func (c *chance) changes(f firestored.ChangeFault) firestored.Faults {
	return firestored.Faults{Change: func(string) firestored.ChangeFault {
		if c.hit() {
			return f
		}
		return firestored.Intact
	}}
}

// events breaks what is pushed.
func (c *chance) events(f func() firestored.EventFault) firestored.Faults {
	return firestored.Faults{Event: func(string) firestored.EventFault {
		if c.hit() {
			return f()
		}
		return firestored.EventFault{}
	}}
}

// breakages are all faults there are, by name.
func breakages() map[string]func(*chance) firestored.Faults {
	return map[string]func(*chance) firestored.Faults{
		"nothing":            func(*chance) firestored.Faults { return firestored.Faults{} },
		"stream cut":         func(c *chance) firestored.Faults { return c.streams(firestored.StreamFault{Cut: codes.Unavailable}) },
		"stream silent":      func(c *chance) firestored.Faults { return c.streams(firestored.StreamFault{Silent: true}) },
		"change lost":        func(c *chance) firestored.Faults { return c.changes(firestored.Lost) },
		"change repeated":    func(c *chance) firestored.Faults { return c.changes(firestored.Repeated) },
		"changes swapped":    func(c *chance) firestored.Faults { return c.changes(firestored.Swapped) },
		"permission denied":  func(c *chance) firestored.Faults { return c.refuse(codes.PermissionDenied) },
		"resource exhausted": func(c *chance) firestored.Faults { return c.refuse(codes.ResourceExhausted) },
		"aborted":            func(c *chance) firestored.Faults { return c.refuse(codes.Aborted) },
		"unavailable":        func(c *chance) firestored.Faults { return c.refuse(codes.Unavailable) },
		"answered late": func(c *chance) firestored.Faults {
			return c.call(func() firestored.CallFault {
				return firestored.CallFault{Late: time.Duration(c.pick(8000)) * time.Millisecond}
			})
		},
		"applied late": func(c *chance) firestored.Faults {
			return c.call(func() firestored.CallFault {
				return firestored.CallFault{Delay: time.Duration(c.pick(8000)) * time.Millisecond}
			})
		},
		"applied and unavailable": func(c *chance) firestored.Faults {
			return c.call(func() firestored.CallFault { return firestored.CallFault{Answer: codes.Unavailable} })
		},
		"applied twice": func(c *chance) firestored.Faults {
			return c.call(func() firestored.CallFault { return firestored.CallFault{Twice: true} })
		},
		"event lost": func(c *chance) firestored.Faults {
			return c.events(func() firestored.EventFault { return firestored.EventFault{Lose: true} })
		},
		"event repeated": func(c *chance) firestored.Faults {
			return c.events(func() firestored.EventFault { return firestored.EventFault{Copies: 2} })
		},
		"event late": func(c *chance) firestored.Faults {
			return c.events(func() firestored.EventFault {
				return firestored.EventFault{Delay: time.Duration(c.pick(30_000)) * time.Millisecond}
			})
		},
	}
}

// sources start workers, by how they are told of documents.
func sources() map[string]func(w *world, n int) {
	return map[string]func(w *world, n int){
		"listen": func(w *world, n int) {
			for i := range n {
				w.open(worldOptions(i)).run()
			}
		},
		"push": func(w *world, n int) {
			for i := range n {
				o := worldOptions(i)
				o.Push = true
				w.open(o).run()
			}
			w.push()
		},
		"drain": func(w *world, _ int) { w.open(worldOptions(0)).drain(time.Minute) },
	}
}

// Whatever Firestore does, when it works again every mail is sent, once. Each
// schedule is made of its seed alone.
func TestEveryMailIsSentOnceWhateverFirestoreDoes(t *testing.T) {
	breakages, sources := breakages(), sources()
	next := *scheduleSeed
	for _, source := range slices.Sorted(maps.Keys(sources)) {
		for _, fault := range slices.Sorted(maps.Keys(breakages)) {
			for range *schedules {
				seed := next
				t.Run(fmt.Sprintf("%s/%s/seed %d", source, fault, seed), func(t *testing.T) {
					t.Parallel()
					synctest.Test(t, func(t *testing.T) { schedule(t, seed, sources[source], breakages[fault]) })
				})
				next++
			}
		}
	}
	leave(t, "schedules", fmt.Sprintf("schedules of faults: %d, seeds %d to %d", next-*scheduleSeed, *scheduleSeed, next-1))
}

// leave leaves a line for the end of a run of all tests, as testenv prints it.
func leave(t *testing.T, name, line string) {
	t.Helper()
	dir := os.Getenv("POSTRIDER_TEST_REPORT")
	if dir == "" {
		t.Log(line)
		return
	}
	if err := os.WriteFile(filepath.Join(dir, name), []byte(line+"\n"), 0o600); err != nil {
		t.Error(err)
	}
}

// schedule adds documents while something is broken, now and then, and mends it.
func schedule(t *testing.T, seed uint64, start func(*world, int), fault func(*chance) firestored.Faults) {
	random := rand.New(rand.NewPCG(seed, 11))
	w := newWorld(t, seed)
	defer w.end()
	docs := 0
	add := func(n int) {
		for range n {
			w.add(fmt.Sprint("doc-", docs))
			docs++
		}
	}
	add(random.IntN(5)) // before anybody watches
	start(w, 1+random.IntN(3))
	for range 1 + random.IntN(3) {
		time.Sleep(time.Duration(random.IntN(20)) * time.Second)
		add(random.IntN(5))
		c := &chance{random: rand.New(rand.NewPCG(seed, 13)), often: []float64{0.1, 0.5, 1}[random.IntN(3)]}
		w.server.SetFaults(fault(c))
		until := time.Now().Add(time.Duration(1+random.IntN(25)) * time.Second)
		for time.Now().Before(until) {
			time.Sleep(time.Duration(random.IntN(5000)) * time.Millisecond)
			if random.IntN(4) == 0 {
				w.server.ExpireTokens()
			}
			if c.often < 1 {
				add(random.IntN(3))
			}
			if docs > 0 && c.often < 1 && random.IntN(3) == 0 {
				w.edit(fmt.Sprint("doc-", random.IntN(docs)))
			}
		}
		w.server.SetFaults(firestored.Faults{})
	}
	add(1 + random.IntN(3))
	w.settle(docs, 3*time.Hour)
}
