package firestored_test

import (
	"context"
	"fmt"
	"sync/atomic"

	"cloud.google.com/go/firestore"
	pb "cloud.google.com/go/firestore/apiv1/firestorepb"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"

	"postrider/delivery/firestored"
)

// faultCases are what clients do where our server is told to fail, and what it
// tells of itself.
func faultCases() []testCase {
	out := []testCase{
		{name: "a listener goes on where its stream was cut", run: func(e *env) { e.watch(func() { e.cut(codes.Unavailable) }) }},
		{name: "a listener goes on where its stream was cut and its token expired", run: func(e *env) {
			e.watch(func() { e.server.ExpireTokens(); e.cut(codes.Unavailable) })
		}},
		{name: "a call that is refused does nothing", run: func(e *env) {
			e.server.SetFaults(firestored.Faults{Call: once("Commit", firestored.CallFault{Refuse: codes.ResourceExhausted})})
			_, err := e.commit(set("c/a", nil))
			e.code("commit", err, codes.ResourceExhausted)
			e.equal("c/a", e.doc("c/a"), "missing")
			e.put(set("c/a", nil))
		}},
		{name: "a call whose answer is lost is done", run: func(e *env) {
			e.server.SetFaults(firestored.Faults{Call: once("Commit", firestored.CallFault{Answer: codes.Unavailable})})
			_, err := e.commit(set("c/a", m{"x": 1}))
			e.code("commit", err, codes.Unavailable)
			e.equal("c/a", e.doc("c/a"), "{x:1}")
		}},
		{name: "a call that comes twice is done twice", run: func(e *env) {
			e.server.SetFaults(firestored.Faults{Call: once("Commit", firestored.CallFault{Twice: true})})
			e.put(set("c/a", nil).only().with(transform{"x", "increment", 1}))
			e.equal("c/a", e.doc("c/a"), "{x:2}")
		}},
		{name: "the client's transaction is tried again", run: func(e *env) {
			e.server.SetFaults(firestored.Faults{Call: once("Commit", firestored.CallFault{Refuse: codes.Aborted})})
			tries := 0
			err := e.sdk.RunTransaction(e.ctx, func(_ context.Context, tx *firestore.Transaction) error {
				tries++
				return tx.Set(e.sdk.Doc("c/a"), m{"try": tries})
			})
			e.must("transaction", err)
			e.equal("c/a", e.doc("c/a"), "{try:2}")
		}},
		{name: "answers tell our server from the emulator", run: tellsItself},
	}
	for _, r := range bills() {
		out = append(out, testCase{name: r.name, run: r.run})
	}
	for i := range out {
		out[i].ours = true
	}
	return out
}

// once is a fault of the first call of a method.
func once(method string, f firestored.CallFault) func(string, any) firestored.CallFault {
	var done atomic.Bool
	return func(m string, _ any) firestored.CallFault {
		if m != method || done.Swap(true) {
			return firestored.CallFault{}
		}
		return f
	}
}

// cut ends the Listen streams that are open after their next message.
func (e *env) cut(with codes.Code) {
	var done atomic.Bool
	e.server.SetFaults(firestored.Faults{Stream: func(method string, sent int) firestored.StreamFault {
		if method != "Listen" || sent == 0 || done.Swap(true) {
			return firestored.StreamFault{}
		}
		return firestored.StreamFault{Cut: with}
	}})
}

func tellsItself(e *env) {
	var unary metadata.MD
	_, err := e.pb.Commit(e.ctx, &pb.CommitRequest{Database: e.db}, grpc.Header(&unary))
	e.must("commit", err)
	e.equal("header of a call", unary.Get("x-firestore-server"), "[postrider]")
	_, err = e.pb.GetDocument(e.ctx, &pb.GetDocumentRequest{Name: e.name("c/a")}, grpc.Header(&unary))
	e.code("get", err, codes.NotFound)
	e.equal("header of an error", unary.Get("x-firestore-server"), "[postrider]")
	l := e.listen(queryTarget(e, from("c")))
	header, err := l.s.Header()
	e.must("header", err)
	e.equal("header of a stream", header.Get("x-firestore-server"), "[postrider]")
}

// bill is what something costs (https://firebase.google.com/docs/firestore/pricing).
type bill struct {
	name                   string
	do                     func(*env)
	reads, writes, deletes int64
}

func (b bill) run(e *env) {
	for i := range 5 {
		e.put(set(fmt.Sprintf("c/%d", i), m{"x": i}))
	}
	l := e.listen(queryTarget(e, from("d"))) // a listener elsewhere costs nothing for what happens here
	l.reach("")
	before := e.server.Usage()
	b.do(e)
	after := e.server.Usage()
	e.equal("reads, writes, deletes", []int64{after.Reads - before.Reads, after.Writes - before.Writes, after.Deletes - before.Deletes}, []int64{b.reads, b.writes, b.deletes})
}

func bills() []bill {
	find := func(q query) func(*env) { return func(e *env) { e.find(q) } }
	count := func(q query) func(*env) { return func(e *env) { _, _ = e.count(q, 0) } }
	all := from("c")
	return []bill{
		{"bill: a get is a read", func(e *env) { e.doc("c/1") }, 1, 0, 0},
		{"bill: a get of nothing is a read", func(e *env) { e.doc("c/none") }, 1, 0, 0},
		{"bill: a query reads what it returns", find(all.where(is("x", ">", 1))), 3, 0, 0},
		{"bill: a query of nothing is a read", find(all.where(is("x", ">", 9))), 1, 0, 0},
		{"bill: a query reads what it skips", find(all.skip(3).limit(1)), 4, 0, 0},
		{"bill: a list reads what it returns", func(e *env) {
			_, err := e.pb.ListDocuments(e.ctx, &pb.ListDocumentsRequest{Parent: e.root, CollectionId: "c", PageSize: 3})
			e.must("list", err)
		}, 3, 0, 0},
		{"bill: a count reads one for a thousand", count(all), 1, 0, 0},
		{"bill: a count of nothing is a read", count(from("none")), 1, 0, 0},
		{"bill: a write is a write", func(e *env) { e.put(set("c/1", m{"x": 9}), set("c/new", nil)) }, 0, 2, 0},
		{"bill: a write that changes nothing is a write", func(e *env) { e.put(set("c/1", m{"x": 1})) }, 0, 1, 0},
		{"bill: a delete is a delete", func(e *env) { e.put(del("c/1")) }, 0, 0, 1},
		{"bill: a listener reads what it is sent", func(e *env) {
			l := e.listen(queryTarget(e, all.where(is("x", ">=", 2))))
			l.reach(`c/2{x:2} c/3{x:3} c/4{x:4}`)
			e.put(set("c/4", m{"x": 5}))
			l.reach(`c/2{x:2} c/3{x:3} c/4{x:5}`)
			l.stop()
		}, 4, 1, 0},
		{"bill: a listener that is resumed reads what changed", func(e *env) {
			l := e.listen(queryTarget(e, all))
			l.until("CURRENT")
			for !l.next() {
			}
			l.stop()
			e.put(set("c/4", m{"x": 9}))
			t := queryTarget(e, all)
			byToken(t, l)
			again := e.listen(t)
			again.reach("c/4{x:9}")
		}, 6, 1, 0},
	}
}
