package main

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"sync"
	"time"

	pb "cloud.google.com/go/firestore/apiv1/firestorepb"
	"golang.org/x/sync/errgroup"
)

const (
	wave     = 500      // documents that are added at once
	ahead    = 1500     // documents that wait, at most
	flat     = 1.15     // memory after many mails, to that after fewer
	large    = 20 << 20 // bytes of an attachment
	copies   = 5        // of it in memory
	lookEach = 20 * time.Millisecond
)

// measureMemory measures the memory over many mails and with attachments, and
// prints that of the drains, if they were measured.
func measureMemory(ctx context.Context, r *rig) error {
	at, err := r.inMemory(ctx)
	if err != nil {
		return err
	}
	r.table.part("5. memory of the worker's process, resident", "fewer mails")
	for _, c := range r.drained {
		r.table.add(line{name: "at most, " + c.name, unit: "MB", ours: c.peak, target: target{most: 80}})
	}
	if err := r.flatMemory(ctx, at); err != nil {
		return fmt.Errorf("many mails: %w", err)
	}
	var most float64
	for range r.sizes.rounds {
		times, err := r.attachmentMemory(ctx, at)
		if err != nil {
			return fmt.Errorf("an attachment: %w", err)
		}
		most = max(most, times)
	}
	r.table.add(line{name: "a mail with an attachment of 20 MB: peak less idle peak, by its size", unit: "times", ours: most, target: target{most: copies}})
	return nil
}

// stretch is a collection to which documents are added steadily, and from which
// they are taken when their mails are sent.
type stretch struct {
	box    *outbox
	mail   sink
	worker *worker
	before int // mails that the server had taken
	total  int

	resident []reading // of one goroutine
}

// reading is a worker's resident memory after so many mails.
type reading struct {
	mails int
	size  float64 // MB
}

// flatMemory has many mails sent, and prints the memory after some and after all.
func (r *rig) flatMemory(ctx context.Context, at *site) error {
	mail, err := r.sink(ctx)
	if err != nil {
		return err
	}
	s := &stretch{box: r.outbox(at), mail: mail, total: r.sizes.marks[len(r.sizes.marks)-1]}
	if s.before, err = mail.taken(); err != nil {
		return err
	}
	if s.worker, err = r.start(ctx, at.address, s.box, mail.address, nil, "SOURCE=listen"); err != nil {
		return err
	}
	if err := s.worker.awaitReady(ctx); err != nil {
		return err
	}
	group, ctx := errgroup.WithContext(ctx)
	sent := make(chan struct{})
	group.Go(func() error { return s.add(ctx) })
	group.Go(func() error { return s.remove(ctx, sent) })
	group.Go(func() error { defer close(sent); return s.watch(ctx) })
	if err := group.Wait(); err != nil {
		return fmt.Errorf("%w\n%s", err, s.worker.said())
	}
	u, err := s.worker.stop()
	if err != nil {
		return err
	}
	if err := exactly(mail, s.before, s.total); err != nil {
		return err
	}
	s.print(r, u.peak)
	return nil
}

func (s *stretch) print(r *rig, peak float64) {
	first := 0.0
	for i, mark := range r.sizes.marks {
		l := line{name: fmt.Sprintf("after %d mails", mark), unit: "MB", ours: s.at(mark, r.sizes.marks[0])}
		if i == 0 {
			first = l.ours
		}
		if mark == s.total {
			l.theirs, l.target = first, target{mostRatio: flat}
			l.name += ", to that after " + fmt.Sprint(r.sizes.marks[0])
		}
		r.table.add(l)
	}
	r.table.add(line{name: "  at most", unit: "MB", ours: peak, target: target{most: 80}})
}

// at returns the memory after a number of mails: the median of what was read
// while the last ones of them, half a span, were sent.
func (s *stretch) at(mails, span int) float64 {
	var sizes []float64
	for _, r := range s.resident {
		if r.mails <= mails && r.mails > mails-span/2 {
			sizes = append(sizes, r.size)
		}
	}
	return median(sizes)
}

func (s *stretch) sent() (int, error) {
	taken, err := s.mail.taken()
	return taken - s.before, err
}

