package smtp

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"slices"
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

	// NoSession is called, at most once, when a session could not be had for the
	// mail, with the error that Send returns: see [Error.Unreachable]. It returns
	// before the connection's place is given to the next mail, whose Open can go by
	// what it has done. Nil for none.
	NoSession func(e *Error)

	// Begin is called before the first command of the transaction, at most once,
	// even if the mail is tried again on another connection: with a session in hand,
	// or, where the mail still waits for one, when a session at work is about to take
	// its envelope along (see [Lookahead]). Such a mail may yet have to wait, and its
	// Send may end with ErrBusy though it has begun. Fresh says that the session was
	// opened for this mail; one that was kept, or is at work, may turn out to be dead.
	// While it runs, a connection may be in use. If it returns an error, nothing of the
	// mail is sent, and Send's error wraps it. Nil for none.
	Begin func(fresh bool) error
}

// outgoing is a Mail made ready before the first command goes out.
type outgoing struct {
	survey
	message   []byte // the caller's
	lines     []byte // the message as it travels, without the final dot; see encode
	from      string
	to        []string
	addresses []string               // Envelope.To, for the result
	utf8      bool                   // an address is not ASCII (RFC 6531)
	open      func() error           // nil if none is to be called
	noSession func(*Error)           // nil if none is to be called
	begin     func(fresh bool) error // nil if none is to be called, or none any more
}

// prepare checks m's envelope and looks at its message. The message is encoded
// later: see [outgoing.encode].
func prepare(m Mail) (*outgoing, *Error) {
	from, to, err := m.Envelope.wire()
	if err != nil {
		return nil, err
	}
	o := &outgoing{
		survey: surveyOf(m.Message), message: m.Message,
		from: from, to: to, addresses: m.Envelope.To, utf8: !isASCII(from),
		open: m.Open, noSession: m.NoSession, begin: m.Begin,
	}
	for _, a := range to {
		o.utf8 = o.utf8 || !isASCII(a)
	}
	return o, nil
}

// start asks the caller, once, whether the mail may begin.
func (o *outgoing) start(fresh bool) *Error {
	begin := o.begin
	o.begin = nil
	if begin == nil {
		return nil
	}
	if err := begin(fresh); err != nil {
		return &Error{Stage: StageMail, Err: fmt.Errorf("%w: %w", errCaller, err)}
	}
	return nil
}

// encode makes lines from the message: in buf if that is large enough, or the
// message itself if it needs no change.
func (o *outgoing) encode(buf []byte) {
	if o.asIs {
		o.lines = o.message
		return
	}
	o.lines = stuff(buf[:0], o.message, o.size+o.dots)
}

// survey is what one look at a message tells.
type survey struct {
	size     int  // bytes once every line ends in CRLF, dots not doubled (RFC 1870 §5)
	dots     int  // lines that begin with one; a line after a bare CR is not counted
	eightBit bool // a byte is not ASCII
	asIs     bool // it travels as it is: lines end in CRLF, and none begins with a dot
}

// surveyOf looks at a message in one pass, line by line.
func surveyOf(message []byte) survey {
	s := survey{size: len(message), asIs: true}
	for rest := message; len(rest) > 0; {
		missing := 0 // of the line's CRLF
		line, after, whole := bytes.Cut(rest, []byte{'\n'})
		if !whole {
			missing++
		}
		text := bytes.TrimSuffix(line, []byte{'\r'})
		if len(text) == len(line) {
			missing++
		}
		if bytes.IndexByte(text, '\r') >= 0 {
			missing += bytes.Count(text, []byte{'\r'}) // each ends a line of its own
		}
		if len(line) > 0 && line[0] == '.' {
			s.dots++
		}
		s.size += missing
		s.asIs = s.asIs && missing == 0
		s.eightBit = s.eightBit || !isPlain(text)
		rest = after
	}
	s.asIs = s.asIs && s.dots == 0
	return s
}

// isPlain says that every byte is ASCII, looking at eight at a time.
func isPlain(b []byte) bool {
	for ; len(b) >= 8; b = b[8:] {
		if binary.LittleEndian.Uint64(b)&0x8080808080808080 != 0 {
			return false
		}
	}
	for _, c := range b {
		if c >= 0x80 {
			return false
		}
	}
	return true
}

// stuff appends message to dst as it travels after DATA, without the lone dot
// that ends it: every line ends in CRLF, and a dot that begins a line is doubled
// (RFC 5321 §4.5.2). It makes room for so many bytes at once.
func stuff(dst, message []byte, room int) []byte {
	dst = slices.Grow(dst, room)
	line := func(l []byte) {
		if len(l) > 0 && l[0] == '.' {
			dst = append(dst, '.')
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
	return dst
}
