package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sync/errgroup"

	"postrider/cmd/postrider/inbox"
	"postrider/config"
	"postrider/delivery/queue/emulator"
)

// dev is the command to try things with: a Firestore server, an inbox that takes
// every mail, and a worker between them.
func (p program) dev(ctx context.Context, args []string) error {
	set := p.flags("dev", "postrider dev runs a Firestore server, an inbox with a page to read the mails, and a worker between them.\n"+
		"Where FIRESTORE_EMULATOR_HOST names a server that runs already, it uses that one.", nil)
	page := set.String("page", "127.0.0.1:8025", "address of the inbox's page; port 0 for any")
	kind := set.String("firestore", "memory", "the server: memory, which is part of this program, or google, Google's emulator, which needs Java")
	heap := set.String("heap", "1g", "memory for Google's emulator, as Java's -Xmx")
	if err := parse(set, args); err != nil {
		return err
	}
	if *kind != "memory" && *kind != "google" {
		return &usageError{fmt.Sprintf("postrider dev: there is no server %q: --firestore is memory or google", *kind)}
	}
	d := &development{program: p, page: *page, heap: *heap, google: *kind == "google"}
	return d.run(ctx)
}

// development is the environment that dev sets up.
type development struct {
	program
	page, heap string
	google     bool // Google's emulator, not the server in memory

	server    *memory            // the server in memory; nil if there is another
	emulator  *emulator.Emulator // Google's; nil if there is another
	firestore string             // host:port of either, or of the one that runs already
	smtp, web net.Listener
}

// run sets everything up, and ends it with ctx.
func (d *development) run(ctx context.Context) (err error) {
	if err := d.listen(ctx); err != nil {
		return err
	}
	if err := d.startFirestore(ctx); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, d.stopFirestore()) }()
	c, err := config.Load(d.settings)
	if err != nil {
		return err
	}
	log := newLogger(d.err, c.LogLevel)
	s, err := newService(ctx, c, log, false)
	if err != nil {
		return err
	}
	box, err := inbox.New(inbox.Options{Log: log})
	if err != nil {
		return err
	}
	health, err := d.health(ctx)
	if err != nil {
		return err
	}
	d.explain(c, health.Addr())
	group, working := errgroup.WithContext(ctx)
	ended, end := context.WithCancel(context.WithoutCancel(ctx))
	group.Go(func() error { return box.ServeSMTP(ended, d.smtp) })
	group.Go(func() error { return box.ServePage(working, d.web) })
	group.Go(func() error {
		defer end() // the inbox takes mail until the last attempt has ended
		return s.serve(working, health)
	})
	group.Go(func() error { return d.watchFirestore(working) })
	if c.Push {
		group.Go(func() error { return d.push(working, c, health.Addr()) })
	}
	return errors.Join(group.Wait(), s.close())
}

// listen opens the inbox's ports, the page's being one to remember.
func (d *development) listen(ctx context.Context) (err error) {
	var config net.ListenConfig
	if d.web, err = config.Listen(ctx, "tcp", d.page); err != nil {
		return fmt.Errorf("listen for the inbox's page: %w; try another address with --page, as 127.0.0.1:0", err)
	}
	if d.smtp, err = config.Listen(ctx, "tcp", "127.0.0.1:0"); err != nil {
		return fmt.Errorf("listen for the inbox's SMTP server: %w", err)
	}
	return nil
}

// health opens the port of health, metrics and the status API, on this machine
// alone: PORT if it is set, else any, or for the API its default.
func (d *development) health(ctx context.Context) (net.Listener, error) {
	port, _ := d.settings("PORT")
	listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", net.JoinHostPort("127.0.0.1", cmp.Or(port, "0")))
	if err != nil {
		return nil, fmt.Errorf("listen on PORT: %w; set PORT to another one", err)
	}
	return listener, nil
}

// settings is the environment, with what dev provides in place of what is set,
// and defaults for what is not.
func (d *development) settings(name string) (string, bool) {
	switch name {
	case "FIRESTORE_EMULATOR_HOST":
		return d.firestore, true
	case "SMTP_CONNECTION_URI":
		return "smtp://" + d.smtp.Addr().String(), true
	case "SMTP_PASSWORD", "AUTH_TYPE", "TLS_OPTIONS":
		return "", false
	}
	value, ok := d.lookup(name)
	if value != "" {
		return value, true
	}
	defaults := map[string]string{
		"MAIL_COLLECTION":      "mail",
		"TEMPLATES_COLLECTION": "templates",
		"USERS_COLLECTION":     "users",
		"DEFAULT_FROM":         "Postrider <postrider@localhost.test>",
	}
	if key, _ := d.lookup("API_ACCESS_KEYS"); key != "" {
		port, _ := d.lookup("PORT")
		defaults["PORT"] = "8080" // to remember, as the page's
		defaults["API_PUBLIC_URL"] = "http://" + net.JoinHostPort("127.0.0.1", cmp.Or(port, "8080"))
	}
	if value, known := defaults[name]; known {
		return value, true
	}
	return value, ok
}

// explain prints what to do next.
func (d *development) explain(c config.Config, health net.Addr) {
	self := "go run ./cmd/postrider"
	if path, err := os.Executable(); err == nil && !strings.Contains(path, "go-build") {
		self = filepath.Base(path)
	}
	var api string
	if len(c.API.Keys) > 0 {
		api = "\n  Status API           http://" + health.String()
	}
	fmt.Fprintf(d.out, `
Postrider is ready to try. Nothing leaves this machine.

  Read the mails       http://%[1]s
  Firestore            %[2]s, project %[3]s
  Health, metrics      http://%[4]s/readyz, /metrics%[7]s

Send a mail, from another terminal:

  FIRESTORE_EMULATOR_HOST=%[2]s GOOGLE_CLOUD_PROJECT=%[3]s %[5]s send --to ada@example.com --subject Hello --text 'It works.'

From an application, with the same two variables set (here Node.js):

  await getFirestore().collection('%[6]s').add({to: 'ada@example.com', message: {subject: 'Hello', text: 'It works.'}})

Ctrl-C ends it all.

`, d.web.Addr(), d.firestore, c.Project, health, self, c.MailCollection, api)
}
