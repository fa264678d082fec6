package firestored

import "sync"

// view reads a database as it was at one time, whatever is written meanwhile.
// Its copies are the same view.
type view struct {
	db   *database
	at   int64 // microseconds since the epoch
	pos  int64 // of the first change after at
	past *past
}

// past is what a view knows from the log: how the documents that have changed
// since its time were then.
type past struct {
	mu  sync.Mutex                     // taken after the database's
	pos int64                          // of the first change that is not in old
	old map[string]map[string]*version // by collection and path; nil where there was none
}

// view returns a view at a time in microseconds, or of now if at is 0. The
// error, where at lies in the future or the log no longer reaches back to it, is
// a gRPC status.
func (db *database) view(at int64) (view, error) {
	db.mu.RLock()
	defer db.mu.RUnlock()
	now := db.present() // from here on no commit gets a time up to at
	if at == 0 {
		return view{db: db, at: now, pos: db.log.end, past: &past{pos: db.log.end}}, nil
	}
	if at > now {
		return view{}, invalid("read_time cannot be in the future.")
	}
	pos, ok := db.log.after(at)
	if !ok {
		return view{}, errTooOld()
	}
	return view{db: db, at: at, pos: pos, past: &past{pos: pos}}, nil
}

// read calls f with the database's lock and the past up to date. The error,
// where the log no longer reaches back to the view, is a gRPC status.
func (v view) read(f func(old map[string]map[string]*version)) error {
	v.db.mu.RLock()
	defer v.db.mu.RUnlock()
	v.past.mu.Lock()
	defer v.past.mu.Unlock()
	log := &v.db.log
	if !log.has(v.past.pos) {
		return errTooOld()
	}
	for ; v.past.pos < log.end; v.past.pos++ {
		v.past.note(log.at(v.past.pos))
	}
	f(v.past.old)
	return nil
}

// note keeps what a document was before its first change after the view.
func (p *past) note(c change) {
	collection := parentOf(c.path)
	if p.old[collection] == nil {
		if p.old == nil {
			p.old = map[string]map[string]*version{}
		}
		p.old[collection] = map[string]*version{}
	}
	if _, known := p.old[collection][c.path]; !known {
		p.old[collection][c.path] = c.old
	}
}

// documents returns the versions of documents, nil for those that there were
// none of.
func (v view) documents(paths []string) ([]*version, error) {
	out := make([]*version, len(paths))
	err := v.read(func(old map[string]map[string]*version) {
		for i, path := range paths {
			if before, changed := old[parentOf(path)][path]; changed {
				out[i] = before
			} else {
				out[i] = v.db.head(path)
			}
		}
	})
	return out, err
}
