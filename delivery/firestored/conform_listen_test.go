package firestored_test

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	pb "cloud.google.com/go/firestore/apiv1/firestorepb"
	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/types/known/wrapperspb"
)

// target is what a case listens to, under one ID.
const target = 7

// listener is a client's end of a Listen stream. It keeps the result of one
// target as the protocol's comments tell a client to.
type listener struct {
	e    *env
	s    pb.Firestore_ListenClient
	stop context.CancelFunc

	docs    map[string]string // document path to text
	current bool
	token   []byte
	read    time.Time // of the last snapshot
	log     []string  // what came since the log was last asked for
}

func queryTarget(e *env, q query) *pb.Target {
	parent := e.root
	if q.parent != "" {
		parent = e.name(q.parent)
	}
	return &pb.Target{TargetId: target, TargetType: &pb.Target_Query{Query: &pb.Target_QueryTarget{
		Parent: parent, QueryType: &pb.Target_QueryTarget_StructuredQuery{StructuredQuery: q.proto(e)},
	}}}
}

func documentTarget(e *env, paths ...string) *pb.Target {
	d := &pb.Target_DocumentsTarget{}
	for _, path := range paths {
		d.Documents = append(d.Documents, e.name(path))
	}
	return &pb.Target{TargetId: target, TargetType: &pb.Target_Documents{Documents: d}}
}

// listen opens a stream and adds targets.
func (e *env) listen(ts ...*pb.Target) *listener {
	ctx, stop := context.WithCancel(e.ctx)
	s, err := e.pb.Listen(ctx)
	e.must("listen", err)
	l := &listener{e: e, s: s, stop: stop, docs: map[string]string{}}
	for _, t := range ts {
		l.add(t)
	}
	return l
}

func (l *listener) add(t *pb.Target) {
	l.e.must("add a target", l.s.Send(&pb.ListenRequest{Database: l.e.db, TargetChange: &pb.ListenRequest_AddTarget{AddTarget: t}}))
}

func (l *listener) drop(id int32) {
	l.e.must("remove a target", l.s.Send(&pb.ListenRequest{Database: l.e.db, TargetChange: &pb.ListenRequest_RemoveTarget{RemoveTarget: id}}))
}

// next takes one message in. It reports whether that was a snapshot: a moment
// at which all that came is as of one time.
func (l *listener) next() bool {
	r, err := l.s.Recv()
	if err != nil {
		l.e.fatalf("listen: %v; the result was {%s}, since the last one came %v", err, l.text(), l.log)
	}
	switch r := r.GetResponseType().(type) {
	case *pb.ListenResponse_TargetChange:
		return l.targetChange(r.TargetChange)
	case *pb.ListenResponse_DocumentChange:
		l.documentChange(r.DocumentChange)
	case *pb.ListenResponse_DocumentDelete:
		path := l.e.id(r.DocumentDelete.GetDocument())
		l.note("-" + path)
		delete(l.docs, path)
	case *pb.ListenResponse_DocumentRemove:
		path := l.e.id(r.DocumentRemove.GetDocument())
		l.note("~" + path)
		delete(l.docs, path)
	case *pb.ListenResponse_Filter:
		if n := int(r.Filter.GetCount()); n != len(l.docs) { // else it tells nothing
			l.note(fmt.Sprint("filter ", n))
		}
	}
	return false
}

func (l *listener) note(s string) { l.log = append(l.log, s) }

func (l *listener) documentChange(c *pb.DocumentChange) {
	path := l.e.id(c.GetDocument().GetName())
	if slices.Contains(c.GetRemovedTargetIds(), target) {
		l.note("~" + path)
		delete(l.docs, path)
	} else if len(c.GetTargetIds()) > 0 {
		l.docs[path] = l.e.show(c.GetDocument())
		l.note(path + l.docs[path])
	}
}

