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
	Watching bool      // the watch is open
	Heard    time.Time // when Firestore last answered; zero if it never did
	Problem  string    // what is wrong, for the operator; "" if nothing is
}

// readiness is the answer to /readyz.
type readiness struct {
	Ready     bool       `json:"ready"`
	Watching  bool       `json:"watching"`
	LastHeard *time.Time `json:"lastHeard,omitempty"`
	Problem   string     `json:"problem,omitempty"`
}

// Options say what is answered, and how.
type Options struct {
	Status  func() Status
	Fresh   time.Duration // how long an answer of Firestore's counts
	Metrics http.Handler
	Events  http.Handler // takes POST /events; nil if events are not a source
	API     http.Handler // answers what is asked for elsewhere; nil for 404
}

// Handler answers
//
//	GET /healthz   200 as long as the program serves
//	GET /readyz    200 while it watches and Firestore has answered freshly; else
//	               503; the body says in JSON what is missing
//	GET /metrics   what Metrics serves
//	/events        what Events serves; see [Events]
//
// and leaves all else to the API, as it was sent: http.ServeMux would redirect paths
// that begin with two slashes, and callers have signed them.
//
// A mail server in trouble does not make a worker unready: restarting it would
// not help.
func Handler(o Options) http.Handler {
	if o.API == nil {
		o.API = http.NotFoundHandler()
	}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) {
		answer(w, http.StatusOK, map[string]bool{"alive": true})
	})
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, _ *http.Request) {
		r := ready(o.Status(), o.Fresh, time.Now())
		code := http.StatusOK
		if !r.Ready {
			code = http.StatusServiceUnavailable
		}
		answer(w, code, r)
	})
	mux.Handle("GET /metrics", o.Metrics)
	if o.Events != nil {
		mux.Handle("/events", o.Events)
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		// The server reads a body that nobody wants before it answers: without an end, if
		// the body has none. Who takes long lifts the deadline.
		_ = http.NewResponseController(w).SetReadDeadline(time.Now().Add(bodyTime)) // only a test's has none
		switch r.URL.Path {
		case "/healthz", "/readyz", "/metrics", "/events":
			mux.ServeHTTP(w, r)
		default:
			o.API.ServeHTTP(w, r)
		}
	})
}

// ready judges a status.
func ready(s Status, fresh time.Duration, now time.Time) readiness {
	r := readiness{Watching: s.Watching, Problem: s.Problem}
	answers := !s.Heard.IsZero() && now.Sub(s.Heard) <= fresh
	if !s.Heard.IsZero() {
		at := s.Heard.UTC()
		r.LastHeard = &at
	}
	r.Ready = s.Watching && answers
	if r.Ready || r.Problem != "" {
		return r
	}
	r.Problem = "the mail collection is not watched yet"
	if s.Watching {
		r.Problem = "Firestore has not answered for too long"
	}
	return r
}

func answer(w http.ResponseWriter, code int, body any) {
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(code)
	_ = json.NewEncoder(w).Encode(body) // the client may be gone
}
