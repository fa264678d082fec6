package worker

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"

	"postrider/delivery"
	"postrider/smtp"
)

// Wrong credentials are not hammered: the server would lock the account. Nor is
// what it said repeated: it may name somebody.
func TestRefusedLoginsAreFewAndFarBetween(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o, _, s := tapped()
		s.down = badLogin
		o.fill(100)
		shut := o.open(t)
		synctest.Wait()
		if testutil.ToFloat64(o.metrics.down) != 1 || strings.Count(o.log.String(), `"mail server can't be used"`) != 1 {
			t.Errorf("is not told at once; the log: %s", o.log)
		}
		if p := o.Status().Problem; p == nil || strings.Contains(p.Error(), "ada@") || !strings.Contains(p.Error(), "535") {
			t.Errorf("the status says %v", p)
		}
		time.Sleep(6 * time.Hour)
		synctest.Wait()
		if got := o.inStates(100); s.all() != 1 || got[delivery.None] != 99 {
			t.Errorf("%d tries, %v", s.all(), got)
		}
		if n := s.probed(); n < 20 || n > 30 {
			t.Errorf("%d probes within six hours", n)
		}
		times := s.asked(time.Time{})
		for i, at := range times[1:] {
			want := min(15*time.Minute, time.Minute<<min(i, 8))
			if gap := at.Sub(times[i]); gap < want || gap > want+time.Minute/4 {
				t.Errorf("probe %d after %v, want about %v", i+1, gap, want)
			}
		}
		s.set(nil)
		time.Sleep(20 * time.Minute)
		if got := o.inStates(100); got[delivery.Success] != 99 {
			t.Errorf("with the right ones: %v", got)
		}
		shut()
	})
}

// few reports tries to log in after a time that are more than those which were
// under way, or closer than a minute.
func (s *server) few(t *testing.T, after time.Time, underWay int) {
	t.Helper()
	times := s.asked(after)
	if len(times) < 2 {
		t.Errorf("%d logins are tried at all", len(times))
		return
	}
	first := 0
	for first < len(times) && times[first].Sub(times[0]) < time.Minute {
		first++
	}
	if first > underWay {
		t.Errorf("%d logins within a minute, want %d at most", first, underWay)
	}
	closest := time.Hour
	for i := first; i < len(times); i++ {
		closest = min(closest, times[i].Sub(times[i-1]))
	}
	if closest < time.Minute {
		t.Errorf("later a login comes %v after the one before", closest)
	}
}

// manned returns an office of n hands, whose server has room for some sessions.
func manned(n, room int) (*office, *tap, *server) {
	o, q, s := tapped()
	o.options.Concurrency, o.hands = n, newHands(n)
	o.options.Policy = fiveTimes
	s.room = make(chan struct{}, room)
	return o, q, s
}

// A password that changes while many mails are in flight is tried again by those
// whose sessions were being opened: not by the mails that wait for one, nor
// because one that had its session before comes to its end.
func TestChangedPasswordIsNotTriedByEveryMailInFlight(t *testing.T) {
	for name, c := range map[string]struct {
		room, opening int // sessions at once, and at the moment being opened
		sending       bool
	}{
		"sessions are being opened":      {64, 64, false},
		"of them, some":                  {8, 8, false},
		"mails are being sent":           {64, 1, true},
		"mails are being sent over some": {8, 1, true},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				o, _, s := manned(64, c.room)
				s.takes = time.Second
				n, slow := 0, c.sending
				s.answer = func(_, _ context.Context, m smtp.Mail) (smtp.Result, error) {
					s.mu.Lock()
					n++
					wait := time.Duration(n) * 2 * s.takes // so that they end one by one
					if n == 1 || !slow {
						wait = 0
					}
					s.mu.Unlock()
					time.Sleep(wait)
					return accepted(m)
				}
				o.add("first", "")
				shut := o.open(t)
				time.Sleep(2 * time.Second)
				o.fill(200)
				time.Sleep(time.Second / 2)
				synctest.Wait()
				if c.sending {
					time.Sleep(time.Second)
					synctest.Wait()
				}
				began := time.Now()
				s.set(badLogin)
				time.Sleep(time.Hour)
				synctest.Wait()
				if !c.sending { // the tries under way began before
					began = began.Add(-time.Second)
				}
				s.few(t, began, c.opening)
				if o.Status().Problem == nil {
					t.Error("nobody is told")
				}
				burnt := 0
				for i := range 200 {
					state, n := o.state(fmt.Sprintf("doc-%04d", i))
					if state != delivery.Success && n > 0 {
						burnt += int(n)
					}
				}
				if burnt > 1 {
					t.Errorf("%d attempts were in vain", burnt)
				}
				s.mu.Lock()
				slow, s.down = false, nil
				s.mu.Unlock()
				time.Sleep(time.Hour)
				if got := o.inStates(200); got[delivery.Success] != 200 {
					t.Errorf("with the right password: %v", got)
				}
				shut()
			})
		})
	}
}

