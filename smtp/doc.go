// Package smtp sends mail to one SMTP server over a pool of kept connections.
// It knows envelopes, messages and replies, and has never heard of documents.
//
// [Pool.Send] runs one transaction (RFC 5321 §3.3) and says what became of
// every recipient. Where the server offers PIPELINING (RFC 2920), MAIL, up to
// a hundred RCPT and DATA travel in one flight; where it does not, they go one
// by one, and the same pure function judges the replies of both.
//
// # What is promised
//
//   - A mail counts as delivered only if the server's final reply said so.
//   - A failure with [Error.PossiblyAccepted] set is one where the message had
//     been flushed up to and including its final dot and no verdict came back
//     (RFC 1047). Every other failure is certain: the server has not taken the
//     mail. What was said until then is in [Error.Conversation], without the
//     addresses.
//   - Before the final dot, the end of the caller's context cuts an attempt
//     short. After it only the end of the attempt's limit, a second context, and
//     a configured [Options.SocketTimeout], else ten minutes, end the wait for
//     the verdict.
//   - [Mail.Begin] is asked before the first command of a mail, and once.
//   - Every read and write runs under a deadline on the TCP connection.
//   - No CR, LF or NUL gets into a command, and nothing in a message can end it
//     early: line ends are made CRLF and leading dots are doubled before MAIL.
//   - Certificates are verified unless [Options.TLS] says otherwise, and
//     credentials do not travel unencrypted to another machine.
//
// # Two choices about pipelining
//
// The first MAIL of a connection waits for its reply before anything follows.
// Whether the server takes this sender at all is learnt there, once, for one
// round trip a connection; later transactions go out in one flight.
//
// If a pipelined DATA is answered 354 though the sender or every recipient was
// refused, the connection is dropped. RFC 2920 §3.1 suggests to send a lone dot
// instead; but a server confused enough to ask for the message might deliver
// an empty one, while a message without its final dot is delivered by nobody.
//
// # Why go-mail's client is not used whole
//
// go-mail's low-level client strips the reply code from continuation lines,
// reads lines of any length, and reads the greeting in its constructor. Its
// mechanisms for AUTH (PLAIN, LOGIN, CRAM-MD5, SCRAM, XOAUTH2) are used as they
// are; the dialogue round them is written here.
package smtp
