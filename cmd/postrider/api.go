package main

import (
	"strconv"

	"github.com/prometheus/client_golang/prometheus"

	"postrider/delivery/queue"
	"postrider/worker/retry"
	"postrider/worker/web/access"
	"postrider/worker/web/api"
)

// accessKeys returns the keys of the status API; none if it is off.
func (s *service) accessKeys() [][]byte {
	keys := make([][]byte, len(s.config.API.Keys))
	for i, key := range s.config.API.Keys {
		keys[i] = []byte(key.Reveal())
	}
	return keys
}

// bulkRetries is the bulk retries: their documents, and who works them.
type bulkRetries struct {
	*queue.Queue
	*retry.Runner
}

// statusAPI returns what answers the status API, which is on.
func (s *service) statusAPI() *api.API {
	keys, c := s.accessKeys(), s.config.API
	return api.New(api.Options{
		Keys:      access.New(keys),
		Rate:      access.NewRate(len(keys), c.Rate.N, c.Rate.Per),
		Mails:     s.queue,
		Bulk:      bulkRetries{s.queue, s.runner},
		Receipts:  s.queue,
		Senders:   c.Senders,
		PublicURL: c.PublicURL,
		Lease:     s.config.Lease,
		Policy:    s.config.Policy,
		Pace:      s.worker.Pace,
		Pixels:    api.NewPixels(s.pixels),
		Count:     countAnswers(s.registry),
		Log:       s.log,
	})
}

// countAnswers returns what is told of every answer of the API: a metric.
func countAnswers(r prometheus.Registerer) func(route string, status int) {
	answers := prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "postrider_api_answers_total", Help: "Requests to the status API that were answered, by route and HTTP status.",
	}, []string{"route", "status"})
	r.MustRegister(answers)
	return func(route string, status int) { answers.WithLabelValues(route, strconv.Itoa(status)).Inc() }
}
