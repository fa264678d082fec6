package corpus

import (
	"regexp"
	"strings"
	"testing"
	"time"
)

// Every recorded mail, read by our parsers, must come out as the case says:
// then a difference in a run is the worker's, not the reader's. The recordings
// have their dates and boundaries masked, which the reader does not mind.
func TestReaderAgreesWithTheRecording(t *testing.T) {
	cases, err := loadCases("testdata/corpus.jsonl")
	if err != nil {
		t.Fatal(err)
	}
	// Their raw text still holds an attachment that was replaced later.
	stale := map[string]bool{"attachments/content-map-path": true, "attachments/path-local-secret": true}
	read := 0
	for _, c := range cases {
		for _, tx := range asList(c.Expect["transactions"]) {
			want := asObject(tx)
			raw := asString(want["raw"])
			if raw == "" || strings.HasSuffix(raw, "[cut]") || stale[c.ID] {
				continue
			}
			read++
			headers, root := normalise([]byte(strings.ReplaceAll(raw, "\n", "\r\n")))
			got := object{"rcptTo": want["rcptTo"], "mailFrom": want["mailFrom"], "reply": want["reply"], "headers": headers, "root": root}
			for _, d := range compare(object{"transactions": list{want}}, object{"transactions": list{got}}, c) {
				t.Errorf("%s: %s", c.ID, d)
			}
		}
	}
	if read < 200 {
		t.Errorf("only %d mails were read", read)
	}
}

// The list of departures says nothing of cases that are not there, gives every
// entry an allowed class and a reason, and says what happens instead.
func TestDeparturesAreWellFormed(t *testing.T) {
	cases, err := loadAll()
	if err != nil {
		t.Fatal(err)
	}
	listed, err := loadDepartures("departures.json")
	if err != nil {
		t.Fatal(err)
	}
	known := map[string]bool{}
	for _, c := range cases {
		known[c.ID] = true
	}
	for id, d := range listed {
		if !known[id] {
			t.Errorf("%s: no such case", id)
		}
		if !strings.Contains(classes, " "+d.Class+" ") {
			t.Errorf("%s: %q is no class that the corpus allows", id, d.Class)
		}
		if d.Why == "" {
			t.Errorf("%s: no reason", id)
		}
		if d.Expect == nil && d.StartRefused == "" && d.State == nil {
			t.Errorf("%s: does not say what happens instead", id)
		}
		for _, pattern := range []string{d.Error, d.StartRefused} {
			if _, err := regexp.Compile(pattern); err != nil {
				t.Errorf("%s: %v", id, err)
			}
		}
	}
}

// What a departure says is held against what was seen as strictly as a case.
func TestDeparturesAreChecked(t *testing.T) {
	ended := func(state, text string, mails int) object {
		e := object{"exists": true, "delivery": object{"state": state, "error": text}, "transactions": list{}}
		for range mails {
			e["transactions"] = append(asList(e["transactions"]), object{"mailFrom": "<a@b.test>", "rcptTo": list{"<c@d.test>"}, "reply": "250 ok", "root": object{"type": "text/plain"}})
		}
		return e
	}
	c := &testCase{ID: "x/y", Expect: ended("SUCCESS", "", 1)}
	failed, none := "ERROR", 0
	pattern := departure{State: &failed, Error: "^no .*file$", Mails: &none}
	exact := departure{Expect: object{"delivery": object{"state": "ERROR", "error": "no file"}, "transactions": list{}}}
	refused := departure{StartRefused: "SMTP_CONNECTION_URI"}
	for name, tt := range map[string]struct {
		departure departure
		seen      object
		departs   bool
	}{
		"as the pattern says":         {pattern, ended("ERROR", "no such file", 0), true},
		"another error":               {pattern, ended("ERROR", "oops", 0), false},
		"another state":               {pattern, ended("PENDING", "no such file", 0), false},
		"a mail all the same":         {pattern, ended("ERROR", "no such file", 1), false},
		"a worker that died of it":    {pattern, func() object { e := ended("ERROR", "no such file", 0); e["died"] = "1"; return e }(), false},
		"as expected to the letter":   {exact, ended("ERROR", "no file", 0), true},
		"a letter more":               {exact, ended("ERROR", "no file!", 0), false},
		"refused, naming the setting": {refused, object{"refusedToStart": "SMTP_CONNECTION_URI is wrong"}, true},
		"refused for another reason":  {refused, object{"refusedToStart": "no Firestore"}, false},
		"not refused":                 {refused, ended("ERROR", "", 0), false},
		"refused out of turn":         {pattern, object{"refusedToStart": "no such file"}, false},
	} {
		v := judge(c, tt.seen, map[string]departure{c.ID: tt.departure})
		if v.departs != tt.departs || v.matches || (len(v.differences) == 0) != tt.departs {
			t.Errorf("%s: got %+v", name, v)
		}
	}
	if v := judge(c, ended("SUCCESS", "", 1), map[string]departure{c.ID: pattern}); !v.matches || v.departs {
		t.Errorf("what matches does not depart: %+v", v)
	}
}

