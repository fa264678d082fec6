package firestored

import (
	"fmt"
	"testing"
)

// logged returns the changes from pos on as "path" each, with a bar between the
// parts that since returns.
func logged(db *database, pos int64, max int) string {
	var out string
	for {
		changes, next, ok := db.since(pos, max)
		if !ok {
			return out + "trimmed"
		}
		if len(changes) == 0 {
			return out
		}
		for _, c := range changes {
			out += c.path + " "
		}
		out += "| "
		pos = next
	}
}

func TestLogGivesWholeCommits(t *testing.T) {
	r := newRig(t, Options{History: 8})
	var at []int64
	for i := range 3 {
		response := r.mustCommit(r.set(fmt.Sprintf("c/%da", i), nil), r.set(fmt.Sprintf("c/%db", i), nil))
		at = append(at, response.GetCommitTime().AsTime().UnixMicro())
	}
	if got := logged(r.db, 0, 1); got != "c/0a c/0b | c/1a c/1b | c/2a c/2b | " {
		t.Errorf("one at a time: %s", got)
	}
	if got := logged(r.db, 0, 3); got != "c/0a c/0b c/1a c/1b | c/2a c/2b | " {
		t.Errorf("three at a time: %s", got)
	}
	for micros, want := range map[int64]int64{0: 0, at[0] - 1: 0, at[0]: 2, at[1] - 1: 2, at[2]: 6, at[2] + 1: 6} {
		if pos, ok := r.db.positionAt(micros); !ok || pos != want {
			t.Errorf("the position at %d: %d, %v, want %d", micros, pos, ok, want)
		}
	}
	if r.db.position() != 6 {
		t.Errorf("the end is at %d", r.db.position())
	}
}

// TestLogIsTrimmed drops the oldest changes: the log then reaches back to the
// time of the last commit that it has lost something of.
func TestLogIsTrimmed(t *testing.T) {
	r := newRig(t, Options{History: 4})
	var at []int64
	for i := range 4 {
		response := r.mustCommit(r.set(fmt.Sprintf("c/%da", i), nil), r.set(fmt.Sprintf("c/%db", i), nil))
		at = append(at, response.GetCommitTime().AsTime().UnixMicro())
	}
	if got := logged(r.db, 0, 10); got != "trimmed" {
		t.Errorf("from the beginning: %s", got)
	}
	if got := logged(r.db, 4, 10); got != "c/2a c/2b c/3a c/3b | " {
		t.Errorf("from what is left: %s", got)
	}
	if _, ok := r.db.positionAt(at[1] - 1); ok {
		t.Error("the log reaches back before what it has lost")
	}
	if pos, ok := r.db.positionAt(at[1]); !ok || pos != 4 {
		t.Errorf("the position at the last lost commit: %d, %v", pos, ok)
	}
	if _, _, ok := r.db.since(9, 10); ok {
		t.Error("the log has a position that is yet to come")
	}
	r.mustCommit(r.set("c/x", nil))
	if pos, ok := r.db.positionAt(at[2]); !ok || pos != 6 {
		t.Errorf("with half a commit lost: %d, %v", pos, ok)
	}
	if _, ok := r.db.positionAt(at[2] - 1); ok {
		t.Error("half a commit is taken for a whole one")
	}
}

func TestBellRingsAtACommit(t *testing.T) {
	r := newRig(t, Options{})
	bell := r.db.bell()
	select {
	case <-bell:
		t.Fatal("it rings before")
	default:
	}
	r.mustCommit(r.set("c/a", nil))
	select {
	case <-bell:
	default:
		t.Error("it does not ring at a commit")
	}
	bell = r.db.bell()
	if _, err := r.batch(r.set("c/b", nil)); err != nil {
		t.Fatal(err)
	}
	select {
	case <-bell:
	default:
		t.Error("it does not ring at a batch")
	}
}
