package delivery

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"
)

// walk is one document with several workers, an operator and an application at
// it, who do what they may in any order; and the plainest model of what came of
// it: who has got the mail how often.
type walk struct {
	*drill
	*rand.Rand
	envelope []string
	hands    []*hand
	got      map[string]int // mails, in all
	since    map[string]int // mails, since an operator last asked for one that had come to its end
	allowed  int            // mails to one address: one, and one for each time an operator asked
	terse    bool           // the record had no room to say whom the mail has reached
	away     bool           // the content: an application edits in two writes
	ended    bool           // an operator wants no more of the mail
	trace    []string
}

// hand is a worker with a claim.
type hand struct {
	lease    string
	until    time.Time // of the lease, as far as it knows
	policy   Policy
	envelope []string // as it was when it claimed
	owed     []string
	began    bool
	sent     *Attempt
}

func newWalk(t *testing.T, seed uint64) *walk {
	r := rand.New(rand.NewPCG(seed, 4))
	p := Policy{MaxAttempts: 1 + r.IntN(4), MinDelay: time.Minute, MaxDelay: 10 * time.Minute, MaxAge: 24 * time.Hour, RetryLapsed: r.IntN(3) > 0}
	return &walk{drill: newDrill(t, p), Rand: r, envelope: []string{"a", "b", "c"}, got: map[string]int{}, since: map[string]int{}, allowed: 1}
}

func (w *walk) note(format string, args ...any) {
	w.trace = append(w.trace, fmt.Sprintf(format, args...))
}

// broken ends a walk over a rule that does not hold.
func (w *walk) broken(format string, args ...any) {
	w.Helper()
	for _, line := range w.trace {
		w.Log(line)
	}
	w.Fatalf(format+": %v", append(args, w.doc)...)
}

// chance is true in so many of a hundred cases.
func (w *walk) chance(percent int) bool { return w.IntN(100) < percent }

// find is what any worker does with a document that it sees.
func (w *walk) find() {
	r, p := w.record(), w.policy
	if w.chance(10) {
		p.RetryLapsed = !p.RetryLapsed // an instance with other settings
	}
	switch Decide(r, !w.away, w.now) {
	case Claim:
		w.claims++
		if w.ended {
			w.broken("claims what an operator has ended")
		}
		l := Lease{ID: fmt.Sprint("l", w.claims), Expires: w.now.Add(time.Minute)}
		w.apply(r.Claimed(l, p, w.now))
		h := &hand{lease: l.ID, until: l.Expires, policy: p, envelope: slices.Clone(w.envelope)}
		h.owed = w.record().Owed(h.envelope)
		w.hands = append(w.hands, h)
		w.note("%s claims, owed to %v, again %v", h.lease, h.owed, p.RetryLapsed)
	case Expire:
		w.apply(r.Expired(p, w.Float64(), w.now))
		w.note("%s has lapsed: %s", r.Lease.ID, w.record().State)
	case Refuse:
		w.apply(r.Refused(p, w.now))
		w.note("refused")
	}
}

// fenced puts down what a hand makes of the record, if that is still its own.
func (w *walk) fenced(h *hand, change func(Record) Change) bool {
	r := w.record()
	if r.Lease.ID != h.lease || r.Lease.Expires.IsZero() {
		w.note("%s has lost its claim", h.lease)
		return false
	}
	w.apply(change(r))
	return true
}

func (w *walk) release(h *hand) {
	w.hands = slices.DeleteFunc(w.hands, func(other *hand) bool { return other == h })
}

// work has a hand go on by one step.
func (w *walk) work(h *hand) {
	switch {
	case w.chance(10):
		w.note("%s dies", h.lease)
		w.release(h)
	case h.sent != nil:
		w.finish(h, *h.sent)
	case !w.now.Before(h.until):
		w.finish(h, to(strings.Join(h.owed, " "), failed(Transient)))
	case w.chance(15):
		h.until = w.now.Add(time.Minute)
		if !w.fenced(h, func(r Record) Change { return r.Renewed(h.until) }) {
			w.release(h)
		}
	case h.began:
		w.send(h)
	case w.chance(15):
		w.note("%s is handed back", h.lease)
		w.fenced(h, func(r Record) Change { return r.Released(w.now) })
		w.release(h)
	case w.chance(15):
		w.finish(h, to(strings.Join(h.owed, " "), failed([]Class{Transient, Permanent}[w.IntN(2)])))
	default:
		h.began = !h.policy.RetryLapsed || w.fenced(h, Record.Sending)
		if !h.began {
			w.release(h)
		}
	}
}

