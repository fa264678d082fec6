package worker

import (
	"bytes"
	"context"
	"errors"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/rs/zerolog"

	"postrider/delivery"
	"postrider/delivery/deliverytest"
	"postrider/smtp"
)

// office is a worker over a collection in memory, in a bubble of virtual time.
type office struct {
	*deliverytest.Store
	*Worker
	log  *logbook
	mu   sync.Mutex
	sent []string // the subjects of the mails that were sent, in order
}

// logbook is a log that may be read while it is written.
type logbook struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (l *logbook) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(p)
}

func (l *logbook) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

// composeFunc and sendFunc are the worker's other two sides.
type composeFunc func(ctx context.Context, doc delivery.Document, id string, now time.Time) (Mail, error)

func (f composeFunc) Compose(ctx context.Context, doc delivery.Document, id string, now time.Time, _ func(context.Context, int) error) (Mail, error) {
	return f(ctx, doc, id, now)
}

type sendFunc func(ctx context.Context, m smtp.Mail) (smtp.Result, error)

// Send has a session at once.
func (f sendFunc) Send(ctx, _ context.Context, m smtp.Mail) (smtp.Result, error) {
	if err := (&server{}).have(ctx, m); err != nil {
		return smtp.Result{}, err
	}
	return f(ctx, m)
}

func (sendFunc) Probe(context.Context) error { return nil }

// unanswered is a mail server that never answers the final dot.
type unanswered struct{ sendFunc }

func (unanswered) Send(ctx, limit context.Context, m smtp.Mail) (smtp.Result, error) {
	if err := (&server{}).have(context.Background(), m); err != nil {
		return smtp.Result{}, err
	}
	<-limit.Done()
	return smtp.Result{}, &smtp.Error{Stage: smtp.StageMessage, Err: context.Cause(limit), PossiblyAccepted: true}
}

// plain composes a mail whose message is its subject.
func plain(_ context.Context, doc delivery.Document, id string, _ time.Time) (Mail, error) {
	return Mail{Envelope: smtp.Envelope{From: "a@b.test", To: doc.To}, MessageID: "<" + id + "@b.test>", Message: []byte(doc.Message.Subject)}, nil
}

var ok = smtp.Reply{Code: 250, Lines: []string{"250 ok"}}

func accepted(m smtp.Mail) (smtp.Result, error) {
	r := smtp.Result{Reply: ok}
	for _, to := range m.Envelope.To {
		r.Recipients = append(r.Recipients, smtp.Recipient{Address: to, Reply: ok})
	}
	return r, nil
}

// newOffice returns an office with ten hands. A nil send accepts everything at
// once.
func newOffice(send sendFunc) *office {
	o := &office{Store: &deliverytest.Store{}, log: &logbook{}}
	recorded := sendFunc(func(ctx context.Context, m smtp.Mail) (smtp.Result, error) {
		o.mu.Lock()
		o.sent = append(o.sent, string(m.Message))
		o.mu.Unlock()
		if send == nil {
			return accepted(m)
		}
		return send(ctx, m)
	})
	o.Worker = New(Options{
		Concurrency: 10, Lease: time.Minute, Margin: 10 * time.Second, Attempt: 10 * time.Minute, Drain: 8 * time.Second, Sweep: 40 * time.Second,
		Audit: time.Hour, Instance: "one", MaxBytes: 1 << 20,
	}, o.Store, composeFunc(plain), recorded, zerolog.New(o.log), NewMetrics(prometheus.NewRegistry()))
	return o
}

// open runs the worker until the returned function is called, which waits for
// its end.
func (o *office) open(t *testing.T) (shut func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- o.Run(ctx) }()
	synctest.Wait()
	return func() {
		t.Helper()
		cancel()
		if err := <-done; err != nil {
			t.Errorf("the worker ended in %v", err)
		}
	}
}

// endsWhileDocumentsWait stops the worker, which can claim one mail and no second
// one: it ends at once, and leaves what has waited for the next worker.
func (o *office) endsWhileDocumentsWait(t *testing.T) {
	t.Helper()
	o.fill(100)
	shut := o.open(t)
	time.Sleep(time.Minute)
	began := time.Now()
	shut()
	if took := time.Since(began); took > 0 {
		t.Errorf("took %v", took)
	}
	if got := o.inStates(100); got[delivery.None] != 99 || o.Unsettled() == 0 {
		t.Errorf("%v, %d unsettled", got, o.Unsettled())
	}
}

// add adds a mail.
func (o *office) add(id, subject string) {
	o.Put(id, delivery.Fields{"to": "ada@rcpt.test", "message": delivery.Fields{"subject": subject, "text": "t"}})
}

// mails returns the subjects of the mails sent so far.
func (o *office) mails() []string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return slices.Clone(o.sent)
}

// state returns a document's state and attempts.
func (o *office) state(id string) (delivery.State, int64) {
	r := delivery.ReadRecord(o.Get(id))
	return r.State, r.Attempts
}

