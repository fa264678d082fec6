package main

import (
	"bufio"
	"bytes"
	"fmt"
	"math/rand/v2"
	"net/textproto"
	"testing"
	"time"

	pb "cloud.google.com/go/firestore/apiv1/firestorepb"

	"postrider/delivery"
	"postrider/smtp/smtptest"
)

const (
	benchInstances = 4
	benchShared    = 5_000 // documents
	benchHands     = 64    // the default of CONCURRENCY
)

// BenchmarkInstances has four instances work one collection, to which 5,000
// documents are added at once: how many claims are in vain, and how even the
// shares are. Each mail must be sent once. Then one instance is killed half-way:
// the mails that it had in hand may be sent or not, and nobody can tell; all
// others must be sent once.
func BenchmarkInstances(b *testing.B) {
	bin, server := build(b), newBackend(b)
	for _, killed := range []bool{false, true} {
		name := "all live"
		if killed {
			name = "one killed"
		}
		b.Run(name, func(b *testing.B) {
			for b.Loop() {
				instancesOnce(b, bin, server, killed)
			}
			b.ReportMetric(0, "ns/op")
		})
	}
}

func instancesOnce(b *testing.B, bin string, server *backend, kill bool) {
	b.Helper()
	project := newProject()
	sink, err := smtptest.Start(smtptest.Behaviour{})
	if err != nil {
		b.Fatal(err)
	}
	defer sink.Close()
	workers := startInstances(b, bin, server, project, sink.Addr())
	docs := observe(b, server, project)
	began := time.Now()
	server.addAtOnce(b, project, benchShared)
	dead := began
	if kill {
		docs.await(b, func(s sums) bool { return s.ended >= benchShared/2 })
		workers[0].kill()
		workers, dead = workers[1:], time.Now()
	}
	docs.await(b, func(s sums) bool { return s.ended == benchShared })
	all := docs.stop()
	uncertain := judgeMails(b, all, accepted(b, sink))
	if allowed := benchHands; kill && uncertain > allowed {
		b.Errorf("%d mails are in question, more than %d", uncertain, allowed)
	} else if !kill && uncertain > 0 {
		b.Errorf("%d mails are in question", uncertain)
	}
	var end time.Time
	for _, d := range all {
		if d.ended.After(end) {
			end = d.ended
		}
	}
	if kill {
		b.ReportMetric(end.Sub(dead).Seconds(), "s-from-kill-to-end")
		b.ReportMetric(float64(uncertain), "mails-in-question")
	} else {
		b.ReportMetric(benchShared/end.Sub(began).Seconds(), "mails/s")
	}
	reportClaims(b, workers, kill)
	for _, w := range workers {
		w.stop(b)
	}
}

// startInstances starts the instances and waits until each knows all of them and
// watches.
func startInstances(b *testing.B, bin string, server *backend, project, sink string) []*process {
	b.Helper()
	var workers []*process
	for range benchInstances {
		workers = append(workers, startWorker(b, bin, server, project, sink,
			"LEASE_DURATION=10s", "LEASE_MARGIN=2s", "SWEEP_INTERVAL=1s", fmt.Sprintf("CONCURRENCY=%d", benchHands)))
	}
	for _, w := range workers {
		w.awaitWatch(b)
		poll(b, "the instances to know each other", func() bool { return w.metric(b, "postrider_instances") == benchInstances })
	}
	server.awaitState(b, project, "auditTime") // the first audit would look into what is just being added
	return workers
}

// addAtOnce adds n documents as fast as it can.
func (s *backend) addAtOnce(b *testing.B, project string, n int) {
	b.Helper()
	for n > 0 {
		var writes []*pb.Write
		for range min(n, 500) {
			writes = append(writes, creation(project, newID(rand.Uint64)))
		}
		s.apply(b, project, writes)
		n -= len(writes)
	}
}

// accepted returns how often each mail was accepted, by its subject, which is
// its document's ID.
func accepted(b *testing.B, sink *smtptest.Server) map[string]int {
	b.Helper()
	times := map[string]int{}
	for _, t := range sink.Transactions() {
		if t.Data == nil {
			continue // its final dot never came
		}
		header, err := textproto.NewReader(bufio.NewReader(bytes.NewReader(t.Data))).ReadMIMEHeader()
		if err != nil {
			b.Fatal(err)
		}
		times[header.Get("Subject")]++
	}
	return times
}

// judgeMails checks that what documents say is what was sent, and returns how
// many don't know: those whose lease lapsed.
func judgeMails(b *testing.B, docs map[string]*passage, sent map[string]int) (uncertain int) {
	b.Helper()
	unsent := 0
	for id, d := range docs {
		switch {
		case d.state == "SUCCESS" && sent[id] == 1:
		case d.state == "ERROR" && d.failure == delivery.LeaseExpired && sent[id] <= 1:
			uncertain++
			unsent += 1 - sent[id]
		default:
			b.Errorf("%s is in %s (%s), and its mail was sent %d times", id, d.state, d.failure, sent[id])
		}
	}
	if uncertain > 0 {
		b.Logf("of %d mails in question %d were not sent", uncertain, unsent)
	}
	return uncertain
}

// reportClaims reports how many claims were in vain, and the shares of the
// instances.
func reportClaims(b *testing.B, workers []*process, killed bool) {
	b.Helper()
	var lost, won, least, most float64
	for i, w := range workers {
		n := w.metric(b, `postrider_claims_total{result="won"}`)
		if least, most = min(least, n), max(most, n); i == 0 {
			least = n
		}
		won += n
		lost += w.metric(b, `postrider_claims_total{result="lost"}`)
	}
	b.ReportMetric(100*lost/(won+lost), "%claims-in-vain")
	if !killed {
		b.ReportMetric(100*least/won, "%least-share")
		b.ReportMetric(100*most/won, "%largest-share")
	}
}
