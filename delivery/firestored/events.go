package firestored

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"sync"
	"time"
)

// Types of Firestore's CloudEvents
// (google/events/cloud/firestore/v1/events.proto in googleapis/google-cloudevents).
const (
	EventCreated = "google.cloud.firestore.document.v1.created"
	EventUpdated = "google.cloud.firestore.document.v1.updated"
	EventDeleted = "google.cloud.firestore.document.v1.deleted"
	EventWritten = "google.cloud.firestore.document.v1.written" // any of the three
)

// Subscription is an Eventarc trigger with the Pub/Sub subscription behind it:
// which changes are sent where, and how hard. The defaults are Google's
// (https://cloud.google.com/eventarc/docs/retry-events).
type Subscription struct {
	Database string // "projects/P/databases/D"
	Document string // path pattern of the documents, as in "mail/{id}"; "*" is one segment as well, "**" and "{name=**}" any number
	Type     string // one of the Event constants; "" means EventWritten

	URL    string
	JSON   bool         // send application/json; else application/protobuf
	Client *http.Client // nil means http.DefaultClient
	Ready  func()       // if set, called once: what is committed afterwards is sent

	Concurrency int           // requests at once; 0 means 100
	Pending     int           // events at once that are on their way or wait to be sent again; 0 means 10,000. Later changes wait in the log
	AckDeadline time.Duration // for an answer; 0 means 10 s
	MinBackoff  time.Duration // before an event is sent for the second time, then doubled; 0 means 10 s
	MaxBackoff  time.Duration // 0 means 600 s
	Retention   time.Duration // how long an event is sent again; 0 means 24 h
}

// Subscribe sends a CloudEvent for each change of a document that is committed
// after the call, as Eventarc does: at least once, in any order, many at a time,
// and again until it is answered with a 2xx. It blocks until ctx ends and all
// its deliveries have ended, and returns nil then. It returns an error where the
// subscription is not valid.
func (s *Server) Subscribe(ctx context.Context, sub Subscription) error {
	sub, err := sub.withDefaults()
	if err != nil {
		return err
	}
	f := &feed{
		Subscription: sub,
		server:       s,
		db:           s.database(sub.Database),
		sending:      make(chan struct{}, sub.Concurrency),
		pending:      make(chan struct{}, sub.Pending),
	}
	position := f.db.position()
	if sub.Ready != nil {
		sub.Ready()
	}
	f.follow(ctx, position)
	f.deliveries.Wait()
	return nil
}

func (sub Subscription) withDefaults() (Subscription, error) {
	var errs []error
	if err := databaseName(sub.Database); err != nil {
		errs = append(errs, err)
	}
	sub.Type = cmp.Or(sub.Type, EventWritten)
	switch sub.Type {
	case EventCreated, EventUpdated, EventDeleted, EventWritten:
	default:
		errs = append(errs, fmt.Errorf("event type %q is not one of Firestore's", sub.Type))
	}
	if sub.Document == "" {
		errs = append(errs, errors.New("the pattern of the documents is missing"))
	}
	if u, err := url.Parse(sub.URL); err != nil || u.Host == "" {
		errs = append(errs, fmt.Errorf("%q is not an absolute URL", sub.URL))
	}
	client := *cmp.Or(sub.Client, http.DefaultClient)
	client.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse } // not a 2xx
	sub.Client = &client
	sub.Concurrency = cmp.Or(sub.Concurrency, 100)
	sub.Pending = cmp.Or(sub.Pending, 10_000)
	sub.AckDeadline = cmp.Or(sub.AckDeadline, 10*time.Second)
	sub.MinBackoff = cmp.Or(sub.MinBackoff, 10*time.Second)
	sub.MaxBackoff = cmp.Or(sub.MaxBackoff, 600*time.Second)
	sub.Retention = cmp.Or(sub.Retention, 24*time.Hour)
	return sub, errors.Join(errs...)
}

// feed is a subscription at work.
type feed struct {
	Subscription
	server     *Server
	db         *database
	deliveries sync.WaitGroup
	sending    chan struct{} // a place for each request
	pending    chan struct{} // a place for each event
}

// follow reads the log from a position on and starts the delivery of each event,
// until ctx ends.
func (f *feed) follow(ctx context.Context, position int64) {
	for ctx.Err() == nil {
		bell := f.db.bell()
		changes, next, ok := f.db.since(position, batch)
		if !ok {
			f.server.log.Error().Str("url", f.URL).Msg("events are lost: their receiver is slower than the log is long")
			next = f.db.position()
		}
		position = next
		for _, c := range changes {
			f.start(ctx, c)
		}
		if len(changes) > 0 {
			continue
		}
		select {
		case <-bell:
		case <-ctx.Done():
		}
	}
}

// start begins the delivery of a change's event, once there is a place for it.
func (f *feed) start(ctx context.Context, c change) {
	if !f.wants(c) {
		return
	}
	fault := f.server.eventFault(c.path)
	if fault.Lose {
		return
	}
	for range 1 + fault.Copies {
		select {
		case f.pending <- struct{}{}:
		case <-ctx.Done():
			return
		}
		f.deliveries.Go(func() {
			defer func() { <-f.pending }()
			pause(ctx, fault.Delay)
			f.deliver(ctx, c)
		})
	}
}

// wants reports whether a change is of the subscription's documents and type.
func (f *feed) wants(c change) bool {
	if !matchPath(f.Document, c.path) {
		return false
	}
	switch f.Type {
	case EventCreated:
		return c.old == nil
	case EventDeleted:
		return c.new == nil
	case EventUpdated:
		return c.old != nil && c.new != nil
	}
	return true
}
