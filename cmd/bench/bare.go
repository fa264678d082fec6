package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"sync"
	"syscall"
	"time"

	pb "cloud.google.com/go/firestore/apiv1/firestorepb"
	"golang.org/x/sync/errgroup"
)

// What the worker has by default, and its bare limit too. The worker makes more
// requests at once only where the fastest answer takes 5 ms or more
// (delivery/queue/batch.go): from these servers, on the same machine, one comes
// sooner, so that it makes two.
const (
	hands       = 64 // CONCURRENCY: mails at once
	connections = 16 // SMTP_MAX_CONNECTIONS
	flights     = 2  // requests that write, at once
)

// The modes of the bare limit. Beside a watch it watches the collection, too, as
// who listens has to, and does nothing about what it is told. One by one each
// write is a request of its own: the loop that somebody writes who does not group.
const (
	besideWatch = "watch"
	oneByOne    = "one"
)

// bareResult is what a run of the bare limit took.
type bareResult struct {
	Took time.Duration // from the first claim to the last finish
	CPU  time.Duration // of the process, meanwhile
}

// playBare is the bare limit of sending mails: it reads which documents there
// are, opens its connections, and on a question makes the two writes and the
// transaction of each mail. It answers with a bareResult.
//
// It is what a plain program does, not what nothing can beat. Its transaction is
// pipelined but takes two round trips, the envelope and then the message: it has no
// lookahead, by which the worker's pool sends the next envelope along with a
// message (RFC 2920 §3.1). That takes a queue of mails and a rule for each way in
// which a session breaks between two of them, and such rules are the logic that a
// bare limit is without. So the worker can save here what its own logic costs, and
// a ratio above 1 is possible.
func playBare(ctx context.Context, args []string, in io.Reader, out io.Writer) error {
	if len(args) < 3 {
		return errors.New("usage: FIRESTORE PROJECT SMTP [MODE]")
	}
	b, err := newBare(ctx, args[0], args[1], args[2])
	if err != nil {
		return err
	}
	end := func() error { return nil }
	b.oneByOne = slices.Contains(args[3:], oneByOne)
	if slices.Contains(args[3:], besideWatch) {
		if end, err = b.box.ignore(ctx); err != nil {
			return err
		}
	}
	err = answer("ready", in, out, func([]string) (string, error) {
		began, used := time.Now(), ownCPU()
		if err := b.run(ctx); err != nil {
			return "", err
		}
		said, err := json.Marshal(bareResult{time.Since(began), ownCPU() - used})
		return string(said), err
	})
	for range cap(b.wires) {
		w := <-b.wires
		_ = w.conn.Close()
	}
	return errors.Join(err, end(), b.box.client.Close())
}

// ownCPU returns the time that this process has computed.
func ownCPU() time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// bare is the bare limit.
type bare struct {
	box   *outbox
	wires chan *wire // that are free
	due   []*pb.Document

	oneByOne bool

	mu      sync.Mutex // of what follows; requests group as the worker's do
	flying  int
	waiting []*bareWrite
	group   sync.WaitGroup
}

// bareWrite is a write that waits for its answer.
type bareWrite struct {
	write *pb.Write
	done  chan struct{} // closed once the rest is set
	after *pb.WriteResult
	err   error
}

func newBare(ctx context.Context, firestore, project, smtp string) (*bare, error) {
	client, err := connect(ctx, firestore)
	if err != nil {
		return nil, err
	}
	b := &bare{box: &outbox{client: client, project: project}, wires: make(chan *wire, connections)}
	if err := b.box.find(ctx, []string{"to"}, nil, func(d *pb.Document) { b.due = append(b.due, d) }); err != nil {
		return nil, err
	}
	for range connections {
		w, err := dial(ctx, smtp)
		if err != nil {
			return nil, err
		}
		b.wires <- w
	}
	return b, nil
}

// run sends all mails.
func (b *bare) run(ctx context.Context) error {
	all := make(chan *pb.Document, len(b.due))
	for _, d := range b.due {
		all <- d
	}
	close(all)
	group, ctx := errgroup.WithContext(ctx)
	for range hands {
		group.Go(func() error {
			for d := range all {
				if err := b.mail(ctx, d); err != nil {
					return err
				}
			}
			return nil
		})
	}
	err := group.Wait()
	b.group.Wait()
	return err
}