func (l *listener) targetChange(c *pb.TargetChange) bool {
	if t := c.GetResumeToken(); t != nil {
		l.token = t
	}
	switch c.GetTargetChangeType() {
	case pb.TargetChange_RESET:
		l.docs, l.current = map[string]string{}, false
	case pb.TargetChange_CURRENT:
		l.current = true
	case pb.TargetChange_NO_CHANGE:
		if len(c.GetTargetIds()) > 0 || c.GetReadTime() == nil || !l.current {
			return false
		}
		if at := c.GetReadTime().AsTime(); at.Before(l.read) {
			l.e.errorf("a snapshot of %v came after one of %v", at, l.read)
		} else {
			l.read = at
		}
		return true
	}
	kind := c.GetTargetChangeType().String()
	if cause := c.GetCause(); cause != nil {
		kind += " " + codes.Code(cause.GetCode()).String()
	}
	l.note(kind)
	return false
}

// text is the result at present, in the order of paths.
func (l *listener) text() string {
	var out []string
	for _, path := range slices.Sorted(maps.Keys(l.docs)) {
		out = append(out, path+l.docs[path])
	}
	return strings.Join(out, " ")
}

// reach reads snapshots until one is as wanted. The first must not be worse
// than incomplete: it is enough that a wanted one comes.
func (l *listener) reach(want string) {
	for {
		if l.next() && l.text() == want {
			return
		}
	}
}

// came returns what came since it was last asked. Documents between two target
// changes are in order, for the protocol has none.
func (l *listener) came() string {
	log := l.log
	l.log = nil
	first := 0
	for i := range len(log) + 1 {
		if i == len(log) || 'A' <= log[i][0] && log[i][0] <= 'Z' {
			slices.Sort(log[first:i])
			first = i + 1
		}
	}
	return strings.Join(log, " ")
}

// until reads up to a message that begins with one of these, as in "REMOVE".
func (l *listener) until(begins ...string) {
	for !slices.ContainsFunc(l.log, func(s string) bool {
		return slices.ContainsFunc(begins, func(b string) bool { return strings.HasPrefix(s, b) })
	}) {
		l.next()
	}
}

