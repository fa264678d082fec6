package firestored

import (
	"maps"
	"slices"
	"strings"

	pb "cloud.google.com/go/firestore/apiv1/firestorepb"
)

// listenDatabase returns the database that a stream's first request names.
func (s *Server) listenDatabase(r *pb.ListenRequest) (*database, error) {
	if err := databaseName(r.GetDatabase()); err != nil {
		return nil, err
	}
	return s.database(r.GetDatabase()), nil
}

// request adds or removes a target. An error ends the stream.
func (l *listener) request(r *pb.ListenRequest) error {
	if r.GetDatabase() != l.db.name {
		return invalid("A stream listens to one database: %q, then %q.", l.db.name, r.GetDatabase())
	}
	switch change := r.GetTargetChange().(type) {
	case *pb.ListenRequest_AddTarget:
		return l.add(change.AddTarget)
	case *pb.ListenRequest_RemoveTarget:
		return l.remove(change.RemoveTarget)
	}
	return invalid("add_target or remove_target is required.")
}

// remove ends a target that the client no longer wants. One that is not there is
// no error: the server may just have removed it itself.
func (l *listener) remove(id int32) error {
	i := slices.IndexFunc(l.targets, func(t *target) bool { return t.id == id })
	if i < 0 {
		return nil
	}
	l.targets = slices.Delete(l.targets, i, i+1)
	return l.sendTarget(&pb.TargetChange{TargetChangeType: pb.TargetChange_REMOVE, TargetIds: []int32{id}})
}

// add begins a target. What is wrong with it alone ends it with a cause and lets
// the stream go on.
func (l *listener) add(p *pb.Target) error {
	id, err := l.newID(p.GetTargetId())
	if err != nil {
		return err
	}
	if l.assigned >= 0 && p.GetTargetId() != 0 {
		return l.refuse(id, invalid("target_id must be 0 after a target with target_id 0."))
	}
	t, err := newTarget(l.db, p)
	if err != nil {
		return l.refuse(id, err)
	}
	t.id, t.once = id, p.GetOnce()
	from, err := l.place(t, p)
	if err != nil {
		return l.refuse(id, err)
	}
	if err := l.catchUp(); err != nil { // to a time that is not before the target's
		return err
	}
	return l.begin(t, from)
}

// newID returns the ID of a target that is added: the client's, or if that is 0
// one that the server chooses. From then on the server chooses them all.
func (l *listener) newID(id int32) (int32, error) {
	if id < 0 {
		return 0, invalid("target_id must be positive.")
	}
	taken := func(id int32) bool {
		return slices.ContainsFunc(l.targets, func(t *target) bool { return t.id == id })
	}
	if id != 0 {
		if taken(id) {
			return 0, invalid("Target %d is active on this stream.", id)
		}
		return id, nil
	}
	l.assigned = max(l.assigned, 0) + 1
	for taken(l.assigned) {
		l.assigned++
	}
	return l.assigned, nil
}

// catchUp brings the stream to the present, so that a target that is added now
// is told of everything committed before it was added.
func (l *listener) catchUp() error {
	if len(l.targets) == 0 {
		v, err := l.db.view(0)
		l.pos, l.at, l.held = v.pos, v.at, nil
		return err
	}
	for {
		if more, err := l.advance(); err != nil || !more {
			return err
		}
	}
}

// beginning is where a target begins.
type beginning struct {
	resumed bool  // with what changed after the time at; else with the whole result
	at      int64 // microseconds since the epoch
	reset   bool  // a token was too old: what the client knows is void
}

// place reads where a target is to begin. An error is for the client to see.
func (l *listener) place(t *target, p *pb.Target) (beginning, error) {
	now := l.db.now()
	switch from := p.GetResumeType().(type) {
	case *pb.Target_ResumeToken:
		if len(from.ResumeToken) == 0 {
			return beginning{}, nil
		}
		at, fresh, err := l.server.resumeToken(from.ResumeToken, t.key, now)
		return beginning{resumed: fresh, at: at, reset: !fresh}, err
	case *pb.Target_ReadTime:
		at, err := l.server.resumeTime(from.ReadTime, now)
		if _, reaches := l.db.positionAt(at); err == nil && !reaches {
			err = errTooOld()
		}
		return beginning{resumed: true, at: at}, err
	}
	return beginning{}, nil
}

// begin sends what a target begins with, up to the first consistent snapshot.
func (l *listener) begin(t *target, from beginning) error {
	err := l.sendTarget(&pb.TargetChange{TargetChangeType: pb.TargetChange_ADD, TargetIds: []int32{t.id}})
	if err != nil {
		return err
	}
	v, err := l.db.view(l.at)
	if err != nil {
		return tooSlow(err)
	}
	switch {
	case from.reset:
		err = l.reset(v, t)
	case from.resumed:
		err = l.resume(v, t, from.at)
	default:
		err = l.initial(v, t)
	}
	if err != nil {
		return err
	}
	l.targets = append(l.targets, t)
	if err := l.snapshot(); err != nil || !t.once {
		return err
	}
	return l.remove(t.id)
}

