package main

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// get returns the status and the body of what the worker answers.
func (w *worker) get(ctx context.Context, path string) (int, string, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://127.0.0.1:"+w.port+path, nil)
	if err != nil {
		return 0, "", fmt.Errorf("ask a worker: %w", err)
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return 0, "", fmt.Errorf("ask a worker: %w", err)
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	return response.StatusCode, string(body), err
}

// awaitReady returns when the worker says that it is ready.
func (w *worker) awaitReady(ctx context.Context) error {
	return until(ctx, "a worker is ready", 2*time.Millisecond, func() (bool, error) {
		code, _, err := w.get(ctx, "/readyz")
		return err == nil && code == http.StatusOK, ctx.Err() // until it listens, nobody answers
	})
}

// events returns where the worker takes events.
func (w *worker) events() string { return "http://127.0.0.1:" + w.port + "/events" }

// metric returns the value of one of the worker's metrics, as it is written with
// its labels; 0 if it has none.
func (w *worker) metric(ctx context.Context, name string) (float64, error) {
	_, body, err := w.get(ctx, "/metrics")
	if err != nil {
		return 0, err
	}
	for l := range strings.Lines(body) {
		if value, ok := strings.CutPrefix(l, name+" "); ok {
			return strconv.ParseFloat(strings.TrimSpace(value), 64)
		}
	}
	return 0, nil
}
