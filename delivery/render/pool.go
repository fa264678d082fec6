package render

import (
	"context"
	"sync"
)

// pool lends engines to one render at a time. The one returned last is lent
// first, so that few mails keep one engine warm and the others unmade.
type pool struct {
	limits  limits
	program program
	slots   chan struct{} // one element for each engine lent
	closed  chan struct{}
	once    sync.Once // closes closed

	mu   sync.Mutex
	idle []*engine
}

func newPool(instances int, l limits) *pool {
	return &pool{
		limits: l,
		slots:  make(chan struct{}, instances),
		closed: make(chan struct{}),
	}
}

// acquire waits for an engine and reports whether it has served before. What
// it returns without an error must be released.
func (p *pool) acquire(ctx context.Context) (e *engine, used bool, err error) {
	select {
	case <-p.closed:
		return nil, false, errClosed
	default:
	}
	select {
	case p.slots <- struct{}{}:
	case <-p.closed:
		return nil, false, errClosed
	case <-ctx.Done():
		return nil, false, ctx.Err()
	}
	if e := p.pop(); e != nil {
		return e, true, nil
	}
	if e, err = p.newEngine(); err != nil {
		p.release(nil)
		return nil, false, err
	}
	return e, false, nil
}

// newEngine makes an engine that takes the place of one lent.
func (p *pool) newEngine() (*engine, error) { return newEngine(&p.program, p.limits) }

// release takes back an engine, or with nil the right to one.
func (p *pool) release(e *engine) {
	if e != nil && e.spent {
		e.close()
		e = nil
	}
	if e != nil {
		p.mu.Lock()
		p.idle = append(p.idle, e)
		p.mu.Unlock()
	}
	<-p.slots
}

// close waits until all engines are back and frees them. It may be called more
// than once.
func (p *pool) close() {
	p.once.Do(func() {
		close(p.closed)
		for range cap(p.slots) {
			p.slots <- struct{}{}
		}
		for e := p.pop(); e != nil; e = p.pop() {
			e.close()
		}
	})
}

func (p *pool) pop() *engine {
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.idle) == 0 {
		return nil
	}
	e := p.idle[len(p.idle)-1]
	p.idle = p.idle[:len(p.idle)-1]
	return e
}
