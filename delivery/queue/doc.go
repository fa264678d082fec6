// Package queue is the mail collection in Firestore, and the only code that
// knows Firestore: it finds documents, applies changes to them, and reads the
// templates and users collections.
//
// A mail costs two writes and no read. A write is conditional on the update
// time of the snapshot it was decided on, names the delivery fields it sets and
// no others, is encoded once (wire.go), and goes out together with whatever other
// writes are waiting (batch.go).
//
// Documents are found by the watch, one low-level Listen stream that keeps
// nothing but its place (watch.go, stream.go), which is saved where everything
// before it is settled (marks.go, checkpoint.go); by events (event.go); by the
// sweep, streamed queries (sweep.go, find.go); and by the audit, which counts
// (audit.go, divide.go, split.go, count.go). The instances that share a collection
// know each other by their heartbeats (members.go), and reckon by one clock,
// Firestore's (clock.go).
package queue
