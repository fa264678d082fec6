package main

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/rs/zerolog"

	"postrider/config"
	"postrider/delivery"
	"postrider/delivery/compose"
	"postrider/delivery/queue"
	"postrider/delivery/receipt"
	"postrider/delivery/render"
	"postrider/smtp"
	"postrider/worker"
	"postrider/worker/retry"
)

// service is a worker with all that it works with.
type service struct {
	config    config.Config
	instance  string // its ID
	log       zerolog.Logger
	registry  *prometheus.Registry
	queue     *queue.Queue
	templates *templates
	composer  *compose.Composer
	pixels    *receipt.Pixels // nil if the status API is off
	pool      *smtp.Pool
	worker    *worker.Worker
	runner    *retry.Runner // of bulk retries; nil if the status API is off
}

// newService wires a worker, for a drain or to run on. Nothing is connected yet.
// Close it at the end.
func newService(ctx context.Context, c config.Config, log zerolog.Logger, drain bool) (*service, error) {
	s := &service{config: c, instance: strings.ToLower(rand.Text()[:10]), registry: prometheus.NewRegistry()}
	s.log = log.With().Str("instance", s.instance).Logger()
	s.registry.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	var err error
	if s.queue, err = openQueue(ctx, c, s.log); err != nil {
		return nil, err
	}
	renderer, err := render.New(render.Options{Timeout: c.TemplateTimeout})
	if err != nil {
		return nil, fmt.Errorf("prepare templates: %w", err)
	}
	s.templates = &templates{Templates: renderer, queue: s.queue}
	c.SMTP.Wary = func(e *smtp.Error) {
		s.log.Warn().Str("phase", string(e.Stage)).Int("code", e.Reply.Code).Str("enhanced", e.Reply.Enhanced).
			Msg("mail server does not follow envelopes sent ahead, none is for an hour; SMTP_PIPELINING=envelope sends none")
	}
	if s.pool, err = smtp.NewPool(c.SMTP); err != nil {
		return nil, fmt.Errorf("prepare SMTP connections: %w", err)
	}
	if c.API.On() {
		if s.pixels, err = receipt.NewPixels(c.API.PublicURL, s.accessKeys()); err != nil {
			return nil, fmt.Errorf("prepare pictures: %w", err)
		}
	}
	s.composer = s.newComposer()
	s.worker = s.newWorker(drain)
	if c.API.On() {
		s.runner = retry.New(retry.Options{Instance: s.instance, Room: s.worker.Room}, s.queue, s.queue, s.log)
	}
	return s, nil
}

func (s *service) newWorker(drain bool) *worker.Worker {
	o := worker.Options{
		Concurrency: s.config.Concurrency,
		Lease:       s.config.Lease,
		Margin:      s.config.LeaseMargin,
		Attempt:     s.config.AttemptTimeout,
		Drain:       s.config.DrainTimeout,
		Sweep:       s.config.SweepInterval,
		Audit:       s.config.AuditInterval,
		Push:        s.config.Push,
		Alone:       s.queue.Forgetful(),
		Instance:    s.instance,
		MaxBytes:    s.config.MaxBytesInFlight,
		Rate:        s.config.SMTPRate,
		Policy:      s.config.Policy,
	}
	var documents worker.Queue = s.queue
	switch {
	case s.queue.Forgetful() && drain:
		documents = scanned{s.queue}
	case s.queue.Forgetful():
		documents, o.Sweep = forgetful{s.queue}, min(o.Sweep, emulatorSweep)
	}
	return worker.New(o, documents, composer{s.composer}, s.pool, s.log, worker.NewMetrics(s.registry))
}

// emulatorSweep is the time between two sweeps of an emulator.
const emulatorSweep = 2 * time.Second

// forgetful is a queue in Google's emulator, which loses events when another
// client's listener ends. There a sweep has to find new documents too, and
// reading all of them costs nothing.
type forgetful struct{ *queue.Queue }

