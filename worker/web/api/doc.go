// Package api answers over HTTP how mails fare, takes mails in, and moves many of
// them at once. It speaks four dialects of Azure's REST APIs, so that their
// published clients work as they are:
//
//	e-mail   Azure Communication Services Email: send, status, operations
//	phone    the long-running operations of its phone numbers
//	chat     its read receipts: a mail is a thread
//	arm      the operation statuses of Azure Resource Manager (API Management)
//
// and a plain one of its own. All of them render one [view]; the ID of a mail is
// that of its document in each.
//
// A request is looked at in this order: its route, who asks (401), whether they
// may (403), how often (429), its method (405), its api-version (400), its body
// and parameters (400, 413), and only then the documents (404, 409, 503). Nobody
// can tell an unknown document from a forbidden one, by the answer or by its time.
package api
