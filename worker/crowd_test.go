package worker

import (
	"context"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"postrider/delivery"
	"postrider/smtp"
)

// narrow is a pool of ten connections to a server that allows five, without
// words that ask for less.
type narrow struct {
	slots      chan struct{}
	mu         sync.Mutex
	idle, open int
}

func newNarrow() *narrow { return &narrow{slots: make(chan struct{}, 10)} }

var closing = smtp.Reply{Code: 421, Enhanced: "4.3.2", Lines: []string{"421 4.3.2 Service not available"}}

// session returns a session that is kept, or opens one.
func (n *narrow) session() (fresh bool, e *smtp.Error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	switch {
	case n.idle > 0:
		n.idle--
		return false, nil
	case n.open == 5:
		return true, &smtp.Error{Stage: smtp.StageGreeting, Reply: closing}
	}
	n.open++
	return true, nil
}

func (n *narrow) leave() {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.idle++
}

func (n *narrow) Probe(context.Context) error {
	n.slots <- struct{}{}
	defer func() { <-n.slots }()
	time.Sleep(5 * time.Millisecond)
	if _, e := n.session(); e != nil {
		return e
	}
	n.leave()
	return nil
}

func (n *narrow) Send(_, _ context.Context, m smtp.Mail) (smtp.Result, error) {
	n.slots <- struct{}{}
	defer func() { <-n.slots }()
	n.mu.Lock()
	kept := n.idle > 0
	n.mu.Unlock()
	if !kept {
		if err := m.Open(); err != nil {
			return smtp.Result{}, notOpened(err)
		}
		time.Sleep(5 * time.Millisecond)
	}
	fresh, e := n.session()
	if e != nil {
		m.NoSession(e)
		return smtp.Result{}, e
	}
	defer n.leave()
	if err := m.Begin(fresh); err != nil {
		return smtp.Result{}, notBegun(err)
	}
	time.Sleep(20 * time.Millisecond)
	return accepted(m)
}

// A server that allows fewer sessions than there are connections is not told of
// in claims in vain: they cost two writes each.
func TestCrowdedServerCostsFewClaims(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o, q, _ := tapped()
		o.sender, o.hands = newNarrow(), newHands(64)
		o.fill(1500)
		shut := o.open(t)
		time.Sleep(5 * time.Minute)
		synctest.Wait()
		if got := o.inStates(1500); got[delivery.Success] != 1500 {
			t.Errorf("%v", got)
		}
		if claims := q.noted("claim"); claims > 2*1500 {
			t.Errorf("%d claims for 1500 mails", claims)
		}
		shut()
	})
}
