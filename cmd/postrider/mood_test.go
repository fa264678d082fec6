package main

import (
	"context"
	"flag"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	pb "cloud.google.com/go/firestore/apiv1/firestorepb"

	"postrider/delivery"
	"postrider/smtp"
)

var (
	moods    = flag.Int("moods", 12, "random schedules of a failing mail server")
	moodSeed = flag.Uint64("mood-seed", 1, "seed of the first; each takes the next")
)

// Whatever the mail server does, for however long, and whichever instances die
// meanwhile: with retries on, each recipient gets each mail once or is refused
// for good, or else the record says that nobody can tell.
func TestEveryRecipientIsReachedOnceWhateverTheMailServerDoes(t *testing.T) {
	for n := range uint64(*moods) {
		seed := *moodSeed + n
		t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t, seed)
				w.mood = &mood{random: rand.New(rand.NewPCG(seed, 23)), got: map[string]int{}}
				defer w.end()
				(&season{world: w, random: rand.New(rand.NewPCG(seed, 29))}).pass()
			})
		})
	}
	leave(t, "moods", fmt.Sprintf("schedules of a failing mail server: %d, seeds %d to %d", *moods, *moodSeed, *moodSeed+uint64(*moods)-1))
}

// mood is a mail server as it feels.
type mood struct {
	mu     sync.Mutex
	random *rand.Rand
	down   bool
	bad    int            // of a hundred transactions, how many go wrong
	got    map[string]int // how often a recipient got a mail, by both
	claims int            // transactions of which the client can't know the end
}

func (s *mood) below(n int) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.random.IntN(n)
}

func (s *mood) set(down bool, bad int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.down, s.bad = down, bad
}

func (s *mood) probe(context.Context) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.down {
		return &smtp.Error{Stage: smtp.StageConnect, Err: syscall.ECONNREFUSED}
	}
	return nil
}

func said(code int, text string) smtp.Reply {
	return smtp.Reply{Code: code, Lines: []string{fmt.Sprint(code, " ", text)}}
}

// send is one transaction.
func (s *mood) send(ctx, limit context.Context, i *instance, m smtp.Mail) (smtp.Result, error) {
	if err := s.probe(ctx); err != nil {
		return smtp.Result{}, err
	}
	if err := m.Begin(true); err != nil {
		return smtp.Result{}, &smtp.Error{Stage: smtp.StageMail, Err: err}
	}
	if !pass(ctx, time.Duration(s.below(4000))*time.Millisecond) || i.isDead() {
		<-ctx.Done()
		return smtp.Result{}, &smtp.Error{Stage: smtp.StageRcpt, Err: context.Cause(ctx), Recipients: recipients(m, smtp.Reply{})}
	}
	s.mu.Lock()
	wrong := s.random.IntN(100) < s.bad
	s.mu.Unlock()
	list, accepted := s.envelope(m, wrong)
	switch {
	case wrong && s.below(4) == 0: // MAIL is refused, and what follows it too
		return smtp.Result{}, &smtp.Error{Stage: smtp.StageMail, Reply: said(451, "not now"), Recipients: recipients(m, said(503, "MAIL first"))}
	case accepted == 0:
		return smtp.Result{}, &smtp.Error{Stage: smtp.StageRcpt, Reply: list[len(list)-1].Reply, Recipients: list}
	case wrong && s.below(3) == 0:
		return smtp.Result{}, &smtp.Error{Stage: smtp.StageMessage, Reply: said(452, "disk full"), Recipients: list}
	case wrong && s.below(4) == 0:
		return s.unanswered(limit, m, list)
	}
	pass(limit, time.Duration(s.below(90))*time.Second) // thinks about it
	if limit.Err() != nil {
		return s.unanswered(limit, m, list)
	}
	s.take(m, list)
	return smtp.Result{Recipients: list, Reply: said(250, "ok")}, nil
}

// unanswered takes a mail, or not, and says nothing.
func (s *mood) unanswered(limit context.Context, m smtp.Mail, list []smtp.Recipient) (smtp.Result, error) {
	if s.below(2) == 0 {
		s.take(m, list)
	}
	s.mu.Lock()
	s.claims++
	s.mu.Unlock()
	pass(limit, time.Minute)
	return smtp.Result{}, &smtp.Error{Stage: smtp.StageMessage, Err: smtp.ErrClosed, PossiblyAccepted: true, Recipients: list}
}

func (s *mood) take(m smtp.Mail, list []smtp.Recipient) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, r := range list {
		if r.Reply.Positive() {
			s.got[string(m.Message)+" "+r.Address]++
		}
	}
}

