package queue

import (
	"cmp"
	"context"
	"errors"
	"sync"

	pb "cloud.google.com/go/firestore/apiv1/firestorepb"
	"golang.org/x/sync/errgroup"
)

// part is a range of documents and what is known of it.
type part struct {
	span
	documents int
	missing   int
	expected  int      // documents, from what is near; 0 for no idea
	ledger    *ledger  // that it was counted under; nil if it must be counted
	alphabet  alphabet // of its IDs
	uneven    bool     // it was divided, and nearly all was in one part
}

// examine finds what is missed in p.
func (a *audit) examine(ctx context.Context, p part) error {
	for {
		if p.ledger != nil && p.documents > worthAnew && a.knowsMore(p.ledger) {
			p.ledger = nil
		}
		under := cmp.Or(p.ledger, a.now())
		parts, err := a.step(ctx, &p, under)
		switch {
		case refusesMoment(err):
			if err := a.renew(ctx, under, err); err != nil {
				return err
			}
			p.ledger = nil
		case errors.Is(err, errLearned):
			p.ledger = nil
		case err != nil || len(parts) == 0:
			return err
		default:
			if err := a.each(ctx, parts[1:]); err != nil {
				return err
			}
			p = parts[0]
		}
	}
}

// step takes p one step further: it is counted, read, or divided. It returns the
// parts that are to be examined; p itself has been taken care of if err is nil.
func (a *audit) step(ctx context.Context, p *part, l *ledger) ([]part, error) {
	if p.ledger == nil {
		if parts, err := a.shortcut(ctx, p); err != nil || len(parts) > 1 {
			return parts, err
		}
		if err := a.measure(ctx, p, l); err != nil {
			return nil, err
		}
	}
	if p.missing == 0 {
		return nil, nil
	}
	spent := a.sofar()
	parts := partsOf(p.documents, p.missing, spent.Reads, spent.Documents)
	if parts == 0 {
		return nil, a.take(ctx, p)
	}
	return a.divide(ctx, p, parts)
}

// shortcut divides a large part that was not counted into parts that cost a read,
// if documents are likely to be missed there: then it would be counted twice.
func (a *audit) shortcut(ctx context.Context, p *part) ([]part, error) {
	sofar := a.sofar()
	if p.expected <= perRead || p.expected*sofar.Missing*4 < sofar.Documents {
		return nil, nil
	}
	n := min(fullParts(p.expected), maxParts)
	p.expected = 0
	keys, err := a.keys(ctx, p, n)
	return p.cut(keys), err
}

// measure counts p.
func (a *audit) measure(ctx context.Context, p *part, l *ledger) error {
	n, missing, err := a.weigh(ctx, p.span, l)
	if err != nil {
		return err
	}
	a.put(p, n, missing)
	p.ledger = l
	return nil
}

// divide divides p, and returns those parts in which documents are missed. If
// its IDs can't be divided it is read.
func (a *audit) divide(ctx context.Context, p *part, n int) ([]part, error) {
	keys, err := a.keys(ctx, p, n)
	if err != nil {
		return nil, err
	}
	if len(keys) == 0 {
		return nil, a.take(ctx, p)
	}
	parts := p.cut(keys)
	if err := a.weighAll(ctx, *p, parts); err != nil {
		return nil, err
	}
	missed := parts[:0]
	for _, q := range parts {
		if q.missing > 0 {
			q.uneven = q.documents > p.documents-p.documents/8
			missed = append(missed, q)
		}
	}
	return missed, nil
}

