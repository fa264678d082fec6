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
//	   │                   ▲  │  │ └──────────────────► ERROR ◄─────────┐
//	   │             claim │  │  │ failed, lease lapsed   │             │
//	   │                   │  │  │                        │ content     │
//	   │   drained, before │  ▼  │                        │ came        │
//	   │     the final dot PENDING                        ▼             │
//	   │                   RETRY ◄── an operator    (as if new)         │
//	   └────────────────────────────────────────────────────────────────┘
//	        nothing to send (outcome.class = incomplete)
//
// SUCCESS and ERROR are final until an operator writes RETRY or PENDING. An
// ERROR whose class is incomplete is taken up as if new once the document has
// something to send. An unknown state is left alone: it belongs to a newer
// version of the program.
//
// The fields and their spelling are those of Firebase's Trigger Email
// extension; leaseId, nextAttemptTime, recipients and outcome are added.
package delivery
