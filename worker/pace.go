package worker

import (
	"math"
	"time"

	"postrider/delivery"
)

const (
	// slowest is the least that a server is taken to take, in mails a second: one a
	// minute, so that it is found out when it takes more.
	slowest = 1.0 / 60

	// least is what the speed is taken to have been, at least, when a server first
	// asks to slow down: a lone mail says nothing.
	least = 1.0

	// creepTime is how long it takes to win back what a halving has cost.
	creepTime = 5 * time.Minute

	// speedTime is over what time the present speed is reckoned, and leastTime of
	// it at least: what goes in an instant is no speed.
	speedTime = 2 * time.Second
	leastTime = time.Second

	// A server that names no time is left alone for minPause, for many count by the
	// second, and if it takes nothing then for twice as long each time.
	minPause = time.Second
	maxPause = time.Minute

	// catchUp is how far behind a learned pace may be and still make up for it:
	// timers are late.
	catchUp = 100 * time.Millisecond
)

// pace is how fast mails may go to the mail server: SMTP_RATE at most, and as
// slowly as the server asks for. It has no clock of its own.
//
// Of SMTP_RATE a tenth may go at once, and the rest evenly, so that never more
// than the rate go within its time. (It is the generic cell rate algorithm, ITU-T
// I.371.)
type pace struct {
	limit delivery.Rate // SMTP_RATE; no limit if it is not limited
	full  time.Time     // when the tenth may be had at once again: the algorithm's theoretical arrival time

	learned float64       // mails a second that the server seems to take; 0 while it has not asked to slow down
	usual   float64       // the speed at which the server asked first: once it is reached again nothing is left of it
	told    time.Time     // when the server asked last
	crept   time.Time     // when learned was raised last
	next    time.Time     // when learned lets the next mail go
	pause   time.Time     // none goes before
	pausing time.Duration // how long the last pause was, of those that the server named no time for; 0 if it has taken a mail since
	taken   time.Time     // when the server last took a mail

	recent  float64   // mails of late, each counting for less with the time
	counted time.Time // when that was
	began   time.Time // when they began to be more than one
}

// take lets a mail go, if the wait returned is zero; else that is how long it
// takes until it is worth asking again. The charge is what giveBack gives back.
func (p *pace) take(now time.Time) (wait, charge time.Duration) {
	if wait := p.wait(now); wait > 0 {
		return wait, 0
	}
	if p.limit.Limited() {
		p.full = latest(p.full, now).Add(p.interval())
	}
	if p.learned > 0 {
		charge = p.spacing()
		p.next = latest(p.next, now.Add(-catchUp)).Add(charge)
	}
	if p.recent = p.level(now); p.recent < 1 {
		p.began = now
	}
	p.recent, p.counted = p.recent+1, now
	return 0, charge
}

// wait returns how long it takes until the next mail may go; zero or less if it
// may now.
func (p *pace) wait(now time.Time) time.Duration {
	p.creep(now)
	at := latest(p.pause, p.next)
	if p.limit.Limited() {
		at = latest(at, p.full.Add(-time.Duration(p.burst()-1)*p.interval()))
	}
	return at.Sub(now)
}

// apart returns how far mails are from each other at most, if many come; 0 if
// they may come at once.
func (p *pace) apart() (d time.Duration) {
	if p.learned > 0 {
		d = p.spacing()
	}
	if p.limit.Limited() {
		d = max(d, p.interval())
	}
	return d
}

// giveBack takes back that a mail was let go for a charge: it did not come to the
// server.
func (p *pace) giveBack(charge time.Duration) {
	if p.limit.Limited() {
		p.full = p.full.Add(-p.interval())
	}
	p.next = p.next.Add(-charge)
	p.recent = max(0, p.recent-1)
}

// took notes that the server has taken a mail.
func (p *pace) took(now time.Time) { p.taken, p.pausing = now, 0 }

// slowDown halves the speed and lets nothing go for a while: for as long as the
// server has named, or else a second. Many mails are told so at a time: those that
// were let go before the last one say nothing more. A server that has taken
// nothing since is not faced with too many mails, but has not recovered yet: it is
// left alone for longer. It returns for how long, or 0 if that is nothing new.
func (p *pace) slowDown(letGo, now time.Time, wait time.Duration) (pause time.Duration) {
	p.pause = latest(p.pause, now.Add(wait))
	if !letGo.After(p.told) {
		return 0
	}
	p.creep(now)
	first := p.pausing == 0
	p.told, p.pausing = now, min(max(minPause, 2*p.pausing), maxPause)
	if first {
		p.halve(now)
	}
	if wait == 0 {
		wait = p.pausing
	}
	p.pause = latest(p.pause, now.Add(wait))
	return wait
}

func (p *pace) halve(now time.Time) {
	if p.learned == 0 {
		p.usual = max(least, p.speed(now))
		p.learned = p.usual
	}
	p.learned, p.crept = max(slowest, p.learned/2), now
	p.next = latest(p.next, now.Add(p.spacing()))
}

// speed returns how many mails a second there were of late.
func (p *pace) speed(now time.Time) float64 {
	full := speedTime.Seconds()
	span := full * (1 - math.Exp(-now.Sub(p.began).Seconds()/full))
	return p.level(now) / max(span, leastTime.Seconds())
}

// creep raises what was learned with the time that nothing had to wait for the
// server: it doubles in creepTime.
func (p *pace) creep(now time.Time) {
	if from := latest(p.crept, p.pause); p.learned > 0 && now.After(from) {
		p.learned *= math.Exp2(now.Sub(from).Seconds() / creepTime.Seconds())
		p.crept = now
	}
	if p.learned >= p.usual {
		p.learned = 0
	}
}

// burst returns how many mails SMTP_RATE lets go at once.
func (p *pace) burst() int { return max(1, p.limit.N/10) }

// interval returns what lies between two mails when SMTP_RATE is used up: the
// burst and what follows it come to the limit.
func (p *pace) interval() time.Duration { return p.limit.Per/time.Duration(p.limit.N-p.burst()+1) + 1 }

// spacing is interval for what was learned.
func (p *pace) spacing() time.Duration { return time.Duration(float64(time.Second) / p.learned) }

// level returns how many mails there were of late, as of now.
func (p *pace) level(now time.Time) float64 {
	return p.recent * math.Exp(-max(0, now.Sub(p.counted).Seconds())/speedTime.Seconds())
}

func latest(a, b time.Time) time.Time {
	if a.Before(b) {
		return b
	}
	return a
}
