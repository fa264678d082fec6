package queue

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"

	pb "cloud.google.com/go/firestore/apiv1/firestorepb"
	"github.com/rs/zerolog"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/grpc/test/bufconn"
	"google.golang.org/protobuf/types/known/timestamppb"

	"postrider/delivery"
	"postrider/delivery/firestored"
)

// stack is a mail collection in a Firestore server of the test's own.
type stack struct {
	*Queue
	server *firestored.Server
}

// stacked returns an empty collection. In a bubble the test calls stop itself.
func stacked(t testing.TB, o firestored.Options) (s *stack, stop func()) {
	t.Helper()
	o.Log = zerolog.Nop()
	s = &stack{server: firestored.New(o)}
	listener := bufconn.Listen(1 << 20)
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- s.server.Serve(ctx, listener) }()
	q, err := Open(ctx, Options{
		Project: "p", Mail: "tenants/t1/mail", Users: "users", Templates: "templates", State: "_postrider",
		Emulator: "passthrough:memory", Log: zerolog.Nop(),
		Dial: func(ctx context.Context, _ string) (net.Conn, error) { return listener.DialContext(ctx) },
	})
	if err != nil {
		t.Fatal(err)
	}
	s.Queue = q
	return s, func() {
		err := q.Close()
		cancel()
		if err := errors.Join(err, <-ended); err != nil {
			t.Error(err)
		}
	}
}

// fill writes the documents of ids.
func fill(t testing.TB, q *Queue, ids []string, state func(i int, id string) string) {
	t.Helper()
	r := &pb.BatchWriteRequest{Database: q.database}
	for i, id := range ids {
		d := held(id, state(i, id))
		d.Name, d.UpdateTime = q.mail.name(id), nil
		r.Writes = append(r.Writes, &pb.Write{Operation: &pb.Write_Update{Update: d}})
		if len(r.Writes) < maxBatch && i < len(ids)-1 {
			continue
		}
		response, err := q.client.BatchWrite(t.Context(), r)
		if err != nil {
			t.Fatal(err)
		}
		for _, s := range response.GetStatus() {
			if s.GetCode() != 0 {
				t.Fatal(s)
			}
		}
		r.Writes = nil
	}
}

// search audits a collection, and returns what it found, sorted.
func search(t testing.TB, q *Queue) ([]string, delivery.Audit) {
	t.Helper()
	var got []string
	result, err := q.Audit(t.Context(), func(_ context.Context, s delivery.Snapshot) error {
		if s.UpdateTime.IsZero() {
			t.Errorf("%s has no update time to be claimed on", s.ID)
		}
		got = append(got, s.ID)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	slices.SortFunc(got, compareIDs)
	return got, result
}

func wanted(ids []string, missed map[int]bool) []string {
	var want []string
	for i, id := range ids {
		if missed[i] {
			want = append(want, id)
		}
	}
	return want
}

// What the audit says it costs is what Firestore bills.
func TestAuditIsBilledWhatItSays(t *testing.T) {
	for _, name := range []string{"auto", "planes", "imported"} {
		for _, missing := range []int{0, 1, 40} {
			t.Run(fmt.Sprintf("%s/%d", name, missing), func(t *testing.T) {
				s, stop := stacked(t, firestored.Options{})
				defer stop()
				all := ids(name, 1100, 1)
				state, missed := stray(len(all), missing, 8)
				fill(t, s.Queue, all, state)
				before := s.server.Usage().Reads
				got, result := search(t, s.Queue)
				if !slices.Equal(got, wanted(all, missed)) {
					t.Errorf("found %q", got)
				}
				if billed := s.server.Usage().Reads - before; int64(result.Reads) != billed || result.Documents != len(all) || result.Missing != missing {
					t.Errorf("%+v, billed %d", result, billed)
				}
			})
		}
	}
}

func TestAuditFindsOneAmongTwentyThousand(t *testing.T) {
	s, stop := stacked(t, firestored.Options{})
	defer stop()
	all := ids("auto", 20_000, 1)
	fill(t, s.Queue, all, func(i int, _ string) string {
		return map[bool]string{true: "", false: "SUCCESS"}[i == 12_345]
	})
	before := s.server.Usage().Reads
	got, _ := search(t, s.Queue)
	if billed := s.server.Usage().Reads - before; billed > 150 || !slices.Equal(got, all[12_345:12_346]) {
		t.Errorf("found %q for %d reads", got, billed)
	}
}

// Google's emulator bills nothing, but counts as Firestore does.
func TestAuditOverGooglesEmulator(t *testing.T) {
	for _, name := range []string{"planes", "imported"} {
		s := open(t, "mail")
		all := ids(name, 300, 1)
		state, missed := stray(len(all), 3, 8)
		fill(t, s.Queue, all, state)
		if got, result := search(t, s.Queue); !slices.Equal(got, wanted(all, missed)) || result.Documents != len(all) {
			t.Errorf("%s: found %q, %+v", name, got, result)
		}
	}
}

// Whatever happens to one call in so many, all is found. They are few enough that
// no call fails so often that it is given up.
func TestAuditSurvivesFaults(t *testing.T) {
	for name, fault := range map[string]firestored.StreamFault{
		"unavailable": {Cut: codes.Unavailable},
		"aborted":     {Cut: codes.Aborted},
		"exhausted":   {Cut: codes.ResourceExhausted},
		"internal":    {Cut: codes.Internal},
		"silent":      {Silent: true},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s, stop := stacked(t, firestored.Options{})
				defer stop()
				all := ids("auto", 1200, 1)
				state, missed := stray(len(all), 60, 8)
				fill(t, s.Queue, all, state)
				var calls atomic.Int64
				s.server.SetFaults(firestored.Faults{Stream: func(method string, sent int) firestored.StreamFault {
					if method != "BatchWrite" && calls.Add(1)%64 == 0 {
						return fault
					}
					return firestored.StreamFault{}
				}})
				got, _ := search(t, s.Queue)
				if !slices.Equal(slices.Compact(got), wanted(all, missed)) {
					t.Errorf("found %d of %d", len(got), len(missed))
				}
			})
		})
	}
}

