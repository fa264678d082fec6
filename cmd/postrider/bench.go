package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/mail"

	"github.com/rs/zerolog"
	"golang.org/x/sync/errgroup"

	"postrider/cmd/postrider/inbox"
	"postrider/config"
	"postrider/delivery"
)

// maxBenchMails is how many mails a measurement may have.
const maxBenchMails = 100_000

// bench is the command that measures how many mails a second the settings are
// good for, and where the time goes.
func (p program) bench(ctx context.Context, args []string) error {
	set := p.flags("bench", `postrider bench sends so many mails with the settings of the environment, and tells how many a second there
are and where the time goes. It adds documents to a collection of its own, works on them as postrider run
--drain does, and deletes them, after Ctrl-C too. No other worker sees them.`, nil)
	b := &bench{program: p}
	set.IntVar(&b.mails, "mails", 1000, fmt.Sprintf("how many, 1 to %d", maxBenchMails))
	set.BoolVar(&b.dry, "dry-run", false, "send to a mail server within this program, which forgets every mail")
	set.StringVar(&b.to, "to", "", "send every mail to this address, through the mail server of the settings")
	set.StringVar(&b.file, "document", "", "JSON file with the document to send, in place of one of 2 KB; its recipients are replaced")
	set.BoolVar(&b.keep, "keep", false, "leave the documents in Firestore")
	set.BoolVar(&b.asJSON, "json", false, "print the result as JSON, times in seconds")
	if err := parse(set, args); err != nil {
		return err
	}
	if err := b.check(); err != nil {
		return err
	}
	var err error
	if b.document, err = benchDocument(b.file, b.to); err != nil {
		return err
	}
	c, err := config.Load(b.settings)
	if err != nil {
		return err
	}
	return b.run(ctx, c)
}

// bench is one measurement.
type bench struct {
	program
	mails        int
	dry          bool   // to a server within this program
	to, file     string // as the flags say
	keep, asJSON bool

	document delivery.Fields // that is sent
	screen   *progress
	log      *complaints // of the worker
	sink     *inbox.Sink // of a dry run; else nil
}

// check looks at the flags, and sets who gets the mails.
func (b *bench) check() error {
	switch {
	case b.dry == (b.to != ""):
		return &usageError{"postrider bench: say either --dry-run, and no mail leaves this machine, or --to ADDRESS, and every mail is sent there"}
	case b.mails < 1 || b.mails > maxBenchMails:
		return &usageError{fmt.Sprintf("postrider bench: --mails is %d: use a number from 1 to %d", b.mails, maxBenchMails)}
	case b.dry:
		b.to = "dry-run@postrider.invalid"
	default:
		to, err := mail.ParseAddress(b.to)
		if err != nil {
			return &usageError{fmt.Sprintf("postrider bench: --to is %q: use one address, as bench@example.com", b.to)}
		}
		b.to = to.Address
	}
	return nil
}

// run sets everything up, measures, and takes it down again.
func (b *bench) run(ctx context.Context, c config.Config) (failed error) {
	b.screen = newProgress(b.err)
	b.log = &complaints{show: func(text string) { b.screen.say("%s", text) }}
	for _, warning := range c.Warnings {
		b.screen.say("%s", warning)
	}
	c = apart(c)
	if b.dry {
		port, end, err := b.serve(ctx)
		if err != nil {
			return err
		}
		defer func() { failed = errors.Join(failed, end()) }()
		c = within(c, port)
	}
	s, err := newService(ctx, c, newLogger(b.log, zerolog.WarnLevel), true)
	if err != nil {
		return err
	}
	s.templates.Replace(map[string]delivery.Fields{}) // the rehearsal renders before anybody listens to them: each is looked up
	return errors.Join(b.measure(ctx, s), s.close())
}

// serve has the mail server of a dry run listen on a port of this machine. It
// serves until end is called, so that the mails in hand can still be sent when ctx
// has ended.
func (b *bench) serve(ctx context.Context) (port int, end func() error, err error) {
	listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return 0, nil, fmt.Errorf("listen for the mail server of the dry run: %w", err)
	}
	b.sink = &inbox.Sink{}
	serving, stop := context.WithCancel(context.WithoutCancel(ctx))
	var group errgroup.Group
	group.Go(func() error { return b.sink.ServeSMTP(serving, listener) })
	end = func() error {
		stop()
		return group.Wait()
	}
	return listener.Addr().(*net.TCPAddr).Port, end, nil
}
