package firestored

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	pb "cloud.google.com/go/firestore/apiv1/firestorepb"
	"google.golang.org/grpc/test/bufconn"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
)

// arrival is a request that an events' receiver got.
type arrival struct {
	after  time.Duration // since the receiver was made
	path   string
	header http.Header
	body   []byte
}

func (a arrival) document() string { return a.header.Get("ce-document") }

// receiver is an HTTP server in memory that answers as it is told.
type receiver struct {
	listener *bufconn.Listener
	answer   func(n int, a arrival) int // the status of the nth request; 0 never answers
	start    time.Time

	mu       sync.Mutex
	arrivals []arrival
}

func newReceiver(t *testing.T, answer func(n int, a arrival) int) *receiver {
	r := &receiver{listener: bufconn.Listen(1 << 20), answer: answer, start: time.Now()}
	server := &http.Server{Handler: r}
	served := make(chan struct{})
	go func() {
		defer close(served)
		_ = server.Serve(r.listener)
	}()
	t.Cleanup(func() {
		server.Close()
		<-served
	})
	return r
}

func (r *receiver) ServeHTTP(w http.ResponseWriter, request *http.Request) {
	body, _ := io.ReadAll(request.Body)
	r.mu.Lock()
	a := arrival{time.Since(r.start), request.URL.Path, request.Header, body}
	r.arrivals = append(r.arrivals, a)
	n := len(r.arrivals)
	r.mu.Unlock()
	if code := r.answer(n, a); code != 0 {
		w.Header().Set("Location", "/elsewhere")
		w.WriteHeader(code)
		return
	}
	<-request.Context().Done()
}

func (r *receiver) got() []arrival {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.arrivals)
}

func ok(int, arrival) int { return http.StatusNoContent }

// subscribe sends events to r until the test ends, which it may also be told by
// the function returned.
func (s *stand) subscribe(t *testing.T, r *receiver, sub Subscription) (stop func()) {
	t.Helper()
	transport := &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return r.listener.DialContext(ctx)
	}}
	sub.Database, sub.URL = standDatabase, "http://receiver.test/events"
	if sub.Client == nil {
		sub.Client = &http.Client{Transport: transport}
	}
	ctx, cancel := context.WithCancel(t.Context())
	ready, ended := make(chan struct{}), make(chan struct{})
	sub.Ready = func() { close(ready) }
	go func() {
		defer close(ended)
		if err := s.server.Subscribe(ctx, sub); err != nil {
			t.Errorf("subscribe: %v", err)
			close(ready)
		}
	}()
	<-ready
	stop = func() {
		cancel()
		<-ended
		transport.CloseIdleConnections()
	}
	t.Cleanup(stop)
	return stop
}

func TestEventLooksAsEventarcSendsIt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStand(t, Options{})
		r := newReceiver(t, ok)
		s.commit(standSet("mail/before", "n=1"))
		s.subscribe(t, r, Subscription{Document: "mail/{id}"})
		s.commit(standSet(`mail/grün "1" %`, "n=1"))
		synctest.Wait()
		if len(r.got()) != 1 {
			t.Fatalf("%d events", len(r.got()))
		}
		a := r.got()[0]
		created := s.server.database(standDatabase)
		changes, _, _ := created.since(created.position()-1, 1)
		want := map[string]string{
			"Ce-Specversion": "1.0",
			"Ce-Type":        "google.cloud.firestore.document.v1.written",
			"Ce-Source":      "//firestore.googleapis.com/projects/demo/databases/(default)",
			"Ce-Subject":     "documents/mail/gr%C3%BCn%20%221%22%20%25",
			"Ce-Document":    "mail/gr%C3%BCn%20%221%22%20%25",
			"Ce-Dataschema":  "https://github.com/googleapis/google-cloudevents/blob/main/proto/google/events/cloud/firestore/v1/data.proto",
			"Ce-Project":     "demo",
			"Ce-Database":    "(default)",
			"Ce-Namespace":   "(default)",
			"Ce-Location":    "nam5",
			"Ce-Time":        time.UnixMicro(changes[0].at).UTC().Format("2006-01-02T15:04:05.000000Z"),
			"Content-Type":   "application/protobuf",
		}
		for name, value := range want {
			if a.header.Get(name) != value {
				t.Errorf("%s: %q, want %q", name, a.header.Get(name), value)
			}
		}
		if id := a.header.Get("Ce-Id"); !regexp.MustCompile(`^[0-9a-f]{8}-[0-9a-f]{4}-8[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$`).MatchString(id) {
			t.Errorf("Ce-Id: %q", id)
		}
		if name, err := url.PathUnescape(a.document()); err != nil || name != `mail/grün "1" %` {
			t.Errorf("decoded: %q %v", name, err)
		}
	})
}

