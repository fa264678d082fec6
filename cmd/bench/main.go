// Command bench measures Postrider against the limits that it works under, side
// by side with them in one run, and prints one table:
//
//	go run ./cmd/bench               everything, some ten minutes
//	go run ./cmd/bench -only smtp    one section of it
//	go run ./cmd/bench -quick        everything in small: whether this program works
//
// Each line has our figure, that of the rival or of the bare limit, their ratio
// and the target. Who is compared takes turns, and the median counts: of three
// rounds, six where they are short, for waiting documents, and of five for SMTP
// after one that does not count. Memory is the highest of the rounds. A single
// mail's latency is told by its median and p99, its parts measured between the
// mails; a start is the median of fifteen. Operations, and the memory over many
// mails, come of one run. Google's emulator is used for a while before the drains,
// for it is slow until it has warmed up. The bare limit is a program (bare.go) that
// makes the two writes and the SMTP transaction of each mail and does nothing else.
//
// Firestore's servers, the mail server, the bare limit and the worker are
// processes of their own; all share the machine. Where a piece of the machine is
// missing (see cmd/testenv), its lines are left out, and the table says so.
//
// Exit codes: 0 measured, whatever came of it, 1 not, 2 usage.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/signal"
	"slices"
	"strings"
	"syscall"
	"time"
)

// Exit codes.
const (
	exitDone   = 0
	exitFailed = 1
	exitUsage  = 2
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	code := exitDone
	if role := os.Getenv(roleVariable); role == "" {
		code = program{out: os.Stdout, err: os.Stderr, npm: true}.main(ctx, os.Args[1:])
	} else if err := play(ctx, role, os.Args[1:], os.Stdin, os.Stdout); err != nil {
		fmt.Fprintf(os.Stderr, "bench: %s: %v\n", role, err)
		code = exitFailed
	}
	stop()
	os.Exit(code)
}

// program is where a run's output goes, and what it may do.
type program struct {
	out, err io.Writer
	npm      bool // fetch nodemailer; without, nothing is compared with it
}

// main runs what args ask for and returns the exit code.
func (p program) main(ctx context.Context, args []string) int {
	plan, err := p.parse(args)
	switch {
	case errors.Is(err, flag.ErrHelp):
		return exitDone
	case err != nil:
		fmt.Fprintln(p.err, "bench:", err)
		return exitUsage
	}
	if err := p.run(ctx, plan); err != nil {
		fmt.Fprintln(p.err, "bench:", err)
		return exitFailed
	}
	return exitDone
}

// plan is what one run measures.
type plan struct {
	sections []section
	quick    bool
	seed     uint64 // of the documents' IDs
}

// sizes are how much of everything there is.
type sizes struct {
	rounds      int           // of each party
	drains      []int         // waiting documents
	connections []int         // of SMTP
	spells      int           // rounds of SMTP
	spell       time.Duration // of sending without pause, in each; over the slow network longer
	operations  int           // mails whose operations are counted
	marks       []int         // mails after which the memory is read
	singles     int           // mails one at a time
	starts      int           // of the program
}

// short is how many mails are so few that there are twice as many rounds.
const short = 2_000

func full() sizes {
	return sizes{
		rounds: 3, drains: []int{2_000, 20_000}, connections: []int{1, 4, 16, 64}, spells: 5, spell: 500 * time.Millisecond,
		operations: 2_000, marks: []int{20_000, 100_000, 200_000}, singles: 200, starts: 15,
	}
}

func quick() sizes {
	return sizes{
		rounds: 1, drains: []int{50, 200}, connections: []int{1, 4}, spells: 1, spell: 150 * time.Millisecond,
		operations: 100, marks: []int{500, 1_000, 2_000}, singles: 10, starts: 2,
	}
}

// parse reads the command line.
func (p program) parse(args []string) (plan, error) {
	set := flag.NewFlagSet("bench", flag.ContinueOnError)
	set.SetOutput(p.err)
	only := set.String("only", "", "measure these sections alone, separated by commas: "+strings.Join(sectionNames(), ", "))
	small := set.Bool("quick", false, "measure in small: figures mean nothing")
	seed := set.Uint64("seed", 0, "of the documents' IDs; 0 means another one each time")
	if err := set.Parse(args); err != nil {
		return plan{}, err
	}
	if set.NArg() > 0 {
		return plan{}, fmt.Errorf("%q is not a flag", set.Arg(0))
	}
	chosen := plan{sections: allSections(), quick: *small, seed: *seed}
	if *seed == 0 {
		chosen.seed = rand.Uint64()>>32 + 1
	}
	if *only == "" {
		return chosen, nil
	}
	names := strings.Split(*only, ",")
	for _, name := range names {
		if !slices.Contains(sectionNames(), name) {
			return plan{}, fmt.Errorf("there is no section %q", name)
		}
	}
	chosen.sections = slices.DeleteFunc(chosen.sections, func(s section) bool { return !slices.Contains(names, s.name) })
	return chosen, nil
}

// section is a part of the table.
type section struct {
	name    string
	measure func(context.Context, *rig) error
}

// allSections returns the sections in the order of their numbers, in which they are
// measured.
func allSections() []section {
	return []section{
		{"drain", measureDrains},
		{"smtp", measureSMTP},
		{"cpu", measureCPU},
		{"operations", measureOperations},
		{"memory", measureMemory},
		{"latency", measureLatency},
		{"start", measureStart},
	}
}

func sectionNames() []string {
	var all []string
	for _, s := range allSections() {
		all = append(all, s.name)
	}
	return all
}

// run measures what the plan says.
func (p program) run(ctx context.Context, plan plan) (err error) {
	began := time.Now()
	sizes := full()
	if plan.quick {
		sizes = quick()
	}
	r, err := newRig(ctx, sizes, rand.New(rand.NewPCG(plan.seed, 1)), p)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, r.close()) }()
	r.table.head(plan.seed)
	for _, s := range plan.sections {
		if err := s.measure(ctx, r); err != nil {
			return fmt.Errorf("%s: %w", s.name, err)
		}
	}
	r.table.foot(time.Since(began))
	return nil
}
