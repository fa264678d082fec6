package corpus

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net"
	"os"
	"strconv"
	"strings"
	"time"

	"cloud.google.com/go/firestore"

	"postrider/smtp/smtptest"
)

// How long to wait, as in the corpus's own checker: that nothing happens any
// more shows only in time.
const (
	pollEvery    = 15 * time.Millisecond
	graceQuiet   = 350 * time.Millisecond // once every document has ended
	settleQuiet  = 3500 * time.Millisecond
	longestQuiet = 15 * time.Second
	stepLimit    = 30 * time.Second
	caseLimit    = 40 * time.Second
)

// running is one case being run.
type running struct {
	c      *testCase
	places places
	host   string // of the emulator
	db     *firestore.Client
	mail   *firestore.CollectionRef
	sink   *smtptest.Server
	worker *worker
	watch  *watch
	ends   bool      // every document is expected to end
	began  time.Time // when the documents were about to be added
}

// runCase runs one case in a project of its own and returns what was seen, in
// the shape of the case's expectation, or refusedToStart with the log of a
// worker that ended before it was ready. Where every document is expected to
// end, a slow machine is given time to come to it; elsewhere only quiet can show
// that nothing will happen.
func (s *setup) runCase(ctx context.Context, c *testCase, ends bool) (seen object, err error) {
	r := &running{c: c, ends: ends, places: places{httpPort: s.httpPort, fixtures: s.fixtures}}
	var giveBack func()
	if r.host, giveBack, err = s.emulators.take(ctx); err != nil {
		return nil, err
	}
	defer giveBack()
	if r.sink, err = smtptest.Start(smtptest.Behaviour{}); err != nil {
		return nil, fmt.Errorf("start the SMTP server: %w", err)
	}
	defer func() { err = errors.Join(err, r.sink.Close()) }()
	r.places.smtpPort = r.sink.Port()
	if err := r.behave(c.SMTP); err != nil {
		return nil, err
	}
	project := fmt.Sprintf("corpus-%s-%d", s.run, s.count.Add(1))
	if r.db, err = openDatabase(ctx, r.host, project); err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, r.db.Close()) }()
	env, collection, err := s.environment(ctx, r, project)
	if err != nil {
		return nil, err
	}
	r.mail = r.db.Collection(collection)
	for path, fields := range c.Docs {
		if _, err := r.db.Doc(path).Set(ctx, r.value(fields)); err != nil {
			return nil, fmt.Errorf("write %s: %w", path, err)
		}
	}
	if r.worker, err = startWorker(s.command, env, s.fixtures); err != nil {
		return nil, err
	}
	defer r.worker.stop()
	if ready, err := r.worker.awaitReady(ctx); err != nil {
		return nil, err
	} else if !ready {
		return object{"refusedToStart": r.worker.log.String()}, nil
	}
	return r.observe(ctx)
}

// environment is the worker's, and the mail collection it names.
func (s *setup) environment(ctx context.Context, r *running, project string) (env []string, collection string, err error) {
	port, err := s.freePort(ctx)
	if err != nil {
		return nil, "", err
	}
	allow := "127.0.0.1"
	if r.c.AllowHosts != nil {
		allow = *r.c.AllowHosts
	}
	vars := map[string]string{
		"PATH": os.Getenv("PATH"), "HOME": os.Getenv("HOME"), "TZ": "UTC",
		"GCLOUD_PROJECT": project, "GOOGLE_CLOUD_PROJECT": project,
		"FIRESTORE_EMULATOR_HOST": r.host, "PORT": strconv.Itoa(port),
		"AUTH_TYPE": "UsernamePassword", "MAIL_COLLECTION": "mail",
		"USERS_COLLECTION": "users", "TEMPLATES_COLLECTION": "templates",
		"ATTACHMENT_ALLOW_HOSTS": allow,
		"DEFAULT_FROM":           "Default Sender <default@sender.test>",
		"TTL_EXPIRE_TYPE":        "never", "TTL_EXPIRE_VALUE": "1",
		"SMTP_CONNECTION_URI": "smtp://127.0.0.1:<SMTP_PORT>",
	}
	for name, value := range r.c.Config {
		if value == nil {
			delete(vars, name)
		} else {
			vars[name] = *value
		}
	}
	for name, value := range vars {
		env = append(env, name+"="+r.places.put(value))
	}
	return env, r.places.put(vars["MAIL_COLLECTION"]), nil
}

func (r *running) value(v any) any { return toFirestore(v, r.db, r.places.put) }

// observe adds the documents, waits until everything has settled and gathers
// what is to be seen.
func (r *running) observe(ctx context.Context) (object, error) {
	watching, stop := context.WithCancel(ctx)
	r.watch = watchCollection(watching, r.mail)
	defer func() { stop(); <-r.watch.done }()
	ids, mails := r.c.mails()
	r.began = time.Now()
	for _, id := range ids {
		if _, err := r.mail.Doc(id).Set(ctx, r.value(mails[id])); err != nil {
			return nil, fmt.Errorf("add %s: %w", id, err)
		}
	}
	if err := r.settle(ctx, ids); err != nil {
		return nil, err
	}
	return r.gather(ctx, ids)
}