// TestEventBody checks what events say, in protobuf and in JSON, and which come
// of a type.
func TestEventBody(t *testing.T) {
	all := []string{
		"mail/a: m=1 n=1 same=1",
		"mail/a: n=2 same=1, before m=1 n=1 same=1, changed [m n]",
		"mail/a: before n=2 same=1",
	}
	for kind, want := range map[string][]string{
		"": all, EventWritten: all, EventCreated: all[:1], EventUpdated: all[1:2], EventDeleted: all[2:],
	} {
		for _, asJSON := range []bool{false, true} {
			t.Run(fmt.Sprint(kind, " JSON ", asJSON), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					s := newStand(t, Options{})
					r := newReceiver(t, ok)
					s.subscribe(t, r, Subscription{Document: "mail/{id}", Type: kind, JSON: asJSON})
					for _, w := range []*pb.Write{
						standSet("mail/a", "n=1", "m=1", "same=1"), standSet("other/a", "n=1"), standSet("mail/a", "n=2", "same=1"),
						standSet("mail/a", "n=2", "same=1"), standDelete("mail/a"), standDelete("mail/a"),
					} {
						s.commit(w)
						synctest.Wait()
					}
					var got []string
					for _, a := range r.got() {
						got = append(got, eventText(t, a))
					}
					if !slices.Equal(got, want) {
						t.Errorf("got  %q\nwant %q", got, want)
					}
				})
			})
		}
	}
}

// eventText returns an event's data as text.
func eventText(t *testing.T, a arrival) string {
	t.Helper()
	value, old, mask := &pb.Document{}, &pb.Document{}, &pb.DocumentMask{}
	parts := map[int]proto.Message{1: value, 2: old, 3: mask}
	switch a.header.Get("Content-Type") {
	case "application/protobuf":
		readWire(t, a.body, parts)
	case "application/json":
		readJSON(t, a.body, parts)
	default:
		t.Fatalf("content type %q", a.header.Get("Content-Type"))
	}
	var text []string
	if value.GetName() != "" {
		text = append(text, fieldText(value)[1:])
	}
	if old.GetName() != "" {
		text = append(text, "before"+fieldText(old))
	}
	if len(mask.GetFieldPaths()) > 0 {
		text = append(text, fmt.Sprintf("changed %v", mask.GetFieldPaths()))
	}
	for _, d := range []*pb.Document{value, old} {
		if d.GetName() == "" {
			continue
		}
		if d.GetName() != standRoot+"/"+a.document() || d.GetCreateTime() == nil || d.GetUpdateTime() == nil {
			t.Errorf("the document of the event of %s: %v", a.document(), d)
		}
	}
	return a.document() + ": " + strings.Join(text, ", ")
}

// readWire reads DocumentEventData by its field numbers.
func readWire(t *testing.T, body []byte, parts map[int]proto.Message) {
	t.Helper()
	for len(body) > 0 {
		number, kind, n := protowire.ConsumeTag(body)
		message, m := protowire.ConsumeBytes(body[max(n, 0):])
		part := parts[int(number)]
		if kind != protowire.BytesType || m < 0 || part == nil {
			t.Fatalf("field %d of type %d", number, kind)
		}
		if err := proto.Unmarshal(message, part); err != nil {
			t.Fatal(err)
		}
		body = body[n+m:]
	}
}

// readJSON reads DocumentEventData by its JSON names.
func readJSON(t *testing.T, body []byte, parts map[int]proto.Message) {
	t.Helper()
	var fields map[string]json.RawMessage
	if err := json.Unmarshal(body, &fields); err != nil {
		t.Fatal(err)
	}
	for name, message := range fields {
		part := parts[map[string]int{"value": 1, "oldValue": 2, "updateMask": 3}[name]]
		if part == nil {
			t.Fatalf("field %q", name)
		}
		if err := protojson.Unmarshal(message, part); err != nil {
			t.Fatal(err)
		}
	}
}

// arrivalTimes returns when requests arrived, in whole seconds.
func arrivalTimes(r *receiver) []int {
	var at []int
	for _, a := range r.got() {
		at = append(at, int(a.after/time.Second))
	}
	return at
}