func (o *office) want(t *testing.T, id string, state delivery.State, attempts int64) {
	t.Helper()
	if s, n := o.state(id); s != state || n != attempts {
		t.Errorf("%s: %q after %d attempts, want %q after %d", id, s, n, state, attempts)
	}
}

func TestMailIsSentInTwoWrites(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := newOffice(nil)
		o.add("before", "1")
		shut := o.open(t)
		o.add("after", "2")
		synctest.Wait()
		o.want(t, "before", delivery.Success, 1)
		o.want(t, "after", delivery.Success, 1)
		if o.Writes() != 4 || !slices.Equal(o.mails(), []string{"1", "2"}) {
			t.Errorf("%d writes, sent %v", o.Writes(), o.mails())
		}
		shut()
	})
}

func TestFinalDocumentsAreLeftAloneForHours(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := newOffice(nil)
		shut := o.open(t)
		o.add("a", "1")
		time.Sleep(3 * time.Hour)
		if o.Writes() != 2 || len(o.mails()) != 1 {
			t.Errorf("%d writes, sent %v", o.Writes(), o.mails())
		}
		shut()
	})
}

func TestLapsedLeaseIsRecordedWithinASweep(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := newOffice(nil)
		o.Put("a", delivery.Fields{"to": "x@y.test", "message": delivery.Fields{}, "delivery": delivery.Fields{
			"state": "PROCESSING", "leaseId": "dead", "leaseExpireTime": time.Now().Add(10 * time.Minute).UTC(), "attempts": int64(0),
		}})
		shut := o.open(t)
		time.Sleep(10*time.Minute - 1)
		synctest.Wait()
		o.want(t, "a", delivery.Processing, 0)
		time.Sleep(time.Minute)
		o.want(t, "a", delivery.Error, 0)
		if got := o.Get("a")["delivery"].(delivery.Fields)["error"]; got != delivery.LeaseExpired {
			t.Errorf("error %v", got)
		}
		if len(o.mails()) != 0 {
			t.Errorf("sent %v", o.mails())
		}
		shut()
	})
}

func TestIncompleteDocumentIsSentOnceItsContentComes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := newOffice(nil)
		shut := o.open(t)
		o.Put("a", delivery.Fields{"to": "x@y.test"})
		synctest.Wait()
		o.want(t, "a", delivery.Error, 0)
		o.Update("a", func(f delivery.Fields) { f["message"] = delivery.Fields{"subject": "late", "text": "t"} })
		synctest.Wait()
		o.want(t, "a", delivery.Success, 1)
		shut()
	})
}

func TestRetryWrittenWhileSendingIsObeyedOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := newOffice(func(_ context.Context, m smtp.Mail) (smtp.Result, error) {
			time.Sleep(time.Second)
			return accepted(m)
		})
		shut := o.open(t)
		o.add("a", "1")
		time.Sleep(500 * time.Millisecond)
		o.Update("a", func(f delivery.Fields) { f["delivery"].(delivery.Fields)["state"] = "RETRY" })
		time.Sleep(time.Hour)
		o.want(t, "a", delivery.Success, 2)
		if len(o.mails()) != 2 {
			t.Errorf("sent %v", o.mails())
		}
		shut()
	})
}

func TestDocumentRecreatedWhileSendingIsNewAfterwards(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := newOffice(func(_ context.Context, m smtp.Mail) (smtp.Result, error) {
			time.Sleep(time.Second)
			return accepted(m)
		})
		shut := o.open(t)
		o.add("a", "first")
		time.Sleep(500 * time.Millisecond)
		o.Delete("a")
		o.add("a", "second")
		time.Sleep(time.Hour)
		o.want(t, "a", delivery.Success, 1)
		if !slices.Equal(o.mails(), []string{"first", "second"}) {
			t.Errorf("sent %v", o.mails())
		}
		shut()
	})
}

func TestLateWorkerDoesNotOverwriteALaterClaim(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := newOffice(func(_ context.Context, m smtp.Mail) (smtp.Result, error) {
			time.Sleep(time.Second)
			return accepted(m)
		})
		shut := o.open(t)
		o.add("a", "1")
		time.Sleep(500 * time.Millisecond)
		o.Update("a", func(f delivery.Fields) {
			record := f["delivery"].(delivery.Fields)
			record["leaseId"], record["leaseExpireTime"] = "another", time.Now().Add(time.Hour).UTC()
		})
		time.Sleep(time.Minute)
		o.want(t, "a", delivery.Processing, 0)
		shut()
		if !strings.Contains(o.log.String(), "could not be recorded") {
			t.Errorf("the log does not tell: %s", o.log)
		}
	})
}

