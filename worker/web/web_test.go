package web

import (
	"encoding/json"
	"errors"
	"net/http"
	"net/http/httptest"
	"testing"
	"testing/synctest"
	"time"
)

func TestReadinessNeedsWatchAndFreshAnswer(t *testing.T) {
	now := time.Now()
	cases := map[string]struct {
		status  Status
		code    int
		problem string
	}{
		"just started":          {Status{}, 503, "the mail collection is not watched yet"},
		"watching, never heard": {Status{Watching: true}, 503, "Firestore has not answered for too long"},
		"heard, not watching":   {Status{Heard: now}, 503, "the mail collection is not watched yet"},
		"watch lost":            {Status{Heard: now, Problem: errors.New("stream lost").Error()}, 503, "stream lost"},
		"ready":                 {Status{Watching: true, Heard: now}, 200, ""},
		"heard an hour ago":     {Status{Watching: true, Heard: now.Add(-time.Hour)}, 503, "Firestore has not answered for too long"},
		"ready, last one bad":   {Status{Watching: true, Heard: now, Problem: "sweep: unavailable"}, 200, "sweep: unavailable"},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			h := Handler(Options{Status: func() Status { return c.status }, Fresh: time.Minute, Metrics: http.NotFoundHandler()})
			w := httptest.NewRecorder()
			h.ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/readyz", nil))
			if w.Code != c.code {
				t.Errorf("code %d, want %d", w.Code, c.code)
			}
			var got readiness
			if err := json.Unmarshal(w.Body.Bytes(), &got); err != nil {
				t.Fatal(err)
			}
			if got.Problem != c.problem || got.Ready != (c.code == 200) {
				t.Errorf("got %+v, want problem %q", got, c.problem)
			}
		})
	}
}

func TestHealthAndMetricsAnswerWithoutAWatch(t *testing.T) {
	metrics := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusTeapot) })
	h := Handler(Options{Status: func() Status { return Status{} }, Fresh: time.Minute, Metrics: metrics})
	for path, want := range map[string]int{"/healthz": 200, "/metrics": http.StatusTeapot, "/other": 404} {
		w := httptest.NewRecorder()
		h.ServeHTTP(w, httptest.NewRequest(http.MethodGet, path, nil))
		if w.Code != want {
			t.Errorf("%s: %d, want %d", path, w.Code, want)
		}
	}
}

func TestABodyThatNobodyWantsHasADeadline(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := Handler(Options{Status: func() Status { return Status{} }, Metrics: http.NotFoundHandler()})
		if code, took := talk(t, "bo", h); code != http.StatusNotFound || took != bodyTime {
			t.Errorf("answered %d after %v", code, took)
		}
	})
}

// Clients sign what they send, and don't sign again where they are redirected to.
func TestNothingIsRedirected(t *testing.T) {
	paths := []string{"//phoneNumbers/operations/m1", "/operations//m1", "/x/../operations/m1", "//healthz", "/./readyz", "/metrics/"}
	o := Options{Status: func() Status { return Status{} }, Metrics: http.NotFoundHandler()}
	for range 2 {
		for _, path := range paths {
			r := httptest.NewRequest(http.MethodGet, "/", nil)
			r.URL.Path = path
			w := httptest.NewRecorder()
			Handler(o).ServeHTTP(w, r)
			if want := map[bool]int{false: http.StatusNotFound, true: http.StatusTeapot}[o.API != nil]; w.Code != want {
				t.Errorf("%s: %d, want %d", path, w.Code, want)
			}
		}
		o.API = http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusTeapot) })
	}
}
