// Package compose makes of a mail document an envelope and the bytes of a
// message: addresses, templates' results, attachments and MIME, all of it
// before the first word of SMTP.
//
// What comes out is what the Trigger Email extension's mail library
// (nodemailer 8) would have sent, as a recipient sees it: the same addresses in
// the same order, the same tree of parts with the same types, names,
// dispositions and content IDs, the same header values. Transfer encodings,
// folding and the order of fields are our own.
//
// It differs on purpose where the library lets a document do harm:
//
//   - A line break, NUL or other control character inside an address list, and
//     a header name that is not one (RFC 5322 §2.2), refuse the document. Line
//     breaks in other header values become spaces.
//   - A document's headers cannot replace Content-Type, MIME-Version or
//     Content-Transfer-Encoding.
//   - Without an address to send from there is no mail; the library would send
//     one from the null sender.
//   - Local files are never read. URLs are fetched from public addresses only,
//     redirects included, unless ATTACHMENT_ALLOW_HOSTS names the host; caller's
//     request headers go to hosts named there and nowhere else.
//   - If the settings say so, mail goes to some domains only, or says only what a
//     template says (restrict.go).
//   - The fields messageId and amp take effect, and receipts (receipts.go).
//
// MIME is written by this package (mime.go, encode.go), in one pass into one
// buffer: go-mail's Msg has a fixed shape of tree that puts inline images
// beside the alternatives and not with the HTML they belong to. Files to attach
// come last: each is fetched into its place in the message and encoded as it
// arrives, so that it is in memory once, and Claim.Hold has granted what it takes.
// Only one whose lines decide on its encoding, or whose server does not tell its
// size, is in memory as it is, too.
//
// Where to look: merge.go and users.go for what goes in, restrict.go for what may
// not, address.go and mailbox.go for address lists, header.go for header fields,
// tree.go for the shape of the message, attachment.go, source.go and datauri.go for
// attachments, loader.go, file.go, fetch.go and storage.go for those from elsewhere,
// mediatypes.txt for file types.
package compose
