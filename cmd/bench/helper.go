package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"sync"
)

// roleVariable is set where this program is to play a helper.
const roleVariable = "POSTRIDER_BENCH_ROLE"

// The roles.
const (
	roleSink  = "sink"      // a mail server
	roleStore = "firestore" // a Firestore server
	roleBare  = "bare"      // the bare limit
)

// helper is this program in a process of its own, so that what it does is not on
// the bill of what is measured. It answers questions, each a line, by a line each,
// and ends with its input.
type helper struct {
	address string // what it said first
	role    string
	command *exec.Cmd
	in      io.WriteCloser
	out     *bufio.Reader
	asking  sync.Mutex // one question at a time
}

// startHelper starts a helper and returns once it is ready. The end of ctx kills
// it.
func startHelper(ctx context.Context, role string, args ...string) (*helper, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, fmt.Errorf("find this program: %w", err)
	}
	c := exec.CommandContext(ctx, self, args...) //nolint:gosec // this program
	c.Env = append(os.Environ(), roleVariable+"="+role)
	return attach(role, c)
}

// attach starts a command that behaves like a helper.
func attach(role string, c *exec.Cmd) (*helper, error) {
	c.Stderr = os.Stderr
	in, err := c.StdinPipe()
	if err != nil {
		return nil, fmt.Errorf("talk to %s: %w", role, err)
	}
	out, err := c.StdoutPipe()
	if err != nil {
		return nil, fmt.Errorf("talk to %s: %w", role, err)
	}
	if err := c.Start(); err != nil {
		return nil, fmt.Errorf("start %s: %w", role, err)
	}
	h := &helper{role: role, command: c, in: in, out: bufio.NewReader(out)}
	if h.address, err = h.hear(); err != nil {
		return nil, errors.Join(err, h.close())
	}
	return h, nil
}

// ask puts a question and returns the answer.
func (h *helper) ask(words ...any) (string, error) {
	h.asking.Lock()
	defer h.asking.Unlock()
	if _, err := fmt.Fprintln(h.in, words...); err != nil {
		return "", fmt.Errorf("ask %s: %w", h.role, err)
	}
	return h.hear()
}

func (h *helper) hear() (string, error) {
	answer, err := h.out.ReadString('\n')
	if err != nil {
		return "", fmt.Errorf("hear of %s: %w", h.role, err)
	}
	return strings.TrimSpace(answer), nil
}

// close ends the helper and waits for it.
func (h *helper) close() error {
	_ = h.in.Close()
	if err := h.command.Wait(); err != nil {
		return fmt.Errorf("%s ended: %w", h.role, err)
	}
	return nil
}

// play is what a helper does.
func play(ctx context.Context, role string, args []string, in io.Reader, out io.Writer) error {
	switch role {
	case roleSink:
		return playSink(args, in, out) //nolint:contextcheck // the server ends by its Close
	case roleStore:
		return playStore(ctx, in, out)
	case roleBare:
		return playBare(ctx, args, in, out)
	}
	return errors.New("there is no such role")
}

// answer says that a helper is ready, and answers questions until there are no
// more.
func answer(address string, in io.Reader, out io.Writer, reply func(question []string) (string, error)) error {
	fmt.Fprintln(out, address)
	questions := bufio.NewScanner(in)
	for questions.Scan() {
		words, err := reply(strings.Fields(questions.Text()))
		if err != nil {
			return err
		}
		fmt.Fprintln(out, words)
	}
	return questions.Err()
}