// One that may not read says so at once, and what to do.
func TestAuditThatIsRefusedNamesTheRemedy(t *testing.T) {
	for code, remedy := range map[codes.Code]string{
		codes.PermissionDenied:   "roles/datastore.user",
		codes.NotFound:           "GOOGLE_CLOUD_PROJECT",
		codes.FailedPrecondition: "firestore.indexes.json",
	} {
		s, stop := stacked(t, firestored.Options{})
		fill(t, s.Queue, []string{"a"}, func(int, string) string { return "" })
		var calls atomic.Int64
		s.server.SetFaults(firestored.Faults{Stream: func(method string, _ int) firestored.StreamFault {
			if method != "RunAggregationQuery" || calls.Add(1) <= 2 { // the first is asked about twice
				return firestored.StreamFault{}
			}
			return firestored.StreamFault{Cut: code}
		}})
		_, err := s.Audit(t.Context(), func(context.Context, delivery.Snapshot) error { return nil })
		if status.Code(err) != code || !strings.Contains(err.Error(), remedy) || calls.Load() > 3 {
			t.Errorf("%v: %v after %d calls", code, err, calls.Load())
		}
		stop()
	}
}

// A range begins with its first ID and ends before its last.
func TestRangeHoldsItsFirstAndNotItsLast(t *testing.T) {
	s, stop := stacked(t, firestored.Options{})
	defer stop()
	fill(t, s.Queue, []string{"a", "b", "c", "d", "e"}, func(i int, _ string) string { return []string{"SUCCESS", "", "ERROR", "HELD", ""}[i] })
	c := counter{s.Queue}
	_, at, err := c.begin(t.Context(), 1)
	if err != nil {
		t.Fatal(err)
	}
	l := &ledger{at, own()}
	for r, want := range map[span]string{
		{"", ""}:   "5 of abcde, 2 known, from a to c",
		{"b", "e"}: "3 of bcd, 1 known, from c to c",
		{"b", ""}:  "4 of bcde, 1 known, from c to c",
		{"", "c"}:  "2 of ab, 1 known, from a to a",
		{"d", "e"}: "1 of d, 0 known, from  to ",
	} {
		all := ""
		n, err1 := c.count(t.Context(), r, l, false)
		known, err2 := c.count(t.Context(), r, l, true)
		first, last, err3 := c.edges(t.Context(), r, l)
		err4 := c.read(t.Context(), r, func(_ context.Context, d *pb.Document) error {
			all += idOf(d.GetName())
			return nil
		})
		got := fmt.Sprintf("%d of %s, %d known, from %s to %s", n, all, known, first, last)
		if err := errors.Join(err1, err2, err3, err4); err != nil || got != want {
			t.Errorf("%v: %s, %v, want %s", r, got, err, want)
		}
	}
}