func listenCases() []testCase {
	return []testCase{
		{name: "a listener of nothing becomes current", run: func(e *env) {
			l := e.listen(queryTarget(e, from("c")))
			l.reach("")
			e.equal("messages", l.came(), "ADD CURRENT")
			if l.read.IsZero() || len(l.token) == 0 {
				e.errorf("no time or no token: %v, %q", l.read, l.token)
			}
		}},
		{name: "a listener is sent the result, then that it is current", run: func(e *env) {
			at := e.put(set("c/a", m{"x": 1}), set("c/b", nil), set("d/a", nil), set("c/a/c/b", nil)).GetCommitTime().AsTime()
			l := e.listen(queryTarget(e, from("c")))
			l.reach("c/a{x:1} c/b{}")
			e.equal("messages", l.came(), "ADD c/a{x:1} c/b{} CURRENT")
			if l.read.Before(at) {
				e.errorf("the snapshot is of %v, before the commit at %v", l.read, at)
			}
		}},
		{name: "a listener is sent what changes, and only that", run: func(e *env) {
			e.put(set("c/a", m{"x": 1}), set("c/z", m{"x": 1}))
			l := e.listen(queryTarget(e, from("c")))
			l.reach("c/a{x:1} c/z{x:1}")
			l.came()
			for _, step := range []struct {
				w           write
				want, comes string
			}{
				{set("c/b", m{"x": 2}), "c/a{x:1} c/b{x:2} c/z{x:1}", "c/b{x:2}"},
				{set("c/a", m{"x": 3}), "c/a{x:3} c/b{x:2} c/z{x:1}", "c/a{x:3}"},
				{del("c/z"), "c/a{x:3} c/b{x:2}", "-c/z"},
				{set("c/z", nil), "c/a{x:3} c/b{x:2} c/z{}", "c/z{}"},
			} {
				at := e.put(step.w).GetCommitTime().AsTime()
				l.reach(step.want)
				e.equal("messages", l.came(), step.comes)
				if l.read.Before(at) {
					e.errorf("the snapshot is of %v, before the commit at %v", l.read, at)
				}
			}
		}},
		{name: "a listener reaches every result in turn", run: func(e *env) {
			l := e.listen(queryTarget(e, from("c")))
			l.reach("")
			e.put(set("c/a", m{"x": 1}))
			l.reach("c/a{x:1}")
			e.put(set("c/a", m{"x": 2}), set("c/b", nil))
			l.reach("c/a{x:2} c/b{}")
			e.put(del("c/a"))
			l.reach("c/b{}")
			e.put(set("c/c", nil), del("c/b"))
			l.reach("c/c{}")
		}},
		{name: "a commit comes to a listener as a whole", run: wholeCommits},
		{name: "a listener with a filter sees documents come and go", run: filteredListener},
		{name: "a listener with a limit is filled up from behind", run: limitedListener},
		{name: "a listener with a limit from the end", run: func(e *env) {
			e.put(set("c/a", m{"x": 1}), set("c/b", m{"x": 2}), set("c/c", m{"x": 3}))
			l := e.listen(queryTarget(e, from("c").order("-x").limit(2)))
			l.reach("c/b{x:2} c/c{x:3}")
			e.put(set("c/d", m{"x": 4}))
			l.reach("c/c{x:3} c/d{x:4}")
			e.put(del("c/d"))
			l.reach("c/b{x:2} c/c{x:3}")
		}},
		{name: "a listener with cursors", run: func(e *env) {
			e.put(set("c/a", m{"x": 1}), set("c/b", m{"x": 2}), set("c/c", m{"x": 3}))
			l := e.listen(queryTarget(e, from("c").order("x").startAt(2).endBefore(4)))
			l.reach("c/b{x:2} c/c{x:3}")
			e.put(set("c/a", m{"x": 3}), set("c/c", m{"x": 4}))
			l.reach("c/a{x:3} c/b{x:2}")
		}},
		{name: "a listener at every depth", run: func(e *env) {
			e.put(set("c/a", nil), set("d/a/c/b", nil))
			l := e.listen(queryTarget(e, group("c")))
			l.reach("c/a{} d/a/c/b{}")
			e.put(set("d/z/e/z/c/z", nil), del("c/a"), set("d/z", nil))
			l.reach("d/a/c/b{} d/z/e/z/c/z{}")
		}},
		{name: "a listener below a document", run: func(e *env) {
			e.put(set("c/a/d/x", nil), set("c/b/d/x", nil))
			l := e.listen(queryTarget(e, from("d").below("c/a")))
			l.reach("c/a/d/x{}")
			e.put(set("c/a/d/y", nil), set("c/b/d/y", nil))
			l.reach("c/a/d/x{} c/a/d/y{}")
		}},
		{name: "a listener of a document", run: func(e *env) {
			e.put(set("c/a", m{"x": 1}), set("c/b", nil))
			l := e.listen(documentTarget(e, "c/a"))
			l.reach("c/a{x:1}")
			e.put(set("c/a", m{"x": 2}), set("c/b", m{"x": 2}))
			l.reach("c/a{x:2}")
			e.put(del("c/a"))
			l.reach("")
		}},
		{name: "a listener of a missing document is told so", run: func(e *env) {
			l := e.listen(documentTarget(e, "c/a"))
			l.reach("")
			e.equal("messages", l.came(), "ADD -c/a CURRENT")
			e.put(set("c/a", m{"x": 1}))
			l.reach("c/a{x:1}")
		}},
		{name: "a listener of several documents", run: func(e *env) {
			e.put(set("c/a", nil), set("d/b", nil))
			l := e.listen(documentTarget(e, "c/a", "d/b", "d/none"))
			l.reach("c/a{} d/b{}")
			e.put(set("d/none", nil), set("d/other", nil), del("c/a"))
			l.reach("d/b{} d/none{}")
		}},
		{name: "a write that changes nothing is not sent", run: func(e *env) {
			e.put(set("c/a", m{"x": 1}))
			l := e.listen(queryTarget(e, from("c")))
			l.reach("c/a{x:1}")
			l.came()
			e.put(set("c/a", m{"x": 1}))
			e.put(set("c/b", nil))
			l.reach("c/a{x:1} c/b{}")
			e.equal("messages", l.came(), "c/b{}")
		}},
		{name: "two targets share a stream", run: twoTargets},
		{name: "a target that is dropped is sent no more", run: func(e *env) {
			l := e.listen(queryTarget(e, from("c")))
			l.reach("")
			l.drop(target)
			l.until("REMOVE")
			e.equal("messages", l.came(), "ADD CURRENT REMOVE")
			e.put(set("c/a", nil))
			l.add(queryTarget(e, from("d")))
			l.reach("")
			e.equal("messages", l.came(), "ADD CURRENT")
		}},
		{name: "a target wanted once is dropped once it is current", run: func(e *env) {
			e.put(set("c/a", nil))
			t := queryTarget(e, from("c"))
			t.Once = true
			l := e.listen(t)
			l.until("CURRENT")
			e.put(set("c/a", m{"x": 1})) // ends the waiting if the target is there still
			l.until("REMOVE", "c/a{x:1}")
			e.equal("messages", l.came(), "ADD c/a{} CURRENT REMOVE")
		}},
		{name: "a target without an ID is given one", run: func(e *env) {
			t := queryTarget(e, from("c"))
			t.TargetId = 0
			l := e.listen(t)
			r, err := l.s.Recv()
			e.must("listen", err)
			if ids := r.GetTargetChange().GetTargetIds(); len(ids) != 1 || ids[0] == 0 {
				e.errorf("the first answer is %v", r)
			}
		}},
		{name: "a bad query is refused for its target", run: func(e *env) {
			l := e.listen(queryTarget(e, from("c").where(is("x", "in", arr{}))))
			for {
				r, err := l.s.Recv()
				if err != nil {
					e.code("stream", err, codes.InvalidArgument)
					return
				}
				if c := r.GetTargetChange(); c.GetTargetChangeType() == pb.TargetChange_REMOVE {
					e.equal("cause", codes.Code(c.GetCause().GetCode()), codes.InvalidArgument)
					return
				}
			}
		}},
		{name: "a document's times come with it", run: func(e *env) {
			made := e.put(set("c/a", m{"x": 1})).GetCommitTime().AsTime()
			at := e.put(set("c/a", m{"x": 2})).GetCommitTime().AsTime()
			l := e.listen(queryTarget(e, from("c")))
			for {
				r, err := l.s.Recv()
				e.must("listen", err)
				if d := r.GetDocumentChange().GetDocument(); d != nil {
					e.equal("create time", d.GetCreateTime().AsTime(), made)
					e.equal("update time", d.GetUpdateTime().AsTime(), at)
					return
				}
			}
		}},
	}
}

