package delivery

import (
	"slices"
	"time"
)

// Series is the attempts of one mail that has not come to its end: a program
// tries on by itself, and whom it has reached it does not send to again. The zero
// Series belongs to a mail that has not been tried, or has come to its end; an
// operator who wants such a mail again wants it sent to all.
type Series struct {
	Attempts int64     // that have ended, since an operator last asked for the mail
	Since    time.Time // when the first of them ended, or the operator's wish was taken up
	Lapses   int64     // leases that lapsed before anything was sent
	ID       string    // of its first claim: every attempt's Message-ID is made of it
}

// Open reports whether the mail has not come to its end.
func (s Series) Open() bool { return s.ID != "" }

// readSeries reads delivery.retry.
func readSeries(v any) Series {
	f, _ := v.(Fields)
	s := Series{Attempts: count(f["attempts"]), Since: moment(f["since"]), Lapses: count(f["lapses"]), ID: text(f["id"])}
	if !s.Open() {
		return Series{}
	}
	return s
}

// stored returns the series as delivery.retry.
func (s Series) stored() Fields {
	f := Fields{"attempts": s.Attempts, "since": stored(s.Since), "id": s.ID}
	if s.Lapses > 0 {
		f["lapses"] = s.Lapses
	}
	return f
}

// series returns the series that the attempt under r's lease belongs to: the one
// that goes on, or a new one.
func (r Record) series(now time.Time) Series {
	if r.Series.Open() {
		return r.Series
	}
	return Series{Since: now, ID: r.Lease.ID}
}

// wanted reports whether an operator has asked for the mail since the program
// last wrote: by RETRY, or by PENDING over a claim or a refusal.
func (r Record) wanted() bool {
	refused := r.Class == Permanent || r.Class == Incomplete
	return r.State == Retry || r.State == Pending && (refused || !r.Lease.Expires.IsZero())
}

// Message returns the ID of which the Message-ID of a claimed mail is made: a
// mail that is tried again is the same mail.
func (r Record) Message() string {
	if r.Series.Open() {
		return r.Series.ID
	}
	return r.Lease.ID
}

// Owed returns those of the envelope's addresses that the mail is still owed to,
// in their order: all, unless an attempt that it goes on from has settled some.
func (r Record) Owed(envelope []string) []string {
	if !r.Series.Open() {
		return envelope
	}
	settled := map[string]bool{}
	for _, earlier := range r.earlier() {
		settled[earlier.Address] = earlier.Status == Accepted || earlier.Status == Rejected
	}
	var owed []string
	for _, address := range envelope {
		if !settled[address] {
			owed = append(owed, address)
		}
	}
	return owed
}

// earlier returns what the attempts of an open series have come to.
func (r Record) earlier() []Recipient {
	if !r.Series.Open() {
		return nil
	}
	return readRecipients(r.recipients)
}

// readRecipients reads delivery.recipients.
func readRecipients(stored []any) []Recipient {
	list := make([]Recipient, 0, len(stored))
	for _, v := range stored {
		f, _ := v.(Fields)
		list = append(list, Recipient{
			Address: text(f["address"]), Status: Status(text(f["status"])), Code: int(number(f["code"])),
			EnhancedCode: text(f["enhancedCode"]), Reply: text(f["reply"]), Attempt: number(f["attempt"]),
		})
	}
	return list
}

// merged returns what the series has come to with an attempt: its verdicts take
// the place of those before. Nobody has got a mail that failed.
func (r Record) merged(a Attempt) []Recipient {
	all := r.earlier()
	place := make(map[string]int, len(all))
	for i, earlier := range all {
		place[earlier.Address] = i
	}
	for _, v := range a.Recipients {
		v.Attempt = r.Attempts + 1
		if a.Failure != nil && v.Status == Accepted {
			v.Status = Deferred
		}
		if i, ok := place[v.Address]; ok {
			all[i] = v
			continue
		}
		place[v.Address] = len(all)
		all = append(all, v)
	}
	if len(all) == 0 {
		return nil
	}
	for _, address := range a.Envelope { // an edit may have added some, of whom nothing was said
		if _, ok := place[address]; !ok {
			all = append(all, Recipient{Address: address, Status: Deferred, Attempt: r.Attempts + 1})
		}
	}
	return all
}

// Window is the attempts of one document within the time of Policy.PerDocument.
type Window struct {
	Since    time.Time
	Attempts int64 // that have ended
}

// readWindow reads delivery.recent.
func readWindow(v any) Window {
	f, _ := v.(Fields)
	return Window{Since: moment(f["since"]), Attempts: count(f["attempts"])}
}

// window returns the window that now falls into. The first attempt of a document
// has none: its start and its count tell as much.
func (r Record) window(per time.Duration, now time.Time) Window {
	w := r.Recent
	if w.Since.IsZero() {
		w = Window{Since: r.Start, Attempts: r.Attempts}
	}
	if w.Since.IsZero() || now.Sub(w.Since) >= per {
		return Window{Since: now}
	}
	return w
}

// Exceeds reports whether a document may not be attempted at now, because it was
// as often as p.PerDocument allows, and when it may be again. What the program
// tries again by itself has its own limits.
func (r Record) Exceeds(p Policy, now time.Time) (until time.Time, exceeded bool) {
	if !p.PerDocument.Limited() || r.State == Pending && r.Series.Open() && !r.wanted() {
		return time.Time{}, false
	}
	w := r.window(p.PerDocument.Per, now)
	return w.Since.Add(p.PerDocument.Per), w.Attempts >= int64(p.PerDocument.N)
}

// Repeats returns how often the document's mail has reached an address, which is
// in lower case, beyond the once that it counts as one of those within per: a
// document that is sent again by hand is one document, and several mails.
func (r Record) Repeats(address string, per time.Duration, now time.Time) int {
	if !slices.Contains(r.reached, any(address)) || now.Sub(r.reachedAt) >= per {
		return 0
	}
	return max(0, int(r.window(per, now).Attempts)-1)
}