// send has the mail server make of the mail what it likes.
func (w *walk) send(h *hand) {
	a := Attempt{MessageID: "<m@b.test>", Response: "250 queued", Envelope: h.owed}
	answered, any := w.chance(85), false
	for _, address := range h.owed {
		mark := []string{"+", "+", "~", "~", "-"}[w.IntN(5)]
		if mark == "+" {
			w.got[address]++
			w.since[address]++
			any = true
			if !answered {
				mark = "?"
			}
		}
		a.Recipients = append(a.Recipients, verdicts(address+mark)...)
	}
	switch {
	case any && !answered:
		a.Failure = failed(Unknown).Failure
	case !any: // or nobody is owed it any more
		a.Failure = failed(Permanent).Failure
		if slices.ContainsFunc(a.Recipients, func(r Recipient) bool { return r.Status == Deferred }) {
			a.Failure = failed(Transient).Failure
		}
	}
	h.sent = &a
	for address, n := range w.got {
		if n > w.allowed {
			w.broken("%s sends the mail to %s for the %d. time, %d are asked for", h.lease, address, n, w.allowed)
		}
	}
}

func (w *walk) finish(h *hand, a Attempt) {
	w.release(h)
	wrote := w.fenced(h, func(r Record) Change {
		c := r.Ended(a, h.policy, w.Float64(), w.now)
		switch {
		case w.chance(5):
			w.terse = true
			return c.Terse()
		case w.chance(20):
			return c.Brief()
		}
		return c
	})
	if wrote {
		w.note("%s ends: %s, %s", h.lease, w.record().State, w.recipients())
		w.check(h)
	}
}

// check holds the record against the model: whom a mail that was delivered has
// not reached, the record says so, and nobody else.
func (w *walk) check(h *hand) {
	if w.terse {
		return
	}
	said := map[string]Status{}
	list, _ := w.stored()[fieldRecipients].([]any)
	for _, v := range list {
		said[v.(Fields)["address"].(string)] = Status(v.(Fields)["status"].(string))
	}
	for address, status := range said {
		if (status == Accepted || status == Unsure) && w.since[address] == 0 {
			w.broken("%s has never got the mail", address)
		}
	}
	for _, address := range h.envelope {
		if status := said[address]; w.record().State == Success && status != Accepted && status != Rejected && status != Deferred {
			w.broken("the mail is lost for %s", address)
		}
	}
}

// wish is an operator's RETRY or PENDING.
func (w *walk) wish() {
	s := []State{Retry, Pending}[w.IntN(2)]
	w.ended = false
	w.note("%s over %s", s, w.record().State)
	switch r := w.record(); {
	case r.State != Retry && r.Lease.ID != "" && !r.Lease.Expires.IsZero(): // whom that attempt reaches may never be known
		w.allowed++
	case r.State.Final() && !r.Series.Open():
		clear(w.since)
		w.terse = false
		w.allowed++
	}
	w.write(fieldState, string(s))
}

// cancel is an operator's ERROR or SUCCESS.
func (w *walk) cancel() {
	s := []State{Error, Success}[w.IntN(2)]
	w.note("%s over %s", s, w.record().State)
	if w.record().Class == Incomplete { // that the content comes back counts for more
		return
	}
	w.ended = true
	w.write(fieldState, string(s))
}

// edit is an application's, of the addresses.
func (w *walk) edit() {
	address := string("abcde"[w.IntN(5)])
	if i := slices.Index(w.envelope, address); i < 0 {
		w.envelope = append(w.envelope, address)
	} else if len(w.envelope) > 1 {
		w.envelope = slices.Delete(w.envelope, i, i+1)
	}
	w.note("to %v", w.envelope)
}

func (w *walk) step() {
	w.now = w.now.Add(time.Duration(w.IntN(20)) * time.Second)
	switch n := w.IntN(100); {
	case n < 3:
		w.wish()
	case n < 4:
		w.cancel()
	case n < 9:
		w.edit()
	case n < 12:
		w.away = !w.away
		w.note("the content is away: %v", w.away)
	case n < 50 && len(w.hands) > 0:
		w.work(w.hands[w.IntN(len(w.hands))])
	default:
		w.find()
	}
}

// settle leaves the document to the workers until it has come to its end.
func (w *walk) settle() {
	w.away = false
	for range 400 {
		switch {
		case len(w.hands) > 0:
			w.work(w.hands[0])
		case w.decide() == Ignore:
			return
		case w.decide() == Wait:
			w.now = w.now.Add(time.Minute)
		default:
			w.find()
		}
	}
	w.broken("never comes to its end")
}

// Whatever workers, an operator and an application do, in any order: nobody gets
// a mail twice that nobody asked for again, nobody is forgotten, and every mail
// comes to its end.
func TestNothingIsLostDoubledOrStuck(t *testing.T) {
	for seed := range uint64(3000) {
		w := newWalk(t, seed)
		for range 60 {
			w.step()
		}
		w.settle()
		if !w.ended { // what a worker left may stay in what an operator ended
			w.closed()
		}
		if t.Failed() {
			w.broken("seed %d", seed)
		}
	}
}