// add adds the documents, not too many ahead of what is sent.
func (s *stretch) add(ctx context.Context) error {
	for added := 0; added < s.total; {
		n, err := s.sent()
		if err != nil {
			return err
		}
		if added-n < ahead {
			some := min(wave, s.total-added)
			if err := s.box.fill(ctx, some); err != nil {
				return err
			}
			added += some
			continue
		}
		await(ctx, lookEach)
		if ctx.Err() != nil {
			return ctx.Err()
		}
	}
	return nil
}

// watch reads the memory until all mails are sent and recorded.
func (s *stretch) watch(ctx context.Context) error {
	last, since := 0, time.Now()
	for last < s.total {
		n, err := s.sent()
		if err != nil {
			return err
		}
		size, err := s.worker.resident("VmRSS")
		if err != nil {
			return err
		}
		s.resident = append(s.resident, reading{n, size})
		if n > last {
			last, since = n, time.Now()
		}
		if time.Since(since) > longest {
			return fmt.Errorf("%v without a mail after %d", longest, n)
		}
		await(ctx, lookEach)
		if ctx.Err() != nil {
			return ctx.Err()
		}
	}
	return s.box.settled(ctx)
}

// remove takes documents away whose mails are sent, until all are.
func (s *stretch) remove(ctx context.Context, sent <-chan struct{}) error {
	for {
		var names []*pb.Write
		err := s.box.find(ctx, []string{pathName}, state("SUCCESS"), func(d *pb.Document) {
			names = append(names, &pb.Write{Operation: &pb.Write_Delete{Delete: d.GetName()}})
		})
		if err != nil {
			return err
		}
		for len(names) > 0 {
			n := min(len(names), maxBatch)
			if _, err := s.box.apply(ctx, names[:n]); err != nil {
				return err
			}
			names = names[n:]
		}
		select {
		case <-sent:
			return nil
		default:
			await(ctx, 10*lookEach)
		}
	}
}

// attachmentMemory sends a mail with a large attachment that comes by HTTP, and
// returns how much that has raised the peak, in sizes of the attachment.
func (r *rig) attachmentMemory(ctx context.Context, at *site) (float64, error) {
	mail, err := r.sink(ctx)
	if err != nil {
		return 0, err
	}
	address, closeFiles, err := serveFile(ctx)
	if err != nil {
		return 0, err
	}
	defer closeFiles()
	o := r.outbox(at)
	p, err := r.start(ctx, at.address, o, mail.address, nil, "SOURCE=listen", "ATTACHMENT_ALLOW_HOSTS=127.0.0.1")
	if err != nil {
		return 0, err
	}
	if err := p.awaitReady(ctx); err != nil {
		return 0, err
	}
	if err := sentAll(ctx, o, mail, 1, func() error { return o.fill(ctx, 1) }); err != nil {
		return 0, err
	}
	idle, err := p.resident("VmHWM")
	if err != nil {
		return 0, err
	}
	file := field{"attachments", list(fields(field{"filename", text("file.bin")}, field{"path", text("http://" + address + "/file.bin")}))}
	err = sentAll(ctx, o, mail, 1, func() error {
		_, err := o.apply(ctx, []*pb.Write{o.creation(file)})
		return err
	})
	if err != nil {
		return 0, fmt.Errorf("%w\n%s", err, p.said())
	}
	u, err := p.stop()
	return (u.peak - idle) * 1e6 / large, err
}

// serveFile serves the attachment on a port of this machine.
func serveFile(ctx context.Context) (address string, stop func(), err error) {
	listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return "", nil, fmt.Errorf("listen for who fetches attachments: %w", err)
	}
	file := make([]byte, large)
	for i := range file {
		file[i] = byte(i * i >> 7)
	}
	server := &http.Server{ReadHeaderTimeout: longest, Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/octet-stream")
		_, _ = w.Write(file)
	})}
	var serving sync.WaitGroup
	serving.Go(func() { _ = server.Serve(listener) })
	return listener.Addr().String(), func() {
		_ = server.Close()
		serving.Wait()
	}, nil
}

// await lets d pass, or less if ctx ends.
func await(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}
