// Package inbox is the mailbox of `postrider dev`: an SMTP server that accepts
// every mail and keeps the newest ones in memory, and a page and a JSON API to
// read them. Beside it there is a [Sink], which keeps nothing.
//
// What arrives was written by strangers, as far as this package can tell. So
// nothing in a mail is trusted:
//
//   - Every page is escaped by html/template and carries a Content-Security-Policy
//     that allows nothing but this package's own style sheet and script.
//   - A mail's HTML is a document of its own. It is shown in a frame with an
//     empty sandbox attribute, and its own response repeats the sandbox and
//     forbids scripts, forms, frames and, unless the reader asks for them, remote
//     images. It stays harmless when opened outside the frame.
//   - Attachments are always downloads, of type application/octet-stream, under a
//     cleaned file name.
//   - Only loopback listeners are served, requests for any host name but
//     localhost are refused (a page elsewhere could have its name point here),
//     and so are changes asked for by another site's page.
//
// A mail that cannot be read as one is listed all the same, with its source and
// what is wrong with it.
package inbox
