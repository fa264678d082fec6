package retry

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	mathrand "math/rand/v2"
	"strings"
	"sync"
	"time"

	"github.com/cenkalti/backoff/v5"
	"github.com/rs/zerolog"

	"postrider/delivery"
	"postrider/delivery/bulk"
)

// Operations keeps the operations on a mail collection. Its methods are safe for
// concurrent use, and may be called again after any error.
type Operations interface {
	// CreateOperation puts down an operation, or says delivery.ErrConflict if there
	// is one with this ID.
	CreateOperation(ctx context.Context, id string, f delivery.Fields) (delivery.Snapshot, error)
	// Operation returns an operation as it is, or delivery.ErrGone.
	Operation(ctx context.Context, id string) (delivery.Snapshot, error)
	// ChangeOperation sets fields if the operation is still as it was, and returns
	// it as it is then; else delivery.ErrConflict. delivery.ErrRefused says that
	// it can't be kept.
	ChangeOperation(ctx context.Context, s delivery.Snapshot, f delivery.Fields) (delivery.Snapshot, error)
	// OpenOperations passes on what has not ended, of its fields the end of the
	// lease at least.
	OpenOperations(ctx context.Context, found func(context.Context, delivery.Snapshot) error) error
}

// Mails is the mail collection as a bulk retry sees it. Its methods are safe for
// concurrent use. What they pass on has the fields that bulk.Filter asks about.
type Mails interface {
	// Now is the time by the clock that all instances reckon by, UTC.
	Now() time.Time
	// CountState counts the documents in a state.
	CountState(ctx context.Context, state delivery.State) (int, error)
	// Retryable passes on the documents in a state, in the order of their IDs and
	// after one, up to limit, until found returns an error, which it returns.
	Retryable(ctx context.Context, state delivery.State, after string, limit int,
		found func(ctx context.Context, s delivery.Snapshot, added time.Time) error) error
	// Documents passes on those of the documents with some IDs that there are.
	Documents(ctx context.Context, ids []string, found func(ctx context.Context, s delivery.Snapshot, added time.Time) error) error
	// Apply puts down a change if the document is still as it was, and returns it
	// as it is then; else as it is, and delivery.ErrConflict, or ErrGone, or
	// ErrRefused. It tries until ctx ends.
	Apply(ctx context.Context, s delivery.Snapshot, c delivery.Change) (delivery.Snapshot, error)
}

// Options say how a Runner works.
type Options struct {
	// Instance is its ID, unique among those on the collection.
	Instance string
	// Room returns how many documents may be moved now so that mails that come in
	// don't wait for them; 0 means to ask again later. It is not called by several
	// goroutines at a time.
	Room func() int
}

// Runner works the bulk retries of a mail collection.
type Runner struct {
	options    Options
	operations Operations
	mails      Mails
	log        zerolog.Logger
	wake       chan struct{} // holds one when there may be something to work
	turn       chan struct{} // holds one while an operation moves documents
	working    sync.WaitGroup

	mu      sync.Mutex
	inHand  map[string]bool // operations, by their IDs
	skipped bool            // one was found while there were enough in hand
}

// New returns a runner. Run it once.
func New(o Options, operations Operations, mails Mails, log zerolog.Logger) *Runner {
	return &Runner{
		options: o, operations: operations, mails: mails, log: log,
		wake: make(chan struct{}, 1), turn: make(chan struct{}, 1), inHand: map[string]bool{},
	}
}

const (
	look       = time.Minute      // between two looks for operations of others, give or take a quarter
	watchful   = 10 * time.Second // while others have some, who may end before their work does
	soon       = time.Second      // after a look that has failed
	acceptTime = 10 * time.Second // for accepting an operation
	goodbye    = 2 * time.Second  // for leaving an operation to another

	maxInHand = 8 // operations worked at a time
)

// Accept puts down an operation for a request, for this instance or another to
// work, and returns its ID. It tries for some seconds, or until ctx ends. After an
// error the operation may be there all the same.
func (r *Runner) Accept(ctx context.Context, q bulk.Request) (id string, err error) {
	ctx, cancel := context.WithTimeout(ctx, acceptTime)
	defer cancel()
	id = strings.ToLower(rand.Text())[:20]
	fields := bulk.New(id, q, r.mails.Now()).Fields()
	err = r.patiently(ctx, id, func() error {
		_, err := r.operations.CreateOperation(ctx, id, fields)
		if errors.Is(err, delivery.ErrConflict) {
			return nil // an answer before was lost: nobody else has come by this ID
		}
		return err
	})
	if err != nil {
		return "", fmt.Errorf("accept bulk retry: %w", err)
	}
	r.Wake()
	return id, nil
}

// Wake has Run look for operations now.
func (r *Runner) Wake() {
	select {
	case r.wake <- struct{}{}:
	default:
	}
}

