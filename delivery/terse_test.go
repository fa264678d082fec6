package delivery

import (
	"reflect"
	"strings"
	"testing"
	"unicode/utf8"
)

// ended drives a mail through attempts, the last of which is put down as cut
// makes it.
func ended(t *testing.T, wish State, cut func(Change) Change, attempts ...Attempt) *drill {
	p := patient
	p.PerRecipient = Rate{N: 1, Per: 1}
	d := newDrill(t, p)
	last := len(attempts) - 1
	for _, a := range attempts[:last] {
		d.try(a)
	}
	if last > 0 {
		d.now = d.record().NextAttempt
	}
	d.claim()
	if wish != None {
		d.write(fieldState, string(wish))
	}
	d.apply(cut(d.record().Ended(attempts[last], p, 0, d.now)))
	return d
}

// A mail that is to go to some only ends if there is no room to say to whom:
// nobody gets it twice.
func TestTerseEndsAMailThatSomeHaveGot(t *testing.T) {
	for name, attempts := range map[string][]Attempt{
		"now":                        {sent("a+ b~")},
		"before":                     {sent("a+ b~"), sent("b~")},
		"before a failure":           {sent("a+ b~"), failed(Transient)},
		"before, and others by now":  {sent("a+ b~ c~"), sent("b~ c+")},
		"before one more was to get": {sent("a~ b~"), sent("a+ b~")},
	} {
		d := ended(t, None, Change.Terse, attempts...)
		if got := d.record(); got.State != Success || got.Attempts != int64(len(attempts)) {
			t.Errorf("%s: %v", name, d.stored())
		}
		if v, there := d.stored()[fieldError]; v != nil || !there {
			t.Errorf("%s: delivered with error %v", name, v)
		}
		d.closed()
	}
}

func TestTerseLetsAMailThatNobodyHasWait(t *testing.T) {
	for name, attempts := range map[string][]Attempt{
		"deferred":         {sent("a- b~")},
		"failed":           {failed(Transient)},
		"failed twice":     {sent("a- b~"), failed(Transient)},
		"still no verdict": {failed(Transient), failed(Transient)},
	} {
		d := ended(t, None, Change.Terse, attempts...)
		if got := d.record(); got.State != Pending || got.Series.Attempts != int64(len(attempts)) || d.decide() != Wait {
			t.Errorf("%s: %v", name, d.stored())
		}
	}
}

// An operator's wish is obeyed, terse or not: the mail goes to all, since nobody
// can tell any more who has it.
func TestTerseKeepsAnOperatorsWish(t *testing.T) {
	for _, s := range []State{Retry, Pending} {
		d := ended(t, s, Change.Terse, sent("a+ b~"))
		if got := d.record(); got.State != s || got.Series.Open() || d.decide() != Claim {
			t.Errorf("%s: %v", s, d.stored())
		}
		if got := d.owed("a b"); got != "a b" {
			t.Errorf("%s: owed to %s", s, got)
		}
	}
}

func TestTerseDropsWhatMayBeLong(t *testing.T) {
	long := failed(Permanent)
	long.Recipients = verdicts("a- b-")
	long.Failure.Message = strings.Repeat("ä", 1000)
	d := ended(t, None, Change.Terse, long)
	for _, name := range []string{fieldRecipients, fieldInfo, fieldOutcome, fieldReached} {
		if v, there := d.stored()[name]; there {
			t.Errorf("%s stays: %v", name, v)
		}
	}
	if got := d.record(); got.State != Error || len(got.Error) > maxTerseError+len("…") || !utf8.ValidString(got.Error) || !strings.HasSuffix(got.Error, "ä…") {
		t.Errorf("%v", d.stored())
	}
}

// A change that is cut stays what it was for whoever holds it.
func TestBriefAndTerseLeaveTheChangeAlone(t *testing.T) {
	partial := func() Change {
		r := Record{State: Processing, Lease: Lease{ID: "a", Phase: ReachClaimed}}
		return r.Ended(sent("a+ b~"), patient, 0, now)
	}
	c := partial()
	c.Brief()
	c.Terse()
	c.Brief().Terse()
	if !reflect.DeepEqual(c, partial()) {
		t.Errorf("%+v", c)
	}
}

func TestBriefKeepsWhoIsOwed(t *testing.T) {
	whole := ended(t, None, func(c Change) Change { return c }, sent("a+ b- c~"), sent("c~"))
	brief := ended(t, None, Change.Brief, sent("a+ b- c~"), sent("c~"))
	if got := brief.owed("a b c d"); got != "c d" {
		t.Errorf("owed to %s", got)
	}
	want := Fields{"address": "a", "status": "accepted", "code": int64(250), "attempt": int64(1)}
	if got := brief.stored()[fieldRecipients].([]any); len(got) != 3 || !reflect.DeepEqual(got[0], want) {
		t.Errorf("recipients %v", got)
	}
	if brief.recipients() != whole.recipients() || brief.info() != whole.info() {
		t.Errorf("brief %s, %s; whole %s, %s", brief.recipients(), brief.info(), whole.recipients(), whole.info())
	}
	delete(brief.stored(), fieldRecipients)
	delete(whole.stored(), fieldRecipients)
	if !reflect.DeepEqual(brief.doc, whole.doc) {
		t.Errorf("got  %v\nwant %v", brief.doc, whole.doc)
	}
}

// Brief may come before terse: the mail must end all the same.
func TestTerseOfABriefChangeEndsAMailThatSomeHaveGot(t *testing.T) {
	d := ended(t, None, func(c Change) Change { return c.Brief().Terse() }, sent("a+ b~"))
	if d.record().State != Success {
		t.Errorf("%v", d.stored())
	}
	d.closed()
}
