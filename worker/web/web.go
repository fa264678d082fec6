// Package web serves what an operator and the platform ask a running worker
// over HTTP: whether it lives, whether it is ready, and its metrics.
package web

import (
	"encoding/json"
	"net/http"
	"time"
)

// Status is the state of a worker at one moment.
type Status struct {
	Watching  bool      // the watch is open and has passed on all there was
	LastSweep time.Time // the end of the last sweep that worked; zero if none did
	Problem   string    // what is wrong, for the operator; "" if nothing is
}

// readiness is the answer to /readyz.
type readiness struct {
	Ready     bool       `json:"ready"`
	Watching  bool       `json:"watching"`
	LastSweep *time.Time `json:"lastSweep,omitempty"`
	Problem   string     `json:"problem,omitempty"`
}

// Handler answers
//
//	GET /healthz   200 as long as the program serves
//	GET /readyz    200 while it watches, and has swept within the last fresh;
//	               else 503; the body says in JSON what is missing
//	GET /metrics   what metrics serves
//
// A mail server in trouble does not make a worker unready: restarting it would
// not help.
func Handler(status func() Status, fresh time.Duration, metrics http.Handler) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) {
		answer(w, http.StatusOK, map[string]bool{"alive": true})
	})
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, _ *http.Request) {
		r := ready(status(), fresh, time.Now())
		code := http.StatusOK
		if !r.Ready {
			code = http.StatusServiceUnavailable
		}
		answer(w, code, r)
	})
	mux.Handle("GET /metrics", metrics)
	return mux
}

// ready judges a status. A sweep that worked shows that Firestore answers.
func ready(s Status, fresh time.Duration, now time.Time) readiness {
	r := readiness{Watching: s.Watching, Problem: s.Problem}
	swept := !s.LastSweep.IsZero() && now.Sub(s.LastSweep) <= fresh
	if !s.LastSweep.IsZero() {
		at := s.LastSweep.UTC()
		r.LastSweep = &at
	}
	r.Ready = s.Watching && swept
	if r.Ready || r.Problem != "" {
		return r
	}
	r.Problem = "the mail collection is not watched yet"
	if s.Watching {
		r.Problem = "no sweep of the mail collection has worked for too long"
	}
	return r
}

func answer(w http.ResponseWriter, code int, body any) {
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(code)
	_ = json.NewEncoder(w).Encode(body) // the client may be gone
}