func wholeCommits(e *env) {
	l := e.listen(queryTarget(e, from("c")))
	l.reach("")
	const commits = 20
	e.together(2, func(i int) error {
		if i == 0 {
			for n := range commits {
				if _, err := e.commit(set("c/a", m{"n": n}), set("c/b", m{"n": n}), set("c/c", m{"n": n})); err != nil {
					return err
				}
			}
			return nil
		}
		for last := ""; last != fmt.Sprintf("{n:%d}", commits-1); last = l.docs["c/a"] {
			for !l.next() {
			}
			if len(l.docs) != 0 && (l.docs["c/a"] != l.docs["c/b"] || l.docs["c/a"] != l.docs["c/c"]) {
				return fmt.Errorf("a snapshot of half a commit: %s", l.text())
			}
		}
		return nil
	})
}

func filteredListener(e *env) {
	e.put(set("c/a", m{"x": 1}), set("c/b", m{"x": 5}), set("c/c", m{"y": 1}))
	l := e.listen(queryTarget(e, from("c").where(is("x", ">", 3))))
	l.reach("c/b{x:5}")
	e.put(set("c/a", m{"x": 4}))
	l.reach("c/a{x:4} c/b{x:5}")
	l.came()
	e.put(set("c/b", m{"x": 3}))
	l.reach("c/a{x:4}")
	if got := l.came(); got != "~c/b" && got != "-c/b" {
		e.errorf("as a document stopped matching came %q", got)
	}
	e.put(set("c/b", m{"x": 2}))
	e.put(set("c/c", m{"x": 9, "y": 1}))
	l.reach("c/a{x:4} c/c{x:9 y:1}")
	e.equal("messages", l.came(), "c/c{x:9 y:1}")
}

func limitedListener(e *env) {
	e.put(set("c/a", m{"x": 10}), set("c/b", m{"x": 20}), set("c/c", m{"x": 30}))
	l := e.listen(queryTarget(e, from("c").order("x").limit(2)))
	l.reach("c/a{x:10} c/b{x:20}")
	e.put(set("c/d", m{"x": 5}))
	l.reach("c/a{x:10} c/d{x:5}")
	e.put(del("c/a"))
	l.reach("c/b{x:20} c/d{x:5}")
	e.put(set("c/d", m{"x": 90}))
	l.reach("c/b{x:20} c/c{x:30}")
	e.put(set("c/e", m{"x": 40}))
	e.put(del("c/b"))
	l.reach("c/c{x:30} c/e{x:40}")
}

