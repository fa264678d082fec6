// Command postrider sends the e-mail that an application asks for by adding a
// document to a Firestore collection.
//
//	postrider [run]         watch the mail collection and send
//	postrider run --drain   send what is waiting, and exit
//	postrider dev           try it: emulator, inbox and worker in one
//	postrider send          add a document and follow it to its end
//
// Exit codes: 0 done, 1 failed, 2 usage or settings.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"postrider/config"
)

// Exit codes.
const (
	exitDone   = 0
	exitFailed = 1
	exitUsage  = 2
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // a second signal ends the program at once
	p := program{lookup: os.LookupEnv, out: os.Stdout, err: os.Stderr}
	os.Exit(p.main(ctx, os.Args[1:]))
}

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
	set.SetOutput(io.Discard) // the error says it
	usage := set.Usage
	set.Usage = func() {}
	err := set.Parse(args)
	switch {
	case errors.Is(err, flag.ErrHelp):
		usage()
		return err
	case err != nil:
		return &usageError{fmt.Sprintf("postrider %s: %v", set.Name(), err)}
	case set.NArg() > 0:
		return &usageError{fmt.Sprintf("postrider %s: %q is not a flag", set.Name(), set.Arg(0))}
	}
	return nil
}

func (p program) help(w io.Writer) {
	fmt.Fprint(w, `Postrider sends the e-mail that an application asks for by adding a document to
a Firestore collection.

Commands:
  postrider [run]         watch the mail collection and send; --help lists the settings
  postrider run --drain   send what is waiting, and exit: 0 when nothing is left, 1 if some failed
  postrider dev           try it on this machine: Firestore emulator, inbox and worker in one
  postrider send          add a mail document and follow it to its end
  postrider help          this text

Exit codes: 0 done, 1 failed, 2 usage or settings.
`)
}

func indented(text string) string {
	return "  " + strings.ReplaceAll(text, "\n", "\n  ")
}
