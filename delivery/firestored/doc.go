// Package firestored is a Firestore server in memory, for development and
// tests and never for production: it keeps nothing, and asks nobody who they
// are.
//
// It serves google.firestore.v1 over gRPC as the service does, and not as
// Google's emulator does: where the two differ, the service's documentation and
// the comments of its proto files decide. What it does not have answers
// UNIMPLEMENTED: the Write stream, PartitionQuery and pipelines.
//
// A database is one lock, its collections (sorted lists of documents with
// indexes built when a query first wants them) and a log of the latest changes.
// The log is what makes reads at a past time, transactions and resumed listens
// exact. Documents are kept encoded, and nobody decodes a collection while holding
// the lock.
package firestored
