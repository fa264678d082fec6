package compose

import (
	"context"
	"fmt"
	"time"
)

// minRoom is how much memory a mail takes, in bytes, before it asks for it: what
// takes less is counted well enough by its document.
const minRoom = 64 << 10

// loader reads the attachments of one document, within the bounds that it has on
// bytes, memory and time.
type loader struct {
	*Composer

	where   string // the attachment's path in the document, for errors
	budget  int64  // bytes that may still be read for this document
	fetched int    // bytes of the files in memory
	written int    // bytes of memory for the message
	hold    func(ctx context.Context, bytes int) error
	held    int // bytes hold was told of last; 0 if it wasn't called

	cancel context.CancelCauseFunc // of the context; nil if nothing can be fetched
	timer  *time.Timer             // calls it once the time for fetching is over
	left   time.Duration
	since  time.Time // when the timer was last started
}

// newLoader returns the context in which files are fetched along with the loader,
// which must be closed.
func (c *Composer) newLoader(ctx context.Context, m content, claim Claim) (context.Context, *loader) {
	l := &loader{Composer: c, budget: c.options.MaxMessageBytes, hold: claim.Hold}
	if len(m.Attachments) > 0 {
		ctx, l.cancel = context.WithCancelCause(ctx)
		l.left, l.since = c.options.FetchTimeout, time.Now()
		l.timer = time.AfterFunc(l.left, func() { l.cancel(context.DeadlineExceeded) })
	}
	return ctx, l
}

// take asks for bytes of memory more than the files and the message have. The time
// for fetching stands still while it waits.
func (l *loader) take(ctx context.Context, bytes int) error {
	total := l.fetched + l.written + bytes
	if l.hold == nil || total == l.held || l.held == 0 && total < minRoom {
		return nil
	}
	l.held = total
	if l.timer != nil && l.timer.Stop() {
		l.left -= time.Since(l.since)
		defer func() {
			l.since = time.Now()
			l.timer.Reset(l.left)
		}()
	}
	if err := l.hold(ctx, total); err != nil {
		return fmt.Errorf("wait for room in memory: %w", err)
	}
	return nil
}

func (l *loader) close() {
	if l.timer != nil {
		l.timer.Stop()
		l.cancel(nil)
	}
}