func twoTargets(e *env) {
	e.put(set("c/a", m{"x": 1}), set("c/b", m{"x": 2}))
	other := queryTarget(e, from("c").where(is("x", "==", 2)))
	other.TargetId = 8
	l := e.listen(queryTarget(e, from("c")), other)
	got := map[string]map[int32]bool{}
	current := map[int32]bool{}
	for len(current) < 2 {
		r, err := l.s.Recv()
		e.must("listen", err)
		if c := r.GetDocumentChange(); c != nil {
			path := e.id(c.GetDocument().GetName())
			for _, id := range c.GetTargetIds() {
				if got[path] == nil {
					got[path] = map[int32]bool{}
				}
				got[path][id] = true
			}
		}
		if c := r.GetTargetChange(); c.GetTargetChangeType() == pb.TargetChange_CURRENT {
			for _, id := range c.GetTargetIds() {
				current[id] = true
			}
		}
	}
	e.equal("targets", got, "map[c/a:map[7:true] c/b:map[7:true 8:true]]")
}

// resumed is a rule about a listen that goes on where another ended.
type resumed struct {
	name      string
	q         query
	meanwhile []write // each a commit of its own
	want      string
	comes     string
}

// resume makes a target go on where a listener ended.
type resume func(*pb.Target, *listener)

func byToken(t *pb.Target, l *listener) { t.ResumeType = &pb.Target_ResumeToken{ResumeToken: l.token} }

func byTime(t *pb.Target, l *listener) {
	t.ResumeType = &pb.Target_ReadTime{ReadTime: stamp(l.read)}
}

func resumes() []resumed {
	all := from("c")
	more := all.where(is("x", ">", 1))
	return []resumed{
		{"a resumed listener is sent nothing if nothing changed", all, nil, "c/a{x:1} c/b{x:2} c/z{x:3}", "ADD CURRENT"},
		{"a resumed listener is sent what changed", all, []write{set("c/b", m{"x": 9}), set("c/d", nil)}, "c/a{x:1} c/b{x:9} c/d{} c/z{x:3}", "ADD c/b{x:9} c/d{} CURRENT"},
		{"a resumed listener is sent the last of several changes", all, []write{set("c/b", m{"x": 8}), del("c/b"), set("c/b", m{"x": 9})}, "c/a{x:1} c/b{x:9} c/z{x:3}", "ADD c/b{x:9} CURRENT"},
		{"a resumed listener is sent what was deleted", all, []write{del("c/b")}, "c/a{x:1} c/z{x:3}", "ADD -c/b CURRENT"},
		{"a resumed listener is not sent what it never had", more, []write{set("c/a", m{"x": 0}), set("d/a", m{"x": 5})}, "c/b{x:2} c/z{x:3}", "ADD CURRENT"},
		{"a resumed listener is sent what matches since", more, []write{set("c/a", m{"x": 7})}, "c/a{x:7} c/b{x:2} c/z{x:3}", "ADD c/a{x:7} CURRENT"},
		{"a resumed listener loses what no longer matches", more, []write{set("c/b", m{"x": 0})}, "c/z{x:3}", "ADD ~c/b CURRENT"},
		{"a resumed listener with a limit", all.order("x").limit(2), []write{del("c/a")}, "c/b{x:2} c/z{x:3}", ""},
	}
}

func (r resumed) run(e *env, from resume) {
	e.put(set("c/a", m{"x": 1}), set("c/b", m{"x": 2}), set("c/z", m{"x": 3}))
	l := e.listen(queryTarget(e, r.q))
	for !l.next() {
	}
	l.stop()
	for _, w := range r.meanwhile {
		e.put(w)
	}
	t := queryTarget(e, r.q)
	from(t, l)
	again := e.listen(t)
	again.docs = maps.Clone(l.docs)
	again.reach(r.want)
	if r.comes != "" {
		e.equal("messages", again.came(), r.comes)
	}
}