// settle carries out the steps, each when its moment has come, and returns once
// nothing happens any more.
func (r *running) settle(ctx context.Context, ids []string) error {
	steps := r.c.Steps
	quiet := &quietness{since: time.Now()}
	stepSince := time.Now() // since when the next step has been the next one
	tick := time.NewTicker(pollEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-tick.C:
		}
		changes := r.watch.changes()
		idle := quiet.idle(changes, r.messages())
		if r.worker.ended() {
			return nil
		}
		terminal := r.watch.allTerminal(ids)
		if len(steps) > 0 {
			fire := r.due(steps[0], ids[0], idle, time.Since(stepSince), terminal)
			if !fire && time.Since(r.began) > stepLimit {
				return nil // what was never done will show
			}
			if fire {
				if err := r.do(ctx, steps[0], ids[0]); err != nil {
					return err
				}
				steps, stepSince = steps[1:], time.Now()
				quiet.restart()
			}
			continue
		}
		if r.settled(idle, changes, terminal) {
			return nil
		}
	}
}

// settled reports whether it has been quiet for long enough.
func (r *running) settled(idle time.Duration, changes int, terminal bool) bool {
	grace, settle := graceQuiet, settleQuiet
	if r.ends {
		settle = longestQuiet
	}
	if r.c.GraceMS > 0 {
		grace = time.Duration(r.c.GraceMS) * time.Millisecond
	}
	if r.c.SettleMS > 0 {
		settle = time.Duration(r.c.SettleMS) * time.Millisecond
	} else if terminal && idle > grace {
		return true
	}
	return (idle > settle && changes > 0) || idle > longestQuiet || time.Since(r.began) > caseLimit
}

// due reports whether a step's moment has come.
func (r *running) due(s step, first string, idle, waited time.Duration, terminal bool) bool {
	kind, number, _ := strings.Cut(s.After, ":")
	n, _ := strconv.Atoi(number)
	ms := time.Duration(n) * time.Millisecond
	switch kind {
	case "terminal":
		return terminal && idle > 120*time.Millisecond
	case "data":
		return r.messages() >= max(s.N, 1)
	case "processing":
		return r.watch.state(first) == "PROCESSING"
	case "ms":
		return waited >= ms
	case "quiet":
		return idle >= ms
	default:
		return false
	}
}

// do carries a step out.
func (r *running) do(ctx context.Context, s step, first string) error {
	doc := r.mail.Doc(first)
	if s.Path != "" {
		doc = r.db.Doc(s.Path)
	}
	var err error
	switch s.Do {
	case "update":
		var updates []firestore.Update
		for path, v := range s.Data {
			updates = append(updates, firestore.Update{Path: path, Value: r.value(v)})
		}
		_, err = doc.Update(ctx, updates)
	case "set":
		_, err = doc.Set(ctx, r.value(s.Data))
	case "delete":
		_, err = doc.Delete(ctx)
	case "smtp":
		err = r.behave(s.Data)
	case "smtpUp":
		r.sink.Forget()
		err = r.behave(s.Data)
	case "smtpDown":
		err = r.sink.SetBehaviour(smtptest.Behaviour{Down: true})
	default:
		err = fmt.Errorf("no such step: %q", s.Do)
	}
	if err != nil {
		return fmt.Errorf("step %s after %s: %w", s.Do, s.After, err)
	}
	return nil
}

// gather reads the documents, the received mails and the log.
func (r *running) gather(ctx context.Context, ids []string) (object, error) {
	seen, deliveries := object{}, object{}
	for i, id := range ids {
		doc, err := r.mail.Doc(id).Get(ctx)
		if doc == nil { // a document that is not there is no nil
			return nil, fmt.Errorf("read %s: %w", id, err)
		}
		var delivery any
		if doc.Exists() {
			fields := doc.Data()
			delivery = maskTimes(fromFirestore(fields["delivery"], r.places.take), r.began, time.Now())
		}
		deliveries[id] = delivery
		if i == 0 {
			seen["exists"], seen["delivery"] = doc.Exists(), delivery
		}
	}
	if len(ids) > 1 {
		seen["deliveries"] = deliveries
	}
	maps.Copy(seen, r.received())
	log := r.worker.log.String()
	if probes := r.c.LeakProbe; len(probes) > 0 {
		leaks := list{}
		for _, p := range probes {
			if strings.Contains(log, r.places.put(p)) {
				leaks = append(leaks, p)
			}
		}
		seen["leaksInLog"] = leaks
	}
	if r.worker.ended() {
		seen["died"] = object{"end": r.worker.cmd.ProcessState.String(), "log": log}
	}
	return seen, nil
}

// quietness knows since when neither a document nor the number of received
// messages has changed.
type quietness struct {
	since             time.Time
	changes, messages int
}

func (q *quietness) idle(changes, messages int) time.Duration {
	if changes != q.changes || messages != q.messages {
		q.changes, q.messages = changes, messages
		q.since = time.Now()
	}
	return time.Since(q.since)
}

func (q *quietness) restart() { q.since = time.Now() }

// freePort returns a port for the worker. It is below those that the system
// gives to outgoing connections, and each is used once: nobody can take it
// before the worker does.
func (s *setup) freePort(ctx context.Context) (int, error) {
	const first, many = 20000, 10000
	for range many {
		port := first + int(s.port.Add(1)%many)
		l, err := (&net.ListenConfig{}).Listen(ctx, "tcp", "127.0.0.1:"+strconv.Itoa(port))
		if err != nil {
			continue
		}
		return port, l.Close()
	}
	return 0, errors.New("no port is free")
}
