// Package bulk holds every decision about a bulk retry and does no I/O.
//
// A [Request] says which mails are to be sent again: those with some IDs, or
// those that a [Filter] matches. An [Operation] is the work on it, as its
// document keeps it: what is done is said by its methods, which take and return
// values, and put down by one conditional write each.
//
// The documents are gone through in pages. Of a filter the IDs of a page are
// written into the operation before the first of its documents is changed (they
// no longer match once they are), and each change leaves the operation's ID in
// the document: an operation that goes on after a crash, anywhere, changes none
// twice, and counts each once.
package bulk