func TestEventIsSentUntilItIsAnswered(t *testing.T) {
	for rule, test := range map[string]struct {
		answer func(n int, a arrival) int
		sub    Subscription
		want   []int
	}{
		"any 2xx will do": {func(int, arrival) int { return 299 }, Subscription{}, []int{0}},
		"anything else will not, and the pauses double up to ten minutes": {
			func(n int, _ arrival) int {
				return []int{500, 404, 302, 429, 503, 400, 500, 500, 200}[n-1]
			},
			Subscription{},
			[]int{0, 10, 30, 70, 150, 310, 630, 1230, 1830},
		},
		"no answer within ten seconds is none": {
			func(n int, _ arrival) int { return []int{0, 200}[n-1] },
			Subscription{},
			[]int{0, 20},
		},
		"the times can be set": {
			func(n int, _ arrival) int { return []int{0, 500, 500, 200}[n-1] },
			Subscription{AckDeadline: 3 * time.Second, MinBackoff: time.Second, MaxBackoff: 2 * time.Second},
			[]int{0, 4, 6, 8},
		},
		"it is dropped when it is too old": {
			func(int, arrival) int { return 500 },
			Subscription{Retention: time.Minute},
			[]int{0, 10, 30},
		},
	} {
		t.Run(rule, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newStand(t, Options{})
				r := newReceiver(t, test.answer)
				test.sub.Document = "mail/{id}"
				s.subscribe(t, r, test.sub)
				s.commit(standSet("mail/a", "n=1"))
				time.Sleep(2 * time.Hour)
				synctest.Wait()
				if got := arrivalTimes(r); !slices.Equal(got, test.want) {
					t.Errorf("arrived after %v, want %v", got, test.want)
				}
				all := r.got()
				for _, a := range all {
					if a.path != "/events" {
						t.Errorf("it went to %s", a.path)
					}
					if a.header.Get("Ce-Id") != all[0].header.Get("Ce-Id") || !slices.Equal(a.body, all[0].body) {
						t.Error("it is another event when it is sent again")
					}
				}
			})
		})
	}
}

func TestEventsAreLimitedAndWaitInTheLog(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStand(t, Options{})
		r := newReceiver(t, func(n int, _ arrival) int {
			if n <= 3 {
				return 0
			}
			return 200
		})
		s.subscribe(t, r, Subscription{Document: "mail/{id}", Concurrency: 2, Pending: 3})
		for i := range 6 {
			s.commit(standSet(fmt.Sprint("mail/", i), "n=1"))
		}
		// Two requests are not answered; then the third is sent, and not either. The
		// first two wait to be sent again, and the three after them in the log.
		want := []int{0, 0, 10, 20, 20, 20, 20, 20, 30}
		time.Sleep(time.Minute)
		synctest.Wait()
		if got := arrivalTimes(r); !slices.Equal(got, want) {
			t.Errorf("arrived after %v, want %v", got, want)
		}
		seen := map[string]bool{}
		for _, a := range r.got() {
			seen[a.document()] = true
		}
		if len(seen) != 6 {
			t.Errorf("events of %d documents, want 6", len(seen))
		}
	})
}

func TestEventFaults(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStand(t, Options{})
		s.server.SetFaults(Faults{Event: func(path string) EventFault {
			return map[string]EventFault{"mail/lost": {Lose: true}, "mail/twice": {Copies: 1}, "mail/late": {Delay: 5 * time.Second}}[path]
		}})
		r := newReceiver(t, ok)
		s.subscribe(t, r, Subscription{Document: "mail/{id}"})
		for _, id := range []string{"lost", "late", "twice", "a"} {
			s.commit(standSet("mail/"+id, "n=1"))
			synctest.Wait()
		}
		time.Sleep(time.Minute)
		synctest.Wait()
		var got []string
		for _, a := range r.got() {
			got = append(got, a.document())
		}
		if want := []string{"mail/twice", "mail/twice", "mail/a", "mail/late"}; !slices.Equal(got, want) {
			t.Errorf("got %q, want %q", got, want)
		}
	})
}

func TestSubscribeEndsWithItsContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStand(t, Options{})
		r := newReceiver(t, func(n int, _ arrival) int { return []int{0, 500, 200}[n-1] })
		stop := s.subscribe(t, r, Subscription{Document: "**"})
		s.commit(standSet("mail/a", "n=1"))
		time.Sleep(11 * time.Second) // it waits to be sent again
		s.commit(standSet("mail/b", "n=1"))
		synctest.Wait()
		start := time.Now()
		stop()
		if took := time.Since(start); took != 0 {
			t.Errorf("ended after %v", took)
		}
		s.commit(standSet("mail/c", "n=1"))
		time.Sleep(time.Hour)
		if n := len(r.got()); n != 2 {
			t.Errorf("%d requests, want 2", n)
		}
	})
}

type roundTrip func(*http.Request) (*http.Response, error)

func (f roundTrip) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

