// Package receipt knows the two ways in which it shows that somebody has read a
// mail, as far as mail can show it: a disposition notification, which the reader's
// mail program sends because it was asked to (RFC 8098), and an open, when it loads
// a picture that the mail's HTML names.
//
// Neither is proof. A program may send a notification though nobody has looked, and
// many never send one; pictures are loaded by filters and caches, and blocked by
// readers. So a receipt says of what kind it is, and that a mail server has taken a
// mail is none.
package receipt
