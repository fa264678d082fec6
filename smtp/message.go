package smtp

import (
	"bytes"
	"time"
)

// Mail is one message and whom to take it to.
type Mail struct {
	Envelope Envelope

	// Message is header and body in CRLF lines, not dot-stuffed. A bare CR or LF
	// is sent as CRLF (RFC 5321 §2.3.8). It is not changed, and not used after
	// Send has returned.
	Message []byte

	// StartBy ends the wait for a free connection with ErrBusy, so that a mail
	// that begins has time enough to end; zero to wait as long as Send may.
	StartBy time.Time

	// Open is called before a session is opened for the mail; not if there is a kept
	// one, unless that turns out to be dead. If it returns an error, none is opened,
	// and Send's error wraps it. Nil for none.
	Open func() error

	// Begin is called with a session in hand, immediately before the first command
	// of the transaction: at most once, even if the mail is tried again on another
	// connection. Fresh says that the session was opened for this mail; one that was
	// kept may turn out to be dead. While it runs, a connection is in use. If it
	// returns an error, nothing of the mail is sent, and Send's error wraps it. Nil
	// for none.
	Begin func(fresh bool) error
}

// outgoing is a Mail made ready before the first command goes out.
type outgoing struct {
	from      string
	to        []string
	addresses []string               // Envelope.To, for the result
	body      []byte                 // dot-stuffed, final dot included
	size      int                    // bytes of the message, dots not doubled (RFC 1870 §5)
	eightBit  bool                   // a byte of the message is not ASCII
	utf8      bool                   // an address is not ASCII (RFC 6531)
	open      func() error           // nil if none is to be called
	begin     func(fresh bool) error // nil if none is to be called, or none any more
}

// prepare checks m's envelope. The message is encoded later: see
// [outgoing.encode].
func prepare(m Mail) (*outgoing, *Error) {
	from, to, err := m.Envelope.wire()
	if err != nil {
		return nil, err
	}
	o := &outgoing{from: from, to: to, addresses: m.Envelope.To, open: m.Open, begin: m.Begin}
	o.utf8 = !isASCII(from)
	for _, a := range to {
		o.utf8 = o.utf8 || !isASCII(a)
	}
	return o, nil
}

// encode makes body, size and eightBit from message, into buf if that is large
// enough.
func (o *outgoing) encode(message, buf []byte) {
	o.body, o.size = stuff(buf[:0], message)
	o.eightBit = false
	for _, b := range message {
		if b >= 0x80 {
			o.eightBit = true
			break
		}
	}
}

// stuff appends message to dst as it travels after DATA: every line ends in
// CRLF, a dot that begins a line is doubled, and a lone dot ends it all (RFC
// 5321 §4.5.2). The size is that of the message without the dots added.
func stuff(dst, message []byte) (body []byte, size int) {
	start := len(dst)
	if need := start + len(message) + len(message)/32 + 16; cap(dst) < need {
		dst = append(make([]byte, 0, need), dst...)
	}
	dots := 0
	line := func(l []byte) {
		if len(l) > 0 && l[0] == '.' {
			dst = append(dst, '.')
			dots++
		}
		dst = append(dst, l...)
		dst = append(dst, '\r', '\n')
	}
	for len(message) > 0 {
		l, rest, _ := bytes.Cut(message, []byte{'\n'})
		l = bytes.TrimSuffix(l, []byte{'\r'})
		for {
			before, after, bare := bytes.Cut(l, []byte{'\r'})
			line(before)
			if !bare {
				break
			}
			l = after
		}
		message = rest
	}
	size = len(dst) - start - dots
	return append(dst, '.', '\r', '\n'), size
}
