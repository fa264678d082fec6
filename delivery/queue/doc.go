// Package queue is the mail collection in Firestore, and the only code that
// knows Firestore: it finds documents, applies changes to them, and reads the
// templates and users collections.
//
// A mail costs two writes and no read. A write is conditional on the update
// time of the snapshot it was decided on, names the delivery fields it sets and
// no others, and goes out together with whatever other writes are waiting (see
// batch.go). The watch is one low-level Listen stream that keeps nothing in
// memory (watch.go); the sweep and the scan are streamed queries (find.go).
package queue
