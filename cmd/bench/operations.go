package main

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// bookkeeping is how many writes and reads a mail may cost beyond the two writes:
// those of the program's own state go by time, and not by mails.
const bookkeeping = 0.02

// measureOperations counts what Firestore is asked for by a mail in each mode.
func measureOperations(ctx context.Context, r *rig) error {
	r.table.part("4. Firestore's operations, as they would be billed", "")
	n := r.sizes.operations
	if at, err := r.google(ctx); err != nil {
		r.table.skip("operations on Google's emulator", err)
	} else if err := r.countOperations(ctx, at, "drain, Google's emulator", n, r.countDrain); err != nil {
		return err
	}
	at, err := r.inMemory(ctx)
	if err != nil {
		return err
	}
	if err := r.countOperations(ctx, at, "drain, in-process server", n, r.countDrain); err != nil {
		return err
	}
	for _, source := range []string{"push", "listen"} {
		err := r.countOperations(ctx, at, source+", in-process server", n, func(ctx context.Context, at *site, m *meter) error {
			return r.countLive(ctx, at, m, source)
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// countOperations has mails sent through a meter and prints what they took.
func (r *rig) countOperations(ctx context.Context, at *site, name string, n int, send func(context.Context, *site, *meter) error) error {
	m, err := r.meter(ctx, at)
	if err != nil {
		return err
	}
	if err := errors.Join(send(ctx, at, m), m.stop()); err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	o, each := m.reset(), func(count int) float64 { return float64(count) / float64(n) }
	r.table.add(line{name: name + ": writes of the mail's document", unit: "/mail", ours: each(o.mails), target: target{most: 2}})
	r.table.add(line{name: "  writes of the program's own state", unit: "/mail", ours: each(o.states), target: target{most: bookkeeping}})
	r.table.add(line{name: "  reads, beyond the scan and the watch", unit: "/mail", ours: each(o.reads), target: target{most: bookkeeping}})
	if o.scanned > 0 {
		r.table.add(line{name: "  reads by queries over all mails, of which a drain needs one: a read for each", unit: "/mail", ours: each(o.scanned)})
	}
	if o.watched > 0 {
		r.table.add(line{name: "  reads by the watch: it is told of the document, and of both writes", unit: "/mail", ours: each(o.watched)})
	}
	r.table.add(line{name: "  requests that write", unit: "/mail", ours: each(o.requests)})
	return nil
}

// countDrain counts all that a drain does.
func (r *rig) countDrain(ctx context.Context, at *site, m *meter) error {
	mail, err := r.sink(ctx)
	if err != nil {
		return err
	}
	n, o := r.sizes.operations, r.outbox(at)
	if err := o.fill(ctx, n); err != nil {
		return err
	}
	through := way{site: &site{name: at.name, address: m.address, client: at.client, helper: at.helper}}
	_, err = drain(ctx, r, through, o, mail, n)
	return err
}

// countLive counts what a worker does once it is ready, for documents that are
// added then.
func (r *rig) countLive(ctx context.Context, at *site, m *meter, source string) error {
	mail, err := r.sink(ctx)
	if err != nil {
		return err
	}
	o := r.outbox(at)
	p, err := r.start(ctx, m.address, o, mail.address, nil, "SOURCE="+source)
	if err != nil {
		return err
	}
	if err := p.awaitReady(ctx); err != nil {
		return err
	}
	if source == "push" {
		if err := at.push(o.database(), p.events()); err != nil {
			return err
		}
	}
	m.reset()
	n := r.sizes.operations
	if err := sentAll(ctx, o, mail, n, func() error { return o.fill(ctx, n) }); err != nil {
		return err
	}
	if err := at.hush(); err != nil {
		return err
	}
	_, err = p.stop()
	return err
}

// sentAll has n documents added and returns when they are sent and recorded.
func sentAll(ctx context.Context, o *outbox, mail sink, n int, add func() error) error {
	before, err := mail.taken()
	if err != nil {
		return err
	}
	if err := add(); err != nil {
		return err
	}
	err = until(ctx, "all mails are sent", 10*time.Millisecond, func() (bool, error) {
		taken, err := mail.taken()
		return taken-before >= n, err
	})
	if err != nil {
		return err
	}
	if err := o.settled(ctx); err != nil {
		return err
	}
	return exactly(mail, before, n)
}
