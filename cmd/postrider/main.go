// Command postrider sends the e-mail that an application asks for by adding a
// document to a Firestore collection.
//
//	postrider [run]         watch the mail collection and send
//	postrider run --drain   send what is waiting, and exit
//	postrider dev           try it: emulator, inbox and worker in one
//	postrider send          add a document and follow it to its end
//	postrider show ID       print what has become of a document's mail
//	postrider list          print a line for each document
//	postrider bench         measure how many mails a second the settings take
//
// Exit codes: 0 done, 1 failed, 2 usage or settings, 3 no such document.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"runtime"
	"strings"
	"syscall"

	"postrider/config"
)

// Exit codes.
const (
	exitDone     = 0
	exitFailed   = 1
	exitUsage    = 2
	exitNotFound = 3
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // a second signal ends the program at once
	p := program{lookup: os.LookupEnv, out: os.Stdout, err: os.Stderr}
	spare := make([]byte, spareHeap)
	code := p.main(ctx, os.Args[1:])
	runtime.KeepAlive(spare)
	os.Exit(code)
}

// spareHeap is never touched, and so takes no memory, but counts as heap (and
// towards GOMEMLIMIT). So
// little else is kept that the collector would run for every four megabytes of
// garbage; with it, it runs for every twenty, which takes a tenth less of all CPU.
// A higher GOGC would multiply what large mails take, too.
const spareHeap = 16 << 20

// program is what a command uses of the process it runs in.
type program struct {
	lookup   func(string) (string, bool)
	out, err io.Writer
}

// errFailed ends a command whose output has said already what failed.
var errFailed = errors.New("failed")

// usageError is a command line that can't be understood.
type usageError struct{ problem string }

func (e *usageError) Error() string { return e.problem + "\nTry: postrider help" }

// main runs the command that args name and returns the exit code.
func (p program) main(ctx context.Context, args []string) int {
	name := "run"
	if len(args) > 0 && !strings.HasPrefix(args[0], "-") {
		name, args = args[0], args[1:]
	}
	var err error
	switch name {
	case "run":
		err = p.run(ctx, args)
	case "dev":
		err = p.dev(ctx, args)
	case "send":
		err = p.send(ctx, args)
	case "show":
		err = p.show(ctx, args)
	case "list":
		err = p.list(ctx, args)
	case "bench":
		err = p.bench(ctx, args)
	case "help":
		p.help(p.out)
	default:
		err = &usageError{fmt.Sprintf("postrider: there is no command %q", name)}
	}
	return p.exitCode(err)
}

// exitCode says what is wrong, if anything, and returns the code for it.
func (p program) exitCode(err error) int {
	var usage *usageError
	var fault *config.Fault
	var missing *missingError
	switch {
	case err == nil, errors.Is(err, flag.ErrHelp):
		return exitDone
	case errors.Is(err, errFailed):
		return exitFailed
	case errors.As(err, &usage):
		fmt.Fprintln(p.err, err)
		return exitUsage
	case errors.As(err, &fault):
		fmt.Fprintf(p.err, "postrider: the settings are not right:\n%s\nTry: postrider run --help\n", indented(err.Error()))
		return exitUsage
	case errors.As(err, &missing):
		fmt.Fprintln(p.err, "postrider:", err)
		return exitNotFound
	default:
		fmt.Fprintln(p.err, "postrider:", err)
		return exitFailed
	}
}

// flags returns the set of a command's flags. Text is what its help begins
// with; more prints what follows the flags and may be nil.
func (p program) flags(name, text string, more func(io.Writer)) *flag.FlagSet {
	set := flag.NewFlagSet(name, flag.ContinueOnError)
	set.SetOutput(p.out)
	set.Usage = func() {
		fmt.Fprintln(p.out, text)
		fmt.Fprintln(p.out, "\nFlags:")
		set.PrintDefaults()
		if more != nil {
			more(p.out)
		}
	}
	return set
}

// parse reads a command line that has flags and nothing else.
func parse(set *flag.FlagSet, args []string) error {
	rest, err := operands(set, args)
	if err == nil && len(rest) > 0 {
		return &usageError{fmt.Sprintf("postrider %s: %q is not a flag", set.Name(), rest[0])}
	}
	return err
}

// operands reads a command line and returns what in it is no flag. Flags may
// stand before it and after it, up to an argument --.
func operands(set *flag.FlagSet, args []string) ([]string, error) {
	terminal, usage := set.Output(), set.Usage
	set.SetOutput(io.Discard) // the error says it
	set.Usage = func() {}
	var out []string
	for {
		err := set.Parse(args)
		switch {
		case errors.Is(err, flag.ErrHelp):
			set.SetOutput(terminal)
			usage()
			return nil, err
		case err != nil:
			return nil, &usageError{fmt.Sprintf("postrider %s: %v", set.Name(), err)}
		}
		rest := set.Args()
		if ended := len(args) - len(rest) - 1; len(rest) == 0 || ended >= 0 && args[ended] == "--" {
			return append(out, rest...), nil
		}
		out, args = append(out, rest[0]), rest[1:]
	}
}

func (p program) help(w io.Writer) {
	fmt.Fprint(w, `Postrider sends the e-mail that an application asks for by adding a document to
a Firestore collection.

Commands:
  postrider [run]         watch the mail collection and send; --help lists the settings
  postrider run --drain   send what is waiting, and exit: 0 when nothing is left, 1 if some failed
  postrider dev           try it on this machine: Firestore emulator, inbox and worker in one
  postrider send          add a mail document and follow it to its end
  postrider show ID       print what has become of a document's mail, and what is to be done
  postrider list          print a line for each mail document; --state ERROR, --class unknown
  postrider bench         measure how many mails a second the settings take; --dry-run sends none
  postrider help          this text

Exit codes: 0 done, 1 failed, 2 usage or settings, 3 no such document.
`)
}

func indented(text string) string {
	return "  " + strings.ReplaceAll(text, "\n", "\n  ")
}
