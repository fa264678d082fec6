package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"

	"postrider/delivery/queue/emulator"
)

// piece is something the tests need from the machine.
type piece struct {
	name     string
	find     func(context.Context) error // nil if it is there; else what is missing, with the remedy
	packages []string                    // Debian's, or Google's, that bring it
	preseed  string                      // answers to the package's questions, as debconf-set-selections reads them
	command  []string                    // that brings it where no package does; may be nil
	emulator bool                        // a piece of the Firestore emulator
}

// pieces lists what the tests need. The emulator is none of it where one runs
// already.
func pieces(getenv func(string) string) []piece {
	all := []piece{
		{
			name:     "chromium",
			find:     onPath("Chromium", "`apt-get install chromium`", "chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "headless_shell", "headless-shell"),
			packages: []string{"chromium"},
		},
		{
			name:     "postfix",
			find:     onPath("Postfix", "`apt-get install postfix`", "postfix", "/usr/sbin/postfix"),
			packages: []string{"postfix"},
			preseed:  "postfix postfix/main_mailer_type select Local only\npostfix postfix/mailname string localhost\n",
		},
		{
			name:     "node",
			find:     onPath("Node.js", "`apt-get install nodejs`", "node"),
			packages: []string{"nodejs"},
		},
		{
			name:     "npm",
			find:     onPath("npm", "`apt-get install npm`", "npm"),
			packages: []string{"npm"},
		},
	}
	if getenv("FIRESTORE_EMULATOR_HOST") != "" {
		return all
	}
	return append(
		all,
		piece{name: "java", find: findPiece(emulator.Java), packages: []string{"default-jre-headless"}, emulator: true},
		piece{
			name: "emulator", find: findPiece(emulator.Jar), packages: []string{"google-cloud-cli-firestore-emulator"},
			command: []string{"npx", "--yes", "firebase-tools", "setup:emulators:firestore"}, emulator: true,
		},
	)
}

// missingError is a piece that is not there.
type missingError struct {
	piece piece
	err   error
}

func (e *missingError) Error() string { return e.err.Error() }
func (e *missingError) Unwrap() error { return e.err }

func isEmulator(e *missingError) bool { return e.piece.emulator }

// onPath returns a look-up of the first of several commands.
func onPath(name, remedy string, commands ...string) func(context.Context) error {
	return func(context.Context) error {
		for _, c := range commands {
			if _, err := exec.LookPath(c); err == nil {
				return nil
			}
		}
		return fmt.Errorf("no %s: none of %s is on the PATH; get it with %s", name, strings.Join(commands, ", "), remedy)
	}
}

// findPiece returns a look-up of one piece of the Firestore emulator.
func findPiece(p emulator.Piece) func(context.Context) error {
	return func(ctx context.Context) error {
		_, err := emulator.Find(ctx)
		return onlyPiece(err, p)
	}
}

// onlyPiece picks from what [emulator.Find] says what it says about p.
func onlyPiece(err error, p emulator.Piece) error {
	all := []error{err}
	if joined, ok := errors.AsType[interface {
		error
		Unwrap() []error
	}](err); ok {
		all = joined.Unwrap()
	}
	for _, e := range all {
		if missing, ok := errors.AsType[*emulator.MissingError](e); ok && missing.Piece == p {
			return missing
		}
	}
	return nil
}

// install brings a piece to the machine.
type install func(context.Context, piece) error

// provide looks for every piece, installs those that are missing, and returns
// those that are missing still.
func provide(ctx context.Context, all []piece, install install, log io.Writer) []*missingError {
	var missing []*missingError
	for _, p := range all {
		err := p.find(ctx)
		if err != nil {
			fmt.Fprintf(log, "testenv: installing %s\n", p.name)
			if failed := install(ctx, p); failed != nil {
				fmt.Fprintf(log, "testenv: %v\n", failed)
			}
			err = p.find(ctx)
		}
		if err != nil {
			missing = append(missing, &missingError{piece: p, err: err})
		}
	}
	return missing
}

// installer returns how pieces are installed on this machine: as root on Debian
// by their packages, and else by their own command.
func installer() install { return orByCommand(debian()) }

func orByCommand(byPackage install) install {
	return func(ctx context.Context, p piece) error {
		err := byPackage(ctx, p)
		if err == nil || len(p.command) == 0 {
			return err
		}
		path, missing := exec.LookPath(p.command[0])
		if missing != nil {
			return errors.Join(err, missing)
		}
		if failed := quietly(ctx, "", path, p.command[1:]...); failed != nil {
			return errors.Join(err, failed)
		}
		return nil
	}
}

// debian returns how Debian's packages are installed.
func debian() install {
	apt, err := exec.LookPath("apt-get")
	if err != nil || os.Geteuid() != 0 {
		return func(context.Context, piece) error {
			return errors.New("packages are installed only by root, with apt-get")
		}
	}
	updated := false
	return func(ctx context.Context, p piece) error {
		if !updated {
			if err := quietly(ctx, "", apt, "update"); err != nil {
				return err
			}
			updated = true
		}
		if p.preseed != "" {
			if err := quietly(ctx, p.preseed, "debconf-set-selections"); err != nil {
				return err
			}
		}
		return quietly(ctx, "", apt, append([]string{"install", "-y", "--no-install-recommends"}, p.packages...)...)
	}
}

// quietly runs a command that asks no questions and shows what it printed only
// if it failed.
func quietly(ctx context.Context, input, command string, args ...string) error {
	cmd := exec.CommandContext(ctx, command, args...) //nolint:gosec // the commands in this file
	cmd.Env = append(os.Environ(), "DEBIAN_FRONTEND=noninteractive")
	cmd.Stdin = strings.NewReader(input)
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("%s %s: %w\n%s", command, strings.Join(args, " "), err, out)
	}
	return nil
}
