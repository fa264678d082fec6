package main

import (
	"syscall"
	"testing"
	"time"
)

const benchMails = 2000

// BenchmarkDrain takes 2,000 waiting documents to SUCCESS with the built
// program, over the emulator and a server that takes everything. The emulator
// and the server share the machine with it. A first round is not counted: the
// emulator is a JVM, and slow until it has warmed up.
func BenchmarkDrain(b *testing.B) {
	bin := build(b)
	sink := quickSink(b)
	drained(b, bin, emulatorHost(b), fill(b, benchMails), sink)
	var took time.Duration
	var cpu, rss float64
	for b.Loop() {
		b.StopTimer()
		project := fill(b, benchMails)
		b.StartTimer()
		began := time.Now()
		state := drained(b, bin, emulatorHost(b), project, sink)
		took += time.Since(began)
		cpu += (state.UserTime() + state.SystemTime()).Seconds()
		rss = max(rss, float64(state.SysUsage().(*syscall.Rusage).Maxrss)/1024)
		b.StopTimer()
		succeeded(b, project, benchMails)
		b.StartTimer()
	}
	mails := float64(benchMails * b.N)
	b.ReportMetric(mails/took.Seconds(), "mails/s")
	b.ReportMetric(cpu*1000/mails, "cpu-ms/mail")
	b.ReportMetric(rss, "MB-resident")
	b.ReportMetric(0, "ns/op")
}

// BenchmarkFirestoreOperations counts what the program asks of Firestore for a
// mail, in a proxy between the two.
func BenchmarkFirestoreOperations(b *testing.B) {
	const mails = 200
	bin := build(b)
	sink := quickSink(b)
	for b.Loop() {
		meter := newMeter(b, emulatorHost(b))
		project := fill(b, mails)
		drained(b, bin, meter.address, project, sink)
		b.ReportMetric(float64(meter.writes.Load())/mails, "writes/mail")
		b.ReportMetric(float64(meter.reads.Load()-mails)/mails, "reads/mail-beyond-the-scan")
		b.ReportMetric(float64(meter.batches.Load())/mails, "requests/mail")
	}
	b.ReportMetric(0, "ns/op")
}