// mail makes the two writes and the transaction of one mail.
func (b *bare) mail(ctx context.Context, d *pb.Document) error {
	claimed, err := b.write(ctx, update(d.GetName(), bareClaim(), &pb.WriteResult{UpdateTime: d.GetUpdateTime()}))
	if err != nil {
		return fmt.Errorf("claim: %w", err)
	}
	w := <-b.wires
	err = w.send()
	b.wires <- w
	if err != nil {
		return err
	}
	if _, err := b.write(ctx, update(d.GetName(), bareFinish(), claimed)); err != nil {
		return fmt.Errorf("finish: %w", err)
	}
	return nil
}

// write makes one write, with others that come meanwhile, or alone.
func (b *bare) write(ctx context.Context, w *pb.Write) (*pb.WriteResult, error) {
	if b.oneByOne {
		results, err := b.box.apply(ctx, []*pb.Write{w})
		if err != nil {
			return nil, err
		}
		return results[0], nil
	}
	mine := &bareWrite{write: w, done: make(chan struct{})}
	b.mu.Lock()
	b.waiting = append(b.waiting, mine)
	if b.flying < flights {
		b.flying++
		b.group.Go(func() { b.fly(ctx) })
	}
	b.mu.Unlock()
	<-mine.done
	return mine.after, mine.err
}

// fly makes requests until nothing waits.
func (b *bare) fly(ctx context.Context) {
	for {
		b.mu.Lock()
		n := min(len(b.waiting), maxBatch)
		if n == 0 {
			b.flying--
			b.mu.Unlock()
			return
		}
		some := b.waiting[:n:n]
		b.waiting = b.waiting[n:]
		b.mu.Unlock()
		writes := make([]*pb.Write, n)
		for i, w := range some {
			writes[i] = w.write
		}
		results, err := b.box.apply(ctx, writes)
		for i, w := range some {
			if w.err = err; err == nil {
				w.after = results[i]
			}
			close(w.done)
		}
	}
}

// update returns a write of fields of a document's record, on condition that the
// document is as it was after another.
func update(name string, record []field, after *pb.WriteResult) *pb.Write {
	mask := &pb.DocumentMask{}
	for _, f := range record {
		mask.FieldPaths = append(mask.FieldPaths, "delivery."+f.name)
	}
	return &pb.Write{
		Operation: &pb.Write_Update{Update: &pb.Document{
			Name: name, Fields: map[string]*pb.Value{"delivery": fields(record...)},
		}},
		UpdateMask:      mask,
		CurrentDocument: &pb.Precondition{ConditionType: &pb.Precondition_UpdateTime{UpdateTime: after.GetUpdateTime()}},
	}
}

// bareClaim returns what a claim writes.
func bareClaim() []field {
	now := time.Now()
	return []field{
		{"state", text("PROCESSING")},
		{"startTime", moment(now)},
		{"attempts", whole(0)},
		{"error", none()},
		{"leaseId", text("6f1b0a4e-6c7a-4c1e-9a55-0d7c2f3b8e11")},
		{"leaseExpireTime", moment(now.Add(time.Minute))},
	}
}

// bareFinish returns what the end of an attempt writes.
func bareFinish() []field {
	return []field{
		{"state", text("SUCCESS")},
		{"attempts", whole(1)},
		{"endTime", moment(time.Now())},
		{"leaseExpireTime", none()},
		{"error", none()},
		{"outcome", fields(field{"class", text("delivered")}, field{"phase", text("message")}, field{"code", whole(250)})},
		{"recipients", list(fields(
			field{"address", text("ada@rcpt.test")}, field{"status", text("accepted")}, field{"code", whole(250)},
			field{"enhancedCode", text("2.1.5")}, field{"reply", text("250 2.1.5 Ok")}, field{"attempt", whole(1)},
		))},
		{"info", fields(
			field{"messageId", text("<6f1b0a4e-6c7a-4c1e-9a55-0d7c2f3b8e11@sender.test>")}, field{"accepted", list(text("ada@rcpt.test"))},
			field{"rejected", list()}, field{"pending", list()}, field{"response", text("250 2.0.0 Ok: queued as SINK")}, field{"sendgridQueueId", none()},
		)},
	}
}