// keys returns IDs that divide p into up to n parts. The bounds of a range tell
// little of what is in it; where the range is large, or they have misled
// before, its first and last document are asked for.
func (a *audit) keys(ctx context.Context, p *part, n int) ([]string, error) {
	bounded := p.from != "" && p.to != "" && p.ledger != nil && p.documents <= perRead && !p.uneven
	if bounded {
		if keys := p.alphabet.between(p.from, p.to, n); len(keys) > 0 {
			return keys, nil
		}
	}
	lo, hi, err := a.edges(ctx, p.span, cmp.Or(p.ledger, a.now()))
	a.spend(2)
	if err != nil || lo == "" || reservedID(hi) {
		return nil, err
	}
	if reservedID(lo) {
		lo = ""
	}
	if hi == "" {
		hi = p.to
	}
	p.alphabet = alphabetOf(lo, hi)
	keys := p.alphabet.between(lo, hi, n)
	if len(keys) == 0 && lo != hi && hi != p.to {
		keys = []string{hi} // which divides, if not well
	}
	return keys, nil
}

// cut divides p at keys.
func (p part) cut(keys []string) []part {
	spans := p.span.cut(keys)
	parts := make([]part, len(spans))
	for i, s := range spans {
		parts[i] = part{span: s, alphabet: p.alphabet}
	}
	return parts
}

// weighAll counts the parts of whole, as far as that is needed: what is missed
// in the last of them is what is missed in the whole and not in the others, and
// once all that is missed has been found the rest is not counted.
func (a *audit) weighAll(ctx context.Context, whole part, parts []part) error {
	var mu sync.Mutex
	documents, missing := whole.documents, whole.missing // in what is not counted yet
	last := len(parts) - 1
	counts, ctx := errgroup.WithContext(ctx)
	counts.SetLimit(maxRanges)
	for i := range parts {
		parts[i].ledger = whole.ledger
		if i == last {
			break
		}
		counts.Go(func() error {
			mu.Lock()
			done := missing <= 0
			mu.Unlock()
			if done {
				return nil
			}
			n, m, err := a.weigh(ctx, parts[i].span, whole.ledger)
			mu.Lock()
			defer mu.Unlock()
			parts[i].documents, parts[i].missing = n, m
			documents, missing = documents-n, missing-m
			return err
		})
	}
	if err := counts.Wait(); err != nil {
		return err
	}
	parts[last].documents, parts[last].missing = max(documents, missing), max(missing, 0)
	return nil
}

// weigh returns how many documents there are in a range, and how many of them
// are missed.
func (a *audit) weigh(ctx context.Context, s span, l *ledger) (documents, missing int, err error) {
	n, err := a.tally(ctx, s, l, false)
	if err != nil || n == 0 {
		return 0, 0, err
	}
	known, err := a.tally(ctx, s, l, true)
	return n, max(n-known, 0), err
}

// tally makes one count, and notes what it costs.
func (a *audit) tally(ctx context.Context, s span, l *ledger, known bool) (int, error) {
	select {
	case a.ends <- struct{}{}:
	case <-ctx.Done():
		return 0, ctx.Err()
	}
	defer func() { <-a.ends }()
	n, err := a.count(ctx, s, l, known)
	a.spend(billed(n))
	return n, err
}

// take reads p and passes on what has no state. A document in a state that is not
// the program's is nothing to it, but where there are many the rest is better
// counted again with that state known: then it returns errLearned, and p is what
// is left.
func (a *audit) take(ctx context.Context, p *part) error {
	seen, missed := 0, 0
	err := a.read(ctx, p.span, func(ctx context.Context, d *pb.Document) error {
		seen++
		state := stateOf(d)
		if state == "" {
			missed++
			return a.pass(ctx, d)
		}
		a.learn(state)
		if p.documents-seen > worthAnew && a.knowsMore(p.ledger) {
			p.from, p.documents, p.missing = idOf(d.GetName()), p.documents-seen+1, max(p.missing-missed, 0)
			return errLearned
		}
		return nil
	})
	a.spend(max(1, seen))
	return err
}

// stateOf returns delivery.state; "" where it is not a string.
func stateOf(d *pb.Document) string {
	return d.GetFields()["delivery"].GetMapValue().GetFields()["state"].GetStringValue()
}
