package firestored

import (
	"context"
	"fmt"
	"os"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	pb "cloud.google.com/go/firestore/apiv1/firestorepb"
	"google.golang.org/genproto/googleapis/rpc/code"

	"postrider/delivery/firestored/query"
)

// mail is a document as the mail collection has them once they are sent.
func mail(i int) fields {
	return fields{
		"to":         values(text(fmt.Sprintf("someone.%d@example.com", i))),
		"from":       text("The Shop <shop@example.com>"),
		"replyTo":    text("help@example.com"),
		"categories": values(text("receipt")),
		"uid":        text(fmt.Sprintf("u%d", i)),
		"priority":   integer(i % 3),
		"test":       boolean(false),
		"createdAt":  {ValueType: &pb.Value_TimestampValue{TimestampValue: timestamp(1_700_000_000_000_000 + int64(i))}},
		"message": object(fields{
			"subject": text(fmt.Sprintf("Your order %d", i)),
			"text":    text("Thank you for your order. It is on its way to you and should arrive within three days."),
		}),
		"delivery": delivery("SUCCESS", i),
	}
}

func delivery(state string, attempts int) *pb.Value {
	at := &pb.Value{ValueType: &pb.Value_TimestampValue{TimestampValue: timestamp(1_700_000_000_000_000 + int64(attempts))}}
	return object(fields{
		"state": text(state), "attempts": integer(attempts), "startTime": at, "endTime": at, "error": null(),
		"info": object(fields{"messageId": text("<5f2c1e@example.com>"), "response": text("250 2.0.0 OK")}),
	})
}

// mailPath is the path of a mail whose ID is as long as the service's own.
func mailPath(i int) string { return fmt.Sprintf("mail/%020d", i) }

// load puts n mails in, 500 in a request.
func load(r *rig, n int) {
	r.Helper()
	for i := 0; i < n; {
		request := &pb.BatchWriteRequest{Database: r.name}
		for ; i < n && len(request.Writes) < maxBatch; i++ {
			request.Writes = append(request.Writes, r.set(mailPath(i), mail(i)))
		}
		if _, err := r.client.BatchWrite(context.Background(), request); err != nil {
			r.Fatal(err)
		}
	}
}

// BenchmarkConditionalWrites updates documents on condition of their update
// times, as claims and outcomes do: one operation is one write. The clients
// share the process and its processors with the server.
func BenchmarkConditionalWrites(b *testing.B) {
	for _, size := range []int{1, 20, 50, 100} {
		for _, clients := range []int{1, 2, 8} {
			b.Run(fmt.Sprintf("batch=%d/clients=%d", size, clients), func(b *testing.B) {
				benchConditionalWrites(b, size, clients)
			})
		}
	}
}

func benchConditionalWrites(b *testing.B, size, clients int) {
	r := newRig(b, Options{})
	load(r, size*clients)
	var left atomic.Int64
	left.Store(int64(b.N))
	var running sync.WaitGroup
	b.ReportAllocs()
	before := processor()
	b.ResetTimer()
	for c := range clients {
		running.Go(func() {
			updates := make([]int64, size)
			for i := range updates {
				updates[i] = r.db.headOf(mailPath(c*size + i)).update
			}
			for round := 1; left.Add(int64(-size)) > int64(-size); round++ {
				writeRound(r, c*size, round, updates)
			}
		})
	}
	running.Wait()
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "writes/s")
	b.ReportMetric(float64(processor()-before)/float64(b.N), "cpu-ns/op")
}

// processor returns the processor time that the process has used. Unlike time
// it does not depend on what else the machine does.
func processor() time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// headOf is head for a test, which holds no lock.
func (db *database) headOf(path string) *version {
	db.mu.RLock()
	defer db.mu.RUnlock()
	return db.head(path)
}

// writeRound makes one BatchWrite of the mails from first on.
func writeRound(r *rig, first, round int, updates []int64) {
	request := &pb.BatchWriteRequest{Database: r.name}
	for i, at := range updates {
		w := r.update(mailPath(first+i), fields{"delivery": delivery("PROCESSING", round)},
			"delivery.state", "delivery.attempts", "delivery.startTime", "delivery.endTime", "delivery.error", "delivery.info")
		request.Writes = append(request.Writes, ifUpdated(w, at))
	}
	response, err := r.client.BatchWrite(context.Background(), request)
	if err != nil {
		r.Error(err)
		return
	}
	for i, s := range response.GetStatus() {
		if s.GetCode() != int32(code.Code_OK) {
			r.Errorf("write %d: %v", i, s)
		}
		updates[i] = response.GetWriteResults()[i].GetUpdateTime().AsTime().UnixMicro()
	}
}

