// Package delivery holds every decision about a mail document and does no I/O.
//
// A mail document is what an application adds to ask for a mail. Its delivery
// field is the [Record] of what became of it. [Decide] looks at a record and
// the time and says what may be done with the document; a method of Record
// turns what was done into a [Change], and one conditional write puts it down.
// Nobody changes a record in any other way.
//
//	            claim                    delivered
//	(none) ─────────────► PROCESSING ─────────────────► SUCCESS
//	   │                   ▲    │  └──────────────────► ERROR ◄─────────┐
//	   │             claim │    │    failed, lease lapsed   │           │
//	   │                   │    │                           │ content   │
//	   │                   │    ▼                           │ came      │
//	   │                  PENDING  stopped before the       ▼           │
//	   │                  RETRY    final dot, or tried  (as if new)     │
//	   │                    ▲      again later                          │
//	   │                    └── an operator                             │
//	   └────────────────────────────────────────────────────────────────┘
//	        nothing to send (outcome.class = incomplete)
//
// SUCCESS and ERROR are final until an operator writes RETRY or PENDING; then
// the mail is sent to all again. An ERROR whose class is incomplete is taken up
// as if new once the document has something to send. An unknown state is left
// alone: it belongs to a newer version of the program.
//
// What may work later is tried again where [Policy] has it so: until it has come
// to its end such a mail has a [Series], in which nobody who has got it is sent
// it again.
//
// The fields and their spelling are those of Firebase's Trigger Email
// extension; leaseId, leasePhase, nextAttemptTime, recipients, outcome, retry,
// recent, reached, reachedTime and retryOperation are added.
package delivery