// reset tells a client to forget what it knows of a target, and begins anew.
func (l *listener) reset(v view, t *target) error {
	err := l.sendTarget(&pb.TargetChange{TargetChangeType: pb.TargetChange_RESET, TargetIds: []int32{t.id}})
	if err != nil {
		return err
	}
	return l.initial(v, t)
}

// initial sends a target's whole result.
func (l *listener) initial(v view, t *target) error {
	send := l.sendQueried
	if t.query == nil {
		send = l.sendNamed
	}
	if err := send(v, t); err != nil {
		return err
	}
	return l.current(t)
}

// sendQueried sends the documents of a query. A query that finds none is billed
// one read.
func (l *listener) sendQueried(v view, t *target) error {
	t.result = make(map[string]int64)
	n := 0
	err := l.each(v, t, func(doc *version, d *pb.Document) error {
		n++
		if t.limited {
			t.result[doc.path] = doc.update
		}
		return l.sendDocument(d, []*target{t}, nil)
	})
	if n == 0 && err == nil {
		l.server.billReads(1)
	}
	return err
}

// sendNamed sends the documents that a target names, and says which of them do
// not exist. Those are billed as well.
func (l *listener) sendNamed(v view, t *target) error {
	docs, err := l.named(v, t)
	if err != nil {
		return err
	}
	for i, name := range slices.Sorted(maps.Keys(t.names)) {
		if docs[i] != nil {
			err = l.sendDocument(docs[i].document(l.db.root), []*target{t}, nil)
		} else {
			l.server.billReads(1)
			err = l.sendGone(name, false, []*target{t})
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// named returns the documents that a target names in the order of their names,
// nil for those that do not exist.
func (l *listener) named(v view, t *target) ([]*version, error) {
	paths := slices.Sorted(maps.Keys(t.names))
	for i, name := range paths {
		paths[i] = strings.TrimPrefix(name, l.db.root+"/")
	}
	docs, err := v.documents(paths)
	return docs, tooSlow(err)
}

// resume sends what a target's client missed after the time at, and how many
// documents there are, by which the client can see that it knows them all. The
// names of those that stayed the same (unchanged_names), which expected_count
// asks for, may be left out, and are.
func (l *listener) resume(v view, t *target, at int64) error {
	ok, err := l.sendMissed(v, t, at)
	if err != nil {
		return err
	}
	if !ok {
		return l.reset(v, t)
	}
	count, err := l.count(v, t)
	if err != nil {
		return err
	}
	filter := &pb.ExistenceFilter{TargetId: t.id, Count: int32(count)}
	err = l.stream.Send(&pb.ListenResponse{ResponseType: &pb.ListenResponse_Filter{Filter: filter}})
	if err != nil {
		return err
	}
	return l.current(t)
}

// sendMissed sends what changed after the time at, or returns false where the
// log has lost it by now.
func (l *listener) sendMissed(v view, t *target, at int64) (ok bool, err error) {
	if !t.limited {
		missed, ok := l.missed(t, at)
		if ok {
			_, err = l.sendChanges([]*target{t}, missed)
		}
		return ok, err
	}
	past, err := l.db.view(at)
	if err != nil {
		return false, nil //nolint:nilerr // what a reset answers
	}
	t.result = make(map[string]int64)
	err = l.each(past, t, func(doc *version, _ *pb.Document) error {
		t.result[doc.path] = doc.update
		return nil
	})
	if err == nil {
		_, err = l.recompute(v, t)
	}
	return true, err
}

// missed returns what happened to a target's documents after the time at and
// until the stream's.
func (l *listener) missed(t *target, at int64) ([]change, bool) {
	var missed []change
	pos, ok := l.db.positionAt(at)
	for ok && pos < l.pos {
		var changes []change
		changes, pos, ok = l.db.since(pos, batch)
		for _, c := range changes {
			if c.at <= l.at && t.covers(l.name(c.path)) {
				missed = append(missed, c)
			}
		}
	}
	missed, late := l.server.tamper(coalesce(missed), nil)
	return append(missed, late...), ok
}

// count returns how many documents a target has.
func (l *listener) count(v view, t *target) (n int, err error) {
	if t.limited {
		return len(t.result), nil
	}
	if t.query != nil {
		n, _, err = v.count(t.query)
		return n, tooSlow(err)
	}
	docs, err := l.named(v, t)
	for _, doc := range docs {
		if doc != nil {
			n++
		}
	}
	return n, err
}
