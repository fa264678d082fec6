// Command crash tries to make Postrider lose a mail, send one twice, or leave one
// behind. It runs real workers against a Firestore server and a mail server of
// its own, while it kills, freezes and ends the workers, cuts what connects them,
// restarts Firestore, and has every worker's clock go wrong:
//
//	go run ./cmd/crash                  5,000 documents, more than 20 kills
//	go run ./cmd/crash -mutate fence    the same with a protection taken out: must be noticed
//
// Afterwards each document must be final, and its mail accepted exactly once, or,
// where the record says that nobody can tell, at most once. What a document's
// record blames on a worker's death must be a worker that was killed, frozen, or
// without Firestore.
//
// The schedule follows the seed; what meets what does not, for the workers are
// real. Exit codes: 0 as promised (with -mutate: noticed), 1 not, 2 usage.
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
	code := program{out: os.Stdout, err: os.Stderr}.main(ctx, os.Args[1:])
	stop()
	os.Exit(code)
}

// program is where a run's output goes.
type program struct {
	out, err io.Writer
}

// main runs what args ask for and returns the exit code.
func (p program) main(ctx context.Context, args []string) int {
	plan, err := p.parse(args)
	switch {
	case errors.Is(err, flag.ErrHelp):
		return exitDone
	case err != nil:
		fmt.Fprintln(p.err, "crash:", err)
		return exitUsage
	}
	result, err := run(ctx, plan, p.out)
	if err != nil {
		fmt.Fprintln(p.err, "crash:", err)
		return exitFailed
	}
	fmt.Fprint(p.out, result)
	if !result.asWanted() {
		return exitFailed
	}
	return exitDone
}

// parse reads the command line.
func (p program) parse(args []string) (plan, error) {
	set := flag.NewFlagSet("crash", flag.ContinueOnError)
	set.SetOutput(p.err)
	name := set.String("mutate", "", "take this protection out of the workers: "+strings.Join(mutationNames(), ", "))
	intact := set.Bool("intact", false, "with -mutate: do what is done to the mutant to the program as it is, for comparison")
	docs := set.Int("docs", 0, "documents; 0 means as many as the run needs: 5000 without -mutate")
	workers := set.Int("workers", 3, "worker processes")
	kills := set.Int("kills", -1, "kills of a single worker, besides those of all at once; -1 means as many as the run needs: 20 without -mutate")
	seed := set.Uint64("seed", 0, "of the schedule; 0 means another one each time")
	skew := set.Duration("skew", 30*time.Second, "how wrong a worker's clock may be, either way")
	verbose := set.Bool("v", false, "say what happens")
	if err := set.Parse(args); err != nil {
		return plan{}, err
	}
	if set.NArg() > 0 {
		return plan{}, fmt.Errorf("%q is not a flag", set.Arg(0))
	}
	chosen, err := planFor(*name)
	if err != nil {
		return plan{}, err
	}
	if *intact {
		chosen.mutation = ""
	}
	chosen.workers, chosen.skew, chosen.verbose = max(1, *workers), *skew, *verbose
	if *docs > 0 {
		chosen.docs = *docs
	}
	if *kills >= 0 {
		chosen.faults[faultKill] = *kills
	}
	if chosen.seed = *seed; *seed == 0 {
		chosen.seed = rand.Uint64()>>32 + 1
	}
	return chosen, nil
}
