package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"cloud.google.com/go/firestore"
	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"
	"github.com/rs/zerolog"

	"postrider/config"
	"postrider/delivery"
	"postrider/delivery/firestored"
	"postrider/smtp"
	"postrider/smtp/smtptest"
)

// yard is where bench is tried: a Firestore server of its own, and an
// environment.
type yard struct {
	t        *testing.T
	server   *firestored.Server
	client   *firestore.Client
	settings map[string]string
	out, err bytes.Buffer
}

func newYard(t *testing.T, settings ...string) *yard {
	t.Helper()
	listener, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	server := firestored.New(firestored.Options{Log: zerolog.Nop()})
	var serving sync.WaitGroup
	serving.Go(func() {
		if err := server.Serve(ctx, listener); err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(func() {
		stop()
		serving.Wait()
	})
	host := listener.Addr().String()
	t.Setenv("FIRESTORE_EMULATOR_HOST", host)
	y := &yard{t: t, server: server, client: sdk(t, "bench"), settings: map[string]string{
		"FIRESTORE_EMULATOR_HOST": host, "GOOGLE_CLOUD_PROJECT": "bench", "DEFAULT_FROM": "shop@sender.test",
	}}
	for _, s := range settings {
		name, value, _ := strings.Cut(s, "=")
		y.settings[name] = value
	}
	return y
}

// run runs the command and returns its exit code.
func (y *yard) run(ctx context.Context, args ...string) int {
	y.out.Reset()
	y.err.Reset()
	p := program{out: &y.out, err: &y.err, lookup: func(name string) (string, bool) {
		value, ok := y.settings[name]
		return value, ok
	}}
	return p.main(ctx, append([]string{"bench"}, args...))
}

// left returns the documents of a collection, wherever it is, by their state.
func (y *yard) left(collection string) map[any]int {
	y.t.Helper()
	docs, err := y.client.CollectionGroup(collection).Documents(y.t.Context()).GetAll()
	if err != nil {
		y.t.Fatal(err)
	}
	states := map[any]int{}
	for _, d := range docs {
		state, _ := d.DataAt("delivery.state")
		states[state]++
	}
	return states
}

// clean checks that nothing is left of a measurement.
func (y *yard) clean() {
	y.t.Helper()
	if mails, states := y.left("mail"), y.left("state"); len(mails) > 0 || len(states) > 0 {
		y.t.Errorf("%v and %v are left in Firestore\n%s", mails, states, &y.err)
	}
}

// sink returns a mail server that the settings name.
func (y *yard) sink(b smtptest.Behaviour) *smtptest.Server {
	y.t.Helper()
	s, err := smtptest.Start(b)
	if err != nil {
		y.t.Fatal(err)
	}
	y.t.Cleanup(func() { _ = s.Close() })
	y.settings["SMTP_CONNECTION_URI"] = "smtp://" + s.Addr()
	return s
}

// A dry run needs no mail server and uses none that is set; it measures every
// phase, and leaves nothing.
func TestBenchMeasuresADryRun(t *testing.T) {
	y := newYard(t, "MAX_PER_RECIPIENT=1/1h", "RECIPIENT_DOMAINS=elsewhere.test", "SMTP_RATE=1/hour")
	server := y.sink(smtptest.Behaviour{})
	if code := y.run(t.Context(), "--dry-run", "--mails", "50"); code != exitDone {
		t.Fatalf("it ended with %d\n%s%s", code, &y.err, &y.out)
	}
	out := y.out.String()
	for _, want := range []string{"50 mails delivered, 0 failed, 0 left waiting", " mails/s", "for a mail 2.0", " connections opened"} {
		if !strings.Contains(out, want) {
			t.Errorf("%q is not in\n%s", want, out)
		}
	}
	for _, phase := range []string{"claim", "compose", "connect", "transaction", "write back", "attempt", "queue age"} {
		i := strings.Index(out, "\n  "+phase)
		if i < 0 {
			t.Errorf("phase %q is not in\n%s", phase, out)
			continue
		}
		line, _, _ := strings.Cut(out[i+1:], "\n")
		if fields := strings.Fields(strings.TrimPrefix(line, "  "+phase)); len(fields) == 0 || fields[0] != "50" {
			t.Errorf("not 50 were measured: %s", line)
		}
	}
	if said := y.err.String(); !strings.Contains(said, "50 mails") || !strings.Contains(said, "no mail leaves this machine") {
		t.Errorf("it did not say what it does:\n%s", said)
	}
	if n := server.Stats().Connections; n > 0 {
		t.Errorf("%d connections to the server of the settings", n)
	}
	if u := y.server.Usage(); u.Deletes != 51 || u.Writes != 151 {
		t.Errorf("Firestore bills %+v: not each document added, claimed, finished, deleted once, and the state", u)
	}
	y.clean()
}

// The one address that is named gets every mail, nobody else any, whatever the
// document says; and documents of the real collection are left alone.
func TestBenchSendsToTheAddressItWasGiven(t *testing.T) {
	y := newYard(t, "MAIL_COLLECTION=apps/a/mail", "USERS_COLLECTION=users")
	server := y.sink(smtptest.Behaviour{})
	real := y.client.Doc("apps/a/mail/real")
	if _, err := real.Set(t.Context(), map[string]any{"to": "real@rcpt.test", "message": message("s", "t")}); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "mail.json")
	text := `{"to": "a@rcpt.test", "cc": "b@rcpt.test", "bcc": ["c@rcpt.test"], "toUids": ["u"], "ccUids": ["u"], "bccUids": ["u"],
		"delivery": {"state": "SUCCESS"}, "message": {"subject": "From the file", "text": "t", "attachments": [{"filename": "a", "content": "b"}]}}`
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	if code := y.run(t.Context(), "--to", "Sink <sink@rcpt.test>", "--mails", "20", "--document", file); code != exitDone {
		t.Fatalf("it ended with %d\n%s%s", code, &y.err, &y.out)
	}
	transactions := server.Transactions()
	if len(transactions) != 20 {
		t.Errorf("%d mails were sent", len(transactions))
	}
	for _, tr := range transactions {
		if len(tr.Rcpt) != 1 || !strings.HasPrefix(tr.Rcpt[0].To, "<sink@rcpt.test>") || !strings.Contains(string(tr.Data), "From the file") {
			t.Errorf("a mail went to %v:\n%s", tr.Rcpt, tr.Data)
		}
	}
	if said := y.err.String(); !strings.Contains(said, "20 mails") || !strings.Contains(said, "to sink@rcpt.test through "+server.Addr()) {
		t.Errorf("it did not say where the mails go:\n%s", said)
	}
	if left := y.left("mail"); len(left) != 1 || left[nil] != 1 {
		t.Errorf("these are left, not the real document alone: %v", left)
	}
}

// Ctrl-C ends a measurement: the documents are deleted all the same.
func TestStoppedBenchLeavesNothing(t *testing.T) {
	t.Run("while sending", func(t *testing.T) {
		y := newYard(t, "SMTP_MAX_CONNECTIONS=1")
		server := y.sink(smtptest.Behaviour{Delays: map[string]smtptest.Delay{"dataEnd": smtptest.Delay(20 * time.Millisecond)}})
		ctx, interrupt := context.WithCancel(t.Context())
		var waiting sync.WaitGroup
		waiting.Go(func() {
			defer interrupt()
			if err := server.Await(t.Context(), func([]smtptest.Session) bool { return server.Stats().Messages > 0 }); err != nil {
				t.Error(err)
			}
		})
		code := y.run(ctx, "--to", "sink@rcpt.test", "--mails", "600")
		waiting.Wait()
		if code != exitFailed || !strings.Contains(y.out.String(), "Stopped before its end") {
			t.Errorf("it ended with %d\n%s%s", code, &y.err, &y.out)
		}
		if n := server.Stats().Messages; n == 600 {
			t.Error("it was not stopped")
		}
		y.clean()
	})
	t.Run("before sending", func(t *testing.T) {
		y := newYard(t)
		ctx, interrupt := context.WithCancel(t.Context())
		y.server.SetFaults(firestored.Faults{Call: func(method string, _ any) firestored.CallFault {
			if method == "BatchWrite" {
				interrupt()
			}
			return firestored.CallFault{}
		}})
		if code := y.run(ctx, "--dry-run", "--mails", "2500"); code != exitFailed {
			t.Errorf("it ended with %d\n%s%s", code, &y.err, &y.out)
		}
		y.clean()
	})
}

// What the mail server refuses is counted by kind, and says to nobody whose
// address it was.
func TestBenchCountsWhatFailed(t *testing.T) {
	y := newYard(t)
	y.sink(smtptest.Behaviour{RcptDefault: smtptest.Replies{"550 5.1.1 <sink@rcpt.test>: no such user"}})
	if code := y.run(t.Context(), "--to", "sink@rcpt.test", "--mails", "20"); code != exitFailed {
		t.Errorf("it ended with %d\n%s", code, &y.err)
	}
	out := y.out.String()
	for _, want := range []string{"0 mails delivered, 20 failed", "20 × attempt finished, outcome permanent, phase rcpt, code 550, enhanced 5.1.1"} {
		if !strings.Contains(out, want) {
			t.Errorf("%q is not in\n%s", want, out)
		}
	}
	_, log, _ := strings.Cut(y.err.String(), "\n")
	if strings.Contains(out+log, "sink@") {
		t.Errorf("the address is in\n%s%s", log, out)
	}
	y.clean()
}

// A mail that can't be made is found out before anything is written.
func TestBenchOfAMailThatCannotBeMadeWritesNothing(t *testing.T) {
	y := newYard(t, "TEMPLATE_ONLY=true", "TEMPLATES_COLLECTION=templates")
	if code := y.run(t.Context(), "--dry-run"); code != exitFailed || !strings.Contains(y.err.String(), "this mail can't be made: ") {
		t.Errorf("it ended with %d\n%s", code, &y.err)
	}
	if u := y.server.Usage(); u.Writes > 0 {
		t.Errorf("Firestore bills %+v", u)
	}
}

// Nor is anything written for a mail server that can't be used.
func TestBenchOverAServerThatIsDownWritesNothing(t *testing.T) {
	y := newYard(t)
	y.sink(smtptest.Behaviour{Down: true})
	if code := y.run(t.Context(), "--to", "sink@rcpt.test"); code != exitFailed || !strings.Contains(y.err.String(), "the mail server can't be used: ") {
		t.Errorf("it ended with %d\n%s", code, &y.err)
	}
	if u := y.server.Usage(); u.Writes > 0 {
		t.Errorf("Firestore bills %+v", u)
	}
}

// Templates are the real ones.
func TestBenchRendersTemplates(t *testing.T) {
	y := newYard(t, "TEMPLATES_COLLECTION=templates")
	server := y.sink(smtptest.Behaviour{})
	if _, err := y.client.Doc("templates/order").Set(t.Context(), map[string]any{"subject": "Order {{n}}", "text": "t"}); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "mail.json")
	if err := os.WriteFile(file, []byte(`{"template": {"name": "order", "data": {"n": 7}}}`), 0o600); err != nil {
		t.Fatal(err)
	}
	if code := y.run(t.Context(), "--to", "sink@rcpt.test", "--mails", "5", "--document", file); code != exitDone {
		t.Fatalf("it ended with %d\n%s%s", code, &y.err, &y.out)
	}
	for _, tr := range server.Transactions() {
		if !strings.Contains(string(tr.Data), "Order 7") {
			t.Errorf("not the template:\n%s", tr.Data)
		}
	}
}

