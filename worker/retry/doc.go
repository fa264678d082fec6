// Package retry works bulk retries: it takes an operation under a lease, goes
// through its documents page by page at the pace that is left beside the mails that
// come in, and puts down what has come of them. Any instance may take an operation,
// and go on with one whose instance has stopped or died.
//
// What is decided, package bulk decides. Here it is read and written: an operation
// by writes that are conditional on what was read, and so only by who has it.
package retry
