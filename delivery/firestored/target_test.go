package firestored

import (
	"testing"

	pb "cloud.google.com/go/firestore/apiv1/firestorepb"
)

// TestTargetKey guards what a resume token is bound to: the database and the
// definition of the target, and nothing else.
func TestTargetKey(t *testing.T) {
	here := newDatabase(standDatabase, 1)
	there := newDatabase("projects/demo/databases/other", 1)
	key := func(db *database, p *pb.Target) uint64 {
		t.Helper()
		target, err := newTarget(db, p)
		if err != nil {
			t.Fatal(err)
		}
		return target.key
	}
	s := &scripted{}
	specs := map[string]*pb.Target{
		"a query":                     s.scriptTarget("1", []string{"from=mail"}),
		"with a limit":                s.scriptTarget("1", []string{"from=mail", "limit=1"}),
		"with another limit":          s.scriptTarget("1", []string{"from=mail", "limit=2"}),
		"below a parent":              s.scriptTarget("1", []string{"from=mail", "parent=users/u"}),
		"documents":                   s.scriptTarget("1", []string{"docs=mail/a,mail/b"}),
		"other documents":             s.scriptTarget("1", []string{"docs=mail/a,mail/c"}),
		"documents of two databases":  {TargetType: &pb.Target_Documents{Documents: &pb.Target_DocumentsTarget{Documents: []string{there.root + "/mail/a"}}}},
		"documents in another order":  s.scriptTarget("1", []string{"docs=mail/b,mail/a,mail/b"}),
		"a query with another ID":     s.scriptTarget("2", []string{"from=mail", "once"}),
		"a query in another database": {TargetType: &pb.Target_Query{Query: &pb.Target_QueryTarget{Parent: there.root, QueryType: queryOf(s, "from=mail")}}},
	}
	same := map[string]string{"documents in another order": "documents", "a query with another ID": "a query"}
	keys := map[uint64]string{}
	for _, what := range []string{"a query", "with a limit", "with another limit", "below a parent", "documents", "other documents", "documents in another order", "a query with another ID"} {
		k := key(here, specs[what])
		if other, taken := keys[k]; taken != (same[what] != "") || other != same[what] {
			t.Errorf("%s has the key of %q", what, other)
		} else if !taken {
			keys[k] = what
		}
	}
	if other, taken := keys[key(there, specs["a query in another database"])]; taken {
		t.Errorf("a target of another database has the key of %q", other)
	}
	for _, what := range []string{"documents of two databases", "a query in another database"} {
		if _, err := newTarget(here, specs[what]); err == nil {
			t.Errorf("%s: taken", what)
		}
	}
}

func queryOf(s *scripted, word string) *pb.Target_QueryTarget_StructuredQuery {
	q := s.scriptTarget("1", []string{word}).GetQuery().GetStructuredQuery()
	return &pb.Target_QueryTarget_StructuredQuery{StructuredQuery: q}
}

// TestMissedEndsWhereTheStreamIs leaves out what was committed after the time of
// the snapshot that the target begins with: that comes later.
func TestMissedEndsWhereTheStreamIs(t *testing.T) {
	s := newStand(t, Options{})
	l := &listener{server: s.server, db: s.server.database(standDatabase)}
	before := l.db.now()
	s.commit(standSet("mail/a", "n=1"), standSet("other/a", "n=1"))
	l.pos, l.at = l.db.position(), l.db.now()
	s.commit(standSet("mail/a", "n=2"), standSet("mail/b", "n=1"))
	target, err := newTarget(l.db, (&scripted{}).scriptTarget("1", []string{"from=mail"}))
	if err != nil {
		t.Fatal(err)
	}
	missed, ok := l.missed(target, before)
	if !ok || len(missed) != 1 || missed[0].path != "mail/a" || missed[0].old != nil || missed[0].at > l.at {
		t.Errorf("%v %+v", ok, missed)
	}
}