func resumeCases() []testCase {
	var out []testCase
	for _, r := range resumes() {
		out = append(out,
			testCase{name: r.name + ", by token", run: func(e *env) { r.run(e, byToken) }},
			testCase{name: r.name + ", by read time", run: func(e *env) { r.run(e, byTime) }},
		)
	}
	return append(out,
		testCase{name: "a resumed listener of a document", run: resumedDocument},
		testCase{name: "a resumed listener that says how many it knows", run: expectedCount},
		testCase{name: "a token of nonsense is refused", run: func(e *env) {
			e.refused(&pb.Target{ResumeType: &pb.Target_ResumeToken{ResumeToken: []byte("nonsense")}}, codes.InvalidArgument)
		}},
		testCase{name: "a read time in the future is refused", run: func(e *env) {
			e.refused(&pb.Target{ResumeType: &pb.Target_ReadTime{ReadTime: stamp(time.Now().Add(time.Hour).Truncate(time.Second))}}, codes.InvalidArgument)
		}},
		testCase{name: "a read time long ago is refused", run: func(e *env) {
			e.refused(&pb.Target{ResumeType: &pb.Target_ReadTime{ReadTime: stamp(time.Now().Add(-24 * 30 * time.Hour).Truncate(time.Second))}}, codes.FailedPrecondition)
		}},
		testCase{name: "an expired token begins anew", ours: true, run: expiredToken},
		testCase{name: "an expired read time is refused", ours: true, run: func(e *env) {
			at := e.put(set("c/a", nil)).GetCommitTime()
			e.server.ExpireTokens()
			e.refused(&pb.Target{ResumeType: &pb.Target_ReadTime{ReadTime: at}}, codes.FailedPrecondition)
		}},
	)
}

// refused listens to c, resumed as t is, and wants the target or the stream to
// end for that reason.
func (e *env) refused(t *pb.Target, want codes.Code) {
	q := queryTarget(e, from("c"))
	q.ResumeType = t.GetResumeType()
	l := e.listen(q)
	for {
		r, err := l.s.Recv()
		if err != nil {
			e.code("stream", err, want)
			return
		}
		switch c := r.GetTargetChange(); c.GetTargetChangeType() {
		case pb.TargetChange_REMOVE:
			e.equal("cause", codes.Code(c.GetCause().GetCode()), want)
			return
		case pb.TargetChange_CURRENT:
			e.errorf("the target became current")
			return
		}
	}
}

func resumedDocument(e *env) {
	e.put(set("c/a", m{"x": 1}))
	l := e.listen(documentTarget(e, "c/a"))
	l.reach("c/a{x:1}")
	l.stop()
	e.put(set("c/other", nil))
	t := documentTarget(e, "c/a")
	byToken(t, l)
	again := e.listen(t)
	again.docs = maps.Clone(l.docs)
	again.reach("c/a{x:1}")
	e.equal("messages", again.came(), "ADD CURRENT")
}

// A client that says how many documents it knows can tell that it knows too
// many: it is sent the delete, or the number there is.
func expectedCount(e *env) {
	e.put(set("c/a", m{"x": 1}), set("c/b", m{"x": 2}))
	l := e.listen(queryTarget(e, from("c")))
	l.reach("c/a{x:1} c/b{x:2}")
	l.stop()
	e.put(del("c/a"))
	t := queryTarget(e, from("c"))
	byToken(t, l)
	t.ExpectedCount = wrapperspb.Int32(2)
	again := e.listen(t)
	again.until("CURRENT")
	for !again.next() {
	}
	if got := again.came(); !strings.Contains(got, "filter 1") && !strings.Contains(got, "-c/a") {
		e.errorf("neither the delete nor the count came: %s", got)
	}
}

func expiredToken(e *env) {
	e.put(set("c/a", nil), set("c/b", nil))
	l := e.listen(queryTarget(e, from("c")))
	l.reach("c/a{} c/b{}")
	l.stop()
	e.server.ExpireTokens()
	e.put(del("c/b"))
	t := queryTarget(e, from("c"))
	byToken(t, l)
	again := e.listen(t)
	again.docs = maps.Clone(l.docs)
	again.reach("c/a{}")
	e.equal("messages", again.came(), "ADD RESET c/a{} CURRENT")
}