// envelope answers each RCPT.
func (s *mood) envelope(m smtp.Mail, wrong bool) (list []smtp.Recipient, accepted int) {
	list = recipients(m, said(250, "ok"))
	for i := range list {
		switch {
		case strings.HasPrefix(list[i].Address, "bad"):
			list[i].Reply = said(550, "no such user")
		case wrong && s.below(2) == 0:
			list[i].Reply = said(450, "greylisted")
		default:
			accepted++
		}
	}
	return list, accepted
}

func recipients(m smtp.Mail, reply smtp.Reply) []smtp.Recipient {
	list := make([]smtp.Recipient, len(m.Envelope.To))
	for i, to := range m.Envelope.To {
		list[i] = smtp.Recipient{Address: to, Reply: reply}
	}
	return list
}

// pass lets time pass, and reports whether ctx has not ended.
func pass(ctx context.Context, d time.Duration) bool {
	select {
	case <-time.After(d):
	case <-ctx.Done():
	}
	return ctx.Err() == nil
}

func (i *instance) isDead() bool {
	i.mu.Lock()
	defer i.mu.Unlock()
	return i.dead
}

// season is a world whose mail server has moods.
type season struct {
	*world
	random *rand.Rand
	docs   int
	born   int
}

// addressees are whom each mail goes to: the last one does not exist.
func addressees() []string { return []string{"ada@rcpt.test", "bob@rcpt.test", "bad@rcpt.test"} }

func (s *season) addSome(n int) {
	for range n {
		var to []*pb.Value
		for _, a := range addressees() {
			to = append(to, text(a))
		}
		id := fmt.Sprint("doc-", s.docs)
		s.write(id, map[string]*pb.Value{
			"to":      {ValueType: &pb.Value_ArrayValue{ArrayValue: &pb.ArrayValue{Values: to}}},
			"message": fields(map[string]*pb.Value{"subject": text(id), "text": text("t")}),
		}, nil)
		s.docs++
	}
}

func (s *season) bear() {
	o := worldOptions(s.born)
	o.Concurrency = []int{2, 8, 20}[s.random.IntN(3)]
	o.Policy = delivery.Policy{
		MaxAttempts: 100, MinDelay: 10 * time.Second, MaxDelay: 5 * time.Minute, MaxAge: 24 * time.Hour, RetryLapsed: true,
	}
	s.born++
	s.open(o).run()
}

func (s *season) pass() {
	s.addSome(s.random.IntN(20))
	s.bear()
	for range 2 + s.random.IntN(5) {
		s.mood.set(s.random.IntN(4) == 0, []int{0, 30, 100}[s.random.IntN(3)])
		s.addSome(s.random.IntN(20))
		time.Sleep(time.Duration(s.random.IntN(30*60)) * time.Second)
		switch s.random.IntN(4) {
		case 0:
			s.bear()
		case 1:
			old := s.instances[0]
			old.die()
			s.bear()
			old.leave()
		case 2:
			old := s.instances[0]
			s.bear()
			old.leave()
		}
	}
	s.mood.set(false, 0)
	s.addSome(2)
	time.Sleep(2 * time.Hour)
	synctest.Wait()
	s.check()
}

// check compares what the records say with what the server has.
func (s *season) check() {
	s.mood.mu.Lock()
	defer s.mood.mu.Unlock()
	for _, id := range slices.Sorted(maps.Keys(s.records())) {
		record := s.records()[id]
		unknown := record["outcome"].GetMapValue().GetFields()["class"].GetStringValue() == string(delivery.Unknown)
		state := record["state"].GetStringValue()
		if state != "SUCCESS" && !unknown {
			s.t.Errorf("%s: %s: %s", id, state, record["error"].GetStringValue())
		}
		for _, to := range addressees() {
			n := s.mood.got[id+" "+to]
			if n > 1 || n == 0 && to != "bad@rcpt.test" && !unknown || n > 0 && to == "bad@rcpt.test" {
				s.t.Errorf("%s: %s got it %d times, %s: %v", id, to, n, state, record["recipients"])
			}
		}
	}
	if n := len(s.records()); n != s.docs {
		s.t.Errorf("%d of %d documents", n, s.docs)
	}
}

// records returns the delivery field of every document.
func (s *season) records() map[string]map[string]*pb.Value {
	list, err := s.app.ListDocuments(context.Background(), &pb.ListDocumentsRequest{
		Parent: worldDatabase + "/documents", CollectionId: "mail", PageSize: 1000,
	})
	if err != nil {
		s.t.Fatal(err)
	}
	records := map[string]map[string]*pb.Value{}
	for _, d := range list.GetDocuments() {
		records[d.GetName()[len(worldMail):]] = d.GetFields()["delivery"].GetMapValue().GetFields()
	}
	return records
}