// Run works operations until ctx ends, a few at a time: those that move documents
// take turns, page by page, so that a short one need not wait for a long one, and
// those that only count never wait. What it has in hand at the end it leaves to
// others, and returns nil.
func (r *Runner) Run(ctx context.Context) error {
	defer r.working.Wait()
	failures := backoff.NewExponentialBackOff()
	failures.InitialInterval, failures.MaxInterval = soon, look
	for ctx.Err() == nil {
		wait := time.Duration(float64(look) * (0.75 + mathrand.Float64()/2))
		others, err := r.round(ctx)
		if others {
			wait = watchful
		}
		if err != nil && ctx.Err() == nil {
			wait = failures.NextBackOff()
			r.log.Warn().Err(err).Msg("bulk retries can't be looked for, trying again")
		} else {
			failures.Reset()
		}
		await(ctx, r.wake, wait)
	}
	return nil
}

// round begins to work all operations that nobody has, and reports whether others
// have some.
func (r *Runner) round(ctx context.Context) (others bool, err error) {
	var open []bulk.Operation
	err = r.operations.OpenOperations(ctx, func(_ context.Context, s delivery.Snapshot) error {
		open = append(open, bulk.ReadOperation(s))
		return nil
	})
	if err != nil {
		return false, err
	}
	for _, o := range open {
		switch leased := r.mails.Now().Before(o.Lease.Expires); {
		case ctx.Err() != nil:
		case leased:
			others = others || !r.has(o.ID)
		default:
			r.begin(ctx, o.ID)
		}
	}
	return others, nil
}

// has reports whether an operation is in hand.
func (r *Runner) has(id string) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.inHand[id]
}

// begin works an operation meanwhile, if it is not in hand, and not too many are.
func (r *Runner) begin(ctx context.Context, id string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	switch {
	case r.inHand[id]:
	case len(r.inHand) == maxInHand:
		r.skipped = true
	default:
		r.inHand[id] = true
		r.working.Go(func() {
			r.work(ctx, id)
			r.end(id)
		})
	}
}

// end lets go of an operation, and has Run look for those that it had no room for.
func (r *Runner) end(id string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.inHand, id)
	if r.skipped {
		r.skipped = false
		r.Wake()
	}
}

// work works one operation as far as it comes.
func (r *Runner) work(ctx context.Context, id string) {
	log := r.log.With().Str("operation", id).Logger()
	s, err := r.operations.Operation(ctx, id)
	if err != nil {
		if ctx.Err() == nil && !errors.Is(err, delivery.ErrGone) {
			log.Warn().Err(err).Msg("bulk retry can't be read, trying again later")
			await(ctx, nil, soon) // others may be waiting for it to be let go of
		}
		return
	}
	t := &task{Runner: r, log: log, snapshot: s, o: bulk.ReadOperation(s), owner: r.options.Instance + " " + rand.Text()}
	if !t.o.Claimable(r.mails.Now()) {
		return
	}
	err = t.run(ctx)
	c := t.o.Counts
	counted := log.Info()
	if err != nil && !errors.Is(err, errLost) && ctx.Err() == nil {
		counted = log.Warn().Err(err)
	}
	counted = counted.Int("seen", c.Seen).Int("moved", c.Moved).Int("skipped", c.Skipped).Int("refused", c.Refused)
	switch {
	case t.o.State.Final():
		counted.Str("state", string(t.o.State)).Msg("bulk retry ended")
	case errors.Is(err, errLost):
		counted.Msg("bulk retry is another instance's")
	default:
		counted.Msg("bulk retry is left for later")
	}
}

// patiently repeats try with growing pauses until it succeeds, nothing would
// change, or ctx ends. Then its error tells of the last one, too.
func (r *Runner) patiently(ctx context.Context, id string, try func() error) error {
	var last error
	pause := backoff.NewExponentialBackOff()
	pause.InitialInterval, pause.MaxInterval = 100*time.Millisecond, 5*time.Second
	_, err := backoff.Retry(ctx, func() (struct{}, error) {
		err := try()
		for _, settled := range []error{errLost, errEnough, delivery.ErrRefused, delivery.ErrGone} {
			if errors.Is(err, settled) {
				return struct{}{}, backoff.Permanent(err)
			}
		}
		return struct{}{}, err
	}, backoff.WithBackOff(pause), backoff.WithMaxElapsedTime(0), backoff.WithNotify(func(err error, _ time.Duration) {
		last = err
		r.log.Warn().Err(err).Str("operation", id).Msg("Firestore did not answer as it should, trying again")
	}))
	if err != nil && ctx.Err() != nil {
		return errors.Join(err, last)
	}
	return err
}

// await waits until d has passed, something is sent on early, or ctx ends.
func await(ctx context.Context, early <-chan struct{}, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-early:
	case <-ctx.Done():
	}
}
