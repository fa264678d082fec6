package corpus

import (
	"crypto/rand"
	"flag"
	"fmt"
	"maps"
	mathrand "math/rand/v2"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
)

const jobs = "4" // cases at a time, unless -parallel says otherwise

var record = flag.Bool("record", false, "print what was seen wherever it is not what the extension did")

// setup is what all cases share.
type setup struct {
	emulators *emulators
	command   []string // the worker and its arguments
	fixtures  string   // absolute path of testdata/fixtures
	httpPort  int      // of the server that attachments are fetched from
	run       string   // distinguishes this run's projects from any other's
	count     atomic.Int64
	port      atomic.Uint32 // the last one given to a worker
}

func TestMain(m *testing.M) {
	if os.Getenv(replayCase) != "" {
		fmt.Fprintln(os.Stderr, playWorker())
		os.Exit(1)
	}
	flag.Parse()
	if p := flag.Lookup("test.parallel"); p != nil && !isSet("test.parallel") {
		if err := p.Value.Set(jobs); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(2)
		}
	}
	parallel, err := strconv.Atoi(flag.Lookup("test.parallel").Value.String())
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(2)
	}
	shared = newEmulators(parallel)
	code := m.Run()
	if err := shared.close(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		code = max(code, 1)
	}
	os.Exit(code)
}

func isSet(name string) bool {
	set := false
	flag.Visit(func(f *flag.Flag) { set = set || f.Name == name })
	return set
}

// Every case gives what the extension gave, or what departures.json says
// instead.
func TestCorpus(t *testing.T) {
	cases, err := loadAll()
	if err != nil {
		t.Fatal(err)
	}
	listed, err := loadDepartures("departures.json")
	if err != nil {
		t.Fatal(err)
	}
	s := prepare(t, workerCommand(t))
	results := &table{}
	t.Cleanup(func() { results.report(t) })
	topics := map[string][]*testCase{}
	for _, c := range cases {
		topics[c.Topic] = append(topics[c.Topic], c)
	}
	for _, topic := range slices.Sorted(maps.Keys(topics)) {
		t.Run(topic, func(t *testing.T) {
			t.Parallel()
			for _, c := range topics[topic] {
				t.Run(c.name(), func(t *testing.T) {
					t.Parallel()
					s.check(t, c, listed, results)
				})
			}
		})
	}
}

// check runs one case and judges it.
func (s *setup) check(t *testing.T, c *testCase, listed map[string]departure, results *table) {
	seen, err := s.runCase(t.Context(), c, expectsEnd(c, listed))
	if err != nil {
		results.add(c, false, false)
		t.Fatal(err)
	}
	v := judge(c, seen, listed)
	_, isListed := listed[c.ID]
	results.add(c, v.matches && !isListed, v.departs)
	for _, d := range v.differences {
		t.Error(d)
	}
	if isListed && v.matches {
		t.Error("is listed in departures.json, but does what the extension did")
	}
	if *record && !v.matches {
		t.Logf("%s: seen %s", c.ID, compact(seen))
	}
}

// prepare finds or starts everything the cases share.
func prepare(t *testing.T, command []string) *setup {
	t.Helper()
	fixtures, err := filepath.Abs("testdata/fixtures")
	if err != nil {
		t.Fatal(err)
	}
	shared.require(t)
	s := &setup{emulators: shared, command: command, fixtures: fixtures, run: strings.ToLower(rand.Text()[:8])}
	s.port.Store(mathrand.Uint32N(1 << 20))
	web := httptest.NewServer(fixtureServer(fixtures))
	t.Cleanup(web.Close)
	addr, ok := web.Listener.Addr().(*net.TCPAddr)
	if !ok {
		t.Fatalf("no TCP address: %v", web.Listener.Addr())
	}
	s.httpPort = addr.Port
	return s
}

// workerCommand is the worker to test: the one named, or one built now.
func workerCommand(t *testing.T) []string {
	t.Helper()
	if named := strings.Fields(os.Getenv("POSTRIDER_WORKER")); len(named) > 0 {
		return named
	}
	binary := filepath.Join(t.TempDir(), "postrider")
	build := exec.CommandContext(t.Context(), "go", "build", "-o", binary, "postrider/cmd/postrider")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("build the worker: %v\n%s", err, out)
	}
	return []string{binary, "run"}
}

// fixtureServer is what attachments are fetched from.
func fixtureServer(fixtures string) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("/dot.png", func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "image/png")
		http.ServeFile(w, r, filepath.Join(fixtures, "dot.png"))
	})
	mux.HandleFunc("/redirect", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Location", "/dot.png")
		w.WriteHeader(http.StatusFound)
	})
	mux.HandleFunc("/doc.txt", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/plain; charset=utf-8")
		fmt.Fprint(w, "remote text file\n")
	})
	mux.HandleFunc("/computeMetadata/v1/token", func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprint(w, `{"access_token":"metadata-secret"}`)
	})
	mux.HandleFunc("/", func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(http.StatusNotFound)
		fmt.Fprint(w, "nope")
	})
	return mux
}

// table counts the results by topic.
type table struct {
	mu   sync.Mutex
	rows map[string]*row // by topic; under mu
}

type row struct {
	cases, match, departed int
	failed                 []string // IDs
}

func (r *table) add(c *testCase, matches, departs bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.rows == nil {
		r.rows = map[string]*row{}
	}
	if r.rows[c.Topic] == nil {
		r.rows[c.Topic] = &row{}
	}
	one := r.rows[c.Topic]
	one.cases++
	switch {
	case matches:
		one.match++
	case departs:
		one.departed++
	default:
		one.failed = append(one.failed, c.ID)
	}
}

// String is the table, one topic a line, the disagreements and the totals.
func (r *table) String() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	var b strings.Builder
	var sum row
	fmt.Fprintf(&b, "%-22s %5s %6s %8s %8s\n", "topic", "cases", "match", "departed", "disagree")
	for _, topic := range slices.Sorted(maps.Keys(r.rows)) {
		one := r.rows[topic]
		fmt.Fprintf(&b, "%-22s %5d %6d %8d %8d\n", topic, one.cases, one.match, one.departed, len(one.failed))
		sum.cases += one.cases
		sum.match += one.match
		sum.departed += one.departed
		sum.failed = append(sum.failed, one.failed...)
	}
	slices.Sort(sum.failed)
	for _, id := range sum.failed {
		fmt.Fprintf(&b, "disagrees: %s\n", id)
	}
	fmt.Fprintf(&b, "corpus: %d match + %d agreed departures of %d\n", sum.match, sum.departed, sum.cases)
	return b.String()
}

// report prints the table and leaves it where whoever runs the tests asked for
// it.
func (r *table) report(t *testing.T) {
	t.Helper()
	t.Logf("\n%s", r)
	dir := os.Getenv("POSTRIDER_TEST_REPORT")
	if dir == "" {
		return
	}
	if err := os.WriteFile(filepath.Join(dir, "corpus.txt"), []byte(r.String()), 0o600); err != nil {
		t.Errorf("leave the table of results: %v", err)
	}
}
