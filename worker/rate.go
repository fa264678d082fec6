package worker

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"postrider/delivery"
)

const (
	// countingAtOnce is how many addresses are counted at a time.
	countingAtOnce = 8

	// countAgain is when it is tried again to count.
	countAgain = 5 * time.Second
)

// rates knows the mails to each address that are on their way, in the order in
// which they asked for their place: those that have arrived Firestore counts.
type rates struct {
	mu    sync.Mutex
	last  int              // ticket that was given out
	going map[string][]int // tickets, the smallest first
	freed chan struct{}    // closed and replaced when a place is given back
}

func newRates() *rates { return &rates{going: map[string][]int{}, freed: make(chan struct{})} }

// reserve takes a place at each address.
func (r *rates) reserve(addresses []string) (ticket int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.last++
	for _, a := range addresses {
		r.going[a] = append(r.going[a], r.last)
	}
	return r.last
}

// free gives the places of a ticket back.
func (r *rates) free(addresses []string, ticket int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, a := range addresses {
		r.going[a] = slices.DeleteFunc(r.going[a], func(t int) bool { return t == ticket })
		if len(r.going[a]) == 0 {
			delete(r.going, a)
		}
	}
	close(r.freed)
	r.freed = make(chan struct{})
}

// ahead returns how many mails to an address asked before the one with a ticket,
// and what tells of places given back.
func (r *rates) ahead(address string, ticket int) (int, <-chan struct{}) {
	r.mu.Lock()
	defer r.mu.Unlock()
	n := 0
	for _, t := range r.going[address] {
		if t < ticket {
			n++
		}
	}
	return n, r.freed
}

// admit refuses a mail to an address that has got as many as it may get. Done is
// called when the mail's end is recorded. The error is a [*delivery.Failure], or
// says that it was not to be found out until the given time.
func (w *Worker) admit(ctx context.Context, until time.Time, r delivery.Record, envelope []string) (done func(), err error) {
	if !w.options.Policy.PerRecipient.Limited() {
		return func() {}, nil
	}
	addresses := make([]string, len(envelope))
	for i, a := range envelope {
		addresses[i] = strings.ToLower(a)
	}
	slices.Sort(addresses)
	addresses = slices.Compact(addresses)
	ticket := w.rates.reserve(addresses)
	ctx, cancel := context.WithDeadline(ctx, until)
	defer cancel()
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(countingAtOnce)
	for _, a := range addresses {
		group.Go(func() error { return w.admitTo(ctx, r, a, ticket) })
	}
	if err := group.Wait(); err != nil {
		w.rates.free(addresses, ticket)
		return nil, err
	}
	return func() { w.rates.free(addresses, ticket) }, nil
}

// admitTo returns nil if an address may get the mail with a ticket. A mail that is
// on its way may be recorded already, and is counted twice then: what it takes
// away is not refused, but waits for its end.
func (w *Worker) admitTo(ctx context.Context, r delivery.Record, address string, ticket int) error {
	limit := w.options.Policy.PerRecipient
	for {
		ahead, freed := w.rates.ahead(address, ticket)
		now := w.queue.Now()
		n, err := w.queue.Accepted(ctx, address, now.Add(-limit.Per))
		n += r.Repeats(address, limit.Per, now)
		w.state.counts(err)
		switch {
		case ctx.Err() != nil:
			return errors.Join(ctx.Err(), err)
		case err != nil:
			w.log.Warn().Err(err).Msg("mails to one recipient can't be counted, trying again")
			await(ctx, nil, countAgain)
			continue
		case n+ahead < limit.N:
			return nil
		case n >= limit.N:
			return tooMany(limit, address)
		}
		for before := ahead; ahead == before; ahead, freed = w.rates.ahead(address, ticket) {
			await(ctx, freed, limit.Per)
			if ctx.Err() != nil {
				return ctx.Err()
			}
		}
	}
}

func tooMany(limit delivery.Rate, address string) *delivery.Failure {
	return &delivery.Failure{
		Class: delivery.Permanent, Phase: delivery.PhaseCompose,
		Message: fmt.Sprintf("Error: Too many mails to one recipient: %v are allowed (MAX_PER_RECIPIENT)", limit),
		Explain: address + " has got as many as MAX_PER_RECIPIENT allows; find out what asks for so many, " +
			"and if this one is still wanted set delivery.state to RETRY later, or raise the limit",
	}
}
