package main

import (
	"context"
	"errors"
	"fmt"
	"net"

	"postrider/config"
	"postrider/delivery/firestored"
	"postrider/delivery/queue/emulator"
)

// memory is a Firestore server in memory that serves until it is stopped.
type memory struct {
	*firestored.Server
	stop context.CancelFunc
	done chan error // takes what ended it
}

// startFirestore starts a server, unless the environment names one.
func (d *development) startFirestore(ctx context.Context) (err error) {
	if d.firestore, _ = d.lookup("FIRESTORE_EMULATOR_HOST"); d.firestore != "" {
		return nil
	}
	if d.google {
		fmt.Fprintln(d.out, "Starting Google's Firestore emulator …")
		if d.emulator, err = emulator.Start(ctx, emulator.Options{Heap: d.heap}); err != nil {
			return fmt.Errorf("start Google's Firestore emulator: %w\nOne that runs already is used if FIRESTORE_EMULATOR_HOST names it; --firestore memory needs none", err)
		}
		d.firestore = d.emulator.Host
		return nil
	}
	listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return fmt.Errorf("listen for Firestore's clients: %w", err)
	}
	// It is needed until the worker has written down how its last mail ended.
	serving, stop := context.WithCancel(context.WithoutCancel(ctx))
	d.server = &memory{Server: firestored.New(firestored.Options{}), stop: stop, done: make(chan error, 1)}
	go func() { d.server.done <- d.server.Serve(serving, listener) }()
	d.firestore = listener.Addr().String()
	return nil
}

// stopFirestore ends the server that was started, and waits for its end.
func (d *development) stopFirestore() error {
	switch {
	case d.emulator != nil:
		return d.emulator.Close()
	case d.server != nil:
		d.server.stop()
		return <-d.server.done
	}
	return nil
}

// watchFirestore ends dev if the server ends by itself.
func (d *development) watchFirestore(ctx context.Context) error {
	var emulatorEnded <-chan struct{}
	if d.emulator != nil {
		emulatorEnded = d.emulator.Done()
	}
	select {
	case <-emulatorEnded:
		return fmt.Errorf("the Firestore emulator ended: %s", d.emulator.Output())
	case <-ctx.Done():
		return nil
	}
}

// push has the server in memory tell the worker of changes, as Eventarc does.
func (d *development) push(ctx context.Context, c config.Config, worker net.Addr) error {
	if d.server == nil {
		return errors.New("SOURCE=push needs somebody who sends events: dev does with --firestore memory only")
	}
	return d.server.Subscribe(ctx, firestored.Subscription{
		Database: "projects/" + c.Project + "/databases/" + c.Database,
		Document: c.MailCollection + "/{id}",
		URL:      "http://" + worker.String() + "/events",
	})
}
