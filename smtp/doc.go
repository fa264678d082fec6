// Package smtp sends mail to one SMTP server over a pool of kept connections.
// It knows envelopes, messages and replies, and has never heard of documents.
//
// [Pool.Send] runs one transaction (RFC 5321 §3.3) and says what became of
// every recipient. Where the server offers PIPELINING (RFC 2920), MAIL, up to
// a hundred RCPT and DATA travel in one flight; where it does not, they go one
// by one, and the same pure function judges the replies of both. Mails for which
// there is no connection wait in line, and are served in the order they came.
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
//     [Mail.NoSession] is told before the next mail is asked by [Mail.Open].
//   - Every read and write runs under a deadline on the TCP connection.
//   - No CR, LF or NUL gets into a command, and nothing in a message can end it
//     early: line ends are made CRLF and leading dots are doubled before MAIL.
//   - Certificates are verified unless [Options.TLS] says otherwise, and
//     credentials do not travel unencrypted to another machine.
//
// # Looking ahead
//
// The content of a message may be the first command of a group (RFC 2920 §3.1). So
// the envelope of a mail that waits for a connection travels along with the end of
// the message before it, in one write: a mail takes one round trip instead of two.
//
//	C: body of A, ".", MAIL of B, RCPT of B, DATA
//	S: 250 (A), 250, 250, 354 (B)
//	C: body of B, ".", MAIL of C, ...
//
// When the envelope of a mail goes out, the next one in line gets ready: its
// [Mail.Begin] runs in its own goroutine. If that has returned before the end of
// the message is written, its envelope flies; else nobody waits for it. The final
// reply is read by the mail it belongs to; then the session passes to the one that
// follows, which reads the replies to its envelope, and judges them as ever.
//
//   - What is replied to one message does not matter for the next one. If the
//     connection breaks, or the server leaves with 421, the mail that follows is
//     tried once more on another connection, as with a kept one that is dead.
//   - Contexts and limits are each mail's own. One that ends while its envelope
//     flies leaves at once: nothing but its envelope was sent. Its session is
//     closed after the reply to the message before; nobody sends a message, or a
//     lone dot, in its place.
//   - Whether the message was flushed up to its final dot is counted in bytes,
//     whatever became of the envelope behind it.
//   - Envelopes fly only on sessions on which a final reply has come within a
//     second, and wait for the next one for five seconds; then the mail is the first
//     to get another connection. So a slow verdict holds up nobody else for long.
//   - What cannot fly is not overtaken: a mail with more than a hundred recipients,
//     one that has flown in vain, a probe.
//   - A server that calls a MAIL which has flown out of order or unknown, or does
//     not answer it, gets no more envelopes that way for an hour, from that pool.
//   - [Options.Pipelining] switches it off.
//
// A server that closes a connection as soon as it has answered a message, without
// having read what came behind it, makes TCP reset the connection. Its answer is
// lost then only if it has not arrived by that time; the fate of the mail is
// unknown in that case, as whenever a connection breaks after the final dot.
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
// # Connections
//
// They go to the address of the server that has the fewest of them, where no
// connection failed within the last minute. None takes another mail once it is
// ten minutes old, or has had [Options.MaxMessages] transactions.
//
// # Why go-mail's client is not used whole
//
// go-mail's low-level client strips the reply code from continuation lines,
// reads lines of any length, and reads the greeting in its constructor. Its
// mechanisms for AUTH (PLAIN, LOGIN, CRAM-MD5, SCRAM, XOAUTH2) are used as they
// are; the dialogue round them is written here.
package smtp
