package worker

import (
	"math/rand/v2"
	"testing"
	"time"

	"postrider/delivery"
)

var noon = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

// flow lets mails go as fast as a pace lets them for a time, and returns when
// they went.
func flow(p *pace, from time.Time, length time.Duration) (times []time.Time) {
	for now := from; now.Before(from.Add(length)); {
		wait, _ := p.take(now)
		if wait == 0 {
			times = append(times, now)
		}
		now = now.Add(wait)
	}
	return times
}

// most returns how many times lie within any span of a length, its end left out.
func most(times []time.Time, length time.Duration) int {
	most, first := 0, 0
	for i, at := range times {
		for !times[first].After(at.Add(-length)) {
			first++
		}
		most = max(most, i-first+1)
	}
	return most
}

func TestNeverMoreThanTheRateWithinItsTime(t *testing.T) {
	for _, limit := range []delivery.Rate{
		{N: 1, Per: time.Second},
		{N: 9, Per: time.Second},
		{N: 14, Per: time.Second},
		{N: 600, Per: time.Minute},
		{N: 1, Per: time.Hour},
		{N: 2000, Per: time.Hour},
		{N: 10, Per: 24 * time.Hour},
		{N: 50000, Per: 24 * time.Hour},
	} {
		t.Run(limit.String(), func(t *testing.T) {
			times := flow(&pace{limit: limit}, noon, 3*limit.Per)
			if got := most(times, limit.Per); got > limit.N {
				t.Errorf("%d go within %v", got, limit.Per)
			}
			if want := limit.N * 3 * 8 / 10; len(times) < want {
				t.Errorf("only %d go in three times %v, want %d at least", len(times), limit.Per, want)
			}
			at := 0
			for at < len(times) && times[at].Equal(noon) {
				at++
			}
			if want := max(1, limit.N/10); at != want {
				t.Errorf("%d go at once, want %d", at, want)
			}
		})
	}
}

func TestRateIsKeptWhateverComesWhen(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	limit := delivery.Rate{N: 20, Per: time.Minute}
	p := &pace{limit: limit}
	var times []time.Time
	for now, i := noon, 0; i < 5000; i++ {
		now = now.Add(time.Duration(random.ExpFloat64() * float64(3*time.Second)))
		wait, charge := p.take(now)
		if wait > 0 {
			continue
		}
		if random.IntN(10) == 0 {
			p.giveBack(charge)
			continue
		}
		times = append(times, now)
	}
	if got := most(times, limit.Per); got > limit.N || got < limit.N/2 {
		t.Errorf("%d go within a minute, want %d at most", got, limit.N)
	}
}

func TestMailThatDidNotComeToTheServerDoesNotCount(t *testing.T) {
	p := &pace{limit: delivery.Rate{N: 1, Per: time.Hour}}
	for range 5 {
		wait, charge := p.take(noon)
		if wait != 0 {
			t.Fatalf("the next one waits %v", wait)
		}
		p.giveBack(charge)
	}
	if waits(p, noon) != 0 || waits(p, noon) == 0 {
		t.Error("not one goes, or two")
	}
}

// waits lets a mail go, or returns how long it has to wait.
func waits(p *pace, now time.Time) time.Duration {
	wait, _ := p.take(now)
	return wait
}

// A mail gives back what it was charged, however slow the pace has become since.
func TestMailGivesBackWhatItWasCharged(t *testing.T) {
	p, now := busy()
	_, early := p.take(now)
	p.slowDown(now, now, 0)
	now = now.Add(minPause)
	if waits(p, now) != 0 {
		t.Fatal("nothing goes after the pause")
	}
	next := p.next
	p.giveBack(early)
	if !p.next.Equal(next) {
		t.Errorf("a mail that was charged nothing gives back %v", next.Sub(p.next))
	}
}

// busy returns a pace at which 100 mails a second have gone for ten seconds, and
// when.
func busy() (*pace, time.Time) {
	p, now := &pace{}, noon
	for range 1000 {
		p.take(now)
		now = now.Add(10 * time.Millisecond)
	}
	return p, now
}

// perSecond returns how many mails a second go in the next few seconds, trying it
// on a copy.
func perSecond(p pace, now time.Time) float64 {
	if p.learned == 0 && !p.limit.Limited() {
		return 1e9
	}
	return float64(len(flow(&p, now, 10*time.Second))) / 10
}

func near(got, want float64) bool { return got > 0.85*want && got < 1.15*want }