func TestNoMoreDocumentsInHandThanHands(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		busy, most := 0, 0
		var mu sync.Mutex
		o := newOffice(func(_ context.Context, m smtp.Mail) (smtp.Result, error) {
			mu.Lock()
			busy++
			most = max(most, busy)
			mu.Unlock()
			time.Sleep(time.Second)
			mu.Lock()
			busy--
			mu.Unlock()
			return accepted(m)
		})
		for _, id := range strings.Split("abcdefghijklmnopqrstuvwxyz", "") {
			o.add(id, id)
		}
		shut := o.open(t)
		time.Sleep(time.Minute)
		mu.Lock()
		defer mu.Unlock()
		if most != 10 || len(o.mails()) != 26 {
			t.Errorf("%d at once, %d sent", most, len(o.mails()))
		}
		shut()
	})
}

func TestStopFinishesWhatIsInHandAndHandsBackTheRest(t *testing.T) {
	cases := map[string]struct {
		takes    time.Duration
		state    delivery.State
		attempts int64
	}{
		"done within the drain time": {8*time.Second - 1, delivery.Success, 1},
		"cut at the end of it":       {time.Hour, delivery.Pending, 0},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				o := newOffice(func(ctx context.Context, m smtp.Mail) (smtp.Result, error) {
					select {
					case <-time.After(c.takes):
						return accepted(m)
					case <-ctx.Done():
						return smtp.Result{}, &smtp.Error{Stage: smtp.StageData, Err: context.Cause(ctx)}
					}
				})
				shut := o.open(t)
				o.add("a", "1")
				synctest.Wait()
				began := time.Now()
				shut()
				o.want(t, "a", c.state, c.attempts)
				if took := time.Since(began); took > 8*time.Second {
					t.Errorf("stopping took %v", took)
				}
				o.add("late", "2")
				synctest.Wait()
				o.want(t, "late", delivery.None, 0)
			})
		})
	}
}

func TestHandedBackMailIsSentByTheNextWorker(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := newOffice(nil)
		o.add("a", "1")
		o.Update("a", func(f delivery.Fields) {
			f["delivery"] = delivery.ReadRecord(f).Released(time.Now()).AppliedTo(f)["delivery"]
		})
		shut := o.open(t)
		synctest.Wait()
		o.want(t, "a", delivery.Success, 1)
		shut()
	})
}

func TestDrainSendsWhatWaitsAndEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := newOffice(func(_ context.Context, m smtp.Mail) (smtp.Result, error) {
			if string(m.Message) == "bad" {
				return smtp.Result{}, &smtp.Error{Stage: smtp.StageMail, Reply: smtp.Reply{Code: 550, Lines: []string{"550 no"}}}
			}
			return accepted(m)
		})
		for _, id := range []string{"a", "b", "c"} {
			o.add(id, "good")
		}
		o.add("d", "bad")
		o.Put("e", delivery.Fields{"to": "x"})
		tally, err := o.Drain(t.Context())
		if err != nil || tally != (Tally{Delivered: 3, Failed: 2}) {
			t.Errorf("%+v, %v", tally, err)
		}
		o.want(t, "d", delivery.Error, 1)
		o.want(t, "e", delivery.Error, 0)
	})
}

func TestFailureOfASweepShowsInTheStatus(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := newOffice(nil)
		down := errors.New("unavailable")
		broken := failing{Store: o.Store, err: down}
		broken.down.Store(true)
		o.queue = &broken
		shut := o.open(t)
		if s := o.Status(); !s.Watching || !s.Heard.IsZero() || !errors.Is(s.Problem, down) {
			t.Errorf("while Firestore is down: %+v", s)
		}
		broken.down.Store(false)
		time.Sleep(time.Minute)
		if s := o.Status(); s.Heard.IsZero() || s.Problem != nil {
			t.Errorf("afterwards: %+v", s)
		}
		shut()
	})
}

// failing is a store whose sweeps fail while it is down.
type failing struct {
	*deliverytest.Store
	err  error
	down atomic.Bool
}

func (f *failing) Sweep(ctx context.Context, found func(context.Context, delivery.Snapshot) error) error {
	if f.down.Load() {
		return f.err
	}
	return f.Store.Sweep(ctx, found)
}

func TestLogNamesNobody(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := newOffice(func(_ context.Context, m smtp.Mail) (smtp.Result, error) {
			if string(m.Message) == "secret subject" {
				return accepted(m)
			}
			return smtp.Result{}, &smtp.Error{Stage: smtp.StageRcpt, Reply: smtp.Reply{Code: 550, Lines: []string{"550 <ada@rcpt.test> unknown"}}}
		})
		o.Worker.log = o.Worker.log.Level(zerolog.InfoLevel)
		shut := o.open(t)
		o.add("a", "secret subject")
		o.add("b", "other subject")
		synctest.Wait()
		shut()
		for _, word := range []string{"ada@", "rcpt.test", "subject"} {
			if strings.Contains(o.log.String(), word) {
				t.Errorf("the log says %q: %s", word, o.log)
			}
		}
		if !strings.Contains(o.log.String(), `"code":550`) {
			t.Errorf("the log does not say why: %s", o.log)
		}
	})
}