// BenchmarkMillionDocuments loads 1,000,000 mails through gRPC and reports what
// they take, of the heap and of the process with its clients.
func BenchmarkMillionDocuments(b *testing.B) {
	for b.Loop() {
		r, stop := startRig(b, Options{})
		before := heap()
		load(r, million)
		taken := float64(heap() - before)
		b.ReportMetric(taken/million, "B/document")
		b.ReportMetric(float64(resident())/(1<<20), "MiB-resident")
		stop()
	}
}

const million = 1_000_000

// BenchmarkCountAmongMillion asks a collection of 1,000,000 mails what an index
// tells.
func BenchmarkCountAmongMillion(b *testing.B) {
	r := newRig(b, Options{})
	load(r, million)
	b.Run("a range", func(b *testing.B) { benchCount(b, r, million, false) })
	b.Run("a state in a range", func(b *testing.B) { benchCount(b, r, million, true) })
	b.Run("without gRPC", func(b *testing.B) { benchDirectCount(b, r, million) })
	b.Run("sweep of a hundred", func(b *testing.B) { benchSweep(b, r, million) })
}

func heap() uint64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}

// resident returns the bytes that the process takes, 0 where nobody tells.
func resident() int {
	status, err := os.ReadFile("/proc/self/status")
	if err != nil {
		return 0
	}
	_, rest, _ := strings.Cut(string(status), "VmRSS:")
	kib, _ := strconv.Atoi(strings.Fields(rest)[0])
	return kib << 10
}

// ranged selects the middle four fifths of the mails, and with states those that
// have one of some.
func ranged(r *rig, n int, states bool) *pb.StructuredQuery {
	filters := []*pb.StructuredQuery_Filter{
		where("__name__", pb.StructuredQuery_FieldFilter_GREATER_THAN_OR_EQUAL, r.reference(mailPath(n/10))),
		where("__name__", pb.StructuredQuery_FieldFilter_LESS_THAN, r.reference(mailPath(n-n/10))),
	}
	if states {
		filters = append(filters, where("delivery.state", pb.StructuredQuery_FieldFilter_IN, values(text("SUCCESS"), text("ERROR"), text("PENDING"))))
	}
	q := selectFrom("mail")
	q.Where = and(filters...)
	return q
}

func benchCount(b *testing.B, r *rig, n int, states bool) {
	q := ranged(r, n, states)
	r.count(q, 0) // builds the index
	for b.Loop() {
		if got := r.count(q, 0); got != int64(n-n/5) {
			b.Fatalf("counted %d", got)
		}
	}
}

func benchDirectCount(b *testing.B, r *rig, n int) {
	q, err := query.Parse(r.root, ranged(r, n, true))
	if err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		v, err := r.db.view(0)
		if err != nil {
			b.Fatal(err)
		}
		if got, _, err := v.count(q); err != nil || got != n-n/5 {
			b.Fatalf("counted %d, %v", got, err)
		}
	}
}

func benchSweep(b *testing.B, r *rig, n int) {
	for i := range 100 {
		r.mustCommit(r.update(mailPath(i*n/100), fields{"delivery": delivery("RETRY", i)}, "delivery"))
	}
	q := selectFrom("mail")
	q.Where = where("delivery.state", pb.StructuredQuery_FieldFilter_IN, values(text("PENDING"), text("RETRY"), text("PROCESSING")))
	for b.Loop() {
		paths, _, err := r.find(&pb.RunQueryRequest{QueryType: structured(q)})
		if err != nil || len(paths) != 100 {
			b.Fatalf("found %d: %v", len(paths), err)
		}
	}
}

// count counts what a query finds; upTo 0 is no bound.
func (r *rig) count(q *pb.StructuredQuery, upTo int64) int64 {
	r.Helper()
	response, err := r.aggregate(q, &pb.StructuredAggregationQuery_Aggregation{Alias: "n", Operator: countUpTo(upTo)})
	if err != nil {
		r.Fatal(err)
	}
	return response.GetResult().GetAggregateFields()["n"].GetIntegerValue()
}