func TestBenchKeepsDocumentsAndPrintsJSON(t *testing.T) {
	y := newYard(t)
	if code := y.run(t.Context(), "--dry-run", "--mails", "10", "--keep", "--json"); code != exitDone {
		t.Fatalf("it ended with %d\n%s", code, &y.err)
	}
	var r benchResult
	if err := json.Unmarshal(y.out.Bytes(), &r); err != nil || r.Delivered != 10 || r.Attempt.Count != 10 || r.Connections == 0 {
		t.Errorf("%v\n%s", err, &y.out)
	}
	for _, p := range append(r.Phases, r.Attempt) { // buckets that Prometheus makes end at a power of 2 with such an exponent
		if exponent := 8 * math.Log2(p.Max); math.Abs(exponent-math.Round(exponent)) > 1e-6 {
			t.Errorf("the quantiles of %s are not from native buckets: the last ends at %v", p.Name, p.Max)
		}
	}
	if !strings.Contains(y.err.String(), "firestore:delete --recursive --project bench --database '(default)' postrider-bench/") {
		t.Errorf("it did not say how to delete them:\n%s", &y.err)
	}
	if left := y.left("mail"); left["SUCCESS"] != 10 || len(left) != 1 {
		t.Errorf("%v are left", left)
	}
}

func TestBenchUsage(t *testing.T) {
	folder := t.TempDir()
	list := filepath.Join(folder, "list.json")
	if err := os.WriteFile(list, []byte(`[]`), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct{ args, want string }{
		"no destination":    {"", "either --dry-run"},
		"both destinations": {"--dry-run --to a@rcpt.test", "--to ADDRESS"},
		"no mail":           {"--dry-run --mails 0", "1 to 100000"},
		"too many":          {"--dry-run --mails 100001", "1 to 100000"},
		"two addresses":     {"--to a@rcpt.test,b@rcpt.test", "one address"},
		"no file":           {"--dry-run --document " + filepath.Join(folder, "none"), "--document"},
		"no object":         {"--dry-run --document " + list, "not a JSON object"},
		"no server":         {"--to a@rcpt.test", "SMTP_CONNECTION_URI"},
		"an operand":        {"--dry-run 100", `"100" is not a flag`},
	} {
		var out, said bytes.Buffer
		p := program{out: &out, err: &said, lookup: func(name string) (string, bool) {
			return "demo", name == "GOOGLE_CLOUD_PROJECT"
		}}
		if code := p.main(t.Context(), append([]string{"bench"}, strings.Fields(c.args)...)); code != exitUsage || !strings.Contains(said.String(), c.want) {
			t.Errorf("%s: it ended with %d\n%s", name, code, &said)
		}
	}
}

// observed returns a histogram of values as the program's metrics have it.
func observed(t *testing.T, o prometheus.HistogramOpts, values []float64) *dto.Histogram {
	t.Helper()
	h := prometheus.NewHistogram(o)
	for _, v := range values {
		h.Observe(v)
	}
	var m dto.Metric
	if err := h.Write(&m); err != nil {
		t.Fatal(err)
	}
	return m.GetHistogram()
}

// Quantiles are right within the width of a bucket, whatever the distribution.
func TestQuantilesOfHistograms(t *testing.T) {
	var even, two []float64
	for i := range 1000 {
		even = append(even, float64(i+1)/1000)
		two = append(two, []float64{.0001, 3600}[i/900])
	}
	native := prometheus.HistogramOpts{NativeHistogramBucketFactor: 1.1}
	fixed := prometheus.HistogramOpts{Buckets: prometheus.ExponentialBuckets(.0001, 1.1, 200)}
	few := prometheus.HistogramOpts{NativeHistogramBucketFactor: 1.1, NativeHistogramMaxBucketNumber: 3}
	for name, c := range map[string]struct {
		options prometheus.HistogramOpts
		values  []float64
		within  float64 // of the value, as a factor
	}{
		"even, native":         {native, even, 1.1},
		"even, classic":        {fixed, even, 1.1},
		"gap, native":          {native, two, 1.1},
		"wider buckets":        {few, even, 16},
		"one value":            {native, []float64{.25}, 1.1},
		"zeros among them":     {native, append(make([]float64, 500), even...), 1.1},
		"one, between buckets": {native, []float64{.26}, 1.1},
	} {
		s := spreadOf(observed(t, c.options, c.values))
		sorted := slices.Sorted(slices.Values(c.values))
		for _, q := range []float64{.1, .5, .9, .99, 1} {
			want := sorted[int(math.Ceil(q*float64(len(sorted))))-1]
			if got := s.quantile(q); got > want*c.within+1e-9 || got < want/c.within-1e-9 {
				t.Errorf("%s: quantile %g is %g, and the value is %g", name, q, got, want)
			}
		}
		if s.count != uint64(len(c.values)) {
			t.Errorf("%s: %d values", name, s.count)
		}
	}
	both := spreadOf(observed(t, native, []float64{1, 1, 1}), observed(t, fixed, []float64{2}))
	if got := both.quantile(1); both.count != 4 || both.sum != 5 || got < 2 || got > 2.2 || both.quantile(.75) > 1.1 {
		t.Errorf("two histograms together: %+v", both)
	}
	if beyond := spreadOf(observed(t, prometheus.HistogramOpts{Buckets: []float64{1}}, []float64{5})); beyond.quantile(.5) != 1 {
		t.Errorf("beyond the last bucket: %+v", beyond)
	}
	if none := spreadOf(); !math.IsNaN(none.quantile(.5)) {
		t.Errorf("of nothing: %v", none.quantile(.5))
	}
}

func TestProgressInWords(t *testing.T) {
	var out bytes.Buffer
	p := newProgress(&out)
	if p.terminal {
		t.Error("a buffer is no terminal")
	}
	p.terminal = true
	p.draw(barOf("sending", 500, 2000, time.Second))
	p.say("something went %s", "wrong")
	p.draw("")
	bar := "sending  [=======                       ]  25 %  500/s, 3s left"
	if want := bar + "\r\x1b[Ksomething went wrong\n" + bar + "\r\x1b[K"; out.String() != want {
		t.Errorf("%q\nnot\n%q", out.String(), want)
	}
	if got, want := lineOf("sending", 12_000, 100_000, 10*time.Second), "sending: 12,000 of 100,000, 1,200/s, 1m13s left"; got != want {
		t.Errorf("%q, not %q", got, want)
	}
	if got, want := lineOf("sending", 0, 10, time.Second), "sending: 0 of 10, …"; got != want {
		t.Errorf("%q, not %q", got, want)
	}
}

func TestFiguresHaveThreeDigits(t *testing.T) {
	for seconds, want := range map[float64]string{
		0: "0", 1.5e-6: "1.50 µs", .00099999: "1,000 µs", .0123456: "12.3 ms", .999: "999 ms", 1.005: "1.00 s", 61.234: "61.2 s", 3723.4: "1h2m3s",
	} {
		if got := lasting(seconds); got != want {
			t.Errorf("%v s: %q, not %q", seconds, got, want)
		}
	}
	for n, want := range map[int64]string{0: "0", 999: "999", 1000: "1,000", 1234567: "1,234,567"} {
		if got := grouped(n); got != want {
			t.Errorf("%q, not %q", got, want)
		}
	}
	if got := sized(1_234_567); got != "1.23 MB" {
		t.Error(got)
	}
}

// A thousand lines of the same kind are one, and kinds are bounded.
func TestComplaintsAreCountedByKind(t *testing.T) {
	var shown []string
	c := &complaints{show: func(text string) { shown = append(shown, text) }}
	log := newLogger(c, zerolog.WarnLevel)
	log.Info().Msg("no complaint")
	for i := range 50 {
		log.Warn().Str("doc", fmt.Sprint(i)).Str("outcome", "transient").Int("code", 451).Str("enhanced", "").Msg("attempt finished")
		log.Error().Err(errors.New("kind " + fmt.Sprint(i))).Msg("failed")
	}
	kinds := c.counted()
	want := complaint{"attempt finished, outcome transient, code 451", 50}
	if !slices.Contains(kinds, want) || len(kinds) != maxKinds || len(shown) != maxKinds {
		t.Errorf("%v, and %d were shown", kinds, len(shown))
	}
	total := 0
	for _, k := range kinds {
		total += k.Count
	}
	if total != 100 {
		t.Errorf("%d lines were counted", total)
	}
}

func TestVerdictNamesWhatHelps(t *testing.T) {
	phases := func(claim, compose, connect, transaction, back float64) []benchPhase {
		return []benchPhase{
			{Name: "claim", Share: claim},
			{Name: "compose", Share: compose},
			{Name: "connect", Share: connect},
			{Name: "transaction", Share: transaction},
			{Name: "write_back", Share: back},
		}
	}
	settings := config.Config{Concurrency: 64, MaxBytesInFlight: 1 << 20, SMTP: smtp.Options{MaxConnections: 16}}
	paced := settings
	emulated := settings
	emulated.EmulatorHost = "localhost:8081"
	paced.SMTPRate = delivery.Rate{N: 120, Per: time.Minute}
	for name, c := range map[string]struct {
		bound bound
		want  string
	}{
		"nothing sent":    {bound{}, ""},
		"firestore":       {bound{benchResult: benchResult{Phases: phases(.3, .1, .25, .05, .3)}}, "CONCURRENCY (64)"},
		"emulator":        {bound{benchResult: benchResult{Phases: phases(.3, .1, .25, .05, .3)}, config: emulated}, "The emulator's writes"},
		"waits":           {bound{benchResult: benchResult{Phases: phases(.5, .1, .1, .2, .1)}}, "Claiming, with the waits before it, takes the most, 50 %"},
		"emulator, waits": {bound{benchResult: benchResult{Phases: phases(.5, .1, .1, .2, .1)}, config: emulated}, "CONCURRENCY, 64"},
		"few waits":       {bound{benchResult: benchResult{Phases: phases(.3, .1, .1, .4, .1)}}, "The mail server takes the most, 40 %"},
		"compose":         {bound{benchResult: benchResult{Phases: phases(0, .5, .2, .2, .1)}}, "templates"},
		"large mails":     {bound{benchResult: benchResult{Phases: phases(0, .5, .2, .2, .1)}, bytes: 1 << 20}, "MAX_BYTES_IN_FLIGHT (1.05 MB)"},
		"connect":         {bound{benchResult: benchResult{Phases: phases(0, .1, .5, .3, .1)}}, "SMTP_MAX_CONNECTIONS (16) as far"},
		"transaction":     {bound{benchResult: benchResult{Phases: phases(0, .1, .3, .5, .1)}}, "The mail server takes the most, 50 %"},
		"dry run":         {bound{benchResult: benchResult{Phases: phases(0, .1, .3, .5, .1)}, dry: true}, "--to measures"},
		"rate":            {bound{benchResult: benchResult{PerSecond: 1.9}, config: paced}, "SMTP_RATE bounds it: 120 within 1m"},
		"rate, not near":  {bound{benchResult: benchResult{PerSecond: 1, Phases: phases(0, 0, 1, 0, 0)}, config: paced}, "SMTP_MAX_CONNECTIONS"},
		"server slows":    {bound{slowed: 12}, "asked to slow down, and seems to take 12.0 mails/s"},
		"processor":       {bound{benchResult: benchResult{CPU: 1e6, Attempt: benchPhase{Count: 1}}}, "The processor bounds it"},
		"much is retried": {bound{benchResult: benchResult{CPU: 1e-3, Attempt: benchPhase{Count: 1e9}}}, "The processor bounds it"},
		"no attempt":      {bound{benchResult: benchResult{CPU: 1e6}}, ""},
		"nothing is long": {bound{}, ""},
	} {
		b := c.bound
		if name != "nothing sent" {
			b.Delivered, b.Seconds = 1, 1
		}
		if b.config.Concurrency == 0 {
			b.config = settings
		}
		if got := b.verdict(); !strings.Contains(got, c.want) || (got == "") != (c.want == "") {
			t.Errorf("%s: %q", name, got)
		}
	}
}
