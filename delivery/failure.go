package delivery

// Class says what kind of end an attempt came to, and with it what may happen
// next.
type Class string

const (
	Delivered  Class = "delivered"  // at least one recipient was accepted
	Transient  Class = "transient"  // may work if tried again
	Permanent  Class = "permanent"  // will not work until somebody changes something
	Unknown    Class = "unknown"    // sent in full and never answered (RFC 1047); not sent again by the program
	Incomplete Class = "incomplete" // the document has nothing to send yet
)

// Phase says how far an attempt came.
type Phase string

const (
	PhaseDecode     Phase = "decode"     // reading the document
	PhaseUsers      Phase = "users"      // looking up UIDs
	PhaseTemplate   Phase = "template"   // rendering
	PhaseAttachment Phase = "attachment" // reading or fetching an attachment
	PhaseCompose    Phase = "compose"    // building envelope and message
	PhaseConnect    Phase = "connect"    // name look-up and TCP connection
	PhaseGreeting   Phase = "greeting"   // 220
	PhaseHello      Phase = "hello"      // EHLO, HELO
	PhaseTLS        Phase = "tls"        // STARTTLS and the handshake
	PhaseAuth       Phase = "auth"       // AUTH
	PhaseMail       Phase = "mail"       // MAIL FROM
	PhaseRcpt       Phase = "rcpt"       // RCPT TO
	PhaseData       Phase = "data"       // DATA, up to the 354
	PhaseMessage    Phase = "message"    // the message and its final reply
	PhaseLease      Phase = "lease"      // the claim ran out
)

// server reports whether the mail server was asked for something: how to have the
// mail sent again depends on what has come of the others who are to get it, and
// is not yet said.
func (p Phase) server() bool {
	switch p {
	case PhaseConnect, PhaseGreeting, PhaseHello, PhaseTLS, PhaseAuth, PhaseMail, PhaseRcpt, PhaseData, PhaseMessage:
		return true
	}
	return false
}

// Failure is why an attempt did not deliver: everything that is written to the
// document about it. It is the only error that the decisions know; worker
// makes one of whatever else went wrong.
type Failure struct {
	Class        Class
	Phase        Phase
	Code         int    // SMTP reply code; 0 if no server spoke
	EnhancedCode string // as in "5.1.1" (RFC 3463); empty if none

	// Message is delivery.error: the extension's words to the letter where it
	// has a sentence of its own, else one that names the field.
	Message string

	// Explain says cause and remedy to whoever reads the document.
	Explain string

	MessageID    string   // by which to look for a mail of unknown fate; empty if there is none
	Conversation []string // how the transaction of such a mail ended, redacted

	Err error // the cause, for the log; may be nil
}

// Error returns the text of delivery.error.
func (f *Failure) Error() string { return f.Message }

// Unwrap returns the cause.
func (f *Failure) Unwrap() error { return f.Err }
