package corpus

import (
	"context"
	"fmt"
	"net/textproto"
	"net/url"
	"os"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"cloud.google.com/go/firestore"
)

// The runner is proved with a worker that does by rote what the case expects:
// the test binary itself, told which case to replay and what to do wrong.
const (
	replayCase  = "CORPUS_TEST_REPLAY"
	replayWrong = "CORPUS_TEST_WRONG"
)

// wrongs are the mistakes a worker can make, each of which the runner must see.
var wrongs = map[string]func(*replay){
	"another error":      func(p *replay) { p.delivery["error"] = "Error: something" },
	"an attempt more":    func(p *replay) { p.delivery["attempts"] = 2 },
	"a key too few":      func(p *replay) { delete(p.delivery, "leaseExpireTime") },
	"an own info key":    func(p *replay) { asObject(p.delivery["info"])["pending"] = list{"x@rcpt.test"} },
	"another recipient":  func(p *replay) { p.rcpt = append(p.rcpt, "<more@rcpt.test>") },
	"another sender":     func(p *replay) { p.from = "<other@sender.test>" },
	"another subject":    func(p *replay) { p.raw = strings.Replace(p.raw, "Subject: ", "Subject: x", 1) },
	"a header more":      func(p *replay) { p.raw = "X-More: 1\n" + p.raw },
	"another body":       func(p *replay) { p.raw += "x\n" },
	"no mail":            func(p *replay) { p.raw = "" },
	"twice the mail":     func(p *replay) { p.times = 2 },
	"the end of it":      func(p *replay) { p.die = true },
	"an unready refusal": func(p *replay) { p.refuse = true },
}

// replay is what the worker by rote does.
type replay struct {
	delivery    object
	from, raw   string
	rcpt        []string
	times       int
	die, refuse bool
}

func TestRunnerSeesWhatAWorkerDoes(t *testing.T) {
	cases, err := loadCases("testdata/corpus.jsonl")
	if err != nil {
		t.Fatal(err)
	}
	s := prepare(t, []string{os.Args[0]})
	one := map[string]bool{
		"recipients/to-string": true, "attachments/content-map-href": true, "ttl/day-5": true, "ttl/month-14": true,
		"message/text-empty": true, "templates/syntax-error": true, "auth-tls/http-uri": true,
	}
	for _, c := range cases {
		if one[c.ID] || strings.HasSuffix(c.ID, "-unicode") {
			t.Run(c.ID, func(t *testing.T) {
				t.Parallel()
				if differences := s.replay(t, c, ""); len(differences) > 0 {
					t.Error(differences)
				}
			})
		}
		if c.ID == "recipients/to-string" {
			for wrong := range wrongs {
				t.Run(wrong, func(t *testing.T) {
					t.Parallel()
					if differences := s.replay(t, c, wrong); len(differences) == 0 {
						t.Error("went unnoticed")
					}
				})
			}
		}
	}
}

// replay runs a case with the worker by rote.
func (s *setup) replay(t *testing.T, c *testCase, wrong string) []difference {
	t.Helper()
	with := *c
	with.Config = map[string]*string{replayCase: &c.ID, replayWrong: &wrong}
	for k, v := range c.Config {
		with.Config[k] = v
	}
	seen, err := s.runCase(t.Context(), &with, false)
	if err != nil {
		t.Fatal(err)
	}
	return judge(c, seen, nil).differences
}

// playWorker replays the case named in the environment and waits to be killed.
func playWorker() error {
	cases, err := loadCases("../corpus.jsonl")
	if err != nil {
		return err
	}
	for _, c := range cases {
		if c.ID == os.Getenv(replayCase) {
			p := newReplay(c)
			if wrong := wrongs[os.Getenv(replayWrong)]; wrong != nil {
				wrong(p)
			}
			return p.run(context.Background())
		}
	}
	return fmt.Errorf("no case %q", os.Getenv(replayCase))
}

func newReplay(c *testCase) *replay {
	p := &replay{delivery: asObject(c.Expect["delivery"]), times: 1}
	for _, v := range asList(c.Expect["transactions"]) {
		tx := asObject(v)
		p.from, p.raw = asString(tx["mailFrom"]), asString(tx["raw"])
		for _, r := range asList(tx["rcptTo"]) {
			p.rcpt = append(p.rcpt, asString(r))
		}
	}
	return p
}

// run waits for the document, sends its mail and writes its end.
func (p *replay) run(ctx context.Context) error {
	if p.refuse {
		return fmt.Errorf("refused")
	}
	db, err := firestore.NewClient(ctx, os.Getenv("GOOGLE_CLOUD_PROJECT"))
	if err != nil {
		return err
	}
	snapshots := db.Collection(os.Getenv("MAIL_COLLECTION")).Snapshots(ctx)
	for ready := false; ; ready = true {
		s, err := snapshots.Next()
		if err != nil {
			return err
		}
		if !ready {
			fmt.Println(`{"message":"ready"}`)
		}
		docs, err := s.Documents.GetAll()
		if err != nil {
			return err
		}
		if len(docs) == 0 {
			continue
		}
		for range p.times {
			if err := p.send(); err != nil {
				return err
			}
		}
		if p.delivery != nil {
			if _, err := docs[0].Ref.Update(ctx, []firestore.Update{{Path: "delivery", Value: p.record(db)}}); err != nil {
				return err
			}
		}
		if p.die {
			return fmt.Errorf("died")
		}
		select {}
	}
}

// record is the expected delivery field, its masks taken off again.
func (p *replay) record(db *firestore.Client) any {
	now := time.Now().Truncate(time.Microsecond)
	for k, v := range p.delivery {
		label := asString(asObject(v)["$ts"])
		at := now
		if m := afterStart.FindStringSubmatch(label); m != nil {
			n, err := strconv.Atoi(m[1])
			if err != nil {
				return err // shows as a difference
			}
			at = now.AddDate(0, 0, n)
			if m[2] == "month" {
				at = now.AddDate(0, n, 0)
			}
		} else if label != "now" {
			continue
		}
		p.delivery[k] = object{"$ts": float64(at.UnixMilli())}
	}
	return toFirestore(p.delivery, db, func(s string) string { return s })
}

var afterStart = regexp.MustCompile(`^startTime\+(\d+)(day|month)$`)

// send hands the recorded mail to the SMTP server.
func (p *replay) send() error {
	if p.raw == "" {
		return nil
	}
	at, err := url.Parse(os.Getenv("SMTP_CONNECTION_URI"))
	if err != nil {
		return err
	}
	c, err := textproto.Dial("tcp", at.Host)
	if err != nil {
		return err
	}
	defer func() { _ = c.Close() }()
	if _, _, err := c.ReadResponse(220); err != nil {
		return err
	}
	lines := []string{"EHLO replay.test", "MAIL FROM:" + p.from}
	for _, r := range p.rcpt {
		lines = append(lines, "RCPT TO:"+r)
	}
	for _, l := range lines {
		if err := c.PrintfLine("%s", l); err != nil {
			return err
		}
		if _, _, err := c.ReadResponse(250); err != nil {
			return err
		}
	}
	if err := c.PrintfLine("DATA"); err != nil {
		return err
	}
	if _, _, err := c.ReadResponse(354); err != nil {
		return err
	}
	w := c.DotWriter()
	if _, err := w.Write([]byte(p.raw)); err != nil {
		return err
	}
	if err := w.Close(); err != nil {
		return err
	}
	_, _, err = c.ReadResponse(250)
	return err
}
