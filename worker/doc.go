// Package worker runs the loops between the mail collection and the mail
// server: it watches and sweeps for documents, claims them, has them composed
// and sent, and writes down what happened.
//
// The watch makes it fast, the sweep makes it right: whatever the watch can
// find the sweep finds too. Each document in hand has one goroutine, and there
// are at most so many of them; while all are busy, the watch waits.
//
// Two contexts rule an attempt. The caller's ends claiming. A second one, which
// outlives it by the drain time, ends attempts: what is cut before the final
// dot is handed back. The write-back obeys neither, only the lease's end stops
// it, because the mail may be gone.
package worker