func (f forgetful) Sweep(ctx context.Context, found func(context.Context, delivery.Snapshot) error) error {
	return f.Scan(ctx, found)
}

// scanned is a queue in Google's emulator, for a drain: there counting documents
// takes longer than reading them.
type scanned struct{ *queue.Queue }

func (q scanned) Audit(ctx context.Context, found func(context.Context, delivery.Snapshot) error) (a delivery.Audit, err error) {
	err = q.Scan(ctx, func(ctx context.Context, s delivery.Snapshot) error {
		a.Missing++
		a.Reads++
		return found(ctx, s)
	})
	return a, err
}

func openQueue(ctx context.Context, c config.Config, log zerolog.Logger) (*queue.Queue, error) {
	q, err := queue.Open(ctx, queue.Options{
		Project:   c.Project,
		Database:  c.Database,
		Mail:      c.MailCollection,
		Users:     c.UsersCollection,
		Templates: c.TemplatesCollection,
		State:     c.StateCollection,
		Emulator:  c.EmulatorHost,
		Forgetful: c.EmulatorHost != "" && queue.Forgetful(ctx, c.EmulatorHost),
		Log:       log,
	})
	if err != nil {
		return nil, fmt.Errorf("open mail collection: %w", err)
	}
	return q, nil
}

// newComposer leaves out what there is no collection for.
func (s *service) newComposer() *compose.Composer {
	var users compose.Users
	if s.config.UsersCollection != "" {
		users = s.queue
	}
	var rendering compose.Templates
	if s.config.TemplatesCollection != "" {
		rendering = s.templates
	}
	return compose.New(compose.Options{
		DefaultFrom:        s.config.DefaultFrom,
		DefaultReplyTo:     s.config.DefaultReplyTo,
		AllowHosts:         s.config.AllowHosts,
		MaxAttachmentBytes: s.config.MaxAttachmentBytes,
		MaxAttachments:     s.config.MaxAttachments,
		MaxMessageBytes:    s.config.MaxMessageBytes,
		FetchTimeout:       s.config.AttachmentTimeout,
		MaxRecipients:      s.config.MaxRecipients,
		RecipientDomains:   s.config.RecipientDomains,
		TemplateOnly:       s.config.TemplateOnly,
		Storage:            compose.Storage{Buckets: s.config.AllowBuckets},
		Pixel:              s.pixel(),
	}, users, rendering)
}

// pixel returns what makes the URLs of the pictures by which mails tell that they
// were opened; nil if there is none that the world reaches.
func (s *service) pixel() func(document, messageID string, recipients []string) string {
	if s.pixels == nil || s.config.API.PublicURL == "" {
		return nil
	}
	return s.pixels.URL
}

// watchTemplates keeps the templates as the collection has them until ctx ends.
func (s *service) watchTemplates(ctx context.Context) error {
	if s.config.TemplatesCollection == "" {
		return nil
	}
	if err := s.queue.WatchTemplates(ctx, s.templates.Replace); ctx.Err() == nil {
		return fmt.Errorf("watch templates: %w", err)
	}
	return nil
}

// close lets go of everything, in the order opposite to the documents' way.
func (s *service) close() error {
	err := s.pool.Close()
	s.composer.Close()
	s.templates.Close()
	return errors.Join(err, s.queue.Close())
}

// composer is compose's as the worker wants it: worker is where delivery and
// smtp meet.
type composer struct{ *compose.Composer }

func (c composer) Compose(ctx context.Context, doc delivery.Document, id string, now time.Time, hold func(context.Context, int) error) (worker.Mail, error) {
	m, err := c.Composer.Compose(ctx, doc, compose.Claim{ID: id, Time: now, Hold: hold})
	if err != nil {
		return worker.Mail{}, err
	}
	return worker.Mail{Envelope: smtp.Envelope{From: m.From, To: m.To}, MessageID: m.MessageID, Message: m.Message}, nil
}
