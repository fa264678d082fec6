package firestored

import (
	"maps"
	"slices"
	"strings"

	"postrider/delivery/firestored/query"

	pb "cloud.google.com/go/firestore/apiv1/firestorepb"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
)

// target is one target of a listen: a set of documents, named or queried.
//
// Whether a document belongs to it is told by the document alone, so that a
// change is judged by its two versions and nothing is kept in memory. The
// exception is a query with a limit or an offset: its result is kept and, when
// one of its documents changes, computed again.
type target struct {
	id   int32
	key  uint64 // of the definition, in resume tokens
	once bool   // removed as soon as it is current

	names map[string]bool // full names of the documents of a target that names them
	query *query.Query    // or nil

	projected bool             // the query selects fields: its documents are messages of their own
	limited   bool             // by a limit or an offset
	result    map[string]int64 // of a limited query: update times by path, as its listener knows them
	stale     bool             // the result has to be computed again
}

// newTarget reads the definition of a target of db. The error is a gRPC status.
func newTarget(db *database, p *pb.Target) (*target, error) {
	switch of := p.GetTargetType().(type) {
	case *pb.Target_Documents:
		return documentsTarget(db, of.Documents.GetDocuments())
	case *pb.Target_Query:
		return queryTarget(db, of.Query)
	}
	return nil, invalid("target_type is required.")
}

func documentsTarget(db *database, names []string) (*target, error) {
	if len(names) == 0 {
		return nil, invalid("A documents target needs at least one document.")
	}
	t := &target{names: make(map[string]bool, len(names))}
	for _, name := range names {
		database, _, err := documentName("Document name", name)
		if err != nil {
			return nil, err
		}
		if database != db.name {
			return nil, invalid("Document name %q is not in database %q.", name, db.name)
		}
		t.names[name] = true
	}
	names = slices.Sorted(maps.Keys(t.names))
	t.key = targetKey(db.name, []byte(strings.Join(names, "\n")))
	return t, nil
}

func queryTarget(db *database, p *pb.Target_QueryTarget) (*target, error) {
	q, err := query.Parse(p.GetParent(), p.GetStructuredQuery())
	if err != nil {
		return nil, err
	}
	if !strings.HasPrefix(p.GetParent()+"/", db.root+"/") {
		return nil, invalid("The parent %q of the query is not in database %q.", p.GetParent(), db.name)
	}
	definition, err := proto.MarshalOptions{Deterministic: true}.Marshal(p)
	if err != nil {
		return nil, status.Errorf(codes.Internal, "marshal a query target: %v", err)
	}
	_, limited := q.Limit()
	return &target{
		key:       targetKey(db.name, definition),
		query:     q,
		projected: len(p.GetStructuredQuery().GetSelect().GetFields()) > 0,
		limited:   limited || q.Offset() > 0,
	}, nil
}

// covers reports whether the document of that full name can belong to the
// target.
func (t *target) covers(name string) bool {
	if t.query == nil {
		return t.names[name]
	}
	return t.query.Scope().Contains(name)
}

// state is one side of a change: a version of a document, or nil for none, and
// its content once a target asks for it.
type state struct {
	*version
	root    string
	content *pb.Document
}

func (s *state) doc() *pb.Document {
	if s.content == nil {
		s.content = s.document(s.root)
	}
	return s.content
}

// has reports whether a document in that state belongs to the target, whatever
// its limit and offset. The document is one that the target covers.
func (t *target) has(s *state) bool {
	switch {
	case s.version == nil:
		return false
	case t.query == nil:
		return true
	}
	return t.query.Matches(s.doc()) && t.query.InWindow(s.doc())
}