// TestSubscribeWaitsForItsDeliveries has a client that does not stop at once.
func TestSubscribeWaitsForItsDeliveries(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStand(t, Options{})
		slow := func(r *http.Request) (*http.Response, error) {
			<-r.Context().Done()
			time.Sleep(time.Second)
			return nil, r.Context().Err()
		}
		stop := s.subscribe(t, newReceiver(t, ok), Subscription{Document: "**", Client: &http.Client{Transport: roundTrip(slow)}, Pending: 1})
		s.commit(standSet("mail/a", "n=1"), standSet("mail/b", "n=1"))
		synctest.Wait()
		start := time.Now()
		stop()
		if took := time.Since(start); took != time.Second && took != 2*time.Second { // the other one may still have begun
			t.Errorf("ended after %v", took)
		}
	})
}

func TestSubscribeRefusesWhatIsWrong(t *testing.T) {
	good := Subscription{Database: standDatabase, Document: "mail/{id}", URL: "http://127.0.0.1/"}
	for what, spoil := range map[string]func(*Subscription){
		"database": func(s *Subscription) { s.Database = "demo" },
		"document": func(s *Subscription) { s.Document = "" },
		"type":     func(s *Subscription) { s.Type = "google.cloud.firestore.document.v1.read" },
		"URL":      func(s *Subscription) { s.URL = "events" },
	} {
		sub := good
		spoil(&sub)
		if err := New(Options{}).Subscribe(t.Context(), sub); err == nil {
			t.Errorf("a subscription with a wrong %s is taken", what)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := New(Options{}).Subscribe(ctx, good); err != nil {
		t.Errorf("a good one: %v", err)
	}
}

// TestEventsOverTheNetwork sends to a real server on loopback.
func TestEventsOverTheNetwork(t *testing.T) {
	s := newStand(t, Options{})
	arrived := make(chan string, 10)
	receiver := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		arrived <- r.Header.Get("ce-document")
	}))
	defer receiver.Close()
	ctx, cancel := context.WithCancel(t.Context())
	ready, ended := make(chan struct{}), make(chan error, 1)
	sub := Subscription{Database: standDatabase, Document: "mail/*", URL: receiver.URL, Ready: func() { close(ready) }}
	go func() { ended <- s.server.Subscribe(ctx, sub) }()
	<-ready
	s.commit(standSet("mail/a", "n=1"))
	if got := <-arrived; got != "mail/a" {
		t.Errorf("got %q", got)
	}
	cancel()
	if err := <-ended; err != nil {
		t.Error(err)
	}
}

func TestPathPatterns(t *testing.T) {
	paths := []string{"mail/a", "other/a", "users/u/mail/a", "users/u/mail/a/parts/b"}
	for pattern, want := range map[string][]string{
		"mail/a":            paths[:1],
		"mail/b":            nil,
		"mail/{id}":         paths[:1],
		"mail/*":            paths[:1],
		"{collection}/a":    paths[:2],
		"users/{u}/mail/*":  paths[2:3],
		"users/{path=**}":   paths[2:],
		"**/a":              paths[:3],
		"**":                paths,
		"users/**/parts/b":  paths[3:],
		"mail":              nil,
		"mail/{id}/x/{y}":   nil,
		"mail/{id}/{x=**}":  paths[:1],
		"users/u/mail/a/**": paths[2:],
	} {
		var got []string
		for _, path := range paths {
			if matchPath(pattern, path) {
				got = append(got, path)
			}
		}
		if !slices.Equal(got, want) {
			t.Errorf("%s: got %q, want %q", pattern, got, want)
		}
	}
}

func TestChangedPaths(t *testing.T) {
	object := func(fields map[string]*pb.Value) *pb.Value {
		return &pb.Value{ValueType: &pb.Value_MapValue{MapValue: &pb.MapValue{Fields: fields}}}
	}
	before := map[string]*pb.Value{
		"same": standInt("1"), "gone": standInt("1"), "a b": standInt("1"), "to map": standInt("1"),
		"map":   object(map[string]*pb.Value{"same": standInt("1"), "x.y": standInt("1"), "gone": standInt("1")}),
		"empty": object(nil),
	}
	after := map[string]*pb.Value{
		"same": standInt("1"), "new": standInt("1"), "a b": standInt("2"), "to map": object(nil),
		"map":   object(map[string]*pb.Value{"same": standInt("1"), "x.y": standInt("2"), "n`\\": standInt("1")}),
		"empty": object(nil),
	}
	want := []string{"`a b`", "gone", "map.gone", "map.`n\\`\\\\`", "map.`x.y`", "new", "`to map`"}
	if got := changedPaths("", before, after); !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}
