package delivery

import "context"

// Watcher is told what a watch of the mail collection sees. Its methods are
// called one at a time.
type Watcher interface {
	// Found: a document is as it is in s. The watch waits while Found blocks, and
	// ends with its error, so that the document is found again. Once the document
	// is taken care of, Found or somebody else calls settled, once, on any
	// goroutine: until then no checkpoint passes it, and after a restart it is
	// found again. To call it never is allowed.
	Found(ctx context.Context, s Snapshot, settled func()) error

	// Watching: with nil, everything there is to see has been passed on; with an
	// error, the watch is interrupted and being opened again.
	Watching(err error)

	// Missed: what changed until now may never be passed on, only an audit finds
	// it. Settled is called once that is done, and means what it means for Found.
	Missed(settled func())
}

// Audit is what a search for documents without a state has come to.
type Audit struct {
	Documents int // in the collection
	Missing   int // without a known state
	Reads     int // that it was billed
}
