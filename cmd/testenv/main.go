// Command testenv runs a command with everything the tests need:
//
//	go run ./cmd/testenv -- go test -race ./...
//
// It looks for Google's Firestore emulator, Chromium, Postfix and Node. What is
// missing it installs where it can (as root on a Debian with apt-get; the
// emulator also by npx), and else says how to get it; where CI is true a missing piece is fatal, elsewhere the
// tests that need it are skipped. Then it starts the emulator, unless
// FIRESTORE_EMULATOR_HOST names one that runs, and runs the command with
//
//	FIRESTORE_EMULATOR_HOST  the emulator
//	POSTRIDER_TEST_REPORT    a folder; what tests leave there is printed at the end
//	PATH                     with the folders where Debian keeps daemons
//
// It ends the emulator afterwards, and with the command's exit code.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"postrider/delivery/queue/emulator"
)

// Exit codes beside the command's own.
const (
	exitFailed = 1
	exitUsage  = 2
)

// stopGrace is how long the command may go on after a signal.
const stopGrace = 20 * time.Second

func main() {
	heap := flag.String("heap", "3g", "memory limit of the emulator (java -Xmx)")
	flag.Usage = func() {
		fmt.Fprintln(flag.CommandLine.Output(), "usage: testenv [-heap SIZE] -- COMMAND [ARGUMENT...]")
		flag.PrintDefaults()
	}
	flag.Parse()
	if flag.NArg() == 0 {
		flag.Usage()
		os.Exit(exitUsage)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	code, err := run(ctx, *heap, flag.Args())
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "testenv:", err)
	}
	os.Exit(code)
}

// run prepares the environment, runs the command and returns its exit code.
func run(ctx context.Context, heap string, command []string) (code int, err error) {
	missing := provide(ctx, pieces(os.Getenv), installer(), os.Stderr)
	for _, m := range missing {
		fmt.Fprintf(os.Stderr, "testenv: MISSING %v\n", m)
	}
	if len(missing) > 0 && os.Getenv("CI") == "true" {
		return exitFailed, errors.New("with CI=true nothing may be missing")
	}
	env := environment(os.Environ())
	if os.Getenv("FIRESTORE_EMULATOR_HOST") == "" && !slices.ContainsFunc(missing, isEmulator) {
		e, startErr := emulator.Start(ctx, emulator.Options{Heap: heap})
		if startErr != nil {
			return exitFailed, startErr
		}
		defer func() { err = errors.Join(err, e.Close()) }()
		env = append(env, "FIRESTORE_EMULATOR_HOST="+e.Host)
		fmt.Fprintf(os.Stderr, "testenv: the Firestore emulator runs at %s\n", e.Host)
	}
	if os.Getenv("POSTRIDER_TEST_REPORT") == "" {
		dir, tempErr := os.MkdirTemp("", "postrider-report-")
		if tempErr != nil {
			return exitFailed, fmt.Errorf("make a folder for reports: %w", tempErr)
		}
		defer func() { err = errors.Join(err, printReports(os.Stdout, dir), os.RemoveAll(dir)) }()
		env = append(env, "POSTRIDER_TEST_REPORT="+dir)
	}
	return execute(ctx, command, env)
}

// execute runs the command, with our input and output.
func execute(ctx context.Context, command, env []string) (int, error) {
	cmd := exec.CommandContext(ctx, command[0], command[1:]...) //nolint:gosec // running what it is told to is what this program is for
	cmd.Env = env
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	cmd.WaitDelay = stopGrace
	err := cmd.Run()
	if exit, ok := errors.AsType[*exec.ExitError](err); ok && exit.ExitCode() > 0 {
		return exit.ExitCode(), nil
	}
	if err != nil {
		return exitFailed, fmt.Errorf("run %s: %w", command[0], err)
	}
	return 0, nil
}

// environment adds the folders of daemons to the PATH: Debian's users do not
// have them there.
func environment(vars []string) []string {
	out := slices.Clone(vars)
	path := os.Getenv("PATH")
	for _, dir := range []string{"/usr/local/sbin", "/usr/sbin", "/sbin"} {
		if !slices.Contains(filepath.SplitList(path), dir) {
			path += string(filepath.ListSeparator) + dir
		}
	}
	return append(out, "PATH="+path)
}

// printReports writes what the tests left in dir.
func printReports(w io.Writer, dir string) error {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return fmt.Errorf("read the reports: %w", err)
	}
	for _, entry := range entries {
		text, err := os.ReadFile(filepath.Join(dir, entry.Name()))
		if err != nil {
			return fmt.Errorf("read a report: %w", err)
		}
		if _, err := fmt.Fprintf(w, "\n%s\n", strings.TrimRight(string(text), "\n")); err != nil {
			return fmt.Errorf("print %s: %w", entry.Name(), err)
		}
	}
	return nil
}
