package smtp

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"syscall"
)

// Stage says how far an attempt had come when it failed.
type Stage string

// The stages, in the order they are passed.
const (
	StageConnect  Stage = "connect"  // waiting for a slot, name look-up, TCP connection
	StageGreeting Stage = "greeting" // 220
	StageHello    Stage = "hello"    // EHLO, HELO
	StageTLS      Stage = "tls"      // STARTTLS, the handshake, verification
	StageAuth     Stage = "auth"     // AUTH, and the token it needs
	StageMail     Stage = "mail"     // MAIL FROM
	StageRcpt     Stage = "rcpt"     // RCPT TO
	StageData     Stage = "data"     // DATA, up to the 354
	StageMessage  Stage = "message"  // the message and its final reply
)

// Cause is what kind of thing went wrong. The set is closed.
type Cause string

// The causes.
const (
	CauseReply     Cause = "reply"     // the server refused, in Error.Reply
	CauseRefused   Cause = "refused"   // nobody listens on the port
	CauseLookup    Cause = "lookup"    // the host's name does not resolve
	CauseTimeout   Cause = "timeout"   // a timeout passed, or the attempt's time
	CauseClosed    Cause = "closed"    // the server closed or reset the connection
	CauseTLS       Cause = "tls"       // handshake or verification failed
	CauseProtocol  Cause = "protocol"  // the server talks nonsense
	CauseCancelled Cause = "cancelled" // the caller's context ended
	CauseCaller    Cause = "caller"    // Mail.Open or Mail.Begin returned an error
	CauseBusy      Cause = "busy"      // no connection became free by Mail.StartBy
	CauseToken     Cause = "token"     // no OAuth2 access token to be had
	CauseLocal     Cause = "local"     // refused here, before the server was asked
	CauseNetwork   Cause = "network"   // anything else below SMTP
)

// What an [Error] may wrap. All but ErrPoolClosed, ErrClosed and ErrBusy mean
// that nothing was sent because it must not be.
var (
	ErrClosed             = errors.New("the server closed the connection")
	ErrBusy               = errors.New("no connection became free in time")
	ErrPoolClosed         = errors.New("the pool is closed")
	ErrNoRecipients       = errors.New("no recipients defined")
	ErrInvalidAddress     = errors.New("address that is too long, or has a control character or an angle bracket")
	ErrMissingCredentials = errors.New("user and password must be given both")
	ErrPlaintextAuth      = errors.New("credentials are not sent over an unencrypted connection")
	ErrNoStartTLS         = errors.New("the server cannot start TLS")
)

// Marks that tell causes apart.
var (
	errCancelled = errors.New("cancelled")                       // the caller's context ended
	errCaller    = errors.New("the caller did not let it begin") // goes with the error of Mail.Open or Mail.Begin
	errWaiting   = errors.New("wait for a connection")           // no connection was tried
)

// Recipient is what became of one address of an envelope.
type Recipient struct {
	Address string // as in Envelope.To
	Reply   Reply  // to its RCPT; zero if it was never answered
}

// Temporary says that the address may be accepted another time. A 552 without
// or with the enhanced code for too many recipients counts as 452 here
// (RFC 5321 §4.5.3.1.10).
func (r Recipient) Temporary() bool {
	return r.Reply.Temporary() || r.Reply.Code == 552 && (r.Reply.Enhanced == "" || r.Reply.Enhanced == "5.5.3")
}

// Error is a mail that was not sent, or of which nobody can tell.
type Error struct {
	Stage   Stage
	Command string // the verb that failed, as in "RCPT TO", "AUTH PLAIN"; empty if none was sent

	// Reply is the server's refusal; zero if there is none, and without a code if
	// what it said is no reply at all. For StageRcpt it is
	// the reply to the last recipient, as with nodemailer.
	Reply Reply

	// Recipients has one element for every address of the envelope once MAIL was
	// sent, else none.
	Recipients []Recipient

	// PossiblyAccepted says that the message was flushed up to its final dot and
	// no verdict followed: the server may have taken it (RFC 1047).
	PossiblyAccepted bool

	// Conversation is set with PossiblyAccepted: what was said in the transaction,
	// for finding the mail in the server's log. Commands begin with "C: " and
	// replies with "S: ", as in "C: MAIL FROM:<…> SIZE=1234", "S: 250 2.1.0 Ok";
	// of the recipients there are the last three. It has at most 12 lines of at
	// most 500 bytes. "<…>" stands for the envelope's addresses, also where the
	// server repeats them. AUTH is no part of it.
	Conversation []string

	// Err is the cause where it is not a reply.
	Err error

	stale bool   // the connection, not the mail, is at fault: another one may do
	drop  func() // forgets the access token that was sent; nil if none was
}

