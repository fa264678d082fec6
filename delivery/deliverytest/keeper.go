package deliverytest

import (
	"context"
	"maps"
	"sync"
	"time"
)

// members are the instances that attend.
type members struct {
	mu    sync.Mutex
	heard map[string]time.Time
	views map[string]func(map[string]time.Time)
}

// Attend is queue.Queue's. Heartbeats never fail, so an instance is heard of
// whenever another looks.
func (s *Store) Attend(ctx context.Context, self string, view func(map[string]time.Time)) error {
	m := &s.members
	m.mu.Lock()
	if m.heard == nil {
		m.heard, m.views = map[string]time.Time{}, map[string]func(map[string]time.Time){}
	}
	m.heard[self], m.views[self] = s.Now(), view
	m.tell(s.Now())
	m.mu.Unlock()
	<-ctx.Done()
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.heard, self)
	delete(m.views, self)
	m.tell(s.Now())
	return ctx.Err()
}

// Die makes an instance one that is not heard of from now on, without goodbye.
func (s *Store) Die(instance string) {
	m := &s.members
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.views, instance)
}

// tell is called with m.mu held.
func (m *members) tell(now time.Time) {
	for id := range m.heard {
		if m.views[id] != nil {
			m.heard[id] = now
		}
	}
	for _, view := range m.views {
		view(maps.Clone(m.heard))
	}
}

// Checkpoint is queue.Queue's: there is nothing to save.
func (s *Store) Checkpoint(context.Context, bool) error { return nil }

// LastAudit is queue.Queue's.
func (s *Store) LastAudit(context.Context) (time.Time, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.audited, nil
}

// NoteAudit is queue.Queue's.
func (s *Store) NoteAudit(_ context.Context, began time.Time) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.audited = began
	return nil
}
