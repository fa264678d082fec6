package main

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"time"
)

// measureStart measures how long it takes until the program is ready, and how
// large it is.
func measureStart(ctx context.Context, r *rig) error {
	at, err := r.inMemory(ctx)
	if err != nil {
		return err
	}
	r.table.part("7. start, on an empty collection of the in-process server", "")
	var answered, logged []float64
	for range r.sizes.starts {
		a, l, err := r.startOnce(ctx, at)
		if err != nil {
			return err
		}
		answered, logged = append(answered, milliseconds(a)), append(logged, milliseconds(l))
	}
	n := len(answered)
	r.table.add(line{name: fmt.Sprintf("from the process's start to the first 200 of /readyz, median of %d", n), unit: "ms", ours: median(answered), target: target{most: 150}})
	r.table.add(line{name: "  slowest", unit: "ms", ours: quantile(answered, 1)})
	r.table.add(line{name: "  to the log's line \"ready\", median", unit: "ms", ours: median(logged), target: target{most: 150}})
	info, err := os.Stat(r.binary)
	if err != nil {
		return fmt.Errorf("look at the program: %w", err)
	}
	r.table.add(line{name: "size of the program, as released", unit: "MB", ours: float64(info.Size()) / 1e6, target: target{most: 40}})
	return nil
}

// startOnce starts a worker and returns when it was ready: by its answer, and by
// its log.
func (r *rig) startOnce(ctx context.Context, at *site) (answered, logged time.Duration, err error) {
	mail, err := r.sink(ctx)
	if err != nil {
		return 0, 0, err
	}
	p, err := r.start(ctx, at.address, r.outbox(at), mail.address, nil)
	if err != nil {
		return 0, 0, err
	}
	err = until(ctx, "a worker is ready", time.Millisecond, func() (bool, error) {
		code, _, err := p.get(ctx, "/readyz")
		return err == nil && code == http.StatusOK, ctx.Err()
	})
	answered = time.Since(p.began)
	if err != nil {
		return 0, 0, err
	}
	if _, err := p.stop(); err != nil {
		return 0, 0, err
	}
	ready, err := p.logged("ready")
	return answered, ready.Sub(p.began), err
}

// logged returns the time of the first line of the worker's log with a message.
func (w *worker) logged(message string) (time.Time, error) {
	f, err := os.Open(w.log)
	if err != nil {
		return time.Time{}, fmt.Errorf("read a log: %w", err)
	}
	defer func() { _ = f.Close() }() // it was only read
	for lines := bufio.NewScanner(f); lines.Scan(); {
		var said struct {
			Time    time.Time `json:"time"`
			Message string    `json:"message"`
		}
		if json.Unmarshal(lines.Bytes(), &said) == nil && said.Message == message {
			return said.Time, nil
		}
	}
	return time.Time{}, fmt.Errorf("the log does not say %q", message)
}
