package firestored_test

import "slices"

// difference is where Google's emulator does not do what the service is
// documented to do. Our server follows the documentation.
type difference struct {
	cases    []string // that tell
	emulator string   // part of what they say of the emulator
	doc      string   // where the documentation is, and what decides there
}

const (
	protoListen = "https://github.com/googleapis/googleapis/blob/master/google/firestore/v1/firestore.proto: "
	protoQuery  = "https://github.com/googleapis/googleapis/blob/master/google/firestore/v1/query.proto: "
	protoWrite  = "https://github.com/googleapis/googleapis/blob/master/google/firestore/v1/write.proto: "
	quotas      = "https://firebase.google.com/docs/firestore/quotas: "
	contention  = "https://cloud.google.com/firestore/docs/transaction-data-contention: "
)

func differences() []difference {
	return []difference{{
		// It sends RESET and the whole result at every write to the collection.
		cases: []string{
			"a listener is sent what changes, and only that", "a listener with a filter sees documents come and go", "a write that changes nothing is not sent",
		},
		emulator: "RESET",
		doc:      "https://firebase.google.com/docs/firestore/pricing: when you listen to the results of a query, you are charged for a read each time a document in the result set is added or updated",
	}, {
		cases:    []string{"a target wanted once is dropped once it is current"},
		emulator: "CURRENT RESET c/a{x:1}",
		doc:      protoListen + "Target.once: if the target should be removed once it is current and consistent",
	}, {
		// It takes no notice of a token or a read time.
		cases:    resumedCases(),
		emulator: "ADD RESET",
		doc:      protoListen + "Target.resume_type: if specified, only the matching Documents that have been updated AFTER the `resume_token` or `read_time` will be returned",
	}, {
		cases:    []string{"a token of nonsense is refused", "a read time in the future is refused", "a read time long ago is refused"},
		emulator: "the target became current",
		doc:      protoListen + "Target.resume_token: a resume token from a prior TargetChange for an identical target; Target.read_time: the client must know the state of matching documents at this time",
	}, {
		// It takes locks whatever the transaction's options say: a write from
		// outside waits for them, and gives up.
		cases: []string{
			"a transaction fails if what it read was changed", "a transaction fails if what it read was deleted", "a transaction fails if what it missed was made",
			"a transaction fails if what it found was changed", "a transaction fails if it would find one more", "a transaction fails if what it counted has changed",
			"a transaction goes if what it would not find was made", "a transaction sees one time", "a read begins a transaction",
			"a transaction that failed is tried again as itself", "of two transactions that read and write one document the second fails",
		},
		emulator: "Transaction lock timeout",
		doc:      contention + "pessimistic transactions use database locks to prevent other operations from modifying data; common.proto, TransactionOptions.OPTIMISTIC: use optimistic concurrency control for the new transaction",
	}, {
		cases:    []string{"a transaction that is over is told in the words that clients look for"},
		emulator: "Transaction is invalid or closed",
		doc:      "https://github.com/googleapis/nodejs-firestore/blob/main/dev/src/transaction.ts: the Firestore backend uses INVALID_ARGUMENT for transaction IDs that have expired; such an error is tried again if its message matches /transaction has expired/",
	}, {
		cases:    []string{"a list heeds order and mask"},
		emulator: "list: rpc error: code = Unknown",
		doc:      protoListen + "ListDocumentsRequest.order_by: the optional ordering of the documents to return, for example `priority desc, __name__ desc`",
	}, {
		cases:    []string{"a document has no more than 500 transforms in a commit"},
		emulator: "got OK",
		doc:      quotas + "field transformations that can be performed on a single document in a Commit operation or in a transaction: 500",
	}, {
		cases:    []string{"a request has nine mebibytes"},
		emulator: "gRPC message exceeds maximum size 4194304",
		doc:      quotas + "maximum API request size: 10 MiB",
	}, {
		cases:    []string{"a mask names no document"},
		emulator: "commit: got OK",
		doc:      protoWrite + "Write.update_mask: the field paths in this mask must not contain a reserved field name",
	}, {
		cases:    []string{"select of nothing returns everything"},
		emulator: "document: got {}",
		doc:      protoQuery + "StructuredQuery.Projection.fields: if empty, all fields are returned; to only return the name of the document, use `['__name__']`",
	}, {
		// The service needs an index for it; ours has every index.
		cases:    []string{"a cursor by name in a falling order", "names in a range fall"},
		emulator: "got FailedPrecondition",
		doc:      protoQuery + "StructuredQuery.Order.direction: the direction to order by",
	}}
}

// resumedCases are the names of the cases in which a listen is resumed.
func resumedCases() []string {
	out := []string{"a resumed listener of a document", "a resumed listener that says how many it knows"}
	for _, r := range resumes() {
		if r.comes != "" {
			out = append(out, r.name+", by token", r.name+", by read time")
		}
	}
	return out
}

// differs returns the difference that a case tells.
func differs(name string) (difference, bool) {
	for _, d := range differences() {
		if slices.Contains(d.cases, name) {
			return d, true
		}
	}
	return difference{}, false
}
