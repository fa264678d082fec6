// Package corpus checks the built worker against the compatibility corpus: what
// Firebase's Trigger Email extension (firestore-send-email 0.2.8, Node 20,
// nodemailer 8) did with several hundred mail documents. It holds nothing but
// its test.
//
// For every case the test starts `postrider run` with the case's settings in a
// Firestore project of its own, over the Firestore emulator, with a
// programmable SMTP server and a web server for attachments; adds the
// document, carries out the case's steps, waits until nothing happens any more
// and compares the document and the mails with what the case expects.
//
// # Running it
//
//	go test ./cmd/postrider/corpus                               all
//	go test ./cmd/postrider/corpus -run TestCorpus/ttl           one topic
//	go test ./cmd/postrider/corpus -run TestCorpus/ttl/day-5 -v  one case
//
// Four cases run at a time, -parallel N makes it N, each on an emulator of its
// own, which the test starts. Where none can be started the one at
// FIRESTORE_EMULATOR_HOST is used, one case after the other. -record prints
// what was seen, as JSON, wherever it is not what the extension did.
// POSTRIDER_WORKER names a worker to test instead of building one; its arguments
// follow after spaces. Without an emulator the test is skipped, and fails where
// CI is true. Where POSTRIDER_TEST_REPORT names a folder, the table of results
// is written there too.
//
// # Comparison
//
// Of the document only the extension's own keys under delivery count. Times
// are compared by their meaning (now, startTime+5day), a generated Message-ID
// by its domain. Mails are compared by what they mean: the transfer encoding,
// folding, the order of header fields, the quoting of parameters, boundaries,
// Date, X-Mailer and User-Agent, and transactions that never got as far as a
// recipient are free. The mails are read with the standard library's parsers,
// which have no code in common with what composed them.
//
// # Departures
//
// Where the worker is meant to be better than the extension, departures.json
// says so: case ID → {class, why, …} with one of the classes below, and either
// expect, whose keys replace those of the case and which is compared just as
// strictly; or startRefused, where the worker must refuse to start; or any of
// state, error (a regular expression) and mails (how many were received). A
// case that is not listed must match; one that is listed and matches all the
// same is an error too, for the list would say something untrue.
//
//	deferred       4xx recipients are in info.pending, not info.rejected
//	no-local-file  local files are refused
//	guarded-fetch  addresses inside the network are refused, and callers' headers to hosts not named
//	clear-error    same state, a sentence instead of a JavaScript accident
//	never-silent   what the extension leaves untouched or stuck ends in ERROR with the reason
//	fail-at-start  settings that can only fail stop the start
//	honoured       documented fields and settings that the extension drops take effect
//	isolated       a bad template or document harms no other
//	injection      injected lines are refused or cleaned
//	fenced         edits during sending are obeyed exactly once
//	calendar       expireAt arithmetic in UTC with a documented rule at month ends
//
// The cases and their fixtures are in testdata, one case a line: corpus.jsonl,
// and more.jsonl with further cases recorded from the extension in the same way.
package corpus
