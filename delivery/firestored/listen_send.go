package firestored

import (
	"maps"
	"slices"

	pb "cloud.google.com/go/firestore/apiv1/firestorepb"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// sendChanges tells targets of changes, and reports whether there was anything
// to tell. Targets with a limit are only marked as stale.
func (l *listener) sendChanges(targets []*target, changes []change) (news bool, err error) {
	for _, c := range changes {
		before, after := &state{version: c.old, root: l.db.root}, &state{version: c.new, root: l.db.root}
		name := l.name(c.path)
		var in, out []*target
		for _, t := range targets {
			switch {
			case !t.covers(name):
			case t.limited:
				t.stale = t.stale || t.has(after) || t.has(before)
			case t.has(after):
				in = append(in, t)
			case t.has(before):
				out = append(out, t)
			}
		}
		switch {
		case len(in) > 0:
			err = l.sendDocument(after.doc(), in, out)
		case len(out) > 0:
			err = l.sendGone(name, c.new != nil, out)
		default:
			continue
		}
		if err != nil {
			return news, err
		}
		news = true
	}
	return news, nil
}

// recompute runs the query of a target with a limit again and sends how its
// result differs from what the listener knows.
func (l *listener) recompute(v view, t *target) (differs bool, err error) {
	result := make(map[string]int64, len(t.result))
	err = l.each(v, t, func(doc *version, d *pb.Document) error {
		result[doc.path] = doc.update
		known, ok := t.result[doc.path]
		delete(t.result, doc.path)
		if ok && known == doc.update {
			return nil
		}
		differs = true
		return l.sendDocument(d, []*target{t}, nil)
	})
	if err != nil {
		return differs, err
	}
	left := slices.Sorted(maps.Keys(t.result))
	docs, err := v.documents(left)
	if err != nil {
		return differs, tooSlow(err)
	}
	for i, path := range left {
		if err := l.sendGone(l.name(path), docs[i] != nil, []*target{t}); err != nil {
			return differs, err
		}
		differs = true
	}
	t.result, t.stale = result, false
	return differs, nil
}

// each runs the query of a target and calls f for each document, until f fails.
func (l *listener) each(v view, t *target, f func(*version, *pb.Document) error) error {
	var failed error
	_, err := l.server.run(v, t.query, func(doc *version, d *pb.Document) bool {
		failed = f(doc, d)
		return failed == nil
	})
	if failed != nil {
		return failed
	}
	return tooSlow(err)
}

// tooSlow is the end of a stream whose client reads a result so slowly that the
// log no longer has what it was read from. It may try again.
func tooSlow(err error) error {
	if err == nil {
		return nil
	}
	return status.Errorf(codes.Unavailable, "The database changes faster than this listener reads: %v", err)
}

// sendDocument sends a document that targets in have, and that targets out no
// longer have. A target that selects fields gets a message of its own. Each
// target is billed a read.
func (l *listener) sendDocument(d *pb.Document, in, out []*target) error {
	l.server.billReads(len(in))
	var whole []*target
	for _, t := range in {
		if !t.projected {
			whole = append(whole, t)
			continue
		}
		err := l.sendChange(&pb.DocumentChange{Document: t.query.Project(d), TargetIds: []int32{t.id}})
		if err != nil {
			return err
		}
	}
	if len(whole) == 0 {
		return l.sendGone(d.GetName(), true, out)
	}
	l.server.billReads(len(out))
	return l.sendChange(&pb.DocumentChange{Document: d, TargetIds: ids(whole), RemovedTargetIds: ids(out)})
}

// sendGone says that targets no longer have a document, which still exists or
// does not. A deletion is not billed, another removal is.
func (l *listener) sendGone(name string, exists bool, out []*target) error {
	if len(out) == 0 {
		return nil
	}
	if !exists {
		gone := &pb.DocumentDelete{Document: name, RemovedTargetIds: ids(out), ReadTime: timestamp(l.at)}
		return l.stream.Send(&pb.ListenResponse{ResponseType: &pb.ListenResponse_DocumentDelete{DocumentDelete: gone}})
	}
	l.server.billReads(len(out))
	gone := &pb.DocumentRemove{Document: name, RemovedTargetIds: ids(out), ReadTime: timestamp(l.at)}
	return l.stream.Send(&pb.ListenResponse{ResponseType: &pb.ListenResponse_DocumentRemove{DocumentRemove: gone}})
}

func (l *listener) sendChange(c *pb.DocumentChange) error {
	return l.stream.Send(&pb.ListenResponse{ResponseType: &pb.ListenResponse_DocumentChange{DocumentChange: c}})
}

func (l *listener) sendTarget(c *pb.TargetChange) error {
	return l.stream.Send(&pb.ListenResponse{ResponseType: &pb.ListenResponse_TargetChange{TargetChange: c}})
}

// refuse removes a target for what is wrong with it.
func (l *listener) refuse(id int32, cause error) error {
	return l.sendTarget(&pb.TargetChange{
		TargetChangeType: pb.TargetChange_REMOVE,
		TargetIds:        []int32{id},
		Cause:            status.Convert(cause).Proto(),
	})
}

// current says that a target reflects all that was committed before it was added.
func (l *listener) current(t *target) error {
	return l.sendTarget(&pb.TargetChange{
		TargetChangeType: pb.TargetChange_CURRENT,
		TargetIds:        []int32{t.id},
		ResumeToken:      l.token([]*target{t}),
		ReadTime:         timestamp(l.at),
	})
}

// snapshot says that all targets have reached one time: a NO_CHANGE without
// target IDs.
func (l *listener) snapshot() error {
	l.idle.Reset(l.server.idle())
	return l.sendTarget(&pb.TargetChange{ResumeToken: l.token(l.targets), ReadTime: timestamp(l.at)})
}

// token returns the token by which any of the targets can be resumed at the
// stream's time.
func (l *listener) token(targets []*target) []byte {
	t := token{era: l.server.extras.era(), at: l.at}
	for _, of := range targets {
		t.targets = append(t.targets, of.key)
	}
	return t.encode()
}

// name returns the full name of a document.
func (l *listener) name(path string) string { return l.db.root + "/" + path }

func ids(targets []*target) []int32 {
	var ids []int32
	for _, t := range targets {
		ids = append(ids, t.id)
	}
	return ids
}