// What the corpus's README calls free is free, and nothing else.
func TestComparisonMasksOnlyWhatIsFree(t *testing.T) {
	tx := func(headers ...[2]string) object {
		h := list{}
		for _, f := range headers {
			h = append(h, list{f[0], f[1]})
		}
		return object{"transactions": list{object{"mailFrom": "<a@b.test>", "rcptTo": list{"<c@d.test>"}, "reply": "250 ok", "headers": h}}}
	}
	id := [2]string{"Message-ID", "<UUID@sender.test>"}
	delivery := func(v any) object { return object{"delivery": v, "transactions": list{}} }
	unreached := func(rcpt ...any) object {
		return object{"transactions": list{object{"mailFrom": "<a@b.test> SIZE=1", "rcptTo": rcpt, "reply": nil}}}
	}
	for name, tt := range map[string]struct {
		want, got object
		same      bool
	}{
		"order of headers":            {tx([2]string{"A", "1"}, [2]string{"B", "2"}), tx([2]string{"b", "2"}, [2]string{"a", "1"}), true},
		"how often":                   {tx([2]string{"A", "1"}), tx([2]string{"A", "1"}, [2]string{"A", "1"}), false},
		"date and mailer":             {tx(), tx([2]string{"Date", "x"}, [2]string{"X-Mailer", "y"}, [2]string{"User-Agent", "z"}), true},
		"folding":                     {tx([2]string{"A", "1 2"}), tx([2]string{"A", "1\t  2"}), true},
		"quoting and boundary":        {tx([2]string{"Content-Type", `text/plain; name="a"; boundary=<B>`}), tx([2]string{"Content-Type", `text/plain; name=a`}), true},
		"a generated id":              {tx(id), tx([2]string{"Message-ID", "<x.y@sender.test>"}), true},
		"of another domain":           {tx(id), tx([2]string{"Message-ID", "<x@other.test>"}), false},
		"a given id":                  {tx([2]string{"Message-ID", "<a@b.test>"}), tx([2]string{"Message-ID", "<c@b.test>"}), false},
		"keys that are not its own":   {delivery(object{"state": "ERROR"}), delivery(object{"state": "ERROR", "outcome": 1.0}), true},
		"its own key":                 {delivery(object{"state": "ERROR"}), delivery(object{"state": "ERROR", "error": nil}), false},
		"null is not nothing":         {delivery(object{"error": nil}), delivery(object{}), false},
		"a string is compared":        {delivery("PENDING"), delivery("x"), false},
		"no recipient, no difference": {object{"transactions": list{}}, unreached(), true},
		"a recipient refused":         {object{"transactions": list{}}, unreached(list{"<c@d.test>", "550 no"}), false},
		"parameters of RCPT":          {unreached("<c@d.test>"), unreached("<c@d.test> ORCPT=x"), true},
	} {
		if got := compare(tt.want, tt.got, &testCase{}); (len(got) == 0) != tt.same {
			t.Errorf("%s: %v", name, got)
		}
	}
	leak := object{"transactions": list{}, "leaksInLog": list{"s3cret"}}
	if got := compare(object{"transactions": list{}}, leak, &testCase{}); len(got) != 1 {
		t.Errorf("a leak in the log: %v", got)
	}
}

func TestTimesAreNamedByTheirMeaning(t *testing.T) {
	now := time.Date(2026, 3, 31, 12, 0, 0, 0, time.UTC)
	ts := func(at time.Time) object { return object{"$ts": float64(at.UnixMilli())} }
	for key, tt := range map[string]struct {
		at   time.Time
		want any
	}{
		"startTime":       {now.Add(-2 * time.Second), "now"},
		"endTime":         {now.Add(-2 * time.Hour), "past(preset)"},
		"leaseExpireTime": {now.Add(58 * time.Second), "processing+60s"},
		"expireAt":        {now.Add(-2*time.Second).AddDate(1, 0, 0), "startTime+1year"},
	} {
		got := asObject(maskTimes(object{key: ts(tt.at), "startTime": ts(now.Add(-2 * time.Second))}, now.Add(-5*time.Second), now))
		if asObject(got[key])["$ts"] != tt.want {
			t.Errorf("%s: got %v, want %v", key, got[key], tt.want)
		}
	}
	for want, at := range map[string]time.Time{
		"startTime+0": now, "startTime+5day": now.AddDate(0, 0, 5), "startTime+2week": now.AddDate(0, 0, 14),
		"startTime+3hour": now.Add(3 * time.Hour), "startTime+14month": now.AddDate(0, 14, 0),
	} {
		if got, _ := sinceStart(float64(at.UnixMilli()), float64(now.UnixMilli())); got != want {
			t.Errorf("got %s, want %s", got, want)
		}
	}
	if got, ok := sinceStart(float64(now.Add(time.Minute).UnixMilli()), float64(now.UnixMilli())); ok {
		t.Errorf("a minute is %s", got)
	}
}

// A reader that is lenient where it must be strict would let a broken mail
// pass.
func TestReaderShowsBrokenMail(t *testing.T) {
	for name, raw := range map[string]string{
		"no closing boundary":    "Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\n\r\ntext\r\n",
		"no boundary":            "Content-Type: multipart/mixed\r\n\r\n--b\r\n\r\ntext\r\n--b--\r\n",
		"header line of nothing": "Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\nno colon here\r\n\r\ntext\r\n--b--\r\n",
	} {
		if _, root := normalise([]byte(raw)); !strings.Contains(compact(root), "unreadable") {
			t.Errorf("%s: read as %s", name, compact(root))
		}
	}
	nested := "Content-Type: message/rfc822\r\n\r\nSubject: =?utf-8?Q?=C3=BC?= =?utf-8?Q?ber?=\r\n\r\nin it\r\n"
	_, root := normalise([]byte(nested))
	inner := asObject(asList(root["message"])[0])
	if inner["text"] != "in it\n" || compact(inner["headers"]) != `[["subject","über"]]` {
		t.Errorf("a message in a message: %s", compact(root))
	}
}