// Both counts are made at one moment: what comes between them hides nothing.
func TestAuditCountsAtOneMoment(t *testing.T) {
	s, stop := stacked(t, firestored.Options{})
	defer stop()
	fill(t, s.Queue, []string{"a", "b"}, func(i int, _ string) string { return []string{"", "SUCCESS"}[i] })
	var calls atomic.Int64
	s.server.SetFaults(firestored.Faults{Stream: func(method string, sent int) firestored.StreamFault {
		if method == "RunAggregationQuery" && sent == 0 && calls.Add(1) == 2 {
			fill(t, s.Queue, []string{"c"}, func(int, string) string { return "SUCCESS" })
		}
		return firestored.StreamFault{}
	}})
	if got, _ := search(t, s.Queue); !slices.Equal(got, []string{"a"}) {
		t.Errorf("found %q", got)
	}
}

// Firestore keeps a moment for an hour; the server keeps it for so many changes.
func TestAuditIsCountedAnewWhereItsMomentIsForgotten(t *testing.T) {
	s, stop := stacked(t, firestored.Options{History: 100})
	defer stop()
	all := ids("auto", 12_000, 1)
	state, missed := stray(len(all), 60, 8)
	fill(t, s.Queue, all, state)
	var got []string
	n := 0
	result, err := s.Audit(t.Context(), func(ctx context.Context, found delivery.Snapshot) error {
		got = append(got, found.ID)
		if n++; n%20 == 1 {
			fill(t, s.Queue, ids("order", 200, 1), func(int, string) string { return "SUCCESS" })
		}
		return nil
	})
	slices.Sort(got)
	if err != nil || !slices.Equal(slices.Compact(got), wanted(all, missed)) {
		t.Errorf("found %d of %d: %v, %+v", len(got), len(missed), err, result)
	}
}

// Where Firestore has no index for the last document, the range is divided
// without it.
func TestEdgesWithoutTheirIndex(t *testing.T) {
	q := serve(t, &troubled{query: func(_ int, r *pb.RunQueryRequest, s pb.Firestore_RunQueryServer) error {
		if r.GetReadTime() == nil {
			t.Error("asks for the present edges")
		}
		if r.GetStructuredQuery().GetOrderBy()[0].GetDirection() == pb.StructuredQuery_DESCENDING {
			return status.Error(codes.FailedPrecondition, "The query requires an index.")
		}
		return s.Send(&pb.RunQueryResponse{Document: change("a").GetDocumentChange().GetDocument()})
	}})
	first, last, err := counter{q}.edges(t.Context(), span{}, &ledger{timestamppb.New(present), own()})
	if first != "a" || last != "" || err != nil {
		t.Errorf("%q, %q, %v", first, last, err)
	}
}

// A hundred thousand documents; of a million cmd/postrider's BenchmarkRestart
// tells.
func BenchmarkAuditInTheServer(b *testing.B) {
	all := ids("auto", 100_000, 1)
	for _, missing := range []int{0, 1, 100} {
		b.Run(fmt.Sprint(missing), func(b *testing.B) {
			s, stop := stacked(b, firestored.Options{})
			defer stop()
			state, _ := stray(len(all), missing, 3)
			fill(b, s.Queue, all, state)
			before := s.server.Usage()
			for b.Loop() {
				if got, _ := search(b, s.Queue); len(got) != missing {
					b.Errorf("found %d", len(got))
				}
			}
			b.ReportMetric(float64(s.server.Usage().Reads-before.Reads)/float64(b.N), "reads/op")
			b.ReportMetric(float64(s.server.Usage().Requests-before.Requests)/float64(b.N), "requests/op")
		})
	}
}