// Sessions that were kept go on to deliver after a login was refused: that
// proves nothing about the login, and has no mail try it.
func TestKeptSessionsDoNotHaveAWrongLoginTriedAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o, _, s := manned(10, 10)
		s.keeps = true
		s.answer = func(_, _ context.Context, m smtp.Mail) (smtp.Result, error) {
			time.Sleep(10 * time.Second)
			return accepted(m)
		}
		shut := o.open(t)
		for i := range 5 { // sessions, to be kept
			o.add(fmt.Sprint("kept-", i), "")
		}
		time.Sleep(time.Minute)
		synctest.Wait()
		if s.idle != 5 {
			t.Fatalf("%d sessions are kept", s.idle)
		}
		began := time.Now()
		s.set(badLogin)
		o.fill(200)
		time.Sleep(3 * time.Hour)
		synctest.Wait()
		s.few(t, began, 5)
		if got := o.inStates(200); got[delivery.Success] != 5 || !o.told() {
			t.Errorf("%v, the status says %v", got, o.Status().Problem)
		}
		s.set(nil)
		time.Sleep(time.Hour)
		if got := o.inStates(200); got[delivery.Success] != 200 {
			t.Errorf("with the right one: %v", got)
		}
		shut()
	})
}

// A refused login stands until there is a session that was opened since,
// whatever else goes wrong in between: servers that have enough of it say so in
// other words.
func TestRefusedLoginStandsUntilASessionIsHad(t *testing.T) {
	o := newOutage()
	o.succeed(true, time.Now())
	o.fail(badLogin, time.Now())
	o.fail(refused, time.Now())
	if o.problem() == nil {
		t.Error("what was told is no problem any more")
	}
	if d := o.pause(0, 0); d < time.Minute {
		t.Errorf("the login is tried again after %v", d)
	}
	if o.succeed(false, time.Now()); o.circuit != open {
		t.Error("a session that was kept ends it")
	}
	if o.succeed(true, time.Now()); o.circuit != closed || o.problem() != nil {
		t.Errorf("a session does not end it: %v", o.problem())
	}
}

// crowded is a mail server that has only so many sessions at once.
type crowded struct {
	*server
	most, now int
}

func (s *crowded) Send(ctx, limit context.Context, m smtp.Mail) (smtp.Result, error) {
	s.mu.Lock()
	full := s.now == s.most
	if !full {
		s.now++
	}
	s.mu.Unlock()
	if full {
		e := &smtp.Error{Stage: smtp.StageGreeting, Reply: smtp.Reply{Code: 421, Lines: []string{"421 too many"}}}
		m.NoSession(e)
		return smtp.Result{}, e
	}
	r, err := s.server.Send(ctx, limit, m)
	await(ctx, nil, time.Second)
	s.mu.Lock()
	s.now--
	s.mu.Unlock()
	return r, err
}

// A server that wants fewer sessions than there are hands costs no mail while it
// works on those that it has.
func TestCrowdedServerCostsNoMail(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o, _, s := tapped()
		o.sender = &crowded{server: s, most: 5}
		o.fill(200)
		shut := o.open(t)
		time.Sleep(time.Hour)
		synctest.Wait()
		if got := o.inStates(200); got[delivery.Success] != 200 {
			t.Errorf("%v", got)
		}
		shut()
	})
}

// A mail that gets no session and is not to blame says whether the server works on
// others, or does not work.
func TestMailWithoutSessionSaysWhetherTheServerIsCrowded(t *testing.T) {
	full := &smtp.Error{Stage: smtp.StageGreeting, Reply: smtp.Reply{Code: 421, Lines: []string{"421 too many"}}}
	for name, c := range map[string]struct {
		idle           time.Duration // since a mail was sent
		down           *smtp.Error
		crowded, known int // mails that say so, of two
	}{
		"crowded": {time.Second, full, 2, 0},
		"idle":    {time.Minute, full, 0, 1},
		"down":    {time.Second, refused, 0, 1},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				o, _, s := tapped()
				s.takes = 10 * time.Millisecond
				shut := o.open(t)
				o.add("first", "")
				time.Sleep(c.idle)
				s.mu.Lock()
				s.down = c.down
				s.mu.Unlock()
				o.add("a", "")
				o.add("b", "")
				time.Sleep(100 * time.Millisecond)
				shut()
				log := o.log.String()
				crowded, down := strings.Count(log, `"why":"the mail server has as many sessions as it wants"`), strings.Count(log, `"why":"the mail server can't be used"`)
				if crowded != c.crowded || down != c.known {
					t.Errorf("%d say that it is crowded, %d that it is down, want %d and %d\n%s", crowded, down, c.crowded, c.known, log)
				}
			})
		})
	}
}