func TestSlowDownHalvesTheSpeedAndItCreepsBack(t *testing.T) {
	p, now := busy()
	if p.slowDown(now.Add(-time.Second), now, 0) != minPause {
		t.Error("nothing is halved")
	}
	now = now.Add(minPause)
	if got := perSecond(*p, now); !near(got, 50) {
		t.Errorf("%v mails a second after the first halving, want about 50", got)
	}
	p.took(now)
	if p.slowDown(now, now.Add(time.Second), 0) != minPause {
		t.Error("nothing is halved again")
	}
	now = now.Add(2 * time.Second)
	p.took(now)
	if got := perSecond(*p, now); !near(got, 25) {
		t.Errorf("%v mails a second after the second halving, want about 25", got)
	}
	if got := perSecond(*p, now.Add(5*time.Minute)); !near(got, 50) {
		t.Errorf("%v mails a second five minutes later, want about 50", got)
	}
	p.creep(now.Add(10 * time.Minute))
	if p.learned != 0 {
		t.Errorf("after ten minutes it is still %v mails a second", p.learned)
	}
}

// A server that was in trouble for a while is not punished for days.
func TestManyHalvingsAreWonBackWithinTheHour(t *testing.T) {
	p, now := busy()
	for range 30 {
		p.took(now)
		p.slowDown(now, now, 0)
		now = now.Add(time.Second)
	}
	p.creep(now.Add(70 * time.Minute))
	if p.learned != 0 {
		t.Errorf("it is still %v mails a second", p.learned)
	}
}

func TestManyRepliesOfOneMomentHalveTheSpeedOnce(t *testing.T) {
	p, now := busy()
	for i := range 16 {
		if pause := p.slowDown(now.Add(-time.Duration(i)*time.Millisecond), now, 0); (pause > 0) != (i == 0) {
			t.Errorf("after reply %d a pause of %v", i, pause)
		}
		now = now.Add(time.Millisecond)
	}
	if got := perSecond(*p, now.Add(minPause)); !near(got, 50) {
		t.Errorf("%v mails a second, want about 50", got)
	}
}

func TestServerThatTakesNothingIsLeftAloneForLongerAndLonger(t *testing.T) {
	p, now := busy()
	for _, want := range []time.Duration{1, 2, 4, 8, 16, 32, 60, 60} {
		p.slowDown(now, now, 0)
		if got := waits(p, now); got != want*time.Second {
			t.Errorf("the next one waits %v, want %v", got, want*time.Second)
		}
		now = now.Add(want * time.Second)
	}
	if got := perSecond(*p, now); !near(got, 50) {
		t.Errorf("then %v mails a second, want about 50: what is halved is the speed at which it takes some", got)
	}
	p.took(now)
	p.slowDown(now, now, 0)
	if got := waits(p, now); got != time.Second {
		t.Errorf("after it has taken one, the next one waits %v, want 1s", got)
	}
}

func TestNothingGoesWhileTheServerWantsNone(t *testing.T) {
	p, now := busy()
	p.slowDown(now, now, 30*time.Second)
	p.slowDown(now, now, 10*time.Second) // of another mail: the longer one counts
	if wait := waits(p, now); wait != 30*time.Second {
		t.Errorf("the next one waits %v, want 30s", wait)
	}
	if wait := waits(p, now.Add(30*time.Second)); wait != 0 {
		t.Errorf("after 30s the next one waits %v", wait)
	}
}

func TestLoneMailThatIsToldToSlowDownDoesNotStopTheOthers(t *testing.T) {
	p := &pace{}
	p.take(noon)
	p.slowDown(noon, noon.Add(time.Second), 0)
	if got := perSecond(*p, noon.Add(2*time.Second)); got < 0.4 {
		t.Errorf("%v mails a second, want one in two seconds", got)
	}
}

func TestSlowestIsOneAMinute(t *testing.T) {
	p, now := busy()
	for range 30 {
		p.took(now)
		p.slowDown(now, now, 0)
		now = now.Add(time.Second)
	}
	if wait := waits(p, now); wait > time.Minute {
		t.Errorf("the next one waits %v", wait)
	}
	if got := len(flow(p, now, 10*time.Minute)); got < 9 || got > 60 {
		t.Errorf("%d mails in ten minutes", got)
	}
}

// A server that takes 14 mails a second: few are refused, and most of what it
// takes is used.
func TestLearnedPaceComesCloseToWhatTheServerTakes(t *testing.T) {
	const takes = 14
	p, now := busy()
	var accepted []time.Time
	refused := 0
	end := now.Add(2 * time.Hour)
	for now.Before(end) {
		if wait := waits(p, now); wait > 0 {
			now = now.Add(wait)
			continue
		}
		n := 0
		for i := len(accepted) - 1; i >= 0 && now.Sub(accepted[i]) < time.Second; i-- {
			n++
		}
		if n >= takes {
			refused++
			p.slowDown(now, now, 0)
		} else {
			accepted = append(accepted, now)
			p.took(now)
		}
	}
	if share := float64(len(accepted)) / (2 * 3600 * takes); share < 0.6 {
		t.Errorf("%.0f %% of what the server takes is used", 100*share)
	}
	if share := float64(refused) / float64(len(accepted)); share > 0.01 {
		t.Errorf("%.2f %% are refused", 100*share)
	}
}