// Error names stage, command and cause. It holds what the server said, which
// may be an address.
func (e *Error) Error() string {
	where := "smtp " + string(e.Stage)
	if e.Command != "" {
		where += " (" + e.Command + ")"
	}
	switch {
	case e.Err != nil && !e.Reply.IsZero():
		return fmt.Sprintf("%s: %v: %s", where, e.Err, e.Reply)
	case e.Err != nil:
		return fmt.Sprintf("%s: %v", where, e.Err)
	default:
		return fmt.Sprintf("%s: %s", where, e.Reply)
	}
}

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }

// Temporary says that the same mail may go through later without anybody
// changing anything. It is false for a mail that was possibly accepted: that
// must not be sent again by a program. A host whose name does not resolve is
// one that may resolve later: name servers say so while they are set up.
func (e *Error) Temporary() bool {
	if e.PossiblyAccepted {
		return false
	}
	switch e.Cause() {
	case CauseReply:
		if e.Stage != StageRcpt {
			return e.Reply.Temporary()
		}
		for _, r := range e.Recipients {
			if r.Temporary() {
				return true
			}
		}
		return e.Reply.Temporary()
	case CauseToken:
		var t *TokenError
		return errors.As(e.Err, &t) && t.Temporary()
	case CauseLocal:
		return errors.Is(e.Err, ErrPoolClosed)
	default:
		return e.Cause() != CauseTLS
	}
}

// Unreachable says that no session could be had, for reasons that are the
// server's, the network's or the settings': other mails will fare no better. A
// connection that was not made before the attempt's time was over is one of
// them. It is false if nobody tried, or if the caller stopped it.
func (e *Error) Unreachable() bool {
	switch e.Stage {
	case StageConnect, StageGreeting, StageHello, StageTLS, StageAuth:
	default:
		return false
	}
	switch e.Cause() {
	case CauseBusy, CauseCancelled, CauseCaller:
		return false
	}
	return !errors.Is(e.Err, ErrPoolClosed) && !errors.Is(e.Err, errWaiting)
}

// Login says that no session could be had because the server, or the token
// server, refused the login for good. Trying often does harm: servers lock
// accounts.
func (e *Error) Login() bool {
	cause := e.Cause()
	return e.Stage == StageAuth && (cause == CauseReply || cause == CauseToken) && !e.Temporary()
}

// Cause says what kind of thing went wrong.
func (e *Error) Cause() Cause {
	var dns *net.DNSError
	var token *TokenError
	switch err := e.Err; {
	case errors.Is(err, errCaller):
		return CauseCaller
	case errors.Is(err, errCancelled):
		return CauseCancelled
	case errors.Is(err, ErrBusy):
		return CauseBusy
	case isLocal(err):
		return CauseLocal
	case errors.As(err, &token):
		return CauseToken
	case errors.Is(err, errMalformed):
		return CauseProtocol
	case !e.Reply.IsZero():
		return CauseReply
	case errors.As(err, &dns):
		return CauseLookup
	case errors.Is(err, syscall.ECONNREFUSED):
		return CauseRefused
	case isTimeout(err):
		return CauseTimeout
	case isClosed(err):
		return CauseClosed
	case e.Stage == StageTLS, isHandshake(err):
		return CauseTLS
	default:
		return CauseNetwork
	}
}

func isLocal(err error) bool {
	for _, s := range []error{
		ErrPoolClosed, ErrNoRecipients, ErrInvalidAddress,
		ErrMissingCredentials, ErrPlaintextAuth, ErrNoStartTLS,
	} {
		if errors.Is(err, s) {
			return true
		}
	}
	return false
}

func isTimeout(err error) bool {
	var n net.Error
	return errors.Is(err, os.ErrDeadlineExceeded) || errors.Is(err, context.DeadlineExceeded) ||
		errors.As(err, &n) && n.Timeout()
}

func isClosed(err error) bool {
	for _, s := range []error{ErrClosed, io.EOF, io.ErrUnexpectedEOF, net.ErrClosed, syscall.ECONNRESET, syscall.EPIPE} {
		if errors.Is(err, s) {
			return true
		}
	}
	return false
}

func isHandshake(err error) bool {
	var verify *tls.CertificateVerificationError
	var record tls.RecordHeaderError
	var alert tls.AlertError
	return errors.As(err, &verify) || errors.As(err, &record) || errors.As(err, &alert)
}
